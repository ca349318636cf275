"""A member's transactions as they might come: a town of customers that pay in the order of time, for weeks.

Invariants: the same seed gives the same stream; times never go back; ids are unique; no transaction shares a
name's memory with another, as none does that was read from a wire. Merchants are chosen as
Zipf says, three times in four among the customer's own dozen; half of the customers have a card and half a
device (known at three purchases in four), one in five pays on credit, one payment in eight is a transfer
among customers or to payees outside, one in fifty a refund, one in a hundred a repayment. Activity follows
the day: little at night.
"""

import random
from collections.abc import Iterator
from itertools import accumulate

from signalexchange.detector.features import DAY, HOUR
from signalexchange.detector.transactions import Transaction
from signalexchange.flows import Kind

START = 1_700_006_400  # midnight in China
A_DAY = 2
"""Transactions a customer makes a day."""
MERCHANTS = 2
"""Merchants a customer."""
USUAL = 12
"""Merchants that a customer goes to again and again."""
BY_HOUR = tuple(accumulate((1, 1, 1, 1, 1, 2, 4, 7, 9, 9, 10, 12, 12, 9, 8, 8, 8, 10, 12, 12, 10, 8, 5, 3)))
"""Activity up to and with each local hour."""
KINDS = (Kind.PURCHASE, Kind.TRANSFER, Kind.REFUND, Kind.REPAYMENT)
BY_KIND = tuple(accumulate((845, 125, 20, 10)))


class Payments:
    """The stream of a town of so many customers, without an end."""

    def __init__(self, customers: int, seed: int = 7) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - made traffic
        self._customers = customers
        self._merchants = range(MERCHANTS * customers)
        self._by_rank = tuple(accumulate(1 / (rank + 10) for rank in self._merchants))
        choices = self._chance.choices
        self._usual = [choices(self._merchants, cum_weights=self._by_rank, k=USUAL) for _ in range(customers)]
        self._day = 0
        self._number = 0

    def days(self, days: int) -> Iterator[Transaction]:
        """Everything of the next so many days."""
        for _ in range(days):
            chance, count = self._chance, A_DAY * self._customers
            hours = chance.choices(range(24), cum_weights=BY_HOUR, k=count)
            start = START + self._day * DAY
            for moment in sorted(start + hour * HOUR + chance.randrange(HOUR) for hour in hours):
                yield self._transaction(moment)
            self._day += 1

    def _transaction(self, moment: int) -> Transaction:
        chance = self._chance
        who = chance.randrange(self._customers)
        kind = chance.choices(KINDS, cum_weights=BY_KIND)[0]
        merchant = payee = device = card = ""
        if kind is Kind.TRANSFER:
            payee = f"{chance.choice(('person', 'outside'))}-{chance.randrange(self._customers)}"
        elif kind is not Kind.REPAYMENT:
            if chance.random() < 0.75:
                shop = chance.choice(self._usual[who])
            else:
                shop = chance.choices(self._merchants, cum_weights=self._by_rank)[0]
            merchant = f"shop-{shop}"
        if who % 2 and chance.random() < 0.75:
            device = f"device-{who if chance.random() < 0.97 else chance.randrange(self._customers)}"
        if who % 4 < 2 and kind is not Kind.TRANSFER:
            card = f"card-{who}"
        credit = kind is Kind.REPAYMENT or (who % 5 == 0 and kind is not Kind.TRANSFER)
        self._number += 1
        return Transaction(
            id=f"t-{self._number}",
            time=moment,
            customer=f"person-{who}",
            amount=max(1, round(100 * chance.lognormvariate(4.5, 1.1))),
            kind=kind,
            merchant=merchant,
            payee=payee,
            device=device,
            card=card,
            credit=credit,
            limit=2_000_000 if credit else 0,
        )
