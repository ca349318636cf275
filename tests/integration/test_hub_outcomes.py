"""Outcomes: who may report them, what a dispute does until when, and whom verdicts make less believed."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from signalexchange.outcomes import open_outcomes
from signalexchange.rulebook import Rulebook, default_text
from signalexchange.v1.log_entry_pb2 import OutcomesEntry
from signalexchange.v1.match_service_pb2 import (
    MATCH_STATUS_CONFIRMED,
    MATCH_STATUS_EXPIRED,
    MATCH_STATUS_OPEN,
    ListMatchesRequest,
    Match,
)
from signalexchange.v1.outcome_service_pb2 import (
    VERDICT_CONFIRMED,
    VERDICT_INCONCLUSIVE,
    VERDICT_REFUTED,
    GetReliabilityRequest,
    Outcome,
    OutcomeStatement,
    ReportOutcomesRequest,
)
from signalexchange.v1.signal_pb2 import Signal, Tlp
from signalexchange.v1.signal_service_pb2 import (
    ACTION_AUTHENTICATE,
    SIGNAL_CHANGE_DISPUTED,
    SIGNAL_CHANGE_REFUTED,
    SIGNAL_CHANGE_UPHELD,
    SubjectRisk,
)
from signalexchange.v1.transparency_service_pb2 import OpenEntriesRequest

from exchange.provision import PartySpec
from exchange.storage.sqlite import SqliteStore
from tests.support.exchange import Running, deploy, refused, serving
from tests.support.loops import IBAN, PHONE, TYPES, Loop
from tests.support.members import DAY, PURPOSE, look_up, signal
from tests.support.outcomes import START, Watch, ask, at, claim, follow, publish, report

NORTH, SOUTH, PAY, SHOP = "bank-north", "bank-south", "pay-lotus", "shop-river"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path, clock=START)) as running:
        yield running


async def test_a_report_is_durable_logged_and_idempotent(hub: Running) -> None:
    mine, theirs = claim(), claim()
    await follow(hub, NORTH, theirs.subject.value)
    await publish(hub, NORTH, mine)
    await publish(hub, SOUTH, theirs)
    request = hub.pen(NORTH).report({mine.signal_id: VERDICT_CONFIRMED, theirs.signal_id: VERDICT_REFUTED})
    first = await hub[NORTH].outcomes.ReportOutcomes(request, timeout=10)
    again = await hub[NORTH].outcomes.ReportOutcomes(request, timeout=10)
    assert not first.repeated_report
    assert again.repeated_report
    assert again.receipt.index == first.receipt.index
    opened = await hub[NORTH].log.OpenEntries(OpenEntriesRequest(indices=[first.receipt.index]))
    entry = OutcomesEntry.FromString(opened.entries[0].payload)
    assert (entry.statement, entry.signature) == (request.statement, request.signature)
    key = hub.hub._exchange.membership.roster.signing_key(NORTH, hub.pen(NORTH).key_id, START)
    assert key is not None
    statement = open_outcomes(entry.statement, entry.signature, key)
    assert {outcome.signal_id for outcome in statement.outcomes} == {mine.signal_id, theirs.signal_id}
    other = await refused(hub[SOUTH].log.OpenEntries(OpenEntriesRequest(indices=[first.receipt.index])))
    assert other.reason == "OPENING_NOT_ALLOWED"


async def test_reports_that_are_refused_change_nothing(hub: Running) -> None:
    mine, told, hidden = claim(), claim(), claim()
    await follow(hub, NORTH, told.subject.value)
    await publish(hub, NORTH, mine)
    await publish(hub, SOUTH, told, hidden)
    # A hit is no delivery: it names no signal.
    assert await ask(hub, NORTH, hidden.subject.value)
    await report(hub, NORTH, {mine.signal_id: VERDICT_INCONCLUSIVE})
    size = hub.hub._exchange.writer.head.tree.size
    north = hub.pen(NORTH)
    call = hub[NORTH].outcomes.ReportOutcomes

    async def refusal(request: Any) -> Any:
        return await refused(call(request, timeout=10))

    good = {told.signal_id: VERDICT_REFUTED}
    for id_ in (hidden.signal_id, os.urandom(16)):
        found = await refusal(north.report({**good, id_: VERDICT_REFUTED}))
        assert found.reason == "SIGNAL_UNKNOWN"
        assert len(found.fields) == 1
    found = await refusal(north.report({**good, mine.signal_id: VERDICT_CONFIRMED}))
    assert found.reason == "OUTCOME_CONFLICT"
    statement = OutcomeStatement.FromString(
        north.report({**good, mine.signal_id: VERDICT_CONFIRMED}).statement
    )
    position = [outcome.signal_id for outcome in statement.outcomes].index(mine.signal_id)
    assert found.metadata["index"] == str(position)
    assert found.fields == [f"outcomes[{position}].verdict"]
    unsigned = north.report(good)
    unsigned.signature = bytes(64)
    assert (await refusal(unsigned)).reason == "SIGNATURE_INVALID"
    assert (await refusal(hub.pen(SOUTH).report(good))).reason == "WRONG_MEMBER"
    twice = OutcomeStatement.FromString(north.report(good).statement)
    twice.outcomes.append(Outcome(signal_id=told.signal_id, verdict=VERDICT_CONFIRMED))
    encoded = twice.SerializeToString()
    signed = ReportOutcomesRequest(statement=encoded, signature=bytes(64))
    assert (await refusal(signed)).reason == "INVALID_REQUEST"
    risk = await ask(hub, PAY, told.subject.value)
    assert risk is not None
    assert not risk.disputed
    # Refusals and access records alone were added.
    entries = await hub.hub._store.entry_range(size, 100)
    assert {entry.type for entry in entries} <= {5, 8}


async def test_a_report_id_is_used_once(hub: Running) -> None:
    mine, other = claim(), claim()
    await publish(hub, NORTH, mine, other)
    id_ = os.urandom(16)
    await report(hub, NORTH, {mine.signal_id: VERDICT_CONFIRMED}, report_id=id_)
    request = hub.pen(NORTH).report({other.signal_id: VERDICT_CONFIRMED}, report_id=id_)
    assert (await refused(hub[NORTH].outcomes.ReportOutcomes(request))).reason == "ID_REUSED"


async def test_a_dispute_caps_advice_until_the_issuer_answers(hub: Running) -> None:
    token = os.urandom(32)
    claims = {member: claim(token) for member in (NORTH, SOUTH, SHOP)}
    await follow(hub, PAY, token)
    for member, one in claims.items():
        await publish(hub, member, one, claim(token))
    before = await ask(hub, PAY, token)
    assert before is not None
    assert before.advice > ACTION_AUTHENTICATE
    watches = {member: await Watch.begin(hub, member) for member in (NORTH, SOUTH, PAY)}
    disputed = claims[NORTH].signal_id
    await report(hub, PAY, {disputed: VERDICT_REFUTED})
    event = await watches[NORTH].next()
    assert (event.signal_id, event.change, event.own) == (disputed, SIGNAL_CHANGE_DISPUTED, True)
    assert await watches[PAY].quiet()  # it knows
    capped = await ask(hub, PAY, token)
    assert capped is not None
    assert capped.disputed
    assert capped.advice == ACTION_AUTHENTICATE
    assert capped.score == before.score
    # South looked up nothing: it isn't told.
    assert await watches[SOUTH].quiet()
    watches[PAY] = await Watch.begin(hub, PAY)
    await report(hub, NORTH, {disputed: VERDICT_CONFIRMED})
    event = await watches[NORTH].next()
    assert (event.signal_id, event.change, event.own) == (disputed, SIGNAL_CHANGE_UPHELD, True)
    event = await watches[PAY].next()
    assert (event.signal_id, event.change, event.own) == (disputed, SIGNAL_CHANGE_UPHELD, False)
    assert event.subject.value == token
    assert await ask(hub, PAY, token) == before


async def test_a_dispute_ends_with_its_deadline_and_cannot_be_repeated(hub: Running) -> None:
    token = os.urandom(32)
    claims = {member: claim(token) for member in (NORTH, SOUTH, SHOP)}
    await follow(hub, PAY, token)
    for member, one in claims.items():
        await publish(hub, member, one, claim(token))
    await report(hub, PAY, {claims[NORTH].signal_id: VERDICT_REFUTED})
    days = Rulebook.parse(default_text()).matching.dispute_days
    at(hub, days * DAY - 1)
    risk = await ask(hub, PAY, token)
    assert risk is not None
    assert risk.disputed
    at(hub, days * DAY)
    await report(hub, PAY, {claims[NORTH].signal_id: VERDICT_REFUTED})
    risk = await ask(hub, PAY, token)
    assert risk is not None
    assert not risk.disputed
    assert risk.advice > ACTION_AUTHENTICATE


async def test_a_verdict_given_before_the_dispute_answers_it_when_given_again(hub: Running) -> None:
    one = claim()
    await follow(hub, PAY, one.subject.value)
    await publish(hub, NORTH, one)
    await report(hub, NORTH, {one.signal_id: VERDICT_CONFIRMED})
    await report(hub, PAY, {one.signal_id: VERDICT_REFUTED})
    risk = await ask(hub, SOUTH, one.subject.value)
    assert risk is not None
    assert risk.disputed
    await report(hub, NORTH, {one.signal_id: VERDICT_CONFIRMED})
    risk = await ask(hub, SOUTH, one.subject.value)
    assert risk is not None
    assert not risk.disputed


async def test_what_its_issuer_refutes_stops_counting_and_everybody_shown_it_is_told(hub: Running) -> None:
    one, other = claim(), claim()
    await follow(hub, PAY, one.subject.value)
    await publish(hub, NORTH, one, other)
    assert await ask(hub, SOUTH, one.subject.value)
    watches = {member: await Watch.begin(hub, member) for member in (NORTH, SOUTH, PAY, SHOP)}
    await report(hub, NORTH, {one.signal_id: VERDICT_REFUTED})
    for member in (NORTH, SOUTH, PAY):
        event = await watches[member].next()
        assert (event.signal_id, event.change) == (one.signal_id, SIGNAL_CHANGE_REFUTED)
        assert event.own == (member == NORTH)
    assert await watches[SHOP].quiet()
    assert await ask(hub, SOUTH, one.subject.value) is None
    assert await ask(hub, SOUTH, other.subject.value)


@pytest.fixture
async def city(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path, clock=START, types=TYPES)) as running:
        yield running


async def found(hub: Running, member: str, **changes: Any) -> list[Match]:
    """The member's matches once everything is matched."""
    await hub.hub._exchange.matching.settled()
    request = ListMatchesRequest(**({"page_size": 100} | changes))
    return list((await hub[member].matches.ListMatches(request, timeout=10)).matches)


async def loop_at(hub: Running) -> tuple[Loop, dict[str, Signal], Match]:
    """A loop that the lender and both banks report, by whom which leg, and the match."""
    loop = Loop(start=START // 300 * 300 - DAY)
    signals = {PAY: loop.purchase(), NORTH: loop.settlement(), SOUTH: loop.backflow()}
    for member, seen in signals.items():
        await publish(hub, member, seen)
    (match,) = await found(hub, PAY)
    return loop, signals, match


async def test_a_verdict_on_a_match_is_told_and_counts_for_its_pattern(city: Running) -> None:
    _, _, match = await loop_at(city)
    id_ = match.match_id
    for member in (SHOP, NORTH):
        request = city.pen(member).report(dict.fromkeys([id_, os.urandom(16)], VERDICT_REFUTED), matches=True)
        refusal = await refused(city[member].outcomes.ReportOutcomes(request))
        assert refusal.reason == "MATCH_UNKNOWN"
        assert len(refusal.fields) == (2 if member == SHOP else 1)
    await report(city, PAY, {id_: VERDICT_CONFIRMED}, matches=True)
    (confirmed,) = await found(city, NORTH)
    assert (confirmed.match_id, confirmed.status) == (id_, MATCH_STATUS_CONFIRMED)
    request = city.pen(PAY).report({id_: VERDICT_REFUTED}, matches=True)
    assert (await refused(city[PAY].outcomes.ReportOutcomes(request))).reason == "OUTCOME_CONFLICT"
    await report(city, SOUTH, {id_: VERDICT_CONFIRMED}, matches=True)
    await city.hub._exchange.matching.settled()
    answer = await city[NORTH].outcomes.GetReliability(GetReliabilityRequest())
    assert [code.code for code in answer.codes] == ["funds-loop"]
    assert answer.codes[0].reliability.confirmed == 2
    assert answer.codes[0].reliability.factor > 1000
    assert (answer.own.confirmed, answer.own.refuted) == (2, 0)  # the bank between them
    lender = await city[PAY].outcomes.GetReliability(GetReliabilityRequest())
    assert lender.own.confirmed == 1  # not by its own word


async def test_a_verdict_outlives_a_restart_before_it_was_matched(tmp_path: Path) -> None:
    deployment = deploy(tmp_path, clock=START, types=TYPES)
    async with serving(deployment) as hub:
        _, _, match = await loop_at(hub)
        matching = hub.hub._exchange.matching
        assert matching._task is not None
        matching._task.cancel()  # as if it hadn't come to it
        matching.put = lambda item: None  # type: ignore[method-assign]
        await report(hub, PAY, {match.match_id: VERDICT_CONFIRMED}, matches=True)
    async with serving(deployment) as hub:
        (confirmed,) = await found(hub, NORTH)
        assert confirmed.status == MATCH_STATUS_CONFIRMED
        answer = await hub[NORTH].outcomes.GetReliability(GetReliabilityRequest())
        assert answer.own.confirmed == 1


async def test_a_leg_that_its_issuer_refutes_leaves_the_match_and_cannot_come_back(city: Running) -> None:
    loop, signals, match = await loop_at(city)
    await report(city, SOUTH, {signals[SOUTH].signal_id: VERDICT_REFUTED})
    (gone,) = await found(city, PAY)
    assert (gone.match_id, gone.status) == (match.match_id, MATCH_STATUS_EXPIRED)
    await publish(city, SOUTH, loop.backflow())
    assert not await found(city, PAY, status=MATCH_STATUS_OPEN)


async def test_a_match_counts_in_look_ups_of_those_it_does_not_need(city: Running) -> None:
    loop, _, _ = await loop_at(city)

    async def asked(member: str, purpose: str = PURPOSE) -> SubjectRisk | None:
        request = look_up([loop.payer.value], type_=IBAN, purpose=purpose)
        answer = await city[member].signals.LookUpSubjects(request, timeout=10)
        return answer.subjects[0] if answer.subjects else None

    risk = await asked(SHOP)
    assert risk is not None
    assert [reason.code for reason in risk.reasons] == ["funds-loop"]
    assert risk.groups == 3
    assert risk.advice <= ACTION_AUTHENTICATE
    assert risk.freshness_days == 0
    assert risk.handling == Tlp.TLP_AMBER_STRICT
    # Without the legs of the one that asks there is no loop.
    for member in (PAY, NORTH, SOUTH):
        assert await asked(member) is None
    assert await asked(SHOP, "merchant-onboarding")
    other = look_up([loop.payer.value], type_=PHONE)
    assert not (await city[SHOP].signals.LookUpSubjects(other, timeout=10)).subjects
    # What it was shown doesn't corroborate when it says it again.
    rumour = signal(loop.payer.value, now=START, subject=loop.payer)
    await publish(city, SHOP, rumour)
    risk = await asked(NORTH)
    assert risk is None


SIX = (
    *(PartySpec(f"bank-{name}", "bank", f"group-{name}") for name in ("a", "b", "c", "d")),
    PartySpec("bank-a2", "bank", "group-a"),
    PartySpec("operator", "operator", "exchange-operator"),
)


async def test_two_groups_make_an_issuer_and_a_code_less_believed_and_one_alone_does_not(
    tmp_path: Path,
) -> None:
    deployment = deploy(tmp_path, clock=START, parties=SIX)
    async with serving(deployment) as hub:
        told = [claim() for _ in range(6)]
        for member in ("bank-b", "bank-c"):
            await follow(hub, member, *[one.subject.value for one in told])
        fresh = claim()
        await publish(hub, "bank-a", *told, fresh)
        before = await ask(hub, "bank-d", fresh.subject.value)

        async def own() -> Any:
            return (await hub["bank-a"].outcomes.GetReliability(GetReliabilityRequest())).own

        first = await own()
        assert (first.confirmed, first.refuted, first.mean, first.factor) == (0, 0, 800, 1000)
        await report(hub, "bank-a", {one.signal_id: VERDICT_CONFIRMED for one in told})
        assert await own() == first  # no self-praise
        await report(hub, "bank-b", {one.signal_id: VERDICT_REFUTED for one in told})
        alone = await own()
        assert (alone.confirmed, alone.refuted, alone.factor) == (0, 6, 1000)
        assert alone.mean == 500
        assert await ask(hub, "bank-d", fresh.subject.value) == before
        await report(hub, "bank-c", {one.signal_id: VERDICT_REFUTED for one in told})
        both = await own()
        assert (both.refuted, both.mean, both.factor) == (12, 363, 625)
        after = await ask(hub, "bank-d", fresh.subject.value)
        assert before is not None
        assert after is not None
        assert after.score < before.score
        (code,) = (await hub["bank-d"].outcomes.GetReliability(GetReliabilityRequest())).codes
        assert code.code == "cash-out-suspected"
        assert code.reliability.factor == 625
    # The same after a restart.
    async with serving(deployment) as hub:
        answer = await hub["bank-a"].outcomes.GetReliability(GetReliabilityRequest())
        assert answer.own == both


async def test_a_group_has_one_verdict_whichever_member_reports(tmp_path: Path) -> None:
    async with serving(deploy(tmp_path, clock=START, parties=SIX)) as hub:
        one = claim()
        for member in ("bank-a", "bank-a2"):
            await follow(hub, member, one.subject.value)
        await publish(hub, "bank-b", one)
        await report(hub, "bank-a", {one.signal_id: VERDICT_REFUTED})
        request = hub.pen("bank-a2").report({one.signal_id: VERDICT_CONFIRMED})
        assert (await refused(hub["bank-a2"].outcomes.ReportOutcomes(request))).reason == "OUTCOME_CONFLICT"
        await report(hub, "bank-a2", {one.signal_id: VERDICT_REFUTED})
        own = (await hub["bank-b"].outcomes.GetReliability(GetReliabilityRequest())).own
        assert own.refuted == 1


async def test_a_database_of_before_knows_its_deliveries(tmp_path: Path) -> None:
    deployment = deploy(tmp_path, clock=START)
    one = claim()
    async with serving(deployment) as hub:
        await follow(hub, NORTH, one.subject.value)
        await publish(hub, SOUTH, one)
        script = (Path(__file__).parents[2] / "exchange/storage/migrations/0003_outcomes.sql").read_text()
        fill = "INSERT OR IGNORE" + script.split("INSERT OR IGNORE")[1].split(";")[0]
        store: SqliteStore = hub.hub._store
        await store._write.execute_fetchall("DELETE FROM deliveries")
        await store._write.execute_fetchall(fill)
        await report(hub, NORTH, {one.signal_id: VERDICT_CONFIRMED})
