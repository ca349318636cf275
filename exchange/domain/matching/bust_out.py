"""Bust-out: one person's lines at several institutions, little used for long, drawn to the limit within days.

Each lender sees one line exhausted, as happens in honest life; several at once are the end of a plan not to
repay. Source: lenders' typology of bust-out (or sleeper) fraud; docs/matching.md.

Invariants: a line is one member's of one token; an instance is what one token's lines of one day are in it.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from exchange.domain.matching.finding import Finding, Pattern, by_day
from exchange.domain.matching.graph import DAY, Graph
from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.search import Search, bounded, concerned, in_turn

ROLES: Final = frozenset(Role) - {Role.SHARED}
_LEGS: Final = frozenset({Role.LINE})


def find(graph: Graph, seen: Observation) -> Iterator[Finding]:
    """Lines drawn together that an observation may have completed."""
    return bounded(graph, seen, _LEGS, _find)


def _find(search: Search, seen: Observation) -> Iterator[Finding]:
    done: set[int] = set()
    for line in concerned(search, seen, _LEGS):
        if line.place not in done:
            lines = search.said_by(line, Role.LINE)
            done.update(row.place for row in lines)
            yield from _together(search, lines)


def _together(search: Search, lines: Sequence[Observation]) -> Iterator[Finding]:
    """The lines of all stretches of `days` in which enough were exhausted."""
    rules = search.rules.bust_out
    found: dict[int, Observation] = {}
    by_end = sorted(lines, key=lambda line: (line.last, line.signal_id))
    for start, first in enumerate(by_end):
        stretch = [line for line in by_end[start:] if line.last <= first.last + rules.days * DAY]
        if (
            len({(line.member, line.subject) for line in stretch}) >= rules.lines
            and len({line.group for line in stretch}) >= rules.issuers
        ):
            found.update((line.place, line) for line in stretch)
    if found:
        yield from by_day(Pattern.BUST_OUT, in_turn(found.values(), search.rules.fan))
