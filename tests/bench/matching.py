"""What one arriving signal costs the matcher: at several numbers of stored ones, and at a crowded node.

A matcher of each size in a process of its own (`tests.bench.arrivals`), all measured in turns: small and
large see the same minutes. Nothing is published here; tests.bench.flows measures the hub with matching on.
"""

import asyncio
import json
import statistics
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from signalexchange.envelope import NONCE_SIZE
from signalexchange.v1.identifier_pb2 import IdentifierType as Type

from tests.bench.measure import Effort, quantile
from tests.bench.report import Comparison, Result
from tests.bench.traffic import Traffic, as_signal
from tests.bench.world import World

ARRIVALS = 400
"""Signals a run."""
GROWTH_AIM = 1.5
HUBS = {
    "merchant": Type.IDENTIFIER_TYPE_MERCHANT,
    "account": Type.IDENTIFIER_TYPE_ACCOUNT,
    "device": Type.IDENTIFIER_TYPE_DEVICE,
    "phone": Type.IDENTIFIER_TYPE_PHONE,
}
MICRO = 1e6
LINE = 2**20


@dataclass
class Filled:
    """A matcher and what was measured of it: seconds of each arrival, by what arrived and by run."""

    size: int
    process: Process
    bytes_each: float = 0.0
    runs: dict[str, list[list[float]]] = field(default_factory=dict)

    async def ready(self) -> None:
        """Wait until it is filled."""
        self.bytes_each = (await _read(self.process))["bytes"]

    async def measure(self, what: str, command: str) -> None:
        self.runs.setdefault(what, []).append(await _ask(self.process, f"{command} {ARRIVALS}"))

    def medians(self, what: str) -> list[float]:
        """Median µs of each run."""
        return [statistics.median(run) * MICRO for run in self.runs[what]]

    def tails(self, what: str) -> list[float]:
        """99th percentile µs of each run."""
        return [quantile(run, 0.99) * MICRO for run in self.runs[what]]

    def details(self, what: str) -> dict[str, float]:
        """Over all runs, in µs."""
        every = [seconds for run in self.runs[what] for seconds in run]
        return {
            f"{what}, median µs at {self.size}": statistics.median(every) * MICRO,
            f"{what}, p99 µs at {self.size}": quantile(every, 0.99) * MICRO,
        }


async def matching(world: World, effort: Effort) -> list[Result]:
    """Median and 99th percentile of an arrival at the largest store against the smallest; memory."""
    async with AsyncExitStack() as stack:
        filled = [await stack.enter_async_context(_filled(size)) for size in effort.sizes]
        for each in filled:
            await each.ready()
        commands = {"ordinary": "ordinary"} | {name: f"hub {kind}" for name, kind in HUBS.items()}
        for what, command in commands.items():
            for _ in range(effort.runs + 1):
                for each in filled:
                    await each.measure(what, command)
            for each in filled:
                each.runs[what].pop(0)
    return [*_growth(filled), *(_at_hub(name, filled) for name in HUBS), _memory(filled)]


@asynccontextmanager
async def _filled(size: int) -> AsyncIterator[Filled]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.arrivals", str(size), stdin=PIPE, stdout=PIPE, limit=LINE
    )
    try:
        yield Filled(size, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ask(process: Process, command: str) -> list[float]:
    assert process.stdin is not None
    process.stdin.write(command.encode() + b"\n")
    await process.stdin.drain()
    found: list[float] = await _read(process)
    return found


async def _read(process: Process) -> Any:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("a matcher ended")
    return json.loads(line)


def _growth(filled: Sequence[Filled]) -> list[Result]:
    small, large = filled[0], filled[-1]
    details = {key: number for each in filled for key, number in each.details("ordinary").items()}
    return [
        Result(
            name=name,
            what=f"{what} at {large.size:,} stored",
            against=f"the same at {small.size:,}",
            unit="µs",
            runs=Comparison(pick(large), pick(small)),
            measured_on="server",
            batch=1,
            in_flight=1,
            at_most=GROWTH_AIM,
            details=details,
        )
        for name, what, pick in (
            ("matching_signal", "median of matching one arriving signal", _medians),
            ("matching_signal_p99", "99th percentile of matching one arriving signal", _tails),
        )
    ]


def _medians(filled: Filled) -> list[float]:
    return filled.medians("ordinary")


def _tails(filled: Filled) -> list[float]:
    return filled.tails("ordinary")


def _at_hub(name: str, filled: Sequence[Filled]) -> Result:
    small, large = filled[0], filled[-1]
    return Result(
        name=f"matching_hub_{name}",
        what=f"matching a signal that bears on one {name} with {large.size // 10:,} neighbours, "
        f"{large.size:,} stored",
        against=f"on one with {small.size // 10:,}, {small.size:,} stored",
        unit="µs",
        runs=Comparison(large.medians(name), small.medians(name)),
        measured_on="server",
        batch=1,
        in_flight=1,
        at_most=GROWTH_AIM,
        details={key: number for each in filled for key, number in each.details(name).items()},
    )


def _memory(filled: Sequence[Filled]) -> Result:
    traffic = Traffic(1_000, 1_790_000_000)
    sent = [len(as_signal(next(traffic)).SerializeToString()) + NONCE_SIZE for _ in range(1_000)]
    return Result(
        name="matching_memory",
        what=f"bytes of memory an observation, at {filled[-1].size:,}",
        against="bytes of its signal and nonce as sent",
        unit="bytes",
        runs=Comparison([filled[-1].bytes_each], [statistics.mean(sent)]),
        measured_on="server",
        batch=1,
        in_flight=1,
        details={f"bytes at {each.size}": each.bytes_each for each in filled},
    )
