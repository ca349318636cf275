"""Cases as an officer works them: every step of the ladder, appeals, closing, erasure.

Invariants: a step is taken as `officers` says, on the case as it was just read and checked; an officer
approves what a proposal's own statement says; what follows from a step for signals is done after it and can
be done again.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from hashlib import sha256

from signalexchange.case_follow_up import FollowUp
from signalexchange.case_reader import CaseReader
from signalexchange.cases import Sign, case_id_of, open_erasure, parse_step, sign_erasure
from signalexchange.connection import ERASE_CASE, TIMEOUT, Connection
from signalexchange.envelope import ID_SIZE
from signalexchange.errors import ConfigError
from signalexchange.journal import Journal
from signalexchange.log_client import LogClient
from signalexchange.notices.rendering import Rendered
from signalexchange.officers import Grounds, Officers, StepTaken, kept_record
from signalexchange.publisher import Publisher
from signalexchange.roster_client import RosterClient
from signalexchange.sending import Acknowledged
from signalexchange.v1.case_service_pb2 import (
    APPEAL_GRANTED,
    CASE_ORIGIN_ADVICE,
    CASE_ORIGIN_HAND,
    CASE_ORIGIN_MATCH,
    LANGUAGE_EN,
    LANGUAGE_ZH_CN,
    AcknowledgeNotice,
    Case,
    Close,
    DecideAppeal,
    DecideProposal,
    JudgeExplanation,
    Lift,
    NoticeShown,
    OpenCase,
    ReceiveAppeal,
    ReceiveExplanation,
    TakeAction,
)
from signalexchange.v1.identifier_pb2 import SubjectToken
from signalexchange.v1.outcome_service_pb2 import Verdict
from signalexchange.v1.signal_service_pb2 import Action

_LANGUAGES = {"zh-CN": LANGUAGE_ZH_CN, "en": LANGUAGE_EN}


class CaseClient(CaseReader):
    """A member's cases, to be worked. `officers` maps ids of officers' keys on the roster to what signs with
    them.

    Methods that take a step raise RefusedError for what the hub refuses (CASE_CONFLICT where another officer
    was faster, STEP_NOT_ALLOWED with `metadata["why"]`, OFFICER_NOT_INDEPENDENT), ConfigError where journal,
    officer's key or signing key is missing or a step of the case is undecided, and VerificationError and
    MalformedError for what can't be believed. `timeout` (seconds) bounds each call.
    """

    def __init__(
        self,
        hub: Connection,
        log: LogClient,
        rosters: RosterClient,
        member: str,
        officers: Mapping[str, Sign],
        journal: Callable[[], Journal],
        publisher: Callable[[], Publisher],
        clock: Callable[[], int],
    ) -> None:
        super().__init__(hub, rosters, member, journal)
        self._log = log
        self._follow_up = FollowUp(member, rosters, journal, publisher, clock)
        self._officers = Officers(
            self, hub, log, rosters, member, officers, journal, self._follow_up.report, clock
        )

    async def open(
        self,
        subject: SubjectToken,
        grounds: Grounds,
        *,
        match_id: bytes = b"",
        look_up: int = 0,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> StepTaken:
        """Open a case about a subject: of a match, of the advice in a look-up (by its index), or by hand."""
        if match_id and look_up:
            raise ConfigError("a case is opened by a match or by a look-up, not by both")
        if not grounds.reason:
            raise ConfigError("a case is opened for a reason: a code or a pattern of the rulebook")
        case = Case(subject=subject)
        opening = OpenCase(subject=subject, origin=CASE_ORIGIN_HAND)
        if match_id:
            case.case_id = case_id_of(match_id, subject.value)
            opening.origin, opening.match_id = CASE_ORIGIN_MATCH, match_id
        else:
            case.case_id = secrets.token_bytes(ID_SIZE)
            if look_up:
                opening.origin, opening.look_up = CASE_ORIGIN_ADVICE, look_up
        return await self._officers.take(case, grounds, {"open": opening}, timeout=timeout)

    async def act(
        self,
        case_id: bytes,
        action: Action.ValueType,
        grounds: Grounds,
        *,
        notice: Rendered,
        explain_by: int = 0,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> StepTaken:
        """Take an action, or propose one that needs two officers, with the `notice` that the customer gets,
        whose text is kept in the journal.

        `explain_by` (Unix seconds) goes with EXPLAIN alone.
        """
        step = TakeAction(action=action, explain_by=explain_by, notice=notice_shown(notice))
        kept = kept_record(case_id, "notice", notice.text.encode())
        case = await self.get(case_id)
        return await self._officers.take(case, grounds, {"action": step}, [kept], timeout=timeout)

    async def decide(
        self,
        case_id: bytes,
        action: Action.ValueType,
        approved: bool,
        grounds: Grounds,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> StepTaken:
        """Approve or refuse the proposal of `action`, which another officer made. Raises ConfigError where
        something else is proposed, or nothing."""
        case = await self.get(case_id)
        proposed = (each.statement for each in case.steps)
        made = [each for each in proposed if sha256(each).digest() == case.state.proposal]
        # What the digest stands for counts, not what the hub says of it: the officer approves that and
        # nothing else.
        if case.state.proposed != action or not made or parse_step(made[0]).action.action != action:
            raise ConfigError("that is not what is proposed; look at the case again")
        step = DecideProposal(proposal=case.state.proposal, approved=approved)
        return await self._officers.take(case, grounds, {"decide_proposal": step}, timeout=timeout)

    async def receive_explanation(
        self,
        case_id: bytes,
        explanation: bytes,
        grounds: Grounds,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> StepTaken:
        """Note that the customer explained; what was said or handed in stays in the journal."""
        kept = kept_record(case_id, "explanation", explanation)
        step = {"receive_explanation": ReceiveExplanation(record=kept.commitment)}
        return await self._officers.take(await self.get(case_id), grounds, step, [kept], timeout=timeout)

    async def judge_explanation(
        self,
        case_id: bytes,
        satisfactory: bool,
        grounds: Grounds,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> StepTaken:
        """Say whether the explanation will do."""
        step = {"judge_explanation": JudgeExplanation(satisfactory=satisfactory)}
        return await self._officers.take(await self.get(case_id), grounds, step, timeout=timeout)

    async def receive_appeal(
        self,
        case_id: bytes,
        appeal: bytes,
        grounds: Grounds,
        *,
        signal_ids: Iterable[bytes] = (),
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> StepTaken:
        """Note that the customer objects, to signals named too; what was said stays in the journal."""
        kept = kept_record(case_id, "appeal", appeal)
        step = ReceiveAppeal(signal_ids=sorted(set(signal_ids)), record=kept.commitment)
        case = await self.get(case_id)
        return await self._officers.take(case, grounds, {"receive_appeal": step}, [kept], timeout=timeout)

    async def decide_appeal(
        self,
        case_id: bytes,
        granted: bool,
        grounds: Grounds,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> StepTaken:
        """Decide the appeal. Granted, it lifts the measure, and the member's own signals about the subject
        are refuted; those that say otherwise of it by now, a sanction's among them, are withdrawn."""
        case = await self.get(case_id)
        step = {"decide_appeal": DecideAppeal(granted=granted)}
        refuted = await self._follow_up.refuted(case) if granted else []
        taken = await self._officers.take_with(case, grounds, step, refuted, timeout)
        followed = await self._follow_up.withdraw(taken.case, wrong=True, timeout=timeout) if granted else ()
        return replace(taken, followed=tuple(followed))

    async def lift(
        self,
        case_id: bytes,
        grounds: Grounds,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> StepTaken:
        """Lift the measure, and withdraw the sanction's signal where one was published."""
        taken = await self._officers.take(await self.get(case_id), grounds, {"lift": Lift()}, timeout=timeout)
        followed = await self._follow_up.withdraw(taken.case, wrong=False, timeout=timeout)
        return replace(taken, followed=tuple(followed))

    async def close(
        self,
        case_id: bytes,
        outcome: Verdict.ValueType,
        grounds: Grounds,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> StepTaken:
        """Close the proceeding, with a report of the same verdict on its match, on the member's own signals
        about the subject and on others' that its steps named as evidence. A measure that stands, confirmed,
        is published as a signal on the subject."""
        case = await self.get(case_id)
        outcomes = await self._follow_up.verdicts(case, outcome)
        taken = await self._officers.take_with(
            case, grounds, {"close": Close(outcome=outcome)}, outcomes, timeout
        )
        return replace(taken, followed=tuple(await self._follow_up.publish(taken.case, timeout=timeout)))

    async def finish(self, case_id: bytes, *, timeout: float = TIMEOUT) -> list[Acknowledged]:  # noqa: ASYNC109
        """Do again what follows from the case as it stands, where that was cut short: publish the sanction's
        signal, or withdraw it."""
        case = await self.get(case_id)
        return [
            *await self._follow_up.publish(case, timeout=timeout),
            *await self._follow_up.withdraw(case, wrong=case.state.appeal == APPEAL_GRANTED, timeout=timeout),
        ]

    async def acknowledge_notice(
        self,
        case_id: bytes,
        notice: NoticeShown,
        grounds: Grounds,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> StepTaken:
        """Note that the customer acknowledged a notice."""
        step = {"acknowledge_notice": AcknowledgeNotice(notice=notice)}
        return await self._officers.take(await self.get(case_id), grounds, step, timeout=timeout)

    async def erase(self, case_id: bytes, officer: str = "", *, timeout: float = TIMEOUT) -> int:  # noqa: ASYNC109
        """Have the hub erase the member's closed proceeding, then forget what the journal has of it; the
        index of the order on the log. The same officer's order again is the same order."""
        roster = await self._rosters.roster()
        key_id, sign = self._officers.signer(officer)
        journal = self._journal()
        request = sign_erasure(
            origin=roster.origin,
            member=self._member,
            key_id=key_id,
            order_id=journal.batch_id([b"case-erasure", key_id.encode(), case_id]),
            case_id=case_id,
            sign=sign,
        )
        open_erasure(request.statement, request.signature, self._officers.public_key(roster, key_id))
        response = await self._hub.call(ERASE_CASE, request, timeout)
        await self._log.accept_receipt(response.receipt)
        await asyncio.to_thread(journal.forget_case, case_id)
        return response.receipt.index


def notice_shown(notice: Rendered) -> NoticeShown:
    """What a step says of a notice."""
    return NoticeShown(code=notice.code, language=_LANGUAGES[notice.language], digest=notice.digest)
