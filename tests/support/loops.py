"""Funds loops as members report them, with tokens a test made up."""

import time
from dataclasses import dataclass, field
from typing import Any

from signalexchange.v1.identifier_pb2 import IdentifierType, SubjectToken
from signalexchange.v1.signal_pb2 import EvidenceGrade, Signal

from tests.support.members import DAY, MERCHANT, SLOT, signal, slot, subject

IBAN = IdentifierType.IDENTIFIER_TYPE_IBAN
PHONE = IdentifierType.IDENTIFIER_TYPE_PHONE
TYPES = ("card", "merchant", "phone", "iban", "device")
SUSPECTED = EvidenceGrade.EVIDENCE_GRADE_SUSPECTED


def flow(code: str, source: SubjectToken, sink: SubjectToken, at: int, **changes: Any) -> Signal:
    """A movement of money in a five-minute slot."""
    fields: dict[str, Any] = {
        "code": code,
        "subject": source,
        "counterparty": sink,
        "first_seen": at,
        "last_seen": at,
        "grade": SUSPECTED,
    }
    return signal(**(fields | changes))


@dataclass
class Loop:
    """payer → merchant → mule → payer within two hours, each keeping a little."""

    payer: SubjectToken = field(default_factory=lambda: subject(type_=IBAN))
    merchant: SubjectToken = field(default_factory=lambda: subject(type_=MERCHANT))
    mule: SubjectToken = field(default_factory=lambda: subject(type_=IBAN))
    start: int = 0
    band: int = 90

    def __post_init__(self) -> None:
        if not self.start:
            self.start = slot(time.time()) - DAY

    def purchase(self, **changes: Any) -> Signal:
        """The lender's report."""
        changes = {"amount_band": self.band} | changes
        return flow("credit-purchase", self.payer, self.merchant, self.start, **changes)

    def settlement(self, **changes: Any) -> Signal:
        """The merchant's bank's report."""
        changes = {"amount_band": self.band} | changes
        return flow("pass-through", self.merchant, self.mule, self.start + 6 * SLOT, **changes)

    def backflow(self, **changes: Any) -> Signal:
        """The mule's bank's report."""
        changes = {"amount_band": self.band - 1} | changes
        return flow("pass-through", self.mule, self.payer, self.start + 18 * SLOT, **changes)

    @property
    def tokens(self) -> set[bytes]:
        """Everybody in it."""
        return {self.payer.value, self.merchant.value, self.mule.value}
