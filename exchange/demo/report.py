"""What came of a run: `report.json` for machines, a summary for people.

Invariants: both say the same numbers; the file has the keys that `Outcome.document` lists, whatever happened.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from exchange.demo.cashout import Matching, percentile
from exchange.demo.caught import Caught
from exchange.demo.inquiry import Inquiry
from exchange.demo.proceedings import Proceedings
from exchange.demo.ranking import Ranking
from exchange.demo.scan import Findings

VIEWS = ("own_view", "with_exchange")
_BAR = 20
_EVIDENCE = {
    "own_view": "own reports",
    "with_exchange": "with the exchange",
    "own_count": "(own, merely counted)",
    "pooled_count": "(all, merely counted)",
}


@dataclass(frozen=True)
class MemberOutcome:
    """What one member did."""

    id: str
    kind: str
    group: str
    transactions: int
    signals_published: int
    lookups: int
    terminals_looked_up: int
    hits: int


@dataclass
class Outcome:
    """A whole run.

    `rankings` maps a kind of fraud ("all", "scenario_2") to a ranking for each of VIEWS, `yardstick` to one
    for each of `reference.VIEWS`.
    """

    source: str
    first_day: str
    days: int
    evaluated_from_day: int
    members: Sequence[MemberOutcome]
    rankings: Mapping[str, Mapping[str, Ranking]]
    yardstick: Mapping[str, Mapping[str, Ranking]]
    matching: Matching
    caught: Caught
    proceedings: Proceedings | None
    """What came of the match that was carried through due process, if one called for it."""
    inquiry: Inquiry | None
    """What came of law enforcement's asking about another match, if there was one."""
    log_size: int
    log_verified: bool
    log_entries: Mapping[str, int]
    scan: Findings
    raw_identifiers: int
    raw_identifiers_found: int
    control_found: bool
    notes: Sequence[str] = ()
    stages: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def failures(self) -> list[str]:
        """What must not be, in words; empty for a good run."""
        found = []
        if not self.log_verified:
            found.append("the log did not verify offline")
        if self.raw_identifiers_found:
            found.append(f"{self.raw_identifiers_found} raw identifiers were found at the hub")
        if not self.matching.matches:
            found.append("nobody was told of a match")
        if self.proceedings is None:
            found.append("no match called for a case")
        else:
            found += self.proceedings.failures()
        if self.inquiry is None:
            found.append("there was no match for law enforcement to ask about")
        else:
            found += self.inquiry.failures()
        if not self.control_found:
            found.append("the planted control was not found, so the scan proves nothing")
        return found

    def document(self) -> dict[str, Any]:
        """The content of `report.json`."""
        precision: dict[str, Any] = {}
        for kind, views in self.rankings.items():
            one = views[VIEWS[0]]
            found: dict[str, Any] = _precisions(views)
            found["yardstick"] = _precisions(self.yardstick[kind])
            found |= {"transactions": one.transactions, "frauds": one.frauds}
            if kind == "all":
                precision |= found
            else:
                precision[kind] = found
        return {
            "source": self.source,
            "replay": {
                "first_day": self.first_day,
                "days": self.days,
                "evaluated_from_day": self.evaluated_from_day,
            },
            "members": len(self.members),
            "by_member": [vars(member) for member in self.members],
            "transactions": sum(member.transactions for member in self.members),
            "signals_published": sum(member.signals_published for member in self.members),
            "lookups": sum(member.lookups for member in self.members),
            "terminals_looked_up": sum(member.terminals_looked_up for member in self.members),
            "hits": sum(member.hits for member in self.members),
            "average_precision": precision,
            "detector": self.caught.document(),
            "matching": self.matching.document(),
            "cases": None if self.proceedings is None else self.proceedings.document(),
            "disclosure": {"package_verified": False} if self.inquiry is None else self.inquiry.document(),
            "log": {
                "size": self.log_size,
                "verified": self.log_verified,
                "entries": dict(self.log_entries),
            },
            "raw_identifiers_found_at_hub": self.raw_identifiers_found,
            "scan": {
                "raw_identifiers": self.raw_identifiers,
                "files": self.scan.files,
                "bytes": self.scan.bytes_read,
                "control_found": self.control_found,
            },
            "seconds": round(self.seconds, 1),
            "stages": {name: round(seconds, 1) for name, seconds in self.stages.items()},
            "notes": list(self.notes),
        }

    def write(self, path: Path) -> None:
        """Write `report.json`."""
        path.write_text(json.dumps(self.document(), ensure_ascii=False, indent=2) + "\n", "utf-8")


def show(outcome: Outcome, console: Console, *, places: Mapping[str, Path | str]) -> None:
    """Print the summary; `places` says what is to be found where."""
    console.print()
    console.print(_members(outcome))
    console.print(_precision(outcome))
    console.print(outcome.caught.table())
    console.print(_matching(outcome.matching))
    if outcome.proceedings is not None:
        console.print(outcome.proceedings.table())
    if outcome.inquiry is not None:
        console.print(outcome.inquiry.table())
    facts = Table.grid(padding=(0, 2))
    facts.add_row(
        "log",
        f"{outcome.log_size:,} entries, " + ("verified offline" if outcome.log_verified else "NOT VERIFIED"),
    )
    entries = ", ".join(f"{count:,} {name}" for name, count in sorted(outcome.log_entries.items()))
    facts.add_row("", entries)
    facts.add_row(
        "raw identifiers at the hub",
        f"{outcome.raw_identifiers_found} of {outcome.raw_identifiers:,}, searched in {outcome.scan.files} "
        f"files, {outcome.scan.bytes_read / 1e6:,.1f} MB; the planted control was "
        + ("found" if outcome.control_found else "NOT FOUND"),
    )
    facts.add_row(
        "time",
        f"{outcome.seconds:,.0f} s: "
        + ", ".join(f"{name} {seconds:,.0f}" for name, seconds in outcome.stages.items()),
    )
    for name, place in places.items():
        facts.add_row(name, str(place))
    console.print(facts)
    for note in outcome.notes:
        console.print(f"[dim]{note}[/dim]")
    for failure in outcome.failures():
        console.print(Panel(failure, title="failed", style="bold red"))


def _members(outcome: Outcome) -> Table:
    title = f"{Path(outcome.source).name}: {outcome.days} days from {outcome.first_day}"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("member", "kind"):
        table.add_column(heading, no_wrap=True)
    for heading in ("payments", "signals", "look-ups", "asked", "hits"):
        table.add_column(heading, justify="right", no_wrap=True)
    for member in outcome.members:
        numbers = (
            member.transactions,
            member.signals_published,
            member.lookups,
            member.terminals_looked_up,
            member.hits,
        )
        table.add_row(member.id, member.kind.replace("_", " "), *(f"{number:,}" for number in numbers))
    return table


def _precision(outcome: Outcome) -> Table:
    table = Table(
        title=f"Average precision of 28-day terminal risk, from day {outcome.evaluated_from_day + 1} on",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for heading in ("frauds", "evidence"):
        table.add_column(heading, no_wrap=True)
    table.add_column("AP", justify="right", no_wrap=True)
    table.add_column("", width=_BAR)
    rows = []
    for kind, views in outcome.rankings.items():
        shown = {**views, **outcome.yardstick[kind]}
        frauds = next(iter(views.values())).frauds
        for place, (view, ranking) in enumerate(shown.items()):
            label = f"{kind.replace('_', ' ')} ({frauds:,})" if place == 0 else ""
            rows.append((label, _EVIDENCE[view], ranking.average_precision()))
    longest = max((value for *_, value in rows if value), default=1.0)
    for label, evidence, value in rows:
        table.add_row(
            label,
            evidence,
            "none to rank" if value is None else f"{value:.4f}",
            "█" * round((value or 0) / longest * _BAR),
        )
    return table


def _matching(matching: Matching) -> Table:
    title = f"Actors who cash out: {matching.found.planted} planted in a city of {matching.rows:,} flows"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("who looks", no_wrap=True)
    for heading in ("precision", "recall"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", width=_BAR)
    found = matching.document()
    views = {"with the exchange": found}
    views |= {f"{member} alone": each for member, each in matching.compared["alone"].items()}
    views["(all raw data together)"] = matching.compared["pooled"]
    for name, each in views.items():
        bar = "█" * round(each["recall"] * _BAR)
        table.add_row(name, f"{each['precision']:.3f}", f"{each['recall']:.3f}", bar)
    patterns = ", ".join(f"{count} {pattern}" for pattern, count in matching.by_pattern.items())
    share = matching.published / matching.rows
    table.caption = (
        f"{matching.matches} matches: {patterns}. {matching.published:,} signals from {share:.1%} of the "
        f"flows; a match is told {percentile(matching.seconds, 50)} s (median) and at most "
        f"{percentile(matching.seconds, 99)} s (p99) after its last signal."
    )
    table.caption_justify = "left"
    return table


def _precisions(views: Mapping[str, Ranking]) -> dict[str, float | None]:
    values = {view: ranking.average_precision() for view, ranking in views.items()}
    return {view: None if value is None else round(value, 6) for view, value in values.items()}


def notes(*, with_scenarios: bool) -> list[str]:
    """What a reader must know to judge the average precision."""
    found = [
        "Both views rank by log-odds of the hub's model: a report fades with a half-life of 28 days and is "
        "forgotten 28 days after it became known, 7 whole days after the payment. The exchange's part is the "
        "score in the hub's answers alone: cut off to a permille, capped for each group, without the asker's "
        "own reports. The yardstick counts the same reports, from the file, without fading, caps or cutting "
        "off. Fading ranks better than counting: a terminal reported weeks ago may be sound again.",
    ]
    if with_scenarios:
        found.append(
            "All frauds include those that no terminal's past foretells, such as single dear payments and "
            "leaked cards; scenario 2, compromised terminals, is what terminal risk can find."
        )
    return found
