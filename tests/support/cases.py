"""Officers of members, and the steps of cases they sign at a hub on a replay clock."""

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from signalexchange.cases import case_id_of, sign_corrections, sign_erasure, sign_step
from signalexchange.credentials import load_signing_key
from signalexchange.notices import advice_code
from signalexchange.v1.case_service_pb2 import (
    CASE_ORIGIN_ADVICE,
    CASE_ORIGIN_HAND,
    CASE_ORIGIN_MATCH,
    LANGUAGE_EN,
    AcknowledgeCorrectionsRequest,
    AcknowledgeNotice,
    Case,
    CaseEvidence,
    CaseStatement,
    Close,
    DecideAppeal,
    DecideProposal,
    EraseCaseRequest,
    GetCaseRequest,
    JudgeExplanation,
    Lift,
    NoticeShown,
    OpenCase,
    ReceiveAppeal,
    ReceiveExplanation,
    RecordStepRequest,
    RecordStepResponse,
    TakeAction,
    WatchCasesRequest,
    WatchCasesResponse,
)
from signalexchange.v1.identifier_pb2 import SubjectToken
from signalexchange.v1.outcome_service_pb2 import ReportOutcomesRequest, Verdict
from signalexchange.v1.signal_service_pb2 import ACTION_EXPLAIN, Action

from exchange.provision import Deployment
from tests.support.exchange import Running
from tests.support.members import CODE, DAY, configuration, pen, subject

OFFICER, SECOND, THIRD = "officer-1", "officer-2", "officer-3"


def notice(code: str) -> NoticeShown:
    return NoticeShown(code=code, language=LANGUAGE_EN, digest=os.urandom(32))


def record() -> CaseEvidence:
    """A record that the member keeps."""
    return CaseEvidence(record=os.urandom(32))


def opening(
    subject_: SubjectToken | None = None, *, match_id: bytes = b"", look_up: int = 0
) -> dict[str, OpenCase]:
    """A step that opens a case: by a match, an advice, or else by hand."""
    origin = CASE_ORIGIN_MATCH if match_id else CASE_ORIGIN_ADVICE if look_up else CASE_ORIGIN_HAND
    subject_ = subject_ or subject()
    return {"open": OpenCase(subject=subject_, origin=origin, match_id=match_id, look_up=look_up)}


def action(taken: Action.ValueType, explain_by: int = 0) -> dict[str, TakeAction]:
    return {"action": TakeAction(action=taken, explain_by=explain_by, notice=notice(advice_code(taken)))}


def decide_proposal(proposal: bytes, *, approved: bool = True) -> dict[str, DecideProposal]:
    return {"decide_proposal": DecideProposal(proposal=proposal, approved=approved)}


def explained() -> dict[str, ReceiveExplanation]:
    return {"receive_explanation": ReceiveExplanation(record=os.urandom(32))}


def judged(*, satisfactory: bool = False) -> dict[str, JudgeExplanation]:
    return {"judge_explanation": JudgeExplanation(satisfactory=satisfactory)}


def appeal(*signal_ids: bytes) -> dict[str, ReceiveAppeal]:
    return {"receive_appeal": ReceiveAppeal(signal_ids=sorted(signal_ids), record=os.urandom(32))}


def decide_appeal(*, granted: bool) -> dict[str, DecideAppeal]:
    return {"decide_appeal": DecideAppeal(granted=granted)}


def lift() -> dict[str, Lift]:
    return {"lift": Lift()}


def close(outcome: Verdict.ValueType) -> dict[str, Close]:
    return {"close": Close(outcome=outcome)}


def acknowledge_notice(code: str = "advice-authenticate") -> dict[str, AcknowledgeNotice]:
    return {"acknowledge_notice": AcknowledgeNotice(notice=notice(code))}


def officer_sign(deployment: Deployment, member: str, key_id: str) -> Callable[[bytes], bytes]:
    """What an officer signs with."""
    return load_signing_key(configuration(deployment, member).officers[key_id])


@dataclass
class Desk:
    """A member's proceeding in one case, as its officers sign it step by step."""

    deployment: Deployment
    member: str
    case_id: bytes = field(default_factory=lambda: os.urandom(16))
    sequence: int = 0
    previous: bytes = b""
    reason: str = CODE

    def write(
        self,
        step: dict[str, Any],
        *,
        officer: str = OFFICER,
        evidence: Iterable[CaseEvidence] | None = None,
        outcomes: ReportOutcomesRequest | None = None,
        sign: Callable[[bytes], bytes] | None = None,
        **changes: Any,
    ) -> RecordStepRequest:
        """The next step, signed; `changes` replace fields of the statement."""
        opened = step.get("open")
        if opened is not None and opened.match_id and self.sequence == 0:
            self.case_id = case_id_of(opened.match_id, opened.subject.value)
        fields: dict[str, Any] = {
            "origin": self.deployment.origin,
            "member": self.member,
            "key_id": officer,
            "case_id": self.case_id,
            "sequence": self.sequence,
            "previous": self.previous,
            "reason": self.reason,
            "evidence": [record()] if evidence is None else list(evidence),
            **step,
        }
        statement = CaseStatement(**(fields | changes))
        sign = sign or officer_sign(self.deployment, self.member, officer)
        return sign_step(statement, sign, outcomes)

    def taken(self, request: RecordStepRequest) -> bytes:
        """The step was recorded: the next follows it. Its statement's digest."""
        self.sequence += 1
        self.previous = sha256(request.statement).digest()
        return self.previous

    async def take(self, hub: Running, step: dict[str, Any], **options: Any) -> RecordStepResponse:
        """Sign and record the next step."""
        request = self.write(step, **options)
        answer: RecordStepResponse = await hub[self.member].cases.RecordStep(request, timeout=20)
        self.taken(request)
        return answer

    async def case(self, hub: Running) -> Case:
        answer = await hub[self.member].cases.GetCase(GetCaseRequest(case_id=self.case_id), timeout=10)
        found: Case = answer.case
        return found

    async def fail_explanation(self, hub: Running, now: int) -> None:
        """Ask for an explanation, receive it and judge it unsatisfactory."""
        await self.take(hub, action(ACTION_EXPLAIN, now + 20 * DAY))
        await self.take(hub, explained())
        await self.take(hub, judged())

    def erasure(self, *, order_id: bytes | None = None, officer: str = OFFICER) -> EraseCaseRequest:
        return sign_erasure(
            origin=self.deployment.origin,
            member=self.member,
            key_id=officer,
            order_id=order_id or os.urandom(16),
            case_id=self.case_id,
            sign=officer_sign(self.deployment, self.member, officer),
        )


def acknowledgement(deployment: Deployment, member: str, *entries: int) -> AcknowledgeCorrectionsRequest:
    own = pen(deployment, member)
    return sign_corrections(entries, origin=own.origin, member=member, key_id=own.key_id, sign=own.sign)


class CaseWatch:
    """A member's stream of cases that has begun."""

    def __init__(self, call: Any) -> None:
        self._call = call

    @classmethod
    async def begin(cls, hub: Running, member: str, resume_token: bytes = b"") -> "CaseWatch":
        watch = cls(hub[member].cases.WatchCases(WatchCasesRequest(resume_token=resume_token)))
        await watch.next()
        return watch

    async def next(self) -> WatchCasesResponse:
        event: WatchCasesResponse = await asyncio.wait_for(self._call.read(), 10)
        return event
