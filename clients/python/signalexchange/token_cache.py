"""The member's cache of tokens it computed before, so that no budget is spent twice.

Invariants: at most `size` tokens, the least recently used leave first; the cache's keys are keyed BLAKE2b
digests of (type, epoch, normalised value), so that they alone are no dictionary of identifiers; a file exists
only when asked for, has mode 0600 and is encrypted. A file that does not read back is an error and stays
untouched.

File: "signalexchange/token-cache/v1" ‖ 0x0A ‖ nonce (12) ‖ ChaCha20-Poly1305 of digest key (32) and, least
recently used first, one record a token: type (2) ‖ epoch (4) ‖ digest (32) ‖ value (32) ‖ sealing key (32);
the first line is the associated data. Its key is the 64 hexadecimal digits of the key file.
"""

import hashlib
import os
import secrets
import struct
import tempfile
from collections import OrderedDict
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from signalexchange.credentials import read_file
from signalexchange.errors import ConfigError, MalformedError, VerificationError
from signalexchange.sealed_store import read_key
from signalexchange.tokens import Token

DEFAULT_SIZE = 100_000

_HEADER = b"signalexchange/token-cache/v1\n"
_NONCE = 12
_TAG = 16
_DIGEST_KEY = 32
_RECORD = struct.Struct(">HI32s32s32s")


class TokenCache:
    """A cache in memory of at most `size` tokens (1 or more). Not for several threads at once."""

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        if size < 1:
            raise ConfigError("a token cache holds at least one token")
        self._size = size
        self._digest_key = secrets.token_bytes(_DIGEST_KEY)
        self._tokens: OrderedDict[bytes, Token] = OrderedDict()
        self._file: tuple[Path, bytes] | None = None

    @classmethod
    def open(cls, path: Path, key_path: Path, size: int = DEFAULT_SIZE) -> "TokenCache":
        """A cache that `save` writes to `path`, with what an earlier one saved there.

        Raises ConfigError for files that can't be used, MalformedError for one that is no token cache,
        VerificationError for a wrong key or an altered file.
        """
        cache = cls(size)
        cache._file = (path, read_key(key_path))
        if path.exists():
            cache._load(read_file(path, "token cache"), cache._file[1])
        return cache

    def __len__(self) -> int:
        return len(self._tokens)

    def get(self, type: int, epoch: int, value: str) -> Token | None:  # noqa: A002 - the contract's name
        """The token of a normalised value, if it was computed before."""
        digest = self._digest(type, epoch, value)
        token = self._tokens.get(digest)
        if token is not None:
            self._tokens.move_to_end(digest)
        return token

    def put(self, value: str, token: Token) -> None:
        """Keep the token of a normalised value."""
        digest = self._digest(token.type, token.epoch, value)
        self._tokens[digest] = token
        self._tokens.move_to_end(digest)
        self._shrink()

    def save(self) -> None:
        """Write the cache's file, if it has one: whole or not at all. Raises ConfigError if it can't."""
        if self._file is None:
            return
        path, key = self._file
        records = [
            _RECORD.pack(token.type, token.epoch, digest, token.value, token.sealing_key)
            for digest, token in self._tokens.items()
        ]
        nonce = secrets.token_bytes(_NONCE)
        sealed = ChaCha20Poly1305(key).encrypt(nonce, self._digest_key + b"".join(records), _HEADER)
        try:
            _replace(path, _HEADER + nonce + sealed)
        except OSError as error:
            raise ConfigError(f"{path}: can't write the token cache: {error.strerror}") from error

    def _digest(self, type_: int, epoch: int, value: str) -> bytes:
        message = struct.pack(">HI", type_, epoch) + value.encode()
        return hashlib.blake2b(message, key=self._digest_key, digest_size=32).digest()

    def _shrink(self) -> None:
        while len(self._tokens) > self._size:
            self._tokens.popitem(last=False)

    def _load(self, data: bytes, key: bytes) -> None:
        path = self._file[0] if self._file else ""
        body = data[len(_HEADER) :]
        if (
            not data.startswith(_HEADER)
            or (len(body) - _NONCE - _TAG - _DIGEST_KEY) % _RECORD.size != 0
            or len(body) < _NONCE + _TAG + _DIGEST_KEY
        ):
            raise MalformedError(f"{path}: not a token cache, or cut short")
        try:
            plain = ChaCha20Poly1305(key).decrypt(body[:_NONCE], body[_NONCE:], _HEADER)
        except InvalidTag:
            raise VerificationError(f"{path}: the token cache was altered, or its key is another") from None
        self._digest_key = plain[:_DIGEST_KEY]
        for type_, epoch, digest, value, sealing_key in _RECORD.iter_unpack(plain[_DIGEST_KEY:]):
            self._tokens[digest] = Token(type_, epoch, value, sealing_key)
        self._shrink()


def _replace(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
