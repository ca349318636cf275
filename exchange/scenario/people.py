"""People, their households, accounts and credit lines.

Invariants: a person has at least one account, at most one a bank, and at most one line a lender; a line of a
bank has a card; a line's `limit` never changes.
"""

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exchange.scenario.identifiers import Identifiers
from exchange.scenario.members import Institutions

if TYPE_CHECKING:
    from exchange.scenario.merchants import House, Merchant

DISTRICTS = 6
_HOUSEHOLD_SIZES = (1, 1, 2, 2, 3, 3, 3, 4)
_STUDENTS = 0.12
_COLLECTED = 0.4  # share of households whose parcels go to a pick-up station
_HOUSEHOLDS_A_STATION = 45


@dataclass(slots=True, eq=False)
class Account:
    """A bank account. `card` is its debit card; firms have none."""

    bank: str
    iban: str
    card: str | None = None
    holder: "Person | Merchant | House" = field(init=False)


@dataclass(slots=True, eq=False)
class Line:
    """A credit line. `owed` moves while a city is cleared; `planned` is what planted purchases will draw.

    A `kept` line is one its holder leaves alone in honest life.
    """

    lender: str
    holder: "Person"
    limit: float
    card: str | None
    due: int
    owed: float = 0.0
    planned: float = 0.0
    kept: bool = False


@dataclass(slots=True, eq=False)
class Person:
    """Somebody of the city. `spend` scales amounts, `rate` is purchases a day.

    `bank_phone` is the contact number that banks know, mostly the own one. `bound` is the account or card
    that the payment provider pays from, as "type:value". An `owner` runs a
    firm; who takes part in a case is `planted`.
    """

    id: str
    phone: str
    bank_phone: str
    national_id: str
    address: str
    delivery: str
    district: int
    student: bool
    devices: list[str]
    shared_devices: list[str]
    rate: float
    spend: float
    wage: float
    accounts: list[Account] = field(default_factory=list)
    lines: dict[str, Line] = field(default_factory=dict)
    bound: str = ""
    employer: "Merchant | None" = None
    household: "list[Person]" = field(default_factory=list)
    owner: bool = False
    planted: bool = False

    def device(self, chance: random.Random) -> str:
        """The device of one purchase: mostly the own newest one, at times one shared at home or on campus."""
        if self.shared_devices and chance.random() < 0.15:
            return chance.choice(self.shared_devices)
        return self.devices[-1] if chance.random() < 0.9 else chance.choice(self.devices)

    def account_at(self, bank: str) -> Account | None:
        """The account at that bank."""
        return next((account for account in self.accounts if account.bank == bank), None)


def populate(
    count: int, institutions: Institutions, identifiers: Identifiers, chance: random.Random
) -> list[Person]:
    """`count` people: students of one campus, the others in households of one to four."""
    people: list[Person] = []
    students = int(count * _STUDENTS)
    blocks = [identifiers.address(f"campus dormitory {n + 1}") for n in range(max(1, students // 160))]
    rooms = [identifiers.device() for _ in range(max(1, students // 150))]
    for number in range(students):
        block = blocks[number % len(blocks)]
        person = _person(f"p{number:05d}", block, block, 0, identifiers, chance)
        person.student, person.shared_devices = True, [rooms[number % len(rooms)]]
        person.wage, person.rate, person.spend = 0.0, person.rate * 1.2, person.spend * 0.6
        people.append(person)
    stations: dict[int, str] = {}
    households = 0
    while len(people) < count:
        district = households % DISTRICTS
        if households % (_HOUSEHOLDS_A_STATION * DISTRICTS) < DISTRICTS:
            stations[district] = identifiers.address(f"district {district + 1} pick-up station")
        home = identifiers.address(f"district {district + 1} bamboo lane")
        delivery = stations[district] if chance.random() < _COLLECTED else home
        size = min(chance.choice(_HOUSEHOLD_SIZES), count - len(people))
        family = [
            _person(f"p{len(people) + n:05d}", home, delivery, district, identifiers, chance)
            for n in range(size)
        ]
        if size > 1 and chance.random() < 0.5:
            tablet = identifiers.device()
            for person in family:
                person.shared_devices = [tablet]
        for person in family:
            person.household = [other for other in family if other is not person]
        if size > 2 and chance.random() < 0.3:
            # A parent's number is the contact of the child's account.
            family[-1].bank_phone = family[0].phone
        people += family
        households += 1
    for person in people:
        _open_accounts(person, institutions, identifiers, chance)
        _open_lines(person, institutions, identifiers, chance)
    return people


def _person(
    id_: str, address: str, delivery: str, district: int, identifiers: Identifiers, chance: random.Random
) -> Person:
    phone = identifiers.phone()
    devices = [identifiers.device() for _ in range(1 + (chance.random() < 0.25))]
    spend = chance.lognormvariate(0, 0.35)
    return Person(
        id=id_,
        phone=phone,
        bank_phone=phone,
        national_id=identifiers.national_id(),
        address=address,
        delivery=delivery,
        district=district,
        student=False,
        devices=devices,
        shared_devices=[],
        rate=chance.gammavariate(3, 0.38 / 3),
        spend=spend,
        wage=0.0 if chance.random() < 0.15 else round(6_500 * spend * chance.uniform(0.7, 1.5), -2),
    )


def _open_accounts(
    person: Person, institutions: Institutions, identifiers: Identifiers, chance: random.Random
) -> None:
    wanted = 1 + (chance.random() < 0.45)
    for bank in chance.sample(institutions.banks, wanted):
        number = institutions.banks.index(bank)
        account = Account(bank, identifiers.iban(number), identifiers.card(number))
        account.holder = person
        person.accounts.append(account)
    bound = person.accounts[0]
    person.bound = f"iban:{bound.iban}" if chance.random() < 0.7 else f"card:{bound.card}"


def _open_lines(
    person: Person, institutions: Institutions, identifiers: Identifiers, chance: random.Random
) -> None:
    offers = [(institutions.provider, 0.72, 7_000), (institutions.shop, 0.5, 4_500)]
    offers += [
        (bank, 0.6 if person.account_at(bank) else 0.15, 14_000 if not person.student else 4_000)
        for bank in institutions.banks
    ]
    for lender, share, usual in offers:
        if chance.random() < share:
            limit = max(1_000.0, round(usual * person.spend * chance.lognormvariate(0, 0.45), -2))
            card = None
            if lender in institutions.banks:
                card = identifiers.card(institutions.banks.index(lender))
            person.lines[lender] = Line(lender, person, limit, card, chance.randrange(1, 28))
