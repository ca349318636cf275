"""Files of signals: three forms, one meaning; errors that lead to the cell and hold no value."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signalexchange.errors import ExchangeError
from signalexchange.signals import SignalDraft, record
from signalexchange.sources import read_drafts
from signalexchange.tables import SourceError

ROW: dict[str, Any] = {
    "subject_type": "phone",
    "subject": "+86 138 1234 5678",
    "code": "cash-out-suspected",
    "confidence": "80",
    "grade": "suspected",
    "first_seen": "2026-11-01T10:00:00+08:00",
    "last_seen": "1793498400",
    "amount": "1200.50",
    "counterparty_type": "merchant",
    "counterparty": "91350211M000100Y46",
    "links": "card:4111111111111111; email:a@example.com",
    "tlp": "green",
    "audience": "payment_provider;bank",
    "legal_basis": "statutory_duty",
    "valid_days": "90",
    "detail": "asked for cash",
    "reference": "case-1",
}


def write_csv(path: Path, *rows: dict[str, Any]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_three_forms_of_the_same_content_read_alike(tmp_path: Path) -> None:
    typed = {
        **ROW,
        "confidence": 80,
        "last_seen": 1793498400,
        "amount": 1200.5,
        "valid_days": 90,
        "links": ["card:4111111111111111", "email:a@example.com"],
        "audience": ["bank", "payment_provider"],
    }
    table = pa.Table.from_pylist([{**typed, "first_seen": datetime(2026, 11, 1, 2, tzinfo=UTC)}])
    pq.write_table(table, tmp_path / "a.parquet")
    paths = [
        write_csv(tmp_path / "a.csv", ROW),
        write_jsonl(tmp_path / "a.jsonl", typed),
        tmp_path / "a.parquet",
    ]
    drafts = [list(read_drafts(path)) for path in paths]
    assert [len(each) for each in drafts] == [1, 1, 1]
    assert len({record(draft) for (draft,) in drafts}) == 1
    (draft,) = drafts[0]
    assert draft.subject.value == "+8613812345678"
    assert draft.first_seen == 1793498400
    assert draft.expires_at == draft.last_seen + 90 * 86_400
    assert draft.audience == (1, 3)


def test_optional_columns_have_their_defaults(tmp_path: Path) -> None:
    names = ("subject_type", "subject", "code", "confidence", "grade", "first_seen", "last_seen", "reference")
    row = {name: ROW[name] for name in names} | {"expires_at": "2027-11-01T00:00:00Z"}
    (draft,) = read_drafts(write_csv(tmp_path / "a.csv", row))
    assert (draft.amount, draft.counterparty, draft.links, draft.audience, draft.detail) == (
        None,
        None,
        (),
        (),
        "",
    )
    assert (draft.tlp, draft.legal_basis) == (3, 4)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("subject", "13812345678"),
        ("subject", ""),
        ("subject_type", "telephone"),
        ("code", " "),
        ("confidence", "-3"),
        ("confidence", "eighty"),
        ("grade", "certain"),
        ("first_seen", "2026-11-01T10:00:00"),
        ("first_seen", "yesterday"),
        ("last_seen", "1793498400000000"),
        ("expires_at", "1893498400"),
        ("valid_days", "99999"),
        ("amount", "1,200"),
        ("amount", "nan"),
        ("counterparty", "91350211M000100Y41"),
        ("counterparty_type", ""),
        ("links", "4111111111111111"),
        ("links", "card:4111111111111112"),
        ("tlp", "red"),
        ("audience", "auditor"),
        ("legal_basis", "curiosity"),
        ("reference", ""),
    ],
)
def test_errors_lead_to_file_row_and_column_and_hold_no_value(
    tmp_path: Path, column: str, value: str
) -> None:
    bad = {**ROW, "expires_at": "", column: value}
    path = write_csv(tmp_path / "a.csv", {**ROW, "expires_at": ""}, bad)
    with pytest.raises(SourceError) as caught:
        list(read_drafts(path))
    assert (caught.value.row, caught.value.column) == (2, column)
    assert str(caught.value).startswith(f"{path}, row 2, column {column}: ")
    if len(value) > 3:
        assert value not in str(caught.value).removeprefix(str(path))


def test_unknown_and_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="unknown column confidance"):
        list(read_drafts(write_csv(tmp_path / "a.csv", {**ROW, "confidance": "1"})))
    with pytest.raises(SourceError, match="column code is missing"):
        list(read_drafts(write_csv(tmp_path / "a.csv", {k: v for k, v in ROW.items() if k != "code"})))
    with pytest.raises(SourceError, match="expires_at or valid_days"):
        list(
            read_drafts(
                write_jsonl(tmp_path / "a.jsonl", {k: v for k, v in ROW.items() if k != "valid_days"})
            )
        )


def test_a_file_without_a_header_shows_no_identifier(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",".join(ROW.values()) + "\n")
    with pytest.raises(SourceError, match="is the header missing") as caught:
        list(read_drafts(path))
    assert "138" not in str(caught.value).removeprefix(str(path))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    for name, content in {
        "a.csv": b"subject\xff\n",
        "a.jsonl": b"{\n",
        "b.jsonl": b"[1]\n",
        "c.jsonl": b"\xff\n",
        "a.parquet": b"junk",
        "a.xls": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match=name):
            list(read_drafts(tmp_path / name))
    with pytest.raises(SourceError, match=r"none\.csv"):
        list(read_drafts(tmp_path / "none.csv"))


def test_rows_are_read_one_by_one(tmp_path: Path) -> None:
    drafts = read_drafts(write_csv(tmp_path / "a.csv", ROW, ROW, {**ROW, "subject": "x"}))
    assert [type(next(drafts)) for _ in range(2)] == [SignalDraft, SignalDraft]
    with pytest.raises(SourceError, match="row 3"):
        next(drafts)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from([".csv", ".jsonl", ".parquet"]))
def test_junk_is_refused_and_nothing_else(tmp_path: Path, junk: bytes, suffix: str) -> None:
    path = tmp_path / f"junk{suffix}"
    path.write_bytes(junk)
    with pytest.raises(ExchangeError) if junk.strip() and suffix != ".jsonl" else _either():
        list(read_drafts(path))


class _either:  # noqa: N801 - reads like pytest.raises
    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is None or issubclass(kind, ExchangeError)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(ROW)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
        max_leaves=4,
    ),
)
def test_any_json_in_any_column_is_a_draft_or_a_named_error(
    tmp_path: Path, column: str, value: object
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", {**ROW, column: value})
    try:
        list(read_drafts(path))
    except SourceError as error:
        assert error.row == 1  # noqa: PT017
