"""Withdrawal, erasure and watching: who is told what, once, and what is left."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from signalexchange.rulebook import Rulebook, default_text
from signalexchange.v1.identifier_pb2 import PartyKind
from signalexchange.v1.log_entry_pb2 import WithdrawalEntry
from signalexchange.v1.signal_pb2 import Signal, WithdrawalReason
from signalexchange.v1.signal_service_pb2 import (
    SignalChange,
    UnsubscribeRequest,
    WatchSignalsRequest,
    WatchSignalsResponse,
)
from signalexchange.v1.transparency_service_pb2 import OpenEntriesRequest

from exchange.domain.records import Shown
from exchange.storage.sqlite import SqliteStore
from exchange.usecases.expire import expire
from tests.support.exchange import Running, deploy, refused, serving
from tests.support.members import CARD, DAY, look_up, signal, subject, subscribe

NORTH, SOUTH, PAY, SHOP = "bank-north", "bank-south", "pay-lotus", "shop-river"
ERASURE = WithdrawalReason.WITHDRAWAL_REASON_ERASURE
WITHDRAWN, RECORDED, EXPIRED = (
    SignalChange.SIGNAL_CHANGE_WITHDRAWN,
    SignalChange.SIGNAL_CHANGE_RECORDED,
    SignalChange.SIGNAL_CHANGE_EXPIRED,
)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path)) as running:
        yield running


async def publish(hub: Running, member: str, *signals: Signal) -> None:
    await hub[member].signals.PublishSignals(hub.pen(member).batch(signals), timeout=10)


class Watch:
    """A member's open watch."""

    def __init__(self, hub: Running, member: str, token: bytes = b"") -> None:
        self._call = hub[member].signals.WatchSignals(WatchSignalsRequest(resume_token=token))

    async def next(self) -> WatchSignalsResponse:
        event: WatchSignalsResponse = await asyncio.wait_for(self._call.read(), 10)
        return event

    async def quiet(self) -> bool:
        """Whether nothing comes for a while."""
        try:
            await asyncio.wait_for(self._call.read(), 0.2)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._call.cancel()


async def watching(hub: Running, member: str, token: bytes = b"") -> tuple[Watch, bytes]:
    """A watch that has begun, and where."""
    watch = Watch(hub, member, token)
    first = await watch.next()
    assert not first.signal_id
    return watch, first.resume_token


async def test_everybody_who_was_shown_a_signal_is_told_and_nobody_else(hub: Running) -> None:
    token = os.urandom(32)
    secret = os.urandom(32)
    shown, hidden = signal(token), signal(secret, audience=[PartyKind.PARTY_KIND_BANK])
    await publish(hub, NORTH, shown, hidden)
    await publish(hub, PAY, signal(secret))
    await hub[SOUTH].signals.LookUpSubjects(look_up([token]))
    await hub[SOUTH].signals.LookUpSubjects(look_up([token]))
    await hub[SHOP].signals.LookUpSubjects(look_up([secret]))
    watches = {member: (await watching(hub, member))[0] for member in (NORTH, SOUTH, PAY, SHOP)}
    request = hub.pen(NORTH).withdrawal([shown.signal_id, hidden.signal_id])
    response = await hub[NORTH].signals.WithdrawSignals(request, timeout=10)
    own = {(await watches[NORTH].next()).signal_id for _ in range(2)}
    assert own == {shown.signal_id, hidden.signal_id}
    event = await watches[SOUTH].next()
    assert (event.signal_id, event.change, event.own) == (shown.signal_id, WITHDRAWN, False)
    assert event.subject == subject(token)
    # The shop had a hit on the token, but not by the signal that was for banks alone.
    assert all(await asyncio.gather(*(watch.quiet() for watch in watches.values())))
    assert not (await hub[SOUTH].signals.LookUpSubjects(look_up([token]))).subjects
    again = await hub[NORTH].signals.WithdrawSignals(request, timeout=10)
    assert again.repeated_order
    assert again.receipt.index == response.receipt.index
    entry = OpenEntriesRequest(indices=[response.receipt.index])
    (opened,) = (await hub[NORTH].log.OpenEntries(entry)).entries
    payload = WithdrawalEntry.FromString(opened.payload)
    assert {(p.index, p.position) for p in payload.positions} == {(1, 0), (1, 1)}
    assert not payload.erased


async def test_orders_that_are_refused(hub: Running) -> None:
    mine, foreign = signal(), signal()
    await publish(hub, NORTH, mine)
    await publish(hub, SOUTH, foreign)
    north = hub.pen(NORTH)

    async def reason(request: Any) -> str:
        return (await refused(hub[NORTH].signals.WithdrawSignals(request))).reason

    assert await reason(north.withdrawal([mine.signal_id, foreign.signal_id])) == "SIGNAL_UNKNOWN"
    assert await reason(north.withdrawal([os.urandom(16)])) == "SIGNAL_UNKNOWN"
    assert await reason(hub.pen(SOUTH).withdrawal([foreign.signal_id])) == "WRONG_MEMBER"
    unsigned = north.withdrawal([mine.signal_id])
    unsigned.signature = bytes(64)
    assert await reason(unsigned) == "SIGNATURE_INVALID"
    order_id = os.urandom(16)
    await hub[NORTH].signals.WithdrawSignals(north.withdrawal([mine.signal_id], order_id=order_id))
    assert await reason(north.withdrawal([mine.signal_id], ERASURE, order_id=order_id)) == "ID_REUSED"
    (risk,) = (await hub[NORTH].signals.LookUpSubjects(look_up([foreign.subject.value]))).subjects
    assert risk.groups == 1


async def test_an_order_that_will_be_refused_costs_no_walk_through_the_log(
    hub: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, foreign = signal(), signal()
    await publish(hub, NORTH, mine)
    await publish(hub, SOUTH, foreign)
    walks: list[int] = []

    async def shown(store: SqliteStore, start: int, stop: int) -> list[Shown]:
        walks.append(start)
        return []

    monkeypatch.setattr(SqliteStore, "shown", shown)
    north, order_id = hub.pen(NORTH), os.urandom(16)
    call = hub[NORTH].signals.WithdrawSignals
    for ids in ([mine.signal_id, foreign.signal_id], [foreign.signal_id], [mine.signal_id, os.urandom(16)]):
        assert (await refused(call(north.withdrawal(ids)))).reason == "SIGNAL_UNKNOWN"
    assert not walks
    other = signal()
    await publish(hub, NORTH, other)
    await call(north.withdrawal([mine.signal_id], order_id=order_id))
    assert walks
    walks.clear()
    reused = north.withdrawal([mine.signal_id, other.signal_id], order_id=order_id)
    assert (await refused(call(reused))).reason == "ID_REUSED"
    assert not walks


async def test_erasure_leaves_no_content_in_any_file_and_a_tombstone(hub: Running) -> None:
    signals = [signal(sealed_detail=os.urandom(600)) for _ in range(40)]
    await publish(hub, NORTH, *signals)
    gone, kept = signals[::2], signals[1::2]
    folder = hub.deployment.hub_config.parent / "data"

    def files() -> bytes:
        return b"".join(path.read_bytes() for path in folder.iterdir())

    before = files()
    assert all(each.sealed_detail in before for each in signals)
    # Withdrawn first, erased by a later order: that must erase too.
    await hub[NORTH].signals.WithdrawSignals(hub.pen(NORTH).withdrawal([gone[0].signal_id]))
    request = hub.pen(NORTH).withdrawal([each.signal_id for each in gone], ERASURE)
    await hub[NORTH].signals.WithdrawSignals(request, timeout=20)
    after = files()
    for each in gone:
        assert each.sealed_detail not in after
        assert each.subject.value not in after
        assert each.record_commitment not in after
    assert all(each.sealed_detail in after for each in kept)
    reused = hub.pen(NORTH).batch([signal(signal_id=gone[0].signal_id)])
    assert (await refused(hub[NORTH].signals.PublishSignals(reused))).reason == "SIGNAL_ID_REUSED"
    again = hub.pen(NORTH).withdrawal([each.signal_id for each in gone], ERASURE)
    assert not (await hub[NORTH].signals.WithdrawSignals(again)).repeated_order


async def test_subscribers_are_told_of_new_signals_they_may_see(hub: Running) -> None:
    token, linked = os.urandom(32), os.urandom(32)
    for member in (SOUTH, SHOP, NORTH):
        response = await hub[member].signals.Subscribe(subscribe([token, linked]))
        assert response.expires_at > 0
    south, _ = await watching(hub, SOUTH)
    shop, _ = await watching(hub, SHOP)
    north, _ = await watching(hub, NORTH)
    message = signal(token, audience=[PartyKind.PARTY_KIND_BANK])
    await publish(hub, NORTH, message, signal())
    event = await south.next()
    assert (event.signal_id, event.change, event.own) == (message.signal_id, RECORDED, False)
    assert event.subject == subject(token)
    joined = signal(links=[subject(linked)])
    await publish(hub, PAY, joined)
    event = await south.next()
    assert (event.signal_id, event.subject) == (joined.signal_id, subject(linked))
    # Neither the audience that was left out, nor the publisher's own group.
    assert (await shop.next()).signal_id == joined.signal_id
    assert (await north.next()).signal_id == joined.signal_id
    await hub[NORTH].signals.WithdrawSignals(hub.pen(NORTH).withdrawal([message.signal_id]))
    assert (await south.next()).change == WITHDRAWN
    removed = await hub[SOUTH].signals.Unsubscribe(UnsubscribeRequest(type=CARD, epoch=1, tokens=[token]))
    assert removed.removed == 1
    await publish(hub, PAY, signal(token))
    assert await south.quiet()


async def test_only_who_could_use_the_link_is_told_of_a_withdrawal(hub: Running) -> None:
    token, linked = os.urandom(32), os.urandom(32)
    about = signal(token)
    joined = signal(linked, links=[subject(token)], audience=[PartyKind.PARTY_KIND_BANK])
    await publish(hub, NORTH, about, joined)
    await publish(hub, PAY, signal(linked))
    for member in (SOUTH, SHOP):
        assert (await hub[member].signals.LookUpSubjects(look_up([linked]), timeout=10)).subjects
    south, _ = await watching(hub, SOUTH)
    shop, _ = await watching(hub, SHOP)
    await hub[NORTH].signals.WithdrawSignals(hub.pen(NORTH).withdrawal([about.signal_id]), timeout=10)
    assert (await south.next()).signal_id == about.signal_id
    assert await shop.quiet()


async def test_a_quiet_members_watch_is_moved_on_and_never_too_old(tmp_path: Path) -> None:
    start = 1_500_000_000
    deployment = deploy(tmp_path, clock=start, epochs={1: (start, start + 400 * DAY)})
    async with serving(deployment) as hub:

        async def others_news() -> None:
            message = signal(now=hub.hub._exchange.clock())
            await publish(hub, NORTH, message)
            await hub[NORTH].signals.WithdrawSignals(
                hub.pen(NORTH).withdrawal([message.signal_id]), timeout=10
            )

        await others_news()
        watch, token = await watching(hub, SOUTH)
        watch.close()
        for day in (0, 20, 40):  # 30 days are kept
            deployment.clock.write_text(str(start + day * DAY))
            await others_news()
            await expire(hub.hub._exchange)
            watch, token = await watching(hub, SOUTH, token)
        # One that stays open is moved on too, with the day.
        deployment.clock.write_text(str(start + 60 * DAY))
        daily = await watch.next()
        assert not daily.signal_id
        deployment.clock.write_text(str(start + 85 * DAY))
        await others_news()
        await expire(hub.hub._exchange)
        again, _ = await watching(hub, SOUTH, daily.resume_token)
        assert await again.quiet()


async def test_a_watch_resumes_where_it_was_and_over_a_restart(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    signals = [signal() for _ in range(300)]
    async with serving(deployment) as hub:
        await publish(hub, NORTH, *signals)
        watch, start = await watching(hub, NORTH)
        order = hub.pen(NORTH).withdrawal([each.signal_id for each in signals])
        await hub[NORTH].signals.WithdrawSignals(order, timeout=10)
        seen = [await watch.next() for _ in range(300)]
        assert len({each.signal_id for each in seen}) == 300
        watch.close()
    async with serving(deployment) as hub:
        watch, _ = await watching(hub, NORTH, start)
        assert [(await watch.next()).signal_id for _ in range(300)] == [each.signal_id for each in seen]
        later, _ = await watching(hub, NORTH, seen[290].resume_token)
        assert [(await later.next()).signal_id for _ in range(9)] == [each.signal_id for each in seen[291:]]
        assert await later.quiet()
        for token in (os.urandom(36), b"short", seen[0].resume_token[:-1]):
            assert (await refused(Watch(hub, NORTH, token).next())).reason == "RESUME_INVALID"
        assert (await refused(Watch(hub, SOUTH, seen[0].resume_token).next())).reason == "RESUME_INVALID"


async def test_expiry_tells_the_issuer_and_old_tokens_start_again(tmp_path: Path) -> None:
    start = 1_500_000_000
    deployment = deploy(tmp_path, clock=start, epochs={1: (start, start + 400 * DAY)})
    async with serving(deployment) as hub:
        message = signal(now=start)
        await publish(hub, NORTH, message)
        watch, begin = await watching(hub, NORTH)
        deployment.clock.write_text(str(start + 31 * DAY))
        event = await watch.next()
        assert (event.signal_id, event.change, event.own) == (message.signal_id, EXPIRED, True)
        watch.close()
        folder = deployment.hub_config.parent / "data"
        states = await hub.hub._store.signals([message.signal_id])
        assert states[message.signal_id].erased
        assert folder.exists()
        deployment.clock.write_text(str(start + 62 * DAY))
        for _ in range(50):
            if (await hub.hub._store.event_bounds())[0]:
                break
            await asyncio.sleep(0.1)
        assert (await refused(resume_all(hub, begin))).reason == "RESUME_TOO_OLD"
        resumed, _ = await watching(hub, NORTH, event.resume_token)
        assert await resumed.quiet()


async def resume_all(hub: Running, token: bytes) -> None:
    watch = Watch(hub, NORTH, token)
    while True:
        await watch.next()


async def test_quotas(tmp_path: Path) -> None:
    rulebook = Rulebook.parse(default_text())
    limits = rulebook.limits.model_copy(update={"subscriptions": 5, "streams": 2})
    async with serving(
        deploy(tmp_path, rulebook=rulebook.model_copy(update={"limits": limits}).text())
    ) as hub:
        tokens = [os.urandom(32) for _ in range(5)]
        await hub[SOUTH].signals.Subscribe(subscribe(tokens))
        await hub[SOUTH].signals.Subscribe(subscribe(tokens))
        refusal = await refused(hub[SOUTH].signals.Subscribe(subscribe([os.urandom(32)])))
        assert refusal.reason == "QUOTA_EXCEEDED"
        kept = [await watching(hub, SOUTH) for _ in range(2)]
        assert (await refused(Watch(hub, SOUTH).next())).reason == "QUOTA_EXCEEDED"
        kept[0][0].close()
        await asyncio.sleep(0.1)
        await watching(hub, SOUTH)
