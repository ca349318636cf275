"""Members' books: an institution's part of a transactions table, with identifiers as institutions hold them;
and its payments as its detector takes them.

Invariant: a member's file holds nothing of another member's customers.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet
from signalexchange.detector.transactions import Transaction

from exchange.replay.identities import merchant_of, phone_of
from exchange.replay.transactions import SCENARIO, Table

_BLOCK = 50_000


class Payment(NamedTuple):
    """A payment of a member's books, and what it will turn out to be; `scenario` is 0 where it is genuine."""

    transaction: Transaction
    fraud: bool
    scenario: int


def read_payments(books: Path) -> Iterator[Payment]:
    """The payments of a file that `keep` wrote, in order of time.

    Payments of nothing, which no detector takes, are left out.
    """
    file = pyarrow.parquet.ParquetFile(books)
    with_scenario = "scenario" in file.schema_arrow.names
    for block in file.iter_batches(_BLOCK):
        columns: dict[str, list[Any]] = block.to_pydict()
        scenarios = columns["scenario"] if with_scenario else columns["fraud"]
        names = ("transaction", "time", "phone", "amount", "merchant", "fraud")
        for id_, time, customer, amount, merchant, fraud, scenario in zip(
            *(columns[name] for name in names), scenarios, strict=True
        ):
            cents = round(amount * 100)
            if cents > 0:
                yield Payment(
                    Transaction(str(id_), time, customer, cents, merchant=merchant), fraud == 1, scenario
                )


def keep(table: Table, path: Path) -> None:
    """Write one member's part of a transactions table (`transactions.SCHEMA`) as its books."""
    columns = {
        "transaction": table["TRANSACTION_ID"],
        "time": table["TX_DATETIME"].cast(pa.int64()),
        "merchant": _named(table["TERMINAL_ID"], merchant_of),
        "phone": _named(table["CUSTOMER_ID"], phone_of),
        "amount": table["TX_AMOUNT"],
        "fraud": table["TX_FRAUD"],
    }
    if SCENARIO in table.column_names:
        columns["scenario"] = table[SCENARIO]
    pyarrow.parquet.write_table(pa.table(columns), path)


def _named(column: pa.ChunkedArray, name: Callable[[int], str]) -> pa.ChunkedArray:
    """A column of numbers as a column of identifiers, each computed once."""
    encoded = column.combine_chunks().dictionary_encode()
    names = pa.array([name(number) for number in encoded.dictionary.to_pylist()], type=pa.string())
    return pa.DictionaryArray.from_arrays(encoded.indices, names).cast(pa.string())
