"""What a benchmark found: one object each in report.json, one row each in the table.

Invariants: `ratio` is `value` ÷ `baseline`, both medians over the same interleaved runs, and `spread` the
lowest and highest ratio of a single pair of runs; an aim is a bound on the ratio, "at least" where more is
better and "at most" where less is. Nothing here fails a run: a missed aim is shown, not raised.
"""

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table


@dataclass(frozen=True)
class Comparison:
    """Runs of a subject and its baseline, taken in turns: the i-th of both belong together."""

    values: Sequence[float]
    baselines: Sequence[float]

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def baseline(self) -> float:
        return statistics.median(self.baselines)

    @property
    def spread(self) -> tuple[float, float]:
        ratios = [value / baseline for value, baseline in zip(self.values, self.baselines, strict=True)]
        return min(ratios), max(ratios)


@dataclass(frozen=True)
class Result:
    """One benchmark. `what` and `against` say in words what value and baseline are.

    `measured_on` names the side of the wire where the time was taken: "client" or "server". `batch` counts
    items a call, `in_flight` calls at once. `details` holds further measurements, numbers only.
    """

    name: str
    what: str
    against: str
    unit: str
    runs: Comparison
    measured_on: str
    batch: int
    in_flight: int
    at_least: float | None = None
    at_most: float | None = None
    details: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return self.runs.value / self.runs.baseline

    @property
    def met(self) -> bool | None:
        """Whether the ratio keeps the aim; None where there is no aim."""
        if self.at_least is not None:
            return self.ratio >= self.at_least
        if self.at_most is not None:
            return self.ratio <= self.at_most
        return None

    @property
    def aim(self) -> str | None:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return None if self.at_most is None else f"<= {self.at_most:g}"

    def as_json(self) -> dict[str, object]:
        low, high = self.runs.spread
        return {
            "what": self.what,
            "against": self.against,
            "value": round(self.runs.value, 6),
            "baseline": round(self.runs.baseline, 6),
            "ratio": round(self.ratio, 4),
            "unit": self.unit,
            "aim": self.aim,
            "aim_met": self.met,
            "batch": self.batch,
            "in_flight": self.in_flight,
            "measured_on": self.measured_on,
            "runs": len(self.runs.values),
            "spread": [round(low, 4), round(high, 4)],
            "details": {key: round(number, 6) for key, number in self.details.items()},
            "machine": f"{os.cpu_count()} cpus, {platform.machine()}, Python {platform.python_version()}",
        }


def write(path: Path, results: Iterable[Result]) -> None:
    """Write the report: benchmark name → object."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {result.name: result.as_json() for result in results}
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def table(results: Iterable[Result]) -> Table:
    """The report for people."""
    rows = Table(title="Benchmarks: each value against its baseline, measured in turns in one run")
    rows.add_column("benchmark")
    for heading in ("value", "baseline", "ratio", "aim", "spread"):
        rows.add_column(heading, justify="right", no_wrap=True)
    rows.add_column("what ÷ against what")
    for result in results:
        low, high = result.runs.spread
        colour = {True: "green", False: "red", None: "default"}[result.met]
        rows.add_row(
            result.name,
            _number(result.runs.value),
            _number(result.runs.baseline),
            f"[{colour}]{result.ratio:.3f}[/]",
            result.aim or "",
            f"{low:.2f}–{high:.2f}",
            f"{result.what} ÷ {result.against} \\[{result.unit}; {result.measured_on} side, "
            f"batch {result.batch}, {result.in_flight} in flight]",
        )
    return rows


def details(result: Result) -> Table:
    """The further measurements of one benchmark."""
    rows = Table(title=result.name, show_header=False)
    for key, number in result.details.items():
        rows.add_row(key, _number(number))
    return rows


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
