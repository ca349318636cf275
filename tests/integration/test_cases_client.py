"""Cases as officers work them through the client: each step, what follows for signals, crashes in between."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio
from signalexchange.cases import parse_step, sign_step, step_name
from signalexchange.client import ExchangeClient
from signalexchange.collect import collect, keep_receipts
from signalexchange.credentials import load_signing_key
from signalexchange.errors import ConfigError, MalformedError, RefusedError, VerificationError
from signalexchange.journal import Kind
from signalexchange.notices.rendering import Rendered, Value, render
from signalexchange.officers import Grounds
from signalexchange.signals import SignalDraft, Subject
from signalexchange.v1.case_service_pb2 import LANGUAGE_ZH_CN, Case, CaseEvidence, RecordStepRequest
from signalexchange.v1.identifier_pb2 import SubjectToken
from signalexchange.v1.match_service_pb2 import MATCH_STATUS_CONFIRMED
from signalexchange.v1.outcome_service_pb2 import (
    VERDICT_CONFIRMED,
    VERDICT_INCONCLUSIVE,
    VERDICT_REFUTED,
)
from signalexchange.v1.signal_pb2 import EVIDENCE_GRADE_SUSPECTED, WITHDRAWAL_REASON_RESOLVED
from signalexchange.v1.signal_service_pb2 import (
    ACTION_ALLOW,
    ACTION_AUTHENTICATE,
    ACTION_EXPLAIN,
    ACTION_FREEZE,
    ACTION_INTERCEPT,
    ACTION_RESTRICT,
    SIGNAL_CHANGE_DISPUTED,
    SIGNAL_CHANGE_REFUTED,
    Action,
)
from signalexchange.verify import verify
from signalexchange.watch import WatchEvent

from exchange.replay.running import set_clock
from tests.support.sdk import CARD, MERCHANT, PURPOSE, World, draft, luhn, world

pytestmark = pytest.mark.asyncio(loop_scope="module")
NORTH, SOUTH = "bank-north", "bank-south"
SHOP = "91350100M000100Y43"
DAY = 86_400
FIRST, SECOND, THIRD = Grounds("officer-1"), Grounds("officer-2"), Grounds("officer-3")
WHY = "cash-out-suspected"
CLIENTS: dict[str, ExchangeClient] = {}


def notice(action: Action.ValueType, deadline: int = 0) -> Rendered:
    """The notice that goes with an action."""
    values: dict[str, Value] = {"contact": "95588", "institution": "North Bank", "reference": "case-1"}
    if action in (ACTION_EXPLAIN, ACTION_INTERCEPT):
        values |= {"merchant": "a shop", "amount": "5000"}
    if action == ACTION_EXPLAIN:
        values["deadline"] = deadline
    return render(f"advice-{Action.Name(action).removeprefix('ACTION_').lower()}", "en", values)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exchange(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    CLIENTS.clear()
    start = int(time.time())
    epochs = {1: (start - DAY, start + 900 * DAY)}
    async with world(tmp_path_factory.mktemp("cases"), clock=start, epochs=epochs) as running:
        yield running


async def client(exchange: World, party: str) -> ExchangeClient:
    if party not in CLIENTS:
        CLIENTS[party] = await exchange.client(party)
    return CLIENTS[party]


def later(exchange: World, days: float) -> None:
    clock = exchange.deployment.clock
    set_clock(clock, int(clock.read_text()) + int(days * DAY))


async def subject(member: ExchangeClient, number: int) -> SubjectToken:
    (token,) = await member.tokens(CARD, [luhn(number)])
    return SubjectToken(type=CARD, epoch=token.epoch, value=token.value)


async def opened(member: ExchangeClient, number: int) -> bytes:
    """A case by hand about card `number`, opened by the first officer."""
    token = await subject(member, number)
    return (await member.cases.open(token, Grounds("officer-1", WHY))).case.case_id


async def failed_explanation(exchange: World, member: ExchangeClient, case_id: bytes) -> None:
    by = member.now() + 6 * DAY
    await member.cases.act(case_id, ACTION_EXPLAIN, FIRST, notice=notice(ACTION_EXPLAIN, by), explain_by=by)
    later(exchange, 6.1)


def named(*signal_ids: bytes) -> Grounds:
    return Grounds("officer-1", evidence=tuple(CaseEvidence(signal_id=id_) for id_ in signal_ids))


async def test_the_whole_ladder_to_a_sanction_and_back(
    exchange: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    north = await client(exchange, NORTH)
    published = await north.publish([draft(1, now=north.now())])
    case_id = await opened(north, 1)
    assert north.cases.references(await north.cases.get(case_id)) == ["case-1"]
    await north.cases.act(case_id, ACTION_AUTHENTICATE, FIRST, notice=notice(ACTION_AUTHENTICATE))
    await failed_explanation(exchange, north, case_id)
    evidence = named(published.signal_ids[0])
    restricted = await north.cases.act(case_id, ACTION_RESTRICT, evidence, notice=notice(ACTION_RESTRICT))
    shown = parse_step(restricted.case.steps[-1].statement).action.notice
    assert shown.digest == sha256(north.cases.records(case_id)[-1].content).digest()
    assert restricted.case.state.measure == ACTION_RESTRICT
    await failed_explanation(exchange, north, case_id)
    proposed = await north.cases.act(case_id, ACTION_FREEZE, evidence, notice=notice(ACTION_FREEZE))
    assert (proposed.case.state.measure, proposed.case.state.proposed) == (ACTION_RESTRICT, ACTION_FREEZE)
    with pytest.raises(ConfigError, match="not what is proposed"):
        await north.cases.decide(case_id, ACTION_INTERCEPT, True, SECOND)
    # Nor does it help that the hub calls the proposal by another name.
    lied = proposed.case
    lied.state.proposed = ACTION_INTERCEPT

    async def lie(_: bytes) -> Case:
        return lied

    with monkeypatch.context() as patched:
        patched.setattr(north.cases, "get", lie)
        with pytest.raises(ConfigError, match="not what is proposed"):
            await north.cases.decide(case_id, ACTION_INTERCEPT, True, SECOND)
    with pytest.raises(RefusedError) as caught:
        await north.cases.decide(case_id, ACTION_FREEZE, True, FIRST)
    assert caught.value.reason == "OFFICER_NOT_INDEPENDENT"
    frozen = await north.cases.decide(case_id, ACTION_FREEZE, True, SECOND)
    assert frozen.case.state.measure == ACTION_FREEZE

    closed = await north.cases.close(case_id, VERDICT_CONFIRMED, FIRST)
    (sanction,) = closed.followed
    (note,) = [each for each in north.journal.signals_of("case-1") if each.code == "sanction-frozen"]
    assert sanction.signal_ids == (note.signal_id,)
    assert (await north.cases.finish(case_id)) == []
    # One group's word freezes nothing elsewhere.
    south = await client(exchange, SOUTH)
    (answer,) = await south.look_up(PURPOSE, [await subject(south, 1)])
    assert answer.risk is not None
    assert "sanction-frozen" in {reason.code for reason in answer.risk.reasons}
    assert answer.risk.advice <= ACTION_AUTHENTICATE

    lifted = await north.cases.lift(case_id, THIRD)
    assert lifted.case.state.measure == ACTION_ALLOW
    assert [each.kind for each in lifted.followed] == [Kind.ORDER]
    (answer,) = await south.look_up(PURPOSE, [await subject(south, 1)])
    assert answer.risk is not None
    assert "sanction-frozen" not in {reason.code for reason in answer.risk.reasons}
    assert (await north.cases.finish(case_id)) == []

    case = await north.cases.get(case_id)
    names = [step_name(parse_step(step.statement)) for step in case.steps]
    assert names == [
        "open",
        "authenticate",
        "explain",
        "restrict",
        "explain",
        "freeze",
        "decide-proposal",
        "close",
        "lift",
    ]
    audit = await client(exchange, "audit-one")
    await collect(audit, tmp_path)
    keep_receipts(north.journal, tmp_path)
    result = verify(tmp_path, exchange.deployment.genesis.read_bytes())
    assert result.problems == []


async def test_what_the_customer_says_stays_in_the_journal(exchange: World) -> None:
    north = await client(exchange, NORTH)
    case_id = await opened(north, 2)
    by = north.now() + 6 * DAY
    await north.cases.act(case_id, ACTION_EXPLAIN, FIRST, notice=notice(ACTION_EXPLAIN, by), explain_by=by)
    said = "货物已签收，附发票".encode()
    received = await north.cases.receive_explanation(case_id, said, SECOND)
    (_, kept) = north.cases.records(case_id)
    statement = parse_step(received.case.steps[-1].statement)
    assert statement.receive_explanation.record == kept.commitment
    assert (kept.what, kept.content) == ("explanation", said)
    assert said not in received.case.steps[-1].statement
    grounds = Grounds("officer-1", records=(b"the invoice is forged: the shop closed in May",))
    judged = await north.cases.judge_explanation(case_id, False, grounds)
    (evidence,) = parse_step(judged.case.steps[-1].statement).evidence
    assert evidence.record == north.cases.records(case_id)[2].commitment


async def watched(member: ExchangeClient, events: list[WatchEvent]) -> None:
    async for event in member.watch(from_now=True):
        events.append(event)


async def until(events: list[WatchEvent], count: int) -> None:
    for _ in range(400):
        if len(events) >= count:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"told {len(events)} times, not {count}")


async def test_an_appeal_pauses_and_corrects_at_another_member(exchange: World, tmp_path: Path) -> None:
    north, south = await client(exchange, NORTH), await client(exchange, SOUTH)
    published = await north.publish([draft(3, now=north.now())])
    events: list[WatchEvent] = []
    watching = asyncio.create_task(watched(south, events))
    try:
        await asyncio.sleep(0.3)
        (before,) = await south.look_up(PURPOSE, [await subject(south, 3)])
        assert before.risk is not None
        case_id = await opened(north, 3)
        await failed_explanation(exchange, north, case_id)
        await north.cases.act(
            case_id, ACTION_RESTRICT, named(*published.signal_ids), notice=notice(ACTION_RESTRICT)
        )
        await north.cases.receive_appeal(case_id, b"wrong", SECOND, signal_ids=published.signal_ids)
        await until(events, 1)
        (during,) = await south.look_up(PURPOSE, [await subject(south, 3)])
        assert during.risk is not None
        assert during.risk.disputed
        assert during.risk.advice <= ACTION_AUTHENTICATE
        with pytest.raises(RefusedError) as caught:
            await north.cases.decide_appeal(case_id, True, FIRST)
        assert caught.value.reason == "OFFICER_NOT_INDEPENDENT"
        granted = await north.cases.decide_appeal(case_id, True, THIRD)
        assert granted.case.state.measure == ACTION_ALLOW
        await until(events, 2)
        (after,) = await south.look_up(PURPOSE, [await subject(south, 3)])
        assert after.risk is None
    finally:
        await south.resume_pending()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert [event.change for event in events] == [SIGNAL_CHANGE_DISPUTED, SIGNAL_CHANGE_REFUTED]
    corrections = {event.correction for event in events}
    assert len(corrections - {None}) == 2
    closed = await north.cases.close(case_id, VERDICT_INCONCLUSIVE, FIRST)
    assert closed.followed == ()
    audit = await client(exchange, "audit-one")
    await collect(audit, tmp_path)
    result = verify(tmp_path, exchange.deployment.genesis.read_bytes())
    assert result.problems == []
    assert result.verified["acknowledged"] == 2


async def test_a_granted_appeal_takes_back_what_was_confirmed(exchange: World) -> None:
    north, south = await client(exchange, NORTH), await client(exchange, SOUTH)
    published = await north.publish([draft(13, now=north.now())])
    case_id = await opened(north, 13)
    await failed_explanation(exchange, north, case_id)
    await north.cases.act(
        case_id, ACTION_RESTRICT, named(*published.signal_ids), notice=notice(ACTION_RESTRICT)
    )
    closed = await north.cases.close(case_id, VERDICT_CONFIRMED, FIRST)
    assert [each.kind for each in closed.followed] == [Kind.BATCH]
    await north.cases.receive_appeal(case_id, b"it was my brother", SECOND)
    granted = await north.cases.decide_appeal(case_id, True, THIRD)
    (order,) = granted.followed
    assert order.kind is Kind.ORDER
    (answer,) = await south.look_up(PURPOSE, [await subject(south, 13)])
    assert answer.risk is None, "neither the signal nor the sanction counts any more"
    assert await north.cases.finish(case_id) == []


async def test_corrections_are_acknowledged_by_themselves_once_handled(exchange: World) -> None:
    north, south = await client(exchange, NORTH), await client(exchange, SOUTH)
    await south.subscribe(PURPOSE, [await subject(south, 11)])
    events: list[WatchEvent] = []
    watching = asyncio.create_task(watched(south, events))
    name = f"corrections {exchange.deployment.origin}"
    try:
        await asyncio.sleep(0.3)
        published = await north.publish([draft(11, now=north.now())])
        await north.withdraw(published.signal_ids, WITHDRAWAL_REASON_RESOLVED)
        await until(events, 2)
        index = events[1].correction
        assert events[0].correction is None
        assert index is not None
        for _ in range(100):
            if south.journal.state(name) == b"":
                break
            await asyncio.sleep(0.05)
        assert south.journal.state(name) == b""
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    # As after a crash before the acknowledgement: what is kept is acknowledged when next there is a chance.
    south.journal.set_state(name, index.to_bytes(8, "big"))
    assert await south.resume_pending() == []
    assert south.journal.state(name) == b""


async def test_a_case_that_was_tampered_with_is_not_believed(exchange: World) -> None:
    north, south = await client(exchange, NORTH), await client(exchange, SOUTH)
    case_id = await opened(north, 12)
    await north.cases.act(case_id, ACTION_AUTHENTICATE, FIRST, notice=notice(ACTION_AUTHENTICATE))
    taken = await north.cases.act(case_id, ACTION_AUTHENTICATE, SECOND, notice=notice(ACTION_AUTHENTICATE))
    genuine = Case.FromString(taken.case.SerializeToString())
    foreign = await south.cases.get(await opened(south, 12))

    def dropped(case: Case) -> None:
        del case.steps[1]

    def swapped(case: Case) -> None:
        case.steps[1].statement, case.steps[2].statement = case.steps[2].statement, case.steps[1].statement

    def altered(case: Case) -> None:
        case.steps[2].statement = case.steps[2].statement.replace(b"advice-", b"reason-")

    def borrowed(case: Case) -> None:
        case.steps[0].CopyFrom(foreign.steps[0])

    def renamed(case: Case) -> None:
        case.case_id = b"?" * 16

    for change in (dropped, swapped, altered, borrowed, renamed):
        case = Case.FromString(genuine.SerializeToString())
        change(case)
        with pytest.raises((VerificationError, MalformedError)):
            await north.cases.checked(case)
    assert await north.cases.checked(genuine) == genuine


async def test_two_officers_at_once(exchange: World) -> None:
    north = await client(exchange, NORTH)
    case_id = await opened(north, 4)
    results = await asyncio.gather(
        north.cases.act(case_id, ACTION_AUTHENTICATE, FIRST, notice=notice(ACTION_AUTHENTICATE)),
        north.cases.act(case_id, ACTION_AUTHENTICATE, SECOND, notice=notice(ACTION_AUTHENTICATE)),
        return_exceptions=True,
    )
    refused = [each for each in results if isinstance(each, BaseException)]
    assert len(refused) == 1
    # Either the hub saw both, or the second found the first's fate unknown here.
    assert isinstance(refused[0], RefusedError | ConfigError)
    if isinstance(refused[0], RefusedError):
        assert refused[0].reason == "CASE_CONFLICT"
    case = await north.cases.get(case_id)
    assert len(case.steps) == 2
    again = await north.cases.act(case_id, ACTION_AUTHENTICATE, SECOND, notice=notice(ACTION_AUTHENTICATE))
    assert len(again.case.steps) == 3


async def test_a_step_whose_answer_was_lost_is_sent_again_byte_for_byte(exchange: World) -> None:
    north = await client(exchange, NORTH)
    case_id = await opened(north, 5)
    taken = await north.cases.act(case_id, ACTION_AUTHENTICATE, FIRST, notice=notice(ACTION_AUTHENTICATE))
    (_, acknowledged) = north.journal.steps(case_id)
    # As after a crash between sending and the answer's coming.
    with north.journal._store.transaction():
        north.journal._put_sent(type(acknowledged)(Kind.STEP, acknowledged.id, acknowledged.request))
    with pytest.raises(ConfigError, match="journal resume"):
        await north.cases.lift(case_id, FIRST)
    (resumed,) = await north.resume_pending()
    assert not isinstance(resumed, RefusedError)
    assert (resumed.kind, resumed.repeated, resumed.index) == (Kind.STEP, True, taken.index)
    assert len((await north.cases.get(case_id)).steps) == 2


async def test_a_step_that_another_overtook_is_refused_for_good(exchange: World) -> None:
    north = await client(exchange, NORTH)
    case_id = await opened(north, 6)
    # Prepared and never sent: meanwhile the officer's colleague acts from another machine.
    before = await north.cases.act(case_id, ACTION_AUTHENTICATE, FIRST, notice=notice(ACTION_AUTHENTICATE))
    statement = parse_step(before.case.steps[-1].statement)
    statement.action.notice.language = LANGUAGE_ZH_CN
    stale = sign_step(statement, load_signing_key(exchange.config(NORTH).officers["officer-1"]))
    id_ = sha256(stale.statement).digest()[:16]
    north.journal.prepare_step(id_, stale.SerializeToString(), case_id)
    (outcome,) = await north.resume_pending()
    assert isinstance(outcome, RefusedError)
    assert outcome.reason == "CASE_CONFLICT"
    assert north.journal.pending() == []
    await north.cases.act(case_id, ACTION_AUTHENTICATE, FIRST, notice=notice(ACTION_AUTHENTICATE))


async def test_closing_reports_on_own_signals_once(exchange: World) -> None:
    north = await client(exchange, NORTH)
    published = await north.publish([draft(7, now=north.now())])
    case_id = await opened(north, 7)
    await north.cases.close(case_id, VERDICT_REFUTED, FIRST)
    south = await client(exchange, SOUTH)
    (answer,) = await south.look_up(PURPOSE, [await subject(south, 7)])
    assert answer.risk is None
    other = await opened(north, 7)
    # Its signal has its verdict already: nothing is said of it again.
    await north.cases.close(other, VERDICT_INCONCLUSIVE, FIRST)
    steps = [RecordStepRequest.FromString(sent.request) for sent in north.journal.steps(other)]
    assert not steps[-1].HasField("outcomes")
    assert published.signal_ids


async def test_cases_are_listed_watched_and_erased(exchange: World) -> None:
    north = await client(exchange, NORTH)
    async with aclosing(north.cases.watch(from_now=True)) as stream:
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.3)
        case_id = await opened(north, 8)
        news = await asyncio.wait_for(first, 20)
    assert news.case.case_id == case_id
    await north.cases.handled(news)
    assert case_id in {case.case_id async for case in north.cases.all(unfinished=True)}
    with pytest.raises(RefusedError) as caught:
        await north.cases.erase(case_id, "officer-1")
    assert caught.value.reason == "STEP_NOT_ALLOWED"
    await north.cases.close(case_id, VERDICT_INCONCLUSIVE, FIRST)
    assert case_id not in {case.case_id async for case in north.cases.all(unfinished=True)}
    index = await north.cases.erase(case_id, "officer-1")
    assert await north.cases.erase(case_id, "officer-1") == index
    with pytest.raises(RefusedError) as caught:
        await north.cases.get(case_id)
    assert caught.value.reason == "CASE_UNKNOWN"
    assert (north.journal.steps(case_id), north.cases.records(case_id)) == ([], [])


def leg(code: str, now: int, *, back: bool = False) -> SignalDraft:
    """A payment to the shop, or most of it back to the payer."""
    card, shop = Subject(CARD, luhn(20)), Subject(MERCHANT, SHOP)
    return draft(
        20,
        now=now,
        code=code,
        subject=shop if back else card,
        counterparty=card if back else shop,
        grade=EVIDENCE_GRADE_SUSPECTED,
        amount=Decimal("4600" if back else "5000"),
        first_seen=now - (28 if back else 30) * 3600,
        last_seen=now - (28 if back else 30) * 3600,
    )


async def test_closing_a_match_s_case_says_what_the_match_was(exchange: World) -> None:
    lender, north = await client(exchange, "pay-lotus"), await client(exchange, NORTH)
    await lender.publish([leg("credit-purchase", lender.now())])
    await north.publish([leg("pass-through", north.now(), back=True)])
    await exchange.running.hub._exchange.matching.settled()
    (match,) = [each async for each in lender.matches.all()]
    payer = await subject(lender, 20)
    both = [
        await member.cases.open(payer, Grounds("officer-1", "funds-loop"), match_id=match.match_id)
        for member in (lender, north)
    ]
    assert both[0].case.case_id == both[1].case.case_id
    assert (both[1].case.groups, len(both[1].case.steps)) == (2, 1)
    await lender.cases.close(both[0].case.case_id, VERDICT_CONFIRMED, FIRST)
    assert (await lender.matches.get(match.match_id)).status == MATCH_STATUS_CONFIRMED
    # The other member's proceeding is its own: it closes as it found.
    await north.cases.close(both[0].case.case_id, VERDICT_INCONCLUSIVE, FIRST)
    # And so is the case of another customer of the same match.
    other = next(each.token for each in match.subjects if each.token != payer)
    opened = await lender.cases.open(other, Grounds("officer-1", "funds-loop"), match_id=match.match_id)
    closed = await lender.cases.close(opened.case.case_id, VERDICT_REFUTED, FIRST)
    assert closed.case.state.outcome == VERDICT_REFUTED
    assert (await lender.matches.get(match.match_id)).status == MATCH_STATUS_CONFIRMED


async def test_a_case_on_the_advice_of_a_look_up_judges_what_it_named(exchange: World) -> None:
    north, south = await client(exchange, NORTH), await client(exchange, SOUTH)
    token = await subject(south, 10)
    await south.subscribe(PURPOSE, [token])
    published = await north.publish([draft(10, now=north.now())])
    (answer,) = await south.look_up(PURPOSE, [token])
    taken = await south.cases.open(token, Grounds("officer-1", WHY), look_up=answer.index)
    with pytest.raises(RefusedError) as caught:
        await south.cases.act(
            taken.case.case_id, ACTION_INTERCEPT, named(b"?" * 16), notice=notice(ACTION_INTERCEPT)
        )
    assert caught.value.reason == "SIGNAL_UNKNOWN"
    held = await south.cases.act(
        taken.case.case_id, ACTION_INTERCEPT, named(*published.signal_ids), notice=notice(ACTION_INTERCEPT)
    )
    assert held.case.state.measure == ACTION_INTERCEPT
    await south.cases.lift(taken.case.case_id, FIRST)
    await south.cases.close(taken.case.case_id, VERDICT_REFUTED, FIRST)
    (answer,) = await (await client(exchange, "pay-lotus")).look_up(PURPOSE, [token])
    assert answer.risk is not None
    assert answer.risk.disputed


async def test_who_signs_must_be_said_and_be_an_officer(exchange: World) -> None:
    north = await client(exchange, NORTH)
    case_id = await opened(north, 9)
    with pytest.raises(ConfigError, match="say which officer signs: officer-1, officer-2, officer-3"):
        await north.cases.lift(case_id, Grounds())
    with pytest.raises(ConfigError, match="no key 'officer-9'"):
        await north.cases.lift(case_id, Grounds("officer-9"))
    audit = await client(exchange, "audit-one")
    with pytest.raises(ConfigError, match=r"\[officers\]"):
        await audit.cases.open(await subject(north, 9), Grounds(reason=WHY))
    with pytest.raises(ConfigError, match="at least one piece of evidence"):
        await north.cases.act(case_id, ACTION_INTERCEPT, FIRST, notice=notice(ACTION_INTERCEPT))
    with pytest.raises(ConfigError, match="for a reason"):
        await north.cases.open(await subject(north, 9), FIRST)
