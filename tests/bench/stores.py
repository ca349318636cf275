"""What depends on how much is stored: publishing, one look-up, one signal, and bytes on disk.

One store is filled step by step. At each size its hub is measured beside a loop over two SQLite tables of the
same size (publishing), and beside a second hub whose store stays small (growth). The three benchmarks made
from it share one survey, for filling takes longest.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import grpc
from signalexchange.envelope import NONCE_SIZE

from tests.bench import look_up as look_ups
from tests.bench.baselines import COMMIT, TwoTables
from tests.bench.load import unary
from tests.bench.measure import Effort, in_turns, quantile
from tests.bench.report import Comparison, Result
from tests.bench.world import ASKER, PUBLISHER, Exchange, World
from tests.support.members import signal

METHOD = "/signalexchange.v1.SignalService/PublishSignals"
BATCHES = (500, 1_000)
IN_FLIGHT = 4
BATCHES_A_RUN = 8
PUBLISH_RUNS = 3
PUBLISH_AIM = 0.5
GROWTH_AIM = 1.5
SINGLES = 100
"""Single look-ups, or single signals, a run."""
BODY, ROW = 250, 250
"""Bytes of a row in the two tables: about what a signal has in the hub's."""


@dataclass(frozen=True)
class AtSize:
    """Measurements at one number of stored signals. Rates are rows a second, times seconds."""

    size: int
    published: dict[int, Comparison]
    """By batch size: signals a second, against rows a second of the two tables."""
    look_ups: Comparison
    """One look-up, against one at the hub with the small store."""
    singles: Comparison
    """One signal published alone, likewise."""
    disk: float
    """Bytes of the database a signal."""


async def survey(world: World, effort: Effort) -> list[AtSize]:
    """Measure at each size of the effort, smallest first; done once a world."""
    if world.survey is None:
        small, growing = world.deploy(), world.deploy()
        await small.fill_signals(effort.sizes[0])
        tables = TwoTables(world.folder / "two-tables.db", BODY, ROW)
        found = []
        async with small.hub():
            for size in effort.sizes:
                await growing.fill_signals(size)
                await asyncio.to_thread(tables.fill, size)
                disk = growing.bytes_on_disk() / growing.signals_on_disk()
                async with growing.hub():
                    found.append(await _at_size(small, growing, tables, disk, effort))
        tables.close()
        world.survey = found
    return world.survey


async def _at_size(
    small: Exchange, growing: Exchange, tables: TwoTables, disk: float, effort: Effort
) -> AtSize:
    async with (
        small.channel(ASKER) as small_asker,
        growing.channel(ASKER) as asker,
        small.channel(PUBLISHER) as small_publisher,
        growing.channel(PUBLISHER) as publisher,
    ):
        found = AtSize(
            size=growing.stored,
            published={},
            look_ups=Comparison(
                *await in_turns(_look_ups(asker, growing), _look_ups(small_asker, small), effort.runs)
            ),
            singles=Comparison(
                *await in_turns(_singles(publisher, growing), _singles(small_publisher, small), effort.runs)
            ),
            disk=disk,
        )
        for batch in BATCHES:
            found.published[batch] = await _publish(publisher, growing, tables, batch, effort)
    return found


def _batches(exchange: Exchange, size: int, count: int) -> list[bytes]:
    """`count` signed batches of `size` signals, ready to send."""
    pen = exchange.pen(PUBLISHER)
    return [
        pen.batch([signal(now=exchange.now) for _ in range(size)]).SerializeToString() for _ in range(count)
    ]


async def _publish(
    channel: grpc.aio.Channel, exchange: Exchange, tables: TwoTables, batch: int, effort: Effort
) -> Comparison:
    call = unary(channel, METHOD)
    # Every run makes the store larger: few, so that it stays about the size it is measured at.
    runs = min(effort.runs, PUBLISH_RUNS)
    ready = [_batches(exchange, batch, BATCHES_A_RUN) for _ in range(runs + 1)]

    async def subject() -> float:
        waiting = iter(ready.pop())

        async def worker() -> None:
            for request in waiting:
                await call(request, timeout=60)

        started = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
        return BATCHES_A_RUN * batch / (time.perf_counter() - started)

    async def baseline() -> float:
        return await asyncio.to_thread(tables.insert, BATCHES_A_RUN * batch // COMMIT)

    return Comparison(*await in_turns(subject, baseline, runs))


def _singles(channel: grpc.aio.Channel, exchange: Exchange) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        return await _one_by_one(unary(channel, METHOD), iter(_batches(exchange, 1, SINGLES)))

    return run


def _look_ups(channel: grpc.aio.Channel, exchange: Exchange) -> Callable[[], Awaitable[float]]:
    asked = look_ups.requests(exchange.tokens)

    async def run() -> float:
        return await _one_by_one(unary(channel, look_ups.METHOD), asked)

    return run


async def _one_by_one(
    call: "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]", requests: Iterator[bytes]
) -> float:
    """Median seconds of a call, one at a time."""
    times = []
    for _ in range(SINGLES):
        request = next(requests)
        started = time.perf_counter()
        await call(request, timeout=10)
        times.append(time.perf_counter() - started)
    return quantile(times, 0.5)


async def publish(world: World, effort: Effort) -> list[Result]:
    """Durable publishing in batches of 500 and 1,000, at the largest store; the smaller in the details."""
    found = await survey(world, effort)
    return [
        Result(
            name=f"publish_{batch}",
            what=f"signals published durably at {found[-1].size:,} stored",
            against="rows of two SQLite tables at the same size, commits of 500",
            unit="1/s",
            runs=found[-1].published[batch],
            measured_on="client",
            batch=batch,
            in_flight=IN_FLIGHT,
            at_least=PUBLISH_AIM,
            details={
                f"{key}_at_{each.size}": number
                for each in found
                for key, number in (
                    ("value", each.published[batch].value),
                    ("baseline", each.published[batch].baseline),
                    ("ratio", each.published[batch].value / each.published[batch].baseline),
                )
            },
        )
        for batch in BATCHES
    ]


async def growth(world: World, effort: Effort) -> list[Result]:
    """One look-up and one signal at the largest store, against the smallest."""
    found = await survey(world, effort)
    small, large = found[0], found[-1]
    return [
        Result(
            name=name,
            what=f"{what} at {large.size:,} stored signals",
            against=f"the same at {small.size:,}",
            unit="ms",
            runs=_milliseconds(pick(large)),
            measured_on="client",
            batch=1,
            in_flight=1,
            at_most=GROWTH_AIM,
            details={f"ratio_at_{each.size}": pick(each).value / pick(each).baseline for each in found},
        )
        for name, what, pick in (
            ("growth_look_up", "one look-up", _picked_look_ups),
            ("growth_publish", "one signal published", _picked_singles),
        )
    ]


def _picked_look_ups(found: AtSize) -> Comparison:
    return found.look_ups


def _picked_singles(found: AtSize) -> Comparison:
    return found.singles


def _milliseconds(runs: Comparison) -> Comparison:
    return Comparison([value * 1e3 for value in runs.values], [value * 1e3 for value in runs.baselines])


async def disk(world: World, effort: Effort) -> list[Result]:
    """Bytes a stored signal takes, everything counted, against the bytes its issuer sent."""
    found = await survey(world, effort)
    sent = len(signal().SerializeToString()) + NONCE_SIZE
    # 10^5 where it is there: at 10^4 what an empty database weighs would still show.
    each = found[min(1, len(found) - 1)]
    return [
        Result(
            name="disk_signal",
            what=f"bytes a signal on disk, at {each.size:,} stored",
            against="bytes of signal and nonce as sent",
            unit="bytes",
            runs=Comparison([each.disk], [float(sent)]),
            measured_on="server",
            batch=1_000,
            in_flight=1,
            details={f"bytes_at_{other.size}": other.disk for other in found},
        )
    ]
