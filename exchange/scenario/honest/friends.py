"""Money between people: dinners shared, gifts, family, group purchases, outings.

Invariants: friends are chosen once and stay; nobody pays themselves.
"""

import random

from exchange.scenario.calendar import DAY, HOUR, MINUTE, START, waking
from exchange.scenario.merchants import Merchant
from exchange.scenario.movements import Book, Wallet
from exchange.scenario.people import Account, Line, Person
from exchange.scenario.town import Town, Weighted

_FRIENDS = 5


def share(town: Town) -> None:
    """Everything that people pay each other."""
    chance = town.stream("friends")
    friends = {person: _friends(town, person, chance) for person in town.people}
    _dinners(town, chance, friends)
    _gifts(town, chance, friends)
    _group_purchases(town, chance)
    _outings(town, chance, friends)


def _friends(town: Town, person: Person, chance: random.Random) -> list[Person]:
    """Household, and some of the same part of the list, who are neighbours or of the same campus."""
    place = int(person.id[1:])
    near = (chance.randrange(max(0, place - 60), min(len(town.people), place + 60)) for _ in range(_FRIENDS))
    found = [*person.household, *(town.people[n] for n in near)]
    return [friend for friend in found if friend is not person]


def _hand(
    town: Town, book: Book, chance: random.Random, time: int, payer: Person, payee: Person, amount: float
) -> None:
    """From wallet to wallet or from account to account."""
    source: Account | Wallet
    target: Account | Wallet
    if chance.random() < 0.55:
        source, target = Wallet(payer), Wallet(payee)
    else:
        source, target = chance.choice(payer.accounts), chance.choice(payee.accounts)
    book.send(time, source, target, amount)


def _dinners(town: Town, chance: random.Random, friends: dict[Person, list[Person]]) -> None:
    """Somebody paid for both; the other pays back within two days. Some lend more, for longer."""
    back, loan = town.book("paying back"), town.book("loan among friends")
    for person in town.people:
        for _ in range(chance.randint(0, 3)):
            time = waking(chance, chance.randrange(town.calendar.days))
            payer = chance.choice(friends[person]) if friends[person] else person
            if payer is not person:
                _hand(town, back, chance, time, payer, person, chance.lognormvariate(4.3, 0.7))
        if friends[person] and chance.random() < 0.12:
            friend, amount = chance.choice(friends[person]), 100 * chance.randint(5, 60)
            day = chance.randrange(town.calendar.days - 1)
            time = waking(chance, day)
            _hand(town, loan, chance, time, person, friend, amount)
            later = time + int(chance.lognormvariate(1.5, 1.1) * DAY)
            if later < town.calendar.end:
                _hand(town, loan, chance, later, friend, person, amount)


def _gifts(town: Town, chance: random.Random, friends: dict[Person, list[Person]]) -> None:
    book = town.book("festival gift")
    for person in town.people:
        if friends[person] and chance.random() < 0.6:
            for _ in range(chance.randint(1, 3)):
                time = waking(chance, chance.choice(town.calendar.festival))
                amount = chance.choice((66, 88, 100, 166, 200, 200, 500, 600, 800, 1_000))
                _hand(town, book, chance, time, person, chance.choice(friends[person]), amount)


def _group_purchases(town: Town, chance: random.Random) -> None:
    """Leaders collect from neighbours and place one large order on credit within a day."""
    collected, ordered = town.book("group purchase: shares"), town.book("group purchase: order")
    sellers = [
        merchant for merchant in town.merchants
        if merchant.trade.name in ("wholesale", "supermarket", "grocer", "cosmetics") and not merchant.sham
    ]  # fmt: skip
    for _ in range(max(1, len(town.people) // 140)):
        place = chance.randrange(len(town.people))
        leader = town.people[place]
        lines = [line for line in leader.lines.values() if not line.kept]
        if not lines or leader.planted:
            continue
        low, high = max(0, place - 50), min(len(town.people), place + 50)
        for _ in range(chance.randint(1, 5)):
            start = START + chance.randrange(town.calendar.days - 2) * DAY + 9 * HOUR
            neighbours = chance.sample(town.people[low:high], min(high - low, chance.randint(12, 35)))
            total = 0.0
            for neighbour in neighbours:
                if neighbour is not leader:
                    part = chance.uniform(15, 160)
                    total += part
                    time = start + chance.randrange(10 * HOUR)
                    _hand(town, collected, chance, time, neighbour, leader, part)
            _order(town, ordered, chance, leader, chance.choice(lines), chance.choice(sellers),
                   start + chance.randint(10, 26) * HOUR, total * chance.uniform(0.85, 1.0))  # fmt: skip


def _order(
    town: Town,
    book: Book,
    chance: random.Random,
    person: Person,
    line: Line,
    merchant: Merchant,
    time: int,
    amount: float,
) -> None:
    platform = merchant.platform and (not merchant.counter or line.lender == town.institutions.shop)
    if platform or line.lender != town.institutions.shop:
        book.buy(time, person, merchant, amount, line, person.device(chance), platform)


def _outings(town: Town, chance: random.Random, friends: dict[Person, list[Person]]) -> None:
    """Three to five friends on a weekend away pay in turns, at the same few places, often on credit."""
    book, back = town.book("outing"), town.book("paying back")
    places = [
        merchant for merchant in town.merchants
        if merchant.trade.name in ("travel", "restaurant", "clothes", "services") and merchant.counter
        and not merchant.sham
    ]  # fmt: skip
    popular = Weighted(places, [merchant.draw for merchant in places])
    for _ in range(max(1, len(town.people) // 300)):
        host = chance.choice(town.people)
        party = [host, *friends[host][: chance.randint(2, 4)]]
        day = chance.randrange(town.calendar.days // 7) * 7 + 5
        if day + 2 > town.calendar.days:
            continue
        for merchant in [popular.draw(chance) for _ in range(chance.randint(3, 5))]:
            time = waking(chance, day + chance.randrange(2))
            for person in party:
                if chance.random() < 0.7:
                    amount = merchant.trade.ticket * chance.lognormvariate(0.3, 0.5)
                    method = town.method(person, amount * 2, False, chance)
                    moment = time + chance.randrange(90 * MINUTE)
                    book.buy(moment, person, merchant, amount, method, person.device(chance), False)
                    if person is not host and chance.random() < 0.4:
                        later = moment + chance.randrange(DAY)
                        _hand(town, back, chance, later, host, person, amount * chance.uniform(0.2, 0.6))
