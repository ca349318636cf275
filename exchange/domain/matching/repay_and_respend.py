"""Repay and re-spend: one person's lines at several issuers, each repaid and drawn again at once, in turn.

One sum keeps several lines alive: it repays the first, is drawn again at a merchant who pays cash, and
repays the next (以卡养卡). Each issuer sees a good customer repay. Source: docs/matching.md.

Invariants: cycles of a person that follow one another within `gap_days` are one row; an instance is what one
token's cycles of one day are in it.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from exchange.domain.matching.finding import Finding, Pattern, by_day
from exchange.domain.matching.graph import DAY, Graph
from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.search import Search, bounded, concerned, in_turn

ROLES: Final = frozenset(Role) - {Role.SHARED}
_LEGS: Final = frozenset({Role.CYCLE})


def find(graph: Graph, seen: Observation) -> Iterator[Finding]:
    """Rows of cycles that an observation may have completed."""
    return bounded(graph, seen, _LEGS, _find)


def _find(search: Search, seen: Observation) -> Iterator[Finding]:
    rules = search.rules.repay_and_respend
    done: set[int] = set()
    for cycle in concerned(search, seen, _LEGS):
        if cycle.place in done:
            continue
        cycles = search.said_by(cycle, Role.CYCLE)
        done.update(row.place for row in cycles)
        for row in _rows(cycles, rules.gap_days * DAY):
            if len(row) >= rules.cycles and len({one.group for one in row}) >= rules.issuers:
                yield from by_day(Pattern.REPAY_AND_RESPEND, in_turn(row, search.rules.fan))


def _rows(cycles: Sequence[Observation], gap: int) -> list[list[Observation]]:
    found: list[list[Observation]] = []
    for cycle in cycles:
        if found and cycle.first <= max(one.last for one in found[-1]) + gap:
            found[-1].append(cycle)
        else:
            found.append([cycle])
    return found
