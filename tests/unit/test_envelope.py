"""Batches, withdrawals and disclosures: what was signed verifies, and nothing else."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange import envelope
from signalexchange.envelope import SignalDisclosure
from signalexchange.errors import ExchangeError, MalformedError, VerificationError
from signalexchange.v1.signal_pb2 import BatchStatement, SignalEnvelope, WithdrawalReason, WithdrawalStatement
from signalexchange.v1.signal_service_pb2 import PublishSignalsRequest, WithdrawSignalsRequest

from tests.support.rosters import ORIGIN, private_key

KEY = private_key("bank-a")
PUBLIC = KEY.public_key().public_bytes_raw()


def batch(signals: list[bytes], **changes: object) -> PublishSignalsRequest:
    arguments = {
        "origin": ORIGIN,
        "member": "bank-a",
        "key_id": "k1",
        "batch_id": bytes(16),
        "epoch": 7,
        "sign": KEY.sign,
    } | changes
    return envelope.sign_batch(signals, **arguments)  # type: ignore[arg-type]


def order(ids: list[bytes], **changes: object) -> WithdrawSignalsRequest:
    arguments = {
        "origin": ORIGIN,
        "member": "bank-a",
        "key_id": "k1",
        "order_id": bytes(16),
        "reason": WithdrawalReason.WITHDRAWAL_REASON_REFUTED,
        "sign": KEY.sign,
    } | changes
    return envelope.sign_withdrawal(ids, **arguments)  # type: ignore[arg-type]


signal_lists = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=20)


@given(signal_lists)
def test_a_signed_batch_opens(signals: list[bytes]) -> None:
    request = batch(signals)
    statement = envelope.open_batch(request.statement, request.signature, PUBLIC)
    envelope.check_batch(statement, request.signals)
    assert (statement.origin, statement.member, statement.epoch) == (ORIGIN, "bank-a", 7)
    assert [item.signal for item in request.signals] == signals


def test_nonces_hide_equal_signals() -> None:
    first, second = batch([b"signal"]), batch([b"signal"])
    assert first.statement != second.statement
    fixed = [bytes(32)]
    assert batch([b"signal"], nonces=fixed) == batch([b"signal"], nonces=fixed)


@given(signal_lists, st.data())
def test_a_changed_batch_is_refused(signals: list[bytes], data: st.DataObject) -> None:
    request = batch(signals)
    statement = envelope.parse_statement(request.statement)
    place = data.draw(st.integers(0, len(signals) - 1))
    for change in ("signal", "nonce", "drop", "repeat"):
        changed = PublishSignalsRequest.FromString(request.SerializeToString()).signals
        if change == "signal":
            changed[place].signal += b"x"
        elif change == "nonce":
            changed[place].nonce = bytes(32)
        elif change == "drop":
            del changed[place]
        else:
            changed.append(changed[place])
        with pytest.raises(ExchangeError):
            envelope.check_batch(statement, changed)


def test_a_byte_moved_between_nonce_and_signal_is_refused() -> None:
    item = batch([b"signal"]).signals[0]
    moved = SignalEnvelope(nonce=item.nonce[:31], signal=item.nonce[31:] + item.signal)
    with pytest.raises(MalformedError):
        envelope.batch_root([moved])


def test_a_signature_is_over_label_statement_and_key() -> None:
    request = batch([b"signal"])
    other = private_key("bank-b").public_key().public_bytes_raw()
    with pytest.raises(VerificationError):
        envelope.open_batch(request.statement, request.signature, other)
    with pytest.raises(VerificationError):
        envelope.open_batch(batch([b"other"]).statement, request.signature, PUBLIC)
    with pytest.raises(VerificationError):
        envelope.open_batch(request.statement, KEY.sign(request.statement), PUBLIC)
    with pytest.raises(MalformedError):
        envelope.open_batch(request.statement, request.signature + b"\0", PUBLIC)


def test_a_withdrawal_never_passes_for_a_batch() -> None:
    # The two messages share their first four fields; only the label keeps their signatures apart.
    statement = batch([b"signal"]).statement
    signature = KEY.sign(b"signalexchange/withdrawal/v1\0" + statement)
    with pytest.raises(VerificationError):
        envelope.open_batch(statement, signature, PUBLIC)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_id": bytes(15)},
        {"origin": ""},
        {"member": ""},
        {"key_id": ""},
        {"member": "m" * 256},
        {"nonces": [bytes(31)]},
        {"nonces": []},
    ],
)
def test_a_batch_that_nobody_would_accept_is_not_signed(changes: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        batch([b"signal"], **changes)


@pytest.mark.parametrize("signals", [[], [b""], [b"x" * 8193], [b"x"] * 1001])
def test_a_batch_has_1_to_1000_signals(signals: list[bytes]) -> None:
    with pytest.raises(MalformedError):
        batch(signals)


def statement_with(**changes: object) -> bytes:
    fields = {
        "origin": ORIGIN,
        "member": "bank-a",
        "key_id": "k1",
        "batch_id": bytes(16),
        "count": 1,
        "root": bytes(32),
    } | changes
    return BatchStatement(**fields).SerializeToString()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "statement",
    [
        b"",
        b"\xff",
        statement_with()[:-1],
        statement_with(count=0),
        statement_with(count=1001),
        statement_with(root=bytes(31)),
        statement_with(batch_id=bytes(17)),
        statement_with() + b"\xfa\x01\x00",
        statement_with() + b"\x0a\x01\xff",
    ],
)
def test_a_statement_is_read_strictly(statement: bytes) -> None:
    with pytest.raises(MalformedError):
        envelope.parse_statement(statement)


@given(st.sets(st.binary(min_size=16, max_size=16), min_size=1, max_size=20))
def test_a_signed_withdrawal_opens(ids: set[bytes]) -> None:
    request = order(list(ids))
    statement = envelope.open_withdrawal(request.statement, request.signature, PUBLIC)
    assert list(statement.signal_ids) == sorted(ids)
    with pytest.raises(VerificationError):
        envelope.open_withdrawal(request.statement, KEY.sign(request.statement), PUBLIC)


@pytest.mark.parametrize(
    "changes",
    [
        {"order_id": bytes(15)},
        {"reason": WithdrawalReason.WITHDRAWAL_REASON_UNSPECIFIED},
        {"reason": 5},
        {"signal_ids": []},
        {"signal_ids": [bytes(15)]},
        {"signal_ids": [bytes(16), bytes(16)]},
        {"signal_ids": [b"\1" * 16, bytes(16)]},
        {"signal_ids": [n.to_bytes(16, "big") for n in range(1001)]},
    ],
)
def test_a_withdrawal_is_read_strictly(changes: dict[str, object]) -> None:
    fields = {
        "origin": ORIGIN,
        "member": "bank-a",
        "key_id": "k1",
        "order_id": bytes(16),
        "signal_ids": [bytes(16)],
        "reason": WithdrawalReason.WITHDRAWAL_REASON_ERASURE,
    } | changes
    with pytest.raises(MalformedError):
        envelope.parse_withdrawal(WithdrawalStatement(**fields).SerializeToString())  # type: ignore[arg-type]


@given(signal_lists, st.data())
def test_one_signal_is_disclosed_alone(signals: list[bytes], data: st.DataObject) -> None:
    request = batch(signals)
    position = data.draw(st.integers(0, len(signals) - 1))
    shown = envelope.signal_disclosure(request.statement, request.signature, request.signals, position, 12)
    read = SignalDisclosure.parse(shown.text())
    assert read == shown
    assert read.signal == signals[position]
    assert envelope.verify_disclosure(read, PUBLIC).member == "bank-a"
    forged = [
        read.model_copy(update={"signal": read.signal + b"x"}),
        read.model_copy(update={"nonce": bytes(32)}),
        read.model_copy(update={"path": (*read.path, bytes(32))}),
        read.model_copy(update={"position": read.position + 1}),
        read.model_copy(update={"signature": bytes(64)}),
    ]
    for disclosure in forged:
        with pytest.raises(VerificationError):
            envelope.verify_disclosure(disclosure, PUBLIC)


def test_a_disclosure_needs_the_whole_batch_and_a_position_in_it() -> None:
    request = batch([b"one", b"two"])
    for signals, position in ((request.signals[:1], 0), (request.signals, 2), (request.signals, -1)):
        with pytest.raises(ExchangeError):
            envelope.signal_disclosure(request.statement, request.signature, signals, position, 0)
    with pytest.raises(MalformedError):
        envelope.signal_disclosure(request.statement, b"", request.signals, 0, 0)


@given(st.binary(max_size=120))
def test_random_bytes_raise_our_errors_only(data: bytes) -> None:
    for statement in (data, statement_with() + data):
        for parse in (envelope.parse_statement, envelope.parse_withdrawal):
            with contextlib.suppress(ExchangeError):
                parse(statement)


@given(st.text(max_size=120))
def test_random_disclosures_raise_our_errors_only(text: str) -> None:
    for candidate in (text, f'{{"index": {text}}}', f'{{"index": "{text}"}}'):
        with pytest.raises(MalformedError):
            SignalDisclosure.parse(candidate)
