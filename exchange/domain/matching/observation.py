"""One signal as matching sees it.

Invariants: an observation holds tokens, a band and slots, never more than the signal; it never changes; its
place in the log is its key and its order.
"""

from enum import IntEnum
from math import isqrt
from typing import Final, NamedTuple

from signalexchange.v1.identifier_pb2 import IdentifierType

WEAK_TYPES: Final = frozenset({IdentifierType.IDENTIFIER_TYPE_DEVICE, IdentifierType.IDENTIFIER_TYPE_ADDRESS})
"""Identifiers that people share: they never make two persons one."""
MERCHANT: Final = IdentifierType.IDENTIFIER_TYPE_MERCHANT
PHONE: Final = IdentifierType.IDENTIFIER_TYPE_PHONE
NATIONAL_ID: Final = IdentifierType.IDENTIFIER_TYPE_NATIONAL_ID_CN


class Role(IntEnum):
    """What a code's signals are to matching; names are the rulebook's, in capitals."""

    NONE = 0
    PAYMENT = 1
    """The subject paid the counterparty, a merchant, on credit."""
    TRANSFER = 2
    """The subject sent money to the counterparty."""
    REFUND = 3
    """The subject's order at the counterparty was refunded; nothing had been shipped."""
    CYCLE = 4
    """The subject repaid the issuer's line at `first` and spent it again until `last`."""
    LINE = 5
    """The subject drew the issuer's line to its limit from `first` to `last`."""
    LINK = 6
    """Only the links are said."""
    SHARED = 7
    """Many unrelated people share the subject."""


class Observation(NamedTuple):
    """A signal of an enrolled, unsuspended issuer. `band` is 0 for none; `first` and `last` are Unix seconds,
    multiples of 300; `counterparty` is empty for none; `echo` says that its issuer's group was shown a hit on
    the subject or the counterparty shortly before, so that it corroborates nothing."""

    place: int
    signal_id: bytes
    member: str
    group: str
    role: Role
    code: str
    subject: bytes
    subject_type: int
    counterparty: bytes
    counterparty_type: int
    links: tuple[tuple[bytes, int], ...]
    band: int
    first: int
    last: int
    expires_at: int
    confidence: int
    echo: bool


CENTS: Final = (0, *(isqrt(10**4 * 11 ** (2 * band - 1) // 10 ** (2 * band - 1)) for band in range(1, 256)))
"""Middle of each band, 1.1^(band − ½) CNY, in cents (exact integer arithmetic: a replay gets the same)."""
