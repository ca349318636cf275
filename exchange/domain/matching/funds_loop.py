"""Funds loop: payer → merchant → … → payer, each hop later than the one before, each handing on most of it.

The credit drawn in a sham purchase comes back to the payer within a day, less a fee of 3 to 15 %. The legs
are reported by whoever sees them: the lender the purchase, the banks the transfers. Source: SPC/SPP
interpretation of 2009 on credit cards, article 7 (article 12 as revised by 法释〔2018〕19号): fictitious
transactions that pay cash to card holders; docs/matching.md.
"""

from collections.abc import Iterator
from typing import Final

from exchange.domain.matching.finding import Finding, Pattern
from exchange.domain.matching.graph import HOUR, Graph
from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.round_trip import Trip, trips
from exchange.domain.matching.search import Search, bounded

ROLES: Final = frozenset(Role) - {Role.SHARED}
_LEGS: Final = frozenset({Role.PAYMENT, Role.TRANSFER})


def find(graph: Graph, seen: Observation) -> Iterator[Finding]:
    """Loops that an observation may have closed."""
    return bounded(graph, seen, _LEGS, _find)


def _find(search: Search, seen: Observation) -> Iterator[Finding]:
    rules = search.rules.funds_loop
    trip = Trip(Pattern.FUNDS_LOOP, Role.PAYMENT, 0, rules.hops - 1, rules.hours * HOUR, rules.returns)
    yield from trips(search, seen, trip)
