"""Leaves of the log: a version byte and two hiding commitments, to an entry's header and to its payload.

Invariants: a leaf has exactly 65 bytes and tells nothing without its openings; header and payload are
committed to under different labels and separate random openings, so that either can be opened or erased
without the other; the bytes carried are committed to, never a re-serialised message.
"""

from hashlib import sha256
from hmac import compare_digest

from signalexchange.errors import MalformedError, VerificationError

LEAF_VERSION = 1
LEAF_SIZE = 65
OPENING_SIZE = 32

_HEADER_LABEL = b"signalexchange/header/v1\0"
_PAYLOAD_LABEL = b"signalexchange/payload/v1\0"


def make_leaf(header: bytes, header_opening: bytes, payload: bytes, payload_opening: bytes) -> bytes:
    """Leaf of an entry: 0x01 ‖ header commitment ‖ payload commitment, 65 bytes.

    Each commitment is SHA-256(label ‖ 0x00 ‖ opening ‖ content). Raises MalformedError unless both openings
    have 32 bytes.
    """
    return (
        bytes((LEAF_VERSION,))
        + _commit(_HEADER_LABEL, header_opening, header)
        + _commit(_PAYLOAD_LABEL, payload_opening, payload)
    )


def check_leaf(leaf: bytes) -> None:
    """Raise MalformedError unless `leaf` has the size and version of a leaf."""
    if len(leaf) != LEAF_SIZE:
        raise MalformedError(f"a leaf has {LEAF_SIZE} bytes, not {len(leaf)}")
    if leaf[0] != LEAF_VERSION:
        raise MalformedError(f"unknown leaf version {leaf[0]}")


def check_header(leaf: bytes, header: bytes, opening: bytes) -> None:
    """Raise VerificationError unless the leaf commits to this header, MalformedError on wrong sizes."""
    check_leaf(leaf)
    if not compare_digest(leaf[1:33], _commit(_HEADER_LABEL, opening, header)):
        raise VerificationError("the leaf does not commit to this header")


def check_payload(leaf: bytes, payload: bytes, opening: bytes) -> None:
    """Raise VerificationError unless the leaf commits to this payload, MalformedError on wrong sizes."""
    check_leaf(leaf)
    if not compare_digest(leaf[33:65], _commit(_PAYLOAD_LABEL, opening, payload)):
        raise VerificationError("the leaf does not commit to this payload")


def _commit(label: bytes, opening: bytes, content: bytes) -> bytes:
    if len(opening) != OPENING_SIZE:
        raise MalformedError(f"an opening has {OPENING_SIZE} bytes, not {len(opening)}")
    return sha256(label + opening + content).digest()
