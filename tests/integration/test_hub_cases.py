"""Cases at the hub: who may open what, the ladder step by step, what is shown, deadlines, term, erasure."""

import os
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from signalexchange.rulebook import Rulebook, default_text
from signalexchange.v1.case_service_pb2 import (
    APPEAL_PENDING,
    EXPLANATION_OVERDUE,
    Case,
    CaseEvidence,
    GetCaseRequest,
    ListCasesRequest,
)
from signalexchange.v1.log_entry_pb2 import (
    ENTRY_TYPE_CASE,
    ENTRY_TYPE_CASE_DEADLINE,
    ENTRY_TYPE_CASE_ERASURE,
    CaseDeadlineEntry,
    CaseEntry,
    CaseErasureEntry,
)
from signalexchange.v1.outcome_service_pb2 import VERDICT_CONFIRMED, VERDICT_INCONCLUSIVE, VERDICT_REFUTED
from signalexchange.v1.signal_service_pb2 import (
    ACTION_ALLOW,
    ACTION_AUTHENTICATE,
    ACTION_EXPLAIN,
    ACTION_FREEZE,
    ACTION_INTERCEPT,
    ACTION_RESTRICT,
)
from signalexchange.v1.transparency_service_pb2 import OpenEntriesRequest

from exchange.usecases import case_views
from exchange.usecases.case_deadlines import keep_cases
from tests.support.cases import (
    OFFICER,
    SECOND,
    CaseWatch,
    Desk,
    acknowledge_notice,
    action,
    appeal,
    close,
    decide_proposal,
    explained,
    lift,
    opening,
)
from tests.support.exchange import Running, deploy, refused, serving
from tests.support.log_entries import logged
from tests.support.match_members import propose
from tests.support.members import DAY, look_up, subject
from tests.support.outcomes import INVESTIGATION, START, at, claim, publish

NORTH, SOUTH, PAY, SHOP = "bank-north", "bank-south", "pay-lotus", "shop-river"
RULES = Rulebook.parse(default_text()).cases


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path, clock=START)) as running:
        yield running


async def test_the_ladder_goes_step_by_step_up_to_a_freeze_and_down_again(hub: Running) -> None:
    desk = Desk(hub.deployment, NORTH)
    opened = await desk.take(hub, opening())
    assert opened.case.state.measure == ACTION_ALLOW
    assert opened.case.groups == 1
    await desk.take(hub, action(ACTION_AUTHENTICATE))
    await desk.take(hub, action(ACTION_INTERCEPT))
    refusal = await refused(hub[NORTH].cases.RecordStep(desk.write(action(ACTION_RESTRICT))))
    assert (refusal.reason, refusal.metadata["why"]) == ("STEP_NOT_ALLOWED", "explanation-needed")
    await desk.fail_explanation(hub, START)
    assert "restrict" in (await desk.case(hub)).state.next
    assert (await desk.take(hub, action(ACTION_RESTRICT))).case.state.measure == ACTION_RESTRICT
    assert "freeze" not in (await desk.case(hub)).state.next
    await desk.fail_explanation(hub, START)
    proposed = await desk.take(hub, action(ACTION_FREEZE))
    assert (proposed.case.state.measure, proposed.case.state.proposed) == (ACTION_RESTRICT, ACTION_FREEZE)
    frozen = await desk.take(hub, decide_proposal(proposed.case.state.proposal), officer=SECOND)
    assert frozen.case.state.measure == ACTION_FREEZE
    lifted = await desk.take(hub, lift())
    assert lifted.case.state.measure == ACTION_ALLOW
    closed = await desk.take(hub, close(VERDICT_REFUTED))
    assert closed.case.state.outcome == VERDICT_REFUTED
    assert closed.case.state.expires_at == START + RULES.retention_days * DAY
    entries = await logged(hub, ENTRY_TYPE_CASE)
    assert [entry.member for entry in entries] == [NORTH] * desk.sequence
    digests = [sha256(CaseEntry.FromString(entry.payload).statement).digest() for entry in entries]
    assert digests[-1] == desk.previous
    assert [step.index for step in closed.case.steps] == [entry.idx for entry in entries]


async def test_a_step_is_recorded_once_however_often_it_is_sent(hub: Running) -> None:
    desk = Desk(hub.deployment, NORTH)
    await desk.take(hub, opening())
    request = desk.write(action(ACTION_AUTHENTICATE))
    first = await hub[NORTH].cases.RecordStep(request)
    again = await hub[NORTH].cases.RecordStep(request)
    assert (first.repeated_step, again.repeated_step) == (False, True)
    assert again.receipt.index == first.receipt.index
    assert again.case == first.case
    assert len(await logged(hub, ENTRY_TYPE_CASE)) == 2


async def test_cases_are_opened_on_grounds_of_the_openers_own(hub: Running) -> None:
    token = subject()
    one = claim(token.value)
    await publish(hub, SOUTH, one)
    answer = await hub[NORTH].signals.LookUpSubjects(
        look_up([token.value], purpose=INVESTIGATION), timeout=10
    )
    index = answer.receipt.index
    missed = await hub[NORTH].signals.LookUpSubjects(
        look_up([os.urandom(32)], purpose=INVESTIGATION), timeout=10
    )

    async def refusal(caller: str, step: dict[str, Any], **options: Any) -> tuple[str, list[str]]:
        desk = Desk(hub.deployment, caller)
        found = await refused(hub[caller].cases.RecordStep(desk.write(step, **options)))
        return found.reason, list(found.fields)

    assert await refusal(NORTH, opening(look_up=index)) == ("INVALID_REQUEST", ["statement.open.subject"])
    for member, at_ in ((NORTH, missed.receipt.index), (NORTH, index + 1000), (PAY, index)):
        found, _ = await refusal(member, opening(token, look_up=at_))
        assert found == "INVALID_REQUEST"
    match_id = os.urandom(16)
    assert (await refusal(NORTH, opening(token, match_id=match_id)))[0] == "MATCH_UNKNOWN"
    assert (await refusal(NORTH, opening(subject(epoch=7))))[0] == "EPOCH_NOT_VALID"
    evidence = "statement.evidence[1]"
    own = CaseEvidence(look_up=index)
    for item, reason, field in (
        (CaseEvidence(signal_id=one.signal_id), "SIGNAL_UNKNOWN", f"{evidence}.signal_id"),
        (CaseEvidence(match_id=match_id), "MATCH_UNKNOWN", f"{evidence}.match_id"),
        (CaseEvidence(look_up=0), "INVALID_REQUEST", f"{evidence}.look_up"),
    ):
        assert await refusal(NORTH, opening(), evidence=[own, item]) == (reason, [field])
    assert (await refusal(NORTH, opening(), reason="no-such-code"))[0] == "INVALID_REQUEST"
    assert (await refusal(NORTH, opening(), member=SOUTH))[0] == "WRONG_MEMBER"
    assert (await refusal(NORTH, opening(), origin="elsewhere.test/log"))[0] == "INVALID_REQUEST"
    await Desk(hub.deployment, NORTH).take(hub, opening(token, look_up=index), evidence=[own])
    mine = Desk(hub.deployment, SOUTH)
    await mine.take(hub, opening(token), evidence=[CaseEvidence(signal_id=one.signal_id)])
    assert len(await logged(hub, ENTRY_TYPE_CASE)) == 2


async def test_what_is_unknown_or_out_of_turn_is_refused(hub: Running) -> None:
    desk = Desk(hub.deployment, NORTH)
    stray = Desk(hub.deployment, NORTH, sequence=1, previous=os.urandom(32))
    call = hub[NORTH].cases.RecordStep
    assert (await refused(call(stray.write(action(ACTION_AUTHENTICATE))))).reason == "CASE_UNKNOWN"
    await desk.take(hub, opening())
    late = desk.write(action(ACTION_AUTHENTICATE))
    await desk.take(hub, action(ACTION_INTERCEPT))
    conflict = await refused(call(late))
    assert (conflict.reason, conflict.status) == ("CASE_CONFLICT", "ABORTED")
    forged = desk.write(lift())
    forged.signature = bytes(64)
    assert (await refused(call(forged))).reason == "SIGNATURE_INVALID"
    with_key = desk.write(lift(), key_id="officer-9", sign=lambda data: bytes(64))
    assert (await refused(call(with_key))).reason == "SIGNATURE_INVALID"
    report = hub.pen(NORTH).report({os.urandom(16): VERDICT_REFUTED})
    assert (await refused(call(desk.write(lift(), outcomes=report)))).fields == ["outcomes"]
    other = GetCaseRequest(case_id=desk.case_id)
    assert (await refused(hub[SOUTH].cases.GetCase(other))).reason == "CASE_UNKNOWN"
    assert (await refused(hub[NORTH].cases.GetCase(GetCaseRequest(case_id=b"x")))).reason == "INVALID_REQUEST"


async def test_lists_go_page_by_page_and_watches_resume(
    hub: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    desks = [Desk(hub.deployment, NORTH) for _ in range(5)]
    watch = await CaseWatch.begin(hub, NORTH)
    for desk in desks:
        await desk.take(hub, opening())
    await Desk(hub.deployment, SOUTH).take(hub, opening())
    events = [await watch.next() for _ in desks]
    assert [event.case.case_id for event in events] == [desk.case_id for desk in desks]
    resumed = await CaseWatch.begin(hub, NORTH, events[2].resume_token)
    assert [(await resumed.next()).case.case_id for _ in range(2)] == [d.case_id for d in desks[3:]]
    await desks[1].take(hub, close(VERDICT_INCONCLUSIVE))

    async def pages(size: int, *, unfinished: bool = False) -> list[Case]:
        found: list[Case] = []
        request = ListCasesRequest(page_size=size, unfinished=unfinished)
        while True:
            page = await hub[NORTH].cases.ListCases(request)
            found += page.cases
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    assert [case.case_id for case in await pages(2)] == [desk.case_id for desk in desks]
    # Cases of many steps make smaller pages, so that each fits a message.
    monkeypatch.setattr(case_views, "PAGE_BYTES", 500)
    first = await hub[NORTH].cases.ListCases(ListCasesRequest(page_size=100))
    assert len(first.cases) == 2
    assert [case.case_id for case in await pages(100)] == [desk.case_id for desk in desks]
    left = [desk.case_id for desk in desks if desk is not desks[1]]
    assert [case.case_id for case in await pages(100, unfinished=True)] == left
    assert (await refused(hub[NORTH].cases.ListCases(ListCasesRequest()))).reason == "INVALID_REQUEST"
    foreign = ListCasesRequest(page_size=1, page_token=events[0].resume_token)
    assert (await refused(hub[NORTH].cases.ListCases(foreign))).reason == "RESUME_INVALID"


async def test_a_deadline_that_passes_is_told_once_and_lets_the_measure_go_up(hub: Running) -> None:
    desk = Desk(hub.deployment, NORTH)
    await desk.take(hub, opening())
    due = START + RULES.explanation_days * DAY
    await desk.take(hub, action(ACTION_EXPLAIN, due))
    watch = await CaseWatch.begin(hub, NORTH)
    at(hub, due - START)
    await keep_cases(hub.hub._exchange)
    assert not await logged(hub, ENTRY_TYPE_CASE_DEADLINE)
    at(hub, due - START + 1)
    for _ in range(2):
        await keep_cases(hub.hub._exchange)
    (entry,) = await logged(hub, ENTRY_TYPE_CASE_DEADLINE)
    told = CaseDeadlineEntry.FromString(entry.payload)
    assert (entry.member, told.case_id, told.due, told.what) == (NORTH, desk.case_id, due, "explanation")
    assert (await watch.next()).case.state.explanation == EXPLANATION_OVERDUE
    assert (await desk.take(hub, action(ACTION_RESTRICT))).case.state.measure == ACTION_RESTRICT
    await keep_cases(hub.hub._exchange)
    assert len(await logged(hub, ENTRY_TYPE_CASE_DEADLINE)) == 1


async def test_a_step_after_a_deadline_finds_it_on_the_log(hub: Running) -> None:
    """Whoever comes before the clock's minute: what was late stays told."""
    desk = Desk(hub.deployment, NORTH)
    await desk.take(hub, opening())
    due = START + RULES.explanation_days * DAY
    await desk.take(hub, action(ACTION_EXPLAIN, due))
    at(hub, due - START + 1)
    await desk.take(hub, explained())
    (entry,) = await logged(hub, ENTRY_TYPE_CASE_DEADLINE)
    assert entry.idx < (await logged(hub, ENTRY_TYPE_CASE))[-1].idx


async def test_a_closed_case_is_kept_for_its_term_and_one_whose_measure_stands_longer(hub: Running) -> None:
    gone, kept = Desk(hub.deployment, NORTH), Desk(hub.deployment, NORTH)
    for desk in (gone, kept):
        await desk.take(hub, opening())
        await desk.fail_explanation(hub, START)
        await desk.take(hub, action(ACTION_RESTRICT))
    await gone.take(hub, lift())
    for desk in (gone, kept):
        await desk.take(hub, close(VERDICT_CONFIRMED))
    at(hub, RULES.retention_days * DAY - 1)
    await keep_cases(hub.hub._exchange)
    assert (await gone.case(hub)).case_id == gone.case_id
    at(hub, RULES.retention_days * DAY)
    await keep_cases(hub.hub._exchange)
    assert (await refused(gone.case(hub))).reason == "CASE_UNKNOWN"
    assert (await kept.case(hub)).state.measure == ACTION_RESTRICT
    (entry,) = await logged(hub, ENTRY_TYPE_CASE_ERASURE)
    erased = CaseErasureEntry.FromString(entry.payload)
    assert (entry.member, erased.statement_digest, erased.signature) == (NORTH, b"", b"")
    refusal = await refused(hub[NORTH].log.OpenEntries(OpenEntriesRequest(indices=list(erased.entries))))
    assert refusal.reason == "ERASED"
    # And an old statement begins it no second time.
    anew = Desk(hub.deployment, NORTH, gone.case_id).write(opening())
    again = await refused(hub[NORTH].cases.RecordStep(anew))
    assert (again.reason, again.metadata["why"]) == ("STEP_NOT_ALLOWED", "erased")


async def test_erasing_takes_an_officers_order_and_a_settled_proceeding(hub: Running) -> None:
    desk, other = Desk(hub.deployment, NORTH), Desk(hub.deployment, NORTH)
    opened = await desk.take(hub, opening())
    await other.take(hub, opening())
    call = hub[NORTH].cases.EraseCase
    early = await refused(call(desk.erasure()))
    assert (early.reason, early.metadata["why"]) == ("STEP_NOT_ALLOWED", "not-settled")
    await desk.take(hub, acknowledge_notice())
    await desk.take(hub, close(VERDICT_INCONCLUSIVE))
    forged = desk.erasure()
    forged.signature = bytes(64)
    assert (await refused(call(forged))).reason == "SIGNATURE_INVALID"
    assert (await refused(hub[SOUTH].cases.EraseCase(desk.erasure()))).reason == "WRONG_MEMBER"
    order = desk.erasure()
    first = await call(order)
    again = await call(order)
    assert (first.repeated_order, again.repeated_order) == (False, True)
    assert again.receipt.index == first.receipt.index
    (entry,) = await logged(hub, ENTRY_TYPE_CASE_ERASURE)
    erased = CaseErasureEntry.FromString(entry.payload)
    assert erased.statement_digest == sha256(order.statement).digest()
    assert erased.signature == order.signature
    assert erased.entries[0] == opened.receipt.index
    assert len(erased.entries) == 3
    assert (await refused(desk.case(hub))).reason == "CASE_UNKNOWN"
    assert (await refused(call(desk.erasure()))).reason == "CASE_UNKNOWN"
    statement_id = other.erasure(order_id=b"0" * 16)
    await other.take(hub, close(VERDICT_INCONCLUSIVE))
    await call(statement_id)
    reused = await refused(call(desk.erasure(order_id=b"0" * 16)))
    assert reused.reason == "ID_REUSED"


async def test_an_appeal_shows_in_the_state(hub: Running) -> None:
    desk = Desk(hub.deployment, NORTH)
    await desk.take(hub, opening())
    await desk.take(hub, action(ACTION_INTERCEPT))
    case = (await desk.take(hub, appeal())).case
    assert case.state.appeal == APPEAL_PENDING
    assert case.state.decide_by == START + RULES.appeal_days * DAY
    assert case.disputed


async def test_a_step_is_answered_again_when_its_officer_has_left(hub: Running) -> None:
    desk = Desk(hub.deployment, NORTH)
    await desk.take(hub, opening())
    request = desk.write(action(ACTION_AUTHENTICATE))
    first = await hub[NORTH].cases.RecordStep(request)
    desk.taken(request)
    parties = [party.model_dump(mode="json") for party in hub.hub._exchange.membership.roster.parties]
    for party in parties:
        party["officer_keys"] = [key for key in party["officer_keys"] if key["id"] != OFFICER]
    await propose(hub, parties=parties)
    again = await hub[NORTH].cases.RecordStep(request)
    assert again.repeated_step
    assert again.receipt.index == first.receipt.index
    refusal = await refused(hub[NORTH].cases.RecordStep(desk.write(action(ACTION_AUTHENTICATE))))
    assert refusal.reason == "SIGNATURE_INVALID"
    await desk.take(hub, action(ACTION_AUTHENTICATE), officer=SECOND)


async def test_new_rules_make_no_other_story_of_the_past(hub: Running) -> None:
    desk = Desk(hub.deployment, NORTH)
    await desk.take(hub, opening())
    await desk.fail_explanation(hub, START)
    await desk.take(hub, action(ACTION_RESTRICT))
    before = await desk.case(hub)
    rulebook = Rulebook.parse(default_text())
    measures = rulebook.cases.measures
    stricter = measures.model_copy(update={"restrict": measures.freeze})
    cases = rulebook.cases.model_copy(update={"explanation_days": 25, "measures": stricter})
    text = rulebook.model_copy(update={"version": rulebook.version + 1, "cases": cases}).text().encode()
    await propose(hub, rulebook=text, rulebook_sha256=sha256(text).hexdigest())
    assert (await desk.case(hub)).steps == before.steps
    assert (await desk.case(hub)).state.measure == ACTION_RESTRICT  # one officer was enough then
    refusal = await refused(hub[NORTH].cases.RecordStep(desk.write(action(ACTION_EXPLAIN, START + 20 * DAY))))
    assert refusal.metadata["why"] == "explanation-time"
    await desk.take(hub, action(ACTION_EXPLAIN, START + 26 * DAY))


async def test_a_customer_gets_the_notice_that_everybody_gets_with_an_action(hub: Running) -> None:
    desk = Desk(hub.deployment, NORTH)
    await desk.take(hub, opening())
    other = action(ACTION_INTERCEPT)
    other["action"].notice.code = "reason-mule-account"
    refusal = await refused(hub[NORTH].cases.RecordStep(desk.write(other)))
    assert (refusal.reason, refusal.fields) == ("INVALID_REQUEST", ["statement.action.notice.code"])
    asked = action(ACTION_EXPLAIN, explain_by=START + RULES.explanation_days * DAY)
    asked["action"].notice.code = "step-explanation-asked"
    await desk.take(hub, asked)
    refusal = await refused(hub[NORTH].cases.RecordStep(desk.write(acknowledge_notice("advice-to-a-few"))))
    assert refusal.reason == "NOTICE_UNKNOWN"
    await desk.take(hub, acknowledge_notice("step-explanation-asked"))
