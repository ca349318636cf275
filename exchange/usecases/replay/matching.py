"""Matching once more, as far as the log tells: what was taken in when, and the matches that come of it.

The same items in the same order give the same matches but for their ids, which are bound by what MatchEntry
says. Invariants: nothing is taken in beyond where the log says that matching stood; what lacks, since its
content is gone or a match wasn't found again, is told with whatever may stand on it.
"""

from collections import Counter, deque
from collections.abc import Callable
from itertools import count
from typing import Final

from signalexchange.v1.log_entry_pb2 import AccessEntry, MatchEntry
from signalexchange.v1.signal_pb2 import TLP_AMBER_STRICT

from exchange.domain.matching.advice import matched
from exchange.domain.matching.confidence import NAMES
from exchange.domain.matching.counters import counters
from exchange.domain.matching.match import Match
from exchange.domain.matching.matcher import Matcher
from exchange.domain.matching.reading import observation
from exchange.domain.matching.rows import instance_row, match_row
from exchange.domain.membership import Membership
from exchange.domain.records import POSITIONS, MatchVerdict, place
from exchange.domain.reliability import Reliability, Tally
from exchange.domain.scoring import Matched
from exchange.usecases.items import Accepted, Disputed, Gone, Item, Named, Rules, Standing
from exchange.usecases.matching import DAY, SLICE
from exchange.usecases.record_matches import tallies_of
from exchange.usecases.replay.report import ReplayReport, What, Why
from exchange.usecases.replay.signals import Row, SignalBook

_VERSIONS: Final = 16
"""Versions of what is learned that a match may be behind the log."""


class MatchingReplay:
    """The matcher at a place in the log that only moves on."""

    def __init__(
        self,
        report: ReplayReport,
        book: SignalBook,
        membership: Callable[[], Membership],
        spent: list[tuple[bytes, int]],
    ) -> None:
        self._report = report
        self._book = book
        self._membership = membership
        self._spent = spent
        self._ids = count(1)
        self._queue: deque[Item] = deque()
        self._within = 0
        self._day = 0
        self._matcher: Matcher | None = None
        self._bound: dict[bytes, Match] = {}
        self._taken: set[int] = set()
        self._reliabilities: dict[int, Reliability] = {}
        self._unfound = False
        self.tallies: list[Tally] = []
        """What verdicts on matches have come to since they were last taken away."""

    @property
    def matcher(self) -> Matcher:
        """The matcher, made under the first rulebook."""
        if self._matcher is None:
            self._matcher = self._new()
        return self._matcher

    def _new(self) -> Matcher:
        rules = self._membership().rulebook.matching
        return Matcher(rules, lambda: next(self._ids).to_bytes(16, "big"))

    def believe(self, version: int, reliability: Reliability) -> None:
        """A version of what is learned is in force."""
        self._reliabilities[version] = reliability
        self._reliabilities.pop(version - _VERSIONS, None)
        self.matcher.reliability = reliability

    # --- what the log holds

    def put(self, item: Item) -> None:
        """Take what an entry holds, in the log's order."""
        self._queue.append(item)

    def gone(self, index: int, now: int, rows: list[Row]) -> None:
        """An entry ended signals."""
        if rows:
            self.put(Gone(index, now, [row.place for row, _ in rows]))

    # --- moving on

    def advance(self, entry: int, position: int = 0, day: int = 0) -> None:
        """Take in every entry below `entry`, of the batch there what comes before `position`, and let go of
        what is past the window on `day` (Unix seconds / 86,400)."""
        while self._queue and self._queue[0].entry < entry:
            self._take(self._queue[0], POSITIONS)
            self._queue.popleft()
            self._within = 0
        if position and self._queue and self._queue[0].entry == entry:
            self._take(self._queue[0], position)
        self._pass(day)

    def _pass(self, day: int) -> None:
        if day > self._day:
            self._day = day
            self.matcher.advance(day * DAY)

    def _take(self, item: Item, stop: int) -> None:
        self._pass(item.time // DAY)
        match item:
            case Accepted():
                self._observe(item, stop)
            case Gone():
                window = self.matcher.rules.window_days
                for key, until in self._spent:
                    if until == item.time + 2 * window * DAY:
                        # Of signals whose content is gone, too.
                        self.matcher.graph.spent.add(key, until)
                self.matcher.withdraw(item.places, item.time)
            case Disputed():
                self.matcher.dispute(item.places, disputed=item.until > 0)
            case Standing():
                everything = self._book.roles_of(item.member, item.entry * POSITIONS)
                held = [row.place for row, _ in everything if row.place in self.matcher.graph]
                self.matcher.withdraw(held, item.time, spend=False)
                self._observe(Accepted(item.entry, item.time, everything, ()), POSITIONS, first=0)
            case Rules():
                self._rebuild(item)
            case MatchVerdict():
                self._judge(item)
            case Named():
                pass

    def _observe(self, item: Accepted, stop: int, first: int | None = None) -> None:
        membership = self._membership()
        limit = place(item.entry, stop)
        at = self._within if first is None else first
        while at < len(item.seen) and (first is not None or item.seen[at][0].place < limit):
            rows = item.seen[at : at + SLICE]
            seen = [
                observation(row, signal, group)
                for row, signal in rows
                if (group := membership.counted_group(row.issuer)) is not None
            ]
            self.matcher.observe(seen, item.time)
            at += len(rows)
        if first is None:
            self._within = at

    def _rebuild(self, item: Rules) -> None:
        membership, old = self._membership(), self.matcher
        self._matcher = fresh = self._new()
        fresh.reliability = old.reliability
        fresh.appealed = old.appealed
        horizon = item.time // DAY - fresh.rules.window_days
        seen = [
            observation(row, signal, group)
            for row, signal in self._book.roles(item.entry * POSITIONS)
            if (group := membership.counted_group(row.issuer)) is not None
            and signal.last_seen // DAY >= horizon
        ]
        matches = sorted(old.matches.values(), key=lambda match: match.number)
        instances = [
            instance_row(match.number, instance, settled=settled)
            for match in matches
            for kept, settled in ((match.instances, False), (match.settled, True))
            for instance in kept.values()
        ]
        fresh.restore(seen, old.graph.spent.items(), map(match_row, matches), instances)
        by_number = {match.number: match for match in fresh.matches.values()}
        self._bound = {id_: by_number[match.number] for id_, match in self._bound.items()}

    def _judge(self, item: MatchVerdict) -> None:
        match = self._bound.get(item.match_id)
        if match is None or match.match_id not in self.matcher.matches:
            self._unfound = True
            return
        self.tallies += tallies_of(match, item)
        self.matcher.judge(match.match_id, item.group, item.verdict, item.time)

    # --- asking

    def lacks(self, stop: int) -> Why | None:
        """Why matching below a place can't be done again; None where nothing lacks."""
        lost = [why for why, first in self._book.lost.items() if first < stop]
        if lost:
            return min(lost)
        return Why.MATCHING if self._unfound else None

    def counted(
        self, access: AccessEntry, token: bytes, group: str, patterns: tuple[str, ...], now: int
    ) -> list[Matched]:
        """The matches that count in the answer about a token to a member of a group; matching stands where
        the record says."""
        found = (
            matched(self.matcher, match, token, group, TLP_AMBER_STRICT, now)
            for match in self.matcher.of(token)
            if NAMES[match.pattern] in patterns
            and any((each.token, each.type) == (token, access.type) for each in match.subjects)
        )
        return [match for match in found if match is not None]

    def check(self, index: int, entry: MatchEntry) -> None:
        """Compare a match with what the log says of it."""
        if not entry.rules_version:
            return
        self.advance(entry.as_of, day=entry.day)
        places = [place(each.index, each.position) for each in entry.evidence]
        match = self._bound.get(entry.match_id) or self._find(entry, places)
        if match is not None:
            self._bound[entry.match_id] = match
        says = self._differs(entry, places, match)
        if says is None:
            self._report.same(What.MATCHES)
            return
        why = self.lacks(entry.as_of * POSITIONS)
        if not entry.day:
            why = why or Why.AMID
        if why is not None:
            self._report.unknown(What.MATCHES, why)
        else:
            self._report.differs(What.MATCHES, index, says)

    def _find(self, entry: MatchEntry, places: list[int]) -> Match | None:
        """The match of that pattern that shares most of the evidence, and is bound to no other id."""
        ledger = self.matcher.ledger
        shared = Counter(
            number for at in places for number in {match.number for match, _ in ledger.at(at)} - self._taken
        )
        found = [
            (-count, number)
            for number, count in shared.items()
            if ledger.by_number[number].pattern == entry.pattern
        ]
        if not found:
            return None
        _, number = min(found)
        self._taken.add(number)
        return ledger.by_number[number]

    def _differs(self, entry: MatchEntry, places: list[int], match: Match | None) -> str | None:
        if match is None:
            return "no such match is found"
        if match.status != entry.status:
            return f"status is {match.status.name.lower()} here"
        if match.places != places:
            return "it stands on other evidence here"
        money = counters(match)
        for name, told, found in (("volume", entry.volume, money.volume), ("gain", entry.gain, money.gain)):
            if entry.HasField(name) and (told.low, told.high) != found:  # type: ignore[arg-type]
                return f"{name} is {found.low} to {found.high} here, not {told.low} to {told.high}"
        known = self._reliabilities.get(entry.learned)
        if known is None:
            return (
                None if not entry.learned else f"version {entry.learned} of what is learned is not in force"
            )
        kept, self.matcher.reliability = self.matcher.reliability, known
        sure = self.matcher.confidence(match).permille
        self.matcher.reliability = kept
        return None if sure == entry.confidence else f"confidence is {sure} here, not {entry.confidence}"
