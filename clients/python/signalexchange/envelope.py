"""What members sign: batches of signals and withdrawals, and the disclosure of one signal out of a batch.

Invariants: the bytes carried are hashed and signed, never a re-serialised message; each kind of statement is
signed under its own label, so that neither passes for the other; a statement names the log's origin, so that
it can't be replayed at another hub; statements with unknown fields are refused, because nobody could tell
what was signed. A batch's leaf is the RFC 6962 leaf hash of nonce ‖ signal: signals are disclosed or erased
one by one.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from pydantic import Field

from signalexchange import merkle
from signalexchange.documents import Base64, Document
from signalexchange.errors import MalformedError, VerificationError
from signalexchange.note import SIGNATURE_SIZE, verify_ed25519
from signalexchange.v1.signal_pb2 import (
    BatchStatement,
    SignalEnvelope,
    WithdrawalReason,
    WithdrawalStatement,
)
from signalexchange.v1.signal_service_pb2 import PublishSignalsRequest, WithdrawSignalsRequest

MAX_SIGNALS = 1000
ID_SIZE = 16
NONCE_SIZE = 32
ROOT_SIZE = 32
MAX_NAME = 255
MAX_SIGNAL_SIZE = 8192

_BATCH_LABEL = b"signalexchange/batch/v1\0"
_WITHDRAWAL_LABEL = b"signalexchange/withdrawal/v1\0"

AnyMessage = TypeVar("AnyMessage", bound=Message)


def parse_message(kind: type[AnyMessage], data: bytes) -> AnyMessage:
    """Parse a protobuf message; raises MalformedError for bytes that are none or hold unknown fields."""
    try:
        message = kind.FromString(data)
    except DecodeError:
        raise MalformedError(f"not a {kind.__name__}") from None
    if len(UnknownFieldSet(message)):
        raise MalformedError(f"{kind.__name__} with unknown fields")
    return message


def parse_exactly(kind: type[AnyMessage], data: bytes) -> AnyMessage:
    """Parse a protobuf message that holds nothing but what is read of it; raises MalformedError."""
    parsed = parse_message(kind, data)
    parsed.DiscardUnknownFields()
    if parsed.ByteSize() != len(data):
        # Of a field that stands twice only the last is read: nobody could tell what was signed.
        raise MalformedError(f"{kind.__name__} with unknown fields, or fields that stand twice")
    return parsed


def sign_batch(
    signals: Sequence[bytes],
    *,
    origin: str,
    member: str,
    key_id: str,
    batch_id: bytes,
    epoch: int,
    sign: Callable[[bytes], bytes],
    nonces: Sequence[bytes] | None = None,
) -> PublishSignalsRequest:
    """Sign 1 to 1,000 serialised signals as one batch.

    `batch_id` has 16 bytes; `sign` makes an Ed25519 signature; `nonces`, 32 random bytes a signal, are drawn
    where none are given. Raises MalformedError for parts that no batch can carry.
    """
    if nonces is None:
        nonces = [os.urandom(NONCE_SIZE) for _ in signals]
    elif len(nonces) != len(signals):
        raise MalformedError("nonces: one for each signal")
    envelopes = [
        SignalEnvelope(nonce=nonce, signal=signal) for nonce, signal in zip(nonces, signals, strict=True)
    ]
    statement = BatchStatement(
        origin=origin,
        member=member,
        key_id=key_id,
        batch_id=batch_id,
        epoch=epoch,
        count=len(envelopes),
        root=batch_root(envelopes),
    )
    _check_batch_statement(statement)
    encoded = statement.SerializeToString(deterministic=True)
    return PublishSignalsRequest(statement=encoded, signature=sign(_BATCH_LABEL + encoded), signals=envelopes)


def parse_statement(statement: bytes) -> BatchStatement:
    """Parse a batch's statement strictly, its signature not checked; raises MalformedError."""
    parsed = parse_message(BatchStatement, statement)
    _check_batch_statement(parsed)
    return parsed


def open_batch(statement: bytes, signature: bytes, public_key: bytes) -> BatchStatement:
    """Parse a batch's statement and verify the member's signature over it.

    Raises MalformedError or VerificationError. Whether it fits the signals is for `check_batch`.
    """
    parsed = parse_statement(statement)
    verify_signature(public_key, signature, _BATCH_LABEL + statement, "signature of the batch")
    return parsed


def batch_root(envelopes: Iterable[SignalEnvelope]) -> bytes:
    """Merkle root over the leaves nonce ‖ signal.

    Raises MalformedError unless there are 1 to 1,000, each with a nonce of 32 bytes and a signal of 1 to
    8,192.
    """
    return merkle.root(_batch_leaves(envelopes))


def check_batch(statement: BatchStatement, envelopes: Sequence[SignalEnvelope]) -> None:
    """Raise VerificationError unless the statement is about exactly these signals in this order."""
    if len(envelopes) != statement.count:
        raise VerificationError(f"count: the statement says {statement.count} signals, not {len(envelopes)}")
    if batch_root(envelopes) != statement.root:
        raise VerificationError("root: not that of the signals")


def sign_withdrawal(
    signal_ids: Iterable[bytes],
    *,
    origin: str,
    member: str,
    key_id: str,
    order_id: bytes,
    reason: WithdrawalReason.ValueType,
    sign: Callable[[bytes], bytes],
) -> WithdrawSignalsRequest:
    """Sign an order to withdraw 1 to 1,000 signals, in any order, by their ids; raises MalformedError."""
    statement = WithdrawalStatement(
        origin=origin,
        member=member,
        key_id=key_id,
        order_id=order_id,
        signal_ids=sorted(set(signal_ids)),
        reason=reason,
    )
    _check_withdrawal_statement(statement)
    encoded = statement.SerializeToString(deterministic=True)
    return WithdrawSignalsRequest(statement=encoded, signature=sign(_WITHDRAWAL_LABEL + encoded))


def parse_withdrawal(statement: bytes) -> WithdrawalStatement:
    """Parse a withdrawal's statement strictly, its signature not checked; raises MalformedError."""
    parsed = parse_message(WithdrawalStatement, statement)
    _check_withdrawal_statement(parsed)
    return parsed


def open_withdrawal(statement: bytes, signature: bytes, public_key: bytes) -> WithdrawalStatement:
    """Parse a withdrawal's statement and verify the member's signature over it.

    Raises MalformedError or VerificationError.
    """
    parsed = parse_withdrawal(statement)
    verify_signature(public_key, signature, _WITHDRAWAL_LABEL + statement, "signature of the withdrawal")
    return parsed


class SignalDisclosure(Document):
    """One signal shown out of the batch in entry `index` of the log, with the path from signal to root."""

    index: Annotated[int, Field(strict=True, ge=0, le=merkle.MAX_SIZE)]
    statement: Base64
    signature: Annotated[Base64, Field(min_length=SIGNATURE_SIZE, max_length=SIGNATURE_SIZE)]
    position: Annotated[int, Field(strict=True, ge=0, lt=MAX_SIGNALS)]
    nonce: Annotated[Base64, Field(min_length=NONCE_SIZE, max_length=NONCE_SIZE)]
    signal: Base64
    path: tuple[Base64, ...]


def signal_disclosure(
    statement: bytes, signature: bytes, envelopes: Sequence[SignalEnvelope], position: int, index: int
) -> SignalDisclosure:
    """Disclose the signal at `position` of a batch that stands at `index` of the log, and no other.

    Raises MalformedError or VerificationError when batch and statement do not fit.
    """
    check_batch(parse_statement(statement), envelopes)
    if len(signature) != SIGNATURE_SIZE:
        raise MalformedError("signature has not 64 bytes")
    leaves = _batch_leaves(envelopes)
    ranges = merkle.inclusion_ranges(position, len(leaves))
    return SignalDisclosure(
        index=index,
        statement=statement,
        signature=signature,
        position=position,
        nonce=envelopes[position].nonce,
        signal=envelopes[position].signal,
        path=tuple(merkle.range_hash(leaves, lo, hi) for lo, hi in ranges),
    )


def verify_disclosure(disclosure: SignalDisclosure, public_key: bytes) -> BatchStatement:
    """Check that the signal is in the batch that the key signed; raises MalformedError or VerificationError.

    That the batch is on the log, and the key its member's, is for the caller.
    """
    statement = open_batch(disclosure.statement, disclosure.signature, public_key)
    leaf = merkle.leaf_hash(disclosure.nonce + disclosure.signal)
    merkle.verify_inclusion(disclosure.position, statement.count, leaf, disclosure.path, statement.root)
    return statement


def _batch_leaves(envelopes: Iterable[SignalEnvelope]) -> list[bytes]:
    leaves = []
    for envelope in envelopes:
        nonce, signal = envelope.nonce, envelope.signal
        if len(nonce) != NONCE_SIZE:
            raise MalformedError(f"nonce has not {NONCE_SIZE} bytes")
        if not 1 <= len(signal) <= MAX_SIGNAL_SIZE:
            raise MalformedError(f"signal has not 1 to {MAX_SIGNAL_SIZE} bytes")
        leaves.append(sha256(b"\x00" + nonce + signal).digest())
    if not 1 <= len(leaves) <= MAX_SIGNALS:
        raise MalformedError(f"a batch has 1 to {MAX_SIGNALS} signals")
    return leaves


def verify_signature(public_key: bytes, signature: bytes, message: bytes, what: str) -> None:
    """Raise MalformedError or VerificationError, saying `what` it is, unless the key signed the message."""
    if len(signature) != SIGNATURE_SIZE:
        raise MalformedError(f"{what} has not {SIGNATURE_SIZE} bytes")
    verify_ed25519(public_key, signature, message, what)


def _check_batch_statement(statement: BatchStatement) -> None:
    check_names(statement)
    check_size("batch_id", statement.batch_id, ID_SIZE)
    check_size("root", statement.root, ROOT_SIZE)
    if not 1 <= statement.count <= MAX_SIGNALS:
        raise MalformedError(f"count is not 1 to {MAX_SIGNALS}")


def _check_withdrawal_statement(statement: WithdrawalStatement) -> None:
    check_names(statement)
    check_size("order_id", statement.order_id, ID_SIZE)
    if not 1 <= len(statement.signal_ids) <= MAX_SIGNALS:
        raise MalformedError(f"signal_ids are not 1 to {MAX_SIGNALS}")
    ids = list(statement.signal_ids)
    for signal_id in ids:
        check_size("signal_ids", signal_id, ID_SIZE)
    if any(left >= right for left, right in pairwise(ids)):
        raise MalformedError("signal_ids are not sorted without duplicates")
    if statement.reason not in WithdrawalReason.values() or not statement.reason:
        raise MalformedError("reason is not known")


class Named(Protocol):
    """What every statement says: for which log it is, and by which key of which member."""

    origin: str
    member: str
    key_id: str


def check_names(statement: Named) -> None:
    """Raise MalformedError unless origin, member and key id have 1 to 255 characters each."""
    for field, value in (
        ("origin", statement.origin),
        ("member", statement.member),
        ("key_id", statement.key_id),
    ):
        if not 1 <= len(value) <= MAX_NAME:
            raise MalformedError(f"{field} has not 1 to {MAX_NAME} characters")


def check_size(field: str, value: bytes, size: int) -> None:
    """Raise MalformedError, naming the field, unless the value has `size` bytes."""
    if len(value) != size:
        raise MalformedError(f"{field} has not {size} bytes")
