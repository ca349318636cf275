"""What arrives at the detector: transactions, labels of earlier ones, and rows that are neither.

Invariants: as of `transactions`; a label is of one transaction and counts from when it became known; files of
transactions and labels are merged by time, so that a replay of the past learns when one could have learned.

Columns of a file of labels: id, fraud (true, false, 1, 0), at (Unix seconds or ISO 8601). On standard input a
line with "fraud" is a label; without "at" it became known now.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from signalexchange.cells import CellError, Row, flag, text, time
from signalexchange.detector.transactions import (
    MAX_TEXT,
    STANDARD_INPUT,
    Columns,
    Rejected,
    Transaction,
    parse_line,
)
from signalexchange.tables import SourceError, check_columns, read_table

LABEL_COLUMNS: Final = frozenset({"id", "fraud", "at"})


@dataclass(frozen=True, slots=True)
class Label:
    """What became of a transaction: whether it was fraud, as known from `at` (Unix seconds) on; None: now."""

    id: str
    fraud: bool
    at: int | None
    place: str = ""


Arrival = Transaction | Label | Rejected


def read_labels(path: Path) -> Iterator[Label | Rejected]:
    """The labels of a .csv, .jsonl, .ndjson or .parquet file in its order; a bad cell rejects its row.

    Raises SourceError where the file can't be read on.
    """
    for number, cells in read_table(path, partial(_check, LABEL_COLUMNS)):
        yield _label(cells, f"{path}, row {number}")


def merged(transactions: Iterable[Transaction | Rejected], labels: Iterable[Label]) -> Iterator[Arrival]:
    """Transactions in their order, each behind the labels that were known by its time."""
    waiting = sorted((label.at, label.id, label) for label in labels if label.at is not None)
    waiting.reverse()
    for arrival in transactions:
        if isinstance(arrival, Transaction):
            while waiting and waiting[-1][0] <= arrival.time:
                yield waiting.pop()[2]
        yield arrival


def parse_arrival(line: bytes, number: int, columns: Columns) -> Arrival | None:
    """What line `number` (from 1 on) of JSON Lines on standard input says; None of an empty line."""
    if b'"fraud"' in line:
        try:
            cells = json.loads(line.decode())
        except (ValueError, RecursionError):
            cells = None
        if isinstance(cells, dict) and "fraud" in cells:
            try:
                _check(LABEL_COLUMNS - {"at"}, STANDARD_INPUT, cells, number)
            except SourceError as error:
                return Rejected(f"{STANDARD_INPUT}, row {number}", "", error.why)
            return _label(cells, f"{STANDARD_INPUT}, row {number}")
    return parse_line(line, number, columns)


def _check(required: frozenset[str], path: Path, columns: Iterable[str], row: int | None) -> None:
    check_columns(path, columns, required, LABEL_COLUMNS, row)


def _label(cells: Mapping[str, Any], place: str) -> Label | Rejected:
    row = Row(cells)
    try:
        return Label(
            row.get("id", _id), row.get("fraud", flag), row.get("at", time) if row.has("at") else None, place
        )
    except CellError as error:
        return Rejected(place, row.column, str(error))


def _id(value: Any) -> str:
    if len(found := text(value)) > MAX_TEXT:
        raise CellError(f"longer than {MAX_TEXT} characters")
    return found
