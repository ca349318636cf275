"""What opened entries about versions of what is learned must keep: their order, and who names which.

Invariants: an entry is judged once all entries have been read, so that their order doesn't matter; what can't
be told because entries aren't open counts as not checked.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from signalexchange.report import Report
from signalexchange.roster import Roster
from signalexchange.v1.log_entry_pb2 import AccessEntry, MatchEntry, ModelEntry


class VersionChecker:
    """Collects versions and what names one, and judges them at the end."""

    def __init__(self, report: Report, rosters: Sequence[Roster], roster_indices: Sequence[int]) -> None:
        self._report = report
        self._rosters = rosters
        self._roster_indices = roster_indices
        self._versions: dict[int, int] = {}
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}

    def version(self, index: int, payload: ModelEntry) -> None:
        """Take in a version."""
        if payload.as_of > index:
            self._problem(index, "counts verdicts of entries that did not exist yet")
        elif payload.version in self._versions:
            self._problem(index, f"version {payload.version} stands on the log twice")
        elif self._has_other_rulebook(index, payload):
            self._problem(index, "was learned under another rulebook than the roster in force names")
        else:
            self._versions[payload.version] = index

    def used(self, index: int, payload: AccessEntry | MatchEntry) -> None:
        """Take in the version that an entry names; that of a match may be behind the newest."""
        version = payload.learned
        self._first[version] = min(index, self._first.get(version, index))
        if isinstance(payload, AccessEntry) and payload.scores:
            self._last[version] = max(index, self._last.get(version, index))

    def finish(self) -> None:
        """Judge all of it."""
        ordered = sorted(self._versions.items())
        wrong = {later for (_, earlier), (_, later) in pairwise(ordered) if later < earlier}
        for index in sorted(wrong):
            self._problem(index, "comes before the version that it follows")
        self._report.count("versions", len(ordered) - len(wrong))
        for version, first in sorted(self._first.items()):
            if version and self._versions.get(version, first) > first:
                self._problem(first, f"names version {version}, which comes after it")
        for version, last in sorted(self._last.items()):
            if self._versions.get(version + 1, last) < last:
                self._problem(last, f"names version {version}, which was no longer in force")

    def _has_other_rulebook(self, index: int, payload: ModelEntry) -> bool:
        version = bisect_left(self._roster_indices, index)
        if not version:
            self._report.skip("version before the first opened roster entry")
            return False
        return self._rosters[version - 1].rulebook_sha256 != payload.rulebook_digest.hex()

    def _problem(self, index: int, what: str) -> None:
        self._report.problem("versions", index, what)
