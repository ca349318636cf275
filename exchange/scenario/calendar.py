"""The days of the scenario: where they begin, which are special, when in a day things happen.

Invariants: times are Unix seconds; days begin at midnight in China (UTC+8); day 0 is a Monday.
"""

import datetime
import random
from dataclasses import dataclass

MINUTE, HOUR, DAY = 60, 3_600, 86_400
START = int(datetime.datetime(2026, 1, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=8))).timestamp())


@dataclass(frozen=True)
class Calendar:
    """`days` from START on."""

    days: int

    @property
    def end(self) -> int:
        """The first second after the last day."""
        return START + self.days * DAY

    @property
    def sale_days(self) -> frozenset[int]:
        """Days on which the big platforms sell cheaper: a quarter in, and two in a row at two thirds."""
        return frozenset({self.days // 4, self.days * 2 // 3, self.days * 2 // 3 + 1})

    @property
    def festival(self) -> range:
        """The days of gifts, towards the end."""
        return range(self.days - 4, self.days - 1)


def waking(chance: random.Random, day: int) -> int:
    """A moment of that day at which people are up, more often in the evening."""
    return START + day * DAY + int(chance.triangular(6.5, 23.9, 19) * HOUR)


def office(chance: random.Random, day: int) -> int:
    """A moment of that day between nine and six."""
    return START + day * DAY + int(chance.uniform(9, 18) * HOUR)


def day_of(time: int) -> int:
    """The day a time falls on."""
    return (time - START) // DAY


def poisson(chance: random.Random, mean: float) -> int:
    """A Poisson variate, `mean` at most some hundreds: the arrivals of a unit of time."""
    arrivals, clock = 0, chance.expovariate(1.0)
    while clock < mean:
        arrivals += 1
        clock += chance.expovariate(1.0)
    return arrivals
