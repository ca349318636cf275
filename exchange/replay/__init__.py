"""Replaying card transactions on a real exchange: the data, its identifiers, and the processes."""
