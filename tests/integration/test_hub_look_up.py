"""Looking up: what may be seen by whom, for which purpose, and its record on the log."""

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from signalexchange.v1.identifier_pb2 import PartyKind
from signalexchange.v1.log_entry_pb2 import AccessEntry, RefusalEntry
from signalexchange.v1.signal_pb2 import Signal
from signalexchange.v1.signal_service_pb2 import Action, LookUpSubjectsResponse
from signalexchange.v1.transparency_service_pb2 import OpenEntriesRequest

from exchange.provision import FOUNDERS, PartySpec
from tests.support.exchange import Running, deploy, refused, serving
from tests.support.members import CARD, DAY, MERCHANT, look_up, signal, subject

NORTH, SOUTH, PAY, SHOP, SISTER = "bank-north", "bank-south", "pay-lotus", "shop-river", "bank-sister"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    sister = PartySpec(SISTER, "bank", "north-holding")
    async with serving(deploy(tmp_path, parties=(*FOUNDERS, sister))) as running:
        yield running


async def publish(hub: Running, member: str, *signals: Signal) -> None:
    await hub[member].signals.PublishSignals(hub.pen(member).batch(signals), timeout=10)


async def ask(hub: Running, member: str, *tokens: bytes, **changes: Any) -> LookUpSubjectsResponse:
    answer: LookUpSubjectsResponse = await hub[member].signals.LookUpSubjects(
        look_up(tokens, **changes), timeout=10
    )
    return answer


async def test_ones_own_group_is_left_out(hub: Running) -> None:
    token = os.urandom(32)
    await publish(hub, NORTH, signal(token))
    assert not (await ask(hub, NORTH, token)).subjects
    assert not (await ask(hub, SISTER, token)).subjects
    (risk,) = (await ask(hub, SOUTH, token)).subjects
    assert risk.groups == 1
    assert risk.advice <= Action.ACTION_AUTHENTICATE
    # Two members of one group corroborate nothing.
    await publish(hub, SISTER, signal(token))
    (risk,) = (await ask(hub, SOUTH, token)).subjects
    assert risk.groups == 1
    await publish(hub, PAY, signal(token))
    (risk,) = (await ask(hub, SOUTH, token)).subjects
    assert risk.groups == 2
    (risk,) = (await ask(hub, PAY, token)).subjects
    assert risk.groups == 1


async def test_audience_and_purpose_decide_what_is_seen(hub: Running) -> None:
    for_banks, leaked = os.urandom(32), os.urandom(32)
    await publish(hub, NORTH, signal(for_banks, audience=[PartyKind.PARTY_KIND_BANK]))
    await publish(hub, NORTH, signal(leaked, code="card-leaked", grade=3))
    assert len((await ask(hub, SOUTH, for_banks)).subjects) == 1
    assert not (await ask(hub, SHOP, for_banks)).subjects
    assert len((await ask(hub, SHOP, leaked)).subjects) == 1
    assert not (await ask(hub, SOUTH, leaked, purpose="credit-decision")).subjects


async def test_a_token_counts_only_as_what_it_was_published_as(hub: Running) -> None:
    token = os.urandom(32)
    await publish(hub, NORTH, signal(token))
    assert not (await ask(hub, SOUTH, token, type_=MERCHANT)).subjects


async def test_links_join_only_the_issuers_own_signals(hub: Running) -> None:
    card, merchant = os.urandom(32), os.urandom(32)
    await publish(hub, NORTH, signal(card), signal(merchant, subject=subject(merchant, type_=MERCHANT)))
    await publish(hub, PAY, signal(card))
    assert (await ask(hub, SOUTH, merchant, type_=MERCHANT)).subjects[0].groups == 1
    alone = (await ask(hub, SOUTH, merchant, type_=MERCHANT)).subjects[0].score
    link = signal(
        code="same-subject", grade=3, subject=subject(card), links=[subject(merchant, type_=MERCHANT)]
    )
    await publish(hub, NORTH, link)
    (risk,) = (await ask(hub, SOUTH, merchant, type_=MERCHANT)).subjects
    assert risk.groups == 1
    assert risk.score > alone
    (risk,) = (await ask(hub, SOUTH, card)).subjects
    assert risk.groups == 2
    assert [reason.code for reason in risk.reasons] == ["cash-out-suspected"]


async def test_a_links_audience_and_marking_hold_for_what_is_found_through_it(hub: Running) -> None:
    card, merchant = os.urandom(32), os.urandom(32)
    about = signal(merchant, subject=subject(merchant, type_=MERCHANT), tlp=1)
    link: dict[str, Any] = {"code": "same-subject", "grade": 3, "links": [subject(merchant, type_=MERCHANT)]}
    banks = [PartyKind.PARTY_KIND_BANK]
    await publish(hub, NORTH, about, signal(card, tlp=4, audience=banks, **link))
    assert not (await ask(hub, SHOP, card)).subjects
    (alone,) = (await ask(hub, SOUTH, card)).subjects
    assert alone.handling == 4
    assert [(await ask(hub, SHOP, merchant, type_=MERCHANT)).subjects[0].handling] == [1]
    # A second link, for everybody: what both lead to counts once, under the milder marking.
    await publish(hub, NORTH, signal(card, tlp=2, **link))
    (risk,) = (await ask(hub, SHOP, card)).subjects
    (both,) = (await ask(hub, SOUTH, card)).subjects
    assert (risk.handling, both.handling) == (2, 2)
    assert risk.score == both.score == alone.score
    await hub[NORTH].signals.WithdrawSignals(hub.pen(NORTH).withdrawal([about.signal_id]), timeout=10)
    assert not (await ask(hub, SOUTH, card)).subjects


async def test_the_access_record_holds_hits_and_digests_and_no_miss(hub: Running) -> None:
    token, miss = os.urandom(32), os.urandom(32)
    await publish(hub, NORTH, signal(token))
    answer = await ask(hub, SOUTH, token, miss)
    request = OpenEntriesRequest(indices=[answer.receipt.index])
    (opened,) = (await hub[SOUTH].log.OpenEntries(request)).entries
    access = AccessEntry.FromString(opened.payload)
    assert (access.purpose, access.type, access.epoch, access.asked) == ("transaction-screening", CARD, 1, 2)
    assert access.hits == token
    asked = b"".join(sorted([token, miss]))
    assert access.request_digest == hashlib.sha256(answer.access_salt + asked).digest()
    risks = b"".join(risk.SerializeToString(deterministic=True) for risk in answer.subjects)
    assert access.answer_digest == hashlib.sha256(answer.access_salt + risks).digest()
    folder = hub.deployment.hub_config.parent / "data"
    stored = b"".join(path.read_bytes() for path in folder.iterdir())
    assert token in stored
    assert miss not in stored
    assert answer.access_salt not in stored
    assert miss not in hub.output.getvalue()
    assert miss.hex().encode() not in hub.output.getvalue()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"purpose": ""}, "PURPOSE_REQUIRED"),
        ({"purpose": "curiosity"}, "PURPOSE_NOT_ALLOWED"),
        ({"purpose": "credit-decision"}, "PURPOSE_NOT_ALLOWED"),
        ({"epoch": 2}, "EPOCH_NOT_VALID"),
        ({"type_": 0}, "INVALID_REQUEST"),
    ],
)
async def test_refusals_are_on_the_log(hub: Running, changes: dict[str, Any], reason: str) -> None:
    size = hub.hub._exchange.writer.head.tree.size
    refusal = await refused(hub[SHOP].signals.LookUpSubjects(look_up([os.urandom(32)], **changes)))
    assert refusal.reason == reason
    (opened,) = (await hub[SHOP].log.OpenEntries(OpenEntriesRequest(indices=[size]))).entries
    entry = RefusalEntry.FromString(opened.payload)
    assert (entry.method, entry.reason, entry.count) == (
        "/signalexchange.v1.SignalService/LookUpSubjects",
        reason,
        1,
    )


async def test_token_lists_that_are_wrong(hub: Running) -> None:
    request = look_up([os.urandom(32), os.urandom(32)])
    for tokens in ([], list(request.tokens)[::-1], [*request.tokens, request.tokens[1]], [b"short"]):
        changed = look_up([])
        changed.tokens.extend(tokens)
        assert (await refused(hub[SHOP].signals.LookUpSubjects(changed))).reason == "INVALID_REQUEST"


async def test_signals_decay_and_expire_by_the_clock(tmp_path: Path) -> None:
    start = 1_500_000_000
    deployment = deploy(tmp_path, clock=start, epochs={1: (start, start + 400 * DAY)})
    async with serving(deployment) as hub:
        token = os.urandom(32)
        await publish(hub, NORTH, *(signal(token, now=start) for _ in range(5)))
        (fresh,) = (await ask(hub, SOUTH, token)).subjects
        deployment.clock.write_text(str(start + 20 * DAY))
        (stale,) = (await ask(hub, SOUTH, token)).subjects
        assert stale.score < fresh.score
        assert stale.freshness_days == 20
        deployment.clock.write_text(str(start + 31 * DAY))
        assert not (await ask(hub, SOUTH, token)).subjects
