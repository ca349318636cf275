"""Firms: wages, owners' drawings, suppliers and customers, daily settlement; landlords and foremen.

Invariants: salaries and rents are monthly; what a merchant is settled for are the sales of the day before
that came by card or wallet, through the aggregator's account.
"""

import random

from exchange.scenario.calendar import DAY, HOUR, MINUTE, START, day_of, office, waking
from exchange.scenario.merchants import Merchant
from exchange.scenario.movements import Purchase
from exchange.scenario.town import Town

_PARTNERSHIPS = 0.7  # share of firms that have a partner to trade with, sham ones too: they look busy
_CREW = (6, 16)


def trade(town: Town) -> None:
    """Everything that firms pay."""
    chance = town.stream("business")
    _wages(town, chance)
    _rents(town, chance)
    _drawings(town, chance)
    _suppliers(town, chance)
    _own_purchases(town, chance)
    _crews(town, chance)
    _price_adjustments(town, chance)


def _wages(town: Town, chance: random.Random) -> None:
    book = town.book("salary")
    pay_days = {merchant.id: chance.choice((5, 8, 10, 10, 15, 25)) for merchant in town.merchants}
    for person in town.people:
        if person.employer is not None:
            for day in range(pay_days[person.employer.id], town.calendar.days, 30):
                time = START + day * DAY + 10 * HOUR + chance.randrange(30 * MINUTE)
                account = person.accounts[-1]
                book.send(time, person.employer.account, account, person.wage * chance.uniform(0.95, 1.05))


def _rents(town: Town, chance: random.Random) -> None:
    """One in eight pays rent to one of the landlords: many small hands into one account."""
    book = town.book("rent")
    landlords = [chance.choice(town.people) for _ in range(max(1, len(town.people) // 100))]
    for person in town.people:
        if not person.student and chance.random() < 0.125:
            landlord, rent = chance.choice(landlords), 100 * chance.randint(12, 45)
            if landlord is not person:
                for day in range(chance.randrange(30), town.calendar.days, 30):
                    book.send(waking(chance, day), person.accounts[0], landlord.accounts[0], rent)


def _drawings(town: Town, chance: random.Random) -> None:
    """Owners draw money every week or so, often just after a good day, and sometimes put some back."""
    out, back = town.book("owner's drawing"), town.book("owner's loan")
    for merchant in town.merchants:
        if merchant.owner is None:
            continue
        day = chance.randrange(7)
        while day < town.calendar.days:
            amount = round(merchant.trade.ticket * chance.lognormvariate(1.6, 0.7), -1) + 100
            out.send(waking(chance, day), merchant.account, merchant.owner.accounts[0], amount)
            if chance.random() < 0.06:
                time = waking(chance, day) + chance.randrange(3) * DAY
                back.send(time, merchant.owner.accounts[0], merchant.account, amount * chance.uniform(0.3, 2))
            day += chance.randint(4, 10)


def _suppliers(town: Town, chance: random.Random) -> None:
    """Firms that trade with each other pay both ways, often within a day or two."""
    book = town.book("supplier")
    honest = [merchant for merchant in town.merchants if not merchant.sham]
    for merchant in town.merchants:
        if chance.random() < _PARTNERSHIPS:
            partner = chance.choice(honest)
            if partner is merchant:
                continue
            scale = chance.lognormvariate(7.6, 0.8)
            day = chance.randrange(10)
            while day < town.calendar.days:
                time = office(chance, day)
                book.send(time, merchant.account, partner.account, scale * chance.lognormvariate(0, 0.5))
                if chance.random() < 0.5:
                    later = time + int(chance.uniform(2, 48) * HOUR)
                    amount = scale * chance.lognormvariate(0, 0.7)
                    book.send(later, partner.account, merchant.account, amount)
                day += chance.randint(4, 14)


def _own_purchases(town: Town, chance: random.Random) -> None:
    """Small owners buy stock on their own credit from a firm that at other times buys from theirs."""
    bought, sold = town.book("stock on own credit"), town.book("supplier")
    owners = [merchant for merchant in town.merchants if merchant.owner and not merchant.owner.planted]
    firms = [merchant for merchant in town.merchants if merchant.counter and not merchant.sham]
    for merchant in chance.sample(owners, len(owners) // 10):
        owner, firm = merchant.owner, chance.choice(firms)
        lines = [] if owner is None else [
            line for line in owner.lines.values() if line.lender != town.institutions.shop and not line.kept
        ]  # fmt: skip
        if owner is None or not lines or firm is merchant:
            continue
        for _ in range(chance.randint(1, 3)):
            line, time = chance.choice(lines), office(chance, chance.randrange(town.calendar.days))
            amount = line.limit * chance.uniform(0.1, 0.6)
            bought.buy(time, owner, firm, amount, line, owner.device(chance), platform=False)
            if chance.random() < 0.4:
                later = time + int(chance.uniform(4, 70) * HOUR)
                sold.send(later, firm.account, merchant.account, amount * chance.lognormvariate(0, 0.9))


def _crews(town: Town, chance: random.Random) -> None:
    """Foremen get a week's pay for their crew from a firm and hand nearly all of it on within a day."""
    paid, shared = town.book("contract"), town.book("crew's pay")
    free = [person for person in town.people if not person.planted]
    firms = [merchant for merchant in town.merchants if not merchant.sham]
    for _ in range(max(1, len(town.people) // 230)):
        foreman, *crew = chance.sample(free, 1 + chance.randint(*_CREW))
        firm, day = chance.choice(firms), chance.randrange(7)
        while day < town.calendar.days - 2:
            wages = [10 * chance.randint(60, 240) for _ in crew]
            time = office(chance, day)
            paid.send(time, firm.account, foreman.accounts[0], sum(wages) * chance.uniform(1.02, 1.25))
            for worker, wage in zip(crew, wages, strict=True):
                later = time + int(chance.uniform(0.5, 26) * HOUR)
                shared.send(later, foreman.accounts[0], worker.accounts[-1], wage)
            day += chance.choice((7, 7, 14))


def _price_adjustments(town: Town, chance: random.Random) -> None:
    """Shops make good a fault or a promised price by transfer: a part as a rule, rarely all of it."""
    book = town.book("price adjustment")
    sales = [
        each for each in town.movements
        if isinstance(each, Purchase) and each.amount > 400 and not each.case and not each.merchant.sham
    ]  # fmt: skip
    for bought in chance.sample(sales, min(len(sales), max(2, len(town.people) // 45))):
        share = 1.0 if chance.random() < 0.04 else chance.uniform(0.03, 0.45)
        later = bought.time + int(chance.uniform(1, 70) * HOUR)
        book.send(later, bought.merchant.account, bought.payer.accounts[0], bought.amount * share)


def settle(town: Town) -> None:
    """The aggregator pays merchants for yesterday's card and wallet sales; the smallest every third day."""
    book = town.book("settlement")
    chance = town.stream("settlement")
    aggregator = town.houses[town.institutions.provider].account
    sales: dict[tuple[int, Merchant], float] = {}
    for each in town.movements:
        if isinstance(each, Purchase):
            day = day_of(each.time)
            if not each.merchant.settled_daily:
                day += 2 - day % 3
            sales[day, each.merchant] = sales.get((day, each.merchant), 0.0) + each.amount
    for (day, merchant), amount in sales.items():
        time = START + (day + 1) * DAY + chance.randrange(4 * HOUR)
        if time < town.calendar.end:
            book.send(time, aggregator, merchant.account, amount * 0.994)
