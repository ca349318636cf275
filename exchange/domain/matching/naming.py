"""Who names which tokens in the observations of the matching window: whom a match concerns.

Invariants: a token is told of to nobody who doesn't name it; what is let go of names nobody any more.
"""

from collections.abc import Iterator

from signalexchange.v1.signal_pb2 import Signal

from exchange.domain.matching.observation import Observation

DAY = 86_400


class Naming:
    """Observations by place, and by token the members whose observations name it as subject, counterparty or
    link."""

    def __init__(self) -> None:
        self._by_place: dict[int, Observation] = {}
        self._days: dict[int, set[int]] = {}
        self._named: dict[bytes, tuple[int, dict[str, int]]] = {}

    def __contains__(self, place: int) -> bool:
        return place in self._by_place

    def add(self, seen: Observation, signal: Signal) -> None:
        """Take in an observation, and the signal it was read from."""
        if seen.place in self._by_place:
            return
        self._by_place[seen.place] = seen
        self._days.setdefault(seen.last // DAY, set()).add(seen.place)
        epoch = signal.subject.epoch
        epochs = [epoch, epoch, *(link.epoch for link in signal.links)]
        for token, token_epoch in zip(tokens_of(seen), epochs, strict=True):
            if token:
                known = self._named.get(token)
                if known is None:
                    self._named[token] = token_epoch, {seen.member: 1}
                else:
                    known[1][seen.member] = known[1].get(seen.member, 0) + 1

    def remove(self, place: int) -> None:
        """Let an observation go, if it is here."""
        seen = self._by_place.pop(place, None)
        if seen is None:
            return
        day = self._days[seen.last // DAY]
        day.discard(place)
        if not day:
            del self._days[seen.last // DAY]
        for token in tokens_of(seen):
            if token:
                members = self._named[token][1]
                members[seen.member] -= 1
                if not members[seen.member]:
                    del members[seen.member]
                    if not members:
                        del self._named[token]

    def prune(self, before: int) -> None:
        """Let go of what was last seen on days that ended before Unix seconds `before`."""
        for day in [day for day in self._days if (day + 1) * DAY <= before]:
            for place in list(self._days[day]):
                self.remove(place)

    def members(self, token: bytes) -> Iterator[tuple[str, int]]:
        """Who names the token, with its epoch."""
        epoch, members = self._named.get(token, (0, {}))
        return ((member, epoch) for member in members)

    def places_of(self, member: str) -> list[int]:
        """Places of a member's observations, ascending."""
        return sorted(place for place, seen in self._by_place.items() if seen.member == member)


def tokens_of(seen: Observation) -> tuple[bytes, ...]:
    """Every token an observation names; the counterparty's is empty where there is none."""
    return (seen.subject, seen.counterparty, *(token for token, _ in seen.links))
