"""Money that comes back to whom it came from: what loops of funds and of refunds have in common.

Invariants: a trip begins with legs of one role from a payer to a merchant and goes on over at most
`transfers` transfers back to the payer; a leg begins no earlier than the one before it; sums of successive
legs stand for payments that were split, and so do ways over several accounts at once. An instance is what one
token paid another on one day and got back: the same from whichever of its observations it is looked for. The
search goes back from the payer, who has few incoming transfers, and never over a merchant's many.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from signalexchange.patterns import Return

from exchange.domain.matching.finding import Finding, Part, Pattern, Subject, evidence_of, instance_key
from exchange.domain.matching.graph import DAY, Alias
from exchange.domain.matching.identity import End
from exchange.domain.matching.movement import Movement, movements, returned, rows, sums, total
from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.parts import subjects
from exchange.domain.matching.search import Search, concerned, in_turn
from exchange.domain.matching.ways import ways_back

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
    found = _chains(search, payer, merchant, paid, trip)
    chains = [chain for chain in found if chain[0].first < day + DAY]
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


def _chains(
    search: Search, payer: list[Alias], merchant: list[Alias], paid: Sequence[Movement], trip: Trip
) -> list[list[Movement]]:
    """Payments with a movement for each hop back, each leg in no more than one."""
    if not paid:
        return []
    since, until = paid[0].first, max(part.last for part in paid) + trip.seconds
    ways = ways_back(search, payer, merchant, since, until, trip.transfers)
    hops = [[movements(hop) for hop in way] for way in ways]
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
