"""Members' books: an institution's part of a transactions table, with identifiers as institutions hold them.

Invariant: a member's file holds nothing of another member's customers.
"""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from exchange.replay.identities import merchant_of, phone_of
from exchange.replay.transactions import SCENARIO, Table


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
