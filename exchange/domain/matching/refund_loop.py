"""Refund loop: an order is refunded within hours, nothing was shipped, and the payer gets money instead.

An honest refund goes back to the line it was bought on, and nobody sends the customer money besides. The
platform reports order and refund, a bank or wallet the transfer. The operator's account may stand between.
Sources: 法释〔2019〕1号, article 1 (交易退款, refunds that pay money out), and 现金退货 in the SPC/SPP
interpretation of 2009 on credit cards, article 7; docs/matching.md.
"""

from collections.abc import Iterator
from typing import Final

from exchange.domain.matching.finding import Finding, Pattern
from exchange.domain.matching.graph import HOUR, Graph
from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.round_trip import Trip, trips
from exchange.domain.matching.search import Search, bounded

ROLES: Final = frozenset(Role) - {Role.SHARED}
_LEGS: Final = frozenset({Role.REFUND, Role.TRANSFER})
_TRANSFERS: Final = 2


def find(graph: Graph, seen: Observation) -> Iterator[Finding]:
    """Refund loops that an observation may have closed."""
    return bounded(graph, seen, _LEGS, _find)


def _find(search: Search, seen: Observation) -> Iterator[Finding]:
    rules = search.rules.refund_loop
    soon = rules.refund_hours * HOUR
    trip = Trip(Pattern.REFUND_LOOP, Role.REFUND, soon, _TRANSFERS, rules.hours * HOUR, rules.returns)
    yield from trips(search, seen, trip)
