"""Made transactions whose frauds follow from their features, for tests of the detector's learning."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from signalexchange.detector.learning import Learner
from signalexchange.detector.trial import DAY, Settings

FEATURES = ("customer.large.10m", "merchant.frauds.7d", "customer.hour", "shared.score")
START = 1_700_000_000
QUICK = Settings(period=28 * DAY, frauds=10, rounds=15, leaf_rows=10, capacity=20_000)


@dataclass(frozen=True)
class Row:
    id: str
    time: int
    vector: tuple[float, ...]
    fraud: bool


def rows(days: int, *, first: int = 0, a_day: int = 120, seed: int = 1, cause: int = 0) -> Iterator[Row]:
    """Transactions of days from `first` on; about one in ten is a fraud, mostly where `cause` is high."""
    draw = np.random.default_rng([seed, first, cause])
    for day in range(first, first + days):
        for number in range(a_day):
            vector = tuple(float(value) for value in draw.normal(size=len(FEATURES)))
            fraud = bool(draw.random() < 1 / (1 + np.exp(4 - 3 * vector[cause])))
            yield Row(f"{day}-{number}", START + day * DAY + number * DAY // a_day, vector, fraud)


def feed(learner: Learner, given: Iterable[Row], *, late: int = 7 * DAY) -> None:
    """Hand over transactions, and of each its label as one that comes `late` seconds after it."""
    for row in given:
        learner.decided([row.id], [row.time], [row.vector])
        learner.label(row.id, row.fraud, row.time + late)


def learner(settings: Settings = QUICK) -> Learner:
    """A learner that knows nothing yet."""
    return Learner(FEATURES, settings)


def after(days: int) -> int:
    """The time so many days from the start."""
    return START + days * DAY


def relabelled(given: Iterable[Row], fraud: bool) -> Iterator[Row]:
    """The same transactions, all of one outcome."""
    return (replace(row, fraud=fraud) for row in given)
