"""Cases as a weapon: officers who are two in one, sign for others, or act when they may not; members who pry.

All signatures are true, but where a test says otherwise.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from signalexchange.roster import OfficerKey, Party
from signalexchange.rulebook import Rulebook, default_text
from signalexchange.v1.case_service_pb2 import (
    CaseStatement,
    GetCaseRequest,
    ListCasesRequest,
)
from signalexchange.v1.log_entry_pb2 import ENTRY_TYPE_CASE
from signalexchange.v1.outcome_service_pb2 import VERDICT_CONFIRMED
from signalexchange.v1.signal_pb2 import Signal
from signalexchange.v1.signal_service_pb2 import (
    ACTION_ALLOW,
    ACTION_AUTHENTICATE,
    ACTION_EXPLAIN,
    ACTION_FREEZE,
    ACTION_INTERCEPT,
    ACTION_RESTRICT,
)
from signalexchange.v1.transparency_service_pb2 import OpenEntriesRequest

from exchange.provision import PartySpec
from tests.support.cases import (
    OFFICER,
    SECOND,
    THIRD,
    Desk,
    action,
    appeal,
    close,
    decide_appeal,
    decide_proposal,
    lift,
    officer_sign,
    opening,
)
from tests.support.exchange import Running, deploy, refused, serving
from tests.support.log_entries import logged
from tests.support.loops import TYPES, Loop
from tests.support.match_members import propose
from tests.support.members import CARD, DAY, subject
from tests.support.outcomes import CONFIRMED_GRADE, START, ask, at, claim, publish

RULES = Rulebook.parse(default_text()).cases

NORTH, SOUTH, PAY, SHOP = "bank-north", "bank-south", "pay-lotus", "shop-river"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path, clock=START)) as running:
        yield running


async def restricted(hub: Running, member: str = NORTH, token: bytes | None = None) -> Desk:
    """A case with a restriction in force and an explanation that failed since."""
    desk = Desk(hub.deployment, member)
    await desk.take(hub, opening(subject(token)))
    await desk.fail_explanation(hub, START)
    await desk.take(hub, action(ACTION_RESTRICT))
    await desk.fail_explanation(hub, START)
    return desk


async def proposed(hub: Running, member: str = NORTH) -> tuple[Desk, bytes]:
    """A case in which the first officer proposes to freeze, and the proposal."""
    desk = await restricted(hub, member)
    answer = await desk.take(hub, action(ACTION_FREEZE))
    return desk, answer.case.state.proposal


async def refusal(hub: Running, desk: Desk, step: dict[str, Any], **options: Any) -> Any:
    return await refused(hub[desk.member].cases.RecordStep(desk.write(step, **options), timeout=10))


async def test_one_officer_does_not_approve_what_he_proposed(hub: Running) -> None:
    desk, proposal = await proposed(hub)
    found = await refusal(hub, desk, decide_proposal(proposal))
    assert (found.reason, found.metadata["why"]) == ("OFFICER_NOT_INDEPENDENT", "same-officer")
    assert (await desk.case(hub)).state.measure == ACTION_RESTRICT


async def second_key(hub: Running, member: str, officer: str) -> tuple[str, Callable[[bytes], bytes]]:
    """Another key of an officer's, put on the roster beside the one it has."""
    key = Ed25519PrivateKey.generate()
    fresh = OfficerKey(
        id="renewed",
        public_key=key.public_key().public_bytes_raw(),
        not_before=0,
        not_after=2**40,
        officer=officer,
    )
    roster = hub.hub._exchange.membership.roster
    parties = [
        Party(**{**dict(party), "officer_keys": (*party.officer_keys, fresh)})
        if party.id == member
        else party
        for party in roster.parties
    ]
    await propose(hub, parties=[party.model_dump(mode="json") for party in parties])
    return "renewed", key.sign


async def test_a_second_key_makes_no_second_officer(hub: Running) -> None:
    desk, proposal = await proposed(hub)
    key_id, sign = await second_key(hub, NORTH, OFFICER)
    found = await refusal(hub, desk, decide_proposal(proposal), officer=key_id, sign=sign)
    assert found.reason == "OFFICER_NOT_INDEPENDENT"
    # It is a good key for everything else.
    await desk.take(hub, decide_proposal(proposal, approved=True), officer=SECOND)
    lifted = await desk.take(hub, lift(), officer=key_id, sign=sign)
    assert lifted.case.state.measure == ACTION_ALLOW


async def test_an_officer_of_another_member_signs_nothing_here(hub: Running) -> None:
    desk, proposal = await proposed(hub)
    theirs = officer_sign(hub.deployment, SOUTH, SECOND)
    step = decide_proposal(proposal)
    # In the own officer's name, by another's key.
    assert (await refusal(hub, desk, step, officer=SECOND, sign=theirs)).reason == "SIGNATURE_INVALID"
    # In the own member's name, over another's connection; and in another's name over the own one.
    request = desk.write(step, officer=SECOND)
    assert (await refused(hub[SOUTH].cases.RecordStep(request))).reason == "WRONG_MEMBER"
    request = desk.write(step, officer=SECOND, member=SOUTH, sign=theirs)
    assert (await refused(hub[NORTH].cases.RecordStep(request))).reason == "WRONG_MEMBER"
    # For the case of the other member, by its own officer: it has no proceeding there.
    assert (await refused(hub[SOUTH].cases.RecordStep(request))).reason == "CASE_UNKNOWN"
    # A member's signing key is no officer's.
    signing = hub.pen(NORTH)
    found = await refusal(hub, desk, step, officer=SECOND, key_id=signing.key_id, sign=signing.sign)
    assert found.reason == "SIGNATURE_INVALID"
    assert (await desk.case(hub)).state.measure == ACTION_RESTRICT


async def test_a_replayed_approval_approves_nothing(hub: Running) -> None:
    desk, proposal = await proposed(hub)
    other, other_proposal = await proposed(hub)
    call = hub[NORTH].cases.RecordStep
    approval = desk.write(decide_proposal(proposal), officer=SECOND)
    await call(approval)
    desk.taken(approval)
    # The bytes again are the same step; in another case they are another case's.
    assert (await call(approval)).repeated_step
    assert (await other.case(hub)).state.measure == ACTION_RESTRICT
    # The other case's proposal is not this one's.
    found = await refusal(hub, other, decide_proposal(proposal), officer=SECOND)
    assert (found.reason, found.metadata["why"]) == ("STEP_NOT_ALLOWED", "other-proposal")
    # An approval of a proposal that was turned down doesn't carry the next one.
    early = other.write(decide_proposal(other_proposal), officer=SECOND)
    await other.take(hub, decide_proposal(other_proposal, approved=False), officer=THIRD)
    assert (await refused(call(early))).reason == "CASE_CONFLICT"
    await other.take(hub, action(ACTION_FREEZE))
    found = await refusal(hub, other, decide_proposal(other_proposal), officer=SECOND)
    assert found.metadata["why"] == "other-proposal"
    # Nor does one that was signed for another hub.
    found = await refusal(
        hub, other, decide_proposal(other.previous), officer=SECOND, origin="elsewhere.test/log"
    )
    assert (found.reason, found.fields) == ("INVALID_REQUEST", ["statement.origin"])
    assert (await other.case(hub)).state.measure == ACTION_RESTRICT


async def test_an_approval_that_was_changed_on_the_way_is_refused(hub: Running) -> None:
    desk, proposal = await proposed(hub)
    request = desk.write(decide_proposal(proposal, approved=False), officer=SECOND)
    statement = CaseStatement.FromString(request.statement)
    statement.decide_proposal.approved = True
    request.statement = statement.SerializeToString(deterministic=True)
    assert (await refused(hub[NORTH].cases.RecordStep(request))).reason == "SIGNATURE_INVALID"


async def test_who_froze_does_not_decide_the_appeal(hub: Running) -> None:
    desk, proposal = await proposed(hub)
    await desk.take(hub, decide_proposal(proposal), officer=SECOND)
    await desk.take(hub, appeal())
    for officer in (OFFICER, SECOND):  # who proposed, and who approved
        for granted in (False, True):
            found = await refusal(hub, desk, decide_appeal(granted=granted), officer=officer)
            assert (found.reason, found.metadata["why"]) == ("OFFICER_NOT_INDEPENDENT", "officer-involved")
    key_id, sign = await second_key(hub, NORTH, SECOND)
    found = await refusal(hub, desk, decide_appeal(granted=False), officer=key_id, sign=sign)
    assert found.reason == "OFFICER_NOT_INDEPENDENT"
    answer = await desk.take(hub, decide_appeal(granted=True), officer=THIRD)
    assert answer.case.state.measure == ACTION_ALLOW


async def test_two_members_acting_on_one_case_at_the_same_moment_are_both_heard(tmp_path: Path) -> None:
    async with serving(deploy(tmp_path, clock=START, types=TYPES)) as hub:
        loop = Loop(start=START // 300 * 300 - DAY)
        for member, seen in {PAY: loop.purchase(), NORTH: loop.settlement(), SOUTH: loop.backflow()}.items():
            await publish(hub, member, seen)
        await hub.hub._exchange.matching.settled()
        (match,) = hub.hub._exchange.matching.matcher.matches.values()
        desks = [Desk(hub.deployment, member) for member in (PAY, SOUTH)]
        for step in (opening(loop.payer, match_id=match.match_id), action(ACTION_INTERCEPT), appeal()):
            answers = await asyncio.gather(*(desk.take(hub, step) for desk in desks))
            assert len({answer.receipt.index for answer in answers}) == 2
        cases = [await desk.case(hub) for desk in desks]
        assert [(case.groups, len(case.steps), case.disputed) for case in cases] == [(2, 3, True)] * 2


async def test_two_officers_of_one_member_at_the_same_moment_don_t_both_act(hub: Running) -> None:
    desk = Desk(hub.deployment, NORTH)
    await desk.take(hub, opening())
    for _ in range(5):
        requests = [desk.write(action(ACTION_AUTHENTICATE), officer=each) for each in (OFFICER, SECOND)]
        calls = (hub[NORTH].cases.RecordStep(request, timeout=10) for request in requests)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        (taken,) = [at for at, each in enumerate(answers) if not isinstance(each, BaseException)]
        assert (await refused(hub[NORTH].cases.RecordStep(requests[1 - taken]))).reason == "CASE_CONFLICT"
        desk.taken(requests[taken])
    assert len((await desk.case(hub)).steps) == 6


async def test_a_proceeding_is_nobody_else_s_to_see(hub: Running) -> None:
    desk = await restricted(hub)
    entries = [entry.idx for entry in await logged(hub, ENTRY_TYPE_CASE)]
    for member in (SOUTH, PAY, SHOP):
        request = GetCaseRequest(case_id=desk.case_id)
        assert (await refused(hub[member].cases.GetCase(request))).reason == "CASE_UNKNOWN"
        assert not (await hub[member].cases.ListCases(ListCasesRequest(page_size=100))).cases
        found = await refused(hub[member].log.OpenEntries(OpenEntriesRequest(indices=entries[:1])))
        assert found.reason == "OPENING_NOT_ALLOWED"
        erased = await refused(hub[member].cases.EraseCase(desk.erasure()))
        assert erased.reason == "WRONG_MEMBER"
    for party in ("audit-one", "operator", "police-one"):
        found = await refused(hub[party].cases.GetCase(GetCaseRequest(case_id=desk.case_id)))
        assert found.reason == "METHOD_NOT_ALLOWED"


async def test_a_match_one_was_not_told_of_opens_no_case(hub: Running) -> None:
    """The derived id is no secret to who knows the match; to guess one tells nothing."""
    desk = Desk(hub.deployment, NORTH)
    found = await refusal(hub, desk, opening(subject(), match_id=os.urandom(16)))
    assert found.reason == "MATCH_UNKNOWN"


async def test_appeals_are_no_veto(hub: Running) -> None:
    """A friend of the gang's: its member objects to what it told of him itself, in ever new cases."""
    friend = os.urandom(32)
    for member in (SOUTH, PAY, SHOP):
        await publish(hub, member, claim(friend), claim(friend))

    async def objects(*signal_ids: bytes) -> Desk:
        desk = Desk(hub.deployment, NORTH)
        await desk.take(hub, opening(subject(friend)))
        await desk.take(hub, appeal(*signal_ids))
        return desk

    async def advice() -> int:
        risk = await ask(hub, SOUTH, friend)
        assert risk is not None
        return risk.advice

    bait = claim(friend)
    await publish(hub, NORTH, bait)
    assert await advice() > ACTION_AUTHENTICATE
    first = await objects(bait.signal_id)
    assert await advice() == ACTION_AUTHENTICATE
    at(hub, 5 * DAY)
    await first.take(hub, decide_appeal(granted=False), officer=SECOND)
    for days in (8, 20, 25):
        at(hub, days * DAY)
        bait = claim(friend)
        await publish(hub, NORTH, bait)
        desk = await objects(bait.signal_id)
        assert (await advice() == ACTION_AUTHENTICATE) == (days < RULES.appeal_days)
        await desk.take(hub, decide_appeal(granted=False), officer=SECOND)


# --- sanctions


def sanction(token: bytes, code: str = "sanction-frozen", **changes: Any) -> Signal:
    return claim(token, **{"code": code, "grade": CONFIRMED_GRADE, **changes})


async def frozen(hub: Running, member: str, token: bytes) -> Desk:
    """A case of the member's that ended with a freeze."""
    desk = await restricted(hub, member, token)
    answer = await desk.take(hub, action(ACTION_FREEZE))
    await desk.take(hub, decide_proposal(answer.case.state.proposal), officer=SECOND)
    await desk.take(hub, close(VERDICT_CONFIRMED))
    return desk


async def test_a_sanction_is_told_by_who_has_it_in_force_and_by_nobody_else(hub: Running) -> None:
    token, other = os.urandom(32), os.urandom(32)

    async def answer(member: str, *signals: Signal) -> Any:
        return await refused(hub[member].signals.PublishSignals(hub.pen(member).batch(signals), timeout=10))

    for code in ("sanction-frozen", "sanction-restricted"):
        found = await answer(NORTH, claim(token), sanction(token, code))
        assert (found.reason, found.fields) == ("CODE_NOT_ALLOWED", ["signals[1].code"])
    desk = await restricted(hub, NORTH, token)
    assert (await answer(NORTH, sanction(token, "sanction-restricted"))).reason == "CODE_NOT_ALLOWED"  # open
    proposal = (await desk.take(hub, action(ACTION_FREEZE))).case.state.proposal
    await desk.take(hub, decide_proposal(proposal), officer=SECOND)
    await desk.take(hub, close(VERDICT_CONFIRMED))
    for member, wrong in (
        (NORTH, sanction(other)),
        (NORTH, sanction(token, "sanction-restricted")),  # not that measure
        (SOUTH, sanction(token)),
    ):
        assert (await answer(member, wrong)).reason == "CODE_NOT_ALLOWED"
    await publish(hub, NORTH, sanction(token))
    # While somebody objects, and once it is lifted, it is told no more.
    await desk.take(hub, appeal())
    assert (await answer(NORTH, sanction(token))).reason == "CODE_NOT_ALLOWED"
    await desk.take(hub, decide_appeal(granted=False), officer=THIRD)
    await publish(hub, NORTH, sanction(token))
    await desk.take(hub, lift())
    assert (await answer(NORTH, sanction(token))).reason == "CODE_NOT_ALLOWED"


async def test_a_freeze_here_never_freezes_elsewhere(tmp_path: Path) -> None:
    """Not even all that one group has to say, from two members."""
    parties = (
        *(PartySpec(name, "bank", "gang-group") for name in (NORTH, SOUTH)),
        PartySpec(PAY, "payment_provider", "lotus-group"),
        PartySpec("operator", "operator", "exchange-operator"),
    )
    async with serving(deploy(tmp_path, clock=START, parties=parties)) as hub:
        token = os.urandom(32)
        for member in (NORTH, SOUTH):
            await frozen(hub, member, token)
            await publish(hub, member, sanction(token), claim(token))
        risk = await ask(hub, PAY, token)
        assert risk is not None
        assert "sanction-frozen" in {reason.code for reason in risk.reasons}
        assert risk.advice <= ACTION_AUTHENTICATE
        assert not risk.human_review


async def test_asking_for_everything_at_once_skips_no_step(hub: Running) -> None:
    """Whatever order an impatient officer tries."""
    desk = Desk(hub.deployment, NORTH)
    await desk.take(hub, opening(subject(type_=CARD)))
    for step in (action(ACTION_FREEZE), action(ACTION_RESTRICT), decide_proposal(sha256(b"").digest())):
        assert (await refusal(hub, desk, step)).reason == "STEP_NOT_ALLOWED"
    for by in (START, START + 3600, START + 3650 * DAY):
        assert (await refusal(hub, desk, action(ACTION_EXPLAIN, by))).metadata["why"] == "explanation-time"
    assert (await desk.case(hub)).state.measure == ACTION_ALLOW
