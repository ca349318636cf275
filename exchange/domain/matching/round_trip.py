"""Money that comes back to whom it came from: what loops of funds and of refunds have in common.

Invariants: a trip begins with legs of one role from a payer to a merchant and goes on over at most
`transfers` transfers back to the payer; a leg begins no earlier than the one before it; sums of successive
legs stand for payments that were split, and so do ways over several accounts at once. An instance is what one
token paid another on one day and got back: the same from whichever of its observations it is looked for. The
search goes back from the payer, who has few incoming transfers, and never over a merchant's many.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from signalexchange.patterns import Return

from exchange.domain.matching.finding import Finding, Part, Pattern, Subject, evidence_of, instance_key
from exchange.domain.matching.graph import DAY, Alias
from exchange.domain.matching.identity import End
from exchange.domain.matching.movement import Movement, movements, returned, rows, sums, total
from exchange.domain.matching.observation import CENTS, Observation, Role
from exchange.domain.matching.parts import subjects
from exchange.domain.matching.search import Search, concerned, in_turn

Way = list[list[Alias]]
"""Persons from the merchant to the payer, both included."""
_SPLIT: Final = 6 * 3_600
"""Seconds between the parts of a payment that was split."""


class Trip(NamedTuple):
    """What a pattern's trips are like: the role of the first leg, which takes `longest` seconds at most, then
    at most so many transfers within `seconds` of it, each handing on `returns`."""

    pattern: Pattern
    role: Role
    longest: int
    transfers: int
    seconds: int
    returns: Return


def trips(search: Search, seen: Observation, trip: Trip) -> Iterator[Finding]:
    """Trips that an observation may have closed."""
    done: set[tuple[bytes, bytes, int]] = set()
    for leg in concerned(search, seen, frozenset({trip.role, Role.TRANSFER})):
        for start in _starts(search, leg, trip):
            key = (start.subject, start.counterparty, start.first // DAY)
            if start.counterparty and key not in done:
                done.add(key)
                yield from _instance(search, start, trip)


def _starts(search: Search, leg: Observation, trip: Trip) -> Iterator[Observation]:
    """First legs of the trips that a leg could be part of."""
    graph = search.graph
    if leg.role == trip.role:
        pair = [(leg.subject, None)], [(leg.counterparty, None)]
        told = search.between(trip.role, *pair, leg.first - DAY, leg.first + DAY)
        payer = graph.whoever((row.subject, row.group) for row in told)
        if search.into(payer, Role.TRANSFER, leg.first - DAY, leg.last + DAY + trip.seconds):
            yield from told
        return
    since = leg.first - trip.seconds - DAY
    said_of = search.about if trip.role == Role.REFUND else search.out_of
    floor = search.left // 2
    firsts: dict[int, Observation] = {}
    for who in _onward(search, leg, trip):
        if search.left >= floor:
            firsts.update((row.place, row) for row in said_of(who, trip.role, since, leg.first))
    if firsts:
        sources = _back_to(search, leg, since, trip)
        for row in in_turn(firsts.values(), graph.rules.fan):
            merchant = graph.who(row.counterparty, row.group)
            if sources is None or any(token in sources for token, _ in merchant):
                yield row


def _onward(search: Search, leg: Observation, trip: Trip) -> list[list[Alias]]:
    """Persons whom the money of a transfer may have come to, the nearest first."""
    graph, floor = search.graph, search.left * 3 // 4
    level = {(leg.counterparty, group): leg.first for group in graph.reporters(leg)}
    known = dict(level)
    for _ in range(trip.transfers - 1):
        beyond: dict[End, int] = {}
        for end, time in level.items():
            if search.left < floor:
                break
            rows_ = search.out_of(graph.who(*end), Role.TRANSFER, time, leg.first + trip.seconds)
            for row in in_turn(rows_, graph.rules.fan):
                for group in graph.reporters(row):
                    beyond.setdefault((row.counterparty, group), row.first)
        level = {end: time for end, time in beyond.items() if end not in known}
        known |= level
    return [graph.who(*end) for end in known]


def _back_to(search: Search, leg: Observation, since: int, trip: Trip) -> set[bytes] | None:
    """Tokens of those from whom the money of a transfer may have come; None where they are too many."""
    graph, floor = search.graph, search.left * 3 // 4
    level = {(leg.subject, group): leg.first for group in graph.reporters(leg)}
    found: set[bytes] = set()
    for depth in range(trip.transfers):
        beyond: dict[End, int] = {}
        for end, time in level.items():
            who = graph.who(*end)
            found.update(token for token, _ in who)
            if depth + 1 == trip.transfers:
                continue
            if search.left < floor:
                return None
            for row in search.into(who, Role.TRANSFER, since, time):
                if row.subject in found or graph.is_public(row.subject, row.group):
                    continue
                if graph.set_aside(row.subject) is None:
                    beyond |= {(row.subject, group): row.first for group in graph.reporters(row)}
        level = beyond
    return found


def _instance(search: Search, start: Observation, trip: Trip) -> Iterator[Finding]:
    """What the start's subject paid its counterparty on its day and got back."""
    graph = search.graph
    day = start.first // DAY * DAY
    until = day + 2 * DAY
    told = search.between(trip.role, [(start.subject, None)], [(start.counterparty, None)], day, until)
    today = [leg for leg in told if leg.first < day + DAY]
    payer = graph.whoever((leg.subject, leg.group) for leg in today)
    merchant = graph.whoever((leg.counterparty, leg.group) for leg in today)
    if all(graph.is_business(leg.subject, leg.group) for leg in today):
        return  # firms trade both ways
    paid = movements(leg for leg in told if leg.last - leg.first <= trip.longest)
    ways = _ways(search, payer, merchant, paid, trip)
    chains = [chain for chain in _chains(search, paid, ways, trip) if chain[0].first < day + DAY]
    if chains:
        legs = [movement.legs for chain in chains for movement in chain]
        yield Finding(
            trip.pattern,
            instance_key(trip.pattern, start.subject, start.counterparty, day // DAY),
            (start.counterparty,),
            subjects(graph, _subjects(chains)),
            evidence_of(*legs),
            evidence_of(*(chain[0].heads for chain in chains)),
        )


def _ways(
    search: Search, payer: list[Alias], merchant: list[Alias], paid: Sequence[Movement], trip: Trip
) -> list[Way]:
    """Ways money may have come back, shortest first; those over several accounts at once last.

    Of what the search has left no more than half is spent on them, each group's legs in turn.
    """
    if not paid:
        return []
    floor = search.left // 2
    since, until = paid[0].first, max(part.last for part in paid) + trip.seconds
    found: list[Way] = []
    level: list[tuple[Way, int]] = [([payer], until)]
    for depth in range(trip.transfers):
        found += [
            [merchant, *way]
            for way, before in level
            if search.between(Role.TRANSFER, merchant, way[0], since, before)
        ]
        if depth + 1 < trip.transfers:
            level = [
                ([person, *way], time)
                for way, before in level
                if search.left >= floor
                for person, time in _senders(search, [merchant, *way], paid, since, before)
            ]
    together = []
    for length in range(3, trip.transfers + 2):
        ways = [way for way in found if len(way) == length]
        if len(ways) > 1:
            together.append([_all(persons) for persons in zip(*ways, strict=True)])
    return [*found, *together]


def _senders(
    search: Search, way: Way, paid: Sequence[Movement], since: int, before: int
) -> Iterator[tuple[list[Alias], int]]:
    """Who, not on a way, sent money to the first after its merchant, and when at the latest."""
    graph, most = search.graph, 2 * sum(part.cents for part in paid)
    senders: dict[bytes, list[Observation]] = {}
    for leg in in_turn(search.into(way[1], Role.TRANSFER, since, before), graph.rules.fan):
        on_it = any(graph.is_alias((leg.subject, leg.group), person) for person in way)
        if not on_it and CENTS[leg.band] <= most:
            senders.setdefault(leg.subject, []).append(leg)
    for token, legs in senders.items():
        if graph.set_aside(token) is None and not all(graph.is_public(token, leg.group) for leg in legs):
            person = graph.whoever((token, group) for leg in legs for group in graph.reporters(leg))
            yield person, max(leg.first for leg in legs)


def _all(persons: Sequence[list[Alias]]) -> list[Alias]:
    found = dict.fromkeys(alias for person in persons for alias in person)
    return [alias for alias in found if alias[1] is None or (alias[0], None) not in found]


def _chains(
    search: Search, paid: Sequence[Movement], ways: Sequence[Way], trip: Trip
) -> list[list[Movement]]:
    """Payments with a movement for each hop back, each leg in no more than one."""
    if not ways:
        return []
    since, until = paid[0].first, max(part.last for part in paid) + trip.seconds
    hops = [
        [movements(search.between(Role.TRANSFER, *hop, since, until)) for hop in pairwise(way)]
        for way in ways
    ]
    used: set[int] = set()
    found: list[list[Movement]] = []
    for start in range(len(paid)):
        for row in rows(paid, start, paid[start].first + trip.seconds, _SPLIT):
            if any(_is_used(part, used) for part in row):
                continue
            chain = next(filter(None, (_back(search, total(row), way, used, trip) for way in hops)), None)
            if chain is not None:
                found.append(chain)
                used.update(leg.place for movement in chain for leg in movement.legs)
                break
    return found


def _back(
    search: Search, sent: Movement, hops: Sequence[Sequence[Movement]], used: set[int], trip: Trip
) -> list[Movement] | None:
    """A movement for each hop such that all fit together, what was sent first; None where none do."""
    until = sent.last + trip.seconds

    def on(chain: list[Movement]) -> list[Movement] | None:
        if len(chain) > len(hops):
            return chain
        left = [part for part in hops[len(chain) - 1] if not _is_used(part, used)]
        search.spend(1)
        least, most = returned(trip.returns, chain[-1].cents)
        for part in sums(left, chain[-1].first, until, least, most):
            whole = on([*chain, part])
            if whole is not None:
                return whole
        return None

    return on([sent])


def _is_used(part: Movement, used: set[int]) -> bool:
    return any(leg.place in used for leg in part.legs)


def _subjects(chains: Sequence[Sequence[Movement]]) -> Iterator[Subject]:
    for chain in chains:
        for at, movement in enumerate(chain):
            source = Part.PAYER if at == 0 else Part.MERCHANT if at == 1 else Part.ACCOUNT
            sink = Part.MERCHANT if at == 0 else Part.PAYER if at == len(chain) - 1 else Part.ACCOUNT
            for leg in movement.legs:
                yield Subject(leg.subject, leg.subject_type, source)
                yield Subject(leg.counterparty, leg.counterparty_type, sink)
