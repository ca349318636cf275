"""What is counted of one customer, merchant, payee, device or card over windows of time.

Invariants: times never go back; a window of width w at `now` is what has a time above now − w; counts and
sums are exact, of integers. Moving a window's edge costs amortised O(1) an event and window (Outlay, Crowd),
or a binary search in the log of that one card or customer (Sums). What no window can see any more is cut
off once it is half of a log, so that a log holds at most twice what its widest window does, and 64 events.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, MutableSequence, Sequence
from itertools import pairwise
from sys import intern
from typing import Any, ClassVar, Self

from signalexchange.detector.features import DAY, HOUR, MINUTE, MONTH, WEEK
from signalexchange.errors import MalformedError

Tally = tuple[int, int, int, int, int, int, int, int, int, int, int, int]
"""Counts of 1m, 10m, 1h, 1d, 7d and 30d, then the sums in cents."""
NO_TALLY: Tally = (0,) * 12
TEN_MINUTES = 10 * MINUTE
SLACK = 32
"""Events a log may have beyond its windows before it is looked at."""
LAST_TIME = 2**62
NEVER = 2**63 - 1


class Sums:
    """Amounts (integers, cents where they are money) by time, of the last `keep` seconds."""

    __slots__ = ("keep", "sums", "times")

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.times = array("q")
        self.sums: MutableSequence[int] = array("q", (0,))
        """sums[i]: all amounts before times[i]; a list once 64 bits are not enough, to stay exact."""

    def add(self, now: int, amount: int) -> None:
        """Counts an amount."""
        times = self.times
        known = len(times)
        if known >= 2 * SLACK and times[known >> 1] <= now - self.keep:
            cut = bisect_right(times, now - self.keep)
            del times[:cut]
            del self.sums[:cut]
        times.append(now)
        sums = self.sums
        total = sums[-1] + amount
        try:
            sums.append(total)
        except OverflowError:
            self.sums = [*sums, total]

    def within(self, now: int, width: int) -> tuple[int, int]:
        """Count and sum of the window; `width` is at most `keep`."""
        start = bisect_right(self.times, now - width)
        return len(self.times) - start, self.sums[-1] - self.sums[start]

    def state(self, now: int) -> list[list[int]]:
        """Times and amounts that windows can still see at `now`."""
        start = bisect_right(self.times, now - self.keep)
        return [self.times[start:].tolist(), amounts(self.sums, start)]

    def refill(self, state: Any, last: int) -> None:
        """Adds what `state(last)` gave. Raises MalformedError, or ValueError or TypeError of other data."""
        for moment, amount in rows(last, *state):
            self.add(moment, amount)

    @classmethod
    def restore(cls, keep: int, state: Any, last: int) -> Self:
        """Those of `state(last)`; raises as `refill` does."""
        counter = cls(keep)
        counter.refill(state, last)
        return counter


class Pair:
    """How often a customer was with one counterparty in each window, and when last."""

    __slots__ = ("day", "last", "month", "week")

    def __init__(self) -> None:
        self.day = self.week = self.month = self.last = 0


class Outlay:
    """What one customer spent, and with whom: its purchases at merchants or its transfers to payees.

    `tally` moves the windows to `now`; what can be read (`pairs` of 30 days by counterparty, `day` and
    `week`, their numbers in those windows, `hours`, events of 30 days by local hour) is as of then.
    """

    __slots__ = (
        "_day",
        "_due",
        "_month",
        "_offset",
        "_week",
        "day",
        "hours",
        "keys",
        "pairs",
        "sums",
        "times",
        "week",
    )

    def __init__(self, utc_offset: int) -> None:
        self.times = array("q")
        self.sums: MutableSequence[int] = array("q", (0,))
        self.keys: list[str] = []
        self.pairs: dict[str, Pair] = {}
        self.hours = [0] * 24
        self.day = self.week = 0
        self._day = self._week = self._month = 0
        """Where in the log each window begins."""
        self._due = NEVER
        """Before that time nothing leaves any window."""
        self._offset = utc_offset

    def tally(self, now: int) -> Tally:
        """Counts and sums of each window up to `now`, which never goes back."""
        times = self.times
        if now >= self._due:
            self._leave(now)
        sums, day, week, month = self.sums, self._day, self._week, self._month
        known = len(times)
        if known and times[-1] > now - HOUR:
            hour = bisect_right(times, now - HOUR, day)
            ten = bisect_right(times, now - TEN_MINUTES, hour)
            minute = bisect_right(times, now - MINUTE, ten)
        else:
            hour = ten = minute = known
        total = sums[-1]
        return (
            known - minute, known - ten, known - hour, known - day, known - week, known - month,
            total - sums[minute], total - sums[ten], total - sums[hour],
            total - sums[day], total - sums[week], total - sums[month],
        )  # fmt: skip

    def sum(self, now: int, width: int) -> int:
        """Cents spent in a window of at most 30 days."""
        return self.sums[-1] - self.sums[bisect_right(self.times, now - width, self._month)]

    def add(self, now: int, amount: int, key: str) -> None:
        """Counts an amount spent with the counterparty `key` ("": not known), after `tally(now)`."""
        self.times.append(now)
        sums = self.sums
        total = sums[-1] + amount
        try:
            sums.append(total)
        except OverflowError:
            self.sums = [*sums, total]
        self.keys.append(key)
        if self._due > now + DAY:
            self._due = now + DAY
        self.hours[(now + self._offset) % DAY // HOUR] += 1
        if not key:
            return
        pair = self.pairs.get(key)
        if pair is None:
            pair = self.pairs[key] = Pair()
        if not pair.day:
            self.day += 1
            if not pair.week:
                self.week += 1
        pair.day += 1
        pair.week += 1
        pair.month += 1
        pair.last = now

    def state(self) -> list[list[Any]]:
        """Times, amounts and counterparties of what the window of 30 days holds."""
        start = self._month
        return [self.times[start:].tolist(), amounts(self.sums, start), self.keys[start:]]

    @classmethod
    def restore(cls, utc_offset: int, state: Any, last: int) -> Self:
        """That of `state()`, of a customer heard of last at `last`.

        Raises MalformedError, or ValueError or TypeError of other data.
        """
        outlay = cls(utc_offset)
        for moment, amount, key in rows(last, *state):
            outlay.tally(moment)
            outlay.add(moment, amount, intern(key))
        return outlay

    def _leave(self, now: int) -> None:
        """Takes out of each window what left it; the widest last, as it forgets pairs."""
        times, keys, pairs = self.times, self.keys, self.pairs
        known = len(times)
        start, edge = self._day, now - DAY
        while start < known and times[start] <= edge:
            if key := keys[start]:
                pair = pairs[key]
                pair.day -= 1
                if not pair.day:
                    self.day -= 1
            start += 1
        self._day = start
        start, edge = self._week, now - WEEK
        while start < known and times[start] <= edge:
            if key := keys[start]:
                pair = pairs[key]
                pair.week -= 1
                if not pair.week:
                    self.week -= 1
            start += 1
        self._week = start
        start, edge = self._month, now - MONTH
        while start < known and (moment := times[start]) <= edge:
            self.hours[(moment + self._offset) % DAY // HOUR] -= 1
            if key := keys[start]:
                pair = pairs[key]
                pair.month -= 1
                if not pair.month:
                    del pairs[key]
            start += 1
        if start >= SLACK and start * 2 >= known:
            del times[:start], self.sums[:start], keys[:start]
            self._day -= start
            self._week -= start
            start = 0
        self._month = start
        self._due = min(
            first_due(times, self._day, DAY),
            first_due(times, self._week, WEEK),
            first_due(times, start, MONTH),
        )


class Crowd:
    """Which customers used one thing, by their last use: how many different ones in each window.

    `advance` moves the windows to `now`; `numbers` (of customers, by window of WIDTHS) and `latest` (by
    customer of the widest) are as of then. Of uses in a row by one customer only the last stands in the log.
    """

    __slots__ = ("_base", "_due", "_starts", "key", "keys", "last", "latest", "numbers", "times")
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
        for step, width in self._STEPS:
            start = starts[step]
            edge = now - width
            if start < known and times[start] <= edge:
                keys, latest, base = self.keys, self.latest, self._base
                gone = 0
                while start < known and times[start] <= edge:
                    key = keys[start]
                    if latest[key] == base + start:
                        gone += 1
                        if width == MONTH:
                            del latest[key]
                    start += 1
                starts[step] = start
                self.numbers[step] -= gone
        if start >= SLACK and start * 2 >= known:
            self._cut(start)
        self._due = min(first_due(times, self._starts[step], width) for step, width in self._STEPS)

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
        place = self._base + len(self.times)
        before = self.latest.get(customer, -1) - self._base
        numbers, starts = self.numbers, self._starts
        for step, _ in self._STEPS:
            if before < starts[step]:
                numbers[step] += 1
        self.latest[customer] = place
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
        del self.times[:start], self.keys[:start]
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


def first_due(times: Sequence[int], start: int, width: int) -> int:
    """When the first event of a window will leave it."""
    return times[start] + width if start < len(times) else NEVER


def amounts(sums: MutableSequence[int], start: int) -> list[int]:
    """The amounts that running sums are of, from one place on."""
    return [after - before for before, after in pairwise(sums[start:])]


def rows(last: int, times: list[int], *columns: list[Any]) -> Iterator[tuple[Any, ...]]:
    """Rows of stored columns; times never go back and end by `last`. Raises MalformedError or ValueError."""
    if any(later < earlier for earlier, later in pairwise([*times, last])):
        raise MalformedError("stored times go back")
    return zip(times, *columns, strict=True)


def whole(value: Any, most: int = LAST_TIME) -> int:
    """A stored time. Raises MalformedError where it is none, or above `most`."""
    if type(value) is not int or not 0 <= value <= most:
        raise MalformedError("a stored time is none")
    return value
