"""Tables that a member's systems write: CSV (RFC 4180), JSON Lines and Parquet, read row by row.

Invariants: a file is read one row at a time, whatever its size; the same content gives the same cells
whichever form it comes in, but for their types, which `signalexchange.cells` evens out; an unknown column is
refused, because a misspelt one would silently be left out; errors name file, row (from 1 on) and column and
never hold a cell's value.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from signalexchange.errors import ExchangeError

SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

Rows = Iterator[tuple[int, Mapping[str, Any]]]
CheckColumns = Callable[[Path, Iterable[str], int | None], None]
"""Raises SourceError where a file, or a row of JSON Lines, has not the columns it should have."""

_COLUMN_NAME = re.compile(r"[A-Za-z_]{1,40}")


class SourceError(ExchangeError):
    """A file that can't be read as what it should hold; the message names file, row and column, never a
    value."""

    def __init__(self, path: Path, row: int | None, column: str | None, why: str) -> None:
        place = [str(path), f"row {row}" if row is not None else "", f"column {column}" if column else ""]
        super().__init__(f"{', '.join(part for part in place if part)}: {why}")
        self.path = path
        self.row = row
        self.column = column
        self.why = why


def read_table(path: Path, check: CheckColumns) -> Rows:
    """Rows of a file, numbered from 1 on, by its suffix: .csv, .jsonl, .ndjson or .parquet.

    Raises SourceError where the file can't be read on.
    """
    form = SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise SourceError(path, None, None, f"unknown suffix; one of {', '.join(SUFFIXES)} is needed")
    return {"csv": _csv_rows, "jsonl": _jsonl_rows, "parquet": _parquet_rows}[form](path, check)


def check_columns(
    path: Path, columns: Iterable[str], required: frozenset[str], known: frozenset[str], row: int | None
) -> frozenset[str]:
    """The columns of a file, all of them known and none that is required missing. Raises SourceError."""
    present = frozenset(columns)
    if unknown := sorted(present - known):
        # A file without a header would show identifiers here.
        if not all(_COLUMN_NAME.fullmatch(name) for name in unknown):
            raise SourceError(path, row, None, "unknown columns; is the header missing?")
        raise SourceError(path, row, None, f"unknown column {', '.join(unknown)}")
    if missing := sorted(required - present):
        raise SourceError(path, row, None, f"column {', '.join(missing)} is missing")
    return present


def _csv_rows(path: Path, check: CheckColumns) -> Rows:
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = reader.fieldnames or []
            check(path, header, None)
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


def _jsonl_rows(path: Path, check: CheckColumns) -> Rows:
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"), parse_float=Decimal)
                if not isinstance(row, dict):
                    raise SourceError(path, number, None, "not a JSON object")
                check(path, row, number)
                yield number, row
    except OSError as error:
        raise SourceError(path, None, None, error.strerror or "can't be read") from error
    except (ValueError, RecursionError) as error:
        why = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not JSON"
        raise SourceError(path, number, None, why) from None


def _parquet_rows(path: Path, check: CheckColumns) -> Rows:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        why = "Parquet needs pyarrow; run: pip install 'signalexchange[parquet]'"
        raise SourceError(path, None, None, why) from error
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            check(path, file.schema_arrow.names, None)
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except OSError as error:
        raise SourceError(path, None, None, error.strerror or "can't be read as Parquet") from error
    except pyarrow.ArrowException:
        raise SourceError(path, None, None, "can't be read as Parquet") from None
