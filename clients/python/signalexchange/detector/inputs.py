"""Batches of arrivals: from files, going on where the last run stopped, or from standard input as they come.

Invariants: a file is read on behind the last row whose batch is durable, if that row is still what it was; a
batch of standard input is what has come by the time the one before was decided, so that it is small while
little comes and large under load; no line is lost: what can't be read is a Rejected.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, Final

from signalexchange.detector.arrivals import Arrival, Label, merged, parse_arrival
from signalexchange.detector.detector import BATCH
from signalexchange.detector.transactions import (
    STANDARD_INPUT,
    Columns,
    Rejected,
    Transaction,
    read_transactions,
)
from signalexchange.tables import SourceError

MAX_LINE: Final = 1 << 20
"""Bytes a line has at most."""
WAITING: Final = 4_096
"""Arrivals that wait in memory at most; while there are as many, standard input is not read."""
QUIET: Final = 1.0
"""Seconds without arrivals after which an empty batch comes."""

Position = tuple[str, list[Any]]
"""Name of a file; how many of its rows were read, and a digest of the last."""


def file_batches(
    path: Path, columns: Columns, labels: Iterable[Label], sources: Mapping[str, list[Any]]
) -> Iterator[tuple[list[Arrival], Position]]:
    """Batches of a file's transactions, with labels between them, and how far each brings its reading.

    All labels are given, those too that were taken before: they change nothing then. Raises SourceError where
    the file can't be read, or is not the one that was read in part before.
    """
    name = str(path.resolve())
    read, last = sources.get(name, [0, ""])
    rows = read_transactions(path, columns)
    row: Transaction | Rejected | None = None
    for number in range(1, read + 1):
        row = next(rows, None)
        if row is None or (number == read and _digest(row) != last):
            why = f"{read} of its rows were taken before and are others now: such a file may only grow"
            raise SourceError(path, None, None, f"{why}; give what is new under another name")
    arrivals = merged(rows, labels)
    while batch := list(islice(arrivals, BATCH)):
        for arrival in batch:
            if not isinstance(arrival, Label):
                read, row = read + 1, arrival
        yield batch, (name, [read, _digest(row) if row is not None else ""])


def _digest(row: Transaction | Rejected) -> str:
    what = row.values()[:-1] if isinstance(row, Transaction) else [row.column, row.why]
    return blake2b(ascii(what).encode(), digest_size=16).hexdigest()


async def line_batches(descriptor: int, columns: Columns) -> AsyncIterator[list[Arrival]]:
    """Batches of JSON Lines from an open file as they come; an empty one after QUIET seconds without any."""
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING)
    loop = asyncio.get_running_loop()

    def read() -> None:
        # os.read: a thread that waits in a buffered reader can't be left behind at the end.
        def put(line: bytes | None) -> None:
            asyncio.run_coroutine_threadsafe(queue.put(line), loop).result()

        kept, too_long = b"", False
        while data := os.read(descriptor, 1 << 16):
            *lines, kept = (kept + data).split(b"\n")
            for line in lines:
                put(TOO_LONG if too_long or len(line) > MAX_LINE else line)
                too_long = False
            if len(kept) > MAX_LINE:
                kept, too_long = b"", True
        if kept or too_long:
            put(TOO_LONG if too_long else kept)
        put(None)

    def run() -> None:
        try:
            read()
        except RuntimeError:  # the loop was closed meanwhile
            return

    threading.Thread(target=run, daemon=True, name="standard input").start()
    number = 0
    while True:
        lines: list[bytes | None] = []
        try:
            lines.append(await asyncio.wait_for(queue.get(), QUIET))
        except TimeoutError:
            yield []
            continue
        while len(lines) < BATCH and lines[-1] is not None and not queue.empty():
            lines.append(queue.get_nowait())
        batch: list[Arrival] = []
        for line in lines:
            if line is None:
                break
            number += 1
            if line is TOO_LONG:
                batch.append(Rejected(f"{STANDARD_INPUT}, row {number}", "", f"longer than {MAX_LINE} bytes"))
            elif (arrival := parse_arrival(line, number, columns)) is not None:
                batch.append(arrival)
        if batch:
            yield batch
        if lines[-1] is None:
            return


TOO_LONG: Final = b"{too long}"
"""Stands for a line that is: this very object."""
