"""The observations of the matching window, found by token, by pair and by shared value.

Invariants: what is in the graph depends only on which observations are in it, not on the order they came in;
no search looks at more than the latest `fan` legs of a token and group, so that one group's flood can crowd
out only its own legs; legs beyond `legs_per_pair_and_day`, and legs that repeat a withdrawn one, are not
looked at; a group counts for at most its share of a value's degree. Kept in memory and rebuilt from storage.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from signalexchange.patterns import Matching
from signalexchange.v1.identifier_pb2 import IdentifierType

from exchange.domain.matching.observation import MERCHANT, NATIONAL_ID, WEAK_TYPES, Observation, Role

DAY: Final = 86_400
_LEGS: Final = frozenset({Role.PAYMENT, Role.TRANSFER, Role.REFUND})
_DEGREE_NAMES: Final[Mapping[int, str]] = {
    IdentifierType.IDENTIFIER_TYPE_DEVICE: "device",
    IdentifierType.IDENTIFIER_TYPE_ADDRESS: "address",
    IdentifierType.IDENTIFIER_TYPE_PHONE: "phone",
    IdentifierType.IDENTIFIER_TYPE_EMAIL: "email",
    IdentifierType.IDENTIFIER_TYPE_MERCHANT: "merchant",
}

K = TypeVar("K")
L = TypeVar("L")

Alias = tuple[bytes, str | None]
"""A token, and the only group whose observations count under it; None for all groups'."""


class SetAside(NamedTuple):
    """A value that joins nobody: how many neighbours count, the limit, and whether members say that it is
    known to be shared."""

    token: bytes
    type: int
    degree: int
    limit: int
    known: bool


class Graph:
    """Observations by place, with what the rules ask of them."""

    def __init__(self, rules: Matching) -> None:
        self.rules = rules
        self._by_place: dict[int, Observation] = {}
        self._days: dict[int, set[int]] = {}
        self._out: dict[bytes, dict[str, list[Observation]]] = {}
        self._in: dict[bytes, dict[str, list[Observation]]] = {}
        self._about: dict[bytes, dict[str, list[Observation]]] = {}
        self._pairs: dict[tuple[int, bytes, bytes], list[Observation]] = {}
        self._links: dict[bytes, dict[str, dict[bytes, int]]] = {}
        self._types: dict[bytes, int] = {}
        self._values: dict[bytes, dict[str, dict[bytes, int]]] = {}
        self._holders: dict[bytes, dict[str, dict[bytes, int]]] = {}
        self._peers: dict[bytes, dict[str, dict[bytes, int]]] = {}
        self._shared: dict[bytes, dict[str, int]] = {}
        self._planted: dict[bytes, list[int]] = {}
        self._spent: dict[bytes, int] = {}

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
        if seen.role in _LEGS and seen.counterparty:
            key = hypothesis(seen)
            planted = self._planted.setdefault(key, [])
            if key in self._spent or len(planted) >= self.rules.legs_per_pair_and_day:
                if not planted:
                    del self._planted[key]
                return False
            planted.append(seen.place)
        self._by_place[seen.place] = seen
        self._days.setdefault(seen.last // DAY, set()).add(seen.place)
        self._types[seen.subject] = seen.subject_type
        if seen.role == Role.SHARED:
            _count(self._shared, seen.subject, seen.group, 1)
            return True
        if seen.counterparty:
            self._types[seen.counterparty] = seen.counterparty_type
            insort(self._pairs.setdefault((seen.role, seen.subject, seen.counterparty), []), seen, key=_order)
            self._peer(seen, 1)
        if seen.role in (Role.PAYMENT, Role.TRANSFER):
            _insert(self._out, seen.subject, seen)
            _insert(self._in, seen.counterparty, seen)
        elif seen.role != Role.LINK:
            _insert(self._about, seen.subject, seen)
        self._link(seen, 1)
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
        if seen.role == Role.SHARED:
            _count(self._shared, seen.subject, seen.group, -1)
            return seen
        if seen.counterparty:
            pair = (seen.role, seen.subject, seen.counterparty)
            self._pairs[pair].remove(seen)
            if not self._pairs[pair]:
                del self._pairs[pair]
            self._peer(seen, -1)
        if seen.role in (Role.PAYMENT, Role.TRANSFER):
            _delete(self._out, seen.subject, seen)
            _delete(self._in, seen.counterparty, seen)
        elif seen.role != Role.LINK:
            _delete(self._about, seen.subject, seen)
        self._link(seen, -1)
        if seen.role in _LEGS and seen.counterparty:
            key = hypothesis(seen)
            self._planted[key].remove(place)
            if not self._planted[key]:
                del self._planted[key]
        return seen

    def spend(self, key: bytes, until: int) -> None:
        """A leg was withdrawn: its group's legs on that pair and day are not looked at any more, until Unix
        seconds `until`."""
        self._spent[key] = max(until, self._spent.get(key, 0))

    def prune(self, before: int) -> list[Observation]:
        """Let go of what was last seen on days that ended before Unix seconds `before`."""
        old = [place for day, places in self._days.items() if (day + 1) * DAY <= before for place in places]
        gone = [self.remove(place) for place in sorted(old)]
        for key in [key for key, until in self._spent.items() if until <= before]:
            del self._spent[key]
        return [seen for seen in gone if seen is not None]

    # --- persons

    def claimed(self, token: bytes, group: str) -> list[bytes]:
        """Tokens of the one whom `group` means by `token`: reached over strong links that the group stated
        itself or that two groups affirm."""
        found = [token]
        limit = self.rules.identity.tokens
        at = 0
        while at < len(found):
            for other in self._joined(found[at], group):
                if other not in found:
                    if len(found) == limit:
                        return found
                    found.append(other)
            at += 1
        return found

    def aliases(self, tokens: Sequence[bytes]) -> list[Alias]:
        """Under which tokens, and whose, observations are about the person with these claimed tokens."""
        found: dict[Alias, None] = {(token, None): None for token in tokens}
        for token in tokens:
            for group in self._links.get(token, ()):
                for other in self.claimed(token, group):
                    if (other, None) not in found:
                        found[(other, group)] = None
        return list(found)

    def who(self, token: bytes, group: str) -> list[Alias]:
        """Aliases of the one whom `group` means by `token`."""
        if token not in self._links:
            return [(token, None)]
        return self.aliases(self.claimed(token, group))

    def _joined(self, token: bytes, group: str) -> list[bytes]:
        groups = self._links.get(token)
        if not groups:
            return []
        stated = {name: links for name, links in groups.items() if self._joins_one(links)}
        often = Counter(other for links in stated.values() for other in links)
        own = stated.get(group, {})
        return sorted(other for other, times in often.items() if times > 1 or other in own)

    def _joins_one(self, links: Mapping[bytes, int]) -> bool:
        """Whether what a group links to a token can be one person's; else the token stands for several, and
        makes nobody one."""
        return (
            len(links) <= self.rules.identity.neighbours
            and sum(self._types.get(token) == NATIONAL_ID for token in links) < 2
        )

    # --- legs

    def into(self, who: Iterable[Alias], since: int, until: int) -> list[Observation]:
        """Payments and transfers to someone that began in [since, until], the latest of each group."""
        return self._legs(self._in, who, since, until)

    def out_of(self, who: Iterable[Alias], since: int, until: int) -> list[Observation]:
        """Payments and transfers by someone that began in [since, until], the latest of each group."""
        return self._legs(self._out, who, since, until)

    def about(self, who: Iterable[Alias], since: int, until: int) -> list[Observation]:
        """Refunds, cycles and lines of someone that began in [since, until], the latest of each group."""
        return self._legs(self._about, who, since, until)

    def between(
        self, role: Role, source: Iterable[Alias], sink: Sequence[Alias], since: int, until: int
    ) -> list[Observation]:
        """Legs of a role from one to another that began in [since, until], in time order."""
        found: dict[int, Observation] = {}
        for token, scope in source:
            for other, other_scope in sink:
                if scope and other_scope and scope != other_scope:
                    continue
                rows = self._pairs.get((role, token, other))
                if rows:
                    group = scope or other_scope
                    for seen in rows[_low(rows, since) : _high(rows, until)]:
                        if group is None or seen.group == group:
                            found[seen.place] = seen
        return sorted(found.values(), key=_order)

    def _legs(
        self, index: dict[bytes, dict[str, list[Observation]]], who: Iterable[Alias], since: int, until: int
    ) -> list[Observation]:
        found: dict[int, Observation] = {}
        for token, scope in who:
            groups = index.get(token)
            if not groups:
                continue
            for group, rows in groups.items() if scope is None else ((scope, groups.get(scope, ())),):
                if rows and group:
                    high = _high(rows, until)
                    for seen in rows[max(_low(rows, since), high - self.rules.fan) : high]:
                        found[seen.place] = seen
        return sorted(found.values(), key=_order)

    # --- shared values

    def values(self, who: Iterable[Alias]) -> list[bytes]:
        """Values linked to someone that others may share: devices, addresses, phones, e-mail addresses."""
        found: dict[bytes, None] = {}
        for token, scope in who:
            for group, values in self._values.get(token, {}).items():
                if scope is None or scope == group:
                    found.update(dict.fromkeys(values))
        return list(found)

    def holders(self, value: bytes) -> list[tuple[bytes, str]]:
        """Subjects that groups say have the value, with the group: the latest of each group."""
        return sorted(
            (subject, group)
            for group, subjects in self._holders.get(value, {}).items()
            for subject in islice(reversed(subjects), self.rules.fan)
        )

    def degree(self, value: bytes) -> tuple[int, int]:
        """How many neighbours of a value count, and from how many on it is set aside."""
        limits = self.rules.degrees
        limit: int = getattr(limits, _DEGREE_NAMES.get(self._types.get(value, 0), "account"))
        share = max(1, limit * limits.group_share // 1000)
        held, met = self._holders.get(value, {}), self._peers.get(value, {})
        weak = self._types.get(value, 0) in WEAK_TYPES
        index = held if weak else met if self._types.get(value) == MERCHANT or not held else held
        return sum(min(len(others), share) for others in index.values()), limit

    def known_shared(self, value: bytes) -> bool:
        """Whether two groups say that many unrelated share the value."""
        return len(self._shared.get(value, ())) > 1

    def set_aside(self, value: bytes) -> SetAside | None:
        """Why a value joins nobody; None if it may."""
        degree, limit = self.degree(value)
        known = self.known_shared(value)
        if degree <= limit and not known:
            return None
        return SetAside(value, self._types.get(value, 0), degree, limit, known)

    def all_set_aside(self) -> Iterator[SetAside]:
        """Every value that joins nobody at present."""
        for value in sorted({*self._holders, *self._peers, *self._shared}):
            aside = self.set_aside(value)
            if aside is not None:
                yield aside

    # --- upkeep

    def _peer(self, seen: Observation, by: int) -> None:
        for token, other in ((seen.subject, seen.counterparty), (seen.counterparty, seen.subject)):
            _count(self._peers.setdefault(token, {}), seen.group, other, by)
            if not self._peers[token]:
                del self._peers[token]

    def _link(self, seen: Observation, by: int) -> None:
        for token, kind in seen.links:
            self._types[token] = kind
            for index, one, other in (
                (self._values, seen.subject, token),
                (self._holders, token, seen.subject),
            ):
                groups = index.setdefault(one, {})
                _count(groups, seen.group, other, by)
                if not groups:
                    del index[one]
            if kind not in WEAK_TYPES and seen.subject_type not in WEAK_TYPES:
                for one, other in ((seen.subject, token), (token, seen.subject)):
                    groups = self._links.setdefault(one, {})
                    _count(groups, seen.group, other, by)
                    if not groups:
                        del self._links[one]


def hypothesis(leg: Observation) -> bytes:
    """What a leg claims, as far as it counts as one hypothesis: group, pair and day; 16 bytes."""
    digest = blake2b(digest_size=16)
    for part in (leg.group.encode(), leg.subject, leg.counterparty, (leg.first // DAY).to_bytes(8, "big")):
        digest.update(len(part).to_bytes(2, "big") + part)
    return digest.digest()


def _order(seen: Observation) -> tuple[int, int]:
    return seen.first, seen.place


def _low(rows: list[Observation], since: int) -> int:
    return bisect_left(rows, (since, -1), key=_order)


def _high(rows: list[Observation], until: int) -> int:
    return bisect_right(rows, (until, 1 << 62), key=_order)


def _insert(index: dict[bytes, dict[str, list[Observation]]], token: bytes, seen: Observation) -> None:
    insort(index.setdefault(token, {}).setdefault(seen.group, []), seen, key=_order)


def _delete(index: dict[bytes, dict[str, list[Observation]]], token: bytes, seen: Observation) -> None:
    groups = index[token]
    rows = groups[seen.group]
    del rows[bisect_left(rows, _order(seen), key=_order)]
    if not rows:
        del groups[seen.group]
        if not groups:
            del index[token]


def _count(index: dict[K, dict[L, int]], one: K, other: L, by: int) -> None:
    inner = index.setdefault(one, {})
    count = inner.get(other, 0) + by
    if count:
        inner[other] = count
    else:
        del inner[other]
        if not inner:
            del index[one]
