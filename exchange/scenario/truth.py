"""The ground truth: who is who, and who played in which case.

Invariants: every actor is an entity, and so is everybody else of the town; no identifier belongs to two
entities. Devices and addresses are left out: they are shared, so they say nobody's name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exchange.scenario.movements import Movement, Purchase
from exchange.scenario.planted.plot import Case
from exchange.scenario.town import Town


@dataclass(frozen=True)
class Entity:
    """Somebody or something with identifiers, each "type:value". `kind`: person, merchant or institution."""

    kind: str
    identifiers: tuple[str, ...]


@dataclass(frozen=True)
class Actor:
    """An entity in a case; `role`: payer, merchant, operator, agent or mule."""

    entity: str
    role: str


@dataclass(frozen=True)
class CaseTruth:
    """One case. `first` and `last` are the Unix times of its first and last movement, `total` is what was
    drawn on credit in CNY, `rows` the references of its rows by member, `notes` what else to know."""

    id: str
    typology: str
    variant: str
    actors: tuple[Actor, ...]
    first: int
    last: int
    total: float
    rows: Mapping[str, Sequence[str]]
    notes: Mapping[str, str]


@dataclass(frozen=True)
class Truth:
    """Entities by id, and the cases."""

    entities: Mapping[str, Entity]
    cases: tuple[CaseTruth, ...]

    def actors(self) -> dict[str, list[CaseTruth]]:
        """The cases of every actor, by entity id."""
        found: dict[str, list[CaseTruth]] = {}
        for case in self.cases:
            for actor in case.actors:
                found.setdefault(actor.entity, []).append(case)
        return found


def entities(town: Town) -> dict[str, Entity]:
    """Everybody."""
    found: dict[str, Entity] = {}
    for person in town.people:
        known = [f"phone:{person.phone}", f"national_id_cn:{person.national_id}"]
        for account in person.accounts:
            known += [f"iban:{account.iban}", f"card:{account.card}"]
        known += [f"card:{line.card}" for line in person.lines.values() if line.card]
        found[person.id] = Entity("person", tuple(known))
    for merchant in town.merchants:
        known = [f"merchant:{merchant.code}", f"iban:{merchant.account.iban}"]
        if merchant.owner is None:
            known.append(f"phone:{merchant.operator_phone}")
        found[merchant.id] = Entity("merchant", tuple(known))
    for number, phone in enumerate(town.hotlines):
        found[f"i-hotline-{number + 1}"] = Entity("institution", (f"phone:{phone}",))
    for house in town.houses.values():
        found[house.id] = Entity("institution", (f"merchant:{house.code}", f"iban:{house.account.iban}"))
    return found


def tell(
    town: Town,
    cases: Sequence[Case],
    movements: Sequence[Movement],
    rows: Mapping[str, Mapping[str, Sequence[str]]],
) -> Truth:
    """The truth about a cleared town."""
    spans: dict[str, list[Movement]] = {case.id: [] for case in cases}
    for each in movements:
        if each.case:
            spans[each.case].append(each)
    return Truth(
        entities(town),
        tuple(
            CaseTruth(
                id=case.id,
                typology=case.typology,
                variant=case.variant,
                actors=tuple(Actor(entity, role) for entity, role in case.actors),
                first=spans[case.id][0].time,
                last=spans[case.id][-1].time,
                total=round(sum(each.amount for each in spans[case.id] if isinstance(each, Purchase)), 2),
                rows=dict(rows[case.id]),
                notes=dict(case.notes),
            )
            for case in cases
        ),
    )
