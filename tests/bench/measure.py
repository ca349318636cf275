"""How measurements are taken: warm up, then subject and baseline in turns: a busy minute hits both."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.bench.report import Comparison

T = TypeVar("T")
Measure = Callable[[], Awaitable[T]]


@dataclass(frozen=True)
class Effort:
    """How much to measure: runs of each side, seconds of load a run, and store sizes (signals or entries)."""

    runs: int
    seconds: float
    sizes: tuple[int, ...]


FULL = Effort(runs=5, seconds=4.0, sizes=(10_000, 100_000, 1_000_000))
QUICK = Effort(runs=2, seconds=1.0, sizes=(1_000, 10_000))


async def in_turns(subject: Measure[T], baseline: Measure[T], runs: int) -> tuple[list[T], list[T]]:
    """Warm both up, then measure them A B A B, `runs` times each."""
    await subject()
    await baseline()
    pairs = [(await subject(), await baseline()) for _ in range(runs)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


async def compare(subject: Measure[float], baseline: Measure[float], runs: int) -> Comparison:
    """Measure two numbers in turns."""
    return Comparison(*await in_turns(subject, baseline, runs))


async def rate(work: Callable[[], Awaitable[object]], items: int) -> float:
    """Items a second of one piece of work."""
    started = time.perf_counter()
    await work()
    return items / (time.perf_counter() - started)


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest-rank quantile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
