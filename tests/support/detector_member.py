"""A member's detector against a running exchange, opened, crashed and opened again."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signalexchange.client import ExchangeClient
from signalexchange.config import MemberConfig
from signalexchange.detector.arrivals import Arrival
from signalexchange.detector.asking import Asker
from signalexchange.detector.detector import Detector, Told
from signalexchange.detector.journal import DetectorJournal
from signalexchange.detector.publishing import Sender
from signalexchange.detector.settings import DetectorSettings
from signalexchange.detector.transactions import Transaction
from signalexchange.flows import Kind
from signalexchange.v1.signal_service_pb2 import SubjectRisk

from exchange.replay.identities import merchant_of
from tests.support.sdk import PURPOSE, World, luhn

SUBJECTS = {"card": "card", "merchant": "merchant", "customer": "account", "payee": "account"}
TYPES = ("card", "merchant", "phone", "account")


def shop(number: int) -> str:
    """A merchant's identifier."""
    return merchant_of(number)


def account(number: int) -> str:
    return f"bank:{62_000_000 + number}"


def settings(**changes: Any) -> DetectorSettings:
    exchange = {"subjects": SUBJECTS, "budget_ms": 5_000, **changes.pop("exchange", {})}
    return DetectorSettings.model_validate({"lateness": 0, "exchange": exchange, **changes})


def bought(number: int, **changes: Any) -> Transaction:
    """A purchase just now: of customer, card and merchant `number`."""
    fields = {
        "id": f"t-{number}",
        "time": int(time.time()),
        "customer": account(number),
        "amount": 12_345,
        "kind": Kind.PURCHASE,
        "merchant": shop(number),
        "card": luhn(number),
    }
    return Transaction(**{**fields, **changes})


@dataclass
class Member:
    """An open detector with what asks and what sends."""

    client: ExchangeClient
    journal: DetectorJournal
    detector: Detector
    asker: Asker
    sender: Sender | None

    @classmethod
    async def open(
        cls, config: MemberConfig, state: Path, settings: DetectorSettings, *, sending: bool = False
    ) -> "Member":
        client = ExchangeClient.from_config(config)
        journal = DetectorJournal(state)
        assert settings.exchange is not None
        asker = Asker(client, settings.exchange)
        sender = Sender(client, journal) if sending else None
        return cls(client, journal, Detector.open(settings, journal, asker, sender), asker, sender)

    async def take(self, *arrivals: Arrival) -> list[Told]:
        told, rejected = await self.detector.take(arrivals)
        assert rejected == []
        return told

    async def sent(self) -> None:
        """Wait until the outbox is empty."""
        assert self.sender is not None
        assert await self.sender.drained(30), self.sender.problem

    async def crash(self) -> None:
        """Leave the folders as they are; what runs in this process must end all the same."""
        if self.sender is not None:
            await self.sender.close()
        await self.asker.close()
        await self.client.close()
        self.journal.close()

    async def close(self) -> None:
        await self.detector.close()
        await self.crash()


async def known(world: World, party: str, type_: int, value: str) -> SubjectRisk | None:
    """What another member is told about a subject."""
    client = await world.client(party)
    (answer,) = await client.look_up(PURPOSE, await client.tokens(type_, [value]))
    return answer.risk


async def until(done: Any, seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not done():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)


def codes(told: Sequence[Told], source: str) -> list[set[str]]:
    """Of each decision, the codes of the reasons one source gives."""
    return [{each.code for each in one.decision.reasons if each.source == source} for one in told]
