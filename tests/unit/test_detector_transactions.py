"""Transactions of a member: three forms, one meaning; what is none is rejected with its place."""

import csv
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signalexchange.detector.transactions import (
    MAX_CENTS,
    Columns,
    Rejected,
    Transaction,
    parse_line,
    read_transactions,
)
from signalexchange.errors import ConfigError, MalformedError
from signalexchange.flows import Kind
from signalexchange.tables import SourceError

from tests.support.detector_transactions import transactions

ROW: dict[str, Any] = {
    "id": "t-1",
    "time": 1_793_498_400,
    "customer": "c-7",
    "amount": "1880.50",
    "kind": "refund",
    "merchant": "m-3",
    "payee": "p-9",
    "device": "d-2",
    "card": "k-4",
    "credit": "true",
    "limit": "12000",
    "currency": "CNY",
}
FOUR = {name: ROW[name] for name in ("id", "time", "customer", "amount")}
ON_A_FILE = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


def write_csv(path: Path, *rows: Mapping[str, Any]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def taken(path: Path, columns: Columns | None = None) -> list[Transaction]:
    found = []
    for each in read_transactions(path, columns):
        assert isinstance(each, Transaction), str(each)
        found.append(each)
    return found


def refused(path: Path, columns: Columns | None = None) -> Rejected:
    (found,) = read_transactions(path, columns)
    assert isinstance(found, Rejected)
    return found


def cny(cents: int) -> Decimal:
    return Decimal(cents) / 100


@ON_A_FILE
@given(st.lists(transactions(), min_size=1, max_size=5))
def test_three_forms_of_the_same_content_are_the_same_transactions(
    tmp_path: Path, wanted: list[Transaction]
) -> None:
    typed: list[dict[str, Any]] = [
        {
            "id": each.id, "time": datetime.fromtimestamp(each.time, UTC), "customer": each.customer,
            "amount": cny(each.amount), "kind": each.kind.name.lower(), "merchant": each.merchant or None,
            "payee": each.payee or None, "device": each.device or None, "card": each.card or None,
            "credit": each.credit, "limit": cny(each.limit),
        }
        for each in wanted
    ]  # fmt: skip
    texts = [
        {
            name: "" if cell is None else str(cell).lower() if name == "credit" else str(cell)
            for name, cell in row.items()
        }
        for row in typed
    ]
    objects = [
        {name: cell for name, cell in row.items() if cell is not None}
        | {"time": each.time, "amount": float(row["amount"]), "limit": float(row["limit"])}
        for row, each in zip(typed, wanted, strict=True)
    ]
    schema = pa.schema(
        {name: pa.string() for name in typed[0]}
        | {"time": pa.timestamp("s", "UTC"), "amount": pa.decimal128(20, 2), "credit": pa.bool_()}
        | {"limit": pa.float64()}
    )
    floats = [{**row, "limit": float(row["limit"])} for row in typed]
    pq.write_table(pa.Table.from_pylist(floats, schema), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(each) + "\n" for each in objects))
    write_csv(tmp_path / "a.csv", *texts)
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        assert taken(tmp_path / name) == wanted
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines()
    assert [parse_line(line, number) for number, line in enumerate(lines, 1)] == wanted


def test_a_row_is_one_transaction_with_its_place(tmp_path: Path) -> None:
    (found,) = taken(write_csv(tmp_path / "a.csv", ROW))
    wanted = Transaction(
        "t-1", 1_793_498_400, "c-7", 188_050, Kind.REFUND, "m-3", "p-9", "d-2", "k-4", True, 1_200_000
    )
    assert found == wanted
    assert found.place == f"{tmp_path / 'a.csv'}, row 1"


def test_four_columns_are_enough_and_whole_numbers_are_keys(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({**FOUR, "id": 17, "customer": 0}) + "\n")
    assert taken(tmp_path / "a.jsonl") == [Transaction("17", 1_793_498_400, "0", 188_050)]


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("id", "", "missing"),
        ("id", "x" * 129, "longer than 128 characters"),
        ("time", "", "neither"),
        ("time", "2026-11-01T10:00:00", "without an offset"),
        ("time", "yesterday-at-777", "neither"),
        ("time", "1793498400777", "milliseconds"),
        ("time", "-777", "neither"),
        ("customer", " ", "missing|not a text"),
        ("amount", "", "not a number"),
        ("amount", "-777", "below 0"),
        ("amount", "0", "must be above 0"),
        ("amount", "0.777", "more than two decimals"),
        ("amount", "seven777", "not a number"),
        ("amount", "1000000000000.01", "above"),
        ("amount", "1e400", "usual size"),
        ("amount", "NaN", "usual size"),
        ("kind", "gift777", "must be one of"),
        ("merchant", "x" * 129, "longer"),
        ("credit", "perhaps777", "must be one of"),
        ("limit", "-777", "below 0"),
        ("currency", "USD777", "not CNY"),
        ("currency", "", "missing"),
    ],
)
def test_a_bad_cell_rejects_its_row_and_reading_goes_on(
    tmp_path: Path, column: str, value: str, why: str
) -> None:
    path = write_csv(tmp_path / "a.csv", ROW, {**ROW, column: value}, {**ROW, "id": "t-3"})
    first, bad, last = read_transactions(path)
    assert isinstance(bad, Rejected)
    assert (bad.place, bad.column) == (f"{path}, row 2", column)
    assert str(bad).startswith(f"{path}, row 2, column {column}: ")
    assert re.search(why, bad.why)
    assert "777" not in bad.why
    assert isinstance(first, Transaction)
    assert isinstance(last, Transaction)
    assert last.id == "t-3"


def test_the_largest_amount_is_taken_whole(tmp_path: Path) -> None:
    (found,) = taken(write_csv(tmp_path / "a.csv", {**ROW, "amount": "1000000000000.00"}))
    assert found.amount == MAX_CENTS


def test_the_noise_of_floating_point_rejects_nothing(tmp_path: Path) -> None:
    noisy = {**FOUR, "amount": 5 * 12.02}
    pq.write_table(pa.Table.from_pylist([noisy]), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text(json.dumps(noisy) + "\n")
    assert "60.099999999999994" in write_csv(tmp_path / "a.csv", noisy).read_text()
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        assert [each.amount for each in taken(tmp_path / name)] == [6_010]


def test_the_currency_is_the_configured_one(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", {**ROW, "currency": "eur"})
    assert refused(path).column == "currency"
    assert len(taken(path, Columns(currency="EUR"))) == 1
    assert len(taken(write_csv(tmp_path / "b.csv", FOUR), Columns(currency="EUR"))) == 1


@pytest.mark.parametrize("time", ["2026-11-01 10:00:00", datetime(2026, 11, 1, 10)])
def test_a_time_without_an_offset_is_of_the_zone_given(tmp_path: Path, time: str | datetime) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([{**FOUR, "time": time}]), path)
    assert "offset" in refused(path).why
    (found,) = taken(path, Columns(zone=timezone(timedelta(hours=8))))
    assert found.time == 1_793_498_400
    stated = write_csv(tmp_path / "b.csv", {**FOUR, "time": "2026-11-01T03:00:00+01:00"})
    assert taken(stated, Columns(zone=timezone(timedelta(hours=8))))[0].time == 1_793_498_400


def test_names_are_mapped_and_then_other_columns_passed_over(tmp_path: Path) -> None:
    names = {"id": "TRANSACTION_ID", "merchant": "TERMINAL_ID"}
    row = {"TRANSACTION_ID": 7, "TERMINAL_ID": "", "TX_FRAUD": 1, "time": 9, "customer": "c", "amount": 1}
    for name in ("a.csv", "a.jsonl"):
        path = tmp_path / name
        if name == "a.csv":
            write_csv(path, row)
        else:
            path.write_text(json.dumps(row) + "\n")
        assert taken(path, Columns(names)) == [Transaction("7", 9, "c", 100)]
        with pytest.raises(SourceError, match="unknown column TERMINAL_ID, TRANSACTION_ID, TX_FRAUD"):
            taken(path)
    bad = refused(write_csv(tmp_path / "b.csv", {**row, "TRANSACTION_ID": ""}), Columns(names))
    assert bad.column == "TRANSACTION_ID"


def test_a_currency_is_looked_at_though_the_mapping_does_not_name_it(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", {**FOUR, "TILL": "x", "currency": "USD"})
    assert refused(path, Columns({"merchant": "TILL"})).column == "currency"


def test_a_missing_column_is_an_error_of_the_file(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", {name: ROW[name] for name in ("id", "time", "customer")})
    with pytest.raises(SourceError, match="column amount is missing"):
        taken(path)
    with pytest.raises(SourceError, match="column TILL is missing"):
        taken(write_csv(tmp_path / "b.csv", FOUR), Columns({"merchant": "TILL"}))
    (tmp_path / "c.jsonl").write_text(json.dumps(FOUR) + "\n" + json.dumps({"id": "t-2"}) + "\n")
    rows = read_transactions(tmp_path / "c.jsonl")
    assert isinstance(next(rows), Transaction)
    with pytest.raises(SourceError, match="row 2: column amount, customer, time is missing"):
        next(rows)


def test_an_unknown_name_can_not_be_mapped() -> None:
    with pytest.raises(ConfigError, match="no column colour of transactions"):
        Columns({"colour": "COLOUR"})


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff777", "not UTF-8"),
        (b"777", "not a JSON object"),
        (b'{"id": "777", "time": 1, "customer": "c"}', "column amount is missing"),
        (b'{"id": "777", "time": 1, "customer": "c", "amount": 1, "colour": 777}', "unknown column colour"),
    ],
)
def test_a_bad_line_is_rejected_alone(line: bytes, why: str) -> None:
    rejected = parse_line(line, 4)
    assert isinstance(rejected, Rejected)
    assert str(rejected) == f"standard input, row 4: {why}"
    assert isinstance(parse_line(json.dumps(FOUR).encode(), 5), Transaction)


@given(st.binary(max_size=200))
def test_any_line_is_nothing_a_transaction_or_rejected(line: bytes) -> None:
    found = parse_line(line, 1)
    assert found is None if not line.strip() else isinstance(found, Transaction | Rejected)


@given(st.sampled_from(sorted(ROW)), JSON_VALUES)
def test_any_json_in_any_column_is_a_transaction_within_bounds_or_rejected(
    column: str, value: object
) -> None:
    found = parse_line(json.dumps({**ROW, column: value}).encode(), 1)
    if isinstance(found, Transaction):
        assert 1 <= found.amount <= MAX_CENTS
        assert 0 <= found.limit <= MAX_CENTS
        assert all(1 <= len(key) <= 128 for key in (found.id, found.customer))
        assert Transaction.restore(found.values()) == found
    else:
        assert isinstance(found, Rejected)
        assert found.column == column


@given(st.sampled_from(sorted(ROW)), st.text("qxz", min_size=8, max_size=200))
def test_no_message_holds_a_value(column: str, value: str) -> None:
    found = parse_line(json.dumps({**ROW, column: value}).encode(), 1)
    assert not isinstance(found, Rejected) or value not in str(found)


@given(transactions(), st.integers(0, 11), JSON_VALUES)
def test_a_stored_transaction_comes_back_or_is_malformed(
    transaction: Transaction, place: int, value: object
) -> None:
    stored = json.loads(json.dumps(transaction.values()))
    assert Transaction.restore(stored) == transaction
    stored[place] = value
    with suppress(MalformedError):
        assert Transaction.restore(stored).values() == stored
    others: list[Any] = [None, [], stored[:-1], {"id": "t"}]
    for other in others:
        with pytest.raises(MalformedError):
            Transaction.restore(other)
