"""One search in the graph, which looks at a bounded number of legs.

Invariants: a search ends after `steps` legs, however many there are; what it yielded until then stays.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Final

from exchange.domain.matching.finding import Finding
from exchange.domain.matching.graph import Alias, Graph, order
from exchange.domain.matching.identity import End
from exchange.domain.matching.observation import Observation, Role

EVER: Final = 1 << 60
"""Unix seconds after all others."""

_PAIRS: Final = 16
"""Pairs of tokens that cost as much as a leg."""


Roles = frozenset[Role]


class _OutOfStepsError(Exception):
    """The search has looked at as many legs as it may."""


class Search:
    """What a rule asks of the graph, counted."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.rules = graph.rules
        self.left = graph.rules.steps
        """Legs that may still be looked at."""

    def spend(self, steps: int) -> None:
        """Count legs that are looked at."""
        self.left -= steps
        if self.left < 0:
            raise _OutOfStepsError

    @property
    def is_low(self) -> bool:
        """Whether what is left is for judging what was found, not for looking further."""
        return self.left * 2 < self.rules.steps

    def into(self, who: Iterable[Alias], role: Role, since: int = 0, until: int = EVER) -> list[Observation]:
        """Legs of a role to someone that began in [since, until], the latest of each group."""
        return self._of(self.graph.into(who, since, until), role)

    def out_of(
        self, who: Iterable[Alias], role: Role, since: int = 0, until: int = EVER
    ) -> list[Observation]:
        """Legs of a role by someone, of those not between two that began in [since, until]."""
        return self._of(self.graph.out_of(who, since, until), role)

    def about(self, who: Iterable[Alias], role: Role, since: int = 0, until: int = EVER) -> list[Observation]:
        """What is said of someone in a role that began in [since, until], the latest of each group."""
        return self._of(self.graph.about(who, since, until), role)

    def between(
        self, role: Role, source: Sequence[Alias], sink: Sequence[Alias], since: int, until: int
    ) -> list[Observation]:
        """Legs of a role from one to another that began in [since, until], in time order."""
        found = self.graph.between(role, source, sink, since, until)
        self.spend(len(found) + len(source) * len(sink) // _PAIRS)
        return found

    def said_by(self, seen: Observation, role: Role) -> list[Observation]:
        """What is said in a role of all the subject's person is known by, whoever says so: reached over
        persons who meet, so that it is the same from each of them."""
        asked: set[End] = set()
        found: dict[int, Observation] = {}
        ends = {(seen.subject, seen.group)}
        while ends:
            asked |= ends
            rows = self.about(self.graph.whoever(ends), role)
            found.update((row.place, row) for row in rows)
            ends = {(row.subject, row.group) for row in rows} - asked
        return sorted(found.values(), key=order)

    def holdings(self, token: bytes, group: str, value: bytes) -> list[Observation]:
        """A group's latest observation that links a value to a token, if it is among its latest."""
        who = [(token, group)]
        rows = [*self.graph.out_of(who, 0, EVER), *self.graph.about(who, 0, EVER)]
        saying = [row for row in rows if any(link == value for link, _ in row.links)]
        self.spend(len(saying))
        return [max(saying, key=order)] if saying else []

    def _of(self, rows: list[Observation], role: Role) -> list[Observation]:
        if not rows:
            return rows
        self.spend(len(rows))
        return [row for row in rows if row.role == role]


def concerned(search: Search, seen: Observation, roles: Roles) -> Iterator[Observation]:
    """The observation, and if it links somebody anew the legs that may have become that person's."""
    if seen.role in roles:
        yield seen
    if search.graph.is_news(seen):
        rows = [row for row in search.graph.touched(seen) if row.role in roles]
        yield from in_turn(rows, search.rules.fan)


def in_turn(rows: Iterable[Observation], most: int) -> list[Observation]:
    """The latest of each group in turn, so that none crowds out another's."""
    latest = sorted(rows, key=order, reverse=True)
    if len(latest) < 2:
        return latest
    turns: dict[str, int] = {}
    by_turn = []
    for row in latest:
        turn = turns[row.group] = turns.get(row.group, 0) + 1
        by_turn.append((turn, row))
    by_turn.sort(key=itemgetter(0))
    return [row for _, row in by_turn[:most]]


def bounded(
    graph: Graph, seen: Observation, roles: Roles, rule: Callable[[Search, Observation], Iterator[Finding]]
) -> Iterator[Finding]:
    """What a rule that is about these roles finds until its steps are used up.

    Where nothing that `concerned` would give is in the roles, the rule isn't begun: most signals are about
    somebody of whom nothing else is known.
    """
    if seen.role in roles or (graph.is_news(seen) and any(row.role in roles for row in graph.touched(seen))):
        return _until_out_of_steps(rule(Search(graph), seen))
    return iter(())


def _until_out_of_steps(findings: Iterator[Finding]) -> Iterator[Finding]:
    try:
        yield from findings
    except _OutOfStepsError:
        return
