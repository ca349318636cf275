"""Payer ring: several payers buy on credit at one merchant and share a device, address or phone.

An agent orders for those who lend their accounts, so that payers of a sham merchant sit behind one device,
one drop address, or the operator's number. A family does so too: it is small, and it is lost among the payers
of an honest merchant, of which a ring is a good part. Sources: docs/matching.md.

Invariants: persons are told apart by what is claimed of them, and counted by one type of identifier, so that
one person's card and phone never make two; an instance is one merchant's ring; values that are set aside
join nobody. The evidence is the purchases, and what says that their payers have the values.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from exchange.domain.matching.finding import Finding, Part, Pattern, Subject, evidence_of, instance_key
from exchange.domain.matching.graph import DAY, Alias, Graph, order
from exchange.domain.matching.identity import End
from exchange.domain.matching.movement import movements
from exchange.domain.matching.observation import NATIONAL_ID, PHONE, Observation, Role
from exchange.domain.matching.parts import payers_and_merchants, subjects
from exchange.domain.matching.search import EVER, Search, bounded, concerned, in_turn

ROLES: Final = frozenset(Role) - {Role.SHARED}
_LEGS: Final = frozenset({Role.PAYMENT})
_THE_MERCHANT: Final = -1
_MOST: Final = 32
"""Purchases, and statements about values, that are given as evidence."""


def find(graph: Graph, seen: Observation) -> Iterator[Finding]:
    """Rings that an observation may have completed."""
    return bounded(graph, seen, _LEGS, _find)


def _find(search: Search, seen: Observation) -> Iterator[Finding]:
    done: set[bytes] = set()
    for payment in concerned(search, seen, _LEGS):
        merchant = payment.counterparty
        if merchant not in done and _is_shared(search, payment):
            done.add(merchant)
            yield from _ring(search, merchant)


def _is_shared(search: Search, payment: Observation) -> bool:
    """Whether the payer shares any value with another payer of the merchant, or with the merchant."""
    graph, merchant = search.graph, payment.counterparty
    payer = graph.who(payment.subject, payment.group)
    own = {token for token, _ in payer}
    for value in graph.values(payer):
        if value == merchant:
            return True
        for token, group in graph.holders(value):
            if token == merchant:
                return True
            if token not in own and graph.between(
                Role.PAYMENT, graph.who(token, group), [(merchant, None)], 0, EVER
            ):
                return True
    return False


def _ring(search: Search, merchant: bytes) -> Iterator[Finding]:
    graph, rules = search.graph, search.rules.payer_ring
    if graph.known_shared(merchant):
        return
    payments = [row for row in graph.into([(merchant, None)], 0, EVER) if row.role == Role.PAYMENT]
    search.spend(len(payments))
    persons = graph.persons((row.subject, row.group) for row in payments)
    if graph.counted(merchant) > len(set(persons.values())) * 1000 // rules.share:
        return  # even all of them are too few
    operator = graph.whoever((merchant, group) for group in graph.stating(merchant)) or [(merchant, None)]
    sharing = _sharing(graph, operator, persons)
    found: dict[int, Observation] = {}
    for people in _circles(sharing):
        inside = [row for row in payments if persons[row.subject, row.group] in people]
        until = 0
        for start, first in enumerate(inside):
            stretch = [row for row in inside[start:] if row.first <= first.first + rules.days * DAY]
            if len(stretch) < rules.payers or stretch[-1].first <= until:
                continue  # too few, or all of them in the stretch before
            until = stretch[-1].first
            if _sure(graph, stretch, persons) >= rules.payers:
                found.update((row.place, row) for row in stretch)
    ring = {persons[row.subject, row.group] for row in found.values()}
    limit = len(ring) * 1000 // rules.share
    if not ring or graph.counted(merchant) > limit:
        return
    values = sorted(value for value, people in sharing.items() if len(people & ring) > 0)
    rows = sorted(in_turn(found.values(), _MOST), key=order)
    yield Finding(
        Pattern.PAYER_RING,
        instance_key(Pattern.PAYER_RING, merchant),
        (merchant,),
        subjects(graph, [*payers_and_merchants(graph, rows), *_behind(graph, sharing, ring)]),
        evidence_of(rows, _holdings(search, rows, values, merchant)),
        evidence_of(movement.heads[0] for movement in movements(rows)),
        max(_rarity(graph, value) for value in values),
    )


def _sharing(graph: Graph, operator: Sequence[Alias], persons: Mapping[End, int]) -> dict[bytes, set[int]]:
    """Values that several persons share with each other or with the merchant, and who does."""
    having: dict[bytes, set[int]] = {}
    for end, person in persons.items():
        for value in graph.values(graph.who(*end)):
            having.setdefault(value, set()).add(person)
    for value in graph.values(operator):
        having.setdefault(value, set()).add(_THE_MERCHANT)
    return {
        value: people
        for value, people in having.items()
        if len(people) > 1 and graph.set_aside(value) is None
    }


def _circles(sharing: Mapping[bytes, set[int]]) -> list[set[int]]:
    """Persons who are joined by values; all who share anything where some share with the merchant, since an
    operator who stands behind some of its payers stands behind the others."""
    circles: list[set[int]] = []
    for people in sharing.values():
        circle = set(people)
        apart = []
        for known in circles:
            if known.isdisjoint(circle):
                apart.append(known)
            else:
                circle |= known
        circles = [*apart, circle]
    if any(_THE_MERCHANT in circle for circle in circles):
        circles = [set().union(*circles)]
    return circles


def _sure(graph: Graph, rows: Sequence[Observation], persons: Mapping[End, int]) -> int:
    """How many people there are for sure.

    Persons of different national ids are different people; one of none may be any of them of whom no
    identifier of that type is known.
    """
    claimed: dict[int, set[bytes]] = {}
    named: dict[int, set[int]] = {}
    for row in rows:
        person = persons[row.subject, row.group]
        claimed.setdefault(person, set()).update(graph.claimed(row.subject, row.group))
        named.setdefault(person, set()).add(row.subject_type)
    types = {person: {graph.type_of(token) for token in tokens} for person, tokens in claimed.items()}
    known = [person for person in types if NATIONAL_ID in types[person]]
    ids = len({id_ for person in known for id_ in graph.named(claimed[person])})
    more = [
        sum(kind in named[person] for person in types if person not in known)
        - sum(kind not in types[person] for person in known)
        for kind in set().union(*named.values())
    ]
    return ids + max(0, *more)


def _behind(graph: Graph, sharing: Mapping[bytes, set[int]], ring: set[int]) -> Iterator[Subject]:
    """Phones that several of the ring go by: whose they are acts for the merchant."""
    for value, people in sharing.items():
        if graph.type_of(value) == PHONE and len(people & ring) > 1:
            yield Subject(value, PHONE, Part.MERCHANT)


def _holdings(
    search: Search, rows: Sequence[Observation], values: Iterable[bytes], merchant: bytes
) -> list[Observation]:
    """What says that those who share the values have them."""
    graph = search.graph
    ends = {(row.subject, row.group) for row in rows}
    tokens = {token for end in ends for token, _ in graph.who(*end)} | {merchant}
    said = (
        row
        for value in values
        for token, group in graph.holders(value)
        if token in tokens
        for row in search.holdings(token, group, value)
    )
    return list(islice(said, _MOST))


def _rarity(graph: Graph, value: bytes) -> int:
    degree, limit = graph.degree(value)
    return max(0, 1000 * (limit - degree) // limit)
