"""Findings joined to matches, and instances looked for again.

Invariants: an instance stands on observations that a rule joins in the graph as it is, without what was
refuted, `needed` groups of them telling of it; what didn't stand without what was refuted doesn't come back
on the same evidence.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from signalexchange.patterns import Matching

from exchange.domain.matching import (
    bust_out,
    collecting_account,
    funds_loop,
    merchant_hopping,
    payer_ring,
    refund_loop,
    repay_and_respend,
)
from exchange.domain.matching.confidence import NONE, Confidence, confidence
from exchange.domain.matching.finding import Finding, Pattern
from exchange.domain.matching.graph import DAY, Graph
from exchange.domain.matching.ledger import Ledger
from exchange.domain.matching.match import Evidence, Instance, Match, MatchStatus, witnesses
from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.without import Without, without_echoes
from exchange.domain.reliability import NEUTRAL, Reliability


class Rule(Protocol):
    """A module that finds one pattern: `find` yields what an observation, already in the graph, may have
    closed; it is asked only about the roles named."""

    @property
    def ROLES(self) -> frozenset[Role]:  # noqa: D102, N802 - a constant of the module
        ...

    def find(self, graph: Graph, seen: Observation) -> Iterator[Finding]: ...  # noqa: D102


RULES: Final[Mapping[Pattern, Rule]] = {
    Pattern.FUNDS_LOOP: funds_loop,
    Pattern.REFUND_LOOP: refund_loop,
    Pattern.PAYER_RING: payer_ring,
    Pattern.MERCHANT_HOPPING: merchant_hopping,
    Pattern.REPAY_AND_RESPEND: repay_and_respend,
    Pattern.BUST_OUT: bust_out,
    Pattern.COLLECTING_ACCOUNT: collecting_account,
}
LEGS: Final = (Role.PAYMENT, Role.TRANSFER, Role.REFUND)
_SEARCHES: Final = 8
"""Observations of an instance from which it is looked for again."""


class Joiner:
    """The graph and the matches found in it."""

    def __init__(
        self,
        rules: Matching,
        new_id: Callable[[], bytes],
        *,
        min_groups: int | None = None,
        reliability: Reliability | None = None,
    ) -> None:
        self.rules = rules
        self.needed = rules.min_groups if min_groups is None else min_groups
        self.reliability = reliability
        self.graph = Graph(rules)
        self.echoes = Graph(rules)
        """The echoes of the graph alone."""
        self.ledger = Ledger()
        self._new_id = new_id
        self._views: dict[Pattern, Graph] = {}

    def confidence(self, match: Match) -> Confidence:
        """How sure a match is at present."""
        if not match.instances:
            return NONE
        return confidence(
            self.rules,
            match.pattern,
            match.groups,
            len(match.instances),
            match.rarity,
            self.trust,
            self.needed,
        )

    def trust(self, group: str, without: str = "") -> int:
        """How reliable a group's word has proved, in permille of the prior, by the outcomes of all but one
        group."""
        if self.reliability is None:
            return NEUTRAL
        return self.reliability.without(without).groups.get(group, NEUTRAL)

    def _is_sure(self, match: Match) -> bool:
        return self.confidence(match).permille >= self.rules.report_at

    def repeats(self, seen: Observation) -> list[Observation]:
        """What its group says of the same two, or of the same one, on that day in that role."""
        day = seen.first // DAY * DAY
        subject = [(seen.subject, None)]
        if seen.counterparty and seen.role in LEGS:
            rows = self.graph.between(seen.role, subject, [(seen.counterparty, None)], day, day + DAY - 1)
        else:
            rows = self.graph.about(subject, day, day + DAY - 1)
        return [row for row in rows if (row.group, row.role) == (seen.group, seen.role)]

    def find_again(
        self, graph: Graph, pattern: Pattern, key: bytes, evidence: Iterable[Evidence]
    ) -> list[Finding]:
        """What a rule finds in a graph from evidence up to the instance of that key, all told by enough
        groups."""
        rule = RULES[pattern]
        seeds = sorted(
            (item for item in evidence if not item.refuted and item.seen.role in rule.ROLES),
            key=lambda item: (item.principal, item.seen.first, item.seen.place),
            reverse=True,
        )
        # From each who tells of each subject first: a group may see more of one than of another.
        first = {(item.seen.subject, item.seen.group): item for item in reversed(seeds)}
        seeds.sort(key=lambda item: first[item.seen.subject, item.seen.group] is not item)
        found: dict[Finding, None] = {}
        for item in seeds[:_SEARCHES]:
            found |= {
                finding: None for finding in self._findings(graph, pattern, item.seen) if self._told(finding)
            }
            if any(finding.key == key for finding in found):
                break
        return list(found)

    def _findings(self, graph: Graph, pattern: Pattern, seen: Observation) -> Iterator[Finding]:
        """What a rule finds in a graph from an observation; where that takes echoes, what it finds without
        them, too: else a group could silence itself, and whom it agrees with, by repeating what it was shown.
        """
        echoed = False
        for finding in RULES[pattern].find(graph, seen):
            yield finding
            echoed = echoed or any(place in self.echoes for place in finding.evidence)
        if echoed and not seen.echo:
            yield from RULES[pattern].find(without_echoes(graph, self.echoes), seen)

    def _accept(self, finding: Finding, now: int) -> None:
        rows = self._told(finding)
        if not rows:
            return
        match = self.ledger.standing(finding.pattern, finding.key)
        if match is None:
            if not self._is_new(finding, rows):
                return
            match = self.ledger.anchored(finding.pattern, self._anchors(finding, rows))
            if match is None:
                match = self._found(finding.pattern, now)
        known = match.instances.get(finding.key)
        instance = known or match.settled.get(finding.key) or _empty(finding)
        instance = instance.copy()
        instance.take(finding, rows)
        if instance != known:
            self._put(match, instance)

    def _told(self, finding: Finding) -> list[Observation]:
        """The evidence of a finding, if enough groups tell of it; else nothing."""
        rows = [row for place in finding.evidence if (row := self.graph.get(place)) is not None]
        return rows if len(witnesses(rows)) >= self.needed else []

    def _is_new(self, finding: Finding, rows: Sequence[Observation]) -> bool:
        """Whether somebody who didn't take back what it told tells more than what no longer stands did."""
        refuters: set[str] = set()
        old: set[int] = set()
        heard = witnesses(rows)
        for row in rows:
            for match, key in self.ledger.at(row.place):
                settled = match.settled.get(key) if match.pattern == finding.pattern else None
                if settled is not None:
                    refuters |= settled.refuters
                    old.add(row.place)
        return not old or any(
            row.group in heard and row.group not in refuters and row.place not in old for row in rows
        )

    def _anchors(self, finding: Finding, rows: Sequence[Observation]) -> set[bytes]:
        found = set(finding.anchors)
        for anchor in finding.anchors:
            for group in {row.group for row in rows if anchor in (row.subject, row.counterparty)}:
                found.update(token for token, _ in self.graph.who(anchor, group))
        return found

    def _found(self, pattern: Pattern, now: int) -> Match:
        match = Match(self.ledger.next, self._new_id(), pattern, MatchStatus.OPEN, now, now)
        self.ledger.open(match)
        return match

    def _view(self, pattern: Pattern) -> Graph:
        """The graph without what was refuted of a pattern."""
        refuted = self.ledger.refuted(pattern)
        if not refuted:
            return self.graph
        if pattern not in self._views:
            self._views[pattern] = Without(self.graph, places=refuted)
        return self._views[pattern]

    def _look_again(self, doubtful: Iterable[tuple[int, bytes]], now: int) -> None:
        """Keep of the instances what the rules still find on the evidence that is left."""
        fallen: list[tuple[Match, Instance]] = []
        for number, key in sorted(doubtful):
            match = self.ledger.by_number[number]
            instance = match.instances.get(key)
            if instance is None:
                continue
            view, evidence = self._view(match.pattern), instance.evidence.values()
            found = self.find_again(view, match.pattern, key, evidence)
            again = Instance(key, 0, (), (), instance.refuters, _refuted(instance))
            for finding in found:
                if finding.key == key:
                    again.take(finding, self._told(finding))
                else:
                    self._accept(finding, now)
            if len(again.groups) >= self.needed:
                for place, item in instance.evidence.items():
                    if place in again.evidence:
                        again.evidence[place] = again.evidence[place]._replace(closer=item.closer)
                if again != instance:
                    self._put(match, again)
            else:
                fallen.append((match, instance))
        # Last, so that what stands instead finds the match, and is no repetition of what fell.
        for match, instance in fallen:
            if instance.refuters and instance.evidence:
                self.ledger.settle(match, instance)
            else:
                self.ledger.drop(match, instance.key)

    def _put(self, match: Match, instance: Instance) -> None:
        self.ledger.put(match, instance)
        match.aside |= self._aside(instance.tokens - match.aside)

    def _aside(self, tokens: Iterable[bytes]) -> set[bytes]:
        return {token for token in tokens if self.graph.set_aside(token) is not None}


def _empty(finding: Finding) -> Instance:
    return Instance(finding.key, 0, (), ())


def _refuted(instance: Instance) -> dict[int, Evidence]:
    return {place: item for place, item in instance.evidence.items() if item.refuted}
