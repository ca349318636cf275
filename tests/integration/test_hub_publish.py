"""Publishing over mTLS: stored and logged as one, idempotent, refused whole."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from signalexchange.checkpoint import open_checkpoint
from signalexchange.v1.signal_service_pb2 import PublishSignalsRequest
from signalexchange.v1.transparency_service_pb2 import GetCheckpointRequest, OpenEntriesRequest

from tests.support.exchange import Running, deploy, refused, serving
from tests.support.members import DAY, look_up, signal

NORTH, SOUTH, SHOP = "bank-north", "bank-south", "shop-river"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path)) as running:
        yield running


async def log_size(hub: Running) -> int:
    note = (await hub[NORTH].log.GetCheckpoint(GetCheckpointRequest())).checkpoint
    roster = hub.hub._exchange.membership.roster
    return open_checkpoint(note, roster.log_verifier, roster.origin).size


async def test_a_full_batch_is_acknowledged_with_receipt_and_answers_look_ups(hub: Running) -> None:
    signals = [signal() for _ in range(1000)]
    request = hub.pen(NORTH).batch(signals)
    response = await hub[NORTH].signals.PublishSignals(request, timeout=20)
    assert not response.repeated_batch
    assert response.receipt.index == 1
    assert (
        response.receipt.checkpoint == (await hub[NORTH].log.GetCheckpoint(GetCheckpointRequest())).checkpoint
    )
    tokens = [each.subject.value for each in signals]
    answer = await hub[SOUTH].signals.LookUpSubjects(look_up(tokens), timeout=20)
    assert [risk.token for risk in answer.subjects] == sorted(tokens)
    # The batch's entry holds what was signed, and no token.
    (opened,) = (await hub[NORTH].log.OpenEntries(OpenEntriesRequest(indices=[1]))).entries
    assert request.statement in opened.payload
    assert not any(token in opened.payload for token in tokens)


async def test_the_same_batch_is_one_batch(hub: Running) -> None:
    request = hub.pen(NORTH).batch([signal(), signal()])
    first, *others = await asyncio.gather(
        *(hub[NORTH].signals.PublishSignals(request, timeout=10) for _ in range(8))
    )
    assert {each.receipt.index for each in others} == {first.receipt.index}
    assert sum(not each.repeated_batch for each in (first, *others)) == 1
    assert await log_size(hub) == 2


async def test_a_batch_id_with_other_content_is_refused(hub: Running) -> None:
    batch_id = os.urandom(16)
    await hub[NORTH].signals.PublishSignals(hub.pen(NORTH).batch([signal()], batch_id=batch_id))
    other = hub.pen(NORTH).batch([signal()], batch_id=batch_id)
    assert (await refused(hub[NORTH].signals.PublishSignals(other))).reason == "ID_REUSED"
    # Ids are a member's own.
    mine = hub.pen(SOUTH).batch([signal()], batch_id=batch_id)
    assert not (await hub[SOUTH].signals.PublishSignals(mine)).repeated_batch


async def test_a_signal_id_is_never_used_twice(hub: Running) -> None:
    message = signal()
    await hub[NORTH].signals.PublishSignals(hub.pen(NORTH).batch([message]))
    for member in (NORTH, SOUTH):
        request = hub.pen(member).batch([signal(), message])
        refusal = await refused(hub[member].signals.PublishSignals(request))
        assert refusal.reason == "SIGNAL_ID_REUSED"
        assert refusal.fields == ["signals[1].signal_id"]


async def test_a_repeated_batch_is_known_although_it_would_not_pass_any_more(tmp_path: Path) -> None:
    start = 1_500_000_000
    deployment = deploy(tmp_path, clock=start, epochs={1: (start - DAY, start + DAY)})
    async with serving(deployment) as hub:
        request = hub.pen(NORTH).batch([signal(now=start)])
        index = (await hub[NORTH].signals.PublishSignals(request)).receipt.index
        deployment.clock.write_text(f"{start + 200 * DAY}\n")
        again = await hub[NORTH].signals.PublishSignals(request)
        assert again.repeated_batch
        assert again.receipt.index == index
        late = hub.pen(NORTH).batch([signal(now=start)])
        assert (await refused(hub[NORTH].signals.PublishSignals(late))).reason == "INVALID_REQUEST"


async def test_bad_batches_are_refused_whole_and_nothing_is_stored(hub: Running) -> None:
    good = signal()
    north = hub.pen(NORTH)

    async def refuse(request: PublishSignalsRequest, reason: str, *fields: str, member: str = NORTH) -> None:
        refusal = await refused(hub[member].signals.PublishSignals(request, timeout=20))
        assert refusal.reason == reason
        if fields:
            assert refusal.fields == list(fields)

    await refuse(PublishSignalsRequest(), "INVALID_REQUEST", "signals")
    too_many = north.batch([signal() for _ in range(1000)])
    too_many.signals.append(too_many.signals[0])
    await refuse(too_many, "INVALID_REQUEST", "signals")
    wrong = [good, signal(epoch=9), signal(code="gossip"), signal(confidence=101)]
    await refuse(
        north.batch(wrong),
        "INVALID_REQUEST",
        "signals[1].subject.epoch",
        "signals[1].subject.epoch",
        "signals[2].code",
        "signals[3].confidence",
    )
    await refuse(north.batch([signal(epoch=9)], epoch=9), "EPOCH_NOT_VALID", "signals[0].subject.epoch")
    leaked = [good, signal(code="card-leaked", grade=3)]
    await refuse(hub.pen(SHOP).batch(leaked), "CODE_NOT_ALLOWED", "signals[1].code", member=SHOP)
    unsigned = north.batch([good])
    unsigned.ClearField("signature")
    await refuse(unsigned, "SIGNATURE_INVALID")
    await refuse(hub.pen(SOUTH).batch([good]), "WRONG_MEMBER")
    altered = north.batch([good])
    altered.signals[0].signal = signal().SerializeToString()
    await refuse(altered, "INVALID_REQUEST", "statement")
    dropped = north.batch([good, signal()])
    del dropped.signals[1]
    await refuse(dropped, "INVALID_REQUEST", "statement")
    await refuse(
        PublishSignalsRequest(statement=b"\xff", signature=bytes(64), signals=altered.signals),
        "INVALID_REQUEST",
        "statement",
    )
    answer = await hub[SOUTH].signals.LookUpSubjects(look_up([good.subject.value]))
    assert not answer.subjects
    await hub[NORTH].signals.PublishSignals(north.batch([good]))


async def test_a_thousand_violations_fit_into_the_trailers(hub: Running) -> None:
    bad = [signal(confidence=101, tlp=0, amount_band=300) for _ in range(1000)]
    refusal = await refused(hub[NORTH].signals.PublishSignals(hub.pen(NORTH).batch(bad), timeout=20))
    assert refusal.total == 3000
    assert len(refusal.violations) == 32


async def test_many_members_at_once(hub: Running) -> None:
    members = [NORTH, SOUTH, SHOP, "pay-lotus"]
    requests = [(m, hub.pen(m).batch([signal() for _ in range(20)])) for m in members for _ in range(10)]
    answers = await asyncio.gather(*(hub[m].signals.PublishSignals(r, timeout=20) for m, r in requests))
    assert sorted(answer.receipt.index for answer in answers) == list(range(1, 41))
