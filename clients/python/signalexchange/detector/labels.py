"""Outcomes of transactions, which come late: how many of a merchant's or customer's were fraud.

Invariants: an outcome counts from when it arrived, never from when its transaction was made, so that no
feature at t knows what was learned after t; what arrived more than 28 days ago is forgotten. Memory: 16 bytes
an outcome of the last 28 days (at most twice that, and 64), and about 0.3 kB a name that has some.
"""

from bisect import bisect_right
from collections.abc import Iterator
from heapq import heappop, heappush
from sys import intern
from typing import Any, Final

from signalexchange.detector.counters import NEVER, Sums, whole
from signalexchange.detector.features import DAY, OUTCOMES, WEEK
from signalexchange.detector.registry import Registry
from signalexchange.errors import MalformedError

Names = tuple[str, str, str]
"""Customer, merchant and payee of a transaction; "" where there is none."""
CUSTOMERS: Final = 0
MERCHANTS: Final = 1
PAYEES: Final = 2
WAITING: Final = 3
NO_OUTCOMES: Final[tuple[float, ...]] = (0,) * 6


class Outcomes(Sums):
    """The outcomes of one merchant's or customer's transactions, fraud as 1."""

    __slots__ = ("_due", "_tally", "key", "last")

    def __init__(self, key: str) -> None:
        super().__init__(OUTCOMES)
        self.key = key
        self.last = 0
        self._tally = NO_OUTCOMES
        self._due = 0
        """Up to that time `_tally` holds: outcomes are seldom, transactions are not."""

    def add(self, now: int, amount: int) -> None:
        """Counts an outcome."""
        super().add(now, amount)
        self._due = 0

    def tally(self, now: int) -> tuple[float, ...]:
        """Frauds that arrived in the last 1, 7 and 28 days, then frauds ÷ (outcomes + 1) in each."""
        if now >= self._due:
            self._count(now)
        return self._tally

    def _count(self, now: int) -> None:
        times, sums = self.times, self.sums
        known, frauds = len(times), sums[-1]
        all_ = bisect_right(times, now - OUTCOMES)
        week = bisect_right(times, now - WEEK, all_)
        day = bisect_right(times, now - DAY, week)
        of_day, of_week, of_all = frauds - sums[day], frauds - sums[week], frauds - sums[all_]
        self._tally = (
            of_day, of_week, of_all,
            of_day / (known - day + 1), of_week / (known - week + 1), of_all / (known - all_ + 1),
        )  # fmt: skip
        leaving = ((all_, OUTCOMES), (week, WEEK), (day, DAY))
        self._due = min((times[start] + width for start, width in leaving if start < known), default=NEVER)


class Labels:
    """Outcomes by customer, merchant and payee (CUSTOMERS, MERCHANTS, PAYEES), as they become known."""

    def __init__(self) -> None:
        self._known: tuple[Registry[Outcomes], ...] = tuple(Registry(Outcomes, OUTCOMES) for _ in range(3))
        self._waiting: list[tuple[int, int, Names, int]] = []
        """Arrival, number, names and fraud (0 or 1) of those that arrive after what was counted last."""
        self._number = 0

    def add(self, arrived: int, names: Names, fraud: bool) -> None:
        """Takes an outcome that counts from `arrived` on, for each of its names that is not empty."""
        heappush(self._waiting, (arrived, self._number, names, int(fraud)))
        self._number += 1

    def advance(self, now: int) -> None:
        """Counts what has arrived by `now`, which never goes back."""
        waiting = self._waiting
        if not waiting or waiting[0][0] > now:
            return
        counted = 0
        while waiting and waiting[0][0] <= now:
            arrived, _, names, fraud = heappop(waiting)
            counted += 1
            for known, name in zip(self._known, names, strict=True):
                if name:
                    known.touch(name, arrived).add(arrived, fraud)
        # Not before: what is silent by now may not have been when the next outcome arrived.
        self.forget(now, 2 * counted)

    def tally(self, which: int, name: str, now: int) -> tuple[float, ...]:
        """`Outcomes.tally` of a customer, merchant or payee, after `advance(now)`."""
        outcomes = self._known[which].get(name)
        return outcomes.tally(now) if outcomes is not None else NO_OUTCOMES

    def forget(self, now: int, most: int) -> None:
        """Gives back the memory of names that nothing was learned of for 28 days."""
        for known in self._known:
            known.forget(now, most)

    def state(self, now: int) -> Iterator[list[Any]]:
        """What `restore` needs, record by record, as data that JSON holds."""
        for which, known in enumerate(self._known):
            for each in known.heard(now):
                yield [which, each.key, each.last, *each.state(each.last)]
        for arrived, _, names, fraud in sorted(self._waiting):
            yield [WAITING, arrived, list(names), fraud]

    def restore(self, record: Any, now: int) -> None:
        """Takes back one record. Raises MalformedError, ValueError, TypeError or IndexError of other data."""
        which, *state = record
        if which == WAITING:
            arrived, (customer, merchant, payee), fraud = state
            if type(fraud) is not int:
                raise MalformedError("not a stored outcome")
            self.add(whole(arrived), (intern(customer), intern(merchant), intern(payee)), bool(fraud))
            return
        key, last, *rest = state
        outcomes = Outcomes(intern(key))
        outcomes.last = whole(last, now)
        outcomes.refill(rest, last)
        self._known[which].put(outcomes, now)
