"""The exchange under measurement: one deployment in a folder, its processes started when first asked for.

The hub is the real one, a process of its own with the configuration that `exchange.provision` writes; its
database is filled while it is stopped.
"""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import grpc
from signalexchange.roster import Budget

from exchange.provision import TYPES, Deployment, Plan, provision
from exchange.storage.sqlite import FILE
from tests.bench import fill, load
from tests.bench.processes import Process
from tests.support.hub import hub_data
from tests.support.members import Pen, pen

if TYPE_CHECKING:
    from tests.bench.stores import AtSize

ASKER = "bank-north"
PUBLISHER = "pay-lotus"
FILLER = "shop-river"
BUDGET = 1_000_000_000


class World:
    """Makes deployments on request and ends everything it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = AsyncExitStack()
        self._made = 0
        self.survey: list[AtSize] | None = None
        """What `tests.bench.stores` found, once it was asked."""

    async def __aenter__(self) -> "World":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def deploy(self) -> "Exchange":
        """A new deployment, nothing started and nothing stored."""
        self._made += 1
        folder = self.folder / f"exchange-{self._made}"
        budgets = {name: Budget(per_day=BUDGET, declared_customers=BUDGET) for name in TYPES}
        made = Exchange(provision(folder, Plan(budgets=budgets)), self.folder / f"exchange-{self._made}.log")
        self._stack.push_async_callback(made.close)
        return made


class Exchange:
    """One deployment: its hub and custodians, and what is in the hub's store."""

    def __init__(self, deployment: Deployment, log: Path) -> None:
        self.deployment = deployment
        self.now = int(time.time())
        self.tokens: list[bytes] = []
        """Some of the tokens that signals are stored about."""
        self.stored = 0
        self.entries = 0
        self._hub = Process(["exchange.cli", "serve", str(deployment.hub_config)], deployment.hub_port, log)
        self._custodians = [
            Process(
                ["exchange.cli", "custodian", "serve", str(deployment.custodian_config(name))],
                port,
                log.with_suffix(f".{name}.log"),
            )
            for name, port in deployment.custodian_ports.items()
        ]

    @property
    def data(self) -> Path:
        return hub_data(self.deployment)

    def bytes_on_disk(self) -> int:
        """Size of the hub's database, write-ahead log and all."""
        return sum(path.stat().st_size for path in self.data.glob(f"{FILE}*"))

    def signals_on_disk(self) -> int:
        """How many signals the database of the stopped hub holds."""
        db = sqlite3.connect(self.data / FILE)
        try:
            (count,) = db.execute("SELECT count(*) FROM signals").fetchone()
            return int(count)
        finally:
            db.close()

    @property
    def hub_tls(self) -> Path:
        return self.deployment.hub_config.parent

    def tls(self, party: str) -> Path:
        return self.deployment.party_config(party).parent

    def pen(self, party: str) -> Pen:
        return pen(self.deployment, party)

    async def fill_signals(self, size: int) -> None:
        """Bring the store to `size` signals, hub stopped."""
        await self._found_log()
        filled = await fill.signals(self.data, size - self.stored, FILLER, self.now)
        self.stored = size
        self.tokens = filled.tokens or self.tokens

    async def fill_entries(self, size: int) -> None:
        """Bring the log to about `size` entries, hub stopped."""
        await self._found_log()
        await fill.access_records(self.data, size - self.entries, ASKER, self.now)
        self.entries = size

    async def _found_log(self) -> None:
        """Let the hub itself begin its log with the roster."""
        if not (self.data / FILE).exists():
            async with self.hub():
                pass

    @asynccontextmanager
    async def hub(self) -> AsyncIterator[Process]:
        """The hub while it serves."""
        await self._hub.start()
        try:
            yield self._hub
        finally:
            await self._hub.stop()

    @asynccontextmanager
    async def custodians(self) -> AsyncIterator[None]:
        """All custodians while they serve."""
        try:
            for server in self._custodians:
                await server.start()
            yield
        finally:
            await self.close_custodians()

    async def close_custodians(self) -> None:
        for server in self._custodians:
            await server.close()

    def channel(self, party: str) -> grpc.aio.Channel:
        """A raw channel of `party` to the hub."""
        return load.open_channel(f"127.0.0.1:{self.deployment.hub_port}", self.tls(party))

    async def close(self) -> None:
        """End what still runs."""
        await self._hub.close()
        await self.close_custodians()
