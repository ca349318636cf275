"""What a rule found: one instance of a pattern.

Invariants: `key` names the instance (who and on which day), so that finding it again is known; `anchors` are
the tokens by which instances belong to one match; `evidence` names the observations it stands on and falls
with; from each of them the rule finds the same instance again, as long as links and degrees let it.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from hashlib import sha256
from typing import Final, NamedTuple

from exchange.domain.matching.observation import Observation

DAY: Final = 86_400


class Pattern(IntEnum):
    """The typologies; numbers are the contract's."""

    FUNDS_LOOP = 1
    REFUND_LOOP = 2
    PAYER_RING = 3
    MERCHANT_HOPPING = 4
    REPAY_AND_RESPEND = 5
    BUST_OUT = 6
    COLLECTING_ACCOUNT = 7


class Part(IntEnum):
    """What a subject is in a pattern."""

    PAYER = 1
    MERCHANT = 2
    ACCOUNT = 3


class Subject(NamedTuple):
    """A token that takes part."""

    token: bytes
    type: int
    part: Part


class Finding(NamedTuple):
    """One instance. `principal` is the observations whose bands make up its total (the credit drawn);
    `rarity` is 0 to 1000: how rare the values are that join it, 1000 where movements of money do."""

    pattern: Pattern
    key: bytes
    anchors: tuple[bytes, ...]
    subjects: tuple[Subject, ...]
    evidence: tuple[int, ...]
    principal: tuple[int, ...]
    rarity: int = 1000


def instance_key(pattern: Pattern, *parts: bytes | int) -> bytes:
    """16 bytes that name an instance by what distinguishes it."""
    digest = sha256(bytes([pattern]))
    for part in parts:
        data = part if isinstance(part, bytes) else part.to_bytes(8, "big", signed=True)
        digest.update(len(data).to_bytes(2, "big") + data)
    return digest.digest()[:16]


def evidence_of(*legs: Iterable[Observation]) -> tuple[int, ...]:
    """Places of the observations, ascending, each once."""
    return tuple(sorted({leg.place for part in legs for leg in part}))


def by_day(pattern: Pattern, told: Sequence[Observation]) -> Iterator[Finding]:
    """What is told of one person: an instance for each token and day, all of it evidence for each."""
    parts: dict[tuple[bytes, int], list[Observation]] = {}
    for seen in told:
        parts.setdefault((seen.subject, seen.last // DAY), []).append(seen)
    subjects = tuple(sorted({Subject(seen.subject, seen.subject_type, Part.PAYER) for seen in told}))
    for (token, day), part in sorted(parts.items()):
        yield Finding(
            pattern,
            instance_key(pattern, token, day),
            tuple(sorted({seen.subject for seen in told})),
            subjects,
            evidence_of(told),
            evidence_of(part),
        )
