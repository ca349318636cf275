"""Who used one thing over windows of time: the customers of a merchant, payee or device.

Invariants as in counters.py: exact, and amortised O(1) an event and window, however many customers there are.
A customer stands in a window while its last use does.
"""

from array import array
from bisect import bisect_right
from collections.abc import MutableSequence
from sys import intern
from typing import Any, ClassVar, Self

from signalexchange.detector.counters import NEVER, SLACK, amounts, rows, whole
from signalexchange.detector.features import DAY, HOUR, MONTH, WEEK


class Crowd:
    """Which customers used one thing, by their last use: how many different ones in each window.

    `advance` moves the windows to `now`; `numbers` (of customers, by window of WIDTHS) and `latest` (by
    customer of the widest) are as of then. Of uses in a row by one customer only the last stands in the log.
    """

    __slots__ = ("_base", "_due", "_final", "_starts", "key", "keys", "last", "latest", "numbers", "times")
    WIDTHS: ClassVar[tuple[int, ...]] = (DAY, WEEK, MONTH)
    _STEPS: ClassVar[tuple[tuple[int, int], ...]] = tuple(enumerate(WIDTHS))

    def __init__(self, key: str) -> None:
        self.key = key
        self.last = 0
        """Time of the last use."""
        self.times = array("q")
        self.keys: list[str] = []
        self.latest: dict[str, int] = {}
        """Each customer's last place in the log, counted from its first event ever."""
        self.numbers = [0] * len(self.WIDTHS)
        self._starts = [0] * len(self.WIDTHS)
        self._final = bytearray()
        """By place in the log, 1 where it is its customer's last."""
        self._base = 0
        self._due = NEVER
        """Before that time nothing leaves any window."""

    def advance(self, now: int) -> None:
        """Moves each window to `now`, which never goes back."""
        if now >= self._due:
            self._leave(now)

    def _leave(self, now: int) -> None:
        """Takes out of each window what left it; the widest last, as it forgets customers."""
        times, starts = self.times, self._starts
        known = len(times)
        due = NEVER
        start = 0
        for step, width in self._STEPS:
            start = starts[step]
            if start == known:
                continue
            moment = times[start]
            if moment <= now - width:
                end = bisect_right(times, now - width, start)
                if gone := self._final.count(1, start, end):
                    self.numbers[step] -= gone
                    if width == MONTH:
                        self._forget(start, end)
                starts[step] = start = end
                if start == known:
                    continue
                moment = times[start]
            if moment < due - width:
                due = moment + width
        self._due = due
        if start >= SLACK and start * 2 >= known:
            self._cut(start)

    def _forget(self, start: int, end: int) -> None:
        """Forgets the customers whose last use stands at one of these places."""
        for place in range(start, end):
            if self._final[place]:
                del self.latest[self.keys[place]]

    def add(self, now: int, customer: str) -> None:
        """Counts a use, after `advance(now)`."""
        keys = self.keys
        if keys and keys[-1] == customer:
            self._put_off(now, customer)
            return
        self._append(now, customer)

    def state(self) -> list[Any]:
        """Name, last use, and times and customers of what the widest window holds."""
        start = self._starts[-1]
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
        before = self.latest.get(customer, -1) - self._base
        if before >= 0:
            self._final[before] = 0
        for step, start in enumerate(self._starts):
            if before >= start:
                break
            self.numbers[step] += 1
        self.latest[customer] = self._base + len(self.times)
        self._final.append(1)
        if self._due > now + self.WIDTHS[0]:
            self._due = now + self.WIDTHS[0]
        self.times.append(now)
        self.keys.append(customer)

    def _put_off(self, now: int, customer: str) -> None:
        """Moves the last use, which is this customer's, to `now`, into the windows that it had left."""
        if self._due > now + self.WIDTHS[0]:
            self._due = now + self.WIDTHS[0]
        place = len(self.times) - 1
        self.times[place] = now
        self.latest[customer] = self._base + place
        for step, start in enumerate(self._starts):
            if start > place:
                self._starts[step] = place
                self.numbers[step] += 1

    def _cut(self, start: int) -> None:
        del self.times[:start], self.keys[:start], self._final[:start]
        self._starts = [each - start for each in self._starts]
        self._base += start


class Till(Crowd):
    """What came in at one merchant or payee: purchases or transfers, their amounts and their customers."""

    __slots__ = ("sums",)
    WIDTHS: ClassVar[tuple[int, ...]] = (HOUR, DAY, WEEK, MONTH)
    _STEPS: ClassVar[tuple[tuple[int, int], ...]] = tuple(enumerate(WIDTHS))

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.sums: MutableSequence[int] = array("q", (0,))
        """sums[i]: all amounts before times[i]."""

    def tally(self, now: int) -> tuple[float, ...]:
        """Counts, sums in CNY and numbers of customers, each by window of WIDTHS, up to `now`."""
        if now >= self._due:
            self._leave(now)
        known, sums = len(self.times), self.sums
        total = sums[-1]
        hour, day, week, month = self._starts
        return (
            known - hour, known - day, known - week, known - month,
            (total - sums[hour]) / 100, (total - sums[day]) / 100,
            (total - sums[week]) / 100, (total - sums[month]) / 100,
            *self.numbers,
        )  # fmt: skip

    def sum(self, now: int, width: int) -> int:
        """Cents of a window of at most 30 days."""
        return self.sums[-1] - self.sums[bisect_right(self.times, now - width, self._starts[-1])]

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
        return [*super().state(), amounts(self.sums, self._starts[-1])]

    def _cut(self, start: int) -> None:
        super()._cut(start)
        del self.sums[:start]
