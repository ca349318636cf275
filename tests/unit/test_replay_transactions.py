"""Files of transactions: what is read, and that errors name file and column."""

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from signalexchange.errors import MalformedError

from exchange.replay import generator, transactions

HEADER = "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD,TX_FRAUD_SCENARIO\n"
ROW = "0,2018-04-01 00:00:31,596,3156,57.16,0,0\n"


def csv(folder: Path, text: str) -> Path:
    path = folder / "file.csv"
    path.write_text(text)
    return path


def test_csv_and_parquet_give_the_same_table(tmp_path: Path) -> None:
    table = generator.generate(3, generator.Size(customers=20, terminals=40, days=9))
    pyarrow.csv.write_csv(table, tmp_path / "t.csv")
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    assert transactions.load(tmp_path / "t.csv").equals(table)
    assert transactions.load(tmp_path / "t.parquet").equals(table)


def test_rows_are_put_in_time_order_and_other_columns_left_out(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        HEADER.replace("\n", ",NOTE\n") + "1,2018-04-02 00:00:00,5,7,1.00,1,2,late\n"
        "2,2018-04-01 10:00:00,6,8,2.50,0,0,early\n",
    )
    table = transactions.load(path)
    assert table.column_names == list(transactions.SCHEMA)
    assert table["TRANSACTION_ID"].to_pylist() == [2, 1]
    assert transactions.days_of(table) == (1_522_540_800, 2)


def test_the_scenario_may_be_missing(tmp_path: Path) -> None:
    path = csv(tmp_path, HEADER.replace(",TX_FRAUD_SCENARIO", "") + ROW.removesuffix(",0\n") + "\n")
    assert transactions.SCENARIO not in transactions.load(path).column_names


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("TX_FRAUD", "2", "TX_FRAUD must be 0 or 1; row 2"),
        ("TX_AMOUNT", "-1.0", "TX_AMOUNT must be finite and not negative; row 2"),
        ("TX_AMOUNT", "inf", "TX_AMOUNT must be finite and not negative; row 2"),
        ("TX_AMOUNT", "cheap", "TX_AMOUNT is not of type double"),
        ("TX_AMOUNT", "", "TX_AMOUNT has no value in row 2"),
        ("CUSTOMER_ID", "-1", "CUSTOMER_ID must be 0 to 999999999; row 2"),
        ("CUSTOMER_ID", "1.5", "CUSTOMER_ID is not of type int64"),
        ("TERMINAL_ID", "100000000", "TERMINAL_ID must be 0 to 99999999; row 2"),
        ("TX_DATETIME", "yesterday", "TX_DATETIME is not of type timestamp"),
        ("TX_DATETIME", "1969-12-31 00:00:00", "TX_DATETIME must be after 1970-01-01; row 2"),
    ],
)
def test_a_wrong_value_is_named_with_file_column_and_row(
    tmp_path: Path, column: str, value: str, complaint: str
) -> None:
    row = dict(zip(HEADER.strip().split(","), ROW.strip().split(","), strict=True))
    path = csv(tmp_path, HEADER + ROW + ",".join((row | {column: value}).values()) + "\n")
    with pytest.raises(MalformedError) as caught:
        transactions.load(path)
    assert str(caught.value).startswith(f"{path}: column ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize("column", [name for name in transactions.SCHEMA if name != transactions.SCENARIO])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = csv(tmp_path, HEADER.replace(column, "OTHER") + ROW)
    with pytest.raises(MalformedError, match=f"{path}: column {column} is missing"):
        transactions.load(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("absent.csv", None),
        ("absent.parquet", None),
        ("empty.csv", b""),
        ("rubbish.parquet", b"PAR1 rubbish"),
        ("ragged.csv", b"a,b\n1\n"),
        ("header.csv", HEADER.encode()),
        ("twice.csv", HEADER.replace("TX_AMOUNT", "TX_FRAUD").encode() + ROW.encode()),
        ("table.xlsx", b""),
    ],
)
def test_a_file_that_is_none_is_refused_by_name(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MalformedError) as caught:
        transactions.load(path)
    assert str(path) in str(caught.value)


def test_times_with_a_zone_are_taken_as_instants(tmp_path: Path) -> None:
    table = generator.generate(3, generator.Size(customers=5, terminals=40, days=3))
    zone = datetime.timezone(datetime.timedelta(hours=8))
    zoned: list[Any] = [
        t.replace(tzinfo=datetime.UTC).astimezone(zone) for t in table["TX_DATETIME"].to_pylist()
    ]
    position = table.column_names.index("TX_DATETIME")
    other = table.set_column(position, "TX_DATETIME", pa.array(zoned, type=pa.timestamp("ms", tz="+08:00")))
    pyarrow.parquet.write_table(other, tmp_path / "t.parquet")
    assert transactions.load(tmp_path / "t.parquet").equals(table)


def test_every_customer_has_one_of_four_issuers(tmp_path: Path) -> None:
    table = generator.generate(4, generator.Size(customers=30, terminals=40, days=5))
    parts = [transactions.issued_by(table, issuer) for issuer in range(transactions.ISSUERS)]
    assert sum(part.num_rows for part in parts) == table.num_rows
    for issuer, part in enumerate(parts):
        assert {customer % 4 for customer in part["CUSTOMER_ID"].to_pylist()} <= {issuer}


def test_generated_data_depends_on_the_seed_alone_and_has_both_kinds_of_fraud() -> None:
    size = generator.Size(customers=100, terminals=60, days=30)
    one, again, other = (generator.generate(seed, size) for seed in (1, 1, 2))
    assert one.equals(again)
    assert not one.equals(other)
    assert {0, 2, 3} == set(one[transactions.SCENARIO].to_pylist())
    assert transactions.days_of(one) == (generator.START, 30)
