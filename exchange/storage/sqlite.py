"""SQLite behind `exchange.domain.store.Store`: the writer's connection.

Invariants: one process holds the folder (flock); one connection writes, and only inside BEGIN IMMEDIATE …
COMMIT of one `commit` at a time; a COMMIT that returned is on disk (WAL, synchronous=FULL). Deleted content
is overwritten (secure_delete) and, after `forget_traces`, gone from the write-ahead log too. No other
module knows SQL.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import aiosqlite
from signalexchange.errors import ConfigError
from signalexchange.sealed_store import create_private

from exchange.domain.records import (
    Delta,
    Hit,
    SignalState,
    Subscription,
)
from exchange.domain.store import StorageFailed, StorageFull
from exchange.storage.cases import CaseReader
from exchange.storage.disclosures import DisclosureReader
from exchange.storage.match_reader import MatchReader
from exchange.storage.migrate import migrate
from exchange.storage.outcomes import OutcomeReader
from exchange.storage.reader import SIGNAL_STATE, SUBSCRIPTION, chunks, padded, positions
from exchange.storage.statements import statements
from exchange.storage.transaction import TransactionConnection, connect

FILE: Final = "exchange.db"
PRAGMAS: Final = (
    "PRAGMA busy_timeout = 5000",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA foreign_keys = ON",
    # 64 MiB of pages: the indexes on random ids and tokens stay in memory longer.
    "PRAGMA cache_size = -65536",
    # In pages: a checkpoint every 16 MiB instead of 4, since it makes one commit wait for its fsync.
    "PRAGMA wal_autocheckpoint = 4096",
)
_EVIDENCE: Final = (
    "code, audience, confidence, grade, tlp, last_seen, echo, max(disputed_until, appealed_until)"
)
_BUSY_ATTEMPTS: Final = 4


class SqliteStore(MatchReader, OutcomeReader, CaseReader, DisclosureReader):
    """A store in `folder`; made by `open`."""

    def __init__(
        self, folder: Path, lock: int, write: TransactionConnection, read: aiosqlite.Connection
    ) -> None:
        super().__init__(read)
        self._folder = folder
        self._lock = lock
        self._write = write

    @classmethod
    async def open(cls, folder: Path) -> Self:
        """Open or make the database in `folder`. Raises ConfigError naming the path where that can't be."""
        path = folder / FILE
        lock = -1
        connections: list[aiosqlite.Connection] = []
        try:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - blocking, once, before anything is served
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            create_private(path)
            write = await connect(path)
            connections.append(write)
            for pragma in PRAGMAS:
                await write.execute_fetchall(pragma)
            await migrate(write, path)
            read = await aiosqlite.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, cached_statements=128
            )
            connections.append(read)
            await read.execute_fetchall("PRAGMA busy_timeout = 5000")
            await read.execute_fetchall("PRAGMA cache_size = -16384")
        except (OSError, sqlite3.Error, UnicodeDecodeError, ConfigError) as error:
            for connection in connections:
                await connection.close()
            if lock >= 0:
                os.close(lock)
            if isinstance(error, BlockingIOError):
                raise ConfigError(f"{folder}: in use by another process") from None
            if isinstance(error, OSError):
                raise ConfigError(f"{error.filename or path}: {error.strerror}") from None
            if isinstance(error, UnicodeDecodeError):
                # sqlite3 fails to read its own message about a damaged file.
                raise ConfigError(f"{path}: file is damaged") from None
            if isinstance(error, sqlite3.Error):
                raise ConfigError(f"{path}: {error}") from None
            raise
        return cls(folder, lock, write, read)

    async def close(self) -> None:
        """Fold the write-ahead log into the database and close it."""
        await self._read.close()
        try:
            await self._write.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            pass  # nothing is lost: the log is read at the next start
        finally:
            await self._write.close()
            os.close(self._lock)

    async def commit(self, delta: Delta) -> None:
        """Write all of it durably. Raises StorageFull or StorageFailed."""
        try:
            await self._write.transaction(list(statements(delta)))
        except sqlite3.Error as error:
            await self._roll_back(error)

    async def _roll_back(self, error: sqlite3.Error) -> None:
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        try:
            if self._write.in_transaction:
                await self._write.execute_fetchall("ROLLBACK")
        except sqlite3.Error:
            full = False
        if full:
            raise StorageFull("no room in storage") from error
        # Whether a failed COMMIT or fsync reached the disk can't be known from here: only reopening tells.
        raise StorageFailed(f"storage failed: {error}") from error

    async def forget_traces(self) -> None:
        """Make content deleted before unreadable in the files too. Raises StorageFailed."""
        try:
            for _ in range(_BUSY_ATTEMPTS):
                (row,) = await self._write.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
                if row[0] == 0:
                    return
                await asyncio.sleep(0.05)
        except sqlite3.Error as error:
            raise StorageFailed(f"storage failed: {error}") from error
        raise StorageFull("a reader keeps the write-ahead log")

    async def hits(self, tokens: Sequence[bytes], now: int) -> dict[bytes, list[Hit]]:
        """Active signals on the tokens, or joined to them by their issuer's own links."""
        found: dict[bytes, list[Hit]] = {}
        for chunk in chunks(tokens):
            _, parameters = padded(chunk)
            asked = ",".join(f"?{at}" for at in range(1, len(parameters) + 1))
            now_at = f"?{len(parameters) + 1}"
            rows = await self._writer_rows(
                f"SELECT token, 0, 0, place, issuer, type, epoch, {_EVIDENCE} FROM signals"  # noqa: S608 - marks only
                f" WHERE token IN ({asked}) AND status = 0 AND searched = 1 AND expires_at > {now_at}"
                " UNION ALL"
                f" SELECT l.token, link_audience, link_tlp, s.place, s.issuer, l.type, l.epoch,"
                f" {_EVIDENCE} FROM"
                "  (SELECT DISTINCT token, type, epoch, subject, issuer, audience AS link_audience,"
                "   tlp AS link_tlp FROM links"
                f"   WHERE token IN ({asked}) AND expires_at > {now_at}) l"
                " CROSS JOIN signals s ON s.token = l.subject AND s.issuer = l.issuer"
                f" WHERE status = 0 AND searched = 1 AND s.expires_at > {now_at}",
                [*parameters, now],
            )
            for token, *rest in rows:
                found.setdefault(token, []).append(Hit(*rest))
        return found

    async def known_signals(self, signal_ids: Sequence[bytes]) -> set[bytes]:
        """Those of the ids that are taken, by tombstones too."""
        known: set[bytes] = set()
        for chunk in chunks(signal_ids):
            text, parameters = padded(chunk)
            rows = await self._writer_rows(
                f"SELECT signal_id FROM signals WHERE signal_id IN ({text})",  # noqa: S608 - marks only
                parameters,
            )
            known.update(row[0] for row in rows)
        return known

    async def due(self, now: int, limit: int) -> tuple[list[SignalState], list[tuple[int, int]]]:
        """Expired signals that have content, about `limit`, and (entry, next expiry) of their batches."""
        due: list[SignalState] = []
        batches: list[tuple[int, int]] = []
        for entry, next_expiry in await self._writer_rows(
            "SELECT entry, next_expiry FROM batches WHERE next_expiry <= ? ORDER BY next_expiry LIMIT 256",
            (now,),
        ):
            if len(due) >= limit:
                break
            rows = await self._writer_rows(
                f"SELECT {SIGNAL_STATE} WHERE place BETWEEN ? AND ? AND body IS NOT NULL AND expires_at <= ?",
                (*positions(entry), now),
            )
            due.extend(SignalState(*row) for row in rows)
            batches.append((entry, next_expiry))
        return due, batches

    async def spoken(
        self, issuer: str, tokens: Sequence[bytes], now: int
    ) -> tuple[Counter[bytes], Counter[bytes]]:
        """How many active signals of the issuer's that look-ups find are on each of the tokens, and how many
        links."""
        signals: Counter[bytes] = Counter()
        links: Counter[bytes] = Counter()
        for chunk in chunks(tokens):
            _, parameters = padded(chunk)
            asked = ",".join(f"?{at}" for at in range(1, len(parameters) + 1))
            issuer_at, now_at = f"?{len(parameters) + 1}", f"?{len(parameters) + 2}"
            rows = await self._writer_rows(
                "SELECT 0, token, count(*) FROM signals INDEXED BY signals_by_token"  # noqa: S608 - marks only
                f" WHERE token IN ({asked}) AND issuer = {issuer_at} AND status = 0 AND searched = 1"
                f" AND expires_at > {now_at} GROUP BY token UNION ALL"
                f" SELECT 1, token, count(*) FROM links WHERE token IN ({asked}) AND issuer = {issuer_at}"
                f" AND expires_at > {now_at} GROUP BY token",
                [*parameters, issuer, now],
            )
            for linked, token, count in rows:
                (links if linked else signals)[token] = count
        return signals, links

    async def subscribers(self, tokens: Sequence[bytes], now: int) -> dict[bytes, list[Subscription]]:
        """Subscriptions in force on the tokens."""
        found: dict[bytes, list[Subscription]] = {}
        for chunk in chunks(tokens):
            text, parameters = padded(chunk)
            rows = await self._writer_rows(
                f"{SUBSCRIPTION} WHERE token IN ({text}) AND expires_at > ?",
                [*parameters, now],
            )
            for row in rows:
                found.setdefault(row[0], []).append(Subscription(*row))
        return found

    async def subscription_count(self, member: str, now: int, without: Sequence[bytes]) -> int:
        """Subscriptions the member holds, not counting those on the tokens `without`."""
        (all_of_them,) = await self._writer_rows(
            "SELECT count(*) FROM subscriptions WHERE member = ? AND expires_at > ?", (member, now)
        )
        held = await self.held_subscriptions(member, without)
        return int(all_of_them[0]) - sum(row.expires_at > now for row in held)

    async def held_subscriptions(self, member: str, tokens: Sequence[bytes]) -> list[Subscription]:
        """The member's subscriptions on the tokens."""
        text, parameters = padded(tokens)
        rows = await self._writer_rows(
            f"{SUBSCRIPTION} WHERE token IN ({text}) AND member = ?",
            [*parameters, member],
        )
        return [Subscription(*row) for row in rows]

    async def shown_to(self, group: str, tokens: Sequence[bytes], since: int) -> set[bytes]:
        """Those of the tokens about which the group was shown something on the day `since` or later."""
        found: set[bytes] = set()
        for chunk in chunks(tokens):
            text, parameters = padded(chunk)
            rows = await self._writer_rows(
                f"SELECT token FROM shown WHERE token IN ({text}) AND grp = ? AND day >= ?",  # noqa: S608 - marks only
                [*parameters, group, since],
            )
            found.update(row[0] for row in rows)
        return found

    async def old_events(self, before: int) -> int:
        """Position of the last event older than `before`; 0 if none."""
        return await self._old("events", before)

    async def old_match_events(self, before: int) -> int:
        """Position of the last match event older than `before`; 0 if none."""
        return await self._old("match_events", before)

    async def old_case_events(self, before: int) -> int:
        """Position of the last case event older than `before`; 0 if none."""
        return await self._old("case_events", before)

    async def _old(self, table: str, before: int) -> int:
        # Events are written in time order; the newest old one is found from the old end.
        rows = await self._writer_rows(
            "SELECT coalesce(max(position), 0) FROM"  # noqa: S608 - a table's name
            f" (SELECT position, time FROM {table} ORDER BY position LIMIT 5000) WHERE time < ?",
            (before,),
        )
        return int(rows[0][0])

    async def old_access(self, before: int, limit: int) -> int:
        """Index below which access records are older than `before`, at most `limit` further than before; 0
        if none."""
        rows = await self._writer_rows(
            "SELECT coalesce(max(idx) + 1, 0) FROM (SELECT idx, time FROM entries WHERE idx >="
            " (SELECT value FROM meta WHERE name = 'forgotten_access') ORDER BY idx LIMIT ?) WHERE time < ?",
            (limit, before),
        )
        return int(rows[0][0])

    async def secret(self, name: str) -> bytes:
        """A random 32-byte secret of this database, made at first use."""
        key = f"secret_{name}"
        await self._write.execute_fetchall("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, os.urandom(32)))
        rows = await self._writer_rows("SELECT value FROM meta WHERE name = ?", (key,))
        return bytes(rows[0][0])

    async def _writer_rows(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        try:
            return list(await self._write.execute_fetchall(sql, parameters))
        except sqlite3.Error as error:
            raise StorageFailed(f"storage failed: {error}") from error
