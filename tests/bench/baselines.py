"""What the hardware and the libraries can do at best: libsodium in a loop, two SQLite tables in a loop."""

import asyncio
import os
import sqlite3
import time
from pathlib import Path

import pysodium

from exchange.storage.sqlite import PRAGMAS

THREADS = 2
COMMIT = 500
"""Rows a commit of the SQLite loop."""


def multiply(count: int) -> None:
    """`count` scalar multiplications over ristretto255, nothing else."""
    scalar = pysodium.crypto_core_ristretto255_scalar_random()
    point = pysodium.crypto_core_ristretto255_random()
    for _ in range(count):
        pysodium.crypto_scalarmult_ristretto255(scalar, point)


async def multiplications(count: int) -> float:
    """Scalar multiplications a second, `count` of them shared by two threads (libsodium releases the GIL)."""
    started = time.perf_counter()
    await asyncio.gather(*(asyncio.to_thread(multiply, count // THREADS) for _ in range(THREADS)))
    return count / (time.perf_counter() - started)


class TwoTables:
    """Two tables as small as the job allows: bodies by a random 32-byte key, and rows in order.

    The pragmas are the hub's. `fill` brings both to a size fast; what it leaves behind is what row-by-row
    insertion leaves, for keys are random.
    """

    def __init__(self, path: Path, body: int, row: int) -> None:
        self._body = body
        self._row = row
        self._size = 0
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in PRAGMAS:
            self._db.execute(pragma).fetchall()
        self._db.execute("CREATE TABLE body (token BLOB PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID")
        self._db.execute("CREATE TABLE row (number INTEGER PRIMARY KEY, content BLOB NOT NULL)")

    def fill(self, size: int) -> None:
        """Grow both tables to `size` rows, in as few commits as memory likes."""
        while self._size < size:
            self._insert(min(50_000, size - self._size), in_order=True)
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def insert(self, commits: int) -> float:
        """Rows a second (of each table) over `commits` commits of 500."""
        started = time.perf_counter()
        for _ in range(commits):
            self._insert(COMMIT)
        return commits * COMMIT / (time.perf_counter() - started)

    def _insert(self, count: int, *, in_order: bool = False) -> None:
        bodies = [(os.urandom(32), os.urandom(self._body)) for _ in range(count)]
        if in_order:
            bodies.sort()
        rows = [(self._size + number, os.urandom(self._row)) for number in range(count)]
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT INTO body VALUES (?, ?)", bodies)
        self._db.executemany("INSERT INTO row VALUES (?, ?)", rows)
        self._db.execute("COMMIT")
        self._size += count

    def close(self) -> None:
        self._db.close()
