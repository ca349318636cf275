"""What matching stores on real SQLite: roles, echoes, what was shown, matches with their views and events."""

import os
import sqlite3
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import pytest

from exchange.domain.records import (
    Batch,
    Delta,
    InstanceRow,
    Link,
    MatchEvent,
    MatchRow,
    MatchView,
    NewSignal,
    Order,
    ShownToken,
    Status,
    Subscription,
    place,
)
from exchange.storage.sqlite import FILE, SqliteStore

NOW = 1_800_000_000
LATER = NOW + 3000
TODAY = NOW // 86_400


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path)
    yield store
    await store.close()


def row(
    at: int, token: bytes, *, issuer: str = "bank-north", role: int = 0, searched: bool = True
) -> NewSignal:
    return NewSignal(
        place=at,
        signal_id=os.urandom(16),
        issuer=issuer,
        token=token,
        type=3,
        epoch=1,
        code="mule-account",
        audience=0,
        confidence=80,
        grade=2,
        tlp=3,
        last_seen=NOW,
        expires_at=LATER,
        nonce=os.urandom(32),
        body=os.urandom(100),
        role=role,
        searched=searched,
        echo=at % 2 == 1,
    )


def match(number: int, status: int = 1) -> MatchRow:
    return MatchRow(number, bytes([number]) * 16, 1, status, NOW, NOW, b"\1", reported=True)


async def test_what_look_ups_do_not_find_costs_them_nothing(store: SqliteStore) -> None:
    token, linked = os.urandom(32), os.urandom(32)
    signals = [row(place(0, 0), token, role=2, searched=False), row(place(0, 1), token)]
    links = [Link(linked, 3, 1, token, "bank-north", 0, 3, place(0, 1), LATER)]
    await store.commit(Delta(signals=signals, links=links))
    for asked in (token, linked):
        assert [hit.place for hit in (await store.hits([asked], NOW))[asked]] == [place(0, 1)]
    (hit,) = (await store.hits([token], NOW))[token]
    assert hit.echo
    said, _ = await store.spoken("bank-north", [token], NOW)
    assert said == {token: 1}
    plan = await store._rows(
        "EXPLAIN QUERY PLAN SELECT place FROM signals WHERE token IN (?) AND status = 0 AND searched = 1",
        (token,),
    )
    assert "signals_by_token" in plan[0][3]


async def test_signals_with_a_role_come_in_order_until_they_are_gone(store: SqliteStore) -> None:
    signals = [row(place(3, at), os.urandom(32), role=at % 3) for at in range(10)]
    await store.commit(Delta(signals=signals))
    roles = [each for each in signals if each.role]
    first = await store.role_signals(0, place(4, 0), 4)
    rest = await store.role_signals(first[-1].place + 1, place(4, 0), 100)
    assert [(each.place, each.role, each.echo, each.body) for each in (*first, *rest)] == [
        (each.place, each.role, each.echo, each.body) for each in roles
    ]
    assert await store.role_signals(place(4, 0), place(9, 0), 10) == []
    await store.commit(Delta(withdrawn=[roles[0].place], erased=[roles[1].place], expired=[roles[2].place]))
    left = [each.place for each in roles[3:]]
    assert [each.place for each in await store.role_signals(0, place(4, 0), 100)] == left
    assert [each.place for each in await store.roles_at([each.place for each in signals])] == left


async def test_what_was_shown_to_a_group_is_kept_by_its_last_day(store: SqliteStore) -> None:
    tokens = sorted(os.urandom(32) for _ in range(50))
    await store.commit(Delta(shown=[ShownToken(token, "north", TODAY - 90) for token in tokens]))
    await store.commit(
        Delta(shown=[ShownToken(tokens[0], "north", TODAY), ShownToken(tokens[1], "south", TODAY)])
    )
    assert await store.shown_to("north", tokens, TODAY - 90) == set(tokens)
    assert await store.shown_to("north", tokens, TODAY - 89) == {tokens[0]}
    assert await store.shown_to("south", tokens, TODAY) == {tokens[1]}
    for first in range(256):
        await store.commit(Delta(forgotten_shown=(first, TODAY - 89)))
    assert await store.shown_to("north", tokens, 0) == {tokens[0]}
    assert await store.shown_to("south", tokens, 0) == {tokens[1]}


async def test_matches_are_written_changed_and_forgotten_with_all_that_hangs_on_them(
    store: SqliteStore,
) -> None:
    bodies = {key: os.urandom(40) for key in (b"a" * 16, b"b" * 16)}
    await store.commit(
        Delta(
            matches=[match(1), match(2)],
            match_instances=[InstanceRow(1, key, body) for key, body in bodies.items()],
            match_views=[MatchView("bank-north", 1, bytes(32)), MatchView("bank-north", 2, bytes(32))],
            match_events=[MatchEvent("bank-north", 1, NOW), MatchEvent("bank-north", 2, NOW)],
            spent=[(b"s" * 16, LATER)],
            matched_to=7,
        )
    )
    assert await store.matches() == [match(1), match(2)]
    assert await store.matched_to() == 7
    assert await store.spent() == [(b"s" * 16, LATER)]
    assert {each.key: each.body for each in await store.match_instances()} == bodies
    assert await store.matches_shown("bank-north", 0, 10, 0) == [
        (1, match(1).match_id),
        (2, match(2).match_id),
    ]
    assert await store.matches_shown("bank-north", 1, 10, 0) == [(2, match(2).match_id)]
    assert await store.matches_shown("bank-south", 0, 10, 0) == []
    assert await store.matches_of("bank-north", [match(2).match_id, bytes(16)]) == {match(2).match_id: 2}
    await store.commit(
        Delta(
            matches=[match(1, status=4)],
            match_instances_gone=[(1, b"a" * 16)],
            match_views=[MatchView("bank-north", 1, b"n" * 32)],
            matched_to=9,
        )
    )
    assert [each.key for each in await store.match_instances()] == [b"b" * 16]
    assert await store.match_views([1]) == [MatchView("bank-north", 1, b"n" * 32)]
    assert await store.matches_shown("bank-north", 0, 10, 4) == [(1, match(1).match_id)]
    assert [each.match_id for each in await store.match_events("bank-north", 0, 10)] == [
        match(1).match_id,
        match(2).match_id,
    ]
    await store.commit(Delta(forgotten_matches=[1], matched_to=10))
    assert await store.matches() == [match(2)]
    assert await store.match_instances() == []
    assert await store.match_views([1]) == []
    assert [each.event.number for each in await store.match_events("bank-north", 0, 10)] == [2]


async def test_old_match_events_go_and_positions_never_come_again(store: SqliteStore) -> None:
    old = [MatchEvent("a", 1, NOW - 100 + at) for at in range(3)]
    await store.commit(Delta(matches=[match(1)], match_events=old, matched_to=1))
    assert await store.old_match_events(NOW - 98) == 2
    await store.commit(Delta(forgotten_match_events=2))
    assert await store.match_event_bounds() == (2, 3)
    assert await store.event_bounds() == (0, 0)
    await store.commit(Delta(forgotten_match_events=3))
    await store.commit(Delta(match_events=[MatchEvent("a", 1, NOW)]))
    assert [each.position for each in await store.match_events("a", 0, 10)] == [4]


async def test_who_is_concerned_is_found_by_token(store: SqliteStore) -> None:
    token, linked, counter = (os.urandom(32) for _ in range(3))
    signals = [
        row(place(0, 0), token),
        row(place(0, 1), token, issuer="bank-south", role=2, searched=False),
        row(place(0, 2), counter, issuer="shop-river")._replace(epoch=2, expires_at=NOW),
    ]
    links = [Link(linked, 3, 2, token, "pay-lotus", 0, 3, place(0, 0), LATER)]
    subscriptions = [Subscription(token, "shop-river", 3, 1, "transaction-screening", LATER)]
    await store.commit(Delta(signals=signals, links=links, subscriptions=subscriptions))
    assert await store.issuers([token, linked, counter], NOW) == {
        token: {"bank-north": 1},
        linked: {"pay-lotus": 2},
    }
    assert await store.watchers([token, linked], NOW) == {token: subscriptions}
    assert await store.watchers([token], LATER) == {}


async def test_withdrawals_since_an_entry_are_known(store: SqliteStore) -> None:
    await store.commit(Delta(orders=[Order("a", bytes(16), bytes(32), 7)]))
    assert [await store.withdrawn_since(start) for start in (0, 7, 8)] == [True, True, False]


async def test_hypotheses_can_be_put_up_again_after_their_term(store: SqliteStore) -> None:
    await store.commit(Delta(spent=[(b"a" * 16, NOW), (b"b" * 16, NOW + 1)]))
    await store.commit(Delta(lapsed=NOW))
    assert await store.spent() == [(b"b" * 16, NOW + 1)]


async def test_a_database_from_before_matching_is_taken_over(tmp_path: Path) -> None:
    script = files("exchange.storage").joinpath("migrations", "0001_start.sql").read_text("utf-8")
    token = os.urandom(32)
    with sqlite3.connect(tmp_path / FILE) as old:
        old.executescript(f"{script}; PRAGMA user_version = 1;")
        old.execute(
            "INSERT INTO signals"
            " VALUES (?, ?, 'bank-north', ?, 3, 1, 'mule-account', 0, 80, 2, 3, ?, ?, 0, ?, ?)",
            (place(0, 0), bytes(16), token, NOW, LATER, bytes(32), b"body"),
        )
    old.close()
    store = await SqliteStore.open(tmp_path)
    try:
        (hit,) = (await store.hits([token], NOW))[token]
        assert not hit.echo
        assert await store.role_signals(0, 1 << 62, 10) == []
        assert (await store.matched_to(), await store.matches()) == (0, [])
        await store.commit(
            Delta(batches=[Batch("a", bytes(16), bytes(32), 1, LATER)], withdrawn=[place(0, 0)])
        )
        assert (await store.signals([bytes(16)]))[bytes(16)].status == Status.WITHDRAWN
    finally:
        await store.close()
