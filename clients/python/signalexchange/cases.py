"""What officers and members sign about cases: steps, orders to erase, acknowledgements of corrections.

Invariants: each kind of statement is signed under a label of its own, over the bytes carried, and names the
log's origin; a step names the statement before it, so that a proceeding is a chain that nobody can reorder;
only its form is checked here. Whether the rules allow a step is the hub's to say, by the steps before it.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Final

from signalexchange.envelope import (
    ID_SIZE,
    MAX_NAME,
    MAX_SIGNALS,
    check_names,
    check_size,
    parse_exactly,
    verify_signature,
)
from signalexchange.errors import MalformedError
from signalexchange.outcomes import VERDICTS
from signalexchange.v1.case_service_pb2 import (
    CASE_ORIGIN_ADVICE,
    CASE_ORIGIN_HAND,
    CASE_ORIGIN_MATCH,
    LANGUAGE_EN,
    LANGUAGE_ZH_CN,
    AcknowledgeCorrectionsRequest,
    CaseErasureStatement,
    CaseEvidence,
    CaseStatement,
    CorrectionsStatement,
    EraseCaseRequest,
    NoticeShown,
    OpenCase,
    ReceiveAppeal,
    RecordStepRequest,
    TakeAction,
)
from signalexchange.v1.identifier_pb2 import IdentifierType
from signalexchange.v1.outcome_service_pb2 import ReportOutcomesRequest
from signalexchange.v1.signal_service_pb2 import (
    ACTION_AUTHENTICATE,
    ACTION_EXPLAIN,
    ACTION_FREEZE,
    ACTION_INTERCEPT,
    ACTION_RESTRICT,
)

DIGEST_SIZE: Final = 32
MAX_EVIDENCE: Final = 100
MAX_CORRECTIONS: Final = 1000
MAX_TIME: Final = 2**53
"""Unix seconds that a statement may name."""

ACTION_NAMES: Final = {
    int(ACTION_AUTHENTICATE): "authenticate",
    int(ACTION_EXPLAIN): "explain",
    int(ACTION_INTERCEPT): "intercept",
    int(ACTION_RESTRICT): "restrict",
    int(ACTION_FREEZE): "freeze",
}
"""Names of the actions that a step may take, ascending in severity."""

STEP_NAMES: Final = (
    "open",
    *ACTION_NAMES.values(),
    "decide-proposal",
    "receive-explanation",
    "judge-explanation",
    "receive-appeal",
    "decide-appeal",
    "lift",
    "close",
    "acknowledge-notice",
)
"""Names of all steps, as `step_name` and ProceedingState.next have them."""

_CASE_ID_LABEL = b"signalexchange/case-id/v1\0"
_STEP_LABEL = b"signalexchange/case/v1\0"
_ERASURE_LABEL = b"signalexchange/case-erasure/v1\0"
_CORRECTIONS_LABEL = b"signalexchange/corrections/v1\0"
_ORIGINS = frozenset({CASE_ORIGIN_MATCH, CASE_ORIGIN_ADVICE, CASE_ORIGIN_HAND})
_LANGUAGES = frozenset({LANGUAGE_ZH_CN, LANGUAGE_EN})
_EVIDENCE_SIZES = {"signal_id": ID_SIZE, "match_id": ID_SIZE, "record": DIGEST_SIZE}

Sign = Callable[[bytes], bytes]
"""Makes an Ed25519 signature."""


def case_id_of(match_id: bytes, token: bytes) -> bytes:
    """Id (16 bytes) of the case about a match (its id, 16 bytes) and a subject (its token, 32 bytes), the
    same at every member; raises MalformedError."""
    check_size("match_id", match_id, ID_SIZE)
    check_size("token", token, DIGEST_SIZE)
    return sha256(_CASE_ID_LABEL + match_id + token).digest()[:ID_SIZE]


def record_digest(salt: bytes, record: bytes) -> bytes:
    """SHA-256 of salt (32 random bytes) ‖ record: what a step says of a record that the member keeps, which
    the digest doesn't let anybody guess. Raises MalformedError."""
    check_size("salt", salt, DIGEST_SIZE)
    return sha256(salt + record).digest()


def step_name(statement: CaseStatement) -> str:
    """Name of the step, of STEP_NAMES; raises MalformedError where there is none."""
    step = statement.WhichOneof("step")
    if step is None:
        raise MalformedError("the statement holds no step")
    if step != "action":
        return step.replace("_", "-")
    name = ACTION_NAMES.get(statement.action.action)
    if name is None:
        raise MalformedError("action.action is none that a step takes")
    return name


def sign_step(
    statement: CaseStatement, sign: Sign, outcomes: ReportOutcomesRequest | None = None
) -> RecordStepRequest:
    """Sign a step with an officer's key; `outcomes`, signed already, go with it. Raises MalformedError."""
    _check_step(statement)
    encoded = statement.SerializeToString(deterministic=True)
    return RecordStepRequest(statement=encoded, signature=sign(_STEP_LABEL + encoded), outcomes=outcomes)


def parse_step(statement: bytes) -> CaseStatement:
    """Parse a step's statement strictly, its signature not checked; raises MalformedError."""
    parsed = parse_exactly(CaseStatement, statement)
    _check_step(parsed)
    return parsed


def open_step(statement: bytes, signature: bytes, public_key: bytes) -> CaseStatement:
    """Parse a step's statement and verify the officer's signature over it.

    Raises MalformedError or VerificationError.
    """
    parsed = parse_step(statement)
    verify_signature(public_key, signature, _STEP_LABEL + statement, "signature of the step")
    return parsed


def sign_erasure(
    *, origin: str, member: str, key_id: str, order_id: bytes, case_id: bytes, sign: Sign
) -> EraseCaseRequest:
    """Sign an order, with an officer's key, to erase the member's proceeding in a case.

    `order_id` and `case_id` have 16 bytes each. Raises MalformedError.
    """
    statement = CaseErasureStatement(
        origin=origin, member=member, key_id=key_id, order_id=order_id, case_id=case_id
    )
    _check_erasure(statement)
    encoded = statement.SerializeToString(deterministic=True)
    return EraseCaseRequest(statement=encoded, signature=sign(_ERASURE_LABEL + encoded))


def parse_erasure(statement: bytes) -> CaseErasureStatement:
    """Parse an order to erase strictly, its signature not checked; raises MalformedError."""
    parsed = parse_exactly(CaseErasureStatement, statement)
    _check_erasure(parsed)
    return parsed


def open_erasure(statement: bytes, signature: bytes, public_key: bytes) -> CaseErasureStatement:
    """Parse an order to erase and verify the officer's signature over it.

    Raises MalformedError or VerificationError.
    """
    parsed = parse_erasure(statement)
    verify_signature(public_key, signature, _ERASURE_LABEL + statement, "signature of the erasure")
    return parsed


def sign_corrections(
    entries: Iterable[int], *, origin: str, member: str, key_id: str, sign: Sign
) -> AcknowledgeCorrectionsRequest:
    """Sign, with a signing key, that the member received 1 to 1,000 corrections, given by their entries'
    indices in any order; raises MalformedError."""
    statement = CorrectionsStatement(
        origin=origin, member=member, key_id=key_id, entries=sorted(set(entries))
    )
    _check_corrections(statement)
    encoded = statement.SerializeToString(deterministic=True)
    return AcknowledgeCorrectionsRequest(statement=encoded, signature=sign(_CORRECTIONS_LABEL + encoded))


def parse_corrections(statement: bytes) -> CorrectionsStatement:
    """Parse an acknowledgement of corrections strictly, its signature not checked; raises MalformedError."""
    parsed = parse_exactly(CorrectionsStatement, statement)
    _check_corrections(parsed)
    return parsed


def open_corrections(statement: bytes, signature: bytes, public_key: bytes) -> CorrectionsStatement:
    """Parse an acknowledgement of corrections and verify the member's signature over it.

    Raises MalformedError or VerificationError.
    """
    parsed = parse_corrections(statement)
    verify_signature(public_key, signature, _CORRECTIONS_LABEL + statement, "signature of the corrections")
    return parsed


def _check_step(statement: CaseStatement) -> None:
    check_names(statement)
    check_size("case_id", statement.case_id, ID_SIZE)
    name = step_name(statement)
    if (name == "open") != (statement.sequence == 0):
        raise MalformedError("step 0 opens the proceeding, and no other does")
    check_size("previous", statement.previous, DIGEST_SIZE if statement.sequence else 0)
    if not 1 <= len(statement.reason) <= MAX_NAME:
        raise MalformedError(f"reason has not 1 to {MAX_NAME} characters")
    _check_evidence(statement.evidence)
    match statement.WhichOneof("step"):
        case "open":
            _check_open(statement.open, statement.case_id)
        case "action":
            _check_action(statement.action)
            if statement.action.action >= ACTION_INTERCEPT and not statement.evidence:
                raise MalformedError(f"{name} rests on at least one piece of evidence")
        case "decide_proposal":
            check_size("proposal", statement.decide_proposal.proposal, DIGEST_SIZE)
        case "receive_explanation":
            check_size("record", statement.receive_explanation.record, DIGEST_SIZE)
        case "receive_appeal":
            _check_appeal(statement.receive_appeal)
        case "close":
            if statement.close.outcome not in VERDICTS:
                raise MalformedError("close.outcome is not known")
        case "acknowledge_notice":
            _check_notice("acknowledge_notice.notice", statement.acknowledge_notice.notice)


def _check_evidence(evidence: Sequence[CaseEvidence]) -> None:
    if len(evidence) > MAX_EVIDENCE:
        raise MalformedError(f"evidence is more than {MAX_EVIDENCE}")
    seen: set[tuple[str, bytes | int]] = set()
    for at, item in enumerate(evidence):
        what = item.WhichOneof("what")
        if what is None:
            raise MalformedError(f"evidence[{at}] is nothing")
        value: bytes | int = getattr(item, what)
        if isinstance(value, bytes):
            check_size(f"evidence[{at}].{what}", value, _EVIDENCE_SIZES[what])
        if (what, value) in seen:
            raise MalformedError(f"evidence[{at}].{what} stands twice in the step")
        seen.add((what, value))


def _check_open(opened: OpenCase, case_id: bytes) -> None:
    if opened.subject.type not in IdentifierType.values() or not opened.subject.type:
        raise MalformedError("open.subject.type is not known")
    check_size("open.subject.value", opened.subject.value, DIGEST_SIZE)
    if opened.origin not in _ORIGINS:
        raise MalformedError("open.origin is not known")
    about_match = opened.origin == CASE_ORIGIN_MATCH
    check_size("open.match_id", opened.match_id, ID_SIZE if about_match else 0)
    if about_match and case_id != case_id_of(opened.match_id, opened.subject.value):
        raise MalformedError("case_id is not that of match and subject")
    if (opened.look_up != 0) != (opened.origin == CASE_ORIGIN_ADVICE):
        raise MalformedError("open.look_up goes with advice, and with nothing else")


def _check_action(taken: TakeAction) -> None:
    if (taken.explain_by != 0) != (taken.action == ACTION_EXPLAIN):
        raise MalformedError("action.explain_by goes with explain, and with nothing else")
    if not 0 <= taken.explain_by <= MAX_TIME:
        raise MalformedError("action.explain_by is no time")
    _check_notice("action.notice", taken.notice)


def _check_notice(field: str, notice: NoticeShown) -> None:
    if not 1 <= len(notice.code) <= MAX_NAME:
        raise MalformedError(f"{field}.code has not 1 to {MAX_NAME} characters")
    if notice.language not in _LANGUAGES:
        raise MalformedError(f"{field}.language is not known")
    check_size(f"{field}.digest", notice.digest, DIGEST_SIZE)


def _check_appeal(appeal: ReceiveAppeal) -> None:
    check_size("receive_appeal.record", appeal.record, DIGEST_SIZE)
    if len(appeal.signal_ids) > MAX_SIGNALS:
        raise MalformedError(f"receive_appeal.signal_ids are more than {MAX_SIGNALS}")
    for signal_id in appeal.signal_ids:
        check_size("receive_appeal.signal_ids", signal_id, ID_SIZE)
    if any(left >= right for left, right in pairwise(appeal.signal_ids)):
        raise MalformedError("receive_appeal.signal_ids are not sorted without duplicates")


def _check_erasure(statement: CaseErasureStatement) -> None:
    check_names(statement)
    check_size("order_id", statement.order_id, ID_SIZE)
    check_size("case_id", statement.case_id, ID_SIZE)


def _check_corrections(statement: CorrectionsStatement) -> None:
    check_names(statement)
    if not 1 <= len(statement.entries) <= MAX_CORRECTIONS:
        raise MalformedError(f"entries are not 1 to {MAX_CORRECTIONS}")
    if any(left >= right for left, right in pairwise(statement.entries)):
        raise MalformedError("entries are not sorted without duplicates")
