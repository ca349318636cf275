"""Readers of what a member wants to publish: a table (signalexchange.tables) with one signal a row.

Invariants: the same content gives the same drafts whichever form it comes in; errors name file, row and
column and never hold a cell's value.

Columns, required: subject_type, subject, code, confidence, grade, first_seen, last_seen, reference, and one
of expires_at and valid_days (from last_seen on, so that the content alone decides). Optional: amount (CNY),
counterparty_type and counterparty, links ("type:value", in CSV separated by ";"), tlp (default amber),
audience (kinds of members, in CSV separated by ";"; default all), legal_basis (default fraud_prevention),
detail. Times are Unix seconds or ISO 8601 with an offset. Names of types, grades, kinds are the contract's
enum names in lower case, prefix dropped.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from signalexchange.cells import (
    CellError,
    Row,
    choice,
    decimal,
    identifier_type,
    links,
    subject,
    text,
    texts,
    time,
    whole,
)
from signalexchange.errors import InvalidIdentifierError
from signalexchange.signals import SignalDraft, Subject
from signalexchange.tables import SourceError, check_columns, read_table
from signalexchange.v1 import signal_pb2 as pb
from signalexchange.v1.identifier_pb2 import PartyKind

DAY = 86_400
MAX_VALID_DAYS = 3_650
REQUIRED = frozenset(
    {"subject_type", "subject", "code", "confidence", "grade", "first_seen", "last_seen", "reference"}
)
COLUMNS = REQUIRED | {
    "expires_at", "valid_days", "amount", "counterparty_type", "counterparty", "links", "tlp", "audience",
    "legal_basis", "detail",
}  # fmt: skip
MEMBER_KINDS = {
    "bank": PartyKind.PARTY_KIND_BANK,
    "ecommerce": PartyKind.PARTY_KIND_ECOMMERCE,
    "payment_provider": PartyKind.PARTY_KIND_PAYMENT_PROVIDER,
}


def _names(enum: Any, prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix).lower(): number for name, number in enum.items() if number}


GRADES = _names(pb.EvidenceGrade, "EVIDENCE_GRADE_")
TLPS = _names(pb.Tlp, "TLP_")
LEGAL_BASES = _names(pb.LegalBasis, "LEGAL_BASIS_")


def read_drafts(path: Path) -> Iterator[SignalDraft]:
    """The drafts of a file, by its suffix: .csv, .jsonl, .ndjson or .parquet. Raises SourceError."""
    for draft in read_rows(path):
        if isinstance(draft, SourceError):
            raise draft
        yield draft


def read_rows(path: Path) -> Iterator[SignalDraft | SourceError]:
    """The same, row by row, where a bad cell is its row's SourceError and reading goes on. Raises SourceError
    where the file itself can't be read on.
    """
    for number, row in read_table(path, _check_columns):
        try:
            draft: SignalDraft | SourceError = _draft(path, number, row)
        except SourceError as error:
            draft = error
        yield draft


def _check_columns(path: Path, columns: Iterable[str], row: int | None) -> None:
    if not check_columns(path, columns, REQUIRED, COLUMNS, row) & {"expires_at", "valid_days"}:
        raise SourceError(path, row, None, "column expires_at or valid_days is missing")


def _draft(path: Path, number: int, cells: Mapping[str, Any]) -> SignalDraft:
    row = Row(cells)
    try:
        last_seen = row.get("last_seen", time)
        return SignalDraft(
            subject=row.get("subject", subject(row.get("subject_type", identifier_type))),
            code=row.get("code", text),
            confidence=row.get("confidence", whole),
            grade=row.get("grade", choice(GRADES)),
            first_seen=row.get("first_seen", time),
            last_seen=last_seen,
            expires_at=_expiry(row, last_seen),
            reference=row.get("reference", text),
            amount=row.get("amount", decimal) if row.has("amount") else None,
            counterparty=_counterparty(row),
            links=row.get("links", links) if row.has("links") else (),
            tlp=row.get_or("tlp", choice(TLPS), int(pb.TLP_AMBER)),
            audience=row.get("audience", _kinds) if row.has("audience") else (),
            legal_basis=row.get_or("legal_basis", choice(LEGAL_BASES), int(pb.LEGAL_BASIS_FRAUD_PREVENTION)),
            detail=row.get_or("detail", text, ""),
            place=f"{path}, row {number}",
        )
    except (CellError, InvalidIdentifierError) as error:
        raise SourceError(path, number, row.column, str(error)) from None


def _expiry(row: Row, last_seen: int) -> int:
    if row.has("expires_at") == row.has("valid_days"):
        row.column = "expires_at"
        raise CellError("exactly one of expires_at and valid_days must be given")
    if row.has("expires_at"):
        return row.get("expires_at", time)
    if (days := row.get("valid_days", whole)) > MAX_VALID_DAYS:
        raise CellError(f"more than {MAX_VALID_DAYS}")
    return last_seen + days * DAY


def _counterparty(row: Row) -> Subject | None:
    if not row.has("counterparty") and not row.has("counterparty_type"):
        return None
    return row.get("counterparty", subject(row.get("counterparty_type", identifier_type)))


def _kinds(value: Any) -> tuple[int, ...]:
    return tuple(sorted(choice(MEMBER_KINDS)(each) for each in texts(value)))
