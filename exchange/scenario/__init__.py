"""A city of people, merchants and accounts with honest life and planted cash-out, as its institutions see it.

Everything follows from a seed; nothing comes of real people. What the world is like, and why, is in
docs/scenario.md.
"""
