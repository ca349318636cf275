"""A member's books: its own customers only, and nothing before its time."""

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from exchange.demo import books
from exchange.replay import generator, transactions
from exchange.replay.books import keep
from exchange.replay.identities import customer_of, merchant_of, phone_of
from exchange.replay.transactions import DAY


@pytest.fixture(scope="module")
def table() -> transactions.Table:
    return generator.generate(5, generator.Size(customers=80, terminals=60, days=20))


@pytest.mark.parametrize("with_scenario", [True, False])
def test_books_count_each_day_as_the_file_does(
    tmp_path: Path, table: transactions.Table, with_scenario: bool
) -> None:
    if not with_scenario:
        table = table.drop_columns([transactions.SCENARIO])
    part = transactions.issued_by(table, 2)
    keep(part, tmp_path / "books.parquet")
    kept = books.Books(tmp_path / "books.parquet", generator.START)
    assert kept.transactions == part.num_rows
    assert kept.has_scenarios is with_scenario
    expected: dict[tuple[int, str], list[int]] = {}
    for row in part.to_pylist():
        day = (int(row["TX_DATETIME"].timestamp()) - generator.START) // DAY
        count = expected.setdefault((day, merchant_of(row["TERMINAL_ID"])), [0, 0, 0])
        count[0] += 1
        count[1] += row["TX_FRAUD"]
        count[2] += row.get(transactions.SCENARIO) == 2
    found = {
        (day, merchant): [cell.payments, cell.frauds, cell.at_compromised]
        for day in range(20)
        for merchant, cell in kept.day(day).items()
    }
    assert found == expected
    assert kept.day(20) == {}


def test_a_fraud_is_known_once_and_only_after_its_time(tmp_path: Path, table: transactions.Table) -> None:
    keep(table, tmp_path / "books.parquet")
    kept = books.Books(tmp_path / "books.parquet", generator.START)
    mornings = [generator.START + day * DAY for day in range(21)]
    seen = []
    for before, now in pairwise(mornings):
        frauds = kept.known(before, now)
        assert all(before < fraud.time <= now for fraud in frauds)
        seen += [fraud.transaction for fraud in frauds]
    expected = [row["TRANSACTION_ID"] for row in table.to_pylist() if row["TX_FRAUD"]]
    assert seen == expected


def test_a_members_file_holds_its_own_customers_only(tmp_path: Path, table: transactions.Table) -> None:
    keep(transactions.issued_by(table, 3), tmp_path / "books.parquet")
    phones = set(pyarrow.parquet.read_table(tmp_path / "books.parquet")["phone"].to_pylist())
    assert {customer_of(phone) % 4 for phone in phones} == {3}
    assert phone_of(3) in phones


def test_a_detector_takes_every_payment_of_something_and_learns_of_those_alone(
    tmp_path: Path, table: transactions.Table
) -> None:
    rows = table.to_pylist()
    nothing = next(row for row in rows if row["TX_FRAUD"])
    nothing["TX_AMOUNT"] = 0.0
    keep(pa.Table.from_pylist(rows, schema=table.schema), tmp_path / "books.parquet")
    kept = books.Books(tmp_path / "books.parquet", generator.START)
    taken = [payment.transaction for day in range(20) for payment in kept.payments(day)]
    expected = [row for row in rows if row is not nothing]
    assert [each.id for each in taken] == [str(row["TRANSACTION_ID"]) for row in expected]
    assert [each.amount for each in taken] == [round(100 * row["TX_AMOUNT"]) for row in expected]
    mornings = [generator.START + day * DAY for day in range(21)]
    learned = [payment for before, now in pairwise(mornings) for payment in kept.learned(before, now)]
    frauds = [str(row["TRANSACTION_ID"]) for row in expected if row["TX_FRAUD"]]
    assert [payment.transaction.id for payment in learned] == frauds
