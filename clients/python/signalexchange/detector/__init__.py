"""The member's real-time detector: transactions in, decisions with their reasons out.

It runs at the member, on raw data that never leaves it; only tokens do.
"""
