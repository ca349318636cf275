"""Statements of outcomes: what is signed is read back, strictly, and passes for nothing else."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.envelope import open_withdrawal
from signalexchange.errors import ExchangeError, MalformedError, VerificationError
from signalexchange.outcomes import about, open_outcomes, parse_outcomes, sign_outcomes
from signalexchange.v1.outcome_service_pb2 import (
    VERDICT_CONFIRMED,
    VERDICT_REFUTED,
    Outcome,
    OutcomeStatement,
    ReportOutcomesRequest,
)

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()

ids = st.binary(min_size=16, max_size=16)
verdicts = st.sampled_from([1, 2, 3])
outcomes = st.lists(
    st.one_of(
        st.builds(Outcome, signal_id=ids, verdict=verdicts),
        st.builds(Outcome, match_id=ids, verdict=verdicts),
    ),
    min_size=1,
    max_size=20,
    unique_by=about,
)


def sign(given_outcomes: list[Outcome], **changes: Any) -> ReportOutcomesRequest:
    fields: dict[str, Any] = {
        "origin": "exchange.test/log",
        "member": "bank-a",
        "key_id": "k1",
        "report_id": bytes(16),
        "sign": KEY.sign,
    }
    return sign_outcomes(given_outcomes, **(fields | changes))


@given(outcomes, st.randoms())
def test_what_is_signed_is_read_back_whatever_the_order(given_outcomes: list[Outcome], random: Any) -> None:
    request = sign(given_outcomes)
    statement = open_outcomes(request.statement, request.signature, PUBLIC)
    assert {about(outcome): outcome.verdict for outcome in statement.outcomes} == {
        about(outcome): outcome.verdict for outcome in given_outcomes
    }
    shuffled = list(given_outcomes)
    random.shuffle(shuffled)
    assert sign(shuffled) == request


@given(outcomes, st.data())
def test_an_altered_statement_or_signature_does_not_pass(given_outcomes: list[Outcome], data: Any) -> None:
    request = sign(given_outcomes)
    for field in ("statement", "signature"):
        carried = bytearray(getattr(request, field))
        at = data.draw(st.integers(0, len(carried) - 1))
        carried[at] ^= 1 << data.draw(st.integers(0, 7))
        altered = {"statement": request.statement, "signature": request.signature, field: bytes(carried)}
        with pytest.raises((MalformedError, VerificationError)):
            open_outcomes(altered["statement"], altered["signature"], PUBLIC)


@given(st.binary(max_size=200))
def test_random_bytes_raise_our_errors_only(data: bytes) -> None:
    with pytest.raises(ExchangeError):
        parse_outcomes(data)


GOOD = Outcome(signal_id=bytes(16), verdict=VERDICT_CONFIRMED)


def statement_with(*given_outcomes: Outcome, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "origin": "exchange.test/log",
        "member": "bank-a",
        "key_id": "k1",
        "report_id": bytes(16),
        "outcomes": given_outcomes,
    }
    return OutcomeStatement(**(fields | changes)).SerializeToString()


def test_the_good_one_is_good() -> None:
    parse_outcomes(statement_with(GOOD))
    parse_outcomes(statement_with(GOOD, Outcome(match_id=bytes(16), verdict=VERDICT_REFUTED)))


@pytest.mark.parametrize(
    "statement",
    [
        b"",
        b"\xff",
        statement_with(),
        statement_with(GOOD, GOOD),
        statement_with(GOOD, Outcome(signal_id=bytes(16), verdict=VERDICT_REFUTED)),
        statement_with(Outcome(verdict=VERDICT_CONFIRMED)),
        statement_with(Outcome(signal_id=bytes(15), verdict=VERDICT_CONFIRMED)),
        statement_with(Outcome(match_id=bytes(17), verdict=VERDICT_CONFIRMED)),
        statement_with(Outcome(signal_id=bytes(16))),
        statement_with(Outcome(signal_id=bytes(16), verdict=4)),  # type: ignore[arg-type]
        statement_with(GOOD, report_id=bytes(15)),
        statement_with(GOOD, origin=""),
        statement_with(GOOD, member="m" * 256),
        statement_with(GOOD, key_id=""),
        statement_with(GOOD) + b"\xfa\x01\x00",
        statement_with(GOOD) + b"\x12\x01m",  # the member a second time
        statement_with(
            *(Outcome(signal_id=at.to_bytes(16, "big"), verdict=VERDICT_CONFIRMED) for at in range(1001))
        ),
    ],
)
def test_a_statement_is_read_strictly(statement: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_outcomes(statement)


def test_an_outcome_that_names_a_signal_and_a_match_is_refused() -> None:
    both = GOOD.SerializeToString() + b"\x12\x10" + bytes(16)
    with pytest.raises(MalformedError):
        parse_outcomes(statement_with() + b"\x2a" + bytes([len(both)]) + both)


def test_a_report_never_passes_for_a_withdrawal() -> None:
    request = sign([GOOD])
    with pytest.raises((MalformedError, VerificationError)):
        open_withdrawal(request.statement, request.signature, PUBLIC)
    other = KEY.sign(b"signalexchange/withdrawal/v1\0" + request.statement)
    with pytest.raises(VerificationError):
        open_outcomes(request.statement, other, PUBLIC)


@pytest.mark.parametrize(
    "given_outcomes", [[], [GOOD, GOOD], [Outcome(signal_id=b"x", verdict=VERDICT_CONFIRMED)]]
)
def test_a_report_that_nobody_would_accept_is_not_signed(given_outcomes: list[Outcome]) -> None:
    with pytest.raises(MalformedError):
        sign(given_outcomes)
