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
from math import inf
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
Position = tuple[str, list[Any]]
"""Name of an input; how many of its rows were taken, and a digest of the last."""


def read_labels(path: Path) -> Iterator[Label | Rejected]:
    """The labels of a .csv, .jsonl, .ndjson or .parquet file in its order; a bad cell rejects its row.

    Raises SourceError where the file can't be read on.
    """
    for number, cells in read_table(path, partial(_check, LABEL_COLUMNS)):
        yield _label(cells, f"{path}, row {number}")


def by_time(labels: Iterable[Label]) -> list[Label]:
    """Labels for `merged`, the earliest at the end; those without a time come last of all.

    Of several labels of one transaction and time the last one given counts, however often they are given.
    """
    latest = {(label.id, label.at): label for label in labels}
    return sorted(latest.values(), key=_when, reverse=True)


def _when(label: Label) -> tuple[float, str]:
    return label.at if label.at is not None else inf, label.id


def merged(transactions: Iterable[Transaction | Rejected], labels: list[Label]) -> Iterator[Arrival]:
    """Transactions in their order, each behind the labels that were known by its time.

    `labels`, of `by_time`, are taken from the list; those that are known later remain in it.
    """
    for arrival in transactions:
        if isinstance(arrival, Transaction):
            while labels and _when(labels[-1])[0] <= arrival.time:
                yield labels.pop()
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
