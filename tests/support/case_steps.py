"""Steps of proceedings: every kind of step as short to write as it is to say."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from signalexchange.cases import case_id_of
from signalexchange.rulebook import Cases, Rulebook, default_text
from signalexchange.v1.case_service_pb2 import (
    CASE_ORIGIN_MATCH,
    LANGUAGE_EN,
    AcknowledgeNotice,
    CaseEvidence,
    CaseStatement,
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
from signalexchange.v1.signal_service_pb2 import (
    ACTION_AUTHENTICATE,
    ACTION_EXPLAIN,
    ACTION_FREEZE,
    ACTION_INTERCEPT,
    ACTION_RESTRICT,
    Action,
)

DAY = 86_400
MATCH_ID = sha256(b"a match").digest()[:16]
TOKEN = sha256(b"a subject").digest()
CASE_ID = case_id_of(MATCH_ID, TOKEN)
RECORD = sha256(b"a record").digest()
EVIDENCE = (CaseEvidence(record=RECORD),)
RULES: Cases = Rulebook.parse(default_text()).cases
LEAST, MOST = RULES.explanation_days * DAY, RULES.explanation_days_most * DAY

Body = dict[str, Any]
"""Fields of a CaseStatement that are the step."""


def opened() -> Body:
    subject = SubjectToken(type=1, epoch=7, value=TOKEN)  # type: ignore[arg-type]
    return {"open": OpenCase(subject=subject, origin=CASE_ORIGIN_MATCH, match_id=MATCH_ID)}


def shown(code: str) -> NoticeShown:
    return NoticeShown(code=code, language=LANGUAGE_EN, digest=sha256(code.encode()).digest())


def action(taken: Action.ValueType, explain_by: int = 0) -> Body:
    evidence = EVIDENCE if taken >= ACTION_INTERCEPT else ()
    notice = shown(f"step-{taken}")
    return {
        "action": TakeAction(action=taken, explain_by=explain_by, notice=notice),
        "evidence": evidence,
    }


def authenticate() -> Body:
    return action(ACTION_AUTHENTICATE)


def explain(explain_by: int) -> Body:
    return action(ACTION_EXPLAIN, explain_by)


def intercept() -> Body:
    return action(ACTION_INTERCEPT)


def restrict() -> Body:
    return action(ACTION_RESTRICT)


def freeze() -> Body:
    return action(ACTION_FREEZE)


def decide(proposal: bytes, approved: bool = True) -> Body:
    return {"decide_proposal": DecideProposal(proposal=proposal, approved=approved)}


def explained() -> Body:
    return {"receive_explanation": ReceiveExplanation(record=RECORD)}


def judge(satisfactory: bool) -> Body:
    return {"judge_explanation": JudgeExplanation(satisfactory=satisfactory)}


def appeal(signal_ids: Sequence[bytes] = ()) -> Body:
    return {"receive_appeal": ReceiveAppeal(signal_ids=signal_ids, record=RECORD)}


def decide_appeal(granted: bool) -> Body:
    return {"decide_appeal": DecideAppeal(granted=granted)}


def lift() -> Body:
    return {"lift": Lift()}


def close(outcome: Verdict.ValueType) -> Body:
    return {"close": Close(outcome=outcome)}


def acknowledge() -> Body:
    return {"acknowledge_notice": AcknowledgeNotice(notice=shown("step-2"))}


def statement(body: Body, sequence: int, previous: bytes, **changes: Any) -> CaseStatement:
    """A whole statement, of bank-a's officer-1 unless changed."""
    fields: dict[str, Any] = {
        "origin": "exchange.test/log",
        "member": "bank-a",
        "key_id": "officer-1",
        "case_id": CASE_ID,
        "sequence": sequence,
        "previous": previous,
        "reason": "cash-out-suspected",
    }
    return CaseStatement(**(fields | body | changes))
