"""A member's detector: transactions a second on one core, single ones' latency, memory; against river.

It runs in a process of its own (`tests.bench.detecting`), so that its memory and its collector are its own.
"""

import asyncio
import json
import statistics
import sys
from asyncio.subprocess import PIPE
from typing import Any

from signalexchange.detector.features import FEATURES

from tests.bench.detecting import BATCH
from tests.bench.measure import FULL, Effort, quantile
from tests.bench.report import Comparison, Result
from tests.bench.world import World

CUSTOMERS = 5_000
QUICK_CUSTOMERS = 500
IN_MEMORY = 5_000
"""Customers whose memory is measured."""
PER_CUSTOMERS = 100_000
"""Customers that it is said for."""
RULES_AIM, MODEL_AIM = 20_000, 5_000
"""Transactions a second on one core."""
MICRO = 1e6
MEGA = 1e6


async def detector(_world: World, effort: Effort) -> list[Result]:
    """Throughput without and with the model, latency of single transactions, memory."""
    full = effort.runs >= FULL.runs
    customers = CUSTOMERS if full else QUICK_CUSTOMERS
    speed = await _measured("speed", customers, effort.runs)
    in_memory = IN_MEMORY if full else QUICK_CUSTOMERS
    memory = await _measured("memory", in_memory)
    return [*_throughput(speed, customers), *_latency(speed), _memory(memory, in_memory)]


async def _measured(*arguments: object) -> Any:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.detecting", *map(str, arguments), stdout=PIPE
    )
    try:
        printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError("the detector's process failed")
    return json.loads(printed)


def _throughput(speed: Any, customers: int) -> list[Result]:
    rules, scored, river = (
        [1 / seconds for seconds in speed["rates"][each]] for each in ("rules", "scored", "river")
    )
    parts = {
        f"{part}, µs a transaction": statistics.median(seconds) * MICRO
        for part, seconds in speed["parts"].items()
    }
    passed = f"transactions a second put in order, described by {len(FEATURES)} features and judged by rules"
    asked = "what is asked of one core"
    return [
        Result(
            name="detector_rules",
            what=f"{passed}, {customers:,} customers",
            against=asked,
            unit="1/s",
            runs=Comparison(rules, [RULES_AIM] * len(rules)),
            measured_on="client",
            batch=1,
            in_flight=1,
            at_least=1,
            details=parts,
        ),
        Result(
            name="detector_model",
            what="the same and scored by 300 trees",
            against=asked,
            unit="1/s",
            runs=Comparison(scored, [MODEL_AIM] * len(scored)),
            measured_on="client",
            batch=BATCH,
            in_flight=1,
            at_least=1,
        ),
        Result(
            name="detector_river",
            what=passed,
            against="river's rolling means alone, for 36 of the features",
            unit="1/s",
            runs=Comparison(rules, river),
            measured_on="client",
            batch=1,
            in_flight=1,
        ),
    ]


def _latency(speed: Any) -> list[Result]:
    """Of single transactions, by run: median and 99th percentile with the model against those without."""
    return [
        Result(
            name=name,
            what=f"{which} of one transaction by itself with the model",
            against="without",
            unit="µs",
            runs=Comparison(
                *(
                    [quantile(run, share) * MICRO for run in speed["alone"][each]]
                    for each in ("scored", "rules")
                )
            ),
            measured_on="client",
            batch=1,
            in_flight=1,
        )
        for name, which, share in (
            ("detector_latency", "median", 0.5),
            ("detector_latency_p99", "99th percentile", 0.99),
        )
    ]


def _memory(memory: Any, customers: int) -> Result:
    """Everything but the learner's rows, whose bound docs/detector-learning.md states."""
    scale = PER_CUSTOMERS / customers / MEGA
    return Result(
        name="detector_memory",
        what=f"MB of windows and order for {PER_CUSTOMERS:,} customers, from {customers:,}",
        against="MB of their transactions of 30 days as JSON",
        unit="MB",
        runs=Comparison([memory["bytes"] * scale], [memory["sent"] * scale]),
        measured_on="client",
        batch=1,
        in_flight=1,
        details={
            "bytes a customer": memory["bytes"] / customers,
            "bytes a transaction": memory["bytes"] / memory["count"],
        },
    )
