"""What is stored of outcomes: verdicts that never change, tallies that add up, deliveries and their term."""

import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from signalexchange.v1.log_entry_pb2 import EntryType

from exchange.domain.records import POSITIONS, Delivery, Delta, Entry, MatchVerdict, Report, VerdictRow
from exchange.domain.reliability import Tally
from exchange.domain.store import StorageFailed
from exchange.storage.sqlite import SqliteStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path)
    yield opened
    await opened.close()


def entry(index: int, member: str) -> Entry:
    leaf = bytes(65)
    return Entry(
        index, EntryType.ENTRY_TYPE_OUTCOMES, member, 1000 + index, 0, leaf, b"h", leaf[:32], b"p", leaf[:32]
    )


async def test_reports_and_verdicts_are_found_again(store: SqliteStore) -> None:
    signal_id, match_id, report_id = (os.urandom(16) for _ in range(3))
    report = Report("bank-a", report_id, bytes(32), 0)
    rows = [VerdictRow(False, signal_id, "a", 2, 0), VerdictRow(True, match_id, "a", 1, 0)]
    await store.commit(Delta(entries=[entry(0, "bank-a")], reports=[report], verdicts=rows))
    assert await store.report("bank-a", report_id) == report
    assert await store.report("bank-b", report_id) is None
    assert await store.verdicts("a", [signal_id, match_id, os.urandom(16)]) == {
        (False, signal_id): 2,
        (True, match_id): 1,
    }
    assert await store.verdicts("b", [signal_id]) == {}
    assert await store.outcomes_since(0) == [MatchVerdict(0, 1000, match_id, "a", "bank-a", 1)]
    assert await store.outcomes_since(1) == []


async def test_a_verdict_is_never_replaced(store: SqliteStore) -> None:
    id_ = os.urandom(16)
    await store.commit(Delta(verdicts=[VerdictRow(False, id_, "a", 2, 0)]))
    with pytest.raises(StorageFailed) as caught:
        await store.commit(Delta(verdicts=[VerdictRow(False, id_, "a", 1, 1)]))
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)
    assert await store.verdicts("a", [id_]) == {(False, id_): 2}


async def test_tallies_add_up(store: SqliteStore) -> None:
    await store.commit(Delta(tallies=[Tally("x", "c", "y", 1, 0), Tally("x", "c", "y", 0, 2)]))
    await store.commit(Delta(tallies=[Tally("x", "c", "y", 3, 0), Tally("", "loop", "y", 1, 0)]))
    assert sorted(await store.tallies()) == [Tally("", "loop", "y", 1, 0), Tally("x", "c", "y", 4, 2)]


async def test_the_version_of_what_is_learned_is_kept(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path)
    assert await store.learned() == 0
    await store.commit(Delta(learned=3))
    await store.commit(Delta(tallies=[Tally("x", "c", "y", 1, 0)]))
    await store.close()
    store = await SqliteStore.open(tmp_path)
    try:
        assert await store.learned() == 3
        taken = VerdictRow(False, os.urandom(16), "a", 2, 0)
        with pytest.raises(StorageFailed):
            await store.commit(Delta(learned=4, verdicts=[taken, taken]))
        assert await store.learned() == 3
    finally:
        await store.close()


async def test_deliveries_last_as_long_as_access_records(store: SqliteStore) -> None:
    places = [entry * POSITIONS for entry in (3, 7)]
    await store.commit(Delta(deliveries=[Delivery(place, "bank-a") for place in places]))
    await store.commit(Delta(deliveries=[Delivery(places[0], "bank-a")]))
    assert await store.told_of("bank-a", [*places, 99]) == set(places)
    assert await store.told_of("bank-b", places) == set()
    await store.commit(Delta(forgotten_access=7))
    assert await store.told_of("bank-a", places) == {places[1]}
