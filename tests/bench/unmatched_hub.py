"""The hub with its matching switched off, as a baseline; run as `python -m tests.bench.unmatched_hub CONFIG`.

Everything else is the real hub's: signals are judged, stored and logged with their roles and echoes.
"""

import asyncio
import sys
from pathlib import Path

from exchange.server import app
from exchange.server.config import load_config
from exchange.usecases.items import Item
from exchange.usecases.matching import Matching


def _drop(matching: Matching, item: Item) -> None:
    """Take nothing."""


def main() -> None:
    Matching.put = _drop  # type: ignore[method-assign, assignment]
    sys.exit(asyncio.run(app.serve(load_config(Path(sys.argv[1])))))


if __name__ == "__main__":
    main()
