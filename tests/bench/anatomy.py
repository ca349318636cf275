"""Where a look-up's time goes: processor time a call under load, and milliseconds of one alone.

Value and baseline are the processor time of the hub and of the echo as they are. The shares come from a hub
with a stopwatch in each room (`tests.bench.timed_hub`), which costs something; how much stands beside them.
"""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from tests.bench import load
from tests.bench.echo import METHOD as ECHO
from tests.bench.load import Load
from tests.bench.look_up import IN_FLIGHT, METHOD, STORED, answer_size, requests
from tests.bench.measure import Effort, in_turns
from tests.bench.processes import Process, Processor, echo_server, processor
from tests.bench.report import Comparison, Result
from tests.bench.world import ASKER, Exchange, World

MICRO, MILLI = 1e6, 1e3


@dataclass(frozen=True)
class Watches:
    """A run of load against the hub with stopwatches. Seconds a look-up, by room and by step."""

    own: dict[str, float]
    wall: dict[str, float]
    group: float
    """Look-ups that shared a commit."""
    processor: Processor
    load: Load


async def breakdown(world: World, effort: Effort) -> list[Result]:
    """Processor microseconds of a look-up, room by room, against an echo's."""
    exchange = world.deploy()
    await exchange.fill_signals(STORED)
    asked = requests(exchange.tokens)
    runs = await _unwatched(exchange, asked, effort)
    busy = await _watched(exchange, asked, IN_FLIGHT, effort)
    alone = await _watched(exchange, asked, 1, effort)
    return [
        Result(
            name="breakdown",
            what="processor time of the hub a look-up",
            against="of the echo a call",
            unit="µs",
            runs=runs,
            measured_on="server",
            batch=1,
            in_flight=IN_FLIGHT,
            details={**_under_load(busy, runs.value), **_alone(alone)},
        )
    ]


async def _unwatched(exchange: Exchange, asked: Iterator[bytes], effort: Effort) -> Comparison:
    async with exchange.hub() as hub:
        size, _ = await answer_size(exchange, asked)
        async with (
            echo_server(exchange.hub_tls, size) as echo,
            exchange.channel(ASKER) as channel,
            load.open_channel(echo.target, exchange.tls(ASKER)) as echo_channel,
        ):

            async def subject() -> float:
                return await _processor_time(hub.pid, channel, METHOD, asked, effort.seconds)

            async def baseline() -> float:
                return await _processor_time(echo.pid, echo_channel, ECHO, asked, effort.seconds)

            return Comparison(*await in_turns(subject, baseline, effort.runs))


async def _processor_time(
    pid: int, channel: grpc.aio.Channel, method: str, asked: Iterator[bytes], seconds: float
) -> float:
    before = processor(pid)
    done = await load.run(channel, method, asked, in_flight=IN_FLIGHT, seconds=seconds)
    return processor(pid).since(before, done.calls).total * MICRO


async def _watched(exchange: Exchange, asked: Iterator[bytes], in_flight: int, effort: Effort) -> Watches:
    out = exchange.data.parent / "watches.json"
    arguments = ["tests.bench.timed_hub", str(exchange.deployment.hub_config), str(out)]
    hub = Process(arguments, exchange.deployment.hub_port, out.with_suffix(".log"))
    try:
        await hub.start()
        async with exchange.channel(ASKER) as channel:
            await load.run(channel, METHOD, asked, in_flight=in_flight, seconds=effort.seconds / 4)
            os.kill(hub.pid, signal.SIGUSR1)
            before = processor(hub.pid)
            done = await load.run(channel, METHOD, asked, in_flight=in_flight, seconds=effort.seconds)
            used = processor(hub.pid).since(before, done.calls)
        await hub.stop()
    finally:
        await hub.close()
    return _read(out, used, done)


def _read(out: Path, used: Processor, done: Load) -> Watches:
    found = json.loads(out.read_text("utf-8"))
    count = found["count"]
    # A commit's steps are shared by its group: seconds a look-up, not seconds a step.
    return Watches(
        own={room: seconds / done.calls for room, seconds in found["own"].items()},
        wall={step: seconds / count[step] for step, seconds in found["wall"].items()},
        group=done.calls / count["SQL write and commit"],
        processor=used,
        load=done,
    )


def _under_load(found: Watches, unwatched: float) -> dict[str, float]:
    """Microseconds a look-up at 64 in flight."""
    rooms = sorted(found.own.items(), key=lambda room: -room[1])
    return {
        "µs at 64 in flight, gRPC, TLS and event loop": (found.processor.loop - sum(found.own.values()))
        * MICRO,
        **{f"µs at 64 in flight, {room}": seconds * MICRO for room, seconds in rooms},
        "µs at 64 in flight, database and gRPC threads": found.processor.others * MICRO,
        "look-ups a commit at 64 in flight": found.group,
        "cost of the stopwatches, ratio": found.processor.total * MICRO / unwatched,
    }


def _alone(found: Watches) -> dict[str, float]:
    """Milliseconds of one look-up with nothing else in flight, from the client's clock and the hub's."""
    wall, own = found.wall, found.own
    mean = 1 / found.load.rate
    on_loop = own["decision and access record"] + own["leaf and tree"] + own["checkpoint signature"]
    waiting = wall["writer"] - wall["SQL read"] - wall["SQL write and commit"] - on_loop
    return {
        "ms alone, whole look-up": mean * MILLI,
        "ms alone, wire, gRPC and TLS on both sides": (mean - wall["gate"]) * MILLI,
        "ms alone, admission, parsing, validation, log line": (wall["gate"] - wall["writer"]) * MILLI,
        "ms alone, waiting for the writer": waiting * MILLI,
        "ms alone, SQL read": wall["SQL read"] * MILLI,
        "ms alone, decision, hashing and signature": on_loop * MILLI,
        "ms alone, SQL write and commit": wall["SQL write and commit"] * MILLI,
    }
