"""The demonstration: a whole exchange in separate processes, run over the transactions of a file."""
