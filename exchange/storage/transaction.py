"""The writer's connection: aiosqlite's, with one verb more.

Invariant: a transaction is one visit to the connection's thread. Each visit costs two thread switches and a
turn of the event loop, which under load is longer than the statement itself.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiosqlite

Statement = tuple[str, Sequence[Any]]
"""SQL and its parameters."""

_CACHED_STATEMENTS = 512
_CHUNK = 64


class TransactionConnection(aiosqlite.Connection):
    """A connection in autocommit mode that writes whole transactions."""

    async def transaction(self, statements: Sequence[Statement]) -> None:
        """BEGIN IMMEDIATE, the statements in order, COMMIT.

        Raises sqlite3.Error, the transaction left as it was then: rolling back is the caller's.
        """
        await self._execute(self._run, statements)  # type: ignore[no-untyped-call]

    def _run(self, statements: Sequence[Statement]) -> None:
        execute = self._conn.execute
        execute("BEGIN IMMEDIATE")
        for sql, parameters in statements:
            execute(sql, parameters)
        execute("COMMIT")


async def connect(path: Path) -> TransactionConnection:
    """Open a database. Raises sqlite3.Error."""

    def connector() -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, cached_statements=_CACHED_STATEMENTS)

    connection = TransactionConnection(connector, _CHUNK)
    await connection
    return connection
