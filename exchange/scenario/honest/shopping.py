"""Buying things: every day, on sale days, and large things once in a while; returning and cancelling some.

Invariants: whoever buys at a merchant of the platform alone has a delivery; a return comes back to where the
money came from, whatever the merchant.
"""

import random

from exchange.scenario.calendar import DAY, HOUR, MINUTE, poisson, waking
from exchange.scenario.merchants import Merchant
from exchange.scenario.movements import Book, Purchase
from exchange.scenario.people import DISTRICTS, Person
from exchange.scenario.town import Town, Weighted

_HAUNTS = 22
_CANCELLED = (*[0.025] * 12, 0.06, 0.15)
"""Shares of orders cancelled at once, by merchant: some are often out of stock."""
_BIG = ("appliances", "home", "electronics", "jewellery")


def shop(town: Town) -> None:
    """The purchases of everybody, with what is returned of them."""
    chance = town.stream("shopping")
    daily, sales, large = town.book("daily shopping"), town.book("sale day"), town.book("large purchase")
    returns, cancels = town.book("return"), town.book("quick cancellation")
    online = [merchant for merchant in town.merchants if merchant.platform and not merchant.sham]
    flagships = sorted(online, key=lambda merchant: -merchant.draw * merchant.trade.ticket**0.5)[:8]
    deals = Weighted(flagships, [merchant.draw for merchant in flagships])
    districts = [_reachable(town, district) for district in range(DISTRICTS)]
    unsure = {merchant: chance.choice(_CANCELLED) for merchant in town.merchants}
    for person in town.people:
        haunts = _haunts(person, districts[person.district], chance)
        wavering = 6.0 if chance.random() < 0.03 else 1.0
        for day in range(town.calendar.days):
            for _ in range(poisson(chance, person.rate)):
                bought = _buy(town, daily, chance, person, haunts.draw(chance), waking(chance, day))
                _regret(chance, bought, returns, cancels, unsure[bought.merchant] * wavering)
            if day in town.calendar.sale_days and chance.random() < 0.35:
                time = waking(chance, day)
                for _ in range(1 + poisson(chance, 0.6)):
                    merchant = deals.draw(chance)
                    time += chance.randrange(2 * MINUTE, 40 * MINUTE)
                    bought = _buy(town, sales, chance, person, merchant, time, platform=True, scale=1.3)
                    _regret(chance, bought, returns, cancels, unsure[merchant] * wavering)
    _furnish(town, large, chance)


def _reachable(town: Town, district: int) -> Weighted[Merchant]:
    """Where people of a district go: mostly near home, and wherever the platform leads."""
    near = [
        1.0 if merchant.platform or merchant.district == district else 0.15 for merchant in town.merchants
    ]
    weights = [merchant.draw * odds for merchant, odds in zip(town.merchants, near, strict=True)]
    return Weighted(town.merchants, weights)


def _haunts(person: Person, reachable: Weighted[Merchant], chance: random.Random) -> Weighted[Merchant]:
    """Where somebody shops; who is employed buys there too."""
    chosen = [reachable.draw(chance) for _ in range(_HAUNTS)]
    if person.employer is not None:
        chosen.append(person.employer)
    return Weighted(chosen, [chance.uniform(0.3, 1.0) for _ in chosen])


def _buy(
    town: Town,
    book: Book,
    chance: random.Random,
    person: Person,
    merchant: Merchant,
    time: int,
    platform: bool | None = None,
    scale: float = 1.0,
) -> Purchase:
    if platform is None:
        platform = merchant.platform and (not merchant.counter or chance.random() < 0.6)
    amount = merchant.trade.ticket * person.spend * scale * chance.lognormvariate(0, merchant.trade.spread)
    amount = max(3.0, min(amount, 60_000.0))
    method = town.method(person, amount, platform, chance)
    return book.buy(time, person, merchant, amount, method, person.device(chance), platform)


def _regret(chance: random.Random, bought: Purchase, returns: Book, cancels: Book, cancelled: float) -> None:
    """Some orders are cancelled before they leave, some come back after days.

    A parcel cancelled after its label was printed shows as an empty one.
    """
    if not bought.order:
        return
    if chance.random() < cancelled:
        time = bought.time + int(min(chance.expovariate(1 / 1.6) + 0.05, 11) * HOUR)
        cancels.refund(time, bought, bought.amount, "empty" if chance.random() < 0.12 else "none")
    elif chance.random() < 0.06:
        time = bought.time + int(chance.uniform(2.5, 11) * DAY)
        share = 1.0 if chance.random() < 0.8 else chance.uniform(0.3, 0.95)
        returns.refund(time, bought, bought.amount * share, "moved")


def _furnish(town: Town, book: Book, chance: random.Random) -> None:
    """One household in twelve renovates: a partner or two buy dear things in several shops within days.

    One person in twenty buys a single dear thing on credit, one in three of them as dear as the line allows.
    """
    dear = [merchant for merchant in town.merchants if merchant.trade.name in _BIG and not merchant.sham]
    shops = Weighted(dear, [merchant.draw for merchant in dear])
    for person in town.people:
        if _first_of_household(person) and chance.random() < 1 / 12:
            day = chance.randrange(town.calendar.days - 5)
            for merchant in [shops.draw(chance) for _ in range(chance.randint(2, 5))]:
                buyer = chance.choice((person, person.household[0]))
                time = waking(chance, day + chance.randrange(5))
                share = chance.uniform(0.1, 0.5) if chance.random() < 0.8 else chance.uniform(0.5, 0.97)
                _buy_on_credit(town, book, chance, buyer, merchant, time, share)
        if chance.random() < 1 / 20:
            time = waking(chance, chance.randrange(town.calendar.days))
            share = chance.uniform(0.93, 1.0) if chance.random() < 1 / 3 else chance.uniform(0.35, 0.93)
            _buy_on_credit(town, book, chance, person, shops.draw(chance), time, share)


def _first_of_household(person: Person) -> bool:
    return bool(person.household) and all(person.id < other.id for other in person.household)


def _buy_on_credit(
    town: Town,
    book: Book,
    chance: random.Random,
    person: Person,
    merchant: Merchant,
    time: int,
    share: float,
) -> None:
    platform = merchant.platform and (not merchant.counter or chance.random() < 0.5)
    lines = [
        line
        for line in person.lines.values()
        if not line.kept and (platform or line.lender != town.institutions.shop)
    ]
    if lines:
        line = chance.choice(lines)
        book.buy(time, person, merchant, line.limit * share, line, person.device(chance), platform)
