"""Files of flows: three forms, one meaning; what is not a flow is refused, and no error holds a value."""

import csv
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signalexchange.flows import Flow, Kind, Logistics, in_order, read_flows
from signalexchange.signals import Subject
from signalexchange.tables import SourceError
from signalexchange.v1.identifier_pb2 import IdentifierType as Type

ROW: dict[str, Any] = {
    "time": "2026-11-01T10:00:00+08:00",
    "payer_type": "phone",
    "payer": "+86 138 1234 5678",
    "payee_type": "merchant",
    "payee": "91350211M000100Y46",
    "amount": "1880.50",
    "kind": "purchase",
    "credit": "true",
    "limit": "12000",
    "order": "o-17",
    "logistics": "none",
    "device": "123E4567-E89B-42D3-A456-426614174000",
    "address": "CN|350211|1 Bamboo Lane",
    "payer_links": "iban:DE89370400440532013000; card:4111111111111111",
    "payee_links": "phone:+8613812345679",
    "reference": "tx-1",
}
FOUR = {name: ROW[name] for name in ("time", "payer", "payee", "amount")}
PHONE, MERCHANT = Type.IDENTIFIER_TYPE_PHONE, Type.IDENTIFIER_TYPE_MERCHANT
ACCOUNT = Type.IDENTIFIER_TYPE_ACCOUNT


def write_csv(path: Path, *rows: dict[str, Any]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(path: Path, *types: int) -> list[Flow]:
    flows = []
    for flow in read_flows(path, *types):
        if isinstance(flow, SourceError):
            raise flow
        flows.append(flow)
    return flows


def test_three_forms_of_the_same_content_read_alike(tmp_path: Path) -> None:
    typed = {
        **ROW,
        "amount": 1880.5,
        "credit": True,
        "limit": 12_000,
        "payer_links": ["iban:DE89370400440532013000", "card:4111111111111111"],
        "payee_links": ["phone:+8613812345679"],
    }
    table = pa.Table.from_pylist([{**typed, "time": datetime(2026, 11, 1, 2, tzinfo=UTC)}])
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text(json.dumps(typed) + "\n")
    write_csv(tmp_path / "a.csv", ROW)
    flows = [read(tmp_path / name) for name in ("a.csv", "a.jsonl", "a.parquet")]
    assert flows[0] == flows[1] == flows[2]
    (flow,) = flows[0]
    assert (flow.time, flow.amount, flow.kind, flow.credit, flow.limit) == (
        1_793_498_400, Decimal("1880.5"), Kind.PURCHASE, True, Decimal(12_000),
    )  # fmt: skip
    assert (flow.payer, flow.customer) == (Subject(PHONE, "+8613812345678"),) * 2
    assert flow.logistics is Logistics.NONE
    assert [link.type for link in (*flow.payer_links, *flow.payee_links)] == [4, 3, PHONE]
    assert flow.device is not None
    assert flow.device.value == "123e4567-e89b-42d3-a456-426614174000"
    assert flow.place == f"{tmp_path / 'a.csv'}, row 1"
    assert "138" not in repr(flow)
    assert "o-17" not in repr(flow)


def test_four_columns_are_enough(tmp_path: Path) -> None:
    (flow,) = read(write_csv(tmp_path / "a.csv", FOUR), PHONE, MERCHANT)
    assert (flow.kind, flow.credit, flow.limit, flow.reference) == (Kind.PURCHASE, True, None, "a.csv:1")
    transfer = {**FOUR, "payer": "bank:0001", "payee": "bank:0002"}
    (flow,) = read(write_csv(tmp_path / "b.csv", transfer), ACCOUNT, ACCOUNT)
    assert (flow.kind, flow.credit) == (Kind.TRANSFER, False)


def test_the_refund_marker_makes_a_refund_to_the_customer(tmp_path: Path) -> None:
    row = {**ROW, "payer": ROW["payee"], "payee": ROW["payer"], "payer_type": "merchant"}
    row = {**row, "payee_type": "phone", "kind": "", "refund": "true"}
    (flow,) = read(write_csv(tmp_path / "a.csv", row))
    assert (flow.kind, flow.customer.type) == (Kind.REFUND, PHONE)
    with pytest.raises(SourceError, match=r"column kind: must be refund"):
        read(write_csv(tmp_path / "b.csv", {**row, "kind": "transfer"}))


def test_an_empty_credit_cell_says_no_where_the_column_is_there(tmp_path: Path) -> None:
    (flow,) = read(write_csv(tmp_path / "a.csv", {**ROW, "credit": ""}))
    assert not flow.credit


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("time", ""),
        ("time", "2026-11-01T10:00:00"),
        ("payer", "13812345678"),
        ("payer_type", "telephone"),
        ("payee", "91350211M000100Y41"),
        ("payee_type", "device"),
        ("payee_type", ""),
        ("amount", "0"),
        ("amount", "-5"),
        ("amount", "1,880"),
        ("kind", "gift"),
        ("credit", "perhaps"),
        ("limit", "0"),
        ("logistics", "lost"),
        ("device", "my phone"),
        ("address", "somewhere"),
        ("payer_links", "4111111111111111"),
        ("payee_links", "phone:13812345679"),
    ],
)
def test_errors_lead_to_row_and_column_and_hold_no_value(tmp_path: Path, column: str, value: str) -> None:
    path = write_csv(tmp_path / "a.csv", ROW, {**ROW, column: value}, ROW)
    first, error, last = read_flows(path)
    assert isinstance(first, Flow)
    assert isinstance(last, Flow)
    assert isinstance(error, SourceError)
    assert (error.row, error.column) == (2, column)
    if len(value) > 3:
        assert value not in str(error).removeprefix(str(path))


def test_a_flow_to_oneself_is_refused(tmp_path: Path) -> None:
    row = {**ROW, "payee_type": "phone", "payee": "+8613812345678", "kind": "transfer"}
    (error,) = read_flows(write_csv(tmp_path / "a.csv", row))
    assert isinstance(error, SourceError)
    assert (error.column, error.why) == ("payee", "is the payer: a flow to oneself moves nothing")


def test_columns_are_checked_before_rows(tmp_path: Path) -> None:
    without = {name: cell for name, cell in ROW.items() if name != "payee_type"}
    for row, types, why in (
        ({**ROW, "ammount": "1"}, (), "unknown column ammount"),
        ({k: v for k, v in ROW.items() if k != "time"}, (), "column time is missing"),
        (without, (), "the type of payee is missing"),
        (ROW, (PHONE,), "the type of payer is given twice"),
    ):
        with pytest.raises(SourceError, match=why):
            read(write_csv(tmp_path / "a.csv", row), *types)


@given(st.permutations(range(6)))
def test_rows_of_one_time_have_one_order(order: list[int]) -> None:
    flows = [
        Flow(
            60 * (n // 3), Subject(ACCOUNT, f"a:{n % 2}"), Subject(ACCOUNT, "a:9"), Decimal(n), Kind.TRANSFER
        )
        for n in range(6)
    ]
    assert in_order([flows[place] for place in order]) == in_order(flows)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(ROW)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
        max_leaves=4,
    ),
)
def test_any_json_in_any_column_is_a_flow_or_a_named_error(
    tmp_path: Path, column: str, value: object
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({**ROW, column: value}) + "\n")
    for flow in read_flows(path):
        assert isinstance(flow, Flow) or flow.row == 1
