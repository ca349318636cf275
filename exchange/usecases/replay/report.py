"""What a replay found: how much came out again, what didn't, and what can't be told any more, by why.

Invariant: whatever was looked at is counted once, under one of the three.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

KEPT: Final = 1_000
"""Differences kept in full; the rest is counted."""


class What(StrEnum):
    """What is looked at."""

    ENTRIES = "entries"
    """Leaf, openings and columns of each entry."""
    SIGNALS = "signals"
    """Stored signals against what their issuers signed."""
    SCORES = "scores"
    """Score and advice of each hit of a look-up."""
    VERSIONS = "versions"
    """Versions of what is learned."""
    MATCHES = "matches"
    """What matching put on the log."""


class Why(StrEnum):
    """Why something can't be told."""

    ERASED = "a signal it may stand on was erased"
    EXPIRED = "a signal it may stand on has expired"
    TERM = "the record's term is over"
    OLDER = "made before scores and versions were recorded"
    AMID = "matching was under way, or read storage anew"
    MATCHING = "it stands on matches that could not be found again"


class Difference(NamedTuple):
    """What doesn't come out: an entry's index and, in words, what."""

    what: What
    entry: int
    says: str


@dataclass
class ReplayReport:
    """`size` entries under `root`."""

    size: int = 0
    root: bytes = b""
    reproduced: Counter[What] = field(default_factory=Counter)
    differing: Counter[What] = field(default_factory=Counter)
    unverifiable: Counter[tuple[What, Why]] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differing

    def same(self, what: What, count: int = 1) -> None:
        """It comes out again."""
        self.reproduced[what] += count

    def differs(self, what: What, index: int, says: object) -> None:
        """It doesn't."""
        self.differing[what] += 1
        if len(self.differences) < KEPT:
            self.differences.append(Difference(what, index, str(says)))

    def unknown(self, what: What, why: Why, count: int = 1) -> None:
        """Nobody can tell."""
        if count:
            self.unverifiable[what, why] += count

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "size": self.size,
            "root": self.root.hex(),
            "ok": self.ok,
            **{
                what.value: {
                    "reproduced": self.reproduced[what],
                    "differing": self.differing[what],
                    "unverifiable": {
                        why.name.lower(): count
                        for (each, why), count in sorted(self.unverifiable.items())
                        if each == what
                    },
                }
                for what in What
            },
            "differences": [
                {"what": each.what.value, "entry": each.entry, "says": each.says} for each in self.differences
            ],
        }
