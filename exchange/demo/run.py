"""`exchange-hub demo`: its options, and what becomes of errors and interruptions.

Invariants: importing this module needs none of the demo's own libraries, so that a hub runs without them;
however the demo ends, its processes have ended before it.
"""

import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from signalexchange.errors import ConfigError, ExchangeError

from exchange.demo.folder import fresh
from exchange.replay.processes import ProcessDiedError

INTERRUPTED = 130


@dataclass(frozen=True)
class DemoOptions:
    """What to run.

    `folder` is made, or emptied if an earlier demo made it. `transactions` is a CSV or Parquet file with the
    columns of `transactions.SCHEMA`; without one, data is generated from `seed`. `keep` leaves the exchange
    up at the end until it is interrupted.
    """

    folder: Path = Path("var/demo")
    transactions: Path | None = None
    seed: int = 1
    keep: bool = False


def run(options: DemoOptions) -> int:
    """Run the demo; 0 where everything was as it must be, 1 where not, 130 after an interruption.

    Writes its report to `report.json` in the folder and the story to standard output. Raises ConfigError
    for a folder that isn't the demo's, MalformedError for a transactions file that can't be used.
    """
    try:
        from exchange.demo.story import Story
    except ImportError as error:
        raise ConfigError(
            f"the demo needs {error.name}: install partner-signal-exchange with its extra [demo]"
        ) from None
    started = time.monotonic()
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    if options.transactions is not None and options.transactions.resolve().is_relative_to(
        options.folder.resolve()
    ):
        raise ConfigError(f"{options.transactions}: lies in {options.folder}, which the demo empties")

    async def main() -> bool:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio.run made it
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with fresh(options.folder) as folder:
            return await Story(options, folder, table, console, started).tell()

    try:
        table = Story.transactions(options, console)
        return 0 if asyncio.run(main()) else 1
    except ProcessDiedError as error:
        errors.print(str(error), markup=False, style="red")
        return 1
    except ExchangeError:
        raise
    except (KeyboardInterrupt, asyncio.CancelledError):
        errors.print("interrupted; every process of the demo has ended")
        return INTERRUPTED
