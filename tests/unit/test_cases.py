"""Statements about cases are read strictly, and no kind passes for another."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.cases import (
    MAX_EVIDENCE,
    open_corrections,
    open_erasure,
    open_step,
    parse_corrections,
    parse_erasure,
    parse_step,
    record_digest,
    sign_corrections,
    sign_erasure,
    sign_step,
    step_name,
)
from signalexchange.errors import ExchangeError, MalformedError, VerificationError
from signalexchange.v1.case_service_pb2 import (
    CaseErasureStatement,
    CaseEvidence,
    CaseStatement,
    Close,
    CorrectionsStatement,
    NoticeShown,
    OpenCase,
    TakeAction,
)
from signalexchange.v1.outcome_service_pb2 import VERDICT_CONFIRMED
from signalexchange.v1.signal_service_pb2 import ACTION_ALLOW, ACTION_AUTHENTICATE

from tests.support.case_steps import (
    Body,
    acknowledge,
    appeal,
    authenticate,
    close,
    decide,
    decide_appeal,
    explain,
    explained,
    freeze,
    intercept,
    judge,
    lift,
    opened,
    restrict,
    shown,
    statement,
)
from tests.support.rosters import private_key

KEY = private_key("officer")
NOTICE = shown("a-notice")
PUBLIC = KEY.public_key().public_bytes_raw()
LATER: list[Body] = [
    authenticate(),
    explain(2_000_000_000),
    intercept(),
    restrict(),
    freeze(),
    decide(bytes(32)),
    explained(),
    judge(satisfactory=True),
    appeal([bytes(16), b"\1" * 16]),
    decide_appeal(granted=False),
    lift(),
    close(VERDICT_CONFIRMED),
    acknowledge(),
]


def first(**changes: Any) -> CaseStatement:
    return statement(opened() | changes, 0, b"")


def later(body: Body, **changes: Any) -> CaseStatement:
    return statement(body | {"sequence": 3, "previous": bytes(32)} | changes, 0, b"")


def open_case(**changes: Any) -> OpenCase:
    parts: OpenCase = opened()["open"]
    for name, value in changes.items():
        if isinstance(value, Message):
            getattr(parts, name).CopyFrom(value)
        else:
            setattr(parts, name, value)
    return parts


def subject(**changes: Any) -> OpenCase:
    parts: OpenCase = opened()["open"]
    for name, value in changes.items():
        setattr(parts.subject, name, value)
    return parts


def notice(**changes: Any) -> Body:
    fields: dict[str, Any] = {"code": "c", "language": 1, "digest": bytes(32)} | changes
    return {"action": TakeAction(action=ACTION_AUTHENTICATE, notice=NoticeShown(**fields))}


@pytest.mark.parametrize("message", [first(), *(later(body) for body in LATER)], ids=step_name)
def test_a_step_is_read_as_it_was_signed(message: CaseStatement) -> None:
    request = sign_step(message, KEY.sign)
    assert open_step(request.statement, request.signature, PUBLIC) == message
    with pytest.raises(VerificationError):
        open_step(request.statement, KEY.sign(request.statement), PUBLIC)
    with pytest.raises(MalformedError):
        parse_step(request.statement + b"\xfa\x7f\x00")


def test_a_case_opened_by_hand_or_advice_has_an_id_of_its_own() -> None:
    for origin, look_up in ((2, 17), (3, 0)):
        body = {"open": open_case(origin=origin, match_id=b"", look_up=look_up)}
        message = first(**body, case_id=b"\7" * 16)
        assert parse_step(message.SerializeToString()) == message


@pytest.mark.parametrize(
    "message",
    [
        CaseStatement(),
        first(origin=""),
        first(member="m" * 256),
        first(key_id=""),
        first(reason=""),
        first(case_id=bytes(15)),
        first(case_id=bytes(16)),
        first(sequence=1, previous=bytes(32)),
        first(previous=bytes(32)),
        first(open=subject(type=0)),
        first(open=subject(type=99)),
        first(open=subject(value=bytes(31))),
        first(open=open_case(origin=0)),
        first(open=open_case(origin=4)),
        first(open=open_case(match_id=b"")),
        first(open=open_case(look_up=1)),
        first(open=open_case(origin=2, match_id=b"")),
        first(open=open_case(origin=3)),
        first(open=open_case(origin=3, match_id=b"", look_up=5)),
        later(authenticate(), sequence=0),
        later(authenticate(), sequence=0, previous=b""),
        later(authenticate(), previous=b""),
        later(authenticate(), previous=bytes(31)),
        later({"action": TakeAction(action=ACTION_ALLOW, notice=NOTICE)}),
        later({"action": TakeAction(action=7, notice=NOTICE)}),  # type: ignore[arg-type]
        later({"action": TakeAction(action=ACTION_AUTHENTICATE)}),
        later(notice(code="")),
        later(notice(language=0)),
        later(notice(language=3)),
        later(notice(digest=bytes(31))),
        later(explain(0)),
        later(explain(-1)),
        later(explain(2**53 + 1)),
        later({"action": TakeAction(action=ACTION_AUTHENTICATE, explain_by=5, notice=NOTICE)}),
        later(intercept() | {"evidence": ()}),
        later(restrict() | {"evidence": [CaseEvidence()]}),
        later(restrict() | {"evidence": [CaseEvidence(record=bytes(31))]}),
        later(restrict() | {"evidence": [CaseEvidence(match_id=bytes(32))]}),
        later(restrict() | {"evidence": [CaseEvidence(look_up=5), CaseEvidence(look_up=5)]}),
        later(restrict() | {"evidence": [CaseEvidence(look_up=n) for n in range(MAX_EVIDENCE + 1)]}),
        later(decide(bytes(31))),
        later({"receive_explanation": type(explained()["receive_explanation"])(record=b"")}),
        later(appeal([bytes(15)])),
        later(appeal([b"\1" * 16, bytes(16)])),
        later(appeal([bytes(16), bytes(16)])),
        later(appeal([n.to_bytes(16, "big") for n in range(1001)])),
        later({"receive_appeal": type(appeal()["receive_appeal"])(record=bytes(16))}),
        later({"close": Close()}),
        later({"close": Close(outcome=4)}),  # type: ignore[arg-type]
        later({"acknowledge_notice": type(acknowledge()["acknowledge_notice"])()}),
    ],
)
def test_a_step_is_read_strictly(message: CaseStatement) -> None:
    with pytest.raises(MalformedError):
        parse_step(message.SerializeToString())
    with pytest.raises(MalformedError):
        sign_step(message, KEY.sign)


def test_a_statement_with_two_steps_is_refused() -> None:
    both = (
        later(lift()).SerializeToString()
        + CaseStatement(close=Close(outcome=VERDICT_CONFIRMED)).SerializeToString()
    )
    with pytest.raises(MalformedError):
        parse_step(both)


ERASURE: dict[str, Any] = {
    "origin": "exchange.test/log",
    "member": "bank-a",
    "key_id": "officer-1",
    "order_id": bytes(16),
    "case_id": b"\1" * 16,
}
CORRECTIONS: dict[str, Any] = {"origin": "exchange.test/log", "member": "bank-a", "key_id": "k1"}


def test_orders_and_acknowledgements_are_read_as_they_were_signed() -> None:
    erasure = sign_erasure(**ERASURE, sign=KEY.sign)
    assert open_erasure(erasure.statement, erasure.signature, PUBLIC) == CaseErasureStatement(**ERASURE)
    acknowledged = sign_corrections([7, 3, 7], **CORRECTIONS, sign=KEY.sign)
    opened = open_corrections(acknowledged.statement, acknowledged.signature, PUBLIC)
    assert list(opened.entries) == [3, 7]


@pytest.mark.parametrize("change", [{"origin": ""}, {"order_id": b""}, {"case_id": bytes(17)}])
def test_an_order_is_read_strictly(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        parse_erasure(CaseErasureStatement(**ERASURE | change).SerializeToString())


@pytest.mark.parametrize("entries", [[], [3, 3], [4, 3], list(range(1001))])
def test_an_acknowledgement_is_read_strictly(entries: list[int]) -> None:
    with pytest.raises(MalformedError):
        parse_corrections(CorrectionsStatement(**CORRECTIONS, entries=entries).SerializeToString())


def test_no_kind_passes_for_another() -> None:
    step = sign_step(later(lift()), KEY.sign)
    erasure = sign_erasure(**ERASURE, sign=KEY.sign)
    acknowledged = sign_corrections([1], **CORRECTIONS, sign=KEY.sign)
    opens: list[Callable[[bytes, bytes, bytes], Message]] = [open_step, open_erasure, open_corrections]
    signatures = [step.signature, erasure.signature, acknowledged.signature]
    statements = [step.statement, erasure.statement, acknowledged.statement]
    for at, open_it in enumerate(opens):
        for other in range(3):
            if at != other:
                with pytest.raises(MalformedError):
                    open_it(statements[other], signatures[other], PUBLIC)
                with pytest.raises(VerificationError):
                    open_it(statements[at], signatures[other], PUBLIC)


def test_records_need_a_whole_salt() -> None:
    assert record_digest(bytes(32), b"a") != record_digest(b"\1" * 32, b"a")
    with pytest.raises(MalformedError):
        record_digest(bytes(31), b"a")


@given(st.binary(max_size=200), st.sampled_from([parse_step, parse_erasure, parse_corrections]))
def test_random_bytes_raise_our_errors_only(data: bytes, parse: Callable[[bytes], Message]) -> None:
    for text in (data, first().SerializeToString()[: len(data)] + data):
        try:
            parse(text)
        except ExchangeError:
            continue
