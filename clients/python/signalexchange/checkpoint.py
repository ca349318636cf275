"""Checkpoints of the log (c2sp.org/tlog-checkpoint): origin, tree size and root as the text of a signed note.

Invariants: origin and extension lines are not empty, the size is decimal without leading zeros and fits 63
bits, the root is the standard base64 of 32 bytes, and a parsed checkpoint prints as the same text. This log
writes no extension lines; those of another are kept because signatures cover them.
"""

import base64
import re
from dataclasses import dataclass

from signalexchange.errors import MalformedError, VerificationError
from signalexchange.merkle import EMPTY_ROOT, HASH_SIZE, MAX_SIZE
from signalexchange.note import NoteSigner, NoteVerifier, decode_base64, open_note, sign_note

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Checkpoint:
    """A tree head. Raises MalformedError for parts that no checkpoint can carry."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for line in (self.origin, *self.extensions):
            if not line or any(character < " " for character in line):
                raise MalformedError("a checkpoint's lines are not empty and hold no control character")
        if not 0 <= self.size <= MAX_SIZE:
            raise MalformedError(f"tree size {self.size} is out of range")
        if len(self.root) != HASH_SIZE:
            raise MalformedError(f"a root has {HASH_SIZE} bytes, not {len(self.root)}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise MalformedError("the root of an empty tree is SHA-256 of nothing")

    def text(self) -> str:
        """The note's text."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read a checkpoint's text; raises MalformedError."""
        if not text.endswith("\n"):
            raise MalformedError("a checkpoint ends with a newline")
        lines = text[:-1].split("\n")
        if len(lines) < 3:
            raise MalformedError("a checkpoint has origin, size and root")
        origin, size, root, *extensions = lines
        return cls(origin, parse_decimal(size, "tree size"), decode_base64(root, "root"), tuple(extensions))


def sign_checkpoint(checkpoint: Checkpoint, signer: NoteSigner) -> bytes:
    """The checkpoint as a note signed by the log."""
    return sign_note(checkpoint.text(), (signer,))


def open_checkpoint(note: bytes, verifier: NoteVerifier, origin: str) -> Checkpoint:
    """Verify a checkpoint of the log `origin` signed by its key.

    Raises MalformedError for bytes that are no checkpoint, VerificationError for another key's or log's.
    """
    checkpoint = Checkpoint.parse(open_note(note, (verifier,)).text)
    if checkpoint.origin != origin:
        raise VerificationError("the checkpoint is of another log")
    return checkpoint


def parse_decimal(text: str, what: str) -> int:
    """Decimal ASCII number without leading zeros, at most 2^63 − 1; raises MalformedError naming `what`."""
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_SIZE:
        raise MalformedError(f"{what} is not a decimal number of at most 63 bits without leading zeros")
    return int(text)
