"""What became of matches in the step that is under way: what is to be stored and who is to be told.

Invariants: whatever changes in a step is in its Changes, once; what changes outside a step, on reading back,
is in none.
"""

from collections.abc import Callable
from typing import NamedTuple

from exchange.domain.matching.changes import Changes
from exchange.domain.matching.match import MAX_INSTANCES, Instance, Match, MatchStatus
from exchange.domain.matching.register import Register
from exchange.domain.matching.rows import instance_row, match_row


class _Before(NamedTuple):
    """A match before a step; without a status where there was none."""

    status: MatchStatus | None
    groups: frozenset[str]
    members: frozenset[str]
    renamed: int
    reported: bool


class Ledger(Register):
    """All matches, and what a step changes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.next = 1
        """Number of the next match."""
        self._before: dict[int, _Before] = {}
        self._changed: set[tuple[int, bytes]] = set()

    def begin(self) -> None:
        """Start a step."""
        self._before.clear()
        self._changed.clear()

    def open(self, match: Match) -> None:
        """Take a match in that was found in this step."""
        self._before[match.number] = _Before(None, frozenset(), frozenset(), 0, False)
        self.add(match)

    def add(self, match: Match) -> None:
        """Take a match in that holds nothing yet."""
        self.next = max(self.next, match.number + 1)
        super().add(match)

    def touch(self, match: Match) -> None:
        """A match is about to change."""
        if match.number not in self._before:
            self._before[match.number] = _Before(
                match.status, match.groups, match.members, match.renamed, match.reported
            )

    def put(self, match: Match, instance: Instance) -> None:
        """Have a match hold a standing instance, in place of the one of that key; the oldest give way."""
        self._note(match, instance.key)
        super().put(match, instance)
        if len(match.instances) > MAX_INSTANCES:
            # Many at once: to look for the oldest takes a look at all.
            for key in match.oldest(MAX_INSTANCES // 10):
                self.drop(match, key)

    def settle(self, match: Match, instance: Instance) -> None:
        """Have a match keep an instance that no longer stands, in place of the one of that key."""
        self._note(match, instance.key)
        super().settle(match, instance)

    def drop(self, match: Match, key: bytes) -> None:
        """Let an instance go, if it is there."""
        self._note(match, key)
        super().drop(match, key)

    def end(self, now: int, is_sure: Callable[[Match], bool]) -> Changes:
        """What the step changed; `is_sure` says whether a match may be told."""
        changes = Changes()
        for number, before in sorted(self._before.items()):
            match = self.by_number[number]
            if match.stands and not match.instances:
                match.status = MatchStatus.EXPIRED
            match.updated_at = now
            match.reported |= is_sure(match)
            changes.matches[number] = match_row(match)
            members = before.members | match.members
            after = _Before(match.status, match.groups, members, match.renamed, match.reported)
            if match.reported and after != before:
                changes.told.add(match.match_id)
        for number, key in sorted(self._changed):
            match = self.by_number[number]
            standing, settled = match.instances.get(key), match.settled.get(key)
            kept = standing or settled
            changes.instances[number, key] = (
                None if kept is None else instance_row(number, kept, settled=standing is None)
            )
        return changes

    def _note(self, match: Match, key: bytes) -> None:
        self.touch(match)
        self._changed.add((match.number, key))
