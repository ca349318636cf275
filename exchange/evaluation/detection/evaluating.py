"""One set of transactions evaluated in each way.

Invariants: every way decides on the same payments; of the members' own and shared knowledge each stays in its
own process; only scores are put together.
"""

import asyncio
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console

from exchange.evaluation.detection.deciding import Decided, Scores, by_rules, decide
from exchange.evaluation.detection.exchanging import exchanged
from exchange.evaluation.detection.figures import Figures, Payments, figures
from exchange.evaluation.detection.plan import OWN, ROW, WAYS, Plan, Way
from exchange.evaluation.detection.watching import Watched, Watcher
from exchange.progress import Steps
from exchange.replay.books import keep, read_payments
from exchange.replay.transactions import DAY, ISSUERS, Table, days_of


@dataclass(frozen=True)
class Window:
    """Figures of each way from `start` to before `end`, midnights in Unix seconds."""

    start: int
    end: int
    payments: int
    frauds: int
    ways: Mapping[Way, Figures]


@dataclass(frozen=True)
class Evaluated:
    """What came of one set of transactions, `comparable` to those the reference figures are of.
    `exchange` counts signals, terminals asked about and answers with
    something in them; `models` says of each way how many models took over of how many tried."""

    source: str
    comparable: bool
    payments: int
    frauds: int
    windows: list[Window]
    exchange: Mapping[str, int]
    models: Mapping[Way, tuple[int, int]]
    seconds: float


def evaluate(source: str, comparable: bool, table: Table, plan: Plan, console: Console) -> Evaluated:
    """Evaluate a table of `exchange.replay.transactions`, given its name.

    Raises ProcessDiedError, ExchangeError.
    """
    started = time.monotonic()
    first, days = days_of(table)
    with tempfile.TemporaryDirectory(prefix="evaluate-detector-") as name:
        folder = Path(name)
        keep(table, folder / "all.parquet")
        files, counts = asyncio.run(_interruptible(table, folder, plan, console))
        found = decided(files, folder / "all.parquet", plan, first, days, console)
        members = [Watched.read(path) for path in files]
    ids = np.concatenate([each.ids for each in members])
    times = np.concatenate([each.times for each in members])
    order = np.lexsort((ids, times))
    payments = Payments(
        times[order],
        np.concatenate([each.customers for each in members])[order],
        np.concatenate([each.frauds for each in members])[order],
        np.concatenate([each.scenarios for each in members])[order],
    )
    pooled_ids, pooled = found["pooled", 0]
    if not np.array_equal(ids[order], pooled_ids):
        raise ValueError("the members' payments are not those of the whole file")
    scores: dict[Way, Scores] = {"rules": np.concatenate([by_rules(each) for each in members])[order]}
    for way in ("alone", "exchange"):
        each_member = [found[way, issuer][1].scores for issuer in range(ISSUERS)]
        scores[way] = np.concatenate(each_member)[order]
    scores["pooled"] = pooled.scores
    windows = []
    for begin, after in plan.windows(days):
        start, end = first + begin * DAY, first + after * DAY
        inside = (payments.times >= start) & (payments.times < end)
        windows.append(
            Window(
                start,
                end,
                int(inside.sum()),
                int((inside & payments.frauds).sum()),
                {way: figures(payments, scores[way], start, end, plan) for way in WAYS},
            )
        )
    models: dict[Way, tuple[int, int]] = {}
    for (way, _), (_, each) in found.items():
        taken, tried = models.get(way, (0, 0))
        models[way] = taken + each.models, tried + each.trials
    return Evaluated(
        source,
        comparable,
        len(payments.times),
        int(payments.frauds.sum()),
        windows,
        counts,
        models,
        time.monotonic() - started,
    )


_LOOK_SECONDS: Final = 0.5
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_Key = tuple[Way, int]
_Found = tuple["np.ndarray[tuple[int], np.dtype[np.int64]]", Decided]


async def _interruptible(
    table: Table, folder: Path, plan: Plan, console: Console
) -> tuple[list[Path], dict[str, int]]:
    """`exchanged`, ended in order by the signals that would end this process."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - asyncio.run made it
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await exchanged(table, folder, plan, console)


def decided(
    files: list[Path], whole: Path, plan: Plan, first: int, days: int, console: Console
) -> dict[_Key, _Found]:
    """Ids and decisions, in order of time, by way and member, as many at once as there are processors.

    `files` are the members' (`Watched`), `whole` everybody's books. To be called in the main thread.
    """
    found: dict[_Key, _Found] = {}
    stopped: list[int] = []
    # Raised from a handler, an interruption could fall between a process and whoever is to end it.
    before = {number: signal.signal(number, lambda number, _: stopped.append(number)) for number in _ENDING}
    try:
        # Not forked: this process has gRPC's threads, and what they hold would stay held in a copy.
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(os.cpu_count(), fresh, initializer=_alone) as pool:
            # The longest first, so that no processor waits for it in the end.
            futures: dict[Future[_Found], _Key] = {
                pool.submit(_pooled, whole, plan, first, days): ("pooled", 0)
            }
            for issuer, path in enumerate(files):
                futures[pool.submit(_of_member, path, False, plan, first, days)] = "alone", issuer
                futures[pool.submit(_of_member, path, True, plan, first, days)] = "exchange", issuer
            try:
                with Steps(console, "learning and deciding", len(futures), "models' histories") as steps:
                    pending = set(futures)
                    while pending:
                        done, pending = wait(pending, _LOOK_SECONDS, FIRST_COMPLETED)
                        if stopped:
                            raise KeyboardInterrupt
                        for future in done:
                            found[futures[future]] = future.result()
                            steps.step(f"{WAYS[futures[future][0]]}: {future.result()[1].last}")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                learning = multiprocessing.active_children()
                for process in learning:
                    process.kill()
                for process in learning:
                    process.join()
                raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return found


def _alone() -> None:
    """In a process of the pool: when it ends is its parent's to say."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


def _of_member(path: Path, with_exchange: bool, plan: Plan, first: int, days: int) -> _Found:
    watched = Watched.read(path)
    return watched.ids, decide(watched, ROW if with_exchange else OWN, plan, first, days)


def _pooled(books: Path, plan: Plan, first: int, days: int) -> _Found:
    """One detector on the raw data of all."""
    payments = list(read_payments(books))
    rows = np.empty((len(payments), len(OWN)), np.float32)
    watcher = Watcher(plan.settings.delay)
    for at, payment in enumerate(payments):
        rows[at] = watcher.row(payment, {})[: len(OWN)]
    watched = Watched.of(payments, rows)
    del payments, watcher
    order = np.lexsort((watched.ids, watched.times))
    found = decide(watched, OWN, plan, first, days)
    return watched.ids[order], Decided(found.scores[order], found.models, found.trials, found.last)
