"""The report of the benchmarks has its promised form; how fast anything is, no test asks."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.bench.__main__ import main
from tests.bench.report import Comparison, Result


def result(at_least: float | None = None, at_most: float | None = None) -> Result:
    return Result(
        name="x",
        what="a",
        against="b",
        unit="1/s",
        runs=Comparison([4.0, 9.0, 6.0], [10.0, 10.0, 12.0]),
        measured_on="client",
        batch=1,
        in_flight=64,
        at_least=at_least,
        at_most=at_most,
    )


def test_a_quick_run_writes_one_object_a_benchmark(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(main, ["--quick", "--only", "custodian", "--folder", str(tmp_path)])

    assert outcome.exit_code == 0, outcome.output
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert list(report) == ["custodian"]
    found = report["custodian"]
    assert {"value", "baseline", "ratio", "unit", "aim", "batch", "in_flight", "measured_on"} <= found.keys()
    assert found["value"] > 0
    assert found["ratio"] == pytest.approx(found["value"] / found["baseline"], rel=1e-3)
    assert found["spread"][0] <= found["spread"][1]
    assert found["measured_on"] == "server"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    assert "custodian" in outcome.output


def test_the_ratio_is_of_the_medians_and_the_spread_of_the_pairs() -> None:
    assert result().ratio == pytest.approx(0.6)
    assert result().as_json()["spread"] == [0.4, 0.9]


def test_an_aim_is_a_bound_on_the_ratio() -> None:
    assert result().met is None
    assert result(at_least=0.6).met is True
    assert result(at_least=0.61).met is False
    assert result(at_most=0.6).met is True
    assert result(at_most=0.59).met is False


def test_an_unknown_benchmark_is_refused() -> None:
    assert CliRunner().invoke(main, ["--only", "nothing"]).exit_code == 2
