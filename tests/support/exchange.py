"""A hub in the test's own process, over real mTLS on 127.0.0.1, with real SQLite, and its parties'
connections."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from signalexchange.v1.case_service_pb2_grpc import CaseServiceStub
from signalexchange.v1.disclosure_service_pb2_grpc import DisclosureServiceStub
from signalexchange.v1.match_service_pb2_grpc import MatchServiceStub
from signalexchange.v1.membership_service_pb2_grpc import MembershipServiceStub
from signalexchange.v1.notice_service_pb2_grpc import NoticeServiceStub
from signalexchange.v1.outcome_service_pb2_grpc import OutcomeServiceStub
from signalexchange.v1.signal_service_pb2_grpc import SignalServiceStub
from signalexchange.v1.transparency_service_pb2_grpc import TransparencyServiceStub

from exchange.provision import Deployment, Plan, provision
from exchange.server.app import Hub
from exchange.server.config import load_config
from exchange.server.telemetry import Log
from exchange.storage.archive import open_archive
from exchange.usecases.replay.walk import replay
from tests.support.caller import Refused, read_refusal
from tests.support.members import Pen, configuration, pen


@dataclass
class Connection:
    """A party's connection with every service's stub."""

    channel: grpc.aio.Channel
    signals: Any
    log: Any
    membership: Any
    outcomes: Any
    matches: Any
    cases: Any
    notices: Any
    disclosures: Any

    @classmethod
    def over(cls, channel: grpc.aio.Channel) -> "Connection":
        return cls(
            channel,
            SignalServiceStub(channel),
            TransparencyServiceStub(channel),
            MembershipServiceStub(channel),
            OutcomeServiceStub(channel),
            MatchServiceStub(channel),
            CaseServiceStub(channel),
            NoticeServiceStub(channel),
            DisclosureServiceStub(channel),
        )


@dataclass
class Running:
    """A deployment with its hub running in this process."""

    deployment: Deployment
    hub: Hub
    output: io.BytesIO
    stack: AsyncExitStack
    _connections: dict[str, Connection] = field(default_factory=dict)

    def __getitem__(self, party: str) -> Connection:
        """The party's connection, made once."""
        known = self._connections.get(party)
        if known is None:
            known = self._connections[party] = self.connect(party)
        return known

    def connect(self, party: str) -> Connection:
        """A new connection of the party."""
        channel = grpc.aio.secure_channel(
            f"127.0.0.1:{self.hub.port}",
            configuration(self.deployment, party).tls.files.load(),
            options=[("grpc.use_local_subchannel_pool", 1)],
        )
        self.stack.push_async_callback(channel.close)
        return Connection.over(channel)

    def pen(self, party: str) -> Pen:
        return pen(self.deployment, party)

    def events(self) -> list[dict[str, Any]]:
        """The hub's log lines."""
        return [json.loads(line) for line in self.output.getvalue().splitlines()]


@asynccontextmanager
async def serving(deployment: Deployment, *, replays: bool = True) -> AsyncIterator[Running]:
    """The deployment's hub, at any free port. `replays` says that its log must come out again afterwards."""
    config = load_config(deployment.hub_config)
    config = config.model_copy(update={"listen": "127.0.0.1:0", "metrics": None})
    output = io.BytesIO()
    hub = await Hub.start(config, Log("hub", output))
    async with AsyncExitStack() as stack:
        try:
            yield Running(deployment, hub, output, stack)
        finally:
            await stack.aclose()
            await hub.stop(1.0)
            if replays:
                _replay(config.data_dir)


def _replay(folder: Path) -> None:
    """Whatever a test did, each score comes out again, or it is told why nobody can say."""
    with open_archive(folder) as archive:
        report = replay(archive)
    assert report.ok, report.differences


def deploy(folder: Path, **plan: Any) -> Deployment:
    """A deployment with tokens of cards and merchants."""
    return provision(folder / "deployment", Plan(**{"types": ("card", "merchant"), **plan}))


async def refused(call: Any) -> Refused:
    """Await a call that must be refused."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return read_refusal(error)
    raise AssertionError(f"answered: {type(answer).__name__}")
