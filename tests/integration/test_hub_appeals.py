"""Appeals: what a customer objects to is used by no machine, at any member, until somebody has decided."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from signalexchange.cases import case_id_of
from signalexchange.rulebook import Rulebook, default_text
from signalexchange.v1.case_service_pb2 import (
    APPEAL_GRANTED,
    APPEAL_PENDING,
    CASE_ORIGIN_MATCH,
    CaseEvidence,
    GetCaseRequest,
)
from signalexchange.v1.log_entry_pb2 import (
    ENTRY_TYPE_CASE_DEADLINE,
    ENTRY_TYPE_CORRECTION,
    ENTRY_TYPE_DISPUTE,
    CorrectionEntry,
    DisputeEntry,
)
from signalexchange.v1.match_service_pb2 import MATCH_STATUS_REFUTED, ListMatchesRequest, Match
from signalexchange.v1.outcome_service_pb2 import VERDICT_CONFIRMED, VERDICT_INCONCLUSIVE, VERDICT_REFUTED
from signalexchange.v1.signal_pb2 import Signal
from signalexchange.v1.signal_service_pb2 import (
    ACTION_ALLOW,
    ACTION_AUTHENTICATE,
    ACTION_INTERCEPT,
    SIGNAL_CHANGE_DISPUTED,
    SIGNAL_CHANGE_REFUTED,
    SIGNAL_CHANGE_UPHELD,
)
from signalexchange.v1.transparency_service_pb2 import OpenEntriesRequest

from exchange.usecases.case_deadlines import keep_cases
from tests.support.cases import (
    SECOND,
    CaseWatch,
    Desk,
    action,
    appeal,
    close,
    decide_appeal,
    lift,
    opening,
)
from tests.support.exchange import Running, deploy, refused, serving
from tests.support.log_entries import logged
from tests.support.loops import TYPES, Loop
from tests.support.members import DAY, subject
from tests.support.outcomes import START, Watch, ask, at, claim, follow, publish, report

NORTH, SOUTH, PAY, SHOP = "bank-north", "bank-south", "pay-lotus", "shop-river"
RULES = Rulebook.parse(default_text()).cases


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path, clock=START)) as running:
        yield running


async def accused(hub: Running, token: bytes) -> list[bytes]:
    """Three groups accuse a subject, and the payment provider follows it: north's two signals."""
    await follow(hub, PAY, token)
    own = [claim(token), claim(token)]
    await publish(hub, NORTH, *own)
    for member in (SOUTH, SHOP):
        await publish(hub, member, claim(token), claim(token))
    return [one.signal_id for one in own]


async def objected(hub: Running, token: bytes, *signal_ids: bytes, member: str = NORTH) -> Desk:
    """A case of the member's in which its customer appeals against these signals."""
    desk = Desk(hub.deployment, member)
    await desk.take(hub, opening(subject(token)))
    await desk.take(hub, action(ACTION_INTERCEPT))
    await desk.take(hub, appeal(*signal_ids))
    return desk


async def advice(hub: Running, token: bytes) -> int:
    risk = await ask(hub, PAY, token)
    assert risk is not None
    assert risk.disputed == (risk.advice == ACTION_AUTHENTICATE)
    return risk.advice


async def test_an_appeal_pauses_automated_use_everywhere_until_it_is_decided(hub: Running) -> None:
    token = os.urandom(32)
    mine, other = await accused(hub, token)
    before = await advice(hub, token)
    assert before > ACTION_AUTHENTICATE
    watches = {member: await Watch.begin(hub, member) for member in (NORTH, PAY, SOUTH)}
    desk = await objected(hub, token, mine)
    assert await advice(hub, token) == ACTION_AUTHENTICATE
    event = await watches[PAY].next()
    assert (event.signal_id, event.change, event.subject.value) == (mine, SIGNAL_CHANGE_DISPUTED, token)
    (entry,) = await logged(hub, ENTRY_TYPE_CORRECTION)
    assert (entry.member, entry.idx) == (PAY, event.correction)
    assert CorrectionEntry.FromString(entry.payload).change == SIGNAL_CHANGE_DISPUTED
    event = await watches[NORTH].next()
    assert (event.signal_id, event.change, event.own) == (mine, SIGNAL_CHANGE_DISPUTED, True)
    assert await watches[SOUTH].quiet()  # it was shown nothing of north's
    # Nothing goes up meanwhile.
    state = (await desk.case(hub)).state
    assert (state.appeal, "freeze" in state.next) == (APPEAL_PENDING, False)
    await desk.take(hub, decide_appeal(granted=False), officer=SECOND)
    assert await advice(hub, token) == before
    assert (await watches[PAY].next()).change == SIGNAL_CHANGE_UPHELD
    assert (await watches[NORTH].next()).change == SIGNAL_CHANGE_UPHELD
    begun, ended = (DisputeEntry.FromString(e.payload) for e in await logged(hub, ENTRY_TYPE_DISPUTE))
    assert (begun.until, ended.until) == (START + RULES.appeal_days * DAY, 0)
    assert begun.signals == ended.signals
    assert other  # never objected to


async def test_members_cannot_read_where_others_signals_stand(hub: Running) -> None:
    """Two signals of one batch would be known as one issuer's."""
    token = os.urandom(32)
    mine, _ = await accused(hub, token)
    await objected(hub, token, mine)
    (entry,) = await logged(hub, ENTRY_TYPE_DISPUTE)
    request = OpenEntriesRequest(indices=[entry.idx])
    for member in (NORTH, SOUTH, PAY):
        assert (await refused(hub[member].log.OpenEntries(request))).reason == "OPENING_NOT_ALLOWED"
    assert (await hub["audit-one"].log.OpenEntries(request)).entries


async def test_an_issuers_answer_does_not_end_an_undecided_appeal(hub: Running) -> None:
    token = os.urandom(32)
    mine, _ = await accused(hub, token)
    desk = await objected(hub, token, mine)
    await report(hub, PAY, {mine: VERDICT_REFUTED})
    watch = await Watch.begin(hub, PAY)
    await report(hub, NORTH, {mine: VERDICT_CONFIRMED})
    assert await watch.quiet()
    assert await advice(hub, token) == ACTION_AUTHENTICATE
    await desk.take(hub, decide_appeal(granted=False), officer=SECOND)
    assert await advice(hub, token) > ACTION_AUTHENTICATE


async def test_a_signal_stays_disputed_while_any_appeal_against_it_waits(hub: Running) -> None:
    token = os.urandom(32)
    mine, other = await accused(hub, token)
    first = await objected(hub, token, mine, other)
    at(hub, DAY)
    second = await objected(hub, token, mine, member=PAY)
    at(hub, 2 * DAY)
    await second.take(hub, decide_appeal(granted=False), officer=SECOND)
    assert await advice(hub, token) == ACTION_AUTHENTICATE
    begun, later, back = (DisputeEntry.FromString(e.payload) for e in await logged(hub, ENTRY_TYPE_DISPUTE))
    assert later.until == back.until + DAY == begun.until + DAY
    await first.take(hub, decide_appeal(granted=False), officer=SECOND)
    assert await advice(hub, token) > ACTION_AUTHENTICATE


async def test_an_appeal_that_nobody_decides_pauses_no_longer_than_its_time(hub: Running) -> None:
    token = os.urandom(32)
    mine, _ = await accused(hub, token)
    desk = await objected(hub, token, mine)
    watch = await Watch.begin(hub, PAY)
    at(hub, RULES.appeal_days * DAY - 1)
    assert await advice(hub, token) == ACTION_AUTHENTICATE
    at(hub, RULES.appeal_days * DAY + 1)
    assert await advice(hub, token) > ACTION_AUTHENTICATE
    await keep_cases(hub.hub._exchange)
    assert (await watch.next()).change == SIGNAL_CHANGE_UPHELD
    assert len(await logged(hub, ENTRY_TYPE_CASE_DEADLINE)) == 1
    # The customer still gets a decision.
    case = await desk.case(hub)
    assert case.state.appeal == APPEAL_PENDING
    decided = await desk.take(hub, decide_appeal(granted=True), officer=SECOND)
    assert (decided.case.state.appeal, decided.case.state.measure) == (APPEAL_GRANTED, ACTION_ALLOW)


async def test_granting_may_take_back_what_was_wrong(hub: Running) -> None:
    token = os.urandom(32)
    mine, other = await accused(hub, token)
    desk = await objected(hub, token, mine, other)
    watch = await Watch.begin(hub, PAY)
    outcomes = hub.pen(NORTH).report({mine: VERDICT_REFUTED})
    answer = await desk.take(hub, decide_appeal(granted=True), officer=SECOND, outcomes=outcomes)
    assert answer.case.state.measure == ACTION_ALLOW
    events = [await watch.next(), await watch.next()]
    assert [(event.signal_id, event.change) for event in events] == [
        (mine, SIGNAL_CHANGE_REFUTED),
        (other, SIGNAL_CHANGE_UPHELD),
    ]
    assert all(event.HasField("correction") for event in events)


async def test_only_signals_that_the_member_knows_can_be_objected_to(hub: Running) -> None:
    token = os.urandom(32)
    hidden = claim(token)
    await publish(hub, SOUTH, hidden)
    desk = Desk(hub.deployment, NORTH)
    await desk.take(hub, opening(subject(token)))
    request = desk.write(appeal(hidden.signal_id))
    refusal = await refused(hub[NORTH].cases.RecordStep(request))
    assert refusal.reason == "SIGNAL_UNKNOWN"
    assert refusal.fields == ["statement.receive_appeal.signal_ids[0]"]


# --- cases about matches


async def found(hub: Running, member: str) -> list[Match]:
    await hub.hub._exchange.matching.settled()
    answer = await hub[member].matches.ListMatches(ListMatchesRequest(page_size=100), timeout=10)
    return list(answer.matches)


async def loop_at(hub: Running) -> tuple[Loop, dict[str, Signal], Match]:
    """A loop that the lender and both banks report, by whom which leg, and the match."""
    loop = Loop(start=START // 300 * 300 - DAY)
    signals = {PAY: loop.purchase(), NORTH: loop.settlement(), SOUTH: loop.backflow()}
    for member, seen in signals.items():
        await publish(hub, member, seen)
    (match,) = await found(hub, PAY)
    return loop, signals, match


async def test_members_meet_in_a_match_s_case_and_see_nothing_of_each_other_s_proceeding(
    tmp_path: Path,
) -> None:
    async with serving(deploy(tmp_path, clock=START, types=TYPES)) as hub:
        loop, signals, match = await loop_at(hub)
        step = opening(loop.payer, match_id=match.match_id)
        lender, bank, north = (Desk(hub.deployment, member) for member in (PAY, SOUTH, NORTH))
        # North knows the match, but not this subject of it.
        refusal = await refused(hub[NORTH].cases.RecordStep(north.write(step)))
        assert refusal.fields == ["statement.open.subject"]
        opened = await lender.take(hub, step, evidence=[CaseEvidence(match_id=match.match_id)])
        assert (opened.case.groups, opened.case.origin) == (1, CASE_ORIGIN_MATCH)
        joined = await bank.take(hub, step)
        assert lender.case_id == bank.case_id == case_id_of(match.match_id, loop.payer.value)
        assert (joined.case.groups, joined.case.disputed, len(joined.case.steps)) == (2, False, 1)
        # Who makes up a case of that id by hand is in none with them.
        squatter = Desk(hub.deployment, NORTH, lender.case_id)
        assert (await squatter.take(hub, opening(loop.merchant))).case.groups == 1
        watches = {member: await CaseWatch.begin(hub, member) for member in (SOUTH, NORTH)}
        await bank.take(hub, action(ACTION_INTERCEPT))
        await watches[SOUTH].next()
        await lender.take(hub, appeal())
        news = (await watches[SOUTH].next()).case
        assert (news.disputed, news.state.appeal, news.groups) == (True, 0, 2)
        assert [each.statement for each in news.steps] == [
            each.statement for each in (await bank.case(hub)).steps
        ]
        # The evidence that names the customer is disputed, whoever told of it, and that of nobody else.
        (entry,) = await logged(hub, ENTRY_TYPE_DISPUTE)
        states = await hub.hub._store.signals([each.signal_id for each in signals.values()])
        disputed = {id_ for id_, state in states.items() if state.appealed_until}
        assert disputed == {signals[PAY].signal_id, signals[SOUTH].signal_id}
        assert len(DisputeEntry.FromString(entry.payload).signals) == 2
        await hub.hub._exchange.matching.settled()
        matcher = hub.hub._exchange.matching.matcher
        assert matcher.is_appealed(matcher.matches[match.match_id])
        await lender.take(hub, decide_appeal(granted=False), officer=SECOND)
        assert not (await watches[SOUTH].next()).case.disputed
        assert not (await bank.case(hub)).disputed
        await hub.hub._exchange.matching.settled()
        assert not matcher.is_appealed(matcher.matches[match.match_id])


async def test_an_appeal_against_a_match_outlives_a_restart(tmp_path: Path) -> None:
    deployment = deploy(tmp_path, clock=START, types=TYPES)
    async with serving(deployment) as hub:
        loop, _, match = await loop_at(hub)
        desk = Desk(hub.deployment, PAY)
        await desk.take(hub, opening(loop.payer, match_id=match.match_id))
        await desk.take(hub, appeal())
    async with serving(deployment) as hub:
        await hub.hub._exchange.matching.settled()
        matcher = hub.hub._exchange.matching.matcher
        assert matcher.is_appealed(matcher.matches[match.match_id])
        await desk.take(hub, decide_appeal(granted=True), officer=SECOND)
        await hub.hub._exchange.matching.settled()
        assert not matcher.is_appealed(matcher.matches[match.match_id])


async def test_a_second_appeal_pauses_a_match_no_longer_than_the_group_s_time(tmp_path: Path) -> None:
    async with serving(deploy(tmp_path, clock=START, types=TYPES)) as hub:
        loop, _, match = await loop_at(hub)
        desk = Desk(hub.deployment, PAY)
        await desk.take(hub, opening(loop.payer, match_id=match.match_id))
        await desk.take(hub, appeal())
        await desk.take(hub, decide_appeal(granted=False), officer=SECOND)
        at(hub, (RULES.appeal_days - 1) * DAY)
        await desk.take(hub, action(ACTION_AUTHENTICATE))
        await desk.take(hub, appeal())
        exchange = hub.hub._exchange
        await exchange.matching.settled()
        assert exchange.matching.matcher.appealed
        at(hub, RULES.appeal_days * DAY + 1)
        await keep_cases(exchange)
        await exchange.matching.settled()
        assert not exchange.matching.matcher.appealed
        assert not await exchange.store.appealed()
        # It still has to be decided.
        assert (await desk.case(hub)).state.appeal == APPEAL_PENDING
        assert not await logged(hub, ENTRY_TYPE_CASE_DEADLINE)
        await desk.take(hub, decide_appeal(granted=False), officer=SECOND)


async def test_closing_a_match_s_case_says_what_came_of_the_match(tmp_path: Path) -> None:
    async with serving(deploy(tmp_path, clock=START, types=TYPES)) as hub:
        loop, _, match = await loop_at(hub)
        desk = Desk(hub.deployment, PAY)
        await desk.take(hub, opening(loop.payer, match_id=match.match_id))
        call, pen, id_ = hub[PAY].cases.RecordStep, hub.pen(PAY), match.match_id
        step = close(VERDICT_REFUTED)
        for outcomes in (
            None,
            pen.report({id_: VERDICT_INCONCLUSIVE}, matches=True),
            pen.report({id_: VERDICT_CONFIRMED}, matches=True),
        ):
            assert (await refused(call(desk.write(step, outcomes=outcomes)))).fields == ["outcomes"]
        foreign = hub.pen(SOUTH).report({id_: VERDICT_REFUTED}, matches=True)
        assert (await refused(call(desk.write(step, outcomes=foreign)))).reason == "WRONG_MEMBER"
        await desk.take(hub, step, outcomes=pen.report({id_: VERDICT_REFUTED}, matches=True))
        assert MATCH_STATUS_REFUTED in {each.status for each in await found(hub, PAY)} or not await found(
            hub, PAY
        )
        again = await hub[PAY].cases.GetCase(GetCaseRequest(case_id=desk.case_id))
        assert again.case.state.outcome == VERDICT_REFUTED


async def test_what_one_customer_did_says_nothing_of_another_of_the_same_match(tmp_path: Path) -> None:
    async with serving(deploy(tmp_path, clock=START, types=TYPES)) as hub:
        loop, _, match = await loop_at(hub)
        guilty, innocent = Desk(hub.deployment, PAY), Desk(hub.deployment, PAY)
        await guilty.take(hub, opening(loop.payer, match_id=match.match_id))
        await innocent.take(hub, opening(loop.merchant, match_id=match.match_id))
        reports = {
            verdict: hub.pen(PAY).report({match.match_id: verdict}, matches=True)
            for verdict in (VERDICT_CONFIRMED, VERDICT_REFUTED)
        }
        await guilty.take(hub, close(VERDICT_CONFIRMED), outcomes=reports[VERDICT_CONFIRMED])
        # The group said once what the match is; that is no reason to hold the other customer guilty.
        step = close(VERDICT_REFUTED)
        request = innocent.write(step, outcomes=reports[VERDICT_REFUTED])
        assert (await refused(hub[PAY].cases.RecordStep(request))).reason == "OUTCOME_CONFLICT"
        closed = await innocent.take(hub, step)
        assert closed.case.state.outcome == VERDICT_REFUTED


async def test_what_is_lifted_still_gets_its_decision(hub: Running) -> None:
    token = os.urandom(32)
    mine, _ = await accused(hub, token)
    desk = await objected(hub, token, mine)
    lifted = await desk.take(hub, lift())
    assert (lifted.case.state.measure, lifted.case.state.appeal) == (ACTION_ALLOW, APPEAL_PENDING)
    assert await advice(hub, token) == ACTION_AUTHENTICATE
    refusal = await refused(hub[NORTH].cases.RecordStep(desk.write(close(VERDICT_REFUTED))))
    assert refusal.metadata["why"] == "appeal-pending"
