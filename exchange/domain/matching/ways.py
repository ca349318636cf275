"""Ways on which money may have come back from a merchant to a payer, and the transfers told of them.

Invariants: the search goes back from the payer; of what it has left no more than half is spent on that, each
group's transfers in turn. A group is heard of a day's transfers only within the number of its guesses, and on
ways as long as all its transfers to those behind them are looked at: else it would choose which are.
"""

from collections.abc import Sequence
from itertools import pairwise

from exchange.domain.matching.graph import Alias
from exchange.domain.matching.guesses import Hops, unheard
from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.search import Search, in_turn

Way = list[list[Alias]]
"""Persons from the merchant to the payer, both included."""


def ways_back(
    search: Search, payer: list[Alias], merchant: list[Alias], since: int, until: int, transfers: int
) -> list[Hops]:
    """For each way of up to so many transfers, which all began in [since, until] (Unix seconds), the legs of
    each of its hops; the shortest first, those over several accounts at once last."""
    ways, length = _ways(search, payer, merchant, since, until, transfers)
    told: list[Hops] = []
    for way in ways:
        legs = [search.between(Role.TRANSFER, *hop, since, until) for hop in pairwise(way)]
        told.append([[leg for leg in hop if len(way) <= length.get(leg.group, len(way))] for hop in legs])
    if not told:
        return []
    silent = unheard(search.graph, payer, merchant, told, search.into(payer, Role.TRANSFER, since, until))
    return [[[leg for leg in hop if leg.place not in silent] for hop in way] for way in told]


def _ways(
    search: Search, payer: list[Alias], merchant: list[Alias], since: int, until: int, transfers: int
) -> tuple[list[Way], dict[str, int]]:
    """Ways, and of how many persons they are at most on which a group is heard that tells too much."""
    graph, floor = search.graph, search.left // 2
    found: list[Way] = []
    length: dict[str, int] = {}
    level: list[tuple[Way, int]] = [([payer], until)]
    for transfer in range(1, transfers + 1):
        found += [
            [merchant, *way]
            for way, before in level
            if search.between(Role.TRANSFER, merchant, way[0], since, before)
        ]
        beyond: list[tuple[Way, int]] = []
        for way, before in level if transfer < transfers else ():
            if search.left < floor:
                break
            coming = search.into(way[0], Role.TRANSFER, since, before)
            for group in {leg.group for leg in coming}:
                if sum(leg.group == group for leg in coming) >= graph.rules.fan:
                    length.setdefault(group, transfer + 1)
            for person, time in _senders(search, [merchant, *way], coming):
                beyond.append(([person, *way], time))
        level = beyond
    together = []
    for persons in range(3, transfers + 2):
        ways = [way for way in found if len(way) == persons]
        if len(ways) > 1:
            together.append([_all(side_by_side) for side_by_side in zip(*ways, strict=True)])
    return [*found, *together], length


def _senders(search: Search, way: Way, coming: Sequence[Observation]) -> list[tuple[list[Alias], int]]:
    """Who, not on a way, sent the money, and when at the latest."""
    graph = search.graph
    senders: dict[bytes, list[Observation]] = {}
    for leg in in_turn(coming, graph.rules.fan):
        if not any(graph.is_alias((leg.subject, leg.group), person) for person in way):
            senders.setdefault(leg.subject, []).append(leg)
    return [
        (
            graph.whoever((token, group) for leg in legs for group in graph.reporters(leg)),
            max(leg.first for leg in legs),
        )
        for token, legs in senders.items()
        if graph.set_aside(token) is None and not all(graph.is_public(token, leg.group) for leg in legs)
    ]


def _all(persons: Sequence[list[Alias]]) -> list[Alias]:
    found = dict.fromkeys(alias for person in persons for alias in person)
    return [alias for alias in found if alias[1] is None or (alias[0], None) not in found]
