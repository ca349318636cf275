"""What a verification of evidence found.

Invariants: every check is listed, with 0 where nothing held; what failed and what could not be checked are
never among what was verified.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from signalexchange.cosignature import Cosignature

CHECKS = (
    "roster_versions",
    "rulebook",
    "checkpoints",
    "leaves",
    "tiles",
    "headers",
    "payloads",
    "rosters_on_log",
    "batches",
    "withdrawals",
    "outcomes",
    "versions",
    "matches",
    "match_deliveries",
    "case_steps",
    "case_erasures",
    "corrections",
    "acknowledged",
    "disclosures",
    "receipts",
    "disclosure_steps",
)
MAX_PROBLEMS = 1000


@dataclass(frozen=True)
class Problem:
    """Something that does not hold: in which check, at which entry (None where at none), and what."""

    check: str
    index: int | None
    what: str


@dataclass
class Report:
    """Counts by check what held, lists what failed, and counts by reason what could not be checked.

    `size` and `root` are the newest checkpoint's and `cosigned` the witnesses on it; size 0 and no root where
    that checkpoint itself failed. The first 1,000 problems are listed, all are counted.
    """

    origin: str
    size: int = 0
    root: bytes = b""
    verified: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHECKS, 0))
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    not_checked: Counter[str] = field(default_factory=Counter)
    cosigned: list[Cosignature] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no check failed; what was not checked says nothing here."""
        return self.problem_count == 0

    @property
    def complete(self) -> bool:
        """Whether no check failed and nothing was left unchecked."""
        return self.ok and not self.not_checked

    def count(self, check: str, number: int = 1) -> None:
        """Note what held."""
        self.verified[check] += number

    def skip(self, reason: str, number: int = 1) -> None:
        """Note what could not be checked, and why."""
        if number:
            self.not_checked[reason] += number

    def problem(self, check: str, index: int | None, what: object) -> None:
        """Note what does not hold."""
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(check, index, str(what)))

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data for JSON."""
        return {
            "ok": self.ok,
            "complete": self.complete,
            "origin": self.origin,
            "size": self.size,
            "root": self.root.hex(),
            "verified": dict(self.verified),
            "problem_count": self.problem_count,
            "problems": [vars(problem).copy() for problem in self.problems],
            "not_checked": dict(self.not_checked),
            "cosigned": [{"name": cosigned.name, "time": cosigned.time} for cosigned in self.cosigned],
        }
