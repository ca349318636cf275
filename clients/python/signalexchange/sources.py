"""Readers of what a member wants to publish: CSV (RFC 4180), JSON Lines and Parquet, one signal a row.

Invariants: rows are read one by one, whatever the file's size; the same content gives the same drafts
whichever of the three forms it comes in; an unknown column is refused, because a misspelt one would silently
be left out; errors name file, row (from 1 on) and column and never hold a cell's value.

Columns, required: subject_type, subject, code, confidence, grade, first_seen, last_seen, reference, and one
of expires_at and valid_days (from last_seen on, so that the content alone decides). Optional: amount (CNY),
counterparty_type and counterparty, links ("type:value", in CSV separated by ";"), tlp (default amber),
audience (kinds of members, in CSV separated by ";"; default all), legal_basis (default fraud_prevention),
detail. Times are Unix seconds or ISO 8601 with an offset. Names of types, grades, kinds are the contract's
enum names in lower case, prefix dropped.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

from signalexchange.errors import ExchangeError, InvalidIdentifierError
from signalexchange.identifiers import TYPE_NAMES, normalise
from signalexchange.signals import MAX_TIME, SignalDraft, Subject
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
SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

T = TypeVar("T")

_COLUMN_NAME = re.compile(r"[A-Za-z_]{1,40}")

TYPES = {name: number for number, name in TYPE_NAMES.items()}
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


class SourceError(ExchangeError):
    """A file that can't be read as signals; the message names file, row and column, never a value."""

    def __init__(self, path: Path, row: int | None, column: str | None, why: str) -> None:
        place = [str(path), f"row {row}" if row is not None else "", f"column {column}" if column else ""]
        super().__init__(f"{', '.join(part for part in place if part)}: {why}")
        self.path = path
        self.row = row
        self.column = column
        self.why = why


class _CellError(Exception):
    """What is wrong with one cell."""


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
    form = SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise SourceError(path, None, None, f"unknown suffix; one of {', '.join(SUFFIXES)} is needed")
    rows = {"csv": _csv_rows, "jsonl": _jsonl_rows, "parquet": _parquet_rows}[form](path)
    for number, row in rows:
        try:
            draft: SignalDraft | SourceError = _draft(path, number, row)
        except SourceError as error:
            draft = error
        yield draft


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = reader.fieldnames or []
            _check_columns(path, header)
            if len(set(header)) != len(header):
                raise SourceError(path, None, None, "a column stands twice")
            for number, row in enumerate(reader, 1):
                if None in row or None in row.values():
                    raise SourceError(path, number, None, "not as many cells as the header has columns")
                yield number, row
    except OSError as error:
        raise SourceError(path, None, None, error.strerror or "can't be read") from error
    except (UnicodeDecodeError, csv.Error) as error:
        why = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise SourceError(path, number + 1, None, why) from None


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"), parse_float=Decimal)
                if not isinstance(row, dict):
                    raise SourceError(path, number, None, "not a JSON object")
                _check_columns(path, row, number)
                yield number, row
    except OSError as error:
        raise SourceError(path, None, None, error.strerror or "can't be read") from error
    except (ValueError, RecursionError) as error:
        why = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not JSON"
        raise SourceError(path, number, None, why) from None


def _parquet_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        why = "Parquet needs pyarrow; run: pip install 'signalexchange[parquet]'"
        raise SourceError(path, None, None, why) from error
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except OSError as error:
        raise SourceError(path, None, None, error.strerror or "can't be read as Parquet") from error
    except pyarrow.ArrowException:
        raise SourceError(path, None, None, "can't be read as Parquet") from None


def _check_columns(path: Path, columns: Iterable[str], row: int | None = None) -> None:
    present = set(columns)
    if unknown := sorted(present - COLUMNS):
        # A file without a header would show identifiers here.
        if not all(_COLUMN_NAME.fullmatch(name) for name in unknown):
            raise SourceError(path, row, None, "unknown columns; is the header missing?")
        raise SourceError(path, row, None, f"unknown column {', '.join(unknown)}")
    if missing := sorted(REQUIRED - present):
        raise SourceError(path, row, None, f"column {', '.join(missing)} is missing")
    if not present & {"expires_at", "valid_days"}:
        raise SourceError(path, row, None, "column expires_at or valid_days is missing")


class _Row:
    """One row's cells; remembers which column was read last, for the error message."""

    def __init__(self, cells: Mapping[str, Any]) -> None:
        self._cells = cells
        self.column = ""

    def has(self, column: str) -> bool:
        return self._cells.get(column) not in (None, "", [])

    def get(self, column: str, parse: Callable[[Any], T]) -> T:
        self.column = column
        return parse(self._cells.get(column))

    def get_or(self, column: str, parse: Callable[[Any], T], default: T) -> T:
        return self.get(column, parse) if self.has(column) else default


def _draft(path: Path, number: int, cells: Mapping[str, Any]) -> SignalDraft:
    row = _Row(cells)
    try:
        last_seen = row.get("last_seen", _time)
        return SignalDraft(
            subject=row.get("subject", _subject(row.get("subject_type", _type))),
            code=row.get("code", _text),
            confidence=row.get("confidence", _whole),
            grade=row.get("grade", _choice(GRADES)),
            first_seen=row.get("first_seen", _time),
            last_seen=last_seen,
            expires_at=_expiry(row, last_seen),
            reference=row.get("reference", _text),
            amount=row.get("amount", _decimal) if row.has("amount") else None,
            counterparty=_counterparty(row),
            links=row.get("links", _links) if row.has("links") else (),
            tlp=row.get_or("tlp", _choice(TLPS), int(pb.TLP_AMBER)),
            audience=row.get("audience", _kinds) if row.has("audience") else (),
            legal_basis=row.get_or("legal_basis", _choice(LEGAL_BASES), int(pb.LEGAL_BASIS_FRAUD_PREVENTION)),
            detail=row.get_or("detail", _text, ""),
            place=f"{path}, row {number}",
        )
    except (_CellError, InvalidIdentifierError) as error:
        raise SourceError(path, number, row.column, str(error)) from None


def _expiry(row: _Row, last_seen: int) -> int:
    if row.has("expires_at") == row.has("valid_days"):
        row.column = "expires_at"
        raise _CellError("exactly one of expires_at and valid_days must be given")
    if row.has("expires_at"):
        return row.get("expires_at", _time)
    if (days := row.get("valid_days", _whole)) > MAX_VALID_DAYS:
        raise _CellError(f"more than {MAX_VALID_DAYS}")
    return last_seen + days * DAY


def _counterparty(row: _Row) -> Subject | None:
    if not row.has("counterparty") and not row.has("counterparty_type"):
        return None
    return row.get("counterparty", _subject(row.get("counterparty_type", _type)))


def _text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise _CellError("missing" if value in (None, "") else "not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _CellError("not a valid text") from None
    return value.strip()


def _whole(value: Any) -> int:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal() and len(value) <= 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _CellError("not a whole number")
    return value


def _time(value: Any) -> int:
    if isinstance(value, str) and not value.strip().isdecimal():
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise _CellError("neither Unix seconds nor an ISO 8601 time") from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise _CellError("a time without an offset from UTC")
        value = int(value.timestamp())
    if (seconds := _whole(value)) > MAX_TIME:
        raise _CellError("not Unix seconds; milliseconds?")
    return seconds


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise _CellError("not a number")
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise _CellError("not a number") from None
    if not number.is_finite() or not -15 <= number.adjusted() <= 15 or len(number.as_tuple().digits) > 28:
        raise _CellError("not a number of a usual size")
    return number


def _choice(choices: Mapping[str, int]) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if value in (None, ""):
            raise _CellError("missing")
        found = choices.get(value.strip().lower()) if isinstance(value, str) else None
        if found is None:
            raise _CellError(f"must be one of {', '.join(choices)}")
        return found

    return parse


def _type(value: Any) -> int:
    return _choice(TYPES)(value)


def _subject(type_: int) -> Callable[[Any], Subject]:
    return lambda value: Subject(type_, normalise(type_, _text(value)))


def _list(value: Any) -> list[str]:
    if isinstance(value, str):
        value = [part for part in value.split(";") if part.strip()]
    if not isinstance(value, list):
        raise _CellError("not a list")
    return [_text(each) for each in value]


def _kinds(value: Any) -> tuple[int, ...]:
    return tuple(sorted(_choice(MEMBER_KINDS)(each) for each in _list(value)))


def _links(value: Any) -> tuple[Subject, ...]:
    links = []
    for text in _list(value):
        name, colon, identifier = text.partition(":")
        if not colon:
            raise _CellError("not of the form type:value")
        links.append(_subject(_type(name))(identifier))
    return tuple(links)
