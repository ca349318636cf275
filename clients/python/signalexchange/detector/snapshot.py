"""Snapshots of the detector's state: one encrypted file, whole or not there at all.

Invariants: a file is put in place only after all of it is on the disk; what is torn, cut short, reordered or
made with another key is refused, never half restored; its name says behind which batch of the journal it was
made.

Form: chunks of at most CHUNK bytes of JSON lines, compressed (RFC 1950) and sealed: 4 bytes of length (big
endian) ‖ 12-byte random nonce ‖ AES-256-GCM (NIST SP 800-38D), whose associated data is the batch's number,
the chunk's number and whether it is the last (8 + 8 + 1 bytes).
"""

import json
import os
import re
import secrets
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from signalexchange.errors import ConfigError, MalformedError, VerificationError
from signalexchange.sealed_store import NONCE_SIZE, derive_key

NAME: Final = re.compile(r"snapshot-([0-9]{16})")
TEMPORARY: Final = ".snapshot."
"""What the name of a snapshot begins with while it is written."""
CHUNK: Final = 1 << 20
MAX_CHUNK: Final = 1 << 30
"""Of what a chunk unpacks to: a learner's rows are one record."""


def write_snapshot(folder: Path, secret: bytes, batch: int, records: Iterable[Any]) -> Path:
    """Write the records of a state made behind a batch; older snapshots are removed. Raises ConfigError."""
    path = folder / f"snapshot-{batch:016d}"
    name = ""
    try:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=TEMPORARY)  # mode 0600
        with os.fdopen(descriptor, "wb") as file:
            _write(file, secret, batch, records)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
        _sync(folder)
        for number, other in _snapshots(folder):
            if number < batch:
                other.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: can't be written: {error.strerror}") from None
    finally:
        if name:
            Path(name).unlink(missing_ok=True)
    return path


def read_snapshot(folder: Path, secret: bytes) -> tuple[int, Iterator[Any]] | None:
    """Batch and records of the newest snapshot; None where there is none.

    Raises ConfigError where it can't be read, and while its records are read VerificationError where it was
    altered or made with another key, MalformedError where it holds something else.
    """
    found = max(_snapshots(folder), default=None)
    if found is None:
        return None
    batch, path = found
    return batch, _read(path, secret, batch)


def newest_snapshot(folder: Path) -> int:
    """The batch of the newest snapshot, -1 where there is none."""
    return max((number for number, _ in _snapshots(folder)), default=-1)


def _snapshots(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.iterdir():
        if named := NAME.fullmatch(path.name):
            yield int(named[1]), path


def _write(file: BinaryIO, secret: bytes, batch: int, records: Iterable[Any]) -> None:
    aead = AESGCM(_key(secret))
    number, lines, size = 0, list[bytes](), 0

    def seal(last: bool) -> None:
        nonce = secrets.token_bytes(NONCE_SIZE)
        sealed = aead.encrypt(nonce, zlib.compress(b"".join(lines), 1), _place(batch, number, last))
        file.write(len(sealed).to_bytes(4, "big") + nonce + sealed)

    for record in records:
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        lines.append(line)
        size += len(line)
        if size >= CHUNK:
            seal(last=False)
            number, lines, size = number + 1, [], 0
    seal(last=True)


def _read(path: Path, secret: bytes, batch: int) -> Iterator[Any]:
    aead = AESGCM(_key(secret))
    try:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size
            number = 0
            while left:
                head = file.read(4 + NONCE_SIZE)
                sealed = file.read(int.from_bytes(head[:4], "big"))
                left -= len(head) + len(sealed)
                place = _place(batch, number, left == 0)
                for line in _unpacked(aead, head[4:], sealed, place, path).split(b"\n")[:-1]:
                    yield json.loads(line)
                number += 1
            if number == 0:
                raise VerificationError(f"{path}: empty")
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None


def _unpacked(aead: AESGCM, nonce: bytes, sealed: bytes, place: bytes, path: Path) -> bytes:
    try:
        packed = aead.decrypt(nonce, sealed, place)
    except (InvalidTag, ValueError):
        raise VerificationError(f"{path}: made with another key, cut short, or altered") from None
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(packed, MAX_CHUNK)
    if not unpacker.eof:
        raise MalformedError(f"{path}: a chunk of more than {MAX_CHUNK} bytes")
    return data


def _place(batch: int, number: int, last: bool) -> bytes:
    return batch.to_bytes(8, "big") + number.to_bytes(8, "big") + bytes([last])


def _key(secret: bytes) -> bytes:
    return derive_key(secret, "signalexchange/detector/snapshot/v1")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
