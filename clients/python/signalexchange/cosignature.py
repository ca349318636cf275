"""Witness cosignatures on checkpoints (c2sp.org/tlog-cosignature, Ed25519, signature type 0x04).

Invariants: a cosignature says that its witness, as of a time, saw no larger tree of the log than the
checkpoint's, and that the tree only ever grew; it signs `cosignature/v1`, the time and the checkpoint's text,
so it never passes for a log's own signature. Times are Unix seconds of at most 63 bits.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from signalexchange.checkpoint import Checkpoint
from signalexchange.errors import MalformedError, VerificationError
from signalexchange.note import (
    PUBLIC_KEY_SIZE,
    SIGNATURE_SIZE,
    check_key_name,
    format_vkey,
    key_id,
    parse_vkey,
    split_note,
    verify_ed25519,
)

COSIGNATURE_V1 = 0x04
TIME_SIZE = 8
MAX_TIME = 2**63 - 1


class Cosignature(NamedTuple):
    """A verified cosignature: which witness, and when (Unix seconds)."""

    name: str
    time: int


@dataclass(frozen=True)
class CosignatureVerifier:
    """A witness's key. Raises MalformedError for a name or key that can't be one."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.public_key) != PUBLIC_KEY_SIZE:
            raise MalformedError(f"an Ed25519 public key has 32 bytes, not {len(self.public_key)}")

    @property
    def key_id(self) -> bytes:
        """First 4 bytes of SHA-256(name ‖ newline ‖ 0x04 ‖ public key)."""
        return key_id(self.name, COSIGNATURE_V1, self.public_key)

    @classmethod
    def parse(cls, vkey: str) -> "CosignatureVerifier":
        """Read a verifier key of signature type 0x04; raises MalformedError."""
        return cls(*parse_vkey(vkey, COSIGNATURE_V1))

    @property
    def vkey(self) -> str:
        """The verifier key as text."""
        return format_vkey(self.name, COSIGNATURE_V1, self.public_key)

    def verify(self, text: bytes, signature: bytes) -> None:
        """Raise VerificationError unless `signature`, time and Ed25519 signature, is this witness's over
        `text`.
        """
        self.time_of(text, signature)

    def time_of(self, text: bytes, signature: bytes) -> int:
        """When the witness cosigned `text`, in Unix seconds; raises VerificationError as `verify` does."""
        if len(signature) != TIME_SIZE + SIGNATURE_SIZE:
            raise VerificationError(f"cosignature of {self.name} has the wrong size")
        time = int.from_bytes(signature[:TIME_SIZE], "big")
        if time > MAX_TIME:
            raise VerificationError(f"cosignature of {self.name} has a time beyond 63 bits")
        message = _message(time, text)
        verify_ed25519(self.public_key, signature[TIME_SIZE:], message, f"cosignature of {self.name}")
        return time


@dataclass(frozen=True)
class Cosigner:
    """A witness that cosigns at `time` (Unix seconds); it is for the witness to have checked consistency."""

    name: str
    public_key: bytes
    sign: Callable[[bytes], bytes]
    time: int

    @property
    def verifier(self) -> CosignatureVerifier:
        """The public half."""
        return CosignatureVerifier(self.name, self.public_key)

    def sign_text(self, text: bytes) -> bytes:
        """Cosign a checkpoint's text; raises MalformedError for another text or a time out of range."""
        _parse_checkpoint(text)
        if not 0 <= self.time <= MAX_TIME:
            raise MalformedError("a cosignature's time has 63 bits")
        signature = self.time.to_bytes(TIME_SIZE, "big") + self.sign(_message(self.time, text))
        self.verifier.verify(text, signature)
        return signature


def cosignatures(note: bytes, witnesses: Iterable[CosignatureVerifier]) -> list[Cosignature]:
    """The known witnesses that cosigned a checkpoint, each once with its newest time, in the order given.

    The log's own signature is not checked here. Raises MalformedError for a note that is no checkpoint,
    VerificationError when a known witness's line does not verify.
    """
    text, lines = split_note(note)
    encoded = text.encode()
    _parse_checkpoint(encoded)
    found = []
    for witness in dict.fromkeys(witnesses):
        times = [
            witness.time_of(encoded, line.signature)
            for line in lines
            if (line.name, line.key_id) == (witness.name, witness.key_id)
        ]
        if times:
            found.append(Cosignature(witness.name, max(times)))
    return found


def _parse_checkpoint(text: bytes) -> None:
    Checkpoint.parse(text.decode())


def _message(time: int, text: bytes) -> bytes:
    return f"cosignature/v1\ntime {time}\n".encode() + text
