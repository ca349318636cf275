"""Merchant hopping: the same few payers buy on credit at each of several small merchants within days.

An agent leads a group of payers from one sham merchant to the next before any of them stands out, and spreads
them over lenders. Honest payers meet at big merchants, which don't count, and seldom at several small ones.
Found as a dense block of payers × merchants, as in M. Jiang et al., "CrossSpot" (2015), and K. Shin et al.,
"M-Zoom" (2016), in lockstep, as in A. Beutel et al., "CopyCatch" (2013); docs/matching.md.

Invariants: two payers go together if within `days` both bought at all but one of `merchants`, or at more, of
the same ones, at each no more than `apart_hours` apart; a block has as many cells filled as one of `payers` ×
`merchants` without a gap; an instance is what one token bought with those who go along, the same from each of
its purchases.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from exchange.domain.matching.finding import Finding, Pattern, evidence_of, instance_key
from exchange.domain.matching.graph import DAY, HOUR, Alias, Graph
from exchange.domain.matching.movement import movements
from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.parts import payers_and_merchants
from exchange.domain.matching.search import Search, bounded, concerned

ROLES: Final = frozenset(Role) - {Role.SHARED}
_LEGS: Final = frozenset({Role.PAYMENT})
Visits = dict[bytes, list[Observation]]
"""Payments by merchant."""


def find(graph: Graph, seen: Observation) -> Iterator[Finding]:
    """Blocks that an observation may have completed."""
    return bounded(graph, seen, _LEGS, _find)


def _find(search: Search, seen: Observation) -> Iterator[Finding]:
    done: set[bytes] = set()
    for payment in concerned(search, seen, _LEGS):
        if payment.subject in done:
            continue
        own, along = _companions(search, payment)
        done.update(row.subject for rows in own.values() for row in rows)
        if along:
            yield from _block(search, own, along)
        for other in along:
            row = next(iter(other.values()))[0]
            if row.subject not in done and not search.is_low:
                done.update(each.subject for rows in other.values() for each in rows)
                yield from _block(search, *_companions(search, row))


def _companions(search: Search, payment: Observation) -> tuple[Visits, list[Visits]]:
    """A payer's visits, and those of each who goes along to the same merchants."""
    graph, rules = search.graph, search.rules.merchant_hopping
    who = graph.who(payment.subject, payment.group)
    own: Visits = {}
    for row in search.out_of(who, Role.PAYMENT):
        own.setdefault(row.counterparty, []).append(row)
    common = rules.merchants - 1
    if len(own) < common:
        return own, []
    small = [merchant for merchant in sorted(own) if _is_small(graph, merchant)]
    if len(small) < common:
        return own, []
    days = rules.days * DAY
    ends: dict[tuple[bytes, str], Visits] = {}
    for merchant in small:
        since, until = own[merchant][0].first - days, own[merchant][-1].first + days
        for row in search.into([(merchant, None)], Role.PAYMENT, since, until):
            ends.setdefault((row.subject, row.group), {}).setdefault(merchant, []).append(row)
    search.spend(len(ends))
    persons = graph.persons(ends)
    mine = {persons[end] for end in ends if _is_one_of(end, who)}
    visits: dict[int, Visits] = {}
    for end, of_end in ends.items():
        for merchant, rows in of_end.items():
            visits.setdefault(persons[end], {}).setdefault(merchant, []).extend(rows)
    own = {merchant: own[merchant] for merchant in small}
    along = [
        visits[person]
        for person in sorted(visits)
        if person not in mine
        and len(visits[person]) >= common
        and _together(own, visits[person], days, rules.apart_hours * HOUR) >= common
    ]
    return own, along


def _is_small(graph: Graph, merchant: bytes) -> bool:
    popular = graph.rules.merchant_hopping.popular
    return graph.counted(merchant) <= popular and not graph.known_shared(merchant)


def _is_one_of(end: tuple[bytes, str], who: Sequence[Alias]) -> bool:
    return (end[0], None) in who or end in who


def _together(one: Visits, other: Visits, days: int, apart: int) -> int:
    """The most merchants at which both bought, no more than `apart` from each other, within the same stretch
    of `days`, both in seconds."""
    meetings = sorted(
        (min(mine.first, theirs.first), max(mine.first, theirs.first), merchant)
        for merchant in one
        for mine in one[merchant]
        for theirs in other.get(merchant, ())
        if abs(mine.first - theirs.first) <= apart
    )
    return max(
        (
            len({merchant for _, last, merchant in meetings[n:] if last <= start + days})
            for n, (start, _, _) in enumerate(meetings)
        ),
        default=0,
    )


def _dense(payers: list[Visits], density: int) -> tuple[list[Visits], list[bytes]]:
    """The payers and merchants that are left when those with too few of the others have gone: of a payer's
    cells more than the density are filled, of a merchant's as much."""
    merchants = list(payers[0])
    while True:
        left = [
            merchant
            for merchant in merchants
            if sum(merchant in visits for visits in payers) * 1000 >= len(payers) * density
        ]
        stay = [
            visits
            for visits in payers
            if sum(merchant in visits for merchant in left) * 1000 > len(left) * density
        ]
        if len(left) == len(merchants) and len(stay) == len(payers):
            return stay, left
        payers, merchants = stay, left


def _block(search: Search, own: Visits, along: Sequence[Visits]) -> Iterator[Finding]:
    """The block of a payer and those who go along, if it is large and dense enough."""
    graph, rules = search.graph, search.rules.merchant_hopping
    payers, shared = _dense([own, *along], rules.density)
    cells = sum(merchant in visits for visits in payers for merchant in shared)
    if (
        own not in payers
        or len(payers) < rules.payers
        or len(shared) < rules.merchants
        or cells < rules.payers * rules.merchants
    ):
        return
    rows = [row for visits in payers for merchant in shared for row in visits.get(merchant, ())]
    principal = [row for merchant in shared for row in own[merchant]]
    for token in sorted({row.subject for row in principal}):
        yield Finding(
            Pattern.MERCHANT_HOPPING,
            instance_key(Pattern.MERCHANT_HOPPING, token),
            tuple(sorted({row.subject for row in rows})),
            payers_and_merchants(graph, rows),
            evidence_of(rows),
            evidence_of(
                movement.heads[0] for movement in movements(principal) if movement.heads[0].subject == token
            ),
        )
