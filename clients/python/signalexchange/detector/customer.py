"""What is remembered of one customer: what it spent, large amounts, refunds and its credit line.

Invariants as in counters.py; but for what it spent, a log stands here only once there is something in it, and
those of large amounts and refunds only until it is seen that no window holds it any more.
"""

from bisect import bisect_right
from sys import intern
from typing import Any, Final, Self

from signalexchange.detector.counters import TEN_MINUTES, Outlay, Pair, Sums, whole
from signalexchange.detector.features import DAY, HOUR, MONTH, WEEK, Parameters
from signalexchange.detector.transactions import Transaction
from signalexchange.errors import MalformedError
from signalexchange.flows import Kind

PURCHASE: Final = Kind.PURCHASE
TRANSFER: Final = Kind.TRANSFER
REFUND: Final = Kind.REFUND
NO_LARGE: Final = (0,) * 9
NO_REFUNDS: Final = (0.0, 0.0)


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
    """One customer's memory. `last` is the time of its last transaction, `first` that of its first; `sent`
    holds what it sent in transfers."""

    __slots__ = (
        "_credit_large", "_drawn", "_large", "_limit", "_limit_time", "_parameters", "_refunds", "_spent",
        "first", "key", "last", "sent",
    )  # fmt: skip

    def __init__(self, key: str, parameters: Parameters) -> None:
        self.key = key
        self.last = 0
        self.first = -1
        self._parameters = parameters
        self._spent = Outlay(parameters.utc_offset)
        self.sent: Sums | None = None
        self._large: Sums | None = None
        self._credit_large: Sums | None = None
        self._refunds: Sums | None = None
        self._drawn: Sums | None = None
        """Drawn on credit, and restored as amounts below 0."""
        self._limit = 0
        self._limit_time = 0

    def describe(self, t: Transaction, hour: int, received: int) -> tuple[list[float], Pair | None, bool]:
        """Features from customer.count to customer.utilisation, its pair with the counterparty of `t`, and
        whether `t` is large.

        `hour`: local hour of `t`; `received`: cents received in transfers in 3 days.
        """
        now, amount, kind = t.time, t.amount, t.kind
        if self.first < 0:
            self.first = now
        spent = self._spent
        n1, n2, n3, n4, week, month, s1, s2, s3, day_sum, week_sum, month_sum = spent.tally(now)
        if kind is TRANSFER:
            counterparty = t.payee
            pair = spent.payees.get(counterparty)
        else:
            counterparty = t.merchant
            pair = spent.merchants.get(counterparty)
        large = False
        if amount >= (p := self._parameters).large_minimum and (kind is PURCHASE or kind is TRANSFER):
            large = amount * month >= p.large_factor * month_sum
        if month:
            hours = spent.hours
            to_month = amount * month / month_sum
            since = now - spent.times[-1]
            alike = (hours[hour - 1] + hours[hour] + hours[hour - 23]) / month
        else:
            to_month = alike = 0
            since = MONTH
        passed = 0.0
        if received and self.sent is not None:
            passed = self.sent.within(now, 3 * DAY)[1] / received
        vector: list[float] = [
            n1, n2, n3, n4, week, month, s1 / 100, s2 / 100, s3 / 100, day_sum / 100,
            week_sum / 100, month_sum / 100,
            amount * week / week_sum if week else 0, to_month,
            spent.merchants_day, spent.merchants_week, len(spent.merchants),
            spent.payees_day, spent.payees_week, len(spent.payees),
            since, now - self.first, alike,
            1 if pair is None and counterparty else 0,
            *(self._of_large(now) if self._large is not None else NO_LARGE),
            *(self._refunded(now, day_sum, week_sum) if self._refunds is not None else NO_REFUNDS),
            passed, self._utilisation(t) if self._drawn is not None else 0,
        ]  # fmt: skip
        return vector, pair, large

    def count(self, t: Transaction, pair: Pair | None, counterparty: str, large: bool) -> None:
        """Counts a transaction, after `describe` of it."""
        now, amount, kind = t.time, t.amount, t.kind
        if kind is PURCHASE or kind is TRANSFER:
            if pair is None and counterparty:
                pairs = self._spent.payees if kind is TRANSFER else self._spent.merchants
                pair = pairs[counterparty] = Pair(counterparty, kind is TRANSFER)
            self._spent.add(now, amount, pair)
            if kind is TRANSFER:
                if self.sent is None:
                    self.sent = Sums(WEEK)
                self.sent.add(now, amount)
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
        sums = (self.sent, self._large, self._credit_large, self._refunds, self._drawn)
        return [
            self.key, self.last, self.first, self._limit, self._limit_time, self._spent.state(),
            *(each.state(self.last) if each is not None else None for each in sums),
        ]  # fmt: skip

    @classmethod
    def restore(cls, parameters: Parameters, state: Any) -> Self:
        """The customer of `state()`. Raises MalformedError, or ValueError or TypeError of other data."""
        key, last, first, limit, limit_time, spent, sent, large, credit_large, refunds, drawn = state
        customer = cls(intern(key), parameters)
        customer.last, customer.first = whole(last), whole(first, last)
        customer._limit, customer._limit_time = whole(limit), whole(limit_time, last)
        if (large is None) != (credit_large is None):
            raise MalformedError("not a stored customer")
        customer._spent = Outlay.restore(parameters.utc_offset, spent, last)
        customer.sent = Sums.restore(WEEK, sent, last) if sent is not None else None
        customer._large = Sums.restore(DAY, large, last) if large is not None else None
        customer._credit_large = Sums.restore(DAY, credit_large, last) if credit_large is not None else None
        customer._refunds = Sums.restore(WEEK, refunds, last) if refunds is not None else None
        customer._drawn = Sums.restore(MONTH, drawn, last) if drawn is not None else None
        return customer

    def _of_large(self, now: int) -> tuple[float, ...]:
        large, on_credit = self._large, self._credit_large
        if large is None or on_credit is None or large.silent(now):
            self._large = self._credit_large = None
            return NO_LARGE
        ten, sum_ten = on_credit.within(now, TEN_MINUTES)
        hour, sum_hour = on_credit.within(now, HOUR)
        day, sum_day = on_credit.within(now, DAY)
        return (
            large.within(now, TEN_MINUTES)[0], large.within(now, HOUR)[0], large.within(now, DAY)[0],
            ten, hour, day, sum_ten / 100, sum_hour / 100, sum_day / 100,
        )  # fmt: skip

    def _refunded(self, now: int, day_sum: int, week_sum: int) -> tuple[float, float]:
        """Refunded ÷ purchased of 1 and 7 days, where that much was spent."""
        refunds, sent = self._refunds, self.sent
        if refunds is None or refunds.silent(now):
            self._refunds = None
            return NO_REFUNDS
        if sent is not None:
            day_sum -= sent.within(now, DAY)[1]
            week_sum -= sent.within(now, WEEK)[1]
        return (
            refunds.within(now, DAY)[1] / day_sum if day_sum else 0,
            refunds.within(now, WEEK)[1] / week_sum if week_sum else 0,
        )

    def _utilisation(self, t: Transaction) -> float:
        limit = t.limit or (self._limit if self._limit_time > t.time - MONTH else 0)
        if self._drawn is None or not limit:
            return 0
        return max(self._drawn.within(t.time, MONTH)[1], 0) / limit
