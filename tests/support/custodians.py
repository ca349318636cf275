"""Custodians of a provisioned deployment: real ones in this process, and ones that lie."""

import io
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from signalexchange import voprf
from signalexchange.config import load_config as load_member
from signalexchange.manifest import KeyManifest, open_manifest
from signalexchange.roster import Budget, Roster, RosterChain
from signalexchange.token_client import TokenClient
from signalexchange.v1 import token_service_pb2 as pb
from signalexchange.v1.identifier_pb2 import IdentifierType
from signalexchange.v1.token_service_pb2_grpc import TokenServiceServicer, add_TokenServiceServicer_to_server

from exchange.custodian.config import CustodianConfig, load_config
from exchange.custodian.process import Custodian
from exchange.custodian.shares import matching, read_shares
from exchange.provision import CUSTODIANS, Deployment, Plan, provision
from exchange.server.telemetry import Log
from exchange.server.tls import TlsFiles

PHONE = IdentifierType.IDENTIFIER_TYPE_PHONE
CARD = IdentifierType.IDENTIFIER_TYPE_CARD
TOKENISE = pb.EVALUATION_PURPOSE_TOKENISE
ROTATE = pb.EVALUATION_PURPOSE_ROTATE
NAMES = tuple(CUSTODIANS)
NOW = 1_750_000_000
DAY = 86_400


def phones(count: int, start: int = 0) -> list[str]:
    """Distinct valid phone numbers."""
    return [f"+86138{start + number:08d}" for number in range(count)]


def deploy(folder: Path, *, per_day: int = 10_000, customers: int = 10_000, **plan: Any) -> Deployment:
    """A deployment on a replay clock at NOW with phone and card keys of epoch 1."""
    budget = Budget(per_day=per_day, declared_customers=customers)
    settings: dict[str, Any] = {
        "types": ("phone", "card"),
        "clock": NOW,
        "epochs": {1: (NOW - DAY, NOW + 100 * DAY)},
        "budgets": {"phone": budget, "card": budget},
    }
    return provision(folder / "deployment", Plan(**{**settings, **plan}))


def roster_of(deployment: Deployment) -> Roster:
    return RosterChain.start(deployment.genesis.read_bytes()).current


def manifest_of(deployment: Deployment) -> KeyManifest:
    return open_manifest(deployment.manifest.read_bytes(), roster_of(deployment))


def config_of(deployment: Deployment, name: str) -> CustodianConfig:
    """The custodian's configuration, at a free port."""
    config = load_config(deployment.custodian_config(name))
    return config.model_copy(update={"listen": "127.0.0.1:0"})


@dataclass
class Network:
    """Custodians that serve, by id, with their logs, and channels to them under parties' certificates."""

    deployment: Deployment
    ports: dict[str, int] = field(default_factory=dict)
    custodians: dict[str, Custodian] = field(default_factory=dict)
    logs: dict[str, io.BytesIO] = field(default_factory=dict)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self, name: str) -> Custodian:
        """Start a real custodian."""
        self.logs[name] = io.BytesIO()
        custodian = await Custodian.start(config_of(self.deployment, name), Log(name, self.logs[name]))
        self.custodians[name], self.ports[name] = custodian, custodian.port
        return custodian

    async def start_liar(self, name: str, lie: "Lie") -> None:
        """Start a server with the custodian's certificate and shares that alters what it answers."""
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        add_TokenServiceServicer_to_server(Liar(self.deployment, name, lie), server)
        tls = config_of(self.deployment, name).tls
        credentials = TlsFiles(tls.certificate, tls.key, tls.ca).credentials()
        self.ports[name] = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        self._stack.push_async_callback(server.stop, None)

    async def stop(self, name: str) -> None:
        """Stop a real custodian; its port stays in the channels."""
        await self.custodians.pop(name).stop(grace=1.0)

    def channel(self, name: str, party: str = "bank-north") -> grpc.aio.Channel:
        """A new channel to a custodian."""
        tls = load_member(self.deployment.party_config(party)).tls.files
        channel = grpc.aio.secure_channel(f"127.0.0.1:{self.ports[name]}", tls.load())
        self._stack.push_async_callback(channel.close)
        return channel

    def channels(
        self, party: str = "bank-north", names: Sequence[str] | None = None
    ) -> dict[str, grpc.aio.Channel]:
        return {name: self.channel(name, party) for name in names or list(self.ports)}

    def client(self, party: str = "bank-north", names: Sequence[str] | None = None) -> TokenClient:
        """A member's token client; the first name is asked first."""
        client = TokenClient(
            roster_of(self.deployment),
            manifest_of(self.deployment),
            self.channels(party, names),
            timeout=10.0,
        )
        client._turn = len(client._peers) - 1
        return client

    def log_lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.logs[name].getvalue().splitlines()]

    async def close(self) -> None:
        await self._stack.aclose()
        for custodian in self.custodians.values():
            await custodian.stop(grace=0.5)


@asynccontextmanager
async def network(deployment: Deployment, names: Sequence[str] = NAMES) -> AsyncIterator[Network]:
    """Real custodians of these names."""
    net = Network(deployment)
    try:
        for name in names:
            await net.start(name)
        yield net
    finally:
        await net.close()


@dataclass(frozen=True)
class Holding:
    """What a custodian answers from: its share index, its share of the key asked for, its public share."""

    index: int
    share: bytes
    public_share: bytes


Lie = Callable[[Holding, list[bytes]], pb.EvaluateResponse]


class Liar(TokenServiceServicer):
    """Holds true shares and answers what `lie` makes of them; nobody's budget, no roster."""

    def __init__(self, deployment: Deployment, name: str, lie: Lie) -> None:
        config = config_of(deployment, name)
        files = [read_shares(path) for path in config.shares]
        self._index = files[0].index
        self._note = deployment.manifest.read_bytes()
        self._manifest = manifest_of(deployment)
        self._shares: Mapping[tuple[int, int], bytes] = matching(files, self._manifest)
        self._lie = lie

    async def GetKeyManifest(  # noqa: N802 - the contract's name
        self, request: pb.GetKeyManifestRequest, context: Any
    ) -> pb.GetKeyManifestResponse:
        return pb.GetKeyManifestResponse(manifest=self._note)

    async def Evaluate(  # noqa: N802 - the contract's name
        self, request: pb.EvaluateRequest, context: Any
    ) -> pb.EvaluateResponse:
        key = self._manifest.key(request.type, request.epoch)
        assert key is not None
        holding = Holding(self._index, self._shares[request.type, request.epoch], key.shares[self._index])
        return self._lie(holding, list(request.blinded_elements))


def honest(holding: Holding, elements: list[bytes]) -> pb.EvaluateResponse:
    """What a custodian should answer, for lies to start from."""
    evaluated, proof = voprf.blind_evaluate(holding.share, holding.public_share, elements)
    return pb.EvaluateResponse(share_index=holding.index, evaluated_elements=evaluated, proof=proof)


async def evaluate(
    channel: grpc.aio.Channel, elements: Sequence[bytes], **changes: Any
) -> pb.EvaluateResponse:
    """A bare call, without the SDK's checks."""
    fields: dict[str, Any] = {
        "type": PHONE,
        "epoch": 1,
        "generation": 1,
        "purpose": TOKENISE,
        "blinded_elements": elements,
    }
    call = channel.unary_unary(
        "/signalexchange.v1.TokenService/Evaluate",
        request_serializer=pb.EvaluateRequest.SerializeToString,
        response_deserializer=pb.EvaluateResponse.FromString,
    )
    response: pb.EvaluateResponse = await call(pb.EvaluateRequest(**{**fields, **changes}), timeout=20)
    return response
