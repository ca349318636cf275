"""The hub is killed with SIGKILL again and again; whatever it acknowledged is there exactly once afterwards.

Members publish, repeat what was never acknowledged and look up, all at once, until the kill at a random
moment (sometimes while the hub still recovers from the last one). An auditor's copy of the log has to match
every checkpoint that was ever handed out, before and after.
"""

import asyncio
import os
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from signalexchange.checkpoint import Checkpoint
from signalexchange.envelope import parse_statement
from signalexchange.v1.log_entry_pb2 import BatchEntry, EntryType
from signalexchange.v1.signal_pb2 import Signal
from signalexchange.v1.signal_service_pb2 import PublishSignalsRequest, PublishSignalsResponse

from exchange.provision import Deployment, Plan, provision
from tests.support.caller import Caller
from tests.support.faults import Server
from tests.support.hub import hub_database, hub_server, new_mirror
from tests.support.members import Pen, caller, channel, look_up, pen, signal, signal_service

if TYPE_CHECKING:
    from signalexchange.v1.signal_service_pb2_grpc import SignalServiceAsyncStub

KILLS = 50
SEED = 20_260_731
MEMBERS = ("bank-north", "bank-south", "pay-lotus", "shop-river")
LIFE = (0.02, 0.45)
"""Seconds of load before a kill, least and most."""
EARLY = 7
"""Every so many kills the hub dies while it starts."""


@dataclass
class Book:
    """What one member knows: what it sent and what was acknowledged."""

    pen: Pen
    pending: list[PublishSignalsRequest] = field(default_factory=list)
    acknowledged: dict[bytes, tuple[PublishSignalsRequest, int]] = field(default_factory=dict)
    checkpoints: list[bytes] = field(default_factory=list)
    tokens: list[bytes] = field(default_factory=list)

    def write(self, chance: random.Random) -> PublishSignalsRequest:
        signals = [signal() for _ in range(chance.choice((1, 1, 2, 5, 20, 50)))]
        request = self.pen.batch(signals)
        self.pending.append(request)
        return request

    def note(self, request: PublishSignalsRequest, response: PublishSignalsResponse) -> None:
        batch_id = parse_statement(request.statement).batch_id
        index = response.receipt.index
        known = self.acknowledged.setdefault(batch_id, (request, index))
        assert known[1] == index, "a repetition was given another place"
        self.checkpoints.append(response.receipt.checkpoint)
        self.tokens += [Signal.FromString(each.signal).subject.value for each in request.signals[:2]]
        self.pending = [each for each in self.pending if each is not request]


class Load:
    """Everybody at work against one life of the hub, until it dies."""

    def __init__(
        self,
        deployment: Deployment,
        books: list[Book],
        look_ups: list[tuple[int, bytes]],
        chance: random.Random,
    ) -> None:
        self._deployment = deployment
        self._books = books
        self._look_ups = look_ups
        self._chance = chance

    async def run(self, kill: asyncio.Event) -> None:
        channels = [channel(self._deployment, book.pen.member) for book in self._books]
        try:
            stubs = [signal_service(each) for each in channels]
            tasks = [
                asyncio.create_task(work(book, stub, kill))
                for book, stub in zip(self._books, stubs, strict=True)
                for work in (self._publish, self._publish, self._look_up)
            ]
            await asyncio.gather(*tasks)
        finally:
            await asyncio.gather(*(each.close() for each in channels))

    async def _publish(self, book: Book, stub: "SignalServiceAsyncStub", kill: asyncio.Event) -> None:
        repeats = list(book.pending)
        while not kill.is_set():
            request = repeats.pop() if repeats else book.write(self._chance)
            try:
                response = await stub.PublishSignals(request, timeout=5)
            except grpc.aio.AioRpcError as error:
                _check_dead(error)
                return
            book.note(request, response)

    async def _look_up(self, book: Book, stub: "SignalServiceAsyncStub", kill: asyncio.Event) -> None:
        while not kill.is_set():
            other = self._chance.choice([each for each in self._books if each is not book])
            known = self._chance.sample(other.tokens, min(3, len(other.tokens)))
            try:
                answer = await stub.LookUpSubjects(look_up({*known, os.urandom(32)}), timeout=5)
            except grpc.aio.AioRpcError as error:
                _check_dead(error)
                return
            assert [each.token for each in answer.subjects] == sorted(set(known))
            self._look_ups.append((answer.receipt.index, answer.receipt.checkpoint))


def _check_dead(error: grpc.aio.AioRpcError) -> None:
    """A call may fail because the hub was killed, and for no other reason."""
    assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), error


class Audit:
    """The auditor's side: the copy of the log, and what stands in it."""

    def __init__(self, deployment: Deployment, database: Path) -> None:
        self.mirror = new_mirror(deployment)
        self._deployment = deployment
        self._database = database
        self._seen = 0
        self._last: Checkpoint | None = None
        self.batches: dict[bytes, int] = {}
        self.signals = 0

    def check(self, books: list[Book], look_ups: list[tuple[int, bytes]], chance: random.Random) -> None:
        """Compare the log with what every member was told since the last time, and with the database."""
        with caller(self._deployment, "audit-one") as auditor:
            checkpoint = self.mirror.extend(auditor.log)
            if self._last is not None:
                self.mirror.prove_consistency(auditor.log, self._last.size, checkpoint.size)
            self._last = checkpoint
            self._read_batches(auditor)
            for book in books:
                told = [self.mirror.check(note) for note in book.checkpoints]
                for batch_id, (_, index) in book.acknowledged.items():
                    assert self.batches.get(batch_id) == index
                sample = chance.sample(told, min(2, len(told)))
                for old in sample:
                    self.mirror.prove_consistency(auditor.log, old.size, checkpoint.size)
                    self.mirror.prove_inclusion(auditor.log, old.size - 1, checkpoint.size)
                book.checkpoints.clear()
            for index, note in look_ups:
                assert self.mirror.check(note).size > index
                header = self.mirror.headers[index]
                assert header is not None
                assert header.type == EntryType.ENTRY_TYPE_LOOK_UP
        self._check_database()

    def _read_batches(self, auditor: Caller) -> None:
        indices = self.mirror.of_type(EntryType.ENTRY_TYPE_BATCH, self._seen)
        self._seen = len(self.mirror.headers)
        for entry in self.mirror.opened(auditor.log, indices):
            statement = parse_statement(BatchEntry.FromString(entry.payload).statement)
            assert statement.batch_id not in self.batches, "a batch is on the log twice"
            self.batches[statement.batch_id] = entry.index
            self.signals += statement.count

    def _check_database(self) -> None:
        """Exactly the signals of the batches on the log are stored: none lost, none twice."""
        with sqlite3.connect(f"file:{self._database}?mode=ro", uri=True) as database:
            stored, distinct = database.execute(
                "SELECT count(*), count(DISTINCT signal_id) FROM signals"
            ).fetchone()
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()
        assert stored == distinct == self.signals


def _repeat(deployment: Deployment, book: Book, requests: list[tuple[PublishSignalsRequest, int]]) -> None:
    """Publish acknowledged batches again: each is known, at its place."""
    with caller(deployment, book.pen.member) as member:
        for request, index in requests:
            response = member.signals.PublishSignals(request, timeout=10)
            assert response.repeated_batch
            assert response.receipt.index == index
            book.checkpoints.append(response.receipt.checkpoint)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return provision(tmp_path / "deployment", Plan(types=("card",)))


@pytest.fixture
def hub(deployment: Deployment, tmp_path: Path) -> Iterator[Server]:
    server = hub_server(deployment, tmp_path / "hub.log")
    yield server
    server.close()


@pytest.mark.timeout(600)
async def test_killed_at_random_moments_the_hub_keeps_every_acknowledged_batch_exactly_once(
    deployment: Deployment, hub: Server
) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a test that repeats, not a secret
    books = [Book(pen(deployment, member)) for member in MEMBERS]
    audit = Audit(deployment, hub_database(deployment))
    look_ups: list[tuple[int, bytes]] = []
    interrupted = 0

    def check() -> None:
        audit.check(books, look_ups, chance)
        look_ups.clear()
        for book in books:
            _repeat(deployment, book, list(book.acknowledged.values())[-3:])

    for life in range(KILLS):
        if life % EARLY == EARLY - 1:
            hub.spawn()
            await asyncio.sleep(chance.uniform(0.0, 1.0))
            hub.kill()
            continue
        await asyncio.to_thread(hub.start)
        await asyncio.to_thread(check)
        kill = asyncio.Event()
        work = asyncio.create_task(Load(deployment, books, look_ups, chance).run(kill))
        await asyncio.sleep(chance.uniform(*LIFE))
        kill.set()
        hub.kill()
        await work
        interrupted += sum(len(book.pending) for book in books)
    await asyncio.to_thread(hub.start)
    await asyncio.to_thread(check)
    for book in books:
        await asyncio.to_thread(_repeat, deployment, book, list(book.acknowledged.values()))
        assert len(book.acknowledged) >= KILLS, "hardly any load"
    assert interrupted >= KILLS, "the kills met nothing"
