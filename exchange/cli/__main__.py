"""`python -m exchange.cli`."""

from exchange.cli import main

if __name__ == "__main__":  # a process that is spawned reads this module again
    main()
