"""Publishing flow signals through the hub with matching on, against the same with matching off; and how long
after the acknowledgement of a loop's last signal those concerned are told of the match.

Matching goes on in log order, so a loop published behind everything else is told of once all before it is
matched: that is how a backlog is seen to be empty.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
from signalexchange.v1.identifier_pb2 import IdentifierType as Type
from signalexchange.v1.match_service_pb2 import WatchMatchesRequest, WatchMatchesResponse
from signalexchange.v1.match_service_pb2_grpc import MatchServiceStub
from signalexchange.v1.signal_pb2 import Signal

from exchange.domain.matching.observation import Role
from tests.bench.load import unary
from tests.bench.measure import Effort, in_turns, quantile
from tests.bench.processes import Process
from tests.bench.report import Comparison, Result
from tests.bench.stores import METHOD
from tests.bench.traffic import BANKS, LENDERS, Traffic, as_signal, token
from tests.bench.world import Exchange, World

BATCH = 500
BATCHES_A_RUN = 8
IN_FLIGHT = 4
STREAM = 1_000_000
"""The stream's size: what is published of it is of days past."""
LOOPS = 20
"""Loops a run, each told of before the next begins."""
RATE_AIM = 0.7
WATCHER = BANKS[0][0]
PATIENCE = 600

if TYPE_CHECKING:
    from signalexchange.v1.match_service_pb2_grpc import MatchServiceAsyncStub


class Publisher:
    """Members who publish a stream of flow signals to a hub, and one who watches for matches."""

    def __init__(
        self, exchange: Exchange, channels: dict[str, grpc.aio.Channel], watch: "Watch | None"
    ) -> None:
        self._exchange = exchange
        self._channels = channels
        self._watch = watch
        self._traffic = Traffic(STREAM, exchange.now)
        self._loops = 0

    def batches(self, count: int) -> list[tuple[str, bytes]]:
        """So many signed batches of one member's signals each."""
        waiting: dict[str, list[Signal]] = {}
        found = []
        for seen in self._traffic:
            of_member = waiting.setdefault(seen.member, [])
            of_member.append(as_signal(seen))
            if len(of_member) == BATCH:
                found.append(self._signed(seen.member, waiting.pop(seen.member)))
                if len(found) == count:
                    break
        return found

    def loop(self) -> list[tuple[str, bytes]]:
        """The three legs of a loop of strangers, as signed batches of one."""
        self._loops += 1
        number = 10**12 + self._loops
        phone = token(Type.IDENTIFIER_TYPE_PHONE, number), int(Type.IDENTIFIER_TYPE_PHONE)
        shop = token(Type.IDENTIFIER_TYPE_MERCHANT, number), int(Type.IDENTIFIER_TYPE_MERCHANT)
        business = token(Type.IDENTIFIER_TYPE_IBAN, number), int(Type.IDENTIFIER_TYPE_IBAN)
        account, agent = (
            (token(Type.IDENTIFIER_TYPE_ACCOUNT, number + more), int(Type.IDENTIFIER_TYPE_ACCOUNT))
            for more in (0, 10**12)
        )
        said = self._traffic.said
        legs = (
            said(LENDERS[0], Role.PAYMENT, phone, shop, (account,), band=90),
            said(BANKS[0], Role.TRANSFER, business, agent, (shop,), band=89),
            said(BANKS[1], Role.TRANSFER, agent, account, band=89),
        )
        return [self._signed(leg.member, [as_signal(leg)]) for leg in legs]

    async def send(self, batches: Iterable[tuple[str, bytes]]) -> None:
        """Publish them, some at once."""
        waiting = iter(batches)

        async def worker() -> None:
            for member, request in waiting:
                await unary(self._channels[member], METHOD)(request, timeout=PATIENCE)

        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))

    async def one_by_one(self, batches: Iterable[tuple[str, bytes]]) -> None:
        for member, request in batches:
            await unary(self._channels[member], METHOD)(request, timeout=PATIENCE)

    async def told(self) -> None:
        """Wait until the watching member is told of the loop sent last."""
        assert self._watch is not None
        await self._watch.of(token(Type.IDENTIFIER_TYPE_MERCHANT, 10**12 + self._loops))

    def _signed(self, member: str, signals: Sequence[Signal]) -> tuple[str, bytes]:
        return member, self._exchange.pen(member).batch(signals).SerializeToString()


class Watch:
    """A member's watch of matches."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        stub: MatchServiceAsyncStub = MatchServiceStub(channel)
        self._call: Any = stub.WatchMatches(WatchMatchesRequest())

    async def open(self) -> None:
        """Wait until it stands: the first message only carries a token."""
        await self._read()

    async def of(self, merchant: bytes) -> None:
        """Wait for a match that names a merchant."""
        while not any(subject.token.value == merchant for subject in (await self._read()).match.subjects):
            pass

    async def _read(self) -> WatchMatchesResponse:
        async with asyncio.timeout(PATIENCE):
            message: WatchMatchesResponse = await self._call.read()
            return message


@asynccontextmanager
async def _publisher(exchange: Exchange, *, matched: bool) -> AsyncIterator[Publisher]:
    """The members of a hub that runs meanwhile, with matching or without."""
    log = exchange.data.parent / "flows.log"
    module = ["exchange.cli", "serve"] if matched else ["tests.bench.unmatched_hub"]
    hub = Process([*module, str(exchange.deployment.hub_config)], exchange.deployment.hub_port, log)
    channels = {member: exchange.channel(member) for member, _ in (*BANKS, *LENDERS)}
    try:
        await hub.start()
        watch = Watch(channels[WATCHER]) if matched else None
        if watch is not None:
            await watch.open()
        yield Publisher(exchange, channels, watch)
    finally:
        for channel in channels.values():
            await channel.close()
        await hub.close()


async def flows(world: World, effort: Effort) -> list[Result]:
    """Signals a second until all are acknowledged and matched; and how long until a loop is told of."""
    with_matching, without = world.deploy(), world.deploy()
    async with (
        _publisher(with_matching, matched=True) as matched,
        _publisher(without, matched=False) as unmatched,
    ):
        acknowledged: list[float] = []
        count = BATCHES_A_RUN * BATCH

        async def subject() -> float:
            batches, loop = matched.batches(BATCHES_A_RUN), matched.loop()
            started = time.perf_counter()
            await matched.send(batches)
            acknowledged.append(count / (time.perf_counter() - started))
            await matched.one_by_one(loop)
            await matched.told()
            return count / (time.perf_counter() - started)

        async def baseline() -> float:
            batches, loop = unmatched.batches(BATCHES_A_RUN), unmatched.loop()
            started = time.perf_counter()
            await unmatched.send(batches)
            await unmatched.one_by_one(loop)
            return count / (time.perf_counter() - started)

        drained = Comparison(*await in_turns(subject, baseline, effort.runs))
        alone, delays = await _delays(matched, effort)
    return [
        Result(
            name="publish_matched",
            what="flow signals a second published durably and matched, backlog drained",
            against="the same without matching",
            unit="1/s",
            runs=drained,
            measured_on="client",
            batch=BATCH,
            in_flight=IN_FLIGHT,
            at_least=RATE_AIM,
            details={"acknowledged a second, matching behind": quantile(acknowledged[1:], 0.5)},
        ),
        Result(
            name="match_told",
            what="from the acknowledgement of a loop's last signal until its match is told, median",
            against="publishing that signal",
            unit="ms",
            runs=Comparison([quantile(run, 0.5) * 1e3 for run in delays], [each * 1e3 for each in alone]),
            measured_on="client",
            batch=1,
            in_flight=1,
            details={"p99 ms": quantile([each for run in delays for each in run], 0.99) * 1e3},
        ),
    ]


async def _delays(matched: Publisher, effort: Effort) -> tuple[list[float], list[list[float]]]:
    """Run by run: median seconds of a last signal's publishing, and seconds from then until told of each."""
    alone, delays = [], []
    for _ in range(effort.runs):
        published, after = [], []
        for _ in range(LOOPS):
            *first, last = matched.loop()
            await matched.one_by_one(first)
            started = time.perf_counter()
            await matched.one_by_one([last])
            acknowledged = time.perf_counter()
            await matched.told()
            published.append(acknowledged - started)
            after.append(time.perf_counter() - acknowledged)
        alone.append(quantile(published, 0.5))
        delays.append(after)
    return alone, delays
