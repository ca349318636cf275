"""Tokens: how an identifier is framed for the VOPRF, and how its output becomes a token.

Invariants: two different (type, normaliser version, value) never frame to the same bytes; look-up token and
sealing key are independent, and both depend on type and epoch. Neither is ever shown by `repr`.
"""

import hashlib
import hmac
from dataclasses import dataclass, field

from signalexchange.errors import MalformedError
from signalexchange.identifiers import NORMALISER_VERSIONS, type_name
from signalexchange.voprf import OUTPUT_SIZE

DOMAIN = b"signalexchange/token/v1"
FRAMING_VERSION = 1
TOKEN_SIZE = 32
SEALING_KEY_SIZE = 32
MAX_EPOCH = 0xFFFFFFFF


@dataclass(frozen=True)
class Token:
    """The pseudonym of one identifier in one epoch: `value` is looked up, `sealing_key` stays.

    Both have 32 bytes.
    """

    type: int
    epoch: int
    value: bytes = field(repr=False)
    sealing_key: bytes = field(repr=False)


def frame(type: int, value: str) -> bytes:  # noqa: A002 - the contract's name
    """The VOPRF input of a value that `identifiers.normalise` returned.

    Five fields, each after its length in two bytes, big-endian: domain "signalexchange/token/v1", framing
    version (1 byte), identifier type (2 bytes), normaliser version (2 bytes), value (UTF-8). Raises
    InvalidIdentifierError for an unknown type.
    """
    type_name(type)
    fields = (
        DOMAIN,
        bytes([FRAMING_VERSION]),
        type.to_bytes(2, "big"),
        NORMALISER_VERSIONS[type].to_bytes(2, "big"),
        value.encode(),
    )
    return b"".join(len(content).to_bytes(2, "big") + content for content in fields)


def derive(output: bytes, type: int, epoch: int) -> Token:  # noqa: A002 - the contract's name
    """The token of a 64-byte VOPRF output: HKDF-SHA512 (RFC 5869).

    Salt is the domain, info is label ‖ 0x00 ‖ type ‖ epoch: "look-up" or "sealing", 2 bytes, 4 bytes,
    big-endian. Raises MalformedError for another output length or epoch.
    """
    if len(output) != OUTPUT_SIZE or not 0 <= epoch <= MAX_EPOCH:
        raise MalformedError("a VOPRF output has 64 bytes and an epoch fits into 32 bits")
    context = type.to_bytes(2, "big") + epoch.to_bytes(4, "big")
    pseudorandom_key = hmac.digest(DOMAIN, output, hashlib.sha512)
    return Token(
        type,
        epoch,
        hmac.digest(pseudorandom_key, b"look-up\0" + context + b"\x01", hashlib.sha512)[:TOKEN_SIZE],
        hmac.digest(pseudorandom_key, b"sealing\0" + context + b"\x01", hashlib.sha512)[:SEALING_KEY_SIZE],
    )
