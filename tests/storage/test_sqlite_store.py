"""The store on real SQLite: one transaction or nothing, restored as committed, erased for real."""

import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from signalexchange import merkle
from signalexchange.errors import ConfigError

from exchange.domain.records import (
    Batch,
    Delta,
    Entry,
    Event,
    Link,
    NewSignal,
    Order,
    Status,
    Subscription,
    place,
)
from exchange.domain.store import StorageFailed
from exchange.domain.tree import Tree
from exchange.storage.sqlite import FILE, SqliteStore

NOW = 1_800_000_000
LATER = NOW + 3000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path)
    yield store
    await store.close()


def entry(
    index: int, *, type_: int = 3, member: str = "bank-north", shown: int = 0, payload: bytes = b"p"
) -> Entry:
    return Entry(
        index, type_, member, NOW + index, shown, os.urandom(65), b"h", bytes(32), payload, bytes(32)
    )


def row(
    at: int,
    *,
    token: bytes | None = None,
    issuer: str = "bank-north",
    expires_at: int = LATER,
    **changes: object,
) -> NewSignal:
    base = NewSignal(
        at,
        os.urandom(16),
        issuer,
        token or os.urandom(32),
        3,
        1,
        "card-leaked",
        0,
        80,
        2,
        3,
        NOW,
        expires_at,
        os.urandom(32),
        os.urandom(200),
    )
    return base._replace(**changes)  # type: ignore[arg-type]


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def batch(index: int, rows: list[NewSignal]) -> Delta:
    return Delta(
        entries=[entry(index)],
        batches=[Batch("bank-north", os.urandom(16), bytes(32), index, min(r.expires_at for r in rows))],
        signals=rows,
    )


async def test_a_commit_is_there_and_a_failed_one_is_not(store: SqliteStore) -> None:
    rows = [row(place(0, position)) for position in range(1000)]
    await store.commit(batch(0, rows))
    twice = batch(1, [row(place(1, 0)), rows[0]._replace(place=place(1, 1))])
    with pytest.raises(StorageFailed):
        await store.commit(twice)
    assert await store.known_signals([r.signal_id for r in rows]) == {r.signal_id for r in rows}
    assert await store.entries([0, 1]) == await store.entries([0])
    assert await store.known_signals([twice.signals[0].signal_id]) == set()
    # The connection is usable again: the transaction was rolled back.
    await store.commit(batch(1, [row(place(1, 0))]))


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_536 + 300])
async def test_the_tree_is_restored_as_committed(tmp_path: Path, size: int) -> None:
    store = await SqliteStore.open(tmp_path)
    tree = Tree(merkle.Frontier(), [])
    try:
        for start in range(0, size, 8192):
            delta = Delta()
            for index in range(start, min(start + 8192, size)):
                delta.entries.append(entry(index))
                delta.tiles.extend(tree.append(merkle.leaf_hash(delta.entries[-1].leaf)))
            await store.commit(delta)
    finally:
        await store.close()
    store = await SqliteStore.open(tmp_path)
    try:
        restored = await store.restore_tree()
        assert restored.size == size
        assert restored.root() == tree.root()
        if size:
            ranges = merkle.inclusion_ranges(size // 2, size)
            proof = restored.hashes(ranges, await store.tiles(sorted(restored.needed(ranges))))
            (middle,) = await store.entry_range(size // 2, 1)
            merkle.verify_inclusion(size // 2, size, merkle.leaf_hash(middle.leaf), proof, tree.root())
        restored.append(merkle.leaf_hash(b"next"))
        tree.append(merkle.leaf_hash(b"next"))
        assert restored.root() == tree.root()
    finally:
        await store.close()


async def test_hits_come_by_token_and_through_the_issuers_own_links_alone(store: SqliteStore) -> None:
    phone, card, other = os.urandom(32), os.urandom(32), os.urandom(32)
    rows = [
        row(place(0, 0), token=card, code="card-leaked"),
        row(place(0, 1), token=phone, code="same-subject"),
        row(place(0, 2), token=card, code="mule-account", issuer="bank-south"),
        row(place(0, 3), token=card, code="device-farm", expires_at=NOW + 1),
    ]
    delta = batch(0, rows)
    delta.links = [
        Link(card, 3, 1, phone, "bank-north", 0, 3, place(0, 1), LATER),
        Link(phone, 1, 1, card, "bank-north", 0, 3, place(0, 1), LATER),
    ]
    await store.commit(delta)
    hits = await store.hits([phone, card, other, card], NOW + 5)
    assert sorted(hit.code for hit in hits[card]) == ["card-leaked", "mule-account", "same-subject"]
    assert sorted((hit.code, hit.type) for hit in hits[phone]) == [("card-leaked", 1), ("same-subject", 3)]
    assert other not in hits
    states = await store.signals([rows[0].signal_id])
    assert await store.linked_tokens(list(states.values())) == {place(0, 0): [(phone, 0)]}
    assert await store.hits([card], LATER) == {}


async def test_many_tokens_at_once(store: SqliteStore) -> None:
    rows = [row(place(0, position)) for position in range(1000)]
    await store.commit(batch(0, rows))
    asked = [r.token for r in rows] + [os.urandom(32) for _ in range(40_000)]
    assert len(await store.hits(asked, NOW)) == 1000


async def test_what_is_erased_is_in_no_file(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path)
    try:
        secrets_, nonces = [], []
        for index in range(6):
            rows = [row(place(index, position)) for position in range(300)]
            delta = batch(index, rows)
            delta.links = [
                Link(os.urandom(32), 1, 1, r.token, r.issuer, 0, 3, r.place, LATER) for r in rows[:20]
            ]
            await store.commit(delta)
            secrets_ += [(r.place, value) for r in rows for value in (r.token, r.nonce, r.body)]
            nonces += [r.nonce for r in rows]
            secrets_ += [(link.place, link.token) for link in delta.links]
        content = everything(tmp_path)
        assert all(value in content for _, value in secrets_)
        doomed = {place(index, position) for index in range(6) for position in range(0, 300, 2)}
        await store.commit(Delta(erased=sorted(doomed)))
        await store.forget_traces()
        content = everything(tmp_path)
        left = [value for at, value in secrets_ if at in doomed and value in content]
        # Once in dozens of runs a page split of an index has left one token in unused space (threat model).
        assert len(left) <= 2
        assert all(len(value) == 32 for value in left)
        assert not set(left) & set(nonces)
        assert all(value in content for at, value in secrets_ if at not in doomed and at % 2)
    finally:
        await store.close()


async def test_tombstones_stay(store: SqliteStore) -> None:
    rows = [row(place(0, position), expires_at=NOW + 300 * (1 + position)) for position in range(3)]
    await store.commit(batch(0, rows))
    await store.commit(Delta(withdrawn=[rows[0].place], erased=[rows[1].place], expired=[rows[2].place]))
    states = await store.signals([r.signal_id for r in rows])
    assert [(states[r.signal_id].status, states[r.signal_id].erased) for r in rows] == [
        (Status.WITHDRAWN, False),
        (Status.WITHDRAWN, True),
        (Status.EXPIRED, True),
    ]
    assert await store.hits([r.token for r in rows], NOW) == {}
    assert len(await store.known_signals([r.signal_id for r in rows])) == 3


async def test_expiry_comes_due_batch_by_batch(store: SqliteStore) -> None:
    rows = [row(place(0, position), expires_at=NOW + 300 * (position % 3 + 1)) for position in range(30)]
    await store.commit(batch(0, rows))
    assert await store.due(NOW, 100) == ([], [])
    for step in (1, 2, 3):
        now = NOW + 300 * step
        due, batches = await store.due(now, 100)
        assert sorted(state.place % 3 for state in due) == [step - 1] * 10
        await store.commit(
            Delta(expired=[s.place for s in due], rescheduled=[(entry_, was, now) for entry_, was in batches])
        )
        assert await store.due(now, 100) == ([], [])
    assert await store.due(NOW * 2, 100) == ([], [])


async def test_events_keep_their_order_and_their_positions(store: SqliteStore) -> None:
    def news(member: str, at: int) -> Event:
        return Event(member, os.urandom(16), 1, False, 3, 1, os.urandom(32), at)

    first = [news("a" if number % 2 else "b", NOW + number) for number in range(20)]
    await store.commit(Delta(events=first))
    stored = await store.events("a", 0, 100)
    assert [each.event for each in stored] == [event for event in first if event.member == "a"]
    assert await store.events("a", stored[3].position, 2) == stored[4:6]
    old = await store.old_events(NOW + 10)
    await store.commit(Delta(forgotten_events=old))
    assert await store.event_bounds() == (10, 20)
    assert await store.old_events(NOW + 10) == 0
    await store.commit(Delta(forgotten_events=20))
    await store.commit(Delta(events=[news("a", NOW + 99)]))
    assert [each.position for each in await store.events("a", 0, 9)] == [21]


async def test_access_records_lose_their_content_after_their_term_only(store: SqliteStore) -> None:
    await store.commit(
        Delta(
            entries=[
                entry(0, type_=1),
                entry(1, type_=5, shown=1),
                entry(2, type_=3),
                entry(3, type_=5, shown=1),
            ]
        )
    )
    until = await store.old_access(NOW + 3, 100)
    assert until == 3
    await store.commit(Delta(forgotten_access=until))
    assert [bool(each.payload_opening) for each in await store.entries([0, 1, 2, 3])] == [
        True,
        False,
        True,
        True,
    ]
    assert [shown.payload for shown in await store.shown(0, 4)] == [b"p"]
    assert await store.old_access(NOW + 3, 100) == 0


async def test_subscriptions(store: SqliteStore) -> None:
    token = os.urandom(32)
    rows = [Subscription(token, member, 3, 1, "investigation", LATER) for member in ("a", "b")]
    await store.commit(Delta(subscriptions=rows))
    await store.commit(Delta(subscriptions=[rows[0]._replace(expires_at=LATER + 1)]))
    assert len((await store.subscribers([token, bytes(32)], NOW))[token]) == 2
    assert await store.subscription_count("a", NOW, [bytes(32)]) == 1
    assert await store.subscription_count("a", NOW, [token]) == 0
    await store.commit(Delta(lapsed=LATER))
    assert [r.member for r in (await store.subscribers([token], NOW))[token]] == ["a"]
    await store.commit(Delta(unsubscribed=[(token, "a")]))
    assert await store.subscribers([token], NOW) == {}


async def test_orders_and_batches_are_found_again(store: SqliteStore) -> None:
    await store.commit(
        Delta(orders=[Order("a", bytes(16), b"d", 7)], batches=[Batch("a", bytes(16), b"r", 3, NOW)])
    )
    assert await store.order("a", bytes(16)) == Order("a", bytes(16), b"d", 7)
    assert await store.order("b", bytes(16)) is None
    assert await store.batches([("a", bytes(16)), ("b", bytes(16))]) == {
        ("a", bytes(16)): Batch("a", bytes(16), b"r", 3, NOW)
    }


async def test_one_process_holds_the_folder(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="in use"):
        await SqliteStore.open(tmp_path)


async def test_secrets_are_made_once(tmp_path: Path) -> None:
    values = []
    for _ in range(2):
        store = await SqliteStore.open(tmp_path)
        values.append(await store.secret("resume"))
        await store.close()
    assert values[0] == values[1]
    assert len(values[0]) == 32


async def test_a_newer_database_and_one_that_is_none_are_refused_by_name(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path)
    await store.close()
    database = sqlite3.connect(tmp_path / FILE)
    database.execute("PRAGMA user_version = 999")
    database.close()
    with pytest.raises(ConfigError, match="newer"):
        await SqliteStore.open(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / FILE).write_bytes(b"not a database" * 500)
    with pytest.raises(ConfigError, match=str(tmp_path / "other")):
        await SqliteStore.open(tmp_path / "other")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=str(tmp_path / "file")):
        await SqliteStore.open(tmp_path / "file" / "data")
