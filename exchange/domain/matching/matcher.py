"""The life of matches: found as observations arrive, joined, judged, and gone with what they stand on.

Invariants: the same observations in the same order give the same matches but for their random ids, also when
they are read back from storage in between; the order within one call doesn't matter. An instance stands on
observations that a rule joins in the graph as it is, `needed` groups of them telling of it. What a group
refuted never counts again for that pattern, and what didn't stand without it doesn't come back on the same
evidence. Pure; no clock: `now` is passed in.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
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
from exchange.domain.matching.changes import Changes
from exchange.domain.matching.confidence import NONE, Confidence, confidence
from exchange.domain.matching.finding import Finding, Pattern
from exchange.domain.matching.graph import DAY, Graph, hypothesis
from exchange.domain.matching.ledger import Ledger
from exchange.domain.matching.match import (
    Decision,
    Evidence,
    Instance,
    Match,
    MatchStatus,
    Verdict,
)
from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.rows import instance_row, read_instance, read_match
from exchange.domain.matching.without import Without
from exchange.domain.records import InstanceRow, MatchRow
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


class Matcher:
    """Observations in, matches out.

    `new_id` gives 16 random bytes; `min_groups` replaces the rulebook's number of groups that an instance
    needs; `reliability` may be set anew at any time.
    """

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
        self._lost: set[tuple[int, bytes]] = set()

    @property
    def matches(self) -> Mapping[bytes, Match]:
        """Matches by id: those that stand, and others until they are forgotten."""
        return self.ledger.by_id

    @property
    def named(self) -> Set[bytes]:
        """Tokens of which `of` knows a match."""
        return self.ledger.named

    def of(self, token: bytes) -> list[Match]:
        """Standing matches that name a token as subject, oldest first."""
        return self.ledger.naming(token)

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

    def _is_sure(self, match: Match) -> bool:
        return self.confidence(match).permille >= self.rules.report_at

    def trust(self, group: str, without: str = "") -> int:
        """How reliable a group's word has proved, in permille of the prior, by the outcomes of all but one
        group."""
        if self.reliability is None:
            return NEUTRAL
        return self.reliability.without(without).groups.get(group, NEUTRAL)

    # --- steps

    def observe(self, seen: Sequence[Observation], now: int) -> Changes:
        """Take in what was accepted, in the order of places; `now` in Unix seconds."""
        self.ledger.begin()
        self._views = {}
        horizon = now - self.rules.window_days * DAY
        added = [row for row in sorted(seen) if (row.last // DAY + 1) * DAY > horizon and self.graph.add(row)]
        for row in added:
            if row.echo:
                self.echoes.add(row)
        for row in added:
            for pattern, rule in RULES.items():
                if row.role in rule.ROLES:
                    for finding in rule.find(self._view(pattern), row):
                        self._accept(finding, now)
        self._set_aside(added, now)
        return self.ledger.end(now, self._is_sure)

    def withdraw(self, places: Iterable[int], now: int, *, spend: bool = True) -> Changes:
        """Let observations go: withdrawn, erased, expired, or, with `spend` false, of a suspended member.

        A leg that is withdrawn takes its group's others between the two on that day with it, and none can be
        put up again for two windows: what is gone from the graph is the same whether read back or not.
        """
        self.ledger.begin()
        self._views = {}
        gone: dict[int, Observation] = {}
        spent: dict[bytes, int] = {}
        for place in sorted(set(places)):
            seen = self.graph.get(place)
            if seen is None:
                continue
            gone[place] = seen
            if spend and seen.role in LEGS and seen.counterparty:
                key = hypothesis(seen)
                spent[key] = now + 2 * self.rules.window_days * DAY
                for role in LEGS:
                    gone.update((row.place, row) for row in self.repeats(seen._replace(role=role)))
        for place in gone:
            self.graph.remove(place)
        for key, until in spent.items():
            self.graph.spend(key, until)
        self._leave(list(gone.values()), now)
        changes = self.ledger.end(now, self._is_sure)
        changes.spent = spent
        return changes

    def advance(self, now: int) -> Changes:
        """Let go of what is out of the window, and forget matches that ended a window ago."""
        self.ledger.begin()
        self._views = {}
        window = self.rules.window_days * DAY
        self._leave(self.graph.prune(now - window), now)
        forgotten = [
            match
            for match in self.matches.values()
            if not match.stands and not match.settled and match.updated_at + window <= now
        ]
        changes = self.ledger.end(now, self._is_sure)
        for match in forgotten:
            self.ledger.forget(match)
            changes.forgotten.add(match.number)
        return changes

    def judge(self, match_id: bytes, group: str, verdict: int, now: int) -> Changes:
        """Take a group's verdict (a Verdict) on a match; one given again changes nothing. Raises KeyError."""
        match = self.matches[match_id]
        self.ledger.begin()
        self._views = {}
        known = match.verdicts.get(group)
        if known is None or known.verdict != verdict:
            self.ledger.touch(match)
            # A dispute runs from a group's first word: changing its mind to and fro prolongs none.
            match.verdicts[group] = Decision(Verdict(verdict), now if known is None else known.time)
            if match.stands and verdict == Verdict.REFUTED:
                self._refute(match, group, now)
            elif match.stands and verdict == Verdict.CONFIRMED and match.groups > {group}:
                # Not where its own word is all there is.
                match.status = MatchStatus.CONFIRMED
        return self.ledger.end(now, self._is_sure)

    def restore(
        self,
        observations: Iterable[Observation],
        spent: Iterable[tuple[bytes, int]],
        matches: Iterable[MatchRow],
        instances: Iterable[InstanceRow],
    ) -> None:
        """Take up where the stored rows stand, in an empty matcher; nothing is found. Raises
        MalformedError."""
        for key, until in spent:
            self.graph.spend(key, until)
        for seen in sorted(observations):
            if self.graph.add(seen) and seen.echo:
                self.echoes.add(seen)
        for row in matches:
            self.ledger.add(read_match(row))
        for stored in instances:
            match = self.ledger.by_number[stored.number]
            instance, settled = read_instance(stored, self.graph.get)
            if instance_row(stored.number, instance, settled=settled) != stored:
                self._lost.add((stored.number, stored.key))
            if settled:
                self.ledger.settle(match, instance)
            else:
                self.ledger.put(match, instance)
        for match in self.matches.values():
            for instance in match.instances.values():
                match.aside |= self._aside(instance.tokens)

    def mend(self, now: int, *, everything: bool) -> Changes:
        """Look again at the instances that came back without some of their evidence, or, as links may have
        gone as well, at `everything`. For the step after `restore`."""
        self.ledger.begin()
        self._views = {}
        doubtful: set[tuple[int, bytes]] = set()
        for number, key in sorted(self._lost):
            match = self.ledger.by_number[number]
            if key in match.instances:
                self._put(match, match.instances[key].copy())
                doubtful.add((number, key))
            elif match.settled[key].evidence:
                self.ledger.settle(match, match.settled[key].copy())
            else:
                self.ledger.drop(match, key)
        told = [self.ledger.by_number[number] for number in {number for number, _ in self._lost}]
        if everything:
            doubtful = {(match.number, key) for match in self.matches.values() for key in match.instances}
        self._look_again(doubtful, now)
        self._lost = set()
        changes = self.ledger.end(now, self._is_sure)
        # What they were before isn't known any more: who is concerned looks again.
        changes.told.update(match.match_id for match in told if match.reported)
        return changes

    # --- finding

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
        return rows if len({row.group for row in rows if not row.echo}) >= self.needed else []

    def _is_new(self, finding: Finding, rows: Sequence[Observation]) -> bool:
        """Whether somebody who didn't take back what it told tells more than what no longer stands did."""
        refuters: set[str] = set()
        old: set[int] = set()
        for row in rows:
            for match, key in self.ledger.at(row.place):
                settled = match.settled.get(key) if match.pattern == finding.pattern else None
                if settled is not None:
                    refuters |= settled.refuters
                    old.add(row.place)
        return not old or any(
            not row.echo and row.group not in refuters and row.place not in old for row in rows
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

    def repeats(self, seen: Observation) -> list[Observation]:
        """What its group says of the same two, or of the same one, on that day in that role."""
        day = seen.first // DAY * DAY
        subject = [(seen.subject, None)]
        if seen.counterparty and seen.role in LEGS:
            rows = self.graph.between(seen.role, subject, [(seen.counterparty, None)], day, day + DAY - 1)
        else:
            rows = self.graph.about(subject, day, day + DAY - 1)
        return [row for row in rows if (row.group, row.role) == (seen.group, seen.role)]

    # --- what no longer stands

    def _leave(self, gone: Sequence[Observation], now: int) -> None:
        """Have the instances follow what has left the graph."""
        doubtful: set[tuple[int, bytes]] = set()
        for row in gone:
            self.echoes.remove(row.place)
        for row in gone:
            for match, key in self.ledger.at(row.place):
                instance = (match.instances.get(key) or match.settled[key]).copy()
                del instance.evidence[row.place]
                if key in match.instances:
                    self._put(match, instance)
                    doubtful.add((match.number, key))
                elif instance.evidence:
                    self.ledger.settle(match, instance)
                else:
                    self.ledger.drop(match, key)
            if row.links:
                ends = (row.subject, *(token for token, _ in row.links))
                for token in {token for end in ends for token, _ in self.graph.aliases([end])}:
                    doubtful |= self._naming(token)
        self._look_again(doubtful, now)
        for match in self.matches.values() if gone else ():
            if match.aside:
                match.aside = self._aside(match.aside)

    def _set_aside(self, added: Sequence[Observation], now: int) -> None:
        """Look again at what names a value that has come to be set aside."""
        doubtful: set[tuple[int, bytes]] = set()
        for token in sorted(
            {
                token
                for row in added
                for token in (row.subject, row.counterparty, *(link for link, _ in row.links))
            }
        ):
            for match in self.ledger.touching(token):
                if token not in match.aside and self.graph.set_aside(token) is not None:
                    match.aside.add(token)
                    doubtful |= {here for here in self._naming(token) if here[0] == match.number}
        self._look_again(doubtful, now)

    def _naming(self, token: bytes) -> set[tuple[int, bytes]]:
        return {
            (match.number, key)
            for match in self.ledger.touching(token)
            for key, instance in match.instances.items()
            if token in instance.tokens
        }

    def _refute(self, match: Match, group: str, now: int) -> None:
        touched = [
            instance
            for instance in match.instances.values()
            if any(item.seen.group == group for item in instance.evidence.values())
        ]
        for instance in touched:
            taken_back = instance.copy()
            taken_back.refuters |= {group}
            for place, item in instance.evidence.items():
                if item.seen.group == group:
                    taken_back.evidence[place] = item._replace(refuted=True)
            self._put(match, taken_back)
        self._views.clear()
        self._look_again({(match.number, instance.key) for instance in touched}, now)
        if not match.instances:
            match.status = MatchStatus.REFUTED

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
        found: dict[bytes, Finding] = {}
        for item in seeds[:_SEARCHES]:
            for finding in rule.find(graph, item.seen):
                if self._told(finding):
                    found.setdefault(finding.key, finding)
            if key in found:
                break
        return list(found.values())

    def _put(self, match: Match, instance: Instance) -> None:
        self.ledger.put(match, instance)
        match.aside |= self._aside(instance.tokens - match.aside)

    def _aside(self, tokens: Iterable[bytes]) -> set[bytes]:
        return {token for token in tokens if self.graph.set_aside(token) is not None}


def _empty(finding: Finding) -> Instance:
    return Instance(finding.key, 0, (), ())


def _refuted(instance: Instance) -> dict[int, Evidence]:
    return {place: item for place, item in instance.evidence.items() if item.refuted}
