"""Outcomes as a weapon: a gang's member whitewashes, praises itself, floods, or speaks of what it never saw.

It plays by the contract, with true signatures: what it says must not decide anything alone.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from signalexchange.rulebook import Rulebook, default_text
from signalexchange.v1.match_service_pb2 import (
    MATCH_STATUS_OPEN,
    GetMatchRequest,
    ListMatchesRequest,
    Match,
)
from signalexchange.v1.membership_service_pb2 import SuspendMemberRequest
from signalexchange.v1.outcome_service_pb2 import (
    VERDICT_CONFIRMED,
    VERDICT_INCONCLUSIVE,
    VERDICT_REFUTED,
    GetReliabilityRequest,
    Reliability,
)
from signalexchange.v1.signal_service_pb2 import ACTION_AUTHENTICATE, SIGNAL_CHANGE_DISPUTED

from exchange.provision import PartySpec
from exchange.storage.sqlite import SqliteStore
from tests.support.exchange import Running, deploy, refused, serving
from tests.support.loops import TYPES, Loop
from tests.support.members import DAY
from tests.support.outcomes import START, Watch, ask, at, claim, follow, publish, report

HONEST = ("bank-a", "bank-b", "bank-c")
GANG, SISTER, ASKING = "bank-gang", "bank-sister", "bank-asking"
PARTIES = (
    *(PartySpec(name, "bank", f"{name}-group") for name in HONEST),
    PartySpec(GANG, "bank", "gang-group"),
    PartySpec(SISTER, "bank", "gang-group"),
    PartySpec(ASKING, "bank", "asking-group"),
    PartySpec("operator", "operator", "exchange-operator"),
)
RULEBOOK = Rulebook.parse(default_text())


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path, clock=START, parties=PARTIES)) as running:
        yield running


async def accuse(hub: Running, token: bytes, members: tuple[str, ...] = HONEST) -> list[bytes]:
    """Everybody's two signals on a subject; the ids."""
    ids = []
    for member in members:
        signals = [claim(token), claim(token)]
        await publish(hub, member, *signals)
        ids += [one.signal_id for one in signals]
    return ids


async def reliability(hub: Running, member: str) -> Reliability:
    answer = await hub[member].outcomes.GetReliability(GetReliabilityRequest(), timeout=10)
    own: Reliability = answer.own
    return own


async def test_refuting_everything_about_a_friend_neither_clears_him_nor_lasts(hub: Running) -> None:
    friend = os.urandom(32)
    for member in (GANG, SISTER):
        await follow(hub, member, friend)
    ids = await accuse(hub, friend)
    before = await ask(hub, ASKING, friend)
    assert before is not None
    assert before.advice > ACTION_AUTHENTICATE
    await report(hub, GANG, dict.fromkeys(ids, VERDICT_REFUTED))
    capped = await ask(hub, ASKING, friend)
    assert capped is not None
    assert (capped.score, capped.groups, capped.band) == (before.score, before.groups, before.band)
    assert capped.advice == ACTION_AUTHENTICATE
    # Neither saying it again, nor a sister's saying it, moves the deadline.
    days = RULEBOOK.matching.dispute_days
    for day in range(1, days):
        at(hub, day * DAY)
        await report(hub, (GANG, SISTER)[day % 2], dict.fromkeys(ids, VERDICT_REFUTED))
    at(hub, days * DAY)
    after = await ask(hub, ASKING, friend)
    assert after is not None
    assert not after.disputed
    assert after.advice > ACTION_AUTHENTICATE


async def test_an_answer_ends_a_dispute_at_once_and_for_good(hub: Running) -> None:
    friend = os.urandom(32)
    for member in (GANG, SISTER):
        await follow(hub, member, friend)
    ids = await accuse(hub, friend)
    before = await ask(hub, ASKING, friend)
    await report(hub, GANG, dict.fromkeys(ids, VERDICT_REFUTED))
    for place, member in enumerate(HONEST):
        await report(hub, member, dict.fromkeys(ids[2 * place : 2 * place + 2], VERDICT_INCONCLUSIVE))
    assert await ask(hub, ASKING, friend) == before
    await report(hub, GANG, dict.fromkeys(ids, VERDICT_REFUTED))
    await report(hub, SISTER, dict.fromkeys(ids, VERDICT_REFUTED))
    assert await ask(hub, ASKING, friend) == before


async def test_refuting_ones_own_signals_removes_no_other_groups(hub: Running) -> None:
    friend = os.urandom(32)
    await accuse(hub, friend)
    before = await ask(hub, ASKING, friend)
    mine = await accuse(hub, friend, (GANG,))
    await report(hub, GANG, dict.fromkeys(mine, VERDICT_REFUTED))
    assert await ask(hub, ASKING, friend) == before


async def test_praising_oneself_is_worth_nothing(hub: Running) -> None:
    victim = os.urandom(32)
    signals = [claim(victim), *(claim() for _ in range(150))]
    await publish(hub, GANG, *signals)
    before = await ask(hub, ASKING, victim), await reliability(hub, GANG)
    await report(hub, GANG, {one.signal_id: VERDICT_CONFIRMED for one in signals})
    assert (await ask(hub, ASKING, victim), await reliability(hub, GANG)) == before
    (codes,) = [(await hub[ASKING].outcomes.GetReliability(GetReliabilityRequest())).codes]
    assert not codes


@pytest.mark.parametrize("verdict", [VERDICT_CONFIRMED, VERDICT_REFUTED])
async def test_a_flood_of_outcomes_by_one_group_moves_nobody(hub: Running, verdict: Any) -> None:
    """A hundred false verdicts on each honest bank, by two members: a subject none of them is about is
    answered as before."""
    subject = os.urandom(32)
    await accuse(hub, subject)
    before = await ask(hub, ASKING, subject)
    floods = {member: [claim() for _ in range(100)] for member in HONEST}
    tokens = [one.subject.value for flood in floods.values() for one in flood]
    for member in (GANG, SISTER):
        await follow(hub, member, *tokens)
    for member, flood in floods.items():
        await publish(hub, member, *flood)
    for half, reporter in enumerate((GANG, SISTER)):
        ids = [one.signal_id for flood in floods.values() for one in flood[half::2]]
        await report(hub, reporter, dict.fromkeys(ids, verdict))
    for member in HONEST:
        own = await reliability(hub, member)
        assert own.confirmed + own.refuted == RULEBOOK.matching.reliability.per_group
        assert own.factor == 1000
    for code in (await hub[ASKING].outcomes.GetReliability(GetReliabilityRequest())).codes:
        assert code.reliability.factor == 1000
    assert await ask(hub, ASKING, subject) == before


async def test_who_is_shut_out_has_no_say_any_more(hub: Running) -> None:
    signals = [claim() for _ in range(10)]
    for member in ("bank-b", GANG):
        await follow(hub, member, *(one.subject.value for one in signals))
    await publish(hub, "bank-a", *signals)
    for member in ("bank-b", GANG):
        await report(hub, member, {one.signal_id: VERDICT_REFUTED for one in signals})
    assert (await reliability(hub, "bank-a")).factor < 1000
    request = SuspendMemberRequest(member=GANG, reason="false outcomes")
    await hub["operator"].membership.SuspendMember(request, timeout=10)
    own = await reliability(hub, "bank-a")
    assert (own.refuted, own.factor) == (10, 1000)


async def test_nobody_speaks_of_a_signal_that_it_was_not_told_of(
    hub: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, withdrawn = claim(), claim()
    await follow(hub, ASKING, told.subject.value)
    await publish(hub, "bank-a", told, withdrawn)
    # It sees a hit, and learns the id of what is withdrawn after that.
    watch = await Watch.begin(hub, GANG)
    assert await ask(hub, GANG, withdrawn.subject.value)
    assert await ask(hub, GANG, told.subject.value)
    await hub["bank-a"].signals.WithdrawSignals(hub.pen("bank-a").withdrawal([withdrawn.signal_id]))
    assert (await watch.next()).signal_id == withdrawn.signal_id
    walks: list[int] = []

    async def shown(store: SqliteStore, start: int, stop: int) -> list[Any]:
        walks.append(start)
        return []

    monkeypatch.setattr(SqliteStore, "shown", shown)
    refusals = []
    for id_ in (told.signal_id, withdrawn.signal_id, os.urandom(16)):
        request = hub.pen(GANG).report({id_: VERDICT_REFUTED})
        refusals.append(await refused(hub[GANG].outcomes.ReportOutcomes(request, timeout=10)))
    assert {refusal.reason for refusal in refusals} == {"SIGNAL_UNKNOWN"}
    # Nothing tells an id that exists from one that doesn't, not even the work it makes.
    assert (
        len({(refusal.message, *refusal.violations, *refusal.metadata.items()) for refusal in refusals}) == 1
    )
    assert not walks
    monkeypatch.undo()
    risk = await ask(hub, ASKING, told.subject.value)
    assert risk is not None
    assert not risk.disputed
    assert (await reliability(hub, "bank-a")).refuted == 0


async def test_a_report_of_another_cannot_be_sent_again(hub: Running) -> None:
    one = claim()
    for member in (ASKING, GANG):
        await follow(hub, member, one.subject.value)
    await publish(hub, "bank-a", one)
    request = hub.pen(ASKING).report({one.signal_id: VERDICT_CONFIRMED})
    await hub[ASKING].outcomes.ReportOutcomes(request, timeout=10)
    assert (await refused(hub[GANG].outcomes.ReportOutcomes(request))).reason == "WRONG_MEMBER"
    forged = hub.pen(GANG).report({one.signal_id: VERDICT_REFUTED})
    forged.statement = forged.statement.replace(GANG.encode(), b"bank-able")
    assert (await refused(hub["bank-b"].outcomes.ReportOutcomes(forged))).reason == "WRONG_MEMBER"
    stolen = hub.pen(GANG).report({one.signal_id: VERDICT_REFUTED})
    stolen.signature = request.signature
    assert (await refused(hub[GANG].outcomes.ReportOutcomes(stolen))).reason == "SIGNATURE_INVALID"


async def test_the_issuer_does_not_learn_who_disputes(hub: Running) -> None:
    seen = []
    for reporter in (GANG, "bank-b"):
        one = claim()
        await follow(hub, reporter, one.subject.value)
        await publish(hub, "bank-a", one)
        watch = await Watch.begin(hub, "bank-a")
        await report(hub, reporter, {one.signal_id: VERDICT_REFUTED})
        event = await watch.next()
        assert event.change == SIGNAL_CHANGE_DISPUTED
        assert event.signal_id == one.signal_id
        event.ClearField("signal_id")
        event.ClearField("resume_token")
        seen.append(event.SerializeToString())
    assert seen[0] == seen[1]


async def loop_told_by_four(hub: Running) -> Match:
    """Three honest banks tell of a loop, the gang's one of a leg that another tells too."""
    loop = Loop(start=START // 300 * 300 - DAY)
    legs = (loop.purchase(), loop.settlement(), loop.backflow())
    for member, leg in zip((*HONEST, GANG), (*legs, loop.settlement()), strict=True):
        await publish(hub, member, leg)
    await hub.hub._exchange.matching.settled()
    answer = await hub[GANG].matches.ListMatches(ListMatchesRequest(page_size=10), timeout=10)
    found: list[Match] = list(answer.matches)
    (match,) = found
    return match


async def seen_by(hub: Running, member: str, match: Match) -> Match:
    await hub.hub._exchange.matching.settled()
    answer = await hub[member].matches.GetMatch(GetMatchRequest(match_id=match.match_id), timeout=10)
    seen: Match = answer.match
    return seen


async def test_refuting_a_match_takes_back_ones_own_part_alone(tmp_path: Path) -> None:
    async with serving(deploy(tmp_path, clock=START, parties=PARTIES, types=TYPES)) as hub:
        match = await loop_told_by_four(hub)
        assert match.groups == 4
        await report(hub, GANG, {match.match_id: VERDICT_REFUTED}, matches=True)
        left = await seen_by(hub, "bank-a", match)
        assert (left.status, left.groups) == (MATCH_STATUS_OPEN, 3)
        assert left.advice <= ACTION_AUTHENTICATE  # disputed for now
        # Whoever refuted it is told it is still there, and nobody's reliability has moved.
        assert (await seen_by(hub, GANG, match)).status == MATCH_STATUS_OPEN
        for member in HONEST:
            assert (await reliability(hub, member)).factor == 1000


async def test_a_match_cannot_be_talked_up_by_one_group(tmp_path: Path) -> None:
    async with serving(deploy(tmp_path, clock=START, parties=PARTIES, types=TYPES)) as hub:
        match = await loop_told_by_four(hub)
        await report(hub, GANG, {match.match_id: VERDICT_CONFIRMED}, matches=True)
        after = await seen_by(hub, "bank-a", match)
        assert (after.confidence, after.advice) == (match.confidence, match.advice)
        answer = await hub[ASKING].outcomes.GetReliability(GetReliabilityRequest())
        assert [(code.code, code.reliability.factor) for code in answer.codes] == [("funds-loop", 1000)]
        own = await reliability(hub, GANG)
        assert (own.confirmed, own.refuted) == (0, 0)


async def test_nobody_judges_a_match_that_does_not_concern_it(tmp_path: Path) -> None:
    async with serving(deploy(tmp_path, clock=START, parties=PARTIES, types=TYPES)) as hub:
        match = await loop_told_by_four(hub)
        refusals = []
        for id_ in (match.match_id, os.urandom(16)):
            request = hub.pen(ASKING).report({id_: VERDICT_REFUTED}, matches=True)
            refusals.append(await refused(hub[ASKING].outcomes.ReportOutcomes(request, timeout=10)))
        assert {refusal.reason for refusal in refusals} == {"MATCH_UNKNOWN"}
        assert refusals[0] == refusals[1]
        assert (await seen_by(hub, "bank-a", match)).status == MATCH_STATUS_OPEN
