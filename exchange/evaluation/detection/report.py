"""What came of an evaluation of detectors: `detector.json` for machines, tables and pictures for people.

Invariants: all of them say the same numbers; aims that were missed are said, not hidden.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exchange.evaluation.detection.evaluating import Evaluated
from exchange.evaluation.detection.plan import WAYS, Plan
from exchange.evaluation.picture import bars

REFERENCE: Final = {
    "roc_auc": 0.900,
    "average_precision": 0.711,
    "new_roc_auc": 0.857,
    "new_average_precision": 0.646,
}
"""Figures known for a random forest on pooled raw data like this, trained on one week and tested on the week
after the next; not reproduced here. The second pair leaves out cards known to be compromised."""
MEASURES: Final = {
    "roc_auc": "ROC AUC",
    "average_precision": "AP",
    "new_roc_auc": "ROC AUC, new cards",
    "new_average_precision": "AP, new cards",
    "card_precision": "precision, {} cards a day",
}
"""Cards are new that are not known to be compromised."""
COLUMNS: Final = ("rules", "alone", "exchange", "pooled")
"""The names of WAYS, short."""


def document(found: Sequence[Evaluated], plan: Plan) -> dict[str, Any]:
    """The content of `detector.json`."""
    return {
        "delay_days": plan.settings.delay // 86_400,
        "cards_a_day": plan.cards,
        "reference_random_forest": REFERENCE,
        "data": [_data(each) for each in found],
    }


def _data(found: Evaluated) -> dict[str, Any]:
    windows: list[dict[str, Any]] = [
        {
            "from": _day(window.start),
            "to": _day(window.end - 1),
            "transactions": window.payments,
            "frauds": window.frauds,
            "ways": {way: _rounded(asdict(figures)) for way, figures in window.ways.items()},
        }
        for window in found.windows
    ]
    return {
        "source": found.source,
        "comparable": found.comparable,
        "transactions": found.payments,
        "frauds": found.frauds,
        "exchange": dict(found.exchange),
        "models": {way: {"took_over": taken, "tried": tried} for way, (taken, tried) in found.models.items()},
        "windows": windows,
        "mean": {way: _mean([window["ways"][way] for window in windows]) for way in WAYS},
        "seconds": round(found.seconds, 1),
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _rounded(each) for name, each in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def _mean(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean over windows of each number; counts are left out."""
    return {
        name: _mean([value[name] for value in values])
        if isinstance(first, dict)
        else round(fmean(value[name] for value in values), 4)
        for name, first in values[0].items()
        if not isinstance(first, int)
    }


def _day(time: int) -> str:
    return datetime.datetime.fromtimestamp(time, datetime.UTC).date().isoformat()


def write(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write `detector.json` and a picture of each set of data; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "detector.json"]
    files[0].write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n", "utf-8")
    for number, data in enumerate(report["data"], 1):
        rows = {
            f"{window['from'][5:]} to {window['to'][5:]}": [
                window["ways"][way]["average_precision"] for way in WAYS
            ]
            for window in data["windows"]
        }
        for kind in data["mean"]["alone"]["scenarios"]:
            rows[f"scenario {kind}, mean"] = [
                data["mean"][way]["scenarios"][kind]["average_precision"] for way in WAYS
            ]
        files.append(folder / f"detector-{number}.svg")
        title = f"Average precision, {data['source']}"
        files[-1].write_text(bars(title, list(WAYS.values()), rows), "utf-8")
    return files


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print a table for each set of data, and which aims were missed."""
    for data in report["data"]:
        title = f"{data['source']}: {data['transactions']:,} transactions, {data['frauds']:,} of them frauds"
        table = Table(title=escape(title), title_justify="left", box=SIMPLE, padding=(0, 1))
        table.add_column("", no_wrap=True)
        for heading in ("frauds", *COLUMNS):
            table.add_column(heading, justify="right", no_wrap=True)
        for window in data["windows"]:
            dates = f"{window['from'][5:]} to {window['to'][5:]}"
            values = [window["ways"][way]["average_precision"] for way in WAYS]
            _add(table, f"AP, {dates}", values, str(window["frauds"]))
        table.add_section()
        mean = data["mean"]
        for name, label in MEASURES.items():
            _add(table, label.format(report["cards_a_day"]), [mean[way][name] for way in WAYS])
        for kind in mean["alone"]["scenarios"]:
            for name, label in (("average_precision", "AP"), ("found", "cards found")):
                values = [mean[way]["scenarios"][kind][name] for way in WAYS]
                _add(table, f"{label}, scenario {kind}", values)
        console.print(table)
        console.print("AP: average precision; below the line means over the windows", style="dim")
        if data["comparable"]:
            known = ", ".join(f"{MEASURES[name]} {value:.3f}" for name, value in REFERENCE.items())
            console.print(f"for reference, a random forest on pooled raw data: {known}")
        did = data["exchange"]
        console.print(
            f"{did['signals']:,} signals published, {did['asked']:,} terminals asked about, "
            f"{did['hits']:,} answers that held something; {data['seconds']:.0f} s"
        )
        for failure in unmet(data):
            console.print(f"[bold]aim not met:[/bold] {failure}")


def _add(table: Table, label: str, values: Sequence[float], frauds: str = "") -> None:
    table.add_row(label, frauds, *(f"{value:.3f}" for value in values))


def unmet(data: Mapping[str, Any]) -> list[str]:
    """The aims that a set of data missed, in words."""
    missed = []
    for window in data["windows"]:
        alone, exchange = (window["ways"][way]["average_precision"] for way in ("alone", "exchange"))
        name = f"{window['from']} to {window['to']}"
        if exchange <= alone:
            missed.append(f"{name}: average precision with the exchange not above that alone")
        if data["comparable"] and exchange < REFERENCE["average_precision"]:
            missed.append(
                f"{name}: average precision with the exchange below {REFERENCE['average_precision']}"
            )
    return missed
