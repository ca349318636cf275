"""Batches of arrivals: from files, going on where the last run stopped, or from standard input as they come.

Invariants: a file is read on behind the last row whose batch is durable, if that row is still what it was; a
batch of standard input is what has come by the time the one before was decided, so that it is small while
little comes and large under load; no line is lost: what can't be read is a Rejected.
"""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from signalexchange.detector.arrivals import Arrival, Label, Position, merged, parse_arrival
from signalexchange.detector.detector import BATCH
from signalexchange.detector.transactions import (
    STANDARD_INPUT,
    Columns,
    Rejected,
    Transaction,
    read_transactions,
)
from signalexchange.errors import ConfigError
from signalexchange.tables import SourceError

MAX_LINE: Final = 1 << 20
"""Bytes a line has at most."""
PIECE: Final = 1 << 16
"""Bytes that are read from standard input at a time, at most."""
AHEAD: Final = 16
"""Pieces that wait in memory at most; while there are as many, standard input is not read."""
QUIET: Final = 1.0
"""Seconds without arrivals after which an empty batch comes."""


class FileBatch(NamedTuple):
    """Arrivals of a file, and how far it had been read before them."""

    arrivals: list[Arrival]
    name: str
    read: int
    last: str

    def position(self, taken: int) -> Position:
        """How far it is read once the first `taken` arrivals are."""
        rows = [each for each in self.arrivals[:taken] if not isinstance(each, Label)]
        return self.name, [self.read + len(rows), _digest(rows[-1]) if rows else self.last]


def file_batches(
    path: Path, columns: Columns, labels: list[Label], sources: Mapping[str, list[Any]]
) -> Iterator[FileBatch]:
    """Batches of a file's transactions, with labels between them (see `arrivals.merged`).

    Labels that were taken before are given again: they change nothing then. Raises SourceError where the file
    can't be read on, behind the batch of what could be read, or is not the one that was read in part before.
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
    problem: SourceError | None = None
    while problem is None:
        batch: list[Arrival] = []
        try:
            batch.extend(islice(arrivals, BATCH))
        except SourceError as error:
            problem = error
        if not batch:
            break
        following = FileBatch(batch, name, read, last)
        _, (read, last) = following.position(len(batch))
        yield following
    if problem is not None:
        raise problem


def _digest(row: Transaction | Rejected) -> str:
    what = row.values()[:-1] if isinstance(row, Transaction) else [row.column, row.why]
    return blake2b(ascii(what).encode(), digest_size=16).hexdigest()


async def line_batches(descriptor: int, columns: Columns) -> AsyncGenerator[list[Arrival], None]:
    """Batches of JSON Lines from an open file as they come; an empty one after QUIET seconds without any.

    Raises ConfigError where it can't be read on.
    """
    number = 0
    reader = _Reader(descriptor)
    while True:
        try:
            lines = await asyncio.wait_for(reader.lines(), QUIET)
        except TimeoutError:
            yield []
            continue
        if lines is None:
            return
        batch: list[Arrival] = []
        for line in lines:
            number += 1
            if line is TOO_LONG:
                batch.append(Rejected(f"{STANDARD_INPUT}, row {number}", "", f"longer than {MAX_LINE} bytes"))
            elif (arrival := parse_arrival(line, number, columns)) is not None:
                batch.append(arrival)
        if batch:
            yield batch


class _Reader:
    """A thread that reads lines from an open file, a few pieces ahead of who takes them."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[list[bytes] | OSError | None] = asyncio.Queue()
        self._room = threading.Semaphore(AHEAD)
        self._lines: list[bytes] = []
        """Of a piece that was taken in part, the next at the end."""
        self._ended = False
        threading.Thread(target=self._run, daemon=True, name="standard input").start()

    async def lines(self) -> list[bytes] | None:
        """One to BATCH lines: what has come by now, or the next that comes; None at the end."""
        lines: list[bytes] = []
        while len(lines) < BATCH and not self._ended:
            if not self._lines:
                if lines and self._pieces.empty():
                    break
                piece = await self._pieces.get()
                if isinstance(piece, OSError):
                    raise ConfigError(f"{STANDARD_INPUT} can't be read: {piece.strerror}")
                self._room.release()
                self._ended = piece is None
                self._lines = (piece or [])[::-1]
            while self._lines and len(lines) < BATCH:
                lines.append(self._lines.pop())
        return lines or None

    def _run(self) -> None:
        try:
            self._read()
            self._put(None)
        except OSError as error:
            self._put(error)

    def _read(self) -> None:
        # os.read: a thread that waits in a buffered reader can't be left behind at the end.
        kept, too_long = b"", False
        while data := os.read(self._descriptor, PIECE):
            *lines, kept = (kept + data).split(b"\n")
            for number, line in enumerate(lines):
                if too_long or len(line) > MAX_LINE:
                    lines[number] = TOO_LONG
                too_long = False
            if len(kept) > MAX_LINE:
                kept, too_long = b"", True
            if lines:
                self._put(lines)
        if kept or too_long:
            self._put([TOO_LONG if too_long else kept])

    def _put(self, piece: list[bytes] | OSError | None) -> None:
        self._room.acquire()
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody takes it
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)


TOO_LONG: Final = b"{too long}"
"""Stands for a line that is: this very object."""
