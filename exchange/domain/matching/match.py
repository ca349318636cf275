"""A match: instances of one pattern that belong together, and what groups decided about it.

Invariants: what counts is evidence that is neither an echo nor refuted by its own group, of a finding in
which that group echoes nothing; what counts goes on counting whatever comes besides. An instance in
`instances` stands on at least the needed number of groups without what was refuted; one in `settled` no
longer does, and is kept so that the same evidence doesn't bring it back; neither holds a place whose
observation is gone. No group can crowd out another's evidence: the most frequent group's oldest gives way.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from heapq import nsmallest
from typing import Final, NamedTuple, TypeVar

from exchange.domain.matching.finding import Finding, Pattern, Subject
from exchange.domain.matching.observation import Observation

K = TypeVar("K")

MAX_EVIDENCE: Final = 64
MAX_INSTANCES: Final = 2_000


class MatchStatus(IntEnum):
    """What has become of a match; numbers are the contract's."""

    OPEN = 1
    CONFIRMED = 2
    REFUTED = 3
    EXPIRED = 4


class Verdict(IntEnum):
    """What an inquiry found; numbers are the contract's."""

    CONFIRMED = 1
    REFUTED = 2
    INCONCLUSIVE = 3


class Decision(NamedTuple):
    """A group's verdict on a match, and when it was given (Unix seconds)."""

    verdict: Verdict
    time: int


class Evidence(NamedTuple):
    """One observation in an instance. `closer` is the group whose observation, as the latest of a finding,
    brought it in, or "" where several groups' did; `principal` says that its band is part of the total,
    `beside_echo` that its group echoes what it was shown in every finding that brought it in."""

    seen: Observation
    principal: bool
    closer: str
    refuted: bool = False
    beside_echo: bool = False

    @property
    def counts(self) -> bool:
        """Whether it makes its group one of those that tell of the instance."""
        return not (self.seen.echo or self.beside_echo or self.refuted)


def witnesses(rows: Iterable[Observation]) -> frozenset[str]:
    """Groups whose word counts in a finding with this evidence: who echoes a part of it may have made up the
    rest around that."""
    found = set(rows)
    return frozenset({row.group for row in found} - {row.group for row in found if row.echo})


@dataclass(slots=True)
class Instance:
    """One instance of the pattern, by key. `rarity` is 0 to 1000; `refuters` are the groups that took back
    what they told of it."""

    key: bytes
    rarity: int
    anchors: tuple[bytes, ...]
    subjects: tuple[Subject, ...]
    refuters: frozenset[str] = frozenset()
    evidence: dict[int, Evidence] = field(default_factory=dict)

    @property
    def groups(self) -> set[str]:
        """Groups that tell of it."""
        return {item.seen.group for item in self.evidence.values() if item.counts}

    @property
    def members(self) -> set[str]:
        """Whose observations it stands on, echoes included."""
        return {item.seen.member for item in self.evidence.values() if not item.refuted}

    @property
    def tokens(self) -> set[bytes]:
        """Tokens it names."""
        return {*self.anchors, *(subject.token for subject in self.subjects)}

    @property
    def last(self) -> tuple[int, int]:
        """When its latest fact was last seen, and its latest place: what the oldest is told by."""
        return max(((item.seen.last, place) for place, item in self.evidence.items()), default=(0, 0))

    def take(self, finding: Finding, seen: Iterable[Observation]) -> None:
        """Merge a finding of the same key."""
        rows = sorted(seen)
        closer = rows[-1].group
        heard = witnesses(rows)
        for row in rows:
            principal = row.place in finding.principal
            beside_echo = not row.echo and row.group not in heard
            known = self.evidence.get(row.place)
            if known is not None:
                principal |= known.principal
                beside_echo &= known.beside_echo
                row_closer = known.closer if known.closer == closer else ""
                self.evidence[row.place] = Evidence(row, principal, row_closer, known.refuted, beside_echo)
            else:
                self.evidence[row.place] = Evidence(row, principal, closer, False, beside_echo)
        self.anchors = tuple(sorted({*self.anchors, *finding.anchors}))
        self.subjects = tuple(sorted({*self.subjects, *finding.subjects}))
        self.rarity = max(self.rarity, finding.rarity)
        while len(self.evidence) > MAX_EVIDENCE:
            self._give_way()

    def copy(self) -> "Instance":
        """Another one with the same content."""
        return Instance(
            self.key, self.rarity, self.anchors, self.subjects, self.refuters, dict(self.evidence)
        )

    def _give_way(self) -> None:
        often = Counter(item.seen.group for item in self.evidence.values())
        group = min(often, key=lambda name: (-often[name], name))
        oldest = min(
            (item.seen.first, place) for place, item in self.evidence.items() if item.seen.group == group
        )
        gone = self.evidence.pop(oldest[1]).seen
        # A token that only it named goes with it: nothing else would take it away again.
        left = {
            token for item in self.evidence.values() for token in (item.seen.subject, item.seen.counterparty)
        }
        lost = {gone.subject, gone.counterparty} - left - set(self.anchors)
        self.subjects = tuple(subject for subject in self.subjects if subject.token not in lost)


class Support(NamedTuple):
    """One instance as it is found without some groups or without echoes: who tells of it, how rare it is, and
    whose word it takes, links included."""

    groups: frozenset[str]
    rarity: int
    voices: frozenset[str]


class Supports:
    """What was worked out about a match since it, or what is said of its tokens, changed: on what a token's
    part in it stands without some groups, echoes or what appeals dispute, and whom an instance names then,
    with on what that stands."""

    def __init__(self) -> None:
        self.tokens: dict[tuple[bytes, frozenset[str], bool, bool], Support | None] = {}
        self.instances: dict[
            tuple[bytes, frozenset[str], bool, bool], list[tuple[frozenset[bytes], Support]]
        ] = {}

    def clear(self) -> None:
        """Forget everything."""
        self.tokens.clear()
        self.instances.clear()


@dataclass
class Match:
    """A match. `number` grows in the order matches were found; times are Unix seconds; `reported` says that
    it was sure enough to be told; `aside` are tokens it names that are set aside; `renamed` counts how often
    its subjects changed; `supports` is what it stands on without which groups, as far as asked."""

    number: int
    match_id: bytes
    pattern: Pattern
    status: MatchStatus
    found_at: int
    updated_at: int
    reported: bool = False
    verdicts: dict[str, Decision] = field(default_factory=dict)
    instances: dict[bytes, Instance] = field(default_factory=dict)
    settled: dict[bytes, Instance] = field(default_factory=dict)
    aside: set[bytes] = field(default_factory=set)
    renamed: int = field(default=0, compare=False)
    supports: Supports = field(default_factory=Supports, compare=False)
    _groups: Counter[str] = field(default_factory=Counter)
    _members: Counter[str] = field(default_factory=Counter)
    _subjects: Counter[Subject] = field(default_factory=Counter)
    _rarities: Counter[int] = field(default_factory=Counter)

    @property
    def stands(self) -> bool:
        """Whether findings can still join it."""
        return self.status in (MatchStatus.OPEN, MatchStatus.CONFIRMED)

    @property
    def groups(self) -> frozenset[str]:
        """Independent groups that tell of it."""
        return frozenset(self._groups)

    @property
    def members(self) -> frozenset[str]:
        """Whose observations it stands on, echoes included."""
        return frozenset(self._members)

    @property
    def subjects(self) -> list[Subject]:
        """Tokens that take part, and as what, ascending."""
        return sorted(self._subjects)

    @property
    def rarity(self) -> int:
        """Of the rarest instance, 0 to 1000."""
        return max(self._rarities, default=0)

    @property
    def places(self) -> list[int]:
        """Places of the evidence that counts or connects, ascending."""
        return sorted({item.seen.place for item in self.evidence() if not item.refuted})

    def evidence(self) -> Iterator[Evidence]:
        """What the standing instances stand on."""
        for instance in self.instances.values():
            yield from instance.evidence.values()

    def put(self, instance: Instance) -> None:
        """Take a standing instance in, in place of the one of that key."""
        self.settled.pop(instance.key, None)
        known = self.instances.get(instance.key)
        self.instances[instance.key] = instance
        self._replace(known, instance)

    def settle(self, instance: Instance) -> None:
        """Keep an instance that no longer stands, in place of the one of that key."""
        self.drop(instance.key)
        self.settled[instance.key] = instance

    def drop(self, key: bytes) -> None:
        """Let an instance go, if it is there."""
        self.settled.pop(key, None)
        self._replace(self.instances.pop(key, None), None)

    def oldest(self, count: int) -> list[bytes]:
        """Keys of the standing instances whose latest facts are the oldest."""
        by_age = nsmallest(count, self.instances.values(), key=lambda each: (each.last, each.key))
        return [instance.key for instance in by_age]

    def _replace(self, known: Instance | None, instance: Instance | None) -> None:
        self.supports.clear()
        _recount(self._groups, known.groups if known else (), instance.groups if instance else ())
        _recount(self._members, known.members if known else (), instance.members if instance else ())
        _recount(self._rarities, {known.rarity} if known else (), {instance.rarity} if instance else ())
        self.renamed += _recount(
            self._subjects, known.subjects if known else (), instance.subjects if instance else ()
        )


def _recount(counter: Counter[K], gone: Iterable[K], come: Iterable[K]) -> bool:
    """Count names in place of others; whether other names are counted now."""
    before, after = set(gone), set(come)
    changed = False
    for name in after - before:
        changed |= name not in counter
        counter[name] += 1
    for name in before - after:
        counter[name] -= 1
        if not counter[name]:
            del counter[name]
            changed = True
    return changed
