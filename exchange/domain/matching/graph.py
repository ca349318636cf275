"""The observations of the matching window, found by token, by pair and by shared value.

Invariants: what is in the graph depends only on which observations are in it, not on the order they came in;
no search looks at more than the latest `fan` legs of a token and group, so that one group's flood can crowd
out only its own legs; legs beyond `legs_per_pair_and_day`, and legs that repeat a withdrawn one, are not
looked at; a group counts for at most its share of a value's degree. Kept in memory and rebuilt from storage.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Final

from signalexchange.patterns import Matching

from exchange.domain.matching.identity import Alias, Identities
from exchange.domain.matching.movement import SLOT, is_same
from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.spent import hypothesis

__all__ = ["DAY", "Alias", "Graph"]

HOUR: Final = 3_600
DAY: Final = 24 * HOUR
_LEGS: Final = frozenset({Role.PAYMENT, Role.TRANSFER, Role.REFUND})
_FIRST: Final = attrgetter("first")
order: Final[Callable[[Observation], tuple[int, bytes]]] = attrgetter("first", "signal_id")
"""By time, and within a slot by what doesn't depend on when it arrived."""
_FLOWS: Final = frozenset({Role.PAYMENT, Role.TRANSFER})
_NOTHING: Final[tuple[int, int, list[Observation]]] = (-1, -1, [])


class Graph(Identities):
    """Observations by place, with what the rules ask of them."""

    def __init__(self, rules: Matching) -> None:
        super().__init__(rules)
        self._by_place: dict[int, Observation] = {}
        self._days: dict[int, set[int]] = {}
        self._out: dict[bytes, dict[str, list[Observation]]] = {}
        self._in: dict[bytes, dict[str, list[Observation]]] = {}
        self._about: dict[bytes, dict[str, list[Observation]]] = {}
        self._pairs: dict[tuple[int, bytes, bytes], list[Observation]] = {}
        self._news: set[int] = set()
        self._changes = 0
        self._touched = _NOTHING

    def __len__(self) -> int:
        return len(self._by_place)

    def __contains__(self, place: int) -> bool:
        return place in self._by_place

    def get(self, place: int) -> Observation | None:
        """The observation at a place."""
        return self._by_place.get(place)

    # --- what is in it

    def add(self, seen: Observation) -> bool:
        """Take an observation in; False where it is there already or is a hypothesis too many."""
        if seen.place in self._by_place:
            return False
        subject, other = seen.subject, seen.counterparty
        if other and seen.role in _LEGS:
            if self.spent and hypothesis(seen) in self.spent:
                return False
            rows = self._pairs.setdefault((seen.role, subject, other), [])
            if len(rows) >= self.rules.legs_per_pair_and_day and self._repeats(rows, seen):
                return False
            _insert(rows, seen)
        self._changes += 1
        self._by_place[seen.place] = seen
        self._days.setdefault(seen.last // DAY, set()).add(seen.place)
        self._types.setdefault(subject, seen.subject_type)
        if seen.role == Role.SHARED:
            self._share(seen, 1)
            return True
        if other:
            self._types.setdefault(other, seen.counterparty_type)
            self._peer(seen, 1)
        if seen.role in _FLOWS:
            _insert(self._out.setdefault(subject, {}).setdefault(seen.group, []), seen)
            _insert(self._in.setdefault(other, {}).setdefault(seen.group, []), seen)
        else:
            _insert(self._about.setdefault(subject, {}).setdefault(seen.group, []), seen)
        if seen.links and self._link(seen, 1):
            self._news.add(seen.place)
        return True

    def remove(self, place: int) -> Observation | None:
        """Let an observation go; None if it wasn't there."""
        seen = self._by_place.pop(place, None)
        if seen is None:
            return None
        day = self._days[seen.last // DAY]
        day.discard(place)
        if not day:
            del self._days[seen.last // DAY]
        self._changes += 1
        self._touched = _NOTHING
        self._news.discard(place)
        if seen.role == Role.SHARED:
            self._share(seen, -1)
            return seen
        if seen.counterparty:
            if seen.role in _LEGS:
                pair = (seen.role, seen.subject, seen.counterparty)
                _take_out(self._pairs[pair], seen)
                if not self._pairs[pair]:
                    del self._pairs[pair]
            self._peer(seen, -1)
        if seen.role in _FLOWS:
            _delete(self._out, seen.subject, seen)
            _delete(self._in, seen.counterparty, seen)
        else:
            _delete(self._about, seen.subject, seen)
        self._link(seen, -1)
        return seen

    def prune(self, before: int) -> list[Observation]:
        """Let go of what was last seen on days that ended before Unix seconds `before`."""
        old = [place for day, places in self._days.items() if (day + 1) * DAY <= before for place in places]
        gone = [self.remove(place) for place in sorted(old)]
        if self.spent.prune(before) or gone:
            # Once a day: who read what of tokens that live on is noted until then, also for those that don't.
            self._forget_everybody()
        if len(self._types) > 8 * len(self._by_place):
            self._forget_types()
        return [seen for seen in gone if seen is not None]

    def _repeats(self, rows: Sequence[Observation], leg: Observation) -> bool:
        """Whether the leg's group has said as much of that pair and day as is looked at."""
        day = leg.first // DAY * DAY
        said = rows[_low(rows, day) : _high(rows, day + DAY - 1)]
        return sum(row.group == leg.group for row in said) >= self.rules.legs_per_pair_and_day

    # --- what is asked

    def is_news(self, seen: Observation) -> bool:
        """Whether its group said any of its links with this observation first."""
        return seen.place in self._news

    def reporters(self, leg: Observation) -> list[str]:
        """Groups that report the same money as a leg, its own first: each knows whose accounts they are."""
        if len(self._pairs.get((leg.role, leg.subject, leg.counterparty), ())) < 2:
            return [leg.group]
        pair = [(leg.subject, None)], [(leg.counterparty, None)]
        near = self.between(leg.role, *pair, leg.first - 2 * SLOT, leg.first + 2 * SLOT)
        return [leg.group, *sorted({row.group for row in near if is_same(row, leg)} - {leg.group})]

    def touched(self, seen: Observation) -> list[Observation]:
        """What is known of the one whom an observation is about, besides it: the latest of each group in its
        window."""
        # Every rule asks this of the same observation.
        if self._touched[:2] != (self._changes, seen.place):
            who = self.who(seen.subject, seen.group)
            since, until = seen.last - self.rules.window_days * DAY, 1 << 60
            rows = {
                row.place: row
                for found in (self.out_of, self.into, self.about)
                for row in found(who, since, until)
                if row.place != seen.place
            }
            self._touched = self._changes, seen.place, list(rows.values())
        return self._touched[2]

    def into(self, who: Iterable[Alias], since: int, until: int) -> list[Observation]:
        """Payments and transfers to someone that began in [since, until], the latest of each group."""
        return self._legs(self._in, who, since, until)

    def out_of(self, who: Iterable[Alias], since: int, until: int) -> list[Observation]:
        """Payments and transfers by someone that began in [since, until], the latest of each group."""
        return self._legs(self._out, who, since, until)

    def about(self, who: Iterable[Alias], since: int, until: int) -> list[Observation]:
        """What else is said of someone that began in [since, until], the latest of each group."""
        return self._legs(self._about, who, since, until)

    def between(
        self, role: Role, source: Iterable[Alias], sink: Sequence[Alias], since: int, until: int
    ) -> list[Observation]:
        """Legs of a role from one to another that began in [since, until], in time order."""
        found: dict[int, Observation] = {}
        for token, scope in source:
            for other, other_scope in sink:
                rows = self._pairs.get((role, token, other))
                if not rows:
                    continue
                near = rows[_low(rows, since) : _high(rows, until)]
                if scope and other_scope and scope != other_scope:
                    # One knows whose account it left, the other whose it came to: both must report it.
                    near = _told_by_both(near, scope, other_scope)
                    group = None
                else:
                    group = scope or other_scope
                for seen in near:
                    if group is None or seen.group == group:
                        found[seen.place] = seen
        return sorted(found.values(), key=order) if len(found) > 1 else list(found.values())

    def _legs(
        self, index: dict[bytes, dict[str, list[Observation]]], who: Iterable[Alias], since: int, until: int
    ) -> list[Observation]:
        parts: list[list[Observation]] = []
        for token, scope in who:
            groups = index.get(token)
            if groups is None:
                continue
            for group, rows in groups.items():
                if scope is None or scope == group:
                    if rows[0].first < since or rows[-1].first > until:
                        rows = rows[_low(rows, since) : _high(rows, until)]
                    if rows:
                        parts.append(rows[-self.rules.fan :])
        if len(parts) < 2:
            return parts[0] if parts else []
        found = {seen.place: seen for part in parts for seen in part}
        return sorted(found.values(), key=order)


def _told_by_both(rows: Sequence[Observation], one: str, other: str) -> list[Observation]:
    pairs = [
        (seen, twin)
        for seen in rows
        if seen.group == one
        for twin in rows
        if twin.group == other and is_same(seen, twin)
    ]
    return [seen for pair in pairs for seen in pair]


def _low(rows: Sequence[Observation], since: int) -> int:
    if not rows or rows[0].first >= since:
        return 0
    return bisect_left(rows, since, key=_FIRST)


def _high(rows: Sequence[Observation], until: int) -> int:
    if not rows or rows[-1].first <= until:
        return len(rows)
    return bisect_right(rows, until, key=_FIRST)


def _insert(rows: list[Observation], seen: Observation) -> None:
    if not rows or order(rows[-1]) <= order(seen):
        rows.append(seen)
    else:
        insort(rows, seen, key=order)


def _take_out(rows: list[Observation], seen: Observation) -> None:
    at = bisect_left(rows, order(seen), key=order)
    while rows[at].place != seen.place:
        at += 1
    del rows[at]


def _delete(index: dict[bytes, dict[str, list[Observation]]], token: bytes, seen: Observation) -> None:
    groups = index[token]
    rows = groups[seen.group]
    _take_out(rows, seen)
    if not rows:
        del groups[seen.group]
        if not groups:
            del index[token]
