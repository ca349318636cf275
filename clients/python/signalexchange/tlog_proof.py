"""Proofs that verify offline (c2sp.org/tlog-proof): an index, an inclusion proof and a checkpoint in one
text.

Invariants: a proof is read in its only spelling; extra data is carried and never trusted; nothing of a proof
counts before the checkpoint's signature and origin and the path to its root have been verified.
"""

import base64
from dataclasses import dataclass

from signalexchange.checkpoint import Checkpoint, open_checkpoint, parse_decimal
from signalexchange.errors import MalformedError
from signalexchange.merkle import HASH_SIZE, MAX_SIZE, leaf_hash, verify_inclusion
from signalexchange.note import MAX_NOTE_SIZE, NoteVerifier, decode_base64

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63
MAX_EXTRA = 1 << 16


@dataclass(frozen=True)
class TlogProof:
    """A parsed proof, not verified: `hashes` from the leaf's sibling up, `checkpoint` the note as it came."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_SIZE:
            raise MalformedError(f"index {self.index} is out of range")
        if len(self.hashes) > MAX_HASHES or any(len(value) != HASH_SIZE for value in self.hashes):
            raise MalformedError(f"a proof has at most {MAX_HASHES} hashes of {HASH_SIZE} bytes")
        if len(self.extra) > MAX_EXTRA:
            raise MalformedError(f"extra data has at most {MAX_EXTRA} bytes")

    def encode(self) -> bytes:
        """The proof as text; by convention the content of a file *.tlog-proof."""
        lines = [HEADER]
        if self.extra:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines.extend(base64.b64encode(value).decode() for value in self.hashes)
        return "".join(f"{line}\n" for line in lines).encode() + b"\n" + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> "TlogProof":
        """Read a proof; raises MalformedError."""
        if len(data) > 2 * MAX_NOTE_SIZE:
            raise MalformedError("a proof is too long")
        head, divider, checkpoint = data.partition(b"\n\n")
        try:
            header, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise MalformedError("a proof's head is ASCII") from None
        if not divider or header != HEADER:
            raise MalformedError(f"a proof starts with {HEADER} and carries a checkpoint")
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = decode_base64(lines.pop(0).removeprefix("extra "), "extra data")
            if not extra:
                raise MalformedError("extra data is left out where there is none")
        if not lines or not lines[0].startswith("index "):
            raise MalformedError("a proof names its index")
        index = parse_decimal(lines.pop(0).removeprefix("index "), "index")
        hashes = tuple(decode_base64(line, "hash of the proof") for line in lines)
        return cls(index, hashes, checkpoint, extra)


def verify_proof(data: bytes, leaf: bytes, verifier: NoteVerifier, origin: str) -> Checkpoint:
    """Check offline that the leaf `leaf` (its data, not its hash) is in the log `origin`; return the
    checkpoint.

    Raises MalformedError for bytes that are no proof, VerificationError for another log's, key's or leaf's.
    Witnesses are for `cosignature.cosignatures` over the checkpoint.
    """
    proof = TlogProof.parse(data)
    checkpoint = open_checkpoint(proof.checkpoint, verifier, origin)
    verify_inclusion(proof.index, checkpoint.size, leaf_hash(leaf), proof.hashes, checkpoint.root)
    return checkpoint
