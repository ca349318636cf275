"""A city in a folder: every member's flows and what it knows to be shared, and apart from them the truth.

Invariants: the same city gives the same bytes.
"""

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from exchange.scenario.city import City
from exchange.scenario.views import Row

SCHEMA = pa.schema(
    [
        pa.field("time", pa.int64(), nullable=False),
        pa.field("payer", pa.string(), nullable=False),
        pa.field("payee", pa.string(), nullable=False),
        pa.field("amount", pa.float64(), nullable=False),
        pa.field("payer_type", pa.string(), nullable=False),
        pa.field("payee_type", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("credit", pa.bool_(), nullable=False),
        pa.field("limit", pa.float64()),
        pa.field("order", pa.string()),
        pa.field("logistics", pa.string()),
        pa.field("device", pa.string()),
        pa.field("address", pa.string()),
        pa.field("payer_links", pa.string()),
        pa.field("payee_links", pa.string()),
        pa.field("reference", pa.string(), nullable=False),
    ]
)
"""The columns of a flow file, in the order of `Row`."""

TRUTH = "truth.json"
FLOWS = "flows.parquet"
SHARED = "shared.csv"


def write(city: City, folder: Path) -> None:
    """Write what each member knows into `<member>/`, and `truth.json`, into `folder`; all is replaced."""
    for member, rows in city.views.items():
        (folder / member).mkdir(parents=True, exist_ok=True)
        write_member(rows, city.shared, folder / member)
    (folder / TRUTH).write_text(truth_text(city), "utf-8")


def write_member(rows: Sequence[Row], shared: Sequence[str], folder: Path) -> None:
    """Write one member's flows, and what it knows to be shared ("type:value"), into its folder."""
    pyarrow.parquet.write_table(table(rows), folder / FLOWS)
    with (folder / SHARED).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("type", "value"), *(each.split(":", 1) for each in shared)])


def table(rows: Any) -> Any:
    """Rows of one member as a pyarrow.Table of SCHEMA."""
    columns = zip(*rows, strict=True) if rows else [()] * len(Row._fields)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.table(arrays, schema=SCHEMA)


def truth_text(city: City) -> str:
    """The truth as JSON: seed, size, entities by id, cases."""
    truth = city.truth
    document = {
        "seed": city.seed,
        "size": dataclasses.asdict(city.size),
        "entities": {id_: dataclasses.asdict(entity) for id_, entity in truth.entities.items()},
        "cases": [dataclasses.asdict(case) for case in truth.cases],
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"
