"""Look-ups: calls a second and latency of the real hub, against a bare echo of the same message sizes.

Every call asks for one token and is answered only when its access record is durable on the log; half of the
tokens hit. The client beside the server is this process, and sends prebuilt bytes.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import cycle

from signalexchange.v1.signal_service_pb2 import LookUpSubjectsResponse

from tests.bench import load
from tests.bench.echo import METHOD as ECHO
from tests.bench.load import Load
from tests.bench.measure import Effort, in_turns
from tests.bench.processes import echo_server
from tests.bench.report import Comparison, Result
from tests.bench.world import ASKER, Exchange, World
from tests.support.members import look_up as request_for

METHOD = "/signalexchange.v1.SignalService/LookUpSubjects"
IN_FLIGHT = 64
STORED = 10_000
REQUESTS = 4_096
RATE_AIM = 0.55
P99_AIM = 3.0


def requests(tokens: Sequence[bytes]) -> Iterator[bytes]:
    """Prebuilt requests of one token each, hits and misses in random order, for ever."""
    asked = [*tokens[: REQUESTS // 2], *(os.urandom(32) for _ in range(REQUESTS // 2))]
    # Tokens are random, so their order mixes hits and misses.
    return cycle([request_for([token]).SerializeToString() for token in sorted(asked)])


async def answer_size(exchange: Exchange, asked: Iterator[bytes]) -> tuple[int, float]:
    """Mean size of an answer in bytes, and the share of look-ups that hit."""
    async with exchange.channel(ASKER) as channel:
        call = load.unary(channel, METHOD)
        answers = [await call(next(asked), timeout=10) for _ in range(200)]
    hits = sum(bool(LookUpSubjectsResponse.FromString(answer).subjects) for answer in answers)
    return sum(len(answer) for answer in answers) // len(answers), hits / len(answers)


async def look_up(world: World, effort: Effort) -> list[Result]:
    """One token a look-up, 64 in flight."""
    exchange = world.deploy()
    await exchange.fill_signals(STORED)
    asked = requests(exchange.tokens)
    async with exchange.hub():
        size, hits = await answer_size(exchange, asked)
        async with (
            echo_server(exchange.hub_tls, size) as echo,
            exchange.channel(ASKER) as hub_channel,
            load.open_channel(echo.target, exchange.tls(ASKER)) as echo_channel,
        ):

            async def subject() -> Load:
                return await load.run(hub_channel, METHOD, asked, in_flight=IN_FLIGHT, seconds=effort.seconds)

            async def baseline() -> Load:
                return await load.run(echo_channel, ECHO, asked, in_flight=IN_FLIGHT, seconds=effort.seconds)

            loads, echoes = await in_turns(subject, baseline, effort.runs)
    details = {"signals_stored": STORED, "share_of_hits": hits, "answer_bytes": size}
    return [
        Result(
            name="look_up",
            what="look-ups of one token, access record durable",
            against="bare grpc.aio echo over mTLS",
            unit="1/s",
            runs=Comparison([each.rate for each in loads], [each.rate for each in echoes]),
            measured_on="client",
            batch=1,
            in_flight=IN_FLIGHT,
            at_least=RATE_AIM,
            details=details,
        ),
        Result(
            name="look_up_p99",
            what="99th percentile of a look-up's latency",
            against="that of the echo",
            unit="ms",
            runs=Comparison([each.p99 * 1e3 for each in loads], [each.p99 * 1e3 for each in echoes]),
            measured_on="client",
            batch=1,
            in_flight=IN_FLIGHT,
            at_most=P99_AIM,
            details=details
            | {
                "p50_ms": sorted(each.p50 for each in loads)[len(loads) // 2] * 1e3,
                "echo_p50_ms": sorted(each.p50 for each in echoes)[len(echoes) // 2] * 1e3,
            },
        ),
    ]
