"""How many guesses a group has about what others tell of a round trip.

Invariants: of the transfers on ways from a merchant to a payer that one group tells of a day no more than
`legs_per_pair_and_day` leave the merchant, or any account, and as many come to the payer, on a way or not, or
to any account; those it took back are among them. Where it tells more it isn't heard: were the first or the
latest heard, it would choose which. So nobody scans amounts or times by planting ways, whoever's accounts
they go over.
"""

from collections.abc import Iterable, Sequence

from exchange.domain.matching.graph import DAY, Alias, Graph
from exchange.domain.matching.observation import Observation
from exchange.domain.matching.spent import FROM, TO, about

Hops = list[list[Observation]]
"""The legs of each hop of a way, the merchant's first."""


def unheard(
    graph: Graph,
    payer: Sequence[Alias],
    merchant: Sequence[Alias],
    ways: Iterable[Hops],
    coming: Iterable[Observation],
) -> set[int]:
    """Places of the transfers that don't count of those on ways from a merchant to a payer;
    `coming` are all that come to the payer, on a way or not."""
    said: dict[tuple[bytes, tuple[Alias, ...], str, int], set[int]] = {}

    def count(kind: bytes, who: Sequence[Alias], leg: Observation) -> None:
        said.setdefault((kind, tuple(who), leg.group, leg.first // DAY), set()).add(leg.place)

    for way in ways:
        for at, hop in enumerate(way):
            for leg in hop:
                count(FROM, merchant if at == 0 else [(leg.subject, None)], leg)
                count(TO, payer if at == len(way) - 1 else [(leg.counterparty, None)], leg)
    for leg in coming:
        count(TO, payer, leg)
    found: set[int] = set()
    for (kind, who, group, day), places in said.items():
        if len(places) + _tried(graph, kind, who, group, day) > graph.rules.legs_per_pair_and_day:
            found |= places
    return found


def _tried(graph: Graph, kind: bytes, who: Iterable[Alias], group: str, day: int) -> int:
    if not graph.spent:
        return 0
    return sum(
        graph.spent.tried(about(kind, group, token, day)) for token, scope in who if scope in (None, group)
    )
