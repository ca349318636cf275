"""Who is one person, and who has which values, as far as tokens tell.

Invariants: a person is what one group means by a token: the tokens it links itself, and those that two groups
link; a device or address never makes two persons one, nor does a value that stands for several: one with two
national ids behind it, with too many neighbours, or said to be shared; two ends of legs are one person's if
what is claimed of them meets and doesn't name two national ids.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from signalexchange.patterns import Matching

from exchange.domain.matching.observation import MERCHANT, NATIONAL_ID, PHONE, WEAK_TYPES, Observation
from exchange.domain.matching.shared import NO_GROUPS, SharedValues, count
from exchange.domain.matching.spent import LINK, Spent, about

_NO_LINKS: Final[Mapping[bytes, int]] = {}


Alias = tuple[bytes, str | None]
"""A token, and the only group whose observations count under it; None for all groups'."""
End = tuple[bytes, str]
"""A token, and the group that names somebody by it."""


class _Claim(NamedTuple):
    """What a group claims of someone: tokens, the national ids among them, and the tokens whose links or
    degrees were read to know it."""

    tokens: list[bytes]
    ids: set[bytes]
    read: set[bytes]


class Identities(SharedValues):
    """Links between tokens and how often each group states them."""

    def __init__(self, rules: Matching) -> None:
        super().__init__(rules)
        self.spent = Spent()
        self._links: dict[bytes, dict[str, dict[bytes, int]]] = {}
        self._values: dict[bytes, dict[str, dict[bytes, int]]] = {}
        # Searches ask for the same persons again and again: what was worked out holds until a link or degree
        # changes that was read for it.
        self._claimed: dict[End, _Claim] = {}
        self._who: dict[End, list[Alias]] = {}
        self._single: dict[bytes, dict[str, bool]] = {}
        self._readers: dict[bytes, set[End]] = {}

    # --- persons

    def claimed(self, token: bytes, group: str) -> list[bytes]:
        """Tokens of the one whom `group` means by `token`: reached over strong links that the group stated
        itself or that two groups affirm; at most one national id."""
        if token not in self._links:
            return [token]
        return self._claim((token, group)).tokens

    def who(self, token: bytes, group: str) -> list[Alias]:
        """Under which tokens, and whose, observations are about the one whom `group` means by `token`."""
        if token not in self._links:
            return [(token, None)]
        found = self._who.get((token, group))
        if found is None:
            tokens = self._claim((token, group)).tokens
            read: set[bytes] = set()
            found = self._aliases(tokens, read)
            self._remember((token, group), read)
            for other in tokens:
                self._who[other, group] = found
        return found

    def whoever(self, ends: Iterable[End]) -> list[Alias]:
        """Aliases of all whom the groups mean."""
        several = set(ends)
        if len(several) == 1:
            return self.who(*several.pop())
        found: dict[Alias, None] = {}
        for token, group in sorted(several):
            found.update(dict.fromkeys(self.who(token, group)))
        return [alias for alias in found if alias[1] is None or (alias[0], None) not in found]

    def aliases(self, tokens: Sequence[bytes]) -> list[Alias]:
        """Under which tokens, and whose, observations are about the person with these claimed tokens."""
        return self._aliases(tokens, set())

    def persons(self, ends: Iterable[End]) -> dict[End, int]:
        """Ends by the number of the person they belong to; numbers are in no particular order.

        Each belongs to the end of the fewest claims that it meets. An end that meets several doesn't make
        them one: else one group could by its own links make one person of whoever others tell apart.
        """
        claims = {end: self._claim(end) for end in set(ends)}
        people: dict[bytes, list[int]] = {}
        ids: list[set[bytes]] = []
        found: dict[End, int] = {}
        for end in sorted(claims, key=lambda end: (len(claims[end].tokens), end)):
            claim = claims[end]
            number = found[end] = _first_met(claim, people, ids)
            if number < len(ids):
                ids[number] = ids[number] | claim.ids
                continue
            ids.append(claim.ids)
            for token in claim.tokens:
                people.setdefault(token, []).append(number)
        return found

    def is_alias(self, end: End, who: Sequence[Alias]) -> bool:
        """Whether what a group means by a token is the person with these aliases."""
        return (end[0], None) in who or end in who

    def is_business(self, token: bytes, group: str) -> bool:
        """Whether what `group` means by a token is a merchant."""
        return any(self._types.get(other) == MERCHANT for other in self.claimed(token, group))

    def type_of(self, token: bytes) -> int:
        """The IdentifierType of a token; 0 for an unknown one."""
        return self._types.get(token, 0)

    def named(self, tokens: Iterable[bytes]) -> set[bytes]:
        """The national ids among tokens."""
        return self._ids(tokens)

    def _claim(self, end: End) -> _Claim:
        if end[0] not in self._links:
            return _Claim([end[0]], self._ids(end[:1]), set())
        claim = self._claimed.get(end)
        if claim is None:
            read: set[bytes] = set()
            tokens = self._reached(*end, read)
            claim = _Claim(tokens, self._ids(tokens), read)
            self._remember(end, read)
            for token in tokens:
                self._claimed[token, end[1]] = claim
        return claim

    def _reached(self, token: bytes, group: str, read: set[bytes]) -> list[bytes]:
        found = [token]
        for at in found:
            found += [other for other in self._joined(at, group, read) if other not in found]
            if len(found) > self.rules.identity.tokens:
                break
        if len(found) > self.rules.identity.tokens or len(self._ids(found)) > 1:
            return [token]  # not one person
        return found

    def _joined(self, token: bytes, group: str, read: set[bytes]) -> list[bytes]:
        """Tokens that are the same person's for `group`."""
        read.add(token)
        often: dict[bytes, int] = {}
        for name, links in self._links.get(token, NO_GROUPS).items():
            if self._stands_for_one(token, name):
                worth = 2 if name == group else 1
                read.update(links)
                for other in links:
                    if self._stands_for_one(other, name):
                        often[other] = often.get(other, 0) + worth
        return sorted(other for other, times in often.items() if times > 1)

    def _stands_for_one(self, token: bytes, group: str) -> bool:
        """Whether what a group links to a token can be one person's; else it makes nobody one."""
        known = self._single.setdefault(token, {})
        single = known.get(group)
        if single is None:
            single = known[group] = self._is_single(token, group)
        return single

    def _is_single(self, token: bytes, group: str) -> bool:
        links = self._linked(token, group)
        most = self.rules.identity.neighbours
        if (
            len(links) + self._unlinked(token, group) > most
            or self._is_crowded(token)
            or self.known_shared(token)
        ):
            return False
        if len(links) < 2 or self._types.get(token) in (NATIONAL_ID, MERCHANT):
            return True
        ids = self._ids(links)
        for other in links:
            if self._types.get(other) not in (NATIONAL_ID, MERCHANT):
                beyond = self._linked(other, group)
                if len(beyond) <= most:
                    ids |= self._ids(beyond)
        return len(ids) < 2

    def _unlinked(self, token: bytes, group: str) -> int:
        """How many other tokens the group once linked to the token and took back."""
        key = about(LINK, group, token) if self.spent else b""
        tried = self.spent.tried(key)
        if tried:
            tried -= sum(self.spent.has_tried(key, other) for other in self._linked(token, group))
        return tried

    def _aliases(self, tokens: Sequence[bytes], read: set[bytes]) -> list[Alias]:
        found: dict[Alias, None] = {(token, None): None for token in tokens}
        ids = self._ids(tokens)
        for token in tokens:
            read.add(token)
            for group in sorted(self._links.get(token, ())):
                claim = self._claim((token, group))
                read |= claim.read
                if len(ids | claim.ids) < 2:
                    found.update(
                        ((other, group), None) for other in claim.tokens if (other, None) not in found
                    )
        return list(found)

    def _linked(self, token: bytes, group: str) -> Mapping[bytes, int]:
        return self._links.get(token, NO_GROUPS).get(group, _NO_LINKS)

    def _ids(self, tokens: Iterable[bytes]) -> set[bytes]:
        return {token for token in tokens if self._types.get(token) == NATIONAL_ID}

    def _remember(self, end: End, read: set[bytes]) -> None:
        for token in read:
            self._readers.setdefault(token, set()).add(end)

    def _forget_everybody(self) -> None:
        self._claimed.clear()
        self._who.clear()
        self._single.clear()
        self._readers.clear()

    def _forget(self, token: bytes) -> None:
        """Links or degree of a token changed: what was worked out from them no longer holds."""
        self._single.pop(token, None)
        for end in self._readers.pop(token, ()):
            claim = self._claimed.get(end)
            for other in () if claim is None else claim.tokens:
                self._claimed.pop((other, end[1]), None)
                self._who.pop((other, end[1]), None)

    def _forget_around(self, token: bytes, group: str) -> None:
        """Forget of a token and of those whose persons depend on what it is linked to."""
        self._forget(token)
        links = self._linked(token, group)
        if len(links) <= self.rules.identity.neighbours + 1:
            for other in links:
                self._forget(other)

    # --- shared values

    def values(self, who: Iterable[Alias]) -> list[bytes]:
        """Values that others may share, ascending: what is linked to someone, as far as no group links more
        than `fan` to a token or holds the value to be everybody's, and the person's own tokens."""
        found: set[bytes] = set()
        for token, scope in who:
            found.add(token)
            for group, values in self._values.get(token, {}).items():
                if (scope is None or scope == group) and len(values) <= self.rules.fan:
                    found.update(value for value in values if not self.is_public(value, group))
        return sorted(found)

    def holders(self, value: bytes) -> list[End]:
        """Subjects that groups say have the value, with the group; none of a group to which it is
        everybody's."""
        return sorted(
            (subject, group)
            for group, subjects in self._holders.get(value, {}).items()
            if len(subjects) <= self.rules.fan and not self.is_public(value, group)
            for subject in subjects
        )

    def operators(self, merchant: bytes) -> list[tuple[bytes, int]]:
        """Phones and national ids, with their types, that groups state to be the merchant's."""
        return sorted(
            (token, self._types[token])
            for token in {
                token for group in self.stating(merchant) for token in self.claimed(merchant, group)
            }
            if self._types[token] in (PHONE, NATIONAL_ID)
        )

    def stating(self, token: bytes) -> list[str]:
        """Groups that link the token to anything, ascending."""
        return sorted({*self._values.get(token, ()), *self._links.get(token, ())})

    # --- upkeep

    def _link(self, seen: Observation, by: int) -> bool:
        """Count the links of an observation; whether its group began or ceased to say any."""
        changed = False
        for token, kind in seen.links:
            self._types.setdefault(token, kind)
            count(self._values, seen.subject, seen.group, token, by)
            if count(self._holders, token, seen.group, seen.subject, by) == max(by, 0):
                changed = True
                self._weigh(token)
            if kind not in WEAK_TYPES and seen.subject_type not in WEAK_TYPES:
                count(self._links, seen.subject, seen.group, token, by)
                if count(self._links, token, seen.group, seen.subject, by) == max(by, 0):
                    self._forget_around(token, seen.group)
                    self._forget_around(seen.subject, seen.group)
        return changed

    def _forget_types(self) -> None:
        """Let go of the types of tokens that nothing is said of any more."""
        indices = (self._links, self._values, self._holders, self._peers, self._shared)
        for token in [token for token in self._types if not any(token in index for index in indices)]:
            del self._types[token]


def _first_met(claim: _Claim, people: Mapping[bytes, Sequence[int]], ids: Sequence[set[bytes]]) -> int:
    """The first of the people that a claim meets whose national id isn't another; else the next number."""
    for token in sorted(claim.tokens):
        for number in people.get(token, ()):
            if len(ids[number] | claim.ids) < 2:
                return number
    return len(ids)
