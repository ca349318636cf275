"""Where matches are found again: by token, anchor, instance and place.

Invariants: what is found is what the matches hold, after every call; the instances a match holds change only
through here, and an instance is never changed once it is in.
"""

from collections.abc import Iterable, Set

from exchange.domain.matching.finding import Pattern
from exchange.domain.matching.match import Instance, Match

_Counts = dict[int, int]


class Register:
    """All matches, by id and by what they hold."""

    def __init__(self) -> None:
        self.by_id: dict[bytes, Match] = {}
        self.by_number: dict[int, Match] = {}
        self._naming: dict[bytes, _Counts] = {}
        self._anchored: dict[bytes, dict[Pattern, _Counts]] = {}
        self._instances: dict[tuple[Pattern, bytes], int] = {}
        self._at: dict[int, set[tuple[int, bytes]]] = {}
        self._refuted: dict[Pattern, _Counts] = {}

    def add(self, match: Match) -> None:
        """Take a match in that holds nothing yet."""
        self.by_id[match.match_id] = match
        self.by_number[match.number] = match

    def forget(self, match: Match) -> None:
        """Let a match go that holds nothing any more."""
        del self.by_id[match.match_id], self.by_number[match.number]

    # --- instances

    def put(self, match: Match, instance: Instance) -> None:
        """Have a match hold a standing instance, in place of the one of that key."""
        self._leave(match, instance.key)
        match.put(instance)
        self._count(match, instance, 1)

    def settle(self, match: Match, instance: Instance) -> None:
        """Have a match keep an instance that no longer stands, in place of the one of that key."""
        self._leave(match, instance.key)
        match.settle(instance)
        self._count(match, instance, 1, stands=False)

    def drop(self, match: Match, key: bytes) -> None:
        """Let an instance go, if it is there."""
        self._leave(match, key)
        match.drop(key)

    def _leave(self, match: Match, key: bytes) -> None:
        if key in match.instances:
            self._count(match, match.instances[key], -1)
        elif key in match.settled:
            self._count(match, match.settled[key], -1, stands=False)

    def _count(self, match: Match, instance: Instance, by: int, *, stands: bool = True) -> None:
        here = (match.number, instance.key)
        for place, item in instance.evidence.items():
            places = self._at.setdefault(place, set())
            if by > 0:
                places.add(here)
            else:
                places.discard(here)
            if not places:
                del self._at[place]
            if item.refuted:
                _add(self._refuted.setdefault(match.pattern, {}), place, by)
        if not stands:
            return
        for token in {subject.token for subject in instance.subjects}:
            _add(self._naming.setdefault(token, {}), match.number, by)
            if not self._naming[token]:
                del self._naming[token]
        for anchor in instance.anchors:
            patterns = self._anchored.setdefault(anchor, {})
            _add(patterns.setdefault(match.pattern, {}), match.number, by)
            if not patterns[match.pattern]:
                del patterns[match.pattern]
                if not patterns:
                    del self._anchored[anchor]
        if by > 0:
            self._instances[(match.pattern, instance.key)] = match.number
        else:
            del self._instances[(match.pattern, instance.key)]

    # --- finding them

    @property
    def named(self) -> Set[bytes]:
        """Tokens that some match names as subject."""
        return self._naming.keys()

    def naming(self, token: bytes) -> list[Match]:
        """Matches that name a token as subject, oldest first."""
        return [self.by_number[number] for number in sorted(self._naming.get(token, ()))]

    def touching(self, token: bytes) -> list[Match]:
        """Matches that name a token as subject or as anchor, oldest first."""
        if token not in self._naming and token not in self._anchored:
            return []
        numbers = set(self._naming.get(token, ()))
        for counts in self._anchored.get(token, {}).values():
            numbers |= counts.keys()
        return [self.by_number[number] for number in sorted(numbers)]

    def anchored(self, pattern: Pattern, tokens: Iterable[bytes]) -> Match | None:
        """The oldest match of a pattern that has one of the tokens as an anchor."""
        numbers = {number for token in tokens for number in self._anchored.get(token, {}).get(pattern, ())}
        return self.by_number[min(numbers)] if numbers else None

    def standing(self, pattern: Pattern, key: bytes) -> Match | None:
        """The match in which an instance stands."""
        number = self._instances.get((pattern, key))
        return None if number is None else self.by_number[number]

    def at(self, place: int) -> list[tuple[Match, bytes]]:
        """Instances with evidence at a place, standing or not."""
        return [(self.by_number[number], key) for number, key in sorted(self._at.get(place, ()))]

    def standing_at(self, place: int) -> list[Match]:
        """Matches in which an instance with evidence at a place stands, oldest first."""
        found = {match.number: match for match, key in self.at(place) if key in match.instances}
        return list(found.values())

    def refuted(self, pattern: Pattern) -> Set[int]:
        """Places of the evidence for a pattern that its own group took back."""
        return self._refuted.get(pattern, {}).keys()


def _add(counts: dict[int, int], key: int, by: int) -> None:
    count = counts.get(key, 0) + by
    if count:
        counts[key] = count
    else:
        del counts[key]
