"""Values that many share: which join nobody, and why.

Invariants: no group alone makes a value everybody's, since what the group that states most says doesn't
count; a group that itself states more than the limit joins nobody by that value; two groups' word that a
value is shared suffices.
"""

from collections.abc import Iterator, Mapping, Set
from typing import Final, NamedTuple, TypeVar

from signalexchange.patterns import Matching
from signalexchange.v1.identifier_pb2 import IdentifierType

from exchange.domain.matching.observation import MERCHANT, Observation

_COUNTED: Final[Mapping[int, str]] = {
    IdentifierType.IDENTIFIER_TYPE_DEVICE: "device",
    IdentifierType.IDENTIFIER_TYPE_ADDRESS: "address",
    IdentifierType.IDENTIFIER_TYPE_PHONE: "phone",
    IdentifierType.IDENTIFIER_TYPE_EMAIL: "email",
    MERCHANT: "merchant",
}
"""Limits by type; of all others that of accounts holds."""
_DEALING: Final = frozenset(IdentifierType.values()) - (_COUNTED.keys() - {MERCHANT})
"""Types of which not the holders are counted, but those they deal with."""
NO_GROUPS: Final[Mapping[str, Mapping[bytes, int]]] = {}

K = TypeVar("K")
L = TypeVar("L")


class SetAside(NamedTuple):
    """A value that joins nobody: how many neighbours count, the limit, and whether members say that it is
    known to be shared."""

    token: bytes
    type: int
    degree: int
    limit: int
    known: bool


class SharedValues:
    """Tokens, who has them as values or deals with them, and how often each group says so."""

    def __init__(self, rules: Matching) -> None:
        self.rules = rules
        self._types: dict[bytes, int] = {}
        self._holders: dict[bytes, dict[str, dict[bytes, int]]] = {}
        self._peers: dict[bytes, dict[str, dict[bytes, int]]] = {}
        self._shared: dict[bytes, dict[str, int]] = {}
        self._crowded: set[bytes] = set()
        self._limits: dict[int, int] = {
            kind: getattr(rules.degrees, _COUNTED.get(kind, "account")) for kind in IdentifierType.values()
        }

    def counted(self, value: bytes) -> int:
        """How many neighbours of a value count: those that others state than the group that states most, so
        that no group alone makes it everybody's."""
        groups = self._neighbours(value)
        if len(groups) < 2:
            return 0
        others = sorted(groups.values(), key=len)[:-1]
        if self._types.get(value, 0) in _DEALING:
            return sum(map(len, others))
        # Whom two groups name counts once; beyond the limit it makes no difference.
        most = len(others[-1])
        return most if most > self._limit(value) else len(set().union(*others))

    def degree(self, value: bytes) -> tuple[int, int]:
        """How many neighbours of a value count, and from how many on it is set aside."""
        return self.counted(value), self._limit(value)

    def _neighbours(self, value: bytes) -> Mapping[str, Mapping[bytes, int]]:
        index = self._peers if self._types.get(value, 0) in _DEALING else self._holders
        return index.get(value, NO_GROUPS)

    def is_public(self, value: bytes, group: str) -> bool:
        """Whether a group itself states so many neighbours of a value that it joins nobody for it."""
        said = self._neighbours(value).get(group)
        return said is not None and len(said) > self._limit(value)

    def _limit(self, value: bytes) -> int:
        return self._limits[self._types.get(value, 0)]

    def _is_crowded(self, value: bytes) -> bool:
        groups = self._neighbours(value)
        if len(groups) < 2:
            return False
        counts, limit = [len(others) for others in groups.values()], self._limit(value)
        return sum(counts) - max(counts) > limit and self.counted(value) > limit

    def known_shared(self, value: bytes) -> bool:
        """Whether two groups say that many unrelated share the value."""
        return len(self._shared.get(value, ())) > 1

    def set_aside(self, value: bytes) -> SetAside | None:
        """Why a value joins nobody; None if it may."""
        known = self.known_shared(value)
        if not known and not self._is_crowded(value):
            return None
        degree, limit = self.degree(value)
        return SetAside(value, self._types.get(value, 0), degree, limit, known)

    def all_set_aside(self) -> Iterator[SetAside]:
        """Every value that joins nobody at present, ascending."""
        for value in sorted({*self._crowded, *self._shared}):
            aside = self.set_aside(value)
            if aside is not None:
                yield aside

    def set_aside_among(self, values: Set[bytes]) -> Iterator[SetAside]:
        """Those of the values that join nobody at present."""
        for value in (self._crowded & values) | (self._shared.keys() & values):
            aside = self.set_aside(value)
            if aside is not None:
                yield aside

    def _forget(self, token: bytes) -> None:
        """Whether a token is set aside may have changed."""

    def _share(self, seen: Observation, by: int) -> None:
        """Count a statement that many unrelated share the subject."""
        counts = self._shared.setdefault(seen.subject, {})
        counts[seen.group] = counts.get(seen.group, 0) + by
        if not counts[seen.group]:
            del counts[seen.group]
            if not counts:
                del self._shared[seen.subject]
        self._forget(seen.subject)

    def _peer(self, seen: Observation, by: int) -> None:
        for token, other in ((seen.subject, seen.counterparty), (seen.counterparty, seen.subject)):
            count(self._peers, token, seen.group, other, by)
            self._weigh(token)

    def _weigh(self, value: bytes) -> None:
        """Its degree changed."""
        if self._is_crowded(value) != (value in self._crowded):
            self._crowded ^= {value}
            self._forget(value)


def count(index: dict[K, dict[str, dict[L, int]]], one: K, group: str, other: L, by: int) -> int:
    """Add to what a group says of two tokens; how often it says it now."""
    groups = index.get(one)
    if groups is None:
        groups = index[one] = {}
    counts = groups.get(group)
    if counts is None:
        counts = groups[group] = {}
    times = counts.get(other, 0) + by
    if times:
        counts[other] = times
    else:
        del counts[other]
        if not counts:
            del groups[group]
            if not groups:
                del index[one]
    return times
