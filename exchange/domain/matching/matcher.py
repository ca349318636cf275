"""The life of matches: found as observations arrive, joined, judged, and gone with what they stand on.

Invariants: the same observations in the same order give the same matches but for their random ids, also when
they are read back from storage in between; the order within one call doesn't matter. An instance stands on
observations that a rule joins in the graph as it is, `needed` groups of them telling of it. What a group
refuted never counts again for that pattern, and what didn't stand without it doesn't come back on the same
evidence. Pure; no clock: `now` is passed in.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set

from signalexchange.patterns import Matching

from exchange.domain.matching.changes import Changes
from exchange.domain.matching.graph import DAY
from exchange.domain.matching.joining import LEGS, RULES, Joiner
from exchange.domain.matching.match import Decision, Match, MatchStatus, Verdict
from exchange.domain.matching.observation import Observation
from exchange.domain.matching.rows import instance_row, read_instance, read_match
from exchange.domain.matching.spent import left_by
from exchange.domain.matching.without import stating
from exchange.domain.records import InstanceRow, MatchRow
from exchange.domain.reliability import Reliability


class Matcher(Joiner):
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
        super().__init__(rules, new_id, min_groups=min_groups, reliability=reliability)
        self._lost: set[tuple[int, bytes]] = set()
        self.appealed: set[int] = set()
        """Places of signals that undecided appeals dispute."""

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

    def observe(self, seen: Sequence[Observation], now: int) -> Changes:
        """Take in what was accepted, in the order of places; `now` in Unix seconds."""
        self.ledger.begin()
        self._views = {}
        horizon = now - self.rules.window_days * DAY
        added = [row for row in sorted(seen) if (row.last // DAY + 1) * DAY > horizon and self.graph.add(row)]
        for row in added:
            if row.echo:
                self.echoes.add(row)
        views = {pattern: self._view(pattern) for pattern in RULES}
        for row in added:
            for pattern, rule in RULES.items():
                if row.role in rule.ROLES:
                    for finding in self._findings(views[pattern], pattern, row):
                        self._accept(finding, now)
        self._set_aside(added, now)
        return self.ledger.end(now, self._is_sure)

    def withdraw(self, places: Iterable[int], now: int, *, spend: bool = True) -> Changes:
        """Let observations go: withdrawn, erased, expired, or, with `spend` false, of a suspended member.

        A leg that is withdrawn takes its group's others between the two on that day with it, and none can
        be put up again for two windows; nor can a link be exchanged for another. What is gone from the
        graph is the same whether read back or not.
        """
        self.ledger.begin()
        self._views = {}
        gone: dict[int, Observation] = {}
        for place in sorted(set(places)):
            seen = self.graph.get(place)
            if seen is None:
                continue
            gone[place] = seen
            if spend and seen.role in LEGS and seen.counterparty:
                for role in LEGS:
                    gone.update((row.place, row) for row in self.repeats(seen._replace(role=role)))
        spent: dict[bytes, int] = {}
        if spend:
            until = now + 2 * self.rules.window_days * DAY
            spent = {key: until for seen in gone.values() for key in left_by(seen)}
        for place in gone:
            self.graph.remove(place)
        for key, lapses in spent.items():
            self.graph.spent.add(key, lapses)
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

    def dispute(self, places: Iterable[int], *, disputed: bool) -> Changes:
        """Appeals dispute the signals at these places, or no longer. What is advised about matches that stand
        on one is another then."""
        changes = Changes()
        for place in places:
            (self.appealed.add if disputed else self.appealed.discard)(place)
            changes.told.update(match.match_id for match in self.ledger.standing_at(place) if match.reported)
        # What was found again of any match may have gone over one of them.
        for match in self.matches.values():
            match.supports.clear()
        return changes

    def is_appealed(self, match: Match) -> bool:
        """Whether a match stands on a signal that an appeal disputes."""
        return any(item.seen.place in self.appealed for item in match.evidence())

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
            self.graph.spent.add(key, until)
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
            doubtful |= self._depending(row)
        for token in _named(gone):
            for match in self.ledger.touching(token):
                match.supports.clear()
        self._look_again(doubtful, now)
        for match in self.matches.values() if gone else ():
            if match.aside:
                match.aside = self._aside(match.aside)

    def _set_aside(self, added: Sequence[Observation], now: int) -> None:
        """Look again at what names a value that has come to be set aside."""
        doubtful: set[tuple[int, bytes]] = set()
        for token in sorted(_named(added)):
            for match in self.ledger.touching(token):
                match.supports.clear()
                if token not in match.aside and self.graph.set_aside(token) is not None:
                    match.aside.add(token)
                    doubtful |= {here for here in self._naming(token) if here[0] == match.number}
        self._look_again(doubtful, now)

    def _depending(self, gone: Observation) -> set[tuple[int, bytes]]:
        """Instances that may take somebody for one person by the links of an observation that is gone: those
        its group tells of, and all where it leaves another group's word alone."""
        found: set[tuple[int, bytes]] = set()
        for link, _ in gone.links:
            others = stating(self.graph, gone.subject, link)
            if gone.group in others:
                continue
            ends = (gone.subject, link)
            for token in {token for end in ends for token, _ in self.graph.aliases([end])}:
                found |= {
                    (number, key)
                    for number, key in self._naming(token)
                    if len(others) == 1 or self._is_told_by(number, key, gone.group)
                }
        return found

    def _is_told_by(self, number: int, key: bytes, group: str) -> bool:
        evidence = self.ledger.by_number[number].instances[key].evidence
        return any(item.seen.group == group for item in evidence.values())

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


def _named(rows: Iterable[Observation]) -> set[bytes]:
    return {
        token for row in rows for token in (row.subject, row.counterparty, *(link for link, _ in row.links))
    }
