"""Amounts over windows of time: of a customer or card, and of a customer with its counterparties.

Invariants: times never go back; a window of width w at `now` is what has a time above now − w; counts and
sums are exact, of integers. Moving a window's edge costs amortised O(1) an event (the wide windows of
Outlay), or a binary search in the log of that one card or customer. What no window can see any more is cut
off once it is half of a log, so that a log holds at most twice what its widest window does, and 64 events.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, MutableSequence
from itertools import pairwise
from sys import intern
from typing import Any, Final, Self

from signalexchange.detector.features import DAY, HOUR, MINUTE, MONTH, WEEK
from signalexchange.errors import MalformedError

Tally = tuple[int, int, int, int, int, int, int, int, int, int, int, int]
"""Counts of 1m, 10m, 1h, 1d, 7d and 30d, then the sums in cents."""
TEN_MINUTES: Final = 10 * MINUTE
SLACK: Final = 32
"""Events a log may have beyond its windows before it is looked at."""
LAST_TIME: Final = 2**62
NEVER: Final = 2**63 - 1


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

    def silent(self, now: int) -> bool:
        """Whether no window up to `keep` holds anything."""
        return not self.times or self.times[-1] <= now - self.keep

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

    __slots__ = ("day", "is_payee", "key", "last", "month", "week")

    def __init__(self, key: str, is_payee: bool) -> None:
        self.key = key
        self.is_payee = is_payee
        self.day = self.week = self.month = self.last = 0


class Outlay:
    """What one customer spent, and with whom: its purchases at merchants and its transfers to payees.

    `tally` moves the windows to `now`; what can be read (`merchants` and `payees` of 30 days, how many
    of those are in the windows of a day and a week, and `hours`, events of 30 days by local
    hour) is as of then.
    """

    __slots__ = (
        "_day", "_due", "_month", "_offset", "_week", "hours", "merchants", "merchants_day", "merchants_week",
        "pairs", "payees", "payees_day", "payees_week", "sums", "times",
    )  # fmt: skip

    def __init__(self, utc_offset: int) -> None:
        self.times = array("q")
        self.sums: MutableSequence[int] = array("q", (0,))
        self.pairs: list[Pair | None] = []
        """Whom each event was with; None where it is not known."""
        self.merchants: dict[str, Pair] = {}
        self.payees: dict[str, Pair] = {}
        self.merchants_day = self.merchants_week = self.payees_day = self.payees_week = 0
        self.hours = [0] * 24
        self._day = self._week = self._month = 0
        """Where in the log each window begins."""
        self._due = NEVER
        """Before that time nothing leaves any window."""
        self._offset = utc_offset

    def tally(self, now: int) -> Tally:
        """Counts and sums of each window up to `now`, which never goes back."""
        if now >= self._due:
            self._leave(now)
        times, sums, day, week, month = self.times, self.sums, self._day, self._week, self._month
        known = len(times)
        total = sums[-1]
        if known and times[-1] > now - HOUR:
            hour = bisect_right(times, now - HOUR, day)
            ten = bisect_right(times, now - TEN_MINUTES, hour)
            minute = bisect_right(times, now - MINUTE, ten)
            return (
                known - minute, known - ten, known - hour, known - day, known - week, known - month,
                total - sums[minute], total - sums[ten], total - sums[hour],
                total - sums[day], total - sums[week], total - sums[month],
            )  # fmt: skip
        return (
            0, 0, 0, known - day, known - week, known - month,
            0, 0, 0, total - sums[day], total - sums[week], total - sums[month],
        )  # fmt: skip

    def add(self, now: int, amount: int, pair: Pair | None) -> None:
        """Counts an amount spent, after `tally(now)`, with one of `merchants` or `payees`, or an unknown."""
        self.times.append(now)
        sums = self.sums
        total = sums[-1] + amount
        try:
            sums.append(total)
        except OverflowError:
            self.sums = [*sums, total]
        self.pairs.append(pair)
        if self._due > now + DAY:
            self._due = now + DAY
        self.hours[(now + self._offset) % DAY // HOUR] += 1
        if pair is None:
            return
        if not pair.day:
            if pair.is_payee:
                self.payees_day += 1
            else:
                self.merchants_day += 1
        if not pair.week:
            if pair.is_payee:
                self.payees_week += 1
            else:
                self.merchants_week += 1
        pair.day += 1
        pair.week += 1
        pair.month += 1
        pair.last = now

    def state(self) -> list[list[Any]]:
        """Times, amounts, counterparties, and which of those are payees (1), of the window of 30 days."""
        start = self._month
        pairs = self.pairs[start:]
        return [
            self.times[start:].tolist(),
            amounts(self.sums, start),
            [pair.key if pair is not None else "" for pair in pairs],
            [int(pair is not None and pair.is_payee) for pair in pairs],
        ]

    @classmethod
    def restore(cls, utc_offset: int, state: Any, last: int) -> Self:
        """That of `state()`, of a customer heard of last at `last`.

        Raises MalformedError, or ValueError or TypeError of other data.
        """
        outlay = cls(utc_offset)
        for moment, amount, key, is_payee in rows(last, *state):
            outlay.tally(moment)
            pairs = outlay.payees if is_payee else outlay.merchants
            pair = pairs.get(key)
            if pair is None and key:
                pair = pairs[key] = Pair(intern(key), bool(is_payee))
            outlay.add(moment, amount, pair)
        return outlay

    def _leave(self, now: int) -> None:
        """Takes out of each window what left it; the widest last, as it forgets pairs."""
        times, pairs = self.times, self.pairs
        known = len(times)
        due = NEVER
        start, edge = self._day, now - DAY
        while start < known and times[start] <= edge:
            if (pair := pairs[start]) is not None:
                pair.day -= 1
                if not pair.day:
                    if pair.is_payee:
                        self.payees_day -= 1
                    else:
                        self.merchants_day -= 1
            start += 1
        self._day = start
        if start < known:
            due = times[start] + DAY
        start, edge = self._week, now - WEEK
        while start < known and times[start] <= edge:
            if (pair := pairs[start]) is not None:
                pair.week -= 1
                if not pair.week:
                    if pair.is_payee:
                        self.payees_week -= 1
                    else:
                        self.merchants_week -= 1
            start += 1
        self._week = start
        if start < known and times[start] < due - WEEK:
            due = times[start] + WEEK
        start, edge = self._month, now - MONTH
        while start < known and (moment := times[start]) <= edge:
            self.hours[(moment + self._offset) % DAY // HOUR] -= 1
            if (pair := pairs[start]) is not None:
                pair.month -= 1
                if not pair.month:
                    del (self.payees if pair.is_payee else self.merchants)[pair.key]
            start += 1
        if start < known and times[start] < due - MONTH:
            due = times[start] + MONTH
        if start >= SLACK and start * 2 >= known:
            del times[:start], self.sums[:start], pairs[:start]
            self._day -= start
            self._week -= start
            start = 0
        self._month = start
        self._due = due


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
