"""SIGTERM under load: calls in flight are carried out or UNAVAILABLE, watches end, the exit code is 0."""

import asyncio
import signal as signals
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from signalexchange.envelope import parse_statement
from signalexchange.v1.signal_service_pb2 import WatchSignalsRequest

from exchange.provision import Deployment, Plan, provision
from tests.support.faults import Server
from tests.support.hub import hub_server, logged_batches, new_mirror
from tests.support.members import channel, look_up, pen, signal, signal_service, subject

if TYPE_CHECKING:
    from signalexchange.v1.signal_service_pb2_grpc import SignalServiceAsyncStub

MEMBERS = ("bank-north", "pay-lotus")
LOAD_SECONDS = 0.5
DRAIN_SECONDS = 15.0


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return provision(tmp_path / "deployment", Plan(types=("card",)))


@pytest.fixture
def hub(deployment: Deployment, tmp_path: Path) -> Iterator[Server]:
    server = hub_server(deployment, tmp_path / "hub.log")
    server.start()
    yield server
    server.close()


async def test_sigterm_under_load_drains(deployment: Deployment, hub: Server) -> None:
    acknowledged: dict[bytes, int] = {}
    ended: list[grpc.aio.AioRpcError] = []

    async def publish(member: str, stub: "SignalServiceAsyncStub") -> None:
        mine = pen(deployment, member)
        while True:
            request = mine.batch([signal() for _ in range(10)])
            response = await stub.PublishSignals(request, timeout=10)
            acknowledged[parse_statement(request.statement).batch_id] = response.receipt.index

    async def ask(stub: "SignalServiceAsyncStub") -> None:
        while True:
            await stub.LookUpSubjects(look_up([subject().value]), timeout=10)

    async def watch(stub: "SignalServiceAsyncStub") -> None:
        async for _ in stub.WatchSignals(WatchSignalsRequest()):
            pass

    channels, tasks = [], []
    for member in MEMBERS:
        channels.append(channel(deployment, member))
        stub = signal_service(channels[-1])
        work = (publish(member, stub), publish(member, stub), ask(stub), watch(stub), watch(stub))
        tasks += [asyncio.create_task(each) for each in work]
    await asyncio.sleep(LOAD_SECONDS)
    started = time.monotonic()
    hub.signal(signals.SIGTERM)
    for outcome in await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), DRAIN_SECONDS):
        assert isinstance(outcome, grpc.aio.AioRpcError), outcome
        ended.append(outcome)
    assert {error.code() for error in ended} == {grpc.StatusCode.UNAVAILABLE}
    assert await asyncio.to_thread(hub.wait, DRAIN_SECONDS) == 0
    assert time.monotonic() - started < DRAIN_SECONDS
    await asyncio.gather(*(each.close() for each in channels))
    assert acknowledged

    await asyncio.to_thread(hub.start)
    logged = await asyncio.to_thread(logged_batches, deployment, new_mirror(deployment))
    assert {batch_id: logged[batch_id] for batch_id in acknowledged} == {
        batch_id: [index] for batch_id, index in acknowledged.items()
    }
    # Whatever was carried out was answered: draining loses no acknowledgement.
    assert logged.keys() == acknowledged.keys()
