"""Joining what different groups report: observations in, matches out. Pure; `now` is passed in."""
