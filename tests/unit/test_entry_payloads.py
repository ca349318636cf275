"""Headers and payloads are read strictly by their type."""

import contextlib
import json
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.cli.opened import fields
from signalexchange.entry_payloads import PAYLOADS, parse_header, parse_payload
from signalexchange.errors import ExchangeError, MalformedError
from signalexchange.v1.disclosure_service_pb2 import OfficerSignature
from signalexchange.v1.log_entry_pb2 import (
    AccessEntry,
    AmountRange,
    BatchEntry,
    CaseDeadlineEntry,
    CaseEntry,
    CaseErasureEntry,
    CorrectionEntry,
    CorrectionsEntry,
    DeliveryEntry,
    DisclosureDecisionEntry,
    DisclosureExpiryEntry,
    DisclosureFetchEntry,
    DisclosureReceiptEntry,
    DisclosureRequestEntry,
    DisclosureWithdrawalEntry,
    DisputeEntry,
    EntryHeader,
    EntryType,
    LearnedFactor,
    MatchDeliveryEntry,
    MatchEntry,
    ModelEntry,
    OpeningEntry,
    OutcomesEntry,
    OutcomeTally,
    RefusalEntry,
    RosterEntry,
    SignalPosition,
    SuspensionEntry,
    WithdrawalEntry,
)

T16, T32, T64 = bytes(16), bytes(32), bytes(64)
MATCH: dict[str, Any] = {
    "match_id": T16,
    "pattern": 1,
    "status": 1,
    "confidence": 1000,
    "as_of": 5,
    "evidence": [SignalPosition(index=3, position=999), SignalPosition(index=4, position=0)],
}
ACCESS: dict[str, Any] = {
    "purpose": "authorise-payment",
    "asked": 2,
    "request_digest": T32,
}
SCORED: dict[str, Any] = {
    **ACCESS,
    "answer_digest": T32,
    "hits": T32 + b"\1" * 32,
    "scores": [0, 1000],
    "advice": [1, 6],
    "learned": 17,
    "matched": [1],
    "matched_to": SignalPosition(index=3, position=999),
    "matched_day": 20_000,
}
TALLY = OutcomeTally(issuer="bank-a", code="mule-account", reporter="bank-b", confirmed=3)
MODEL: dict[str, Any] = {
    "version": 1,
    "model": "additive-2",
    "rulebook_digest": T32,
    "tallies": [OutcomeTally(code="funds-loop", reporter="shop", refuted=1), TALLY],
    "groups": [LearnedFactor(name="north", permille=625)],
    "codes": [LearnedFactor(name="a", permille=1100), LearnedFactor(name="b", permille=900)],
    "as_of": 9,
}
Changes = tuple[dict[str, Any], ...]
BAD_SCORES: Changes = (
    {"scores": [1]},
    {"scores": [1, 1001]},
    {"advice": [1]},
    {"advice": [1, 0]},
    {"advice": [1, 99]},
    {"scores": [1, 2, 3], "advice": [1, 1, 1]},
    {"matched": [2]},
    {"matched": [1, 0]},
    {"matched": []},
    {"matched_to": None},
    {"matched_to": SignalPosition(index=3, position=1001)},
)
BAD_MODELS: Changes = (
    {"version": 0},
    {"rulebook_digest": b""},
    {"tallies": [TALLY, TALLY]},
    {"tallies": [OutcomeTally(issuer="a", code="c", confirmed=1)]},
    {"tallies": [OutcomeTally(reporter="a", confirmed=1)]},
    {"tallies": [OutcomeTally(issuer="a", reporter="a")]},
    {"groups": [LearnedFactor(name="north", permille=1000)]},
    {"groups": [LearnedFactor(permille=900)]},
    {"codes": [LearnedFactor(name="b", permille=900), LearnedFactor(name="a", permille=900)]},
)
DISPUTE: dict[str, Any] = {
    "signals": [SignalPosition(index=3, position=999), SignalPosition(index=4, position=0)],
    "until": 5,
}
CORRECTION: dict[str, Any] = {"signal_id": T16, "token": T32, "change": 2}
CASES: list[tuple[EntryType.ValueType, Message]] = [
    (EntryType.ENTRY_TYPE_CASE, CaseEntry(statement=b"s", signature=T64)),
    (EntryType.ENTRY_TYPE_DISPUTE, DisputeEntry(**DISPUTE)),
    (EntryType.ENTRY_TYPE_DISPUTE, DisputeEntry(**DISPUTE | {"until": 0})),
    (EntryType.ENTRY_TYPE_CASE_DEADLINE, CaseDeadlineEntry(case_id=T16, due=5, what="explanation")),
    (EntryType.ENTRY_TYPE_CASE_ERASURE, CaseErasureEntry(entries=[3, 5])),
    (
        EntryType.ENTRY_TYPE_CASE_ERASURE,
        CaseErasureEntry(statement_digest=T32, signature=T64, entries=[3]),
    ),
    (EntryType.ENTRY_TYPE_CORRECTION, CorrectionEntry(**CORRECTION)),
    (EntryType.ENTRY_TYPE_CORRECTIONS, CorrectionsEntry(statement=b"s", signature=T64)),
]
BAD_DISPUTES: Changes = (
    {"signals": []},
    {"signals": DISPUTE["signals"][::-1]},
    {"signals": [SignalPosition(position=1000)]},
    {"until": -1},
)
BAD_CASES: list[tuple[EntryType.ValueType, Message]] = [
    *((EntryType.ENTRY_TYPE_DISPUTE, DisputeEntry(**DISPUTE | changed)) for changed in BAD_DISPUTES),
    (EntryType.ENTRY_TYPE_CASE, CaseEntry(statement=b"s", signature=T32)),
    (EntryType.ENTRY_TYPE_CASE_DEADLINE, CaseDeadlineEntry(case_id=T16, due=0, what="appeal")),
    (EntryType.ENTRY_TYPE_CASE_DEADLINE, CaseDeadlineEntry(case_id=T16, due=5, what="lunch")),
    (EntryType.ENTRY_TYPE_CASE_DEADLINE, CaseDeadlineEntry(due=5, what="appeal")),
    (EntryType.ENTRY_TYPE_CASE_ERASURE, CaseErasureEntry()),
    (EntryType.ENTRY_TYPE_CASE_ERASURE, CaseErasureEntry(entries=[5, 3])),
    (EntryType.ENTRY_TYPE_CASE_ERASURE, CaseErasureEntry(statement_digest=T32, entries=[3])),
    (EntryType.ENTRY_TYPE_CASE_ERASURE, CaseErasureEntry(signature=T64, entries=[3])),
    *(
        (EntryType.ENTRY_TYPE_CORRECTION, CorrectionEntry(**CORRECTION | changed))
        for changed in ({"signal_id": T32}, {"token": T16}, {"change": 0}, {"change": 1}, {"change": 7})
    ),
    (EntryType.ENTRY_TYPE_CORRECTIONS, CorrectionsEntry(statement=b"s")),
]
OFFICERS = [OfficerSignature(key_id=f"officer-{n}", signature=T64) for n in (1, 2)]
DISCLOSURES: list[tuple[EntryType.ValueType, Message]] = [
    (EntryType.ENTRY_TYPE_DISCLOSURE_REQUEST, DisclosureRequestEntry(statement=b"s", signature=T64)),
    (EntryType.ENTRY_TYPE_DISCLOSURE_DECISION, DisclosureDecisionEntry(statement=b"s", signatures=OFFICERS)),
    (EntryType.ENTRY_TYPE_DISCLOSURE_FETCH, DisclosureFetchEntry(request_id=T16, package_digest=T32)),
    (EntryType.ENTRY_TYPE_DISCLOSURE_RECEIPT, DisclosureReceiptEntry(statement=b"s", signature=T64)),
    (EntryType.ENTRY_TYPE_DISCLOSURE_WITHDRAWAL, DisclosureWithdrawalEntry(statement=b"s", signature=T64)),
    (EntryType.ENTRY_TYPE_DISCLOSURE_EXPIRY, DisclosureExpiryEntry(request_id=T16, due=1)),
]
BAD_DISCLOSURES: list[tuple[EntryType.ValueType, Message]] = [
    (EntryType.ENTRY_TYPE_DISCLOSURE_REQUEST, DisclosureRequestEntry(statement=b"s")),
    (
        EntryType.ENTRY_TYPE_DISCLOSURE_DECISION,
        DisclosureDecisionEntry(statement=b"s", signatures=OFFICERS[:1]),
    ),
    (
        EntryType.ENTRY_TYPE_DISCLOSURE_DECISION,
        DisclosureDecisionEntry(statement=b"s", signatures=[OFFICERS[0], OfficerSignature(signature=T32)]),
    ),
    (EntryType.ENTRY_TYPE_DISCLOSURE_FETCH, DisclosureFetchEntry(request_id=T16)),
    (EntryType.ENTRY_TYPE_DISCLOSURE_EXPIRY, DisclosureExpiryEntry(due=1)),
    (EntryType.ENTRY_TYPE_DISCLOSURE_EXPIRY, DisclosureExpiryEntry(request_id=T16)),
]
GOOD: list[tuple[EntryType.ValueType, Message]] = [
    (EntryType.ENTRY_TYPE_ROSTER, RosterEntry(note=b"note")),
    (EntryType.ENTRY_TYPE_SUSPENSION, SuspensionEntry(member="bank-a", reason="why")),
    (EntryType.ENTRY_TYPE_BATCH, BatchEntry(statement=b"s", signature=T64)),
    (
        EntryType.ENTRY_TYPE_WITHDRAWAL,
        WithdrawalEntry(statement_digest=T32, signature=T64, positions=[SignalPosition(position=999)]),
    ),
    (EntryType.ENTRY_TYPE_LOOK_UP, AccessEntry(**ACCESS, answer_digest=T32, hits=T32 + b"\1" * 32)),
    (EntryType.ENTRY_TYPE_LOOK_UP, AccessEntry(**SCORED)),
    (EntryType.ENTRY_TYPE_MODEL, ModelEntry(**MODEL)),
    (EntryType.ENTRY_TYPE_SUBSCRIPTION, AccessEntry(**ACCESS)),
    (EntryType.ENTRY_TYPE_DELIVERY, DeliveryEntry(token=T32, signal_id=bytes(16))),
    (EntryType.ENTRY_TYPE_REFUSAL, RefusalEntry(method="/m", reason="RATE_LIMITED", count=3)),
    (EntryType.ENTRY_TYPE_OPENING, OpeningEntry(indices=[1, 5])),
    (EntryType.ENTRY_TYPE_OUTCOMES, OutcomesEntry(statement=b"s", signature=T64)),
    (EntryType.ENTRY_TYPE_MATCH, MatchEntry(**MATCH)),
    (EntryType.ENTRY_TYPE_MATCH, MatchEntry(**MATCH | {"gain": AmountRange(low=1, high=2)})),
    (EntryType.ENTRY_TYPE_MATCH_DELIVERY, MatchDeliveryEntry(match_id=T16, digest=T32, subjects=T32)),
    *CASES,
    *DISCLOSURES,
]
BAD: list[tuple[EntryType.ValueType, Message]] = [
    (EntryType.ENTRY_TYPE_BATCH, BatchEntry(statement=b"s", signature=T64 + b"\0")),
    (EntryType.ENTRY_TYPE_OUTCOMES, OutcomesEntry(statement=b"s")),
    (EntryType.ENTRY_TYPE_MATCH, MatchEntry(**MATCH | {"match_id": T32})),
    (EntryType.ENTRY_TYPE_MATCH, MatchEntry(**MATCH | {"pattern": 0})),
    (EntryType.ENTRY_TYPE_MATCH, MatchEntry(**MATCH | {"pattern": 8})),
    (EntryType.ENTRY_TYPE_MATCH, MatchEntry(**MATCH | {"status": 5})),
    (EntryType.ENTRY_TYPE_MATCH, MatchEntry(**MATCH | {"confidence": 1001})),
    (EntryType.ENTRY_TYPE_MATCH, MatchEntry(**MATCH | {"as_of": 4})),
    (EntryType.ENTRY_TYPE_MATCH, MatchEntry(**MATCH | {"volume": AmountRange(low=2, high=1)})),
    (EntryType.ENTRY_TYPE_MATCH, MatchEntry(**MATCH | {"gain": AmountRange(low=2, high=1)})),
    (EntryType.ENTRY_TYPE_MATCH, MatchEntry(**MATCH | {"evidence": [SignalPosition(position=1000)]})),
    (EntryType.ENTRY_TYPE_MATCH, MatchEntry(**MATCH | {"evidence": MATCH["evidence"][::-1]})),
    (EntryType.ENTRY_TYPE_MATCH_DELIVERY, MatchDeliveryEntry(match_id=T16, digest=T16)),
    (EntryType.ENTRY_TYPE_MATCH_DELIVERY, MatchDeliveryEntry(match_id=T16, digest=T32, subjects=T64)),
    (EntryType.ENTRY_TYPE_WITHDRAWAL, WithdrawalEntry(statement_digest=T32, signature=T64)),
    (
        EntryType.ENTRY_TYPE_WITHDRAWAL,
        WithdrawalEntry(statement_digest=T32, signature=T64, positions=[SignalPosition(position=1000)]),
    ),
    (
        EntryType.ENTRY_TYPE_WITHDRAWAL,
        WithdrawalEntry(statement_digest=b"", signature=T64, positions=[SignalPosition()]),
    ),
    (EntryType.ENTRY_TYPE_LOOK_UP, AccessEntry(**ACCESS)),
    (EntryType.ENTRY_TYPE_LOOK_UP, AccessEntry(**ACCESS, answer_digest=T32, hits=bytes(31))),
    (EntryType.ENTRY_TYPE_LOOK_UP, AccessEntry(**ACCESS, answer_digest=T32, hits=T64)),
    (EntryType.ENTRY_TYPE_LOOK_UP, AccessEntry(**ACCESS | {"asked": 0}, answer_digest=T32, hits=T32)),
    (EntryType.ENTRY_TYPE_LOOK_UP, AccessEntry(**ACCESS | {"request_digest": b""}, answer_digest=T32)),
    (EntryType.ENTRY_TYPE_SUBSCRIPTION, AccessEntry(**ACCESS, answer_digest=T32)),
    (EntryType.ENTRY_TYPE_SUBSCRIPTION, AccessEntry(**ACCESS, hits=T32)),
    *((EntryType.ENTRY_TYPE_LOOK_UP, AccessEntry(**SCORED | changed)) for changed in BAD_SCORES),
    *((EntryType.ENTRY_TYPE_MODEL, ModelEntry(**MODEL | changed)) for changed in BAD_MODELS),
    (EntryType.ENTRY_TYPE_DELIVERY, DeliveryEntry(token=T32)),
    (EntryType.ENTRY_TYPE_REFUSAL, RefusalEntry(method="/m")),
    (EntryType.ENTRY_TYPE_OPENING, OpeningEntry()),
    (EntryType.ENTRY_TYPE_OPENING, OpeningEntry(indices=[5, 5])),
    *BAD_CASES,
    *BAD_DISCLOSURES,
]


def test_the_command_prints_messages_within_messages() -> None:
    document = json.loads(json.dumps(fields(AccessEntry(**SCORED))))
    assert document["matched_to"] == {"index": 3, "position": 999}
    assert document["scores"] == [0, 1000]
    assert fields(ModelEntry(**MODEL))["groups"] == [{"name": "north", "permille": 625}]


def test_every_type_of_the_contract_has_a_payload() -> None:
    assert set(PAYLOADS) == set(EntryType.values()) - {EntryType.ENTRY_TYPE_UNSPECIFIED}
    assert {entry_type for entry_type, _ in GOOD} == set(PAYLOADS)


@pytest.mark.parametrize(("entry_type", "payload"), GOOD)
def test_payloads_as_the_contract_states_them(entry_type: EntryType.ValueType, payload: Message) -> None:
    data = payload.SerializeToString()
    assert parse_payload(entry_type, data) == payload
    with pytest.raises(MalformedError):
        parse_payload(entry_type, data + b"\xfa\x7f\x00")


@pytest.mark.parametrize(("entry_type", "payload"), BAD)
def test_payloads_that_break_the_contract(entry_type: EntryType.ValueType, payload: Message) -> None:
    with pytest.raises(MalformedError):
        parse_payload(entry_type, payload.SerializeToString())


def test_headers() -> None:
    header = EntryHeader(type=EntryType.ENTRY_TYPE_BATCH, member="bank-a", time=5)
    assert parse_header(header.SerializeToString()) == header
    for broken in (b"", b"\xff", EntryHeader(type=EntryType.ENTRY_TYPE_BATCH, time=-1).SerializeToString()):
        with pytest.raises(MalformedError):
            parse_header(broken)
    for number in (0, 99):
        with pytest.raises(MalformedError):
            parse_header(EntryHeader(type=number).SerializeToString())  # type: ignore[arg-type]
        with pytest.raises(MalformedError):
            parse_payload(number, b"")


@given(st.integers(-1, 19), st.binary(max_size=120))
def test_random_bytes_raise_our_errors_only(entry_type: int, data: bytes) -> None:
    with contextlib.suppress(ExchangeError):
        parse_header(data)
    with contextlib.suppress(ExchangeError):
        parse_payload(entry_type, data)
