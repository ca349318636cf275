"""A member's books: the transactions of its own customers, with identifiers as an institution holds them.

Invariants: a member's file holds nothing of another member's customers; what a member may use on a day is
what `known` and `day` give it, so that no label is seen before its time.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from exchange.replay.books import Payment, read_payments
from exchange.replay.transactions import DAY

COMPROMISED_TERMINAL = 2
"""TX_FRAUD_SCENARIO of a payment at a compromised terminal."""


@dataclass(frozen=True, slots=True)
class Fraud:
    """A payment that turned out to be a fraud. `time` is in Unix seconds, `amount` in CNY."""

    transaction: int
    time: int
    merchant: str
    phone: str
    amount: float


@dataclass(frozen=True, slots=True)
class Counted:
    """A day's payments at one terminal: how many, and what they will later turn out to be."""

    payments: int
    frauds: int
    at_compromised: int


class Books:
    """One member's books, read from the file that `exchange.replay.books.keep` wrote."""

    def __init__(self, path: Path, first: int) -> None:
        """`first` is midnight of the replay's first day, Unix seconds: day 0."""
        table = pyarrow.parquet.read_table(path)
        self._first = first
        self._payments = list(read_payments(path))
        self._times = [payment.transaction.time for payment in self._payments]
        self.transactions: int = table.num_rows
        self.has_scenarios = "scenario" in table.column_names
        self._frauds = [
            Fraud(row["transaction"], row["time"], row["merchant"], row["phone"], row["amount"])
            for row in table.filter(pc.equal(table["fraud"], 1)).to_pylist()
        ]
        self._days: dict[int, dict[str, Counted]] = {}
        number = pc.divide(pc.subtract(table["time"], first), DAY)
        compromised = (
            pc.equal(table["scenario"], COMPROMISED_TERMINAL).cast(pa.int64())
            if self.has_scenarios
            else pc.multiply(table["fraud"], 0)
        )
        cells = (
            table.append_column("day", number)
            .append_column("at_compromised", compromised)
            .group_by(["day", "merchant"])
            .aggregate([("fraud", "count"), ("fraud", "sum"), ("at_compromised", "sum")])
        )
        names = ("day", "merchant", "fraud_count", "fraud_sum", "at_compromised_sum")
        for day, merchant, *counts in zip(*(cells[name].to_pylist() for name in names), strict=True):
            self._days.setdefault(day, {})[merchant] = Counted(*counts)

    def day(self, number: int) -> dict[str, Counted]:
        """The payments of one day by merchant code; day 0 is the first of the replay."""
        return self._days.get(number, {})

    def payments(self, number: int) -> list[Payment]:
        """The payments of one day that a detector takes, in the order of their times."""
        return self._between(self._first + number * DAY, self._first + (number + 1) * DAY)

    def learned(self, after: int, until: int) -> list[Payment]:
        """Of those that happened after `after` and not later than `until`, the frauds."""
        return [payment for payment in self._between(after + 1, until + 1) if payment.fraud]

    def _between(self, start: int, end: int) -> list[Payment]:
        return self._payments[bisect_left(self._times, start) : bisect_left(self._times, end)]

    def known(self, after: int, until: int) -> Sequence[Fraud]:
        """Frauds that happened after `after` and not later than `until`, in time order."""
        return [fraud for fraud in self._frauds if after < fraud.time <= until]
