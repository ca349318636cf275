"""What is remembered of one customer: what it spent, large amounts, refunds and its credit line.

Invariants as in counters.py; a log stands here only once there is something in it.
"""

from bisect import bisect_right
from operator import add
from sys import intern
from typing import Any, Final, Self

from signalexchange.detector.counters import NO_TALLY, TEN_MINUTES, Outlay, Sums, Tally, whole
from signalexchange.detector.features import DAY, HOUR, MONTH, WEEK, Parameters
from signalexchange.detector.transactions import Transaction
from signalexchange.errors import MalformedError
from signalexchange.flows import Kind

PURCHASE: Final = Kind.PURCHASE
TRANSFER: Final = Kind.TRANSFER
REFUND: Final = Kind.REFUND
NO_LARGE: Final = (0,) * 9
NO_REFUNDS: Final = (0, 0)


class Card:
    """What was spent with one card in 7 days."""

    __slots__ = ("key", "last", "spent")

    def __init__(self, key: str) -> None:
        self.key = key
        self.last = 0
        self.spent = Sums(WEEK)

    def tally(self, now: int) -> tuple[float, ...]:
        """Counts, then sums in CNY, of 10m, 1h, 1d and 7d."""
        times, sums = self.spent.times, self.spent.sums
        known, total = len(times), sums[-1]
        week = bisect_right(times, now - WEEK)
        day = bisect_right(times, now - DAY, week)
        hour = bisect_right(times, now - HOUR, day)
        ten = bisect_right(times, now - TEN_MINUTES, hour)
        return (
            known - ten, known - hour, known - day, known - week,
            (total - sums[ten]) / 100, (total - sums[hour]) / 100,
            (total - sums[day]) / 100, (total - sums[week]) / 100,
        )  # fmt: skip

    def state(self) -> list[Any]:
        """What `restore` needs, as plain data."""
        return [self.key, self.last, *self.spent.state(self.last)]

    @classmethod
    def restore(cls, state: Any) -> Self:
        """The card of `state()`. Raises MalformedError, or ValueError or TypeError of other data."""
        key, last, *spent = state
        card = cls(intern(key))
        card.last = whole(last)
        card.spent.refill(spent, last)
        return card


class Customer:
    """One customer's memory. `last` is the time of its last transaction, `first` that of its first."""

    __slots__ = (
        "_credit_large", "_drawn", "_large", "_limit", "_limit_time", "_parameters", "_purchases", "_refunds",
        "first", "key", "last", "transfers",
    )  # fmt: skip

    def __init__(self, key: str, parameters: Parameters) -> None:
        self.key = key
        self.last = 0
        self.first = -1
        self._parameters = parameters
        self._purchases: Outlay | None = None
        self.transfers: Outlay | None = None
        self._large: Sums | None = None
        self._credit_large: Sums | None = None
        self._refunds: Sums | None = None
        self._drawn: Sums | None = None
        """Drawn on credit, and restored as amounts below 0."""
        self._limit = 0
        self._limit_time = 0

    def describe(self, t: Transaction, hour: int, received: int) -> tuple[list[float], list[int], bool]:
        """Features from customer.count to customer.utilisation and of the pair, and whether `t` is large.

        `hour`: local hour of `t`; `received`: cents received in transfers in 3 days.
        """
        now, amount, kind = t.time, t.amount, t.kind
        if self.first < 0:
            self.first = now
        purchases, transfers = self._purchases, self.transfers
        bought: Tally = NO_TALLY
        merchants = payees = (0, 0, 0)
        alike = since = 0
        if purchases is not None:
            bought = purchases.tally(now)
            merchants = (purchases.day, purchases.week, len(purchases.pairs))
            hours = purchases.hours
            alike = hours[hour - 1] + hours[hour] + hours[hour - 23]
            if purchases.times:
                since = purchases.times[-1]
        spent: Tally | list[int] = bought
        passed = 0.0
        if transfers is not None:
            sent = transfers.tally(now)
            spent = list(map(add, bought, sent))
            payees = (transfers.day, transfers.week, len(transfers.pairs))
            hours = transfers.hours
            alike += hours[hour - 1] + hours[hour] + hours[hour - 23]
            if transfers.times and transfers.times[-1] > since:
                since = transfers.times[-1]
            if received:
                passed = transfers.sum(now, 3 * DAY) / received
        n1, n2, n3, n4, week, month, s1, s2, s3, s4, week_sum, month_sum = spent
        large = False
        if kind is PURCHASE or kind is TRANSFER:
            p = self._parameters
            large = amount >= p.large_minimum and amount * month >= p.large_factor * month_sum
        with_ = transfers if kind is TRANSFER else purchases
        counterparty = t.payee if kind is TRANSFER else t.merchant
        pair = with_.pairs.get(counterparty) if with_ is not None else None
        if pair is not None:
            pair_features = [pair.day, pair.week, pair.month, now - pair.last]
        else:
            pair_features = [0, 0, 0, MONTH]
        vector: list[float] = [
            n1, n2, n3, n4, week, month, s1 / 100, s2 / 100, s3 / 100, s4 / 100,
            week_sum / 100, month_sum / 100,
            amount * week / week_sum if week else 0, amount * month / month_sum if month else 0,
            *merchants, *payees,
            now - since if month else MONTH, now - self.first, alike / month if month else 0,
            1 if pair is None and counterparty else 0,
            *(self._of_large(now) if self._large is not None else NO_LARGE),
            *(self._refunded(now, bought) if self._refunds is not None else NO_REFUNDS),
            passed, self._utilisation(t) if self._drawn is not None else 0,
        ]  # fmt: skip
        return vector, pair_features, large

    def count(self, t: Transaction, counterparty: str, large: bool) -> None:
        """Counts a transaction, after `describe` of it."""
        now, amount, kind = t.time, t.amount, t.kind
        if kind is PURCHASE:
            if self._purchases is None:
                self._purchases = Outlay(self._parameters.utc_offset)
            self._purchases.add(now, amount, counterparty)
        elif kind is TRANSFER:
            if self.transfers is None:
                self.transfers = Outlay(self._parameters.utc_offset)
            self.transfers.add(now, amount, counterparty)
        elif kind is REFUND:
            if self._refunds is None:
                self._refunds = Sums(WEEK)
            self._refunds.add(now, amount)
        if large:
            if self._large is None:
                self._large, self._credit_large = Sums(DAY), Sums(DAY)
            self._large.add(now, amount)
            if t.credit and kind is PURCHASE and self._credit_large is not None:
                self._credit_large.add(now, amount)
        if t.credit:
            if self._drawn is None:
                self._drawn = Sums(MONTH)
            self._drawn.add(now, amount if kind is PURCHASE or kind is TRANSFER else -amount)
        if t.limit:
            self._limit, self._limit_time = t.limit, now

    def state(self) -> list[Any]:
        """What `restore` needs, as plain data; what no window sees any more is left out."""
        sums = (self._large, self._credit_large, self._refunds, self._drawn)
        return [
            self.key, self.last, self.first, self._limit, self._limit_time,
            *(each.state() if each is not None else None for each in (self._purchases, self.transfers)),
            *(each.state(self.last) if each is not None else None for each in sums),
        ]  # fmt: skip

    @classmethod
    def restore(cls, parameters: Parameters, state: Any) -> Self:
        """The customer of `state()`. Raises MalformedError, or ValueError or TypeError of other data."""
        key, last, first, limit, limit_time, purchases, transfers, large, credit_large, refunds, drawn = state
        customer = cls(intern(key), parameters)
        customer.last, customer.first = whole(last), whole(first, last)
        customer._limit, customer._limit_time = whole(limit), whole(limit_time, last)
        if (large is None) != (credit_large is None):
            raise MalformedError("not a stored customer")
        offset = parameters.utc_offset
        customer._purchases = Outlay.restore(offset, purchases, last) if purchases is not None else None
        customer.transfers = Outlay.restore(offset, transfers, last) if transfers is not None else None
        customer._large = Sums.restore(DAY, large, last) if large is not None else None
        customer._credit_large = Sums.restore(DAY, credit_large, last) if credit_large is not None else None
        customer._refunds = Sums.restore(WEEK, refunds, last) if refunds is not None else None
        customer._drawn = Sums.restore(MONTH, drawn, last) if drawn is not None else None
        return customer

    def _of_large(self, now: int) -> tuple[float, ...]:
        large, on_credit = self._large, self._credit_large
        if large is None or on_credit is None or not large.times or large.times[-1] <= now - DAY:
            return NO_LARGE
        ten, sum_ten = on_credit.within(now, TEN_MINUTES)
        hour, sum_hour = on_credit.within(now, HOUR)
        day, sum_day = on_credit.within(now, DAY)
        return (
            large.within(now, TEN_MINUTES)[0], large.within(now, HOUR)[0], large.within(now, DAY)[0],
            ten, hour, day, sum_ten / 100, sum_hour / 100, sum_day / 100,
        )  # fmt: skip

    def _refunded(self, now: int, bought: Tally) -> tuple[float, float]:
        """Refunded ÷ purchased of 1 and 7 days."""
        refunds = self._refunds
        if refunds is None:
            return NO_REFUNDS
        day, week = bought[9], bought[10]
        return (
            refunds.within(now, DAY)[1] / day if day else 0,
            refunds.within(now, WEEK)[1] / week if week else 0,
        )

    def _utilisation(self, t: Transaction) -> float:
        limit = t.limit or (self._limit if self._limit_time > t.time - MONTH else 0)
        if self._drawn is None or not limit:
            return 0
        return max(self._drawn.within(t.time, MONTH)[1], 0) / limit
