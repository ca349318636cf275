"""Card transactions of a file: read, validated and put in time order.

Invariants: a table that `load` returns has exactly the columns of SCHEMA (the scenario only where the file
has it), no missing values, ids in the range of `identities`, and rows ascending by time, equal times in the
file's order.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from signalexchange.errors import MalformedError

from exchange.replay.identities import CUSTOMERS, TERMINALS

SCENARIO = "TX_FRAUD_SCENARIO"
SCHEMA = {
    "TRANSACTION_ID": pa.int64(),
    "TX_DATETIME": pa.timestamp("s"),
    "CUSTOMER_ID": pa.int64(),
    "TERMINAL_ID": pa.int64(),
    "TX_AMOUNT": pa.float64(),
    "TX_FRAUD": pa.int64(),
    SCENARIO: pa.int64(),
}
"""The columns and their types; times are UTC, amounts in CNY, TX_FRAUD is 0 or 1."""

DAY = 86_400
ISSUERS = 4

Table = Any
"""A `pyarrow.Table`, which has no type stubs."""


def load(path: Path) -> Table:
    """Read a CSV (with a header) or Parquet file.

    The ending of the name, `.csv` or `.parquet`, says which. Other columns than those of SCHEMA are ignored,
    and TX_FRAUD_SCENARIO may be missing. Raises MalformedError, which names the file and the column and the
    row that is wrong.
    """
    table = _read(path)
    columns = {}
    for name, kind in SCHEMA.items():
        if table.column_names.count(name) > 1:
            raise MalformedError(f"{path}: column {name} is there more than once")
        if name in table.column_names:
            columns[name] = _column(path, name, table[name], kind)
        elif name != SCENARIO:
            raise MalformedError(f"{path}: column {name} is missing; it has {', '.join(table.column_names)}")
    if table.num_rows == 0:
        raise MalformedError(f"{path}: column TRANSACTION_ID has no rows")
    _check(path, "CUSTOMER_ID", columns, lambda c: _outside(c, 0, CUSTOMERS - 1), f"0 to {CUSTOMERS - 1}")
    _check(path, "TERMINAL_ID", columns, lambda c: _outside(c, 0, TERMINALS - 1), f"0 to {TERMINALS - 1}")
    _check(path, "TX_FRAUD", columns, lambda c: _outside(c, 0, 1), "0 or 1")
    _check(
        path,
        "TX_AMOUNT",
        columns,
        lambda c: pc.or_(pc.invert(pc.is_finite(c)), pc.less(c, 0)),
        "finite and not negative",
    )
    _check(path, "TX_DATETIME", columns, lambda c: pc.less(c.cast(pa.int64()), DAY), "after 1970-01-01")
    return pa.table(columns).sort_by("TX_DATETIME")


def days_of(table: Table) -> tuple[int, int]:
    """Midnight (UTC, Unix seconds) of the first day of a sorted table, and how many days it spans."""
    first, last = (table["TX_DATETIME"][i].cast(pa.int64()).as_py() // DAY for i in (0, -1))
    return first * DAY, last - first + 1


def issued_by(table: Table, issuer: int) -> Table:
    """The transactions of one issuer's customers: those whose CUSTOMER_ID mod ISSUERS is `issuer`."""
    return table.filter(pc.equal(pc.bit_wise_and(table["CUSTOMER_ID"], ISSUERS - 1), issuer))


def _read(path: Path) -> Table:
    wanted = set(SCHEMA)
    try:
        if path.suffix == ".csv":
            return pyarrow.csv.read_csv(path)
        if path.suffix == ".parquet":
            names = pyarrow.parquet.read_schema(path).names
            return pyarrow.parquet.read_table(
                path, columns=[name for name in names if name in wanted] or None
            )
    except FileNotFoundError:
        raise MalformedError(f"{path}: there is no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise MalformedError(f"{path}: not a readable {path.suffix[1:]} file: {error}") from error
    raise MalformedError(f"{path}: the name must end in .csv or .parquet")


def _column(path: Path, name: str, column: Any, kind: Any) -> Any:
    if column.null_count:
        row = pc.index(pc.is_null(column), value=True).as_py()
        raise MalformedError(f"{path}: column {name} has no value in row {row + 1}")
    try:
        if kind == pa.timestamp("s"):
            if not pa.types.is_timestamp(column.type):
                raise pa.ArrowInvalid(f"its type is {column.type}, not a date and time")
            # Fractions of a second are cut off; a zone only says how the same instant was written.
            return column.cast(pa.timestamp("s", tz=column.type.tz), safe=False).cast(kind)
        return column.cast(kind)
    except pa.ArrowException as error:
        raise MalformedError(f"{path}: column {name} is not of type {kind}: {error}") from error


def _outside(column: Any, low: int, high: int) -> Any:
    return pc.or_(pc.less(column, low), pc.greater(column, high))


def _check(path: Path, name: str, columns: dict[str, Any], wrong: Any, rule: str) -> None:
    row = pc.index(wrong(columns[name]), value=True).as_py()
    if row >= 0:
        raise MalformedError(f"{path}: column {name} must be {rule}; row {row + 1} is not")
