"""Members and other parties of a deployment, speaking to the hub with what a test made itself.

Tokens here are random: the hub accepts any 32 bytes of a type and epoch that the manifest has, so nothing
needs a custodian. Everything sent is signed as the contract says, unless a test breaks it on purpose.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from signalexchange.config import MemberConfig, load_config
from signalexchange.credentials import load_signing_key
from signalexchange.envelope import sign_batch, sign_withdrawal
from signalexchange.outcomes import sign_outcomes
from signalexchange.v1.identifier_pb2 import IdentifierType, SubjectToken
from signalexchange.v1.outcome_service_pb2 import Outcome, ReportOutcomesRequest, Verdict
from signalexchange.v1.signal_pb2 import EvidenceGrade, LegalBasis, Signal, Tlp, WithdrawalReason
from signalexchange.v1.signal_service_pb2 import (
    LookUpSubjectsRequest,
    PublishSignalsRequest,
    SubscribeRequest,
    WithdrawSignalsRequest,
)
from signalexchange.v1.signal_service_pb2_grpc import SignalServiceStub

from exchange.provision import Deployment
from tests.support.caller import Caller

if TYPE_CHECKING:
    from signalexchange.v1.signal_service_pb2_grpc import SignalServiceAsyncStub

CARD = IdentifierType.IDENTIFIER_TYPE_CARD
MERCHANT = IdentifierType.IDENTIFIER_TYPE_MERCHANT
PURPOSE = "transaction-screening"
CODE = "cash-out-suspected"
SLOT = 300
DAY = 86_400


def slot(time_: float) -> int:
    """The five-minute slot a time falls into."""
    return int(time_) // SLOT * SLOT


def subject(
    value: bytes | None = None, *, type_: IdentifierType.ValueType = CARD, epoch: int = 1
) -> SubjectToken:
    """A token, random where no value is given."""
    return SubjectToken(type=type_, epoch=epoch, value=value or os.urandom(32))


def signal(token: bytes | None = None, *, epoch: int = 1, now: float | None = None, **changes: Any) -> Signal:
    """A valid signal on a card; `changes` replace fields."""
    at = slot((time.time() if now is None else now) - 3600)
    fields: dict[str, Any] = {
        "signal_id": os.urandom(16),
        "code": CODE,
        "subject": subject(token, epoch=epoch),
        "amount_band": 80,
        "first_seen": at - 2 * SLOT,
        "last_seen": at,
        "confidence": 80,
        "grade": EvidenceGrade.EVIDENCE_GRADE_CORROBORATED,
        "tlp": Tlp.TLP_AMBER,
        "legal_basis": LegalBasis.LEGAL_BASIS_FRAUD_PREVENTION,
        "expires_at": at + 30 * DAY,
        "record_commitment": os.urandom(32),
    }
    return Signal(**(fields | changes))


def look_up(
    tokens: Iterable[bytes],
    *,
    purpose: str = PURPOSE,
    type_: IdentifierType.ValueType = CARD,
    epoch: int = 1,
) -> LookUpSubjectsRequest:
    return LookUpSubjectsRequest(purpose=purpose, type=type_, epoch=epoch, tokens=sorted(tokens))


def subscribe(tokens: Iterable[bytes], *, purpose: str = PURPOSE, epoch: int = 1) -> SubscribeRequest:
    return SubscribeRequest(purpose=purpose, type=CARD, epoch=epoch, tokens=sorted(tokens))


@dataclass(frozen=True)
class Pen:
    """What a member signs with: its name and key on the roster, and the log it means."""

    origin: str
    member: str
    key_id: str
    sign: Callable[[bytes], bytes]

    def batch(
        self, signals: Sequence[Signal | bytes], *, batch_id: bytes | None = None, epoch: int = 1
    ) -> PublishSignalsRequest:
        encoded = [each if isinstance(each, bytes) else each.SerializeToString() for each in signals]
        return sign_batch(
            encoded,
            origin=self.origin,
            member=self.member,
            key_id=self.key_id,
            batch_id=batch_id or os.urandom(16),
            epoch=epoch,
            sign=self.sign,
        )

    def withdrawal(
        self,
        signal_ids: Iterable[bytes],
        reason: WithdrawalReason.ValueType = WithdrawalReason.WITHDRAWAL_REASON_REFUTED,
        *,
        order_id: bytes | None = None,
    ) -> WithdrawSignalsRequest:
        return sign_withdrawal(
            signal_ids,
            origin=self.origin,
            member=self.member,
            key_id=self.key_id,
            order_id=order_id or os.urandom(16),
            reason=reason,
            sign=self.sign,
        )

    def report(
        self,
        verdicts: Mapping[bytes, Verdict.ValueType],
        *,
        report_id: bytes | None = None,
        matches: bool = False,
    ) -> ReportOutcomesRequest:
        """Verdicts on signals, or on matches, by id."""
        return sign_outcomes(
            [
                Outcome(match_id=id_, verdict=verdict) if matches else Outcome(signal_id=id_, verdict=verdict)
                for id_, verdict in verdicts.items()
            ],
            origin=self.origin,
            member=self.member,
            key_id=self.key_id,
            report_id=report_id or os.urandom(16),
            sign=self.sign,
        )


def configuration(deployment: Deployment, party: str) -> MemberConfig:
    return load_config(deployment.party_config(party))


def pen(deployment: Deployment, party: str) -> Pen:
    """The party's own pen."""
    config = configuration(deployment, party)
    assert config.signing is not None
    return Pen(deployment.origin, party, config.signing.key_id, load_signing_key(config.signing.key))


def channel(deployment: Deployment, party: str) -> grpc.aio.Channel:
    """The party's asynchronous connection to the hub, one of its own."""
    config = configuration(deployment, party)
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(config.hub.target, config.tls.files.load(), options)


def signal_service(channel: grpc.aio.Channel) -> "SignalServiceAsyncStub":
    """The stub of an asynchronous channel; the generated class has two types and one name at run time."""
    return SignalServiceStub(channel)


def caller(deployment: Deployment, party: str) -> Caller:
    """The party's connection to the hub."""
    config = configuration(deployment, party)
    return Caller(
        config.hub.target,
        certificate=config.tls.certificate,
        key=config.tls.key,
        ca=config.tls.ca,
        server_name=config.hub.server_name,
    )
