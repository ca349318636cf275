"""Members that use matching against others: they read amounts, repeat what they were shown, accuse alone,
look into others' matches, and flood. Over the real hub, with true signatures."""

import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from signalexchange.v1.match_service_pb2 import (
    GetMatchRequest,
    ListMatchesRequest,
    ListSetAsideRequest,
    Match,
    WatchMatchesRequest,
)
from signalexchange.v1.signal_pb2 import EvidenceGrade, Signal
from signalexchange.v1.signal_service_pb2 import ACTION_AUTHENTICATE

from exchange.provision import FOUNDERS, Deployment, PartySpec
from tests.support.exchange import Running, deploy, refused, serving
from tests.support.loops import IBAN, PHONE, TYPES, Loop, flow
from tests.support.members import SLOT, look_up, signal, subject

LENDER, BANK, OTHER_BANK, SHOP = "pay-lotus", "bank-north", "bank-south", "shop-river"
SISTER = "bank-north-sister"
PARTIES = (*FOUNDERS, PartySpec(SISTER, "bank", "north-holding"))
HYPOTHESES = 8


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return deploy(tmp_path, types=TYPES, parties=PARTIES)


@pytest.fixture
async def hub(deployment: Deployment) -> AsyncIterator[Running]:
    async with serving(deployment) as running:
        yield running


async def publish(hub: Running, member: str, *signals: Signal) -> None:
    await hub[member].signals.PublishSignals(hub.pen(member).batch(signals), timeout=20)


async def withdraw(hub: Running, member: str, ids: Iterable[bytes]) -> None:
    await hub[member].signals.WithdrawSignals(hub.pen(member).withdrawal(ids), timeout=20)


async def matches(hub: Running, member: str) -> list[Match]:
    """What the member is shown once all is matched."""
    await hub.hub._exchange.matching.settled()
    answer = await hub[member].matches.ListMatches(ListMatchesRequest(page_size=100), timeout=20)
    return list(answer.matches)


async def report(hub: Running, loop: Loop) -> list[Signal]:
    """A loop, as three groups report it."""
    signals = [loop.purchase(), loop.settlement(), loop.backflow()]
    for member, each in zip((LENDER, BANK, OTHER_BANK), signals, strict=True):
        await publish(hub, member, each)
    return signals


def straight_back(loop: Loop, band: int, slots: int = 6) -> Signal:
    """Money of a band from the merchant to the payer."""
    at = loop.start + slots * SLOT
    return flow("pass-through", loop.merchant, loop.payer, at, amount_band=band)


async def test_a_member_sees_of_a_match_nothing_but_its_own(hub: Running) -> None:
    loop = Loop()
    watch = hub[BANK].matches.WatchMatches(WatchMatchesRequest(), timeout=20)
    assert not (await watch.read()).HasField("match")
    signals = await report(hub, loop)
    (listed,) = await matches(hub, BANK)
    told = await watch.read()
    watch.cancel()
    got = await hub[BANK].matches.GetMatch(GetMatchRequest(match_id=listed.match_id), timeout=10)
    seen = listed.SerializeToString() + told.SerializeToString() + got.SerializeToString()
    assert loop.merchant.value in seen
    assert loop.mule.value in seen
    assert signals[1].signal_id in seen
    assert loop.payer.value not in seen
    for other in (signals[0], signals[2]):
        assert other.signal_id not in seen
        assert other.record_commitment not in seen
    for name in (LENDER, OTHER_BANK, "lotus-group", "south-holding"):
        assert name.encode() not in seen


async def test_a_match_of_others_is_no_different_from_none(hub: Running) -> None:
    await report(hub, Loop())
    (match,) = await matches(hub, BANK)
    assert not await matches(hub, SHOP)
    known = await refused(hub[SHOP].matches.GetMatch(GetMatchRequest(match_id=match.match_id), timeout=10))
    unknown = await refused(hub[SHOP].matches.GetMatch(GetMatchRequest(match_id=os.urandom(16)), timeout=10))
    assert known == unknown
    assert known.reason == "MATCH_UNKNOWN"


async def test_another_members_place_in_a_list_is_of_no_use(hub: Running) -> None:
    for _ in range(2):
        await report(hub, Loop())
    await matches(hub, BANK)
    page = await hub[BANK].matches.ListMatches(ListMatchesRequest(page_size=1), timeout=10)
    assert page.next_page_token
    for call in (
        hub[OTHER_BANK].matches.ListMatches(
            ListMatchesRequest(page_size=1, page_token=page.next_page_token), timeout=10
        ),
        hub[BANK].matches.ListSetAside(
            ListSetAsideRequest(page_size=1, page_token=page.next_page_token), timeout=10
        ),
    ):
        assert (await refused(call)).reason == "RESUME_INVALID"


@pytest.mark.parametrize("curious", [False, True], ids=["unaware", "shown"])
@pytest.mark.parametrize("over", ["nobody", "mule"])
async def test_who_was_shown_a_hit_corroborates_nothing_after(hub: Running, curious: bool, over: str) -> None:
    """The bank looks the payer up, is told that somebody suspects it, and now "sees" where its money went."""
    loop = Loop(payer=subject(type_=PHONE))
    await publish(hub, LENDER, loop.purchase())
    await publish(hub, SHOP, signal(subject=loop.payer))
    if curious:
        asked = look_up([loop.payer.value], type_=PHONE)
        assert (await hub[BANK].signals.LookUpSubjects(asked, timeout=10)).subjects
    for member in (BANK, SISTER):
        way = (loop.settlement(), loop.backflow()) if over == "mule" else (straight_back(loop, loop.band),)
        await publish(hub, member, *way)
    assert bool(await matches(hub, LENDER)) is not curious
    assert bool(await matches(hub, BANK)) is not curious


async def test_who_was_shown_a_match_adds_nothing_to_it(hub: Running) -> None:
    loop = Loop()
    await report(hub, loop)
    (before,) = await matches(hub, LENDER)
    for member in (BANK, SISTER):
        await publish(hub, member, loop.backflow(), loop.settlement(), straight_back(loop, loop.band))
    (after,) = await matches(hub, LENDER)
    assert (after.groups, after.advice, after.confidence) == (before.groups, before.advice, before.confidence)


async def test_a_group_with_two_members_accuses_nobody(hub: Running) -> None:
    loop = Loop()
    for at, each in enumerate((loop.purchase(), loop.settlement(), loop.backflow())):
        await publish(hub, (BANK, SISTER)[at % 2], each)
    for member in (BANK, SISTER):
        assert not await matches(hub, member)


async def test_around_an_honest_purchase_a_group_gets_no_more_than_a_second_factor(hub: Running) -> None:
    loop = Loop()
    await publish(hub, LENDER, loop.purchase())
    for n in range(4):
        later = Loop(loop.payer, loop.merchant, start=loop.start + n * SLOT)
        await publish(hub, BANK, later.settlement())
        await publish(hub, SISTER, later.backflow(), later.purchase())
    for member in (LENDER, BANK, SISTER):
        for match in await matches(hub, member):
            assert match.advice <= ACTION_AUTHENTICATE
            assert all(each.advice <= ACTION_AUTHENTICATE for each in match.subjects)
            assert not match.human_review
    asked = look_up([loop.payer.value], type_=IBAN)
    answer = await hub[OTHER_BANK].signals.LookUpSubjects(asked, timeout=10)
    assert all(each.advice <= ACTION_AUTHENTICATE for each in answer.subjects)


@pytest.mark.parametrize("wrong", [HYPOTHESES - 1, HYPOTHESES])
async def test_after_its_guesses_of_a_day_a_reader_is_answered_no_more(hub: Running, wrong: int) -> None:
    loop = Loop()
    await publish(hub, LENDER, loop.purchase())
    for number in range(wrong):
        await publish(hub, (BANK, SISTER)[number % 2], straight_back(loop, 200 + number, slots=6 + number))
    await publish(hub, BANK, straight_back(loop, loop.band - 1, slots=30))
    found = await matches(hub, BANK)
    assert bool(found) is (wrong < HYPOTHESES)
    for match in found:
        assert (match.days, match.total_digits) == (0, 0)


async def test_a_withdrawn_guess_stays_spent_over_a_restart(deployment: Deployment) -> None:
    loop = Loop()
    async with serving(deployment) as hub:
        await publish(hub, LENDER, loop.purchase())
        guess = straight_back(loop, 200)
        await publish(hub, BANK, guess)
        await withdraw(hub, BANK, [guess.signal_id])
        await publish(hub, SISTER, straight_back(loop, loop.band - 1))
        assert not await matches(hub, SISTER)
    async with serving(deployment) as hub:
        await publish(hub, BANK, straight_back(loop, loop.band - 1, slots=8))
        assert not await matches(hub, BANK)
        assert not await matches(hub, LENDER)


async def test_a_member_that_withdraws_after_it_was_told_leaves_no_answer_behind(hub: Running) -> None:
    """A hit read and taken back: the next guess, for which it was an echo anyway, gets nothing."""
    loop = Loop()
    await publish(hub, LENDER, loop.purchase())
    guess = straight_back(loop, loop.band - 1)
    await publish(hub, BANK, guess)
    assert await matches(hub, BANK)
    await withdraw(hub, BANK, [guess.signal_id])
    mule = Loop(loop.payer, loop.merchant, start=loop.start)
    await publish(
        hub, SISTER, mule.settlement(amount_band=loop.band - 3), mule.backflow(amount_band=loop.band - 4)
    )
    standing = [match for match in await matches(hub, SISTER) if match.status == 1]
    assert not standing


async def test_a_flood_of_links_on_one_subject_is_refused(hub: Running) -> None:
    """A look-up and a search fetch what is linked: so many links of a group on a subject, and no more."""
    payer = subject(type_=PHONE)
    links = [
        signal(
            code="same-subject",
            subject=payer,
            grade=EvidenceGrade.EVIDENCE_GRADE_CORROBORATED,
            links=[subject(type_=IBAN)],
        )
        for _ in range(200)
    ]
    refusal = await refused(hub[BANK].signals.PublishSignals(hub.pen(BANK).batch(links), timeout=20))
    assert refusal.reason == "QUOTA_EXCEEDED"


async def test_a_flood_of_flows_holds_up_neither_look_ups_nor_other_members_matches(hub: Running) -> None:
    loop = Loop()
    await publish(hub, LENDER, loop.purchase())
    await publish(hub, OTHER_BANK, loop.settlement())
    for _ in range(2):
        flood: list[Any] = [
            flow("pass-through", subject(type_=IBAN), loop.mule, loop.start, amount_band=40)
            for _ in range(250)
        ]
        await publish(hub, BANK, *flood)
    token = os.urandom(32)
    assert (await hub[OTHER_BANK].signals.LookUpSubjects(look_up([token]), timeout=10)).receipt.index
    await publish(hub, OTHER_BANK, loop.backflow())
    assert await matches(hub, LENDER)
