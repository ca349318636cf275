"""`python -m exchange.cli`."""

from exchange.cli import main

main()
