"""Merchants, and the houses that keep the institutions' own money.

Invariants: a merchant has one account at one bank; `operator_phone` is what its bank knows of whoever runs
it: the owner's number, or that of a straw man's SIM when there is no owner. The platform knows the same
number, or the hotline of an agency that runs many merchants' shops.
"""

import random
from dataclasses import dataclass
from typing import NamedTuple

from exchange.scenario.identifiers import Identifiers
from exchange.scenario.members import Institutions
from exchange.scenario.people import DISTRICTS, Account, Person


class Trade(NamedTuple):
    """A line of business: its share of merchants, the median sale in CNY and its log-deviation, how often
    people come, and the odds that it sells on the platform and over the counter."""

    name: str
    share: float
    ticket: float
    spread: float
    draw: float
    platform: float
    counter: float


TRADES = {
    trade.name: trade
    for trade in (
        Trade("supermarket", 0.06, 90, 0.7, 36, 0.3, 1),
        Trade("grocer", 0.20, 28, 0.7, 12, 0.05, 1),
        Trade("restaurant", 0.19, 65, 0.6, 11, 0, 1),
        Trade("clothes", 0.12, 180, 0.6, 6, 0.7, 0.7),
        Trade("electronics", 0.08, 900, 0.9, 3.5, 0.7, 0.7),
        Trade("appliances", 0.04, 2_200, 0.6, 1.5, 0.6, 1),
        Trade("home", 0.05, 1_500, 0.8, 1.6, 0.4, 1),
        Trade("jewellery", 0.03, 2_600, 0.7, 0.8, 0.3, 1),
        Trade("cosmetics", 0.06, 240, 0.6, 5, 0.9, 0.3),
        Trade("books", 0.05, 80, 0.6, 5, 0.9, 0.2),
        Trade("travel", 0.05, 700, 0.7, 1.8, 0.4, 1),
        Trade("services", 0.05, 320, 0.9, 2.5, 0.2, 1),
        Trade("wholesale", 0.02, 1_300, 0.8, 1, 0.2, 1),
    )
}

_RUN_BY_AGENCIES = 0.25


@dataclass(slots=True, eq=False)
class Merchant:
    """A business. `draw` is how often people come, relative to others; a `sham` one exists to cash out."""

    id: str
    code: str
    trade: Trade
    district: int
    platform: bool
    counter: bool
    draw: float
    account: Account
    owner: Person | None
    operator_phone: str
    platform_phone: str
    settled_daily: bool
    sham: bool = False


@dataclass(slots=True, eq=False)
class House:
    """An institution as payee: its merchant code, and the account it collects on and settles from."""

    id: str
    member: str
    code: str
    account: Account


def found(
    id_: str,
    trade: Trade,
    owner: Person | None,
    bank: str,
    institutions: Institutions,
    identifiers: Identifiers,
    chance: random.Random,
) -> Merchant:
    """A new merchant with its account at `bank`."""
    platform = chance.random() < trade.platform
    phone = owner.phone if owner else identifiers.phone()
    merchant = Merchant(
        id=id_,
        code=identifiers.merchant(),
        trade=trade,
        district=chance.randrange(DISTRICTS),
        platform=platform,
        counter=not platform or chance.random() < trade.counter,
        draw=trade.draw * chance.lognormvariate(0, 0.8),
        account=Account(bank, identifiers.iban(institutions.banks.index(bank))),
        owner=owner,
        operator_phone=phone,
        platform_phone=phone,
        settled_daily=chance.random() < 0.5,
    )
    merchant.account.holder = merchant
    return merchant


def settle_down(
    count: int,
    people: list[Person],
    hotlines: list[str],
    institutions: Institutions,
    identifiers: Identifiers,
    chance: random.Random,
) -> list[Merchant]:
    """`count` merchants, each owned by somebody who has a wage; who has one is employed by one of them."""
    earners = [person for person in people if person.wage]
    owners = iter(chance.sample(earners, count))
    trades = chance.choices(list(TRADES.values()), [trade.share for trade in TRADES.values()], k=count)
    merchants = [
        found(f"m{number:04d}", trade, next(owners), chance.choice(institutions.banks), institutions,
              identifiers, chance)
        for number, trade in enumerate(trades)
    ]  # fmt: skip
    for merchant in merchants:
        if merchant.platform and chance.random() < _RUN_BY_AGENCIES:
            merchant.platform_phone = chance.choice(hotlines)
    owning = {merchant.owner for merchant in merchants}
    sizes = [merchant.draw * merchant.trade.ticket**0.7 for merchant in merchants]
    for person in earners:
        person.owner = person in owning
        if not person.owner:
            person.employer = chance.choices(merchants, sizes)[0]
    return merchants


def houses(institutions: Institutions, identifiers: Identifiers) -> dict[str, House]:
    """A house for every member; provider and shop bank with the first and the second bank."""
    made = {}
    for number, member in enumerate(institutions.all):
        bank = member if member in institutions.banks else institutions.banks[number % 2]
        account = Account(bank, identifiers.iban(institutions.banks.index(bank)))
        made[member] = House(f"i-{member}", member, identifiers.merchant(), account)
        account.holder = made[member]
    return made
