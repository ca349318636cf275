"""A member's detector as a process of its own, without network.

Run as `python -m tests.bench.detecting speed CUSTOMERS RUNS` or `memory CUSTOMERS`; prints one JSON line.

Invariants: what is measured comes after 35 days of a town's payments (tests.bench.payments), when every
window is full; each day that is measured is made just before, and passes once. Seconds are of the processor:
a detector waits for nothing, and a busy machine only lends it less. The baseline is river's rolling means of
amounts over the windows of customers, merchants, payees and cards, and of each its count and sum: 36 of the
99 features; what else a detector does, it leaves out. It sees a town of a tenth as many customers in as many
days, which is kinder to it: more of them are in the processor's cache.
"""

import gc
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from river.stats import Mean
from river.utils import TimeRolling
from signalexchange.detector.features import DAY, FEATURES, HOUR, MINUTE, MONTH, WEEK
from signalexchange.detector.learning import Learner
from signalexchange.detector.model import Model
from signalexchange.detector.order import Order
from signalexchange.detector.rules import Rules
from signalexchange.detector.transactions import Transaction
from signalexchange.detector.trial import Settings
from signalexchange.detector.windows import Windows
from signalexchange.flows import Kind

from tests.bench.payments import Payments

WARM = 35
"""Days before anything is measured."""
LEARNED = 12
"""Of those, the days that the model learns from."""
BATCH = 256
SMALLER = 10
"""The baseline's town is so many times smaller."""
LABELLED = 0.01
LATENESS, AHEAD = 60, DAY
COLLECT = (100_000, 50, 100)
"""Allocations after which cyclic garbage is looked for: nothing here makes any."""


class Detector:
    """Order, windows, rules and model of one member, in that order."""

    def __init__(self) -> None:
        self._order = Order(LATENESS, AHEAD)
        self._windows = Windows()
        self._rules = Rules.default(FEATURES)
        self._chance = random.Random(3)  # noqa: S311 - made outcomes
        self.model: Model | None = None

    def warm(self, days: Iterable[Transaction], decided: Callable[[Transaction, list[float]], None]) -> None:
        """Takes days that are not measured; one in a hundred turns out to be a fraud three days later."""
        for offered in days:
            for _, t in self._order.offer(offered):
                decided(t, self._windows.update(t))
                if self._chance.random() < LABELLED:
                    self._windows.label(t, True, t.time + 3 * DAY)

    def rules(self, day: Sequence[Transaction]) -> float:
        """Seconds a transaction to put a day in order, describe and judge it."""
        offer, update, judge = self._order.offer, self._windows.update, self._rules.judge
        started = time.process_time()
        for offered in day:
            for _, t in offer(offered):
                judge(update(t), t)
        return (time.process_time() - started) / len(day)

    def scored(self, day: Sequence[Transaction]) -> float:
        """The same and a score of each, BATCH at a time."""
        offer, update, judge = self._order.offer, self._windows.update, self._rules.judge
        model = self._in_force()
        vectors: list[list[float]] = []
        started = time.process_time()
        for offered in day:
            for _, t in offer(offered):
                vector = update(t)
                judge(vector, t)
                vectors.append(vector)
                if len(vectors) == BATCH:
                    model.probabilities(vectors)
                    vectors.clear()
        if vectors:
            model.probabilities(vectors)
        return (time.process_time() - started) / len(day)

    def parts(self, day: Sequence[Transaction]) -> dict[str, float]:
        """Seconds a transaction of each part, one after the other over a whole day."""
        clock, count = time.process_time, len(day)
        begin = clock()
        released = [t for offered in day for _, t in self._order.offer(offered)]
        ordered = clock()
        vectors = [self._windows.update(t) for t in released]
        described = clock()
        for vector, t in zip(vectors, released, strict=True):
            self._rules.judge(vector, t)
        judged = clock()
        for start in range(0, count, BATCH):
            self._in_force().probabilities(vectors[start : start + BATCH])
        scored = clock()
        seconds = (ordered - begin, described - ordered, judged - described, scored - judged)
        return {
            what: took / count
            for what, took in zip(("order", "windows", "rules", "model"), seconds, strict=True)
        }

    def alone(self, some: Iterable[Transaction], *, scored: bool) -> list[float]:
        """Seconds each transaction takes by itself, once it is released."""
        took = []
        for t in [t for offered in some for _, t in self._order.offer(offered)]:
            started = time.thread_time()
            vector = self._windows.update(t)
            self._rules.judge(vector, t)
            if scored:
                self._in_force().probabilities([vector])
            took.append(time.thread_time() - started)
        return took

    def _in_force(self) -> Model:
        assert self.model is not None
        return self.model


class Rolling:
    """The baseline: a rolling mean for each window of each customer, merchant, payee and card."""

    WINDOWS = (
        ("customer", (MINUTE, 10 * MINUTE, HOUR, DAY, WEEK, MONTH)),
        ("merchant", (HOUR, DAY, WEEK, MONTH)),
        ("payee", (HOUR, DAY, WEEK, MONTH)),
        ("card", (10 * MINUTE, HOUR, DAY, WEEK)),
    )

    def __init__(self) -> None:
        self._means: dict[tuple[str, str], list[Any]] = {}

    def take(self, day: Sequence[Transaction]) -> float:
        """Seconds a transaction."""
        started = time.process_time()
        for t in day:
            if t.kind is Kind.PURCHASE or t.kind is Kind.TRANSFER:
                self._update(t)
        return (time.process_time() - started) / len(day)

    def _update(self, t: Transaction) -> list[float]:
        when = datetime.fromtimestamp(t.time, UTC).replace(tzinfo=None)
        vector: list[float] = []
        for name, widths in self.WINDOWS:
            if not (key := getattr(t, name)):
                continue
            means = self._means.get((name, key))
            if means is None:
                means = self._means[name, key] = [
                    TimeRolling(Mean, period=timedelta(seconds=width)) for width in widths
                ]
            for mean in means:
                vector += (mean.n, mean.get() * mean.n)
                mean.update(t.amount, t=when)
        return vector


def main() -> None:
    what, customers, *runs = sys.argv[1:]
    gc.set_threshold(*COLLECT)
    measured = speed(int(customers), int(runs[0])) if what == "speed" else memory(int(customers))
    sys.stdout.write(json.dumps(measured) + "\n")


def speed(customers: int, runs: int) -> dict[str, object]:
    """Seconds a transaction of each run, in turns with the baseline; and of single transactions."""
    payments, detector = Payments(customers), Detector()
    others, baseline = Payments(customers // SMALLER), Rolling()
    learner = Learner(FEATURES, Settings(delay=DAY, held_out=2 * DAY, period=LEARNED * DAY))
    last = 0

    def learn(t: Transaction, vector: list[float]) -> None:
        nonlocal last
        last = t.time
        learner.decided([t.id], [t.time], [vector])
        # What a model finds but no single split does, for trees as deep as they come.
        learner.label(t.id, t.amount > 30_000 and vector[_NEW] > 0 and hash(t.time) % 3 == 0, t.time)

    for day in range(WARM):
        detector.warm(payments.days(1), learn if day >= WARM - LEARNED else _pass)
        baseline.take(list(others.days(1)))
    detector.model = learner.trial(last).run().model
    rates: dict[str, list[float]] = {"rules": [], "scored": [], "river": []}
    alone: dict[str, list[list[float]]] = {"rules": [], "scored": []}
    parts: dict[str, list[float]] = {}
    for run in range(runs + 1):
        first, second, third, fourth = (list(payments.days(1)) for _ in range(4))
        took = {"rules": detector.rules(first), "river": baseline.take(list(others.days(2)))}
        took["scored"] = detector.scored(second)
        of_parts = detector.parts(third)
        quarter = len(fourth) // 4
        each = {
            "rules": detector.alone(fourth[:quarter], scored=False),
            "scored": detector.alone(fourth[quarter : 2 * quarter], scored=True),
        }
        detector.warm(fourth[2 * quarter :], _pass)
        if run:  # the first was to warm up
            for name, seconds in took.items():
                rates[name].append(seconds)
            for name, singles in each.items():
                alone[name].append(singles)
            for name, seconds in of_parts.items():
                parts.setdefault(name, []).append(seconds)
    return {"rates": rates, "alone": alone, "parts": parts}


def memory(customers: int) -> dict[str, float]:
    """Bytes that the windows and the order of a town hold after WARM days, and those of 30 days as JSON."""
    payments = Payments(customers)
    before = _resident()
    detector = Detector()
    sent = count = 0
    for day in range(WARM):
        made = payments.days(1)
        if day < WARM - 30:
            detector.warm(made, _pass)
            continue
        for t in made:
            sent += len(json.dumps(t.values()))
            count += 1
            detector.warm((t,), _pass)
    gc.collect()
    return {"bytes": _resident() - before, "sent": sent, "count": count}


_NEW = FEATURES.index("customer.new_merchant")


def _pass(_t: Transaction, _vector: list[float]) -> None:
    """Nothing is learned of it."""


def _resident() -> int:
    """Bytes of memory the process holds (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
