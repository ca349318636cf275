"""Cases as an officer works them: read, taken a step further, watched, erased.

Invariants: what the hub says of a proceeding is used only after every step of it was checked: signed by an
officer of the member's own and naming the step before; a step is journalled, byte for byte and with all that
it commits to, before it is sent; while the fate of a step is unknown none is taken after it; what officers
write never leaves the journal. A step rests on the case as it was read, so that of two officers at once the
second is told.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from signalexchange.case_follow_up import FollowUp
from signalexchange.cases import (
    case_id_of,
    open_erasure,
    open_step,
    parse_step,
    sign_erasure,
    sign_step,
)
from signalexchange.connection import ERASE_CASE, GET_CASE, LIST_CASES, TIMEOUT, WATCH_CASES, Connection
from signalexchange.credentials import Sign
from signalexchange.errors import ConfigError, RefusedError, VerificationError
from signalexchange.journal import Journal, Record
from signalexchange.log_client import LogClient
from signalexchange.publisher import Publisher
from signalexchange.roster import Roster
from signalexchange.roster_client import RosterClient
from signalexchange.sending import Acknowledged, Sender
from signalexchange.v1.case_service_pb2 import (
    CASE_ORIGIN_ADVICE,
    CASE_ORIGIN_HAND,
    CASE_ORIGIN_MATCH,
    AcknowledgeNotice,
    Case,
    CaseEvidence,
    CaseStatement,
    Close,
    DecideAppeal,
    DecideProposal,
    GetCaseRequest,
    JudgeExplanation,
    Lift,
    ListCasesRequest,
    NoticeShown,
    OpenCase,
    ReceiveAppeal,
    ReceiveExplanation,
    TakeAction,
    WatchCasesRequest,
)
from signalexchange.v1.identifier_pb2 import SubjectToken
from signalexchange.v1.outcome_service_pb2 import Outcome, ReportOutcomesRequest, Verdict
from signalexchange.v1.signal_service_pb2 import Action
from signalexchange.watch import resumed

PAGE = 100
ID_SIZE = 16
SALT_SIZE = 32

_OUTCOME = re.compile(r"outcomes\[([0-9]{1,4})\]")


@dataclass(frozen=True, slots=True)
class Grounds:
    """Who takes a step, why and on what.

    `officer` is the id of an officer's key, needed where the configuration has several; `reason` a code or
    pattern of the rulebook, that of the step before if empty; `evidence` names signals, matches and look-ups;
    `records` are what officers write or keep (text or files): they stay in the journal, and the step commits
    to each.
    """

    officer: str = ""
    reason: str = ""
    evidence: tuple[CaseEvidence, ...] = ()
    records: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class StepTaken:
    """A step that is durable and logged at `index`, the case after it, and what followed from it.

    `followed` are batches and orders: a sanction's signal that was published, or such that were withdrawn.
    """

    case: Case
    index: int
    repeated: bool
    followed: tuple[Acknowledged, ...] = ()


@dataclass(frozen=True, slots=True)
class CaseNews:
    """A case of which there is news, as it is now; `resume_token` resumes after it."""

    resume_token: bytes
    case: Case


class CaseClient:
    """A member's cases. `officers` maps ids of officers' keys on the roster to what signs with them.

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
        self._hub = hub
        self._log = log
        self._rosters = rosters
        self._member = member
        self._officers = dict(officers)
        self._journal = journal
        self._clock = clock
        self._follow_up = FollowUp(member, rosters, journal, publisher, clock)

    async def get(self, case_id: bytes, *, timeout: float = TIMEOUT) -> Case:  # noqa: ASYNC109
        """One case. Raises RefusedError CASE_UNKNOWN also where the member has no proceeding in it."""
        response = await self._hub.call(GET_CASE, GetCaseRequest(case_id=case_id), timeout)
        if response.case.case_id != case_id:
            raise VerificationError("the hub answered about another case than the one asked for")
        return await self._checked(response.case)

    async def all(
        self,
        *,
        unfinished: bool = False,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> AsyncGenerator[Case, None]:
        """The member's cases, or those that are open or where a measure stands, oldest first, page by
        page."""
        token = b""
        while True:
            request = ListCasesRequest(page_size=PAGE, page_token=token, unfinished=unfinished)
            response = await self._hub.call(LIST_CASES, request, timeout)
            if len(response.cases) > PAGE:
                raise VerificationError("the hub answered with more cases than were asked for")
            for case in response.cases:
                yield await self._checked(case)
            token = response.next_page_token
            if not token:
                return

    async def watch(self, *, from_now: bool = False) -> AsyncGenerator[CaseNews, None]:
        """Cases of which there is news, for ever, from where the last watch stopped or `from_now` on.

        News count as handled when the next are asked for. Raises ResumeTooOldError, and RefusedError for what
        time doesn't mend, such as SUSPENDED.
        """
        journal, name = self._journal(), await self._name()
        stream = resumed(self._hub, WATCH_CASES, WatchCasesRequest, journal, name, from_now=from_now)
        async with aclosing(stream) as answers:
            async for answer in answers:
                if answer.HasField("case"):
                    yield CaseNews(answer.resume_token, await self._checked(answer.case))

    async def handled(self, news: CaseNews) -> None:
        """Note that news were handled, where the reader of `watch` does not ask for the next."""
        await asyncio.to_thread(self._journal().set_state, await self._name(), news.resume_token)

    def references(self, case: Case) -> list[str]:
        """The member's own references behind the subject, each once. Raises ConfigError without a journal."""
        return self._journal().references(case.subject.value)

    def records(self, case_id: bytes) -> list[Record]:
        """What this member's officers wrote down in a case, oldest first, as far as it is in this journal."""
        return self._journal().records(case_id)

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
        return await self._take(case, grounds, {"open": opening}, timeout=timeout)

    async def act(
        self,
        case_id: bytes,
        action: Action.ValueType,
        grounds: Grounds,
        *,
        notice: NoticeShown,
        explain_by: int = 0,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> StepTaken:
        """Take an action, or propose one that needs two officers, with the `notice` that the customer gets.

        `explain_by` (Unix seconds) goes with EXPLAIN alone.
        """
        step = TakeAction(action=action, explain_by=explain_by, notice=notice)
        return await self._take(await self.get(case_id), grounds, {"action": step}, timeout=timeout)

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
        return await self._take(case, grounds, {"decide_proposal": step}, timeout=timeout)

    async def receive_explanation(
        self,
        case_id: bytes,
        explanation: bytes,
        grounds: Grounds,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> StepTaken:
        """Note that the customer explained; what was said or handed in stays in the journal."""
        kept = self._record(case_id, "explanation", explanation)
        step = {"receive_explanation": ReceiveExplanation(record=kept.commitment)}
        return await self._take(await self.get(case_id), grounds, step, [kept], timeout=timeout)

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
        return await self._take(await self.get(case_id), grounds, step, timeout=timeout)

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
        kept = self._record(case_id, "appeal", appeal)
        step = ReceiveAppeal(signal_ids=sorted(set(signal_ids)), record=kept.commitment)
        case = await self.get(case_id)
        return await self._take(case, grounds, {"receive_appeal": step}, [kept], timeout=timeout)

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
        taken = await self._take_with(case, grounds, step, refuted, timeout)
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
        taken = await self._take(await self.get(case_id), grounds, {"lift": Lift()}, timeout=timeout)
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
        taken = await self._take_with(case, grounds, {"close": Close(outcome=outcome)}, outcomes, timeout)
        return replace(taken, followed=tuple(await self._follow_up.publish(taken.case, timeout=timeout)))

    async def finish(self, case_id: bytes, *, timeout: float = TIMEOUT) -> list[Acknowledged]:  # noqa: ASYNC109
        """Do again what follows from the case as it stands, where that was cut short: publish the sanction's
        signal, or withdraw it."""
        case = await self.get(case_id)
        return [
            *await self._follow_up.publish(case, timeout=timeout),
            *await self._follow_up.withdraw(case, wrong=False, timeout=timeout),
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
        return await self._take(await self.get(case_id), grounds, step, timeout=timeout)

    async def erase(self, case_id: bytes, officer: str = "", *, timeout: float = TIMEOUT) -> int:  # noqa: ASYNC109
        """Have the hub erase the member's closed proceeding, then forget what the journal has of it; the
        index of the order on the log. The same officer's order again is the same order."""
        roster = await self._rosters.roster()
        key_id, sign = self._officer(officer)
        journal = self._journal()
        request = sign_erasure(
            origin=roster.origin,
            member=self._member,
            key_id=key_id,
            order_id=journal.batch_id([b"case-erasure", key_id.encode(), case_id]),
            case_id=case_id,
            sign=sign,
        )
        open_erasure(request.statement, request.signature, self._public_key(roster, key_id))
        response = await self._hub.call(ERASE_CASE, request, timeout)
        await self._log.accept_receipt(response.receipt)
        await asyncio.to_thread(journal.forget_case, case_id)
        return response.receipt.index

    def _record(self, case_id: bytes, what: str, content: bytes) -> Record:
        return Record(case_id, what, secrets.token_bytes(SALT_SIZE), content)

    async def _take(
        self,
        case: Case,
        grounds: Grounds,
        step: Mapping[str, Any],
        records: Sequence[Record] = (),
        *,
        outcomes: Sequence[Outcome] = (),
        timeout: float,  # noqa: ASYNC109
    ) -> StepTaken:
        """Build, sign, journal and send the step after those of `case`."""
        journal = self._journal()
        roster = await self._rosters.roster()
        key_id, sign = self._officer(grounds.officer)
        await asyncio.to_thread(self._none_undecided, journal, case.case_id)
        kept = [self._record(case.case_id, "evidence", content) for content in grounds.records]
        evidence = [*grounds.evidence, *(CaseEvidence(record=each.commitment) for each in kept)]
        last = case.steps[-1].statement if case.steps else b""
        statement = CaseStatement(
            origin=roster.origin,
            member=self._member,
            key_id=key_id,
            case_id=case.case_id,
            sequence=len(case.steps),
            previous=sha256(last).digest() if last else b"",
            reason=grounds.reason or parse_step(last).reason,
            evidence=evidence,
            **step,
        )
        report: ReportOutcomesRequest | None = None
        if outcomes:
            report = await self._follow_up.report(case.case_id, statement.sequence, outcomes)
        request = sign_step(statement, sign, outcomes=report)
        open_step(request.statement, request.signature, self._public_key(roster, key_id))
        id_ = sha256(request.statement).digest()[:ID_SIZE]
        encoded = request.SerializeToString()
        sent = await asyncio.to_thread(journal.prepare_step, id_, encoded, case.case_id, [*records, *kept])
        done = await Sender(self._hub, self._log, journal).send(sent, timeout)
        if done.case is None or done.case.case_id != case.case_id:
            raise VerificationError("the hub answered about another case than the one of the step")
        return StepTaken(await self._checked(done.case), done.index, done.repeated)

    async def _take_with(
        self,
        case: Case,
        grounds: Grounds,
        step: Mapping[str, Any],
        outcomes: Sequence[Outcome],
        timeout: float,  # noqa: ASYNC109
    ) -> StepTaken:
        """Take a step that carries a report, without the signals of which the hub says that nothing can be
        reported (any more): they must not keep a case from being closed or an appeal from being granted."""
        while True:
            try:
                return await self._take(case, grounds, step, outcomes=outcomes, timeout=timeout)
            except RefusedError as error:
                fields = (_OUTCOME.match(field) for field, _ in error.violations)
                named = {int(field[1]) for field in fields if field is not None}
                left = [each for at, each in enumerate(outcomes) if at not in named or each.match_id]
                if error.reason not in ("SIGNAL_UNKNOWN", "OUTCOME_CONFLICT") or len(left) == len(outcomes):
                    raise
                outcomes = left

    def _none_undecided(self, journal: Journal, case_id: bytes) -> None:
        if any(step.state == "prepared" for step in journal.steps(case_id)):
            raise ConfigError(
                "a step of this case was sent and its fate is unknown; run signalexchange journal "
                "resume, then look at the case again"
            )

    def _officer(self, key_id: str) -> tuple[str, Sign]:
        if not self._officers:
            raise ConfigError("this needs an officer's key; add [officers] to the configuration")
        if not key_id:
            if len(self._officers) > 1:
                raise ConfigError(f"say which officer signs: {', '.join(self._officers)}")
            (key_id,) = self._officers
        if key_id not in self._officers:
            raise ConfigError(f"[officers] has no key {key_id!r}; it has {', '.join(self._officers)}")
        return key_id, self._officers[key_id]

    def _public_key(self, roster: Roster, key_id: str) -> bytes:
        key = roster.officer_key(self._member, key_id, self._clock())
        if key is None:
            raise ConfigError(f"the roster lists no officer's key {key_id!r} of this member valid now")
        return key.public_key

    async def _checked(self, case: Case) -> Case:
        """The case, whose steps are the member's own, each signed by an officer and in their order.

        Raises VerificationError or MalformedError. A case whose content has been erased has no steps.
        """
        await self._rosters.roster()
        before = b""
        for number, step in enumerate(case.steps):
            statement = parse_step(step.statement)
            key = self._key_of(statement.key_id, step.time)
            if key is None:
                raise VerificationError(
                    f"step {number} is signed with a key that no officer of this member had"
                )
            open_step(step.statement, step.signature, key)
            given = (statement.member, statement.case_id, statement.sequence, statement.previous)
            if given != (self._member, case.case_id, number, before):
                raise VerificationError(f"step {number} is not the one that follows in this case")
            before = sha256(step.statement).digest()
        return case

    def _key_of(self, key_id: str, time: int) -> bytes | None:
        """The officer's key as the newest roster has it that lists it for `time`."""
        for _, roster in reversed(self._rosters.chain.versions):
            key = roster.officer_key(self._member, key_id, time)
            if key is not None:
                return key.public_key
        return None

    async def _name(self) -> str:
        return f"resume cases {(await self._rosters.roster()).origin}"


def officer_of(statement: CaseStatement, roster: Roster, time: int) -> str:
    """The name of the officer who signed a step at `time`, or the key's id where the roster no longer lists
    it."""
    key = roster.officer_key(statement.member, statement.key_id, time)
    return statement.key_id if key is None else key.officer
