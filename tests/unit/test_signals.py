"""What leaves the member: bands, cut times, and drafts that break the contract."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.rulebook import Rulebook, default_text
from signalexchange.sealing import open_sealed
from signalexchange.signals import (
    InvalidSignalError,
    SignalDraft,
    Subject,
    amount_band,
    build,
    check,
    cut,
    record,
    rule_violations,
)
from signalexchange.tokens import Token
from signalexchange.v1 import signal_pb2 as pb

NOW = 1_800_000_000
PHONE = Subject(1, "+8613812345678")
MERCHANT = Subject(7, "91350211M000100Y46")
CARD = Subject(3, "4111111111111111")
TOKENS = {each: Token(each.type, 5, bytes([each.type]) * 32, b"k" * 32) for each in (PHONE, MERCHANT, CARD)}
DRAFT = SignalDraft(
    subject=PHONE,
    code="cash-out-suspected",
    confidence=80,
    grade=pb.EVIDENCE_GRADE_SUSPECTED,
    first_seen=NOW - 5000,
    last_seen=NOW - 1001,
    expires_at=NOW + 90 * 86_400 + 17,
    reference="case-2026-0815",
    amount=Decimal("1234.56"),
    counterparty=MERCHANT,
    links=(CARD,),
    audience=(3, 1),
    detail="asked for cash by chat",
    place="fraud.csv, row 3",
)


@given(st.integers(min_value=1, max_value=10**17), st.integers(min_value=0, max_value=4))
def test_a_band_holds_its_amounts_and_no_others(units: int, decimals: int) -> None:
    amount = Decimal(units).scaleb(-decimals)
    if not -15 <= amount.adjusted() <= 15:
        return
    band = amount_band(amount)
    numerator, denominator = amount.as_integer_ratio()
    assert 1 <= band <= 255
    if band > 1:
        assert 11 ** (band - 1) * denominator <= numerator * 10 ** (band - 1)
    if band < 255:
        assert numerator * 10**band < 11**band * denominator


@pytest.mark.parametrize("exponent", [0, 1, 2, 7, 20, 100, 253])
def test_band_boundaries_are_exact(exponent: int) -> None:
    def scaled(number: int) -> Decimal:
        return Decimal(
            (0, tuple(map(int, str(number))), -exponent)
        )  # exact, whatever the context's precision

    assert amount_band(scaled(11**exponent)) == 1 + exponent
    if exponent:
        assert amount_band(scaled(11**exponent - 1)) == exponent


@pytest.mark.parametrize("amount", ["0", "-1", "NaN", "Infinity", "1e99", "1e-99", "1e999999999"])
def test_amounts_out_of_reason_are_refused(amount: str) -> None:
    with pytest.raises(InvalidSignalError, match="amount"):
        amount_band(Decimal(amount))


def test_the_signal_holds_nothing_of_the_draft_that_must_stay() -> None:
    signal = build(DRAFT, TOKENS, signal_id=b"i" * 16, salt=b"s" * 32, now=NOW)
    assert (signal.first_seen % 300, signal.last_seen % 300, signal.expires_at % 300) == (0, 0, 0)
    assert signal.first_seen == cut(DRAFT.first_seen)
    assert signal.amount_band == amount_band(Decimal("1234.56"))
    assert signal.subject.value == b"\x01" * 32
    assert (signal.counterparty.value, signal.links[0].value) == (b"\x07" * 32, b"\x03" * 32)
    assert list(signal.audience) == [1, 3]
    assert open_sealed(TOKENS[PHONE], b"i" * 16, signal.sealed_detail) == b"asked for cash by chat"
    carried = signal.SerializeToString()
    for secret in (
        PHONE.value,
        PHONE.value[1:],
        MERCHANT.value,
        CARD.value,
        "case-2026",
        "asked for",
        "1234",
    ):
        assert secret.encode() not in carried
    assert PHONE.value not in repr(DRAFT)
    assert "case-2026" not in repr(DRAFT)


def test_without_amount_detail_and_counterparty_the_fields_are_empty() -> None:
    draft = replace(DRAFT, amount=None, detail="", counterparty=None, links=(), audience=())
    signal = build(draft, TOKENS, signal_id=b"i" * 16, salt=b"s" * 32, now=NOW)
    assert not signal.HasField("counterparty")
    assert (signal.amount_band, signal.sealed_detail, list(signal.links), list(signal.audience)) == (
        0,
        b"",
        [],
        [],
    )


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"confidence": 101}, "confidence"),
        ({"confidence": -1}, "confidence"),
        ({"code": "Cash Out"}, "code"),
        ({"grade": 0}, "grade"),
        ({"grade": 9}, "grade"),
        ({"tlp": 0}, "tlp"),
        ({"legal_basis": 0}, "legal_basis"),
        ({"audience": (1, 1)}, "audience"),
        ({"audience": (77,)}, "audience"),
        ({"first_seen": NOW - 1000}, "last_seen"),
        ({"last_seen": NOW + 1}, "last_seen"),
        ({"first_seen": -1}, "first_seen"),
        ({"expires_at": NOW + 200}, "expires_at"),
        ({"expires_at": 2**60}, "expires_at"),
        ({"counterparty": PHONE}, "counterparty"),
        ({"links": (PHONE,)}, "links"),
        ({"links": (CARD, CARD)}, "links"),
        ({"links": tuple(Subject(8, f"upi:{number:09}") for number in range(9))}, "links"),
        ({"amount": Decimal(0)}, "amount"),
        ({"detail": "x" * 4097}, "detail"),
        ({"reference": ""}, "reference"),
    ],
)
def test_a_draft_that_breaks_the_contract_is_refused_by_place_and_field(
    changes: dict[str, object], name: str
) -> None:
    draft = replace(DRAFT, **changes)  # type: ignore[arg-type]
    with pytest.raises(InvalidSignalError, match=rf"fraud\.csv, row 3: .*{name}: ") as caught:
        check(draft, NOW)
    assert name in {field for field, _ in caught.value.violations}
    assert PHONE.value not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "kind", "name"),
    [
        ({"code": "no-such-code"}, "bank", "code"),
        ({"code": "logistics-mismatch"}, "bank", "code"),
        ({"code": "logistics-mismatch", "subject": CARD, "links": ()}, "ecommerce", "subject"),
        ({"code": "same-subject", "links": ()}, "bank", "links"),
        ({"expires_at": NOW + 400 * 86_400}, "bank", "expires_at"),
    ],
)
def test_what_the_rulebook_does_not_allow_is_known_before_anything_leaves(
    changes: dict[str, object], kind: str, name: str
) -> None:
    rulebook = Rulebook.parse(default_text())
    assert rule_violations(DRAFT, rulebook, "bank", NOW) == []
    found = rule_violations(replace(DRAFT, **changes), rulebook, kind, NOW)  # type: ignore[arg-type]
    assert name in {field for field, _ in found}


def test_the_record_is_the_same_whatever_the_place_and_the_spelling_of_the_amount() -> None:
    assert record(DRAFT) == record(replace(DRAFT, place="other.jsonl, row 9", amount=Decimal("1234.5600")))
    assert record(DRAFT) != record(replace(DRAFT, reference="case-2026-0816"))
