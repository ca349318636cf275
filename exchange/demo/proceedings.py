"""What came of carrying one match of the demo through due process, for the report.

Invariants: advice and corrections are those that the other member got over the exchange; what was
acknowledged is counted on the log, by the auditor's evidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE
from rich.table import Table
from signalexchange.cases import parse_corrections
from signalexchange.entry_payloads import parse_header
from signalexchange.evidence import Opening, read_openings
from signalexchange.v1.log_entry_pb2 import CorrectionsEntry, EntryType
from signalexchange.v1.signal_service_pb2 import (
    ACTION_AUTHENTICATE,
    Action,
)

DAY: Final = 86_400
PURPOSE: Final = "credit-decision"
"""What the other member asks for: a purpose under which a match may call for an explanation."""
SUSPICION: Final = "cash-out-suspected"
"""What the acting member's officer says of the subject."""
ASKING: Final = ("bank", "payment_provider")
"""Kinds of members that decide on credit."""
_CAREFUL: Final = 30.0
"""Seconds for which news of a correction is waited."""
_FIRST, _SECOND, _THIRD = "officer-1", "officer-2", "officer-3"


@dataclass(frozen=True)
class Proceedings:
    """What came of it. Advice is what the other member was given about the subject."""

    match_id: str
    pattern: str
    acting: str
    other: str
    steps: Sequence[str]
    days: int
    before: str
    during: str
    after: str
    corrections: Mapping[str, int]
    """How often the other member was told of each change of a signal it had been shown."""
    acknowledged: int
    """How many of these it acknowledged, by the log."""
    lifted: bool

    def on(self, evidence: Path) -> "Proceedings":
        """The same with what the auditor's evidence says of acknowledgements."""
        corrections: set[int] = set()
        acknowledged: set[int] = set()
        for _, opening in read_openings(evidence):
            if not isinstance(opening, Opening) or opening.payload is None:
                continue
            header = parse_header(opening.header)
            if header.member != self.other:
                continue
            if header.type == EntryType.ENTRY_TYPE_CORRECTION:
                corrections.add(opening.index)
            elif header.type == EntryType.ENTRY_TYPE_CORRECTIONS:
                entry = CorrectionsEntry.FromString(opening.payload)
                acknowledged.update(parse_corrections(entry.statement).entries)
        return replace(self, acknowledged=len(corrections & acknowledged))

    @property
    def appeal_paused(self) -> bool:
        """Whether the appeal took the other member's advice back to a further authentication at most."""
        return _value(self.before) > ACTION_AUTHENTICATE >= _value(self.during)

    def document(self) -> dict[str, Any]:
        """The part of `report.json`."""
        return {
            "pattern": self.pattern,
            "acting_member": self.acting,
            "other_member": self.other,
            "steps": len(self.steps),
            "ladder": list(self.steps),
            "days": self.days,
            "advice_before": self.before,
            "advice_during_appeal": self.during,
            "advice_after": self.after,
            "appeal_paused": self.appeal_paused,
            "corrections": sum(self.corrections.values()),
            "corrections_by_change": dict(self.corrections),
            "acknowledged": self.acknowledged,
            "lifted": self.lifted,
        }

    def failures(self) -> list[str]:
        """What must not be, in words."""
        found = []
        if not self.appeal_paused:
            found.append(
                f"the appeal did not pause automated use: {self.other} was advised {self.before} before and "
                f"{self.during} during it"
            )
        if not {"disputed", "refuted"} <= self.corrections.keys():
            found.append(f"{self.other} was not told of the dispute and of what came of it")
        if self.acknowledged != sum(self.corrections.values()):
            found.append("not every correction was acknowledged on the log")
        if not self.lifted:
            found.append("the measure was not lifted")
        return found

    def table(self) -> Table:
        """The same for people."""
        title = f"Due process: {self.acting} and a subject of a {self.pattern} match"
        table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0), show_header=False)
        told = ", ".join(f"{count} {change}" for change, count in self.corrections.items())
        for heading in ("", ""):
            table.add_column(heading, no_wrap=True)
        for name, text in (
            (f"advice to {self.other} before the appeal", self.before),
            ("while it is undecided", self.during),
            ("once it is granted", self.after),
            (f"corrections to {self.other}", f"{told or 'none'}; {self.acknowledged} acknowledged"),
        ):
            table.add_row(name, text)
        table.caption = f"{len(self.steps)} signed steps in {self.days} days: {', '.join(self.steps)}."
        table.caption_justify = "left"
        return table


def _value(name: str) -> int:
    return Action.Value(f"ACTION_{name.upper()}")
