"""What groups took back, as far as it goes on counting: guesses are limited, however often one is withdrawn.

Invariants: nothing here but digests, with no token or band in them; what a withdrawn observation leaves here
depends on the observation alone. A leg leaves its pair and day, which its group can't tell of again, and that
one hypothesis about each end was put up that day; a link, that the group linked either end to the other.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

from exchange.domain.matching.observation import WEAK_TYPES, Observation, Role

__all__ = ["FROM", "LINK", "TO", "Spent", "about", "hypothesis", "left_by"]

_DAY: Final = 86_400
_LEGS: Final = frozenset({Role.PAYMENT, Role.TRANSFER, Role.REFUND})
FROM: Final = b"from"
"""Transfers from somebody."""
TO: Final = b"to"
"""Transfers to somebody."""
LINK: Final = b"link"
"""Strong links of a token."""


class Spent:
    """Keys, and until when (Unix seconds) each counts: 16 bytes name a hypothesis that can't be put up again,
    32 bytes what a hypothesis is about, and which it is."""

    def __init__(self) -> None:
        self._until: dict[bytes, int] = {}
        self._tried: dict[bytes, set[bytes]] = {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._until

    def __bool__(self) -> bool:
        return bool(self._until)

    def add(self, key: bytes, until: int) -> None:
        """Have a key count until then, at least."""
        self._until[key] = max(until, self._until.get(key, 0))
        if len(key) > _SIZE:
            self._tried.setdefault(key[:_SIZE], set()).add(key[_SIZE:])

    def items(self) -> Iterator[tuple[bytes, int]]:
        """Keys, and until when each counts."""
        return iter(self._until.items())

    def prune(self, before: int) -> bool:
        """Let go of what counts no longer at Unix seconds `before`; whether there was any."""
        lapsed = [key for key, until in self._until.items() if until <= before]
        for key in lapsed:
            del self._until[key]
            tried = self._tried.get(key[:_SIZE])
            if tried is not None and len(key) > _SIZE:
                tried.discard(key[_SIZE:])
                if not tried:
                    del self._tried[key[:_SIZE]]
        return bool(lapsed)

    def tried(self, key: bytes) -> int:
        """How many hypotheses about something (`about`) were taken back."""
        return len(self._tried.get(key, ()))

    def has_tried(self, key: bytes, other: bytes) -> bool:
        """Whether the link to the other token is among them."""
        return _digest(other) in self._tried.get(key, ())


def hypothesis(leg: Observation) -> bytes:
    """What a leg claims, as far as it counts as one hypothesis: group, pair and day."""
    return _digest(leg.group.encode(), leg.subject, leg.counterparty, _bytes(leg.first // _DAY))


def about(kind: bytes, group: str, token: bytes, day: int = 0) -> bytes:
    """What hypotheses of a group are about: its links of a token, its transfers from or to one on a day."""
    return _digest(kind, group.encode(), token, _bytes(day))


def left_by(seen: Observation) -> Iterator[bytes]:
    """What an observation leaves when it is withdrawn."""
    day, group = seen.first // _DAY, seen.group
    if seen.role in _LEGS and seen.counterparty:
        yield hypothesis(seen)
    if seen.role == Role.TRANSFER and seen.counterparty:
        yield about(FROM, group, seen.subject, day) + _digest(seen.signal_id)
        yield about(TO, group, seen.counterparty, day) + _digest(seen.signal_id)
    for token, kind in seen.links:
        if kind not in WEAK_TYPES and seen.subject_type not in WEAK_TYPES and seen.role != Role.SHARED:
            yield about(LINK, group, seen.subject) + _digest(token)
            yield about(LINK, group, token) + _digest(seen.subject)


_SIZE: Final = 16


def _digest(*parts: bytes) -> bytes:
    digest = blake2b(digest_size=_SIZE)
    for part in parts:
        digest.update(len(part).to_bytes(2, "big") + part)
    return digest.digest()


def _bytes(day: int) -> bytes:
    return day.to_bytes(8, "big")
