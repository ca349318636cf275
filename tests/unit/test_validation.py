"""Each rule on signals and token lists, one violation at a time, and all of them at once."""

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange.roster import Party
from signalexchange.rulebook import Rulebook, default_text
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.identifier_pb2 import IdentifierType, SubjectToken
from signalexchange.v1.signal_pb2 import BatchStatement, Signal, SignalEnvelope

from exchange.domain.refusal import Refusal
from exchange.domain.validation import BatchValidator, ValidSignal, check_count, check_tokens
from exchange.server.refusals import status_of
from tests.support.members import CARD, DAY, MERCHANT, SLOT, signal, subject
from tests.support.rosters import party as party_document

NOW = 1_800_000_000
RULEBOOK = Rulebook.parse(default_text())
BANK = Party.model_validate(party_document("bank-north", "bank", "north"))
SHOP = Party.model_validate(party_document("shop-river", "ecommerce", "river"))
AT = NOW // SLOT * SLOT


def judge(*messages: Signal | bytes, party: Party = BANK, nonce: bytes = bytes(32)) -> Refusal | None:
    validator = BatchValidator(
        party,
        BatchStatement(epoch=1),
        RULEBOOK,
        lambda type_, epoch: type_ in range(1, 10) and epoch in (1, 2),
        NOW,
    )
    for message in messages:
        body = message if isinstance(message, bytes) else message.SerializeToString()
        validator.add(SignalEnvelope(nonce=nonce, signal=body))
    try:
        validator.finish()
    except Refusal as refusal:
        return refusal
    assert len(validator.signals) == len(messages)
    return None


def one(**changes: Any) -> Refusal:
    refusal = judge(signal(now=NOW), signal(now=NOW, **changes))
    assert refusal is not None
    return refusal


def test_valid_signals_pass() -> None:
    assert judge(*(signal(now=NOW) for _ in range(50))) is None
    full = signal(
        now=NOW,
        counterparty=subject(type_=IdentifierType.IDENTIFIER_TYPE_MERCHANT),
        links=[subject() for _ in range(8)],
        audience=[1, 2, 3],
        sealed_detail=bytes(4352),
        amount_band=255,
        confidence=100,
        last_seen=AT,
    )
    assert judge(full) is None


TOKEN = os.urandom(32)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"signal_id": b""}, "signal_id"),
        ({"signal_id": bytes(17)}, "signal_id"),
        ({"code": ""}, "code"),
        ({"code": "no-such-code"}, "code"),
        ({"subject": None}, "subject.value"),
        ({"subject": SubjectToken(type=CARD, epoch=1, value=bytes(31))}, "subject.value"),
        ({"subject": SubjectToken(type=99, epoch=1, value=bytes(32))}, "subject.type"),  # type: ignore[arg-type]
        ({"subject": subject(type_=IdentifierType.IDENTIFIER_TYPE_ADDRESS)}, "subject.type"),
        ({"subject": subject(TOKEN), "counterparty": subject(TOKEN)}, "counterparty"),
        ({"counterparty": SubjectToken()}, "counterparty.value"),
        ({"counterparty": subject(epoch=2)}, "counterparty.epoch"),
        ({"counterparty": subject(TOKEN), "links": [subject(), subject(TOKEN)]}, "counterparty"),
        ({"code": "pass-through", "grade": 1}, "counterparty"),
        ({"links": [subject(epoch=2)]}, "links[0].epoch"),
        ({"links": [subject(), subject(epoch=2)]}, "links[1].epoch"),
        ({"code": "same-subject", "links": [subject(type_=MERCHANT, epoch=2)]}, "links[0].epoch"),
        ({"links": [subject(epoch=3)]}, "links[0].epoch"),
        ({"links": [subject() for _ in range(9)]}, "links"),
        ({"subject": subject(TOKEN), "links": [subject(TOKEN)]}, "links[0]"),
        ({"links": [subject(TOKEN), subject(TOKEN)]}, "links[1]"),
        ({"amount_band": 256}, "amount_band"),
        ({"first_seen": AT - 1}, "first_seen"),
        ({"first_seen": -SLOT}, "first_seen"),
        ({"last_seen": AT - 7}, "last_seen"),
        ({"last_seen": AT + SLOT}, "last_seen"),
        ({"first_seen": AT, "last_seen": AT - SLOT}, "first_seen"),
        ({"expires_at": AT + 1}, "expires_at"),
        ({"expires_at": AT - SLOT}, "expires_at"),
        ({"expires_at": AT + 181 * DAY}, "expires_at"),
        ({"confidence": 101}, "confidence"),
        ({"grade": 0}, "grade"),
        ({"grade": 4}, "grade"),
        ({"code": "mule-account", "grade": 1}, "grade"),
        ({"tlp": 0}, "tlp"),
        ({"tlp": 5}, "tlp"),
        ({"audience": [4]}, "audience"),
        ({"audience": [0]}, "audience"),
        ({"legal_basis": 0}, "legal_basis"),
        ({"record_commitment": bytes(31)}, "record_commitment"),
        ({"sealed_detail": bytes(4353)}, "sealed_detail"),
        ({"code": "same-subject"}, "links"),
    ],
)
def test_each_violation_is_named_by_index_and_field(changes: dict[str, Any], field: str) -> None:
    refusal = one(**changes)
    assert refusal.reason in (
        ErrorReason.ERROR_REASON_INVALID_REQUEST,
        ErrorReason.ERROR_REASON_EPOCH_NOT_VALID,
    )
    assert f"signals[1].{field}" in [name for name, _ in refusal.violations]
    assert all(name.startswith("signals[1].") for name, _ in refusal.violations)


def test_an_old_and_a_new_token_of_one_identifier_may_be_linked_and_nothing_else_across_epochs() -> None:
    pair = signal(now=NOW, code="same-subject", links=[subject(epoch=2), subject(type_=MERCHANT)])
    assert judge(pair) is None
    refusal = one(links=[subject(epoch=2)])
    assert refusal.reason == ErrorReason.ERROR_REASON_INVALID_REQUEST
    assert "another epoch" in refusal.violations[0][1]


@pytest.mark.parametrize("via", ["subject", "link"])
def test_a_flow_to_oneself_is_refused_as_one(via: str) -> None:
    links = [subject(TOKEN)] if via == "link" else []
    about = subject() if via == "link" else subject(TOKEN)
    refusal = one(subject=about, counterparty=subject(TOKEN), links=links)
    assert "a flow to oneself" in dict(refusal.violations)["signals[1].counterparty"]


def test_what_look_ups_find_and_follow_is_the_codes_business() -> None:
    validator = BatchValidator(BANK, BatchStatement(epoch=1), RULEBOOK, lambda *_: True, NOW)
    for code, links in (
        ("cash-out-suspected", 1),
        ("credit-purchase", 1),
        ("same-subject", 1),
        ("mule-account", 0),
    ):
        made = signal(now=NOW, code=code, counterparty=subject(), links=[subject()] * links)
        validator.add(SignalEnvelope(nonce=bytes(32), signal=made.SerializeToString()))
    assert [each.searched for each in validator.signals] == [True, False, False, True]
    assert [each.joins for each in validator.signals] == [True, False, True, False]
    assert [each.role.name for each in validator.signals] == ["NONE", "PAYMENT", "LINK", "NONE"]


def test_what_is_for_some_kinds_alone_is_not_joined_with_others_signals() -> None:
    def role(message: Signal, code: str) -> int:
        return ValidSignal(message, bytes(32), message.SerializeToString(), RULEBOOK.code(code)).role

    code = "repay-and-respend"
    assert role(signal(now=NOW, code=code), code) != 0
    assert role(signal(now=NOW, code=code, audience=[1]), code) == 0
    refusal = one(code="line-exhausted", audience=[1])
    assert [field for field, _ in refusal.violations] == ["signals[1].audience"]
    assert judge(signal(now=NOW, code="line-exhausted")) is None


def test_an_epoch_that_is_over_has_a_reason_of_its_own() -> None:
    validator = BatchValidator(BANK, BatchStatement(epoch=7), RULEBOOK, lambda *_: False, NOW)
    validator.add(SignalEnvelope(nonce=bytes(32), signal=signal(epoch=7, now=NOW).SerializeToString()))
    with pytest.raises(Refusal) as refusal:
        validator.finish()
    assert refusal.value.reason_name == "EPOCH_NOT_VALID"
    assert refusal.value.violations[0][0] == "signals[0].subject.epoch"


def test_a_code_of_other_kinds_of_members_has_a_reason_of_its_own() -> None:
    refusal = judge(signal(now=NOW, code="card-leaked"), party=SHOP)
    assert refusal is not None
    assert refusal.reason_name == "CODE_NOT_ALLOWED"


def test_a_signal_id_twice_in_a_batch() -> None:
    message = signal(now=NOW)
    refusal = judge(message, message)
    assert refusal is not None
    assert refusal.violations == [("signals[1].signal_id", "stands twice in the batch")]


def test_unknown_fields_and_roundabout_encodings_are_refused() -> None:
    body = signal(now=NOW).SerializeToString()
    for changed in (body + b"\xf8\x07\x01", body + b"\x48\x51", body[:-1] + b"", b"\xff"):
        refusal = judge(changed)
        assert refusal is not None
        assert refusal.violations[0][0].startswith("signals[0].")


def test_the_status_stays_small_and_counts_everything() -> None:
    refusal = judge(*(Signal(code="c" * 900, sealed_detail=bytes(5000)) for _ in range(1000)))
    assert refusal is not None
    assert len(refusal.violations) == 32
    assert refusal.total > 10_000
    status = status_of(refusal)
    assert status.ByteSize() < 6 * 1024


@settings(max_examples=200)
@given(st.binary(max_size=400), st.binary(max_size=40))
def test_no_bytes_are_too_strange(body: bytes, nonce: bytes) -> None:
    refusal = judge(body, nonce=nonce)
    assert refusal is None or refusal.total >= 1


@pytest.mark.parametrize("count", [0, 1001])
def test_batch_sizes(count: int) -> None:
    with pytest.raises(Refusal):
        check_count(count)


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [b"short"],
        [bytes(32)] * 2,
        [b"\xff" * 32, bytes(32)],
        [bytes([i // 256, i % 256]) + bytes(30) for i in range(1001)],
    ],
)
def test_token_lists(tokens: list[bytes]) -> None:
    with pytest.raises(Refusal) as refusal:
        check_tokens(tokens)
    assert refusal.value.reason_name == "INVALID_REQUEST"
