"""Encrypted rows in a SQLite file, found by keyed names: what the journal is kept in.

Invariants: nothing but ciphertext, keyed names and row kinds is in the file, its WAL included; a row can't
be moved to another place unnoticed. Deleting rows or putting back an older file is not noticed.

A row's name is HMAC-SHA256(name key, kind ‖ name); its content is AES-256-GCM (NIST SP 800-38D) with a
random 12-byte nonce in front and kind ‖ row name as associated data. The keys come from the 32 bytes of the
key file by HKDF-SHA256 (RFC 5869) with the labels below.
"""

import hmac
import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from signalexchange.credentials import read_private
from signalexchange.errors import ConfigError, ExchangeError, VerificationError

NONCE_SIZE = 12
FORMAT = 0  # kind of the first row, which tells a wrong key at once
TAG = 255  # in place of a kind, in front of what a link's tag is made from

SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  kind INTEGER NOT NULL,
  name BLOB NOT NULL,
  pending INTEGER NOT NULL,
  content BLOB NOT NULL,
  UNIQUE (kind, name)
) STRICT;
CREATE INDEX IF NOT EXISTS record_of_kind ON record (kind, position);
CREATE INDEX IF NOT EXISTS record_pending ON record (position) WHERE pending;
CREATE TABLE IF NOT EXISTS link (
  tag BLOB NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (tag, position)
) STRICT, WITHOUT ROWID;
"""

Row = tuple[int, dict[str, Any], bytes]


class JournalError(ExchangeError):
    """The journal's file can't be read or written: a full or read-only disk, or a damaged file."""


def create_key(path: Path) -> None:
    """Write a new random key (64 hexadecimal digits) with mode 0600; raises ConfigError where there is a
    file."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: can't write a key: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32) + "\n")


def read_key(path: Path) -> bytes:
    """The 32 bytes of a key file; raises ConfigError."""
    try:
        secret = bytes.fromhex(read_private(path, "key").decode("ascii"))
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise ConfigError(f"{path}: the key must be 64 hexadecimal digits")
    return secret


def create_private(path: Path) -> None:
    """Make an empty file with mode 0600 where there is none, so that nobody else may read what SQLite will
    write there; raises OSError.

    A file that is there is not even opened: closing it would end every POSIX lock this process holds on it,
    SQLite's too, and another process could take the write-ahead log from under an open connection
    ("How To Corrupt An SQLite Database File", section 2.2, sqlite.org).
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return


def derive_key(secret: bytes, label: str) -> bytes:
    """A 32-byte key of its own for each label (HKDF-SHA256, RFC 5869, no salt)."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=label.encode()).derive(secret)


class SealedStore:
    """An open file of encrypted rows, used from any thread; writes happen inside `transaction()`."""

    def __init__(self, path: Path, secret: bytes) -> None:
        """Open or create the file; raises ConfigError, or VerificationError where the key is another one."""
        self._names = derive_key(secret, "signalexchange/journal/names/v1")
        self._aead = AESGCM(derive_key(secret, "signalexchange/journal/content/v1"))
        self._lock = threading.RLock()
        try:
            create_private(path)
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"{path}: can't open the journal: {error}") from error
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.executescript(SCHEMA)
            with self.transaction():
                first = self._db.execute("SELECT position FROM record ORDER BY position LIMIT 1").fetchone()
                if first is None:
                    self.put(FORMAT, b"format", {"version": 1})
                else:
                    self._row(first[0])
        except (sqlite3.Error, UnicodeDecodeError) as error:  # a damaged schema may not even be text
            self._db.close()
            raise ConfigError(f"{path}: can't open the journal: {error}") from error
        except ExchangeError:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or none of the writes inside are durable when it ends; raises JournalError."""
        with self._using():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def put(
        self, kind: int, name: bytes, fields: Mapping[str, Any], body: bytes = b"", *, pending: bool = False
    ) -> int:
        """Write a row, in place of one of the same kind and name; returns its position."""
        row_name, content = self._sealed(kind, name, fields, body)
        row = self._db.execute(
            "INSERT INTO record (kind, name, pending, content) VALUES (?, ?, ?, ?) ON CONFLICT (kind, name)"
            " DO UPDATE SET pending = excluded.pending, content = excluded.content RETURNING position",
            (kind, row_name, pending, content),
        ).fetchone()
        return int(row[0])

    def append(self, kind: int, rows: Sequence[tuple[bytes, Mapping[str, Any]]]) -> range:
        """Write rows of names and fields; their positions, in order. Raises JournalError where a name is not
        new."""
        sealed = [(kind, *self._sealed(kind, name, fields, b"")) for name, fields in rows]
        self._db.executemany("INSERT INTO record (kind, name, pending, content) VALUES (?, ?, 0, ?)", sealed)
        last = self._db.execute("SELECT last_insert_rowid()").fetchone()[0] if rows else 0
        # One transaction writes at a time, and positions grow by one.
        return range(last - len(rows) + 1, last + 1)

    def link(self, tag: bytes, position: int) -> None:
        """Make a row findable by a tag."""
        self._db.execute("INSERT OR IGNORE INTO link VALUES (?, ?)", (self._keyed(TAG, tag), position))

    def delete(self, kind: int, name: bytes) -> None:
        """Delete a row, if there is one. Its tags lead nowhere from then on: positions are never used
        again.
        """
        self._db.execute("DELETE FROM record WHERE kind = ? AND name = ?", (kind, self._keyed(kind, name)))

    def get(self, kind: int, name: bytes) -> tuple[dict[str, Any], bytes] | None:
        """Fields and body of a row, or None."""
        query, row_name = "SELECT content FROM record WHERE kind = ? AND name = ?", self._keyed(kind, name)
        with self._using():
            row = self._db.execute(query, (kind, row_name)).fetchone()
        return None if row is None else self._open(kind, row_name, row[0])

    def linked(self, tag: bytes) -> list[Row]:
        """The rows of a tag, oldest first."""
        query = (
            "SELECT record.position FROM link JOIN record ON record.position = link.position"
            " WHERE tag = ? ORDER BY record.position"
        )
        with self._using():
            positions = self._db.execute(query, (self._keyed(TAG, tag),)).fetchall()
            return [self._row(position) for (position,) in positions]

    def pending(self) -> list[Row]:
        """The rows marked as pending, oldest first."""
        with self._using():
            positions = self._db.execute(
                "SELECT position FROM record WHERE pending ORDER BY position"
            ).fetchall()
            return [self._row(position) for (position,) in positions]

    def positions(self, kind: int, names: Sequence[bytes]) -> list[int | None]:
        """Where the rows of these names stand, None for those that are not there."""
        query = "SELECT position FROM record WHERE kind = ? AND name = ?"
        with self._using():
            found = (self._db.execute(query, (kind, self._keyed(kind, name))).fetchone() for name in names)
            return [None if row is None else int(row[0]) for row in found]

    def trim(self, kind: int, position: int, limit: int) -> int:
        """Delete rows of a kind up to a position, the oldest `limit` of them; how many."""
        query = (
            "DELETE FROM record WHERE position IN"
            " (SELECT position FROM record WHERE kind = ? AND position <= ? ORDER BY position LIMIT ?)"
        )
        return self._db.execute(query, (kind, position, limit)).rowcount

    def scan(self, kind: int) -> Iterator[Row]:
        """The rows of a kind, oldest first, read one by one."""
        return ((kind, fields, body) for _, fields, body in self.after(kind, 0))

    def after(self, kind: int, position: int) -> Iterator[tuple[int, dict[str, Any], bytes]]:
        """Position, fields and body of the rows of a kind that stand behind a position, oldest first, read
        one by one."""
        query = (
            "SELECT position, name, content FROM record WHERE kind = ? AND position > ?"
            " ORDER BY position LIMIT 1"
        )
        while True:
            with self._using():
                found = self._db.execute(query, (kind, position)).fetchone()
                if found is None:
                    return
                position, row_name, content = found
                fields, body = self._open(kind, row_name, content)
            yield position, fields, body

    @contextmanager
    def _using(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except (sqlite3.Error, UnicodeDecodeError) as error:
                raise JournalError(f"the journal can't be used: {error}") from error

    def _keyed(self, kind: int, name: bytes) -> bytes:
        return hmac.digest(self._names, bytes([kind]) + name, "sha256")

    def _sealed(self, kind: int, name: bytes, fields: Mapping[str, Any], body: bytes) -> tuple[bytes, bytes]:
        """Keyed name and content of a row."""
        head = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
        row_name, nonce = self._keyed(kind, name), secrets.token_bytes(NONCE_SIZE)
        plain = len(head).to_bytes(4, "big") + head + body
        return row_name, nonce + self._aead.encrypt(nonce, plain, bytes([kind]) + row_name)

    def _row(self, position: int) -> Row:
        query = "SELECT kind, name, content FROM record WHERE position = ?"
        kind, row_name, content = self._db.execute(query, (position,)).fetchone()
        return kind, *self._open(kind, row_name, content)

    def _open(self, kind: int, row_name: bytes, content: bytes) -> tuple[dict[str, Any], bytes]:
        nonce, sealed = content[:NONCE_SIZE], content[NONCE_SIZE:]
        try:
            plain = self._aead.decrypt(nonce, sealed, bytes([kind]) + row_name)
        except (InvalidTag, ValueError) as error:
            raise VerificationError("the journal was made with another key, or a row was altered") from error
        size = int.from_bytes(plain[:4], "big")
        return json.loads(plain[4 : 4 + size]), plain[4 + size :]
