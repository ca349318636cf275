"""What opened entries about matches must keep: evidence that stands in batches, deliveries of logged matches.

Invariants: an entry is judged once all entries have been read, so that their order doesn't matter; what can't
be told because entries aren't open counts as not checked.
"""

from collections.abc import Mapping, Sequence

from signalexchange.report import Report
from signalexchange.v1.log_entry_pb2 import MatchDeliveryEntry, MatchEntry


class MatchChecker:
    """Collects entries about matches and judges them at the end."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._matches: set[int] = set()
        self._logged: dict[bytes, int] = {}
        self._delivered: list[tuple[int, bytes]] = []
        self._evidence: dict[tuple[int, int], int] = {}

    def match(self, index: int, payload: MatchEntry) -> None:
        """Take in what matching found."""
        if payload.as_of > index:
            self._report.problem("matches", index, "takes entries into account that did not exist yet")
            return
        self._matches.add(index)
        self._logged[payload.match_id] = min(index, self._logged.get(payload.match_id, index))
        for place in payload.evidence:
            self._evidence.setdefault((place.index, place.position), index)

    def delivery(self, index: int, payload: MatchDeliveryEntry) -> None:
        """Take in that a member was told."""
        self._delivered.append((index, payload.match_id))

    def finish(self, opened: Sequence[int], issued: Mapping[int, tuple[str, int | None]]) -> None:
        """Judge all of it. `opened` is non-zero at entries whose headers are open; `issued` holds the member
        and, where known, the size of each open batch."""
        unsound = set()
        for (entry, position), index in sorted(self._evidence.items()):
            if not opened[entry]:
                continue
            member, count = issued.get(entry, (None, None))
            if member is None:
                self._report.problem("matches", index, f"stands on entry {entry}, which is not a batch")
            elif count is not None and position >= count:
                what = f"stands on signal {position} of entry {entry}, which has {count}"
                self._report.problem("matches", index, what)
            else:
                continue
            unsound.add(index)
        self._report.count("matches", len(self._matches - unsound))
        whole = next((index for index, flag in enumerate(opened) if not flag), len(opened))
        for index, match_id in self._delivered:
            if self._logged.get(match_id, index) < index:
                self._report.count("match_deliveries")
            elif index <= whole:
                self._report.problem("match_deliveries", index, "delivers a match that is not on the log")
            else:
                self._report.skip("delivery of a match whose entry is not opened")
