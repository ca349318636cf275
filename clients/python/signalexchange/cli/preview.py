"""What would leave the member, field by field: before (its own data) and after (what the exchange gets)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from signalexchange.identifiers import type_name
from signalexchange.signals import SignalDraft, Subject, amount_band, cut
from signalexchange.sources import MEMBER_KINDS
from signalexchange.tokens import Token
from signalexchange.v1.signal_pb2 import EvidenceGrade, LegalBasis, Tlp

KINDS: dict[int, str] = {number: name for name, number in MEMBER_KINDS.items()}
NOT_ASKED = "a token of 32 bytes; the custodians were not asked"


@dataclass(frozen=True, slots=True)
class Change:
    """One field: what the member has and what leaves; an empty text where there is nothing."""

    field: str
    before: str
    after: str


def preview(draft: SignalDraft, tokens: Mapping[Subject, Token] | None) -> list[Change]:
    """Every field of a draft; tokens are shown where they were computed."""

    def subject(field: str, of: Subject) -> Change:
        after = NOT_ASKED if tokens is None else f"token {tokens[of].value.hex()} of epoch {tokens[of].epoch}"
        return Change(field, f"{type_name(of.type)} {of.value}", f"{type_name(of.type)}: {after}")

    grade, tlp = EvidenceGrade.Name(draft.grade), Tlp.Name(draft.tlp)  # type: ignore[arg-type]
    basis = LegalBasis.Name(draft.legal_basis)  # type: ignore[arg-type]
    kinds = ", ".join(KINDS[kind] for kind in sorted(draft.audience)) or "all members"
    changes = [
        subject("subject", draft.subject),
        _same("code", draft.code),
        _same("confidence", str(draft.confidence)),
        _same("grade", grade.removeprefix("EVIDENCE_GRADE_").lower()),
        Change("first_seen", _time(draft.first_seen), _time(cut(draft.first_seen))),
        Change("last_seen", _time(draft.last_seen), _time(cut(draft.last_seen))),
        Change("expires_at", _time(draft.expires_at), _time(cut(draft.expires_at))),
    ]
    if draft.amount is not None:
        changes.append(Change("amount", f"{draft.amount} CNY", f"band {amount_band(draft.amount)} of 255"))
    if draft.counterparty is not None:
        changes.append(subject("counterparty", draft.counterparty))
    changes += [subject("link", link) for link in draft.links]
    changes += [
        _same("tlp", tlp.removeprefix("TLP_").lower()),
        _same("audience", kinds),
        _same("legal_basis", basis.removeprefix("LEGAL_BASIS_").lower()),
    ]
    if draft.detail:
        sealed = "sealed, padded: only who holds the subject's identifier can read it"
        changes.append(Change("detail", draft.detail, sealed))
    changes += [
        Change("reference", draft.reference, "stays here, in the encrypted journal"),
        Change("record", "this row", "a commitment: SHA-256 with a random salt that stays here"),
        Change("signal_id", "", "16 random bytes"),
    ]
    return changes


def as_rows(changes: Sequence[Change]) -> list[dict[str, str]]:
    """The changes as plain data for JSON."""
    return [{"field": each.field, "before": each.before, "after": each.after} for each in changes]


def _same(field: str, value: str) -> Change:
    return Change(field, value, value)


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
