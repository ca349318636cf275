"""Who used one thing over windows of time: the customers of a merchant, payee or device.

Invariants as in counters.py: exact, and amortised O(1) an event and window, however many customers there are.
A customer stands in a window while its last use does.
"""

from array import array
from bisect import bisect_right
from collections.abc import MutableSequence
from sys import intern
from typing import Any, Self

from signalexchange.detector.counters import NEVER, SLACK, amounts, rows, whole
from signalexchange.detector.features import DAY, HOUR, MONTH, WEEK


class Crowd:
    """Which customers used one thing, by their last use: how many different ones in each window.

    `advance` moves the windows to `now`; `hour`, `day`, `week` and `month` (customers in those windows) and
    `latest` (by customer of the widest) are as of then. Of uses in a row by one customer only the last stands
    in the log.
    """

    __slots__ = (
        "_base", "_day", "_due", "_final", "_hour", "_month", "_week",
        "day", "hour", "key", "keys", "last", "latest", "month", "times", "week",
    )  # fmt: skip

    def __init__(self, key: str) -> None:
        self.key = key
        self.last = 0
        """Time of the last use."""
        self.times = array("q")
        self.keys: list[str] = []
        self.latest: dict[str, int] = {}
        """Each customer's last place in the log, counted from its first event ever."""
        self._final = bytearray()
        """By place in the log: 1 where it is its customer's last, else 0."""
        self.hour = self.day = self.week = self.month = 0
        self._hour = self._day = self._week = self._month = 0
        """Where in the log each window begins."""
        self._base = 0
        self._due = NEVER
        """Before that time nothing leaves any window."""

    def advance(self, now: int) -> None:
        """Moves each window to `now`, which never goes back."""
        if now >= self._due:
            self._leave(now)

    def _leave(self, now: int) -> None:
        """Takes out of each window what left it; the widest last, as it forgets customers.

        Four times the same, written out: as a loop over the windows it takes half as long again.
        """
        times, final = self.times, self._final
        known = len(times)
        due = NEVER
        start = self._hour
        if start < known:
            edge, moment = now - HOUR, times[start]
            while moment <= edge:
                self.hour -= final[start]
                start += 1
                moment = times[start] if start < known else NEVER
            self._hour = start
            due = moment + HOUR
        start = self._day
        if start < known:
            edge, moment = now - DAY, times[start]
            while moment <= edge:
                self.day -= final[start]
                start += 1
                moment = times[start] if start < known else NEVER
            self._day = start
            if moment + DAY < due:
                due = moment + DAY
        start = self._week
        if start < known:
            edge, moment = now - WEEK, times[start]
            while moment <= edge:
                self.week -= final[start]
                start += 1
                moment = times[start] if start < known else NEVER
            self._week = start
            if moment + WEEK < due:
                due = moment + WEEK
        start = self._month
        if start < known:
            edge, moment = now - MONTH, times[start]
            while moment <= edge:
                if final[start]:
                    self.month -= 1
                    del self.latest[self.keys[start]]
                start += 1
                moment = times[start] if start < known else NEVER
            self._month = start
            if moment + MONTH < due:
                due = moment + MONTH
        self._due = due
        if start >= SLACK and start * 2 >= known:
            self._cut(start)

    def add(self, now: int, customer: str) -> None:
        """Counts a use, after `advance(now)`."""
        keys = self.keys
        if keys and keys[-1] == customer:
            self._put_off(now, customer)
            return
        self._append(now, customer)

    def state(self) -> list[Any]:
        """Name, last use, and times and customers of what the widest window holds."""
        start = self._month
        return [self.key, self.last, self.times[start:].tolist(), self.keys[start:]]

    @classmethod
    def restore(cls, state: Any) -> Self:
        """That of `state()`. Raises MalformedError, or ValueError or TypeError of other data."""
        key, last, *columns = state
        crowd = cls(intern(key))
        crowd.last = whole(last)
        for moment, customer, *amount in rows(last, *columns):
            crowd.advance(moment)
            crowd.add(moment, intern(customer), *amount)
        return crowd

    def _append(self, now: int, customer: str) -> None:
        latest = self.latest
        before = latest.get(customer, -1) - self._base
        if before >= 0:
            self._final[before] = 0
        self._enter(before)
        latest[customer] = self._base + len(self.times)
        self.times.append(now)
        self.keys.append(customer)
        self._final.append(1)
        if self._due > now + HOUR:
            self._due = now + HOUR

    def _enter(self, before: int) -> None:
        """Counts a customer in the windows that its last use, at place `before`, had left."""
        if before < self._hour:
            self.hour += 1
            if before < self._day:
                self.day += 1
                if before < self._week:
                    self.week += 1
                    if before < self._month:
                        self.month += 1

    def _put_off(self, now: int, customer: str) -> None:
        """Moves the last use, which is this customer's, to `now`, into the windows that it had left."""
        place = len(self.times) - 1
        self._enter(place)
        self.times[place] = now
        self.latest[customer] = self._base + place
        self._hour, self._day = min(self._hour, place), min(self._day, place)
        self._week, self._month = min(self._week, place), min(self._month, place)
        if self._due > now + HOUR:
            self._due = now + HOUR

    def _cut(self, start: int) -> None:
        del self.times[:start], self.keys[:start], self._final[:start]
        self._hour -= start
        self._day -= start
        self._week -= start
        self._month -= start
        self._base += start


class Till(Crowd):
    """What came in at one merchant or payee: purchases or transfers, their amounts and their customers."""

    __slots__ = ("sums",)

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.sums: MutableSequence[int] = array("q", (0,))
        """sums[i]: all amounts before times[i]."""

    def tally(self, now: int) -> tuple[float, ...]:
        """Counts, sums in CNY and numbers of customers, each of 1h, 1d, 7d and 30d up to `now`."""
        if now >= self._due:
            self._leave(now)
        known, sums = len(self.times), self.sums
        total = sums[-1]
        hour, day, week, month = self._hour, self._day, self._week, self._month
        return (
            known - hour, known - day, known - week, known - month,
            (total - sums[hour]) / 100, (total - sums[day]) / 100,
            (total - sums[week]) / 100, (total - sums[month]) / 100,
            self.hour, self.day, self.week, self.month,
        )  # fmt: skip

    def sum(self, now: int, width: int) -> int:
        """Cents of a window of at most 30 days."""
        return self.sums[-1] - self.sums[bisect_right(self.times, now - width, self._month)]

    def add(self, now: int, customer: str, amount: int = 0) -> None:
        """Counts a purchase or transfer, after `advance(now)`."""
        self._append(now, customer)
        sums = self.sums
        total = sums[-1] + amount
        try:
            sums.append(total)
        except OverflowError:
            self.sums = [*sums, total]

    def state(self) -> list[Any]:
        """Name, last use, and times, customers and amounts of what the widest window holds."""
        return [*super().state(), amounts(self.sums, self._month)]

    def _cut(self, start: int) -> None:
        super()._cut(start)
        del self.sums[:start]
