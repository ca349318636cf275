"""Snapshots of the detector's state: one encrypted file, whole or not there at all.

Invariants: a file is put in place only after all of it is on the disk; what is torn, cut short, reordered or
made with another key is refused, never half restored; its name says behind which batch of the journal it was
made.

Form: JSON lines, cut into chunks of CHUNK bytes (the last holds what is left), each compressed (RFC 1950) and
sealed: 4 bytes of length (big endian) ‖ 12-byte random nonce ‖ AES-256-GCM (NIST SP 800-38D), whose
associated data is the batch's number, the chunk's number and whether it is the last (8 + 8 + 1 bytes).
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
    number, kept = 0, bytearray()

    def seal(chunk: bytes | bytearray | memoryview, last: bool) -> None:
        nonce = secrets.token_bytes(NONCE_SIZE)
        sealed = aead.encrypt(nonce, zlib.compress(chunk, 1), _place(batch, number, last))
        file.write(len(sealed).to_bytes(4, "big") + nonce + sealed)

    for record in records:
        # A line may be long: a learner's rows are one record.
        kept += json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        start = 0
        with memoryview(kept) as view:
            while len(kept) - start > CHUNK:
                seal(view[start : start + CHUNK], last=False)
                number, start = number + 1, start + CHUNK
        del kept[:start]
    seal(kept, last=True)


def _read(path: Path, secret: bytes, batch: int) -> Iterator[Any]:
    kept: list[bytes] = []
    """Chunks of a line that goes on."""
    for chunk in _chunks(path, secret, batch):
        first, *lines = chunk.split(b"\n")
        kept.append(first)
        if lines:
            yield _record(b"".join(kept), path)
            for line in lines[:-1]:
                yield _record(line, path)
            kept = [lines[-1]]
    if any(kept):
        raise MalformedError(f"{path}: its last line has no end")


def _record(line: bytes, path: Path) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise MalformedError(f"{path}: a line that is not JSON") from None


def _chunks(path: Path, secret: bytes, batch: int) -> Iterator[bytes]:
    aead = AESGCM(_key(secret))
    try:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size
            number = 0
            while left or not number:
                head = file.read(4 + NONCE_SIZE)
                left -= len(head)
                # What is altered may say any length: no more than there is is made room for.
                if (size := int.from_bytes(head[:4], "big")) > left:
                    raise VerificationError(f"{path}: cut short, or altered")
                left -= size
                yield _unpacked(aead, head[4:], file.read(size), _place(batch, number, left == 0), path)
                number += 1
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None


def _unpacked(aead: AESGCM, nonce: bytes, sealed: bytes, place: bytes, path: Path) -> bytes:
    try:
        packed = aead.decrypt(nonce, sealed, place)
    except (InvalidTag, ValueError):
        raise VerificationError(f"{path}: made with another key, cut short, or altered") from None
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, CHUNK)
    except zlib.error:
        raise MalformedError(f"{path}: a chunk that can't be unpacked") from None
    if not unpacker.eof:
        raise MalformedError(f"{path}: a chunk of more than {CHUNK} bytes")
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
