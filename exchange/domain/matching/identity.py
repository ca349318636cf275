"""Who is one person, and who shares a value with whom, as far as tokens tell.

Invariants: a person is what one group means by a token: the tokens it links itself, and those that two groups
link; a device or address never makes two persons one, nor does a value that stands for several: one with two
national ids behind it, with too many neighbours, or said to be shared; two ends of legs are one person's if
what is claimed of them meets and doesn't name two national ids.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from signalexchange.patterns import Matching
from signalexchange.v1.identifier_pb2 import IdentifierType

from exchange.domain.matching.observation import MERCHANT, NATIONAL_ID, WEAK_TYPES, Observation

_HELD: Final[Mapping[int, str]] = {
    IdentifierType.IDENTIFIER_TYPE_DEVICE: "device",
    IdentifierType.IDENTIFIER_TYPE_ADDRESS: "address",
    IdentifierType.IDENTIFIER_TYPE_PHONE: "phone",
    IdentifierType.IDENTIFIER_TYPE_EMAIL: "email",
}
"""Types of values whose holders are counted; of all others those they deal with are."""
_NO_LINKS: Final[Mapping[bytes, int]] = {}

K = TypeVar("K")
L = TypeVar("L")

Alias = tuple[bytes, str | None]
"""A token, and the only group whose observations count under it; None for all groups'."""
End = tuple[bytes, str]
"""A token, and the group that names somebody by it."""


class SetAside(NamedTuple):
    """A value that joins nobody: how many neighbours count, the limit, and whether members say that it is
    known to be shared."""

    token: bytes
    type: int
    degree: int
    limit: int
    known: bool


class Identities:
    """Links between tokens and how often each group states them."""

    def __init__(self, rules: Matching) -> None:
        self.rules = rules
        self._types: dict[bytes, int] = {}
        self._links: dict[bytes, dict[str, dict[bytes, int]]] = {}
        self._values: dict[bytes, dict[str, dict[bytes, int]]] = {}
        self._holders: dict[bytes, dict[str, dict[bytes, int]]] = {}
        self._peers: dict[bytes, dict[str, dict[bytes, int]]] = {}
        self._shared: dict[bytes, dict[str, int]] = {}
        self._crowded: set[bytes] = set()
        # What was worked out since a link changed: searches ask for the same persons again and again.
        self._claimed: dict[End, list[bytes]] = {}
        self._who: dict[End, list[Alias]] = {}
        self._single: dict[End, bool] = {}

    # --- persons

    def claimed(self, token: bytes, group: str) -> list[bytes]:
        """Tokens of the one whom `group` means by `token`, itself first: reached over strong links that the
        group stated itself or that two groups affirm; at most one national id."""
        if token not in self._links:
            return [token]
        found = self._claimed.get((token, group))
        if found is None:
            found = self._claimed[token, group] = self._reached(token, group)
        return found

    def who(self, token: bytes, group: str) -> list[Alias]:
        """Under which tokens, and whose, observations are about the one whom `group` means by `token`."""
        if token not in self._links:
            return [(token, None)]
        found = self._who.get((token, group))
        if found is None:
            found = self._who[token, group] = self.aliases(self.claimed(token, group))
        return found

    def whoever(self, ends: Iterable[End]) -> list[Alias]:
        """Aliases of all whom the groups mean."""
        found: dict[Alias, None] = {}
        for token, group in sorted(set(ends)):
            found.update(dict.fromkeys(self.who(token, group)))
        return [alias for alias in found if alias[1] is None or (alias[0], None) not in found]

    def aliases(self, tokens: Sequence[bytes]) -> list[Alias]:
        """Under which tokens, and whose, observations are about the person with these claimed tokens."""
        found: dict[Alias, None] = {(token, None): None for token in tokens}
        ids = self._ids(tokens)
        for token in tokens:
            for group in sorted(self._links.get(token, ())):
                others = self.claimed(token, group)
                if len(ids | self._ids(others)) < 2:
                    found.update(((other, group), None) for other in others if (other, None) not in found)
        return list(found)

    def persons(self, ends: Iterable[End]) -> dict[End, int]:
        """Ends by the number of the person they belong to; numbers are from 0 in no particular order."""
        people: list[tuple[set[bytes], set[bytes], list[End]]] = []
        for end in sorted(set(ends)):
            tokens = set(self.claimed(*end))
            ids, mine = self._ids(tokens), [end]
            apart = []
            for person in people:
                if tokens.isdisjoint(person[0]) or len(ids | person[1]) > 1:
                    apart.append(person)
                else:
                    tokens |= person[0]
                    ids |= person[1]
                    mine += person[2]
            people = [*apart, (tokens, ids, mine)]
        return {end: number for number, person in enumerate(people) for end in person[2]}

    def is_business(self, token: bytes, group: str) -> bool:
        """Whether what `group` means by a token is a merchant."""
        return any(self._types.get(other) == MERCHANT for other in self.claimed(token, group))

    def types(self, tokens: Iterable[bytes]) -> set[int]:
        """Which types of identifiers there are among tokens."""
        return {self._types.get(token, 0) for token in tokens}

    def _reached(self, token: bytes, group: str) -> list[bytes]:
        found = [token]
        named = self._types.get(token) == NATIONAL_ID
        for at in found:
            for other in self._joined(at, group):
                if other not in found and not (named and self._types.get(other) == NATIONAL_ID):
                    if len(found) == self.rules.identity.tokens:
                        return found
                    named = named or self._types.get(other) == NATIONAL_ID
                    found.append(other)
        return found

    def _joined(self, token: bytes, group: str) -> list[bytes]:
        often: Counter[bytes] = Counter()
        own: list[bytes] = []
        for name, links in self._links.get(token, {}).items():
            if self._stands_for_one(token, name):
                others = [other for other in links if self._stands_for_one(other, name)]
                often.update(others)
                if name == group:
                    own = others
        return sorted({*own, *(other for other, times in often.items() if times > 1)})

    def _stands_for_one(self, token: bytes, group: str) -> bool:
        """Whether what a group links to a token can be one person's; else it makes nobody one."""
        known = self._single.get((token, group))
        if known is None:
            known = self._single[token, group] = self._is_single(token, group)
        return known

    def _is_single(self, token: bytes, group: str) -> bool:
        links = self._linked(token, group)
        if len(links) > self.rules.identity.neighbours or self.set_aside(token) is not None:
            return False
        if self._types.get(token) in (NATIONAL_ID, MERCHANT):
            return True
        ids = self._ids(links)
        for other in links:
            beyond = self._linked(other, group)
            if len(beyond) <= self.rules.identity.neighbours and self._types.get(other) != MERCHANT:
                ids |= self._ids(beyond)
        return len(ids) < 2

    def _linked(self, token: bytes, group: str) -> Mapping[bytes, int]:
        groups = self._links.get(token)
        return _NO_LINKS if groups is None else groups.get(group, _NO_LINKS)

    def _ids(self, tokens: Iterable[bytes]) -> set[bytes]:
        return {token for token in tokens if self._types.get(token) == NATIONAL_ID}

    # --- shared values

    def values(self, who: Iterable[Alias]) -> list[bytes]:
        """Values that others may share, ascending: what is linked to someone, as far as no group links more
        than `fan` to a token, and the person's own tokens."""
        found: set[bytes] = set()
        for token, scope in who:
            found.add(token)
            for group, values in self._values.get(token, {}).items():
                if (scope is None or scope == group) and len(values) <= self.rules.fan:
                    found.update(values)
        return sorted(found)

    def holders(self, value: bytes) -> list[End]:
        """Subjects that groups say have the value, with the group; none of a group that says so of more than
        `fan`, since it knows the value as everybody's."""
        return sorted(
            (subject, group)
            for group, subjects in self._holders.get(value, {}).items()
            if len(subjects) <= self.rules.fan
            for subject in subjects
        )

    def stating(self, token: bytes) -> list[str]:
        """Groups that link the token to anything, ascending."""
        return sorted({*self._values.get(token, ()), *self._links.get(token, ())})

    def stated(self, who: Iterable[Alias], value: bytes) -> list[End]:
        """Under which tokens, and by which groups, it is said that someone has a value."""
        return sorted(
            (token, group)
            for token, scope in who
            for group, values in self._values.get(token, {}).items()
            if value in values and (scope is None or scope == group)
        )

    def counted(self, value: bytes, limit: int) -> int:
        """How many neighbours of a value count towards a limit: a group for no more than its share."""
        share = max(1, limit * self.rules.degrees.group_share // 1000)
        held = self._types.get(value, 0) in _HELD
        groups = (self._holders if held else self._peers).get(value)
        if not groups:
            return 0
        few = [others for others in groups.values() if len(others) <= share]
        if len(groups) == 1 or not held:
            return sum(len(others) for others in few) + share * (len(groups) - len(few))
        return len(set().union(*few)) + share * (len(groups) - len(few))

    def degree(self, value: bytes) -> tuple[int, int]:
        """How many neighbours of a value count, and from how many on it is set aside."""
        kind = self._types.get(value, 0)
        name = _HELD.get(kind, "merchant" if kind == MERCHANT else "account")
        limit: int = getattr(self.rules.degrees, name)
        return self.counted(value, limit), limit

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
        """Every value that joins nobody at present, ascending."""
        self._crowded = {value for value in self._crowded if self.degree(value)[0] > self.degree(value)[1]}
        for value in sorted({*self._crowded, *self._shared}):
            aside = self.set_aside(value)
            if aside is not None:
                yield aside

    # --- upkeep

    def _forget_persons(self) -> None:
        self._claimed.clear()
        self._who.clear()
        self._single.clear()

    def _peer(self, seen: Observation, by: int) -> None:
        for token, other in ((seen.subject, seen.counterparty), (seen.counterparty, seen.subject)):
            count(self._peers, token, seen.group, other, by)
            if by > 0:
                self._note(token, self._peers[token])

    def _link(self, seen: Observation, by: int) -> bool:
        """Count the links of an observation; whether its group said or stopped saying any."""
        changed = False
        for token, kind in seen.links:
            self._types[token] = kind
            count(self._values, seen.subject, seen.group, token, by)
            if count(self._holders, token, seen.group, seen.subject, by) in (0, by):
                changed = True
                if by > 0:
                    self._note(token, self._holders[token])
            if kind not in WEAK_TYPES and seen.subject_type not in WEAK_TYPES:
                count(self._links, seen.subject, seen.group, token, by)
                count(self._links, token, seen.group, seen.subject, by)
        if changed:
            self._forget_persons()
        return changed

    def _note(self, value: bytes, groups: Mapping[str, Mapping[bytes, int]]) -> None:
        if max(map(len, groups.values())) > 4 and value not in self._crowded:
            degree, limit = self.degree(value)
            if degree > limit:
                self._crowded.add(value)
                self._forget_persons()


def count(index: dict[K, dict[str, dict[L, int]]], one: K, group: str, other: L, by: int) -> int:
    """Add to what a group says of two tokens; how often it says it now."""
    groups = index.setdefault(one, {})
    counts = groups.setdefault(group, {})
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
