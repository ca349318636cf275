"""Members' clients against a whole exchange in the test's own process: hub, three custodians, real mTLS."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from signalexchange.client import ExchangeClient
from signalexchange.config import MemberConfig, load_config
from signalexchange.signals import SignalDraft, Subject
from signalexchange.v1.identifier_pb2 import IDENTIFIER_TYPE_CARD, IDENTIFIER_TYPE_MERCHANT
from signalexchange.v1.signal_pb2 import EVIDENCE_GRADE_CORROBORATED

from exchange.provision import Deployment
from tests.support import custodians, exchange

CARD = IDENTIFIER_TYPE_CARD
MERCHANT = IDENTIFIER_TYPE_MERCHANT
PURPOSE = "transaction-screening"


@dataclass
class World:
    """A running exchange and its parties' configurations, whose targets are the ports in use."""

    deployment: Deployment
    running: exchange.Running
    network: custodians.Network
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def config(self, party: str) -> MemberConfig:
        """The party's configuration, also written to its folder as running.toml."""
        path = self.deployment.party_config(party)
        text = path.read_text().replace(
            f"127.0.0.1:{self.deployment.hub_port}", f"127.0.0.1:{self.running.hub.port}"
        )
        for name, port in self.network.ports.items():
            text = text.replace(f"127.0.0.1:{self.deployment.custodian_ports[name]}", f"127.0.0.1:{port}")
        running = path.with_name("running.toml")
        running.write_text(text)
        return load_config(running)

    def config_path(self, party: str) -> Path:
        self.config(party)
        return self.deployment.party_config(party).with_name("running.toml")

    async def client(self, party: str) -> ExchangeClient:
        """A client of the party, closed with the world."""
        return await self.stack.enter_async_context(ExchangeClient.from_config(self.config(party)))


@asynccontextmanager
async def world(folder: Path, **plan: Any) -> AsyncIterator[World]:
    deployment = exchange.deploy(folder, **{"types": ("card", "merchant", "phone"), **plan})
    async with (
        exchange.serving(deployment) as running,
        custodians.network(deployment) as network,
        AsyncExitStack() as stack,
    ):
        yield World(deployment, running, network, stack)


def luhn(number: int) -> str:
    """A card number with its check digit: 411111 and nine digits."""
    body = f"411111{number:09d}"
    total = 0
    for position, digit in enumerate(reversed(body)):
        doubled = int(digit) * 2 if position % 2 == 0 else int(digit)
        total += doubled - 9 if doubled > 9 else doubled
    return body + str(-total % 10)


def draft(number: int = 1, *, now: int | None = None, **changes: Any) -> SignalDraft:
    """A valid draft about card `number`."""
    at = (int(time.time()) if now is None else now) - 3600
    return replace(
        SignalDraft(
            subject=Subject(CARD, luhn(number)),
            code="cash-out-suspected",
            confidence=80,
            grade=EVIDENCE_GRADE_CORROBORATED,
            first_seen=at - 60,
            last_seen=at,
            expires_at=at + 30 * 86_400,
            reference=f"case-{number}",
            amount=Decimal("1234.5"),
            place=f"cases.csv, row {number}",
        ),
        **changes,
    )
