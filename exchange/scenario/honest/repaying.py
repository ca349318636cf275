"""Repaying credit: at the due day, in full or in part; some early, and then spending again.

Invariants: the money comes from an account of the holder; a kept line is left alone.
"""

import random

from exchange.scenario.calendar import HOUR, waking
from exchange.scenario.merchants import Merchant
from exchange.scenario.movements import Book
from exchange.scenario.people import Line
from exchange.scenario.town import Town, Weighted


def repay(town: Town) -> None:
    """Monthly repayments, early ones, and the top-ups of wallets."""
    chance = town.stream("repaying")
    monthly, early, top_up = town.book("repayment"), town.book("early repayment"), town.book("wallet top-up")
    spent = town.book("spending after repaying")
    dear = [merchant for merchant in town.merchants if merchant.trade.ticket >= 200 and not merchant.sham]
    shops = Weighted(dear, [merchant.draw for merchant in dear])
    for person in town.people:
        source = person.accounts[0]
        for line in person.lines.values():
            if line.kept:
                continue
            house = town.houses[line.lender]
            for day in range(line.due, town.calendar.days, 30):
                share = 1.0 if chance.random() < 0.65 else chance.uniform(0.1, 0.7)
                monthly.repay_share(waking(chance, day), line, share, source, house)
            if chance.random() < 0.12:
                day = chance.randrange(town.calendar.days)
                share = chance.uniform(0.5, 1.0)
                time = waking(chance, day)
                early.repay_share(time, line, share, source, house)
                if chance.random() < 0.5:
                    again = time + int(chance.uniform(0.3, 22) * HOUR)
                    _spend(town, spent, chance, line, shops.draw(chance), again)
        if chance.random() < 0.4:
            for _ in range(chance.randint(1, 4)):
                time = waking(chance, chance.randrange(town.calendar.days))
                aggregator = town.houses[town.institutions.provider].account
                top_up.send(time, source, aggregator, 50 * chance.randint(1, 30))


def _spend(town: Town, book: Book, chance: random.Random, line: Line, merchant: Merchant, time: int) -> None:
    platform = merchant.platform and (not merchant.counter or line.lender == town.institutions.shop)
    if platform or line.lender != town.institutions.shop:
        amount = line.limit * chance.uniform(0.1, 0.8)
        book.buy(time, line.holder, merchant, amount, line, line.holder.device(chance), platform)
