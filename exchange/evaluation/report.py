"""What came of an evaluation: `report.json` for machines, a table and a picture for people.

Invariants: all three say the same numbers; scores of cities are added up, so that each actor weighs the same;
the file names the seeds and the digest they follow from.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from exchange.evaluation.actors import Score
from exchange.evaluation.city import PRECISION, Found, Recalls, Share
from exchange.evaluation.picture import bars

RECALL: Final = 0.95
ALONE: Final = 0.35
ORDINARY: Final = 0.02
VIEWS: Final = ("with the exchange", "best member alone", "all raw data")


def total(scores: Sequence[Score]) -> Score:
    """Scores of several cities as one."""
    return reduce(add, scores)


def classes(found: Sequence[Found], of: Callable[[Found], Mapping[str, Recalls]]) -> dict[str, Recalls]:
    """Recall by class over all cities."""
    names = sorted({name for each in found for name in of(each)})
    return {
        name: Recalls(*map(total, zip(*(of(each)[name] for each in found if name in of(each)), strict=True)))
        for name in names
    }


def shares(found: Sequence[Found]) -> dict[str, Share]:
    """Published share of ordinary rows by member, over all cities."""
    return {
        member: Share(*map(sum, zip(*(each.shares[member] for each in found), strict=True)))
        for member in found[0].shares
    }


def document(found: Sequence[Found], digest: str, seconds: float) -> dict[str, Any]:
    """The content of `report.json`."""
    best = max(found[0].alone, key=lambda member: total([each.alone[member] for each in found]).recall)
    published = shares(found)
    return {
        "seeds": [each.seed for each in found],
        "parameters_sha256": digest,
        "exchange": _score(total([each.exchange for each in found])),
        "alone": {member: _score(total([each.alone[member] for each in found])) for member in found[0].alone},
        "best_member_alone": best,
        "pooled": _score(total([each.pooled for each in found])),
        "typologies": _classes(classes(found, lambda each: each.typologies)),
        "variants": _classes(classes(found, lambda each: each.variants)),
        "published": {
            "share_of_ordinary_rows": round(Share(*map(sum, zip(*published.values(), strict=True))).share, 5),
            "by_member": {member: round(each.share, 5) for member, each in published.items()},
        },
        "cities": [
            {
                "seed": each.seed,
                "exchange": _score(each.exchange),
                "missed": list(each.missed),
                "accused": list(each.accused),
            }
            for each in found
        ],
        "seconds": round(seconds, 1),
    }


def _score(score: Score) -> dict[str, Any]:
    return {
        "precision": round(score.precision, 4),
        "recall": round(score.recall, 4),
        "found": score.found,
        "planted": score.planted,
        "named": score.named,
    }


def _classes(found: Mapping[str, Recalls]) -> dict[str, Any]:
    return {
        name: {"actors": each.exchange.planted}
        | {f"recall_{view}": round(score.recall, 4) for view, score in each._asdict().items()}
        for name, each in found.items()
    }


def write(report: Mapping[str, Any], found: Sequence[Found], folder: Path) -> None:
    """Write `report.json` and `recall.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, ensure_ascii=False, indent=2) + "\n"
    (folder / "report.json").write_text(text, "utf-8")
    rows: dict[str, Sequence[float]] = {
        "all actors": (
            report["exchange"]["recall"],
            report["alone"][report["best_member_alone"]]["recall"],
            report["pooled"]["recall"],
        )
    }
    for of in (lambda each: each.typologies, lambda each: each.variants):
        for name, each in classes(found, of).items():
            rows[f"{name} ({each.exchange.planted})"] = tuple(score.recall for score in each)
    title = f"Recall of planted actors at a precision of {PRECISION}, {len(found)} cities"
    (folder / "recall.svg").write_text(bars(title, VIEWS, rows), "utf-8")


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print the table."""
    table = Table(title=f"{len(report['seeds'])} cities", title_justify="left", box=SIMPLE)
    table.add_column("", no_wrap=True)
    for heading in ("actors", "exchange", "best alone", "all raw"):
        table.add_column(heading, justify="right", no_wrap=True)
    best = report["alone"][report["best_member_alone"]]
    views = (report["exchange"], best, report["pooled"])
    table.add_row("precision", "", *(f"{view['precision']:.3f}" for view in views))
    table.add_row("recall", str(views[0]["planted"]), *(f"{view['recall']:.3f}" for view in views))
    for part in ("typologies", "variants"):
        table.add_section()
        for name, row in report[part].items():
            values = (row[f"recall_{view}"] for view in Recalls._fields)
            table.add_row(f"recall, {name}", str(row["actors"]), *(f"{value:.3f}" for value in values))
    console.print(table)
    alone = ", ".join(f"{member} {each['recall']:.3f}" for member, each in report["alone"].items())
    console.print(f"recall alone: {alone}")
    console.print(
        f"ordinary rows published: {report['published']['share_of_ordinary_rows']:.2%} ("
        + ", ".join(f"{member} {share:.2%}" for member, share in report["published"]["by_member"].items())
        + ")"
    )
    for failure in unmet(report):
        console.print(f"[bold]aim not met:[/bold] {failure}")


def unmet(report: Mapping[str, Any]) -> list[str]:
    """The aims that were not reached, in words."""
    best = report["alone"][report["best_member_alone"]]["recall"]
    share = report["published"]["share_of_ordinary_rows"]
    checks = (
        (report["exchange"]["recall"] >= RECALL, f"recall with the exchange below {RECALL}"),
        (report["exchange"]["precision"] >= PRECISION, f"precision with the exchange below {PRECISION}"),
        (best < ALONE, f"a member alone reaches a recall of {ALONE}"),
        (share < ORDINARY, f"{ORDINARY:.0%} of ordinary rows or more are published"),
    )
    return [text for met, text in checks if not met]
