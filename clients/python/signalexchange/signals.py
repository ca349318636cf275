"""From what a member knows to the signal that leaves it: amounts become bands, times are cut, identifiers
tokens.

Invariants: a signal that `build` returns keeps the contract (signal.proto), so that the hub's refusals are
about rules and rights only; no identifier, amount, exact time, detail or reference of the draft is in it;
the same draft always gives the same record. Nothing here reads a clock: `now` is Unix seconds.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256

from signalexchange.errors import ExchangeError
from signalexchange.identifiers import type_name
from signalexchange.rulebook import Rulebook
from signalexchange.sealing import MAX_DETAIL, seal
from signalexchange.tokens import Token
from signalexchange.v1 import signal_pb2 as pb
from signalexchange.v1.identifier_pb2 import PartyKind, SubjectToken

SLOT = 300
DAY = 86_400
MAX_BAND = 255
MAX_LINKS = 8
MAX_TIME = 2**40
SIGNAL_ID_SIZE = 16
SALT_SIZE = 32

MEMBER_KINDS = frozenset(
    {PartyKind.PARTY_KIND_BANK, PartyKind.PARTY_KIND_ECOMMERCE, PartyKind.PARTY_KIND_PAYMENT_PROVIDER}
)

_CODE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class InvalidSignalError(ExchangeError):
    """A draft that breaks the contract: `violations` are pairs of field and what is wrong, `place` file and
    row."""

    def __init__(self, place: str, violations: list[tuple[str, str]]) -> None:
        super().__init__(f"{place or 'signal'}: " + "; ".join(f"{name}: {why}" for name, why in violations))
        self.place = place
        self.violations = violations


@dataclass(frozen=True, slots=True)
class Subject:
    """A normalised identifier with its IdentifierType; `repr` hides the value."""

    type: int
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignalDraft:
    """One row of what a member wants to say, before anything is cut, banded or tokenised.

    Times are Unix seconds, `amount` CNY; enums are the contract's numbers. `reference` is the member's own
    and, like `place` (file and row, for error messages), never leaves it.
    """

    subject: Subject
    code: str
    confidence: int
    grade: int
    first_seen: int
    last_seen: int
    expires_at: int
    reference: str = field(repr=False)
    amount: Decimal | None = None
    counterparty: Subject | None = None
    links: tuple[Subject, ...] = ()
    tlp: int = pb.TLP_AMBER
    audience: tuple[int, ...] = ()
    legal_basis: int = pb.LEGAL_BASIS_FRAUD_PREVENTION
    detail: str = field(default="", repr=False)
    place: str = field(default="", compare=False)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Every identifier that needs a token: subject, counterparty, links."""
        return (self.subject, *([self.counterparty] if self.counterparty else []), *self.links)


def amount_band(amount: Decimal) -> int:
    """The band of an amount in CNY: 1 + ⌊log(amount) ÷ log 1.1⌋, at least 1 and at most 255.

    Computed in integers (the largest k with 11^k ≤ amount × 10^k), so that no boundary depends on rounding.
    Raises InvalidSignalError for an amount that is not finite, not positive, or not between 10^-15 and
    10^15.
    """
    if not amount.is_finite() or amount <= 0:
        raise InvalidSignalError("", [("amount", "must be a positive number; leave it out for none")])
    if not -15 <= amount.adjusted() <= 15:
        raise InvalidSignalError("", [("amount", "must be between 10^-15 and 10^15")])
    numerator, denominator = amount.as_integer_ratio()
    low, high = 0, MAX_BAND
    while (
        high - low > 1
    ):  # 11^low·den ≤ num·10^low holds or low is 0; it does not hold for high, or high is the cap
        middle = (low + high) // 2
        if 11**middle * denominator <= numerator * 10**middle:
            low = middle
        else:
            high = middle
    return 1 + low


def cut(time: int) -> int:
    """The five-minute slot of a time: rounded down to a multiple of 300 seconds."""
    return time - time % SLOT


def record(draft: SignalDraft) -> bytes:
    """The draft's canonical row: JSON (RFC 8259) in UTF-8, keys sorted, no white space, no absent fields.

    Batch ids and record commitments are made from it; tests/conformance freezes its form.
    """

    def text(subject: Subject) -> str:
        return f"{type_name(subject.type)}:{subject.value}"

    row: dict[str, object] = {
        "subject": text(draft.subject),
        "code": draft.code,
        "confidence": draft.confidence,
        "grade": pb.EvidenceGrade.Name(draft.grade).removeprefix("EVIDENCE_GRADE_").lower(),  # type: ignore[arg-type]
        "first_seen": draft.first_seen,
        "last_seen": draft.last_seen,
        "expires_at": draft.expires_at,
        "reference": draft.reference,
        "amount": None if draft.amount is None else f"{draft.amount.normalize():f}",
        "counterparty": None if draft.counterparty is None else text(draft.counterparty),
        "links": [text(link) for link in draft.links] or None,
        "tlp": pb.Tlp.Name(draft.tlp).removeprefix("TLP_").lower(),  # type: ignore[arg-type]
        "audience": [_kind_name(kind) for kind in draft.audience] or None,
        "legal_basis": pb.LegalBasis.Name(draft.legal_basis).removeprefix("LEGAL_BASIS_").lower(),  # type: ignore[arg-type]
        "detail": draft.detail or None,
    }
    present = {name: value for name, value in row.items() if value is not None}
    return json.dumps(present, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def record_commitment(salt: bytes, row: bytes) -> bytes:
    """The commitment to the issuer's own record: SHA-256 of 32 random bytes ‖ canonical row."""
    return sha256(salt + row).digest()


def violations(draft: SignalDraft, now: int) -> list[tuple[str, str]]:
    """What of the contract the draft breaks at `now`, as pairs of field and description; empty if nothing."""
    found: list[tuple[str, str]] = []

    def require(holds: bool, name: str, why: str) -> None:
        if not holds:
            found.append((name, why))

    require(bool(_CODE.fullmatch(draft.code)) and len(draft.code) <= 64, "code", "not an indicator code")
    require(0 <= draft.confidence <= 100, "confidence", "must be 0 to 100")
    require(draft.grade in pb.EvidenceGrade.values() and draft.grade != 0, "grade", "unknown")
    require(draft.tlp in pb.Tlp.values() and draft.tlp != 0, "tlp", "unknown")
    require(draft.legal_basis in pb.LegalBasis.values() and draft.legal_basis != 0, "legal_basis", "unknown")
    require(set(draft.audience) <= MEMBER_KINDS, "audience", "must name kinds of members")
    require(len(set(draft.audience)) == len(draft.audience), "audience", "names a kind twice")
    require(SLOT <= draft.first_seen <= MAX_TIME, "first_seen", "out of range")
    require(SLOT <= draft.last_seen <= MAX_TIME, "last_seen", "out of range")
    require(draft.first_seen <= draft.last_seen, "last_seen", "before first_seen")
    require(draft.last_seen <= now, "last_seen", "in the future")
    require(cut(draft.expires_at) > now, "expires_at", "not in the future")
    require(draft.expires_at <= MAX_TIME, "expires_at", "out of range")
    require(len(draft.links) <= MAX_LINKS, "links", f"more than {MAX_LINKS}")
    require(draft.counterparty != draft.subject, "counterparty", "is the subject itself")
    require(draft.subject not in draft.links, "links", "hold the subject itself")
    require(len(set(draft.links)) == len(draft.links), "links", "hold the same identifier twice")
    require(len(draft.detail.encode()) <= MAX_DETAIL, "detail", f"longer than {MAX_DETAIL} bytes")
    require(draft.reference != "", "reference", "missing")
    if draft.amount is not None:
        try:
            amount_band(draft.amount)
        except InvalidSignalError as error:
            found += error.violations
    return found


def rule_violations(draft: SignalDraft, rulebook: Rulebook, kind: str, now: int) -> list[tuple[str, str]]:
    """What of the rulebook a draft of a member of this kind ("bank", …) breaks, as `violations` does."""
    rule = rulebook.code(draft.code)
    if rule is None:
        return [("code", "is not a code of the rulebook")]
    found: list[tuple[str, str]] = []
    if kind not in rule.publisher_kinds:
        found.append(("code", "is not allowed to this kind of member"))
    if draft.subject.type not in rule.subject_type_values:
        found.append(("subject", f"must be of a type the code is about: {', '.join(rule.subject_types)}"))
    if draft.grade < rule.minimum_grade_value:
        found.append(("grade", f"must be {rule.minimum_grade} at least"))
    if rule.needs_links and not draft.links:
        found.append(("links", "are needed by the code"))
    if draft.audience and not rule.is_searched and rule.role != "link":
        found.append(("audience", "must be empty: the code is for matching, which tells every kind"))
    if rule.needs_counterparty and draft.counterparty is None:
        found.append(("counterparty", "is needed by the code"))
    if cut(draft.expires_at) > now + rule.retention_days * DAY:
        found.append(("expires_at", f"is beyond the code's term of {rule.retention_days} days"))
    return found


def check(draft: SignalDraft, now: int) -> None:
    """Raise InvalidSignalError, naming the place and every field, where the draft breaks the contract at
    `now`."""
    found = violations(draft, now)
    if found:
        raise InvalidSignalError(draft.place, found)


def build(
    draft: SignalDraft, tokens: Mapping[Subject, Token], *, signal_id: bytes, salt: bytes, now: int
) -> pb.Signal:
    """The signal of a draft. `tokens` holds a token, all of one epoch, for each of `draft.subjects`.

    `signal_id` and `salt` are 16 and 32 random bytes. Raises InvalidSignalError.
    """
    check(draft, now)

    def token(subject: Subject) -> SubjectToken:
        found = tokens[subject]
        return SubjectToken(type=found.type, epoch=found.epoch, value=found.value)  # type: ignore[arg-type]

    detail = draft.detail.encode()
    return pb.Signal(
        signal_id=signal_id,
        code=draft.code,
        subject=token(draft.subject),
        counterparty=None if draft.counterparty is None else token(draft.counterparty),
        links=[token(link) for link in draft.links],
        amount_band=0 if draft.amount is None else amount_band(draft.amount),
        first_seen=cut(draft.first_seen),
        last_seen=cut(draft.last_seen),
        confidence=draft.confidence,
        grade=draft.grade,  # type: ignore[arg-type]
        tlp=draft.tlp,  # type: ignore[arg-type]
        audience=sorted(draft.audience),  # type: ignore[arg-type]
        legal_basis=draft.legal_basis,  # type: ignore[arg-type]
        expires_at=cut(draft.expires_at),
        record_commitment=record_commitment(salt, record(draft)),
        sealed_detail=seal(tokens[draft.subject], signal_id, detail) if detail else b"",
    )


def _kind_name(kind: int) -> str:
    return PartyKind.Name(kind).removeprefix("PARTY_KIND_").lower()  # type: ignore[arg-type]
