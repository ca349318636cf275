"""What is stored of cases: proceedings and their steps, what is due, what appeals dispute, what is erased."""

import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from signalexchange.v1.log_entry_pb2 import EntryType

from exchange.domain.case_rows import (
    AppealRow,
    CaseEvent,
    CaseStepRow,
    DeadlineRow,
    ProceedingRow,
    StoredStep,
)
from exchange.domain.records import Delta, Entry, Event, NewSignal, Order, place
from exchange.domain.store import StorageFailed
from exchange.storage.sqlite import SqliteStore

MEMBER, OTHER = "bank-a", "bank-b"
CASE = os.urandom(16)
TOKEN = os.urandom(32)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path)
    yield opened
    await opened.close()


def entry(index: int, member: str = MEMBER, payload: bytes = b"payload") -> Entry:
    leaf = bytes(65)
    return Entry(
        index, EntryType.ENTRY_TYPE_CASE, member, 1000 + index, 0, leaf, b"h", leaf[:32], payload, leaf[:32]
    )


def proceeding(case_id: bytes = CASE, member: str = MEMBER, **changes: object) -> ProceedingRow:
    row = ProceedingRow(case_id, member, b"", TOKEN, 3, 1, True, False, 0, 0, 0)
    return row._replace(**changes)  # type: ignore[arg-type]


def step(sequence: int, entry_: int, case_id: bytes = CASE, member: str = MEMBER) -> CaseStepRow:
    return CaseStepRow(case_id, member, sequence, bytes([sequence]) * 32, "officer-1", entry_)


def signal(at: int, signal_id: bytes) -> NewSignal:
    return NewSignal(at, signal_id, MEMBER, TOKEN, 3, 1, "code", 0, 80, 3, 2, 1000, 9000, bytes(32), b"body")


async def test_a_proceeding_is_found_with_its_steps_and_replaced_as_it_moves_on(store: SqliteStore) -> None:
    await store.commit(Delta(entries=[entry(0)], proceedings=[proceeding()], case_steps=[step(0, 0)]))
    moved = proceeding(appealed=True, due=5000, sanction=5)
    await store.commit(Delta(entries=[entry(1)], proceedings=[moved], case_steps=[step(1, 1)]))
    stored = await store.proceeding(MEMBER, CASE)
    assert stored is not None
    assert stored.row == moved
    assert await store.case_steps(MEMBER, CASE) == [
        StoredStep(at, bytes([at]) * 32, "officer-1", at, 1000 + at, b"payload") for at in range(2)
    ]
    assert await store.proceeding(OTHER, CASE) is None
    assert await store.case_steps(OTHER, CASE) == []
    assert await store.sanctions(MEMBER, [TOKEN, os.urandom(32)]) == {(TOKEN, 5)}
    assert await store.sanctions(OTHER, [TOKEN]) == set()


async def test_a_step_is_never_replaced(store: SqliteStore) -> None:
    await store.commit(Delta(entries=[entry(0)], proceedings=[proceeding()], case_steps=[step(0, 0)]))
    with pytest.raises(StorageFailed) as caught:
        await store.commit(Delta(case_steps=[step(0, 0)]))
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)


async def test_lists_go_by_number_and_know_what_is_unfinished(store: SqliteStore) -> None:
    ids = [os.urandom(16) for _ in range(4)]
    rows = [proceeding(id_, unfinished=at != 1) for at, id_ in enumerate(ids)]
    for row in rows:
        await store.commit(Delta(proceedings=[row]))
    await store.commit(Delta(proceedings=[proceeding(ids[0], OTHER)]))
    page = await store.proceedings_of(MEMBER, 0, 2, unfinished=False)
    assert [each.row.case_id for each in page] == ids[:2]
    rest = await store.proceedings_of(MEMBER, page[-1].number, 9, unfinished=False)
    assert [each.row.case_id for each in rest] == ids[2:]
    open_ = await store.proceedings_of(MEMBER, 0, 9, unfinished=True)
    assert [each.row.case_id for each in open_] == [ids[0], *ids[2:]]
    assert [each.row.member for each in await store.proceedings_in(ids[0])] == [MEMBER, OTHER]


async def test_what_is_due_and_what_has_expired_is_found_by_time(store: SqliteStore) -> None:
    due, later, over = (os.urandom(16) for _ in range(3))
    rows = [proceeding(due, due=100), proceeding(later, due=101), proceeding(over, expires_at=100)]
    await store.commit(Delta(proceedings=rows, case_deadlines=[DeadlineRow(due, MEMBER, 50, "appeal")]))
    assert [each.row.case_id for each in await store.proceedings_due(101, 9)] == [due]
    assert [each.row.case_id for each in await store.proceedings_due(102, 9)] == [due, later]
    assert len(await store.proceedings_due(102, 1)) == 1
    assert await store.proceedings_expired(99, 9) == []
    assert [each.row.case_id for each in await store.proceedings_expired(100, 9)] == [over]
    assert await store.case_deadlines(MEMBER, due) == {(50, "appeal")}
    assert await store.case_deadlines(OTHER, due) == set()


async def test_appeals_dispute_until_the_last_is_decided(store: SqliteStore) -> None:
    at, id_ = place(0, 0), os.urandom(16)
    mine, theirs = AppealRow(CASE, MEMBER, at, 5000), AppealRow(CASE, OTHER, at, 7000)
    await store.commit(
        Delta(entries=[entry(0)], signals=[signal(at, id_)], appeals=[mine, theirs], appealed=[(7000, at)])
    )
    assert sorted(await store.appeals([at])) == [mine, theirs]
    assert await store.appealed_by(MEMBER, CASE) == [at]
    assert await store.appealed() == [(at, 7000)]
    (state,) = await store.signals_at([at])
    assert (state.disputed_until, state.appealed_until) == (0, 7000)
    assert state.is_disputed(6999)
    assert not state.is_disputed(7000)
    (hit,) = (await store.hits([TOKEN], 2000))[TOKEN]
    assert hit.disputed_until == 7000
    await store.commit(Delta(decided_appeals=[(CASE, OTHER)], appealed=[(5000, at)]))
    assert await store.appeals([at]) == [mine]
    await store.commit(Delta(decided_appeals=[(CASE, MEMBER)], appealed=[(0, at)], disputed=[(3000, at)]))
    assert await store.appealed() == []
    (hit,) = (await store.hits([TOKEN], 2000))[TOKEN]
    assert hit.disputed_until == 3000


async def test_of_an_erased_proceeding_only_that_it_was_there_is_left(
    store: SqliteStore, tmp_path: Path
) -> None:
    secret, other = os.urandom(200), os.urandom(200)
    beside = os.urandom(16)
    await store.commit(
        Delta(
            entries=[entry(0, payload=secret), entry(1, payload=other)],
            proceedings=[proceeding(match_id=os.urandom(16)), proceeding(beside)],
            case_steps=[step(0, 0), step(0, 1, beside)],
            case_deadlines=[DeadlineRow(CASE, MEMBER, 50, "appeal")],
            case_events=[CaseEvent(MEMBER, CASE, 1000), CaseEvent(MEMBER, beside, 1000)],
        )
    )
    order = Order(MEMBER, os.urandom(16), bytes(32), 0)
    await store.commit(Delta(erased_entries=[0], erased_proceedings=[(CASE, MEMBER)], case_orders=[order]))
    stored = await store.proceeding(MEMBER, CASE)
    assert stored is not None
    assert stored.row.is_erased
    assert stored.row == ProceedingRow(CASE, MEMBER, b"", b"", 0, 0, False, False, 0, 0, 0)
    assert await store.case_steps(MEMBER, CASE) == []
    assert await store.case_deadlines(MEMBER, CASE) == set()
    assert [event.event.case_id for event in await store.case_events(MEMBER, 0, 9)] == [beside]
    listed = await store.proceedings_of(MEMBER, 0, 9, unfinished=False)
    assert [each.row.case_id for each in listed] == [beside]
    assert await store.proceedings_in(CASE) == []
    assert await store.case_order(MEMBER, order.order_id) == order
    assert await store.case_order(OTHER, order.order_id) is None
    (gone, kept) = await store.entries([0, 1])
    assert (gone.payload, gone.payload_opening, kept.payload) == (b"", b"", other)
    await store.forget_traces()
    held = _files(tmp_path)
    assert secret not in held
    assert other in held


def _files(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


async def test_case_events_come_in_order_and_go_when_old(store: SqliteStore) -> None:
    await store.commit(Delta(case_events=[CaseEvent(MEMBER, CASE, 1000 + at) for at in range(3)]))
    await store.commit(Delta(case_events=[CaseEvent(OTHER, CASE, 2000)]))
    events = await store.case_events(MEMBER, 0, 9)
    assert [each.position for each in events] == [1, 2, 3]
    assert len(await store.case_events(MEMBER, 1, 1)) == 1
    old = await store.old_case_events(1002)
    assert old == 2
    await store.commit(Delta(forgotten_case_events=old))
    assert [each.position for each in await store.case_events(MEMBER, 0, 9)] == [3]
    assert await store.case_event_bounds() == (2, 4)


async def test_corrections_are_acknowledged_once_and_events_name_them(store: SqliteStore) -> None:
    await store.commit(Delta(acknowledged=[(5, 10), (7, 10)]))
    await store.commit(Delta(acknowledged=[(7, 11), (9, 11)]))
    assert await store.acknowledged([5, 6, 7, 9]) == {5: 10, 7: 10, 9: 11}
    event = Event(MEMBER, os.urandom(16), 2, False, 3, 1, TOKEN, 1000, 5)
    await store.commit(Delta(events=[event, event._replace(correction=0)]))
    assert [each.event.correction for each in await store.events(MEMBER, 0, 9)] == [5, 0]
