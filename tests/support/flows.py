"""Flows to offer to a gate: people, shops and accounts by number."""

from decimal import Decimal
from typing import Any

from signalexchange.flows import Flow, Kind
from signalexchange.gate import Gate, GateParameters
from signalexchange.signals import SignalDraft, Subject
from signalexchange.v1.identifier_pb2 import IdentifierType as Type

HOUR = 3_600
DAY = 86_400
START = 1_767_225_600
"""2026-01-01, a midnight (UTC)."""


def phone(number: int) -> Subject:
    return Subject(Type.IDENTIFIER_TYPE_PHONE, f"+86138{number:08d}")


def shop(number: int) -> Subject:
    return Subject(Type.IDENTIFIER_TYPE_MERCHANT, f"shop-{number}")


def account(number: int) -> Subject:
    return Subject(Type.IDENTIFIER_TYPE_ACCOUNT, f"bank:{number:08d}")


def person(number: int) -> Subject:
    return Subject(Type.IDENTIFIER_TYPE_NATIONAL_ID_CN, f"id-{number}")


def device(number: int) -> Subject:
    return Subject(Type.IDENTIFIER_TYPE_DEVICE, f"device-{number}")


def flow(kind: Kind, payer: Subject, payee: Subject, amount: object, at: float, **more: Any) -> Flow:
    """A flow `at` hours after START."""
    place = more.pop("place", f"{kind.name} {payer.value} {payee.value} {at}")
    return Flow(
        time=START + int(at * HOUR),
        payer=payer,
        payee=payee,
        amount=Decimal(str(amount)),
        kind=kind,
        place=place,
        reference=place,
        **more,
    )


def bought(payer: Subject, payee: Subject, amount: object, at: float, **more: Any) -> Flow:
    return flow(Kind.PURCHASE, payer, payee, amount, at, **{"credit": True, **more})


def sent(payer: Subject, payee: Subject, amount: object, at: float, **more: Any) -> Flow:
    return flow(Kind.TRANSFER, payer, payee, amount, at, **more)


def refunded(payer: Subject, payee: Subject, amount: object, at: float, **more: Any) -> Flow:
    return flow(Kind.REFUND, payer, payee, amount, at, **{"credit": True, **more})


def repaid(payer: Subject, payee: Subject, amount: object, at: float, **more: Any) -> Flow:
    return flow(Kind.REPAYMENT, payer, payee, amount, at, **more)


def offered(flows: list[Flow], parameters: GateParameters | None = None) -> list[SignalDraft]:
    """What a new gate publishes of the flows, sorted by time first."""
    gate = Gate(parameters)
    return [draft for each in sorted(flows, key=lambda flow: flow.time) for draft in gate.offer(each)]


def places(drafts: list[SignalDraft], code: str) -> list[str]:
    return sorted(draft.place for draft in drafts if draft.code == code)
