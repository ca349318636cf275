"""Corrections: who was shown what turned out wrong is told, that is on the log, and so is its word for it."""

import asyncio
import os
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
from signalexchange.envelope import parse_withdrawal
from signalexchange.rulebook import Rulebook, default_text
from signalexchange.v1.log_entry_pb2 import (
    ENTRY_TYPE_CORRECTION,
    ENTRY_TYPE_CORRECTIONS,
    ENTRY_TYPE_MODEL,
    ENTRY_TYPE_OUTCOMES,
    CorrectionEntry,
    CorrectionsEntry,
)
from signalexchange.v1.outcome_service_pb2 import VERDICT_CONFIRMED, VERDICT_REFUTED
from signalexchange.v1.signal_service_pb2 import (
    SIGNAL_CHANGE_DISPUTED,
    SIGNAL_CHANGE_REFUTED,
    SIGNAL_CHANGE_UPHELD,
    SIGNAL_CHANGE_WITHDRAWN,
)
from signalexchange.v1.transparency_service_pb2 import OpenEntriesRequest

from exchange.usecases.audience import Audience
from exchange.usecases.expire import expire
from exchange.usecases.look_up import LookUp, Matches
from exchange.usecases.withdraw import Withdraw
from tests.support.cases import acknowledgement
from tests.support.exchange import Running, deploy, refused, serving
from tests.support.log_entries import logged
from tests.support.match_members import propose
from tests.support.members import DAY, look_up
from tests.support.outcomes import INVESTIGATION, START, Watch, ask, at, claim, follow, publish, report

NORTH, SOUTH, PAY, SHOP = "bank-north", "bank-south", "pay-lotus", "shop-river"
CODE = "cash-out-suspected"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path, clock=START)) as running:
        yield running


async def shown(hub: Running) -> bytes:
    """A signal of north's that south looked up and the payment provider subscribed to."""
    one = claim()
    await follow(hub, PAY, one.subject.value)
    await publish(hub, NORTH, one)
    assert await ask(hub, SOUTH, one.subject.value)
    return one.signal_id


async def withdraw(hub: Running, signal_id: bytes) -> None:
    await hub[NORTH].signals.WithdrawSignals(hub.pen(NORTH).withdrawal([signal_id]), timeout=10)


async def told(hub: Running) -> dict[str, tuple[int, CorrectionEntry]]:
    entries = await logged(hub, ENTRY_TYPE_CORRECTION)
    return {entry.member: (entry.idx, CorrectionEntry.FromString(entry.payload)) for entry in entries}


async def test_a_withdrawal_is_on_the_log_for_each_member_that_was_shown_the_signal(hub: Running) -> None:
    signal_id = await shown(hub)
    watches = {member: await Watch.begin(hub, member) for member in (NORTH, SOUTH, PAY, SHOP)}
    await withdraw(hub, signal_id)
    corrections = await told(hub)
    assert corrections.keys() == {SOUTH, PAY}
    for member, (index, entry) in corrections.items():
        event = await watches[member].next()
        assert (event.signal_id, event.change, event.correction) == (
            signal_id,
            SIGNAL_CHANGE_WITHDRAWN,
            index,
        )
        assert (entry.signal_id, entry.change) == (signal_id, SIGNAL_CHANGE_WITHDRAWN)
        assert entry.token == event.subject.value
    own = await watches[NORTH].next()
    assert own.own
    assert not own.HasField("correction")
    assert await watches[SHOP].quiet()


async def test_new_rules_don_t_keep_from_being_told_who_was_shown_it_under_old_ones(hub: Running) -> None:
    signal_id = await shown(hub)
    rulebook = Rulebook.parse(default_text())
    purposes = tuple(
        purpose.model_copy(update={"codes": tuple(code for code in purpose.codes if code != CODE)})
        for purpose in rulebook.purposes
    )
    changes = {"version": rulebook.version + 1, "purposes": purposes}
    text = rulebook.model_copy(update=changes).text().encode()
    await propose(hub, rulebook=text, rulebook_sha256=sha256(text).hexdigest())
    await withdraw(hub, signal_id)
    assert (await told(hub)).keys() == {SOUTH, PAY}


async def test_who_is_shown_it_in_the_very_commit_that_takes_it_back_is_told(hub: Running) -> None:
    one, exchange = claim(), hub.hub._exchange
    await publish(hub, NORTH, one)
    order = hub.pen(NORTH).withdrawal([one.signal_id])
    states = await exchange.store.signals([one.signal_id])
    party = {id_: exchange.membership.standing(id_) for id_ in (NORTH, SOUTH)}
    withdrawal = Withdraw(
        exchange, party[NORTH], order, parse_withdrawal(order.statement),
        await Audience.find(exchange, states.values()),
    )  # fmt: skip
    asking = look_up([one.subject.value], purpose=INVESTIGATION)
    answer, _ = await asyncio.gather(
        exchange.writer.submit(LookUp(exchange, party[SOUTH], asking, Matches({}))),
        exchange.writer.submit(withdrawal),
    )
    assert len(answer.subjects) == 1
    assert (await told(hub)).keys() == {SOUTH}


async def test_verdicts_correct_and_the_learned_version_comes_right_behind_them(hub: Running) -> None:
    signal_id = await shown(hub)
    await report(hub, PAY, {signal_id: VERDICT_REFUTED})
    assert {m: entry.change for m, (_, entry) in (await told(hub)).items()} == {SOUTH: SIGNAL_CHANGE_DISPUTED}
    await report(hub, NORTH, {signal_id: VERDICT_CONFIRMED})
    changes = {member: entry.change for member, (_, entry) in (await told(hub)).items()}
    assert changes == dict.fromkeys((SOUTH, PAY), SIGNAL_CHANGE_UPHELD)
    other = await shown(hub)
    await report(hub, NORTH, {other: VERDICT_REFUTED})
    last = await told(hub)
    assert {entry.change for _, entry in last.values()} == {SIGNAL_CHANGE_REFUTED}
    (*_, outcomes) = await logged(hub, ENTRY_TYPE_OUTCOMES)
    (behind,) = await hub.hub._store.entry_range(outcomes.idx + 1, 1)
    assert behind.type == ENTRY_TYPE_MODEL
    assert min(index for index, _ in last.values()) == behind.idx + 1


async def test_an_acknowledgement_is_signed_logged_and_idempotent(hub: Running) -> None:
    for signal_id in [await shown(hub) for _ in range(3)]:
        await withdraw(hub, signal_id)
    mine = [entry.idx for entry in await logged(hub, ENTRY_TYPE_CORRECTION) if entry.member == SOUTH]
    assert len(mine) == 3
    call = hub[SOUTH].cases.AcknowledgeCorrections
    request = acknowledgement(hub.deployment, SOUTH, *mine[:2])
    first = await call(request)
    assert (await call(request)).receipt.index == first.receipt.index
    one = await call(acknowledgement(hub.deployment, SOUTH, mine[1]))
    assert one.receipt.index == first.receipt.index  # nothing new
    more = await call(acknowledgement(hub.deployment, SOUTH, *mine))
    assert more.receipt.index > first.receipt.index
    entries = await logged(hub, ENTRY_TYPE_CORRECTIONS)
    assert [entry.idx for entry in entries] == [first.receipt.index, more.receipt.index]
    assert {entry.member for entry in entries} == {SOUTH}
    logged_statement = CorrectionsEntry.FromString(entries[0].payload)
    assert (logged_statement.statement, logged_statement.signature) == (request.statement, request.signature)
    # That it was delivered, and to whom it wasn't, an auditor reads off the log alone.
    acknowledged = set(await hub.hub._store.acknowledged(mine))
    open_ = {e.member for e in await logged(hub, ENTRY_TYPE_CORRECTION) if e.idx not in acknowledged}
    assert open_ == {PAY}


async def test_what_is_no_correction_to_the_caller_is_not_acknowledged(hub: Running) -> None:
    await withdraw(hub, await shown(hub))
    corrections = await told(hub)
    mine, theirs = corrections[SOUTH][0], corrections[PAY][0]
    call = hub[SOUTH].cases.AcknowledgeCorrections
    for wrong in (0, theirs, mine + 1_000, 2**63):
        refusal = await refused(call(acknowledgement(hub.deployment, SOUTH, mine, wrong)))
        assert refusal.reason == "OPENING_NOT_ALLOWED"
        assert refusal.fields == [f"statement.entries[{int(wrong > mine)}]"]
    forged = acknowledgement(hub.deployment, SOUTH, mine)
    forged.signature = bytes(64)
    assert (await refused(call(forged))).reason == "SIGNATURE_INVALID"
    assert (await refused(call(acknowledgement(hub.deployment, PAY, theirs)))).reason == "WRONG_MEMBER"
    forged.statement = os.urandom(20)
    assert (await refused(call(forged))).reason == "INVALID_REQUEST"
    assert not await logged(hub, ENTRY_TYPE_CORRECTIONS)


async def test_what_a_correction_says_goes_with_the_term_of_access_records(hub: Running) -> None:
    await withdraw(hub, await shown(hub))
    index, _ = (await told(hub))[SOUTH]
    at(hub, Rulebook.parse(default_text()).terms.access_days * DAY + 1)
    await expire(hub.hub._exchange)
    refusal = await refused(hub[SOUTH].log.OpenEntries(OpenEntriesRequest(indices=[index])))
    assert refusal.reason == "ERASED"
    # It can be acknowledged all the same.
    assert await hub[SOUTH].cases.AcknowledgeCorrections(acknowledgement(hub.deployment, SOUTH, index))
