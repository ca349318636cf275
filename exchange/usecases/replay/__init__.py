"""The log read from its first entry on, each score worked out once more and compared."""
