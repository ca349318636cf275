"""A hub's folder read at rest, behind `exchange.domain.archive.Archive`.

Invariants: nothing in the folder is changed, made or left open for writing. The lock of a running hub is
respected; a write-ahead log that a killed hub left is read in a private copy, since reading it in place would
write; a database without one is opened as immutable.
"""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from signalexchange.errors import ConfigError

from exchange.domain.archive import StoredSignal
from exchange.domain.records import Entry, RosterRow
from exchange.domain.reliability import Tally
from exchange.storage.migrate import newest
from exchange.storage.reader import positions
from exchange.storage.sqlite import FILE

_PAGE = 1_000
_SIGNAL = (
    "place, signal_id, issuer, token, type, epoch, code, audience, confidence, grade, tlp, last_seen,"
    " expires_at, nonce, body, role, searched, echo, status"
)


class SqliteArchive:
    """A database that no process has open; made by `open_archive`. A damaged one raises ConfigError."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def size(self) -> int:
        """Entries on the log."""
        return self._number("SELECT coalesce(max(idx) + 1, 0) FROM entries")

    def entries(self) -> Iterator[Entry]:
        """All entries, ascending."""
        start = 0
        while rows := self._rows(
            "SELECT idx, type, member, time, shown, leaf, header, header_opening, coalesce(payload, x''),"
            " coalesce(payload_opening, x'') FROM entries WHERE idx >= ? ORDER BY idx LIMIT ?",
            (start, _PAGE),
        ):
            yield from (Entry(*row) for row in rows)
            start = rows[-1][0] + 1

    def payloads(self, type_: int) -> list[bytes]:
        """Payloads of the entries of a type."""
        rows = self._rows(
            "SELECT payload FROM entries WHERE type = ? AND payload IS NOT NULL ORDER BY idx", (type_,)
        )
        return [row[0] for row in rows]

    def tile(self, number: int) -> bytes:
        """A complete tile of leaf hashes."""
        rows = self._rows("SELECT hashes FROM tiles WHERE level = 0 AND n = ?", (number,))
        return b"".join(row[0] for row in rows)

    def signals_of(self, entry: int) -> list[StoredSignal]:
        """The signals of a batch's entry."""
        rows = self._rows(
            f"SELECT {_SIGNAL} FROM signals WHERE place BETWEEN ? AND ? ORDER BY place",  # noqa: S608 - columns
            positions(entry),
        )
        return [StoredSignal._make(row) for row in rows]

    def whose(self, signal_id: bytes) -> tuple[int, str] | None:
        """Where a signal stands, and who issued it."""
        rows = self._rows("SELECT place, issuer FROM signals WHERE signal_id = ?", (signal_id,))
        return next(((row[0], row[1]) for row in rows), None)

    def rosters(self) -> list[RosterRow]:
        """All roster versions, ascending."""
        rows = self._rows("SELECT version, note, rulebook, entry FROM rosters ORDER BY version")
        return [RosterRow(*row) for row in rows]

    def tallies(self) -> list[Tally]:
        """All tallies of verdicts."""
        rows = self._rows("SELECT issuer, code, reporter, confirmed, refuted FROM tallies")
        return [Tally(*row) for row in rows]

    def learned(self) -> int:
        """Version of the learned parameters."""
        return self._number("SELECT value FROM meta WHERE name = 'learned'")

    def spent(self) -> list[tuple[bytes, int]]:
        """Withdrawn hypotheses, and until when they can't be put up again."""
        return [(row[0], row[1]) for row in self._rows("SELECT key, until FROM spent")]

    def forgotten_access(self) -> int:
        """Index below which access records have lost their content."""
        return self._number("SELECT value FROM meta WHERE name = 'forgotten_access'")

    def check_version(self) -> None:
        """Refuse a database of another version. Raises ConfigError."""
        if self._number("PRAGMA user_version") != newest():
            raise ConfigError(
                f"{self._path}: of another version than this command; start this version's hub on it once"
            )

    def _number(self, sql: str) -> int:
        return next((int(row[0]) for row in self._rows(sql)), 0)

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise ConfigError(f"{self._path}: {error}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{self._path}: file is damaged") from None


@contextmanager
def open_archive(folder: Path) -> Iterator[SqliteArchive]:
    """The database in a hub's data folder, or in a copy of one. Raises ConfigError naming the path."""
    path = folder / FILE
    with _unlocked(folder), TemporaryDirectory(prefix="replay-") as scratch:
        try:
            wal = path.with_name(f"{FILE}-wal")
            if wal.exists() and wal.stat().st_size:
                copy = Path(scratch) / FILE
                shutil.copyfile(path, copy)
                shutil.copyfile(wal, copy.with_name(wal.name))
                uri = copy.as_uri()
            else:
                uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        except OSError as error:
            raise ConfigError(f"{error.filename or path}: {error.strerror}") from None
        except sqlite3.Error as error:
            raise ConfigError(f"{path}: {error}") from None
        with closing(connection):
            archive = SqliteArchive(connection, path)
            archive.check_version()
            yield archive


@contextmanager
def _unlocked(folder: Path) -> Iterator[None]:
    """Keep a hub from starting meanwhile, where the folder is one's own and no copy."""
    try:
        lock = os.open(folder / "lock", os.O_RDONLY)
    except FileNotFoundError:
        yield
        return
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise ConfigError(
            f"{folder}: in use by a running hub; stop it, or replay a backup of {FILE}"
        ) from None
    try:
        yield
    finally:
        os.close(lock)
