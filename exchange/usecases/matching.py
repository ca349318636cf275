"""Matching beside the writer: what is committed is taken in, in log order, and what it comes to is committed.

Publishing, withdrawing and the rest put what matters into a queue once it is committed; one task takes it out
in parts, runs the matcher in memory and writes what changed with one RecordMatches. Invariants: all entries
below `matched_to` are in the stored matches; what a failed commit left unwritten is written with the next;
whoever reads matches holds `lock`, and so sees none that isn't stored; a start needs storage alone. Days
change between entries, so that a replay prunes where this did.
"""

import asyncio
import gc
import os
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence, Set
from typing import Final, NamedTuple

from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.signal_pb2 import Signal

from exchange.domain.matching.changes import Changes
from exchange.domain.matching.matcher import Matcher
from exchange.domain.matching.naming import Naming, tokens_of
from exchange.domain.matching.reading import observation
from exchange.domain.matching.shared import SetAside
from exchange.domain.membership import Membership
from exchange.domain.records import POSITIONS, MatchVerdict, RoleSignal
from exchange.domain.refusal import Refusal
from exchange.domain.reliability import Reliability
from exchange.domain.store import Store
from exchange.usecases.items import Accepted, Disputed, Gone, Item, Named, Rules, Standing, weight
from exchange.usecases.learning import Learning
from exchange.usecases.record_matches import Pending, RecordMatches, tallies_of
from exchange.usecases.writer import Writer, unavailable

DAY: Final = 86_400
CAPACITY: Final = 32_000
"""Signals that may wait to be matched."""
PART: Final = 100
"""Signals matched before what changed is written."""
SLICE: Final = 10
"""Signals matched at a stretch: look-ups wait for as long."""
TURNS: Final = 3
"""Turns that all others have between two stretches: publishing comes first."""
PAGE: Final = 1_000
UNWRITTEN: Final = 2_000
"""Signals taken into account of which storage needn't know yet: a start takes them in again."""
RETRY: Final = 1.0


class Progress(NamedTuple):
    """What matching has taken into account: every entry below an index, of the batch there what comes before
    a position; and the day (Unix seconds / 86,400) by which it let go of what is past its window."""

    entry: int
    position: int
    day: int


class Matching:
    """The matcher, its queue and its task: begun by `start`, ended by `stop`."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        membership: Callable[[], Membership],
        learning: Learning,
    ) -> None:
        self._store = store
        self._writer = writer
        self._membership = membership
        self._learning = learning
        learning.on_change = self._believe
        self._queue: deque[Item] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._pending = Pending()
        self._put = 0
        self._taken = 0
        self._unwritten = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._day = 0
        self._now = 0
        self._counted: dict[int, tuple[int, int]] = {}
        self._place = 0
        self._rebuilt = 0
        self._amid = False
        self._working = False
        self._report: Callable[[str, Exception], None] = lambda event, error: None
        self.matcher = Matcher(membership().rulebook.matching, lambda: os.urandom(16))
        self.naming = Naming()
        self.backlog = 0
        """Signals that wait to be matched."""
        self.aside: dict[bytes, SetAside] = {}
        """Values that join nobody at present."""
        self.counts: Counter[tuple[int, int]] = Counter()
        """How many matches are stored, by Pattern and MatchStatus."""
        self.lock = asyncio.Lock()
        """Held while matches in memory are ahead of storage."""

    @property
    def progress(self) -> Progress | None:
        """Where matching stands; None while that isn't what a replay of the log comes to: amid verdicts of
        one report, or until all is taken in that was waiting when storage was read."""
        if self._amid or self._taken < self._rebuilt:
            return None
        return Progress(self._place // POSITIONS, self._place % POSITIONS, self._day)

    def reach(self, progress: Progress) -> Progress:
        """The same place to a replay, as far as the log goes: where nothing waits it tells nobody which entry
        was the last for matching."""
        if self._working or self._taken < self._put:
            return progress
        return progress._replace(entry=self._writer.head.tree.size, position=0)

    def _believe(self, reliability: Reliability) -> None:
        self.matcher.reliability = reliability

    # --- what others hand over

    def check_room(self, count: int) -> None:
        """Refuse signals while too many wait. Raises Refusal OVERLOADED."""
        if self.backlog and self.backlog + count > CAPACITY:
            raise Refusal(
                ErrorReason.ERROR_REASON_OVERLOADED, "too much is waiting to be matched", retry_after=RETRY
            )

    def put(self, item: Item) -> None:
        """Take what has just been committed; called in log order."""
        self._queue.append(item)
        self._put += 1
        self.backlog += weight(item)
        self._arrived.set()

    def membership_changed(self, before: Membership, entry: int, now: int) -> None:
        """Take the membership that an entry put in force in the place of `before`."""
        after = self._membership()
        if before.rulebook.matching != after.rulebook.matching:
            self.put(Rules(entry, now))
        for member in after.members:
            if before.counted_group(member) != after.counted_group(member):
                self.put(Standing(entry, now, member))
        self._rebuilt = self._put

    def knows(self, group: str, token: bytes) -> bool:
        """Whether a group told of a token by itself: what it tells now is no echo of what it was shown."""
        who = [(token, group)]
        graph = self.matcher.graph
        return any(
            not seen.echo
            for find in (graph.out_of, graph.into, graph.about)
            for seen in find(who, 0, self._now + DAY)
        )

    async def settled(self) -> None:
        """Wait until all that was put so far is matched and stored. Raises Refusal UNAVAILABLE."""
        if self._taken < self._put or self.lock.locked() or self._pending:
            stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((self._put, stored))
            self._arrived.set()
            await stored

    def check_stored(self) -> None:
        """Refuse to show matches that aren't stored; for whoever holds `lock`. Raises Refusal UNAVAILABLE."""
        if self._pending:
            raise unavailable("what was matched could not be stored yet")

    # --- the task

    async def start(self, now: int, report: Callable[[str, Exception], None]) -> None:
        """Rebuild from storage what is in memory, queue what was not yet taken into account, begin to match;
        `report` is told of defects."""
        self._report = report
        matched_to = await self._store.matched_to()
        rosters = zip(await self._store.rosters(), self._membership().chain.versions, strict=True)
        late = {
            member for row, (_, roster) in rosters if row.entry >= matched_to for member in roster.reinstates
        }
        await self._restore(matched_to, now, late)
        lost = await self._store.withdrawn_since(matched_to)
        self._pending = Pending(matched_to)
        self._absorb(self.matcher.mend(now, everything=lost))
        for item in await self._since(matched_to):
            self.put(item)
        for member in sorted(late):
            self.put(Standing(matched_to, now, member))
        # Whoever took an interest just before the last end may not have been told.
        self._pending.interest.update(self.matcher.matches)
        # All that is committed is taken into account then, what storage no longer had as well.
        self.put(Named(self._writer.head.tree.size - 1, now, ()))
        self._rebuilt = self._put
        self._place = matched_to * POSITIONS
        self._arrived.set()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End, once what waits is stored or a second is over: the next start takes up the rest."""
        if self._task is not None:
            try:
                async with asyncio.timeout(RETRY):
                    await self.settled()
            except (Refusal, TimeoutError):
                pass
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue or self._pending:
                async with self.lock:
                    refusal = await self._part()
                self._answer(refusal)
                if refusal is not None:
                    await asyncio.sleep(RETRY)
            self._answer(None)

    async def _part(self) -> Refusal | None:
        """Match a part of what waits and store what changed; the refusal where that can't be now."""
        try:
            await self._match()
        except Exception as error:  # a defect: what failed is given up, the task lives on
            self._report("matching-failed", error)
        if not self._pending and self._unwritten < UNWRITTEN:
            return None
        try:
            change = await RecordMatches.plan(
                self.matcher,
                self.naming,
                self._store,
                self._membership(),
                self._learning,
                self._pending,
                self._now,
                ahead=self.progress is None,
            )
            await self._writer.submit(change)
        except Refusal as refusal:
            return refusal
        except Exception as error:
            self._report("matching-failed", error)
            return unavailable("what was matched could not be stored")
        self._count()
        self._unwritten = 0
        self._pending = Pending(self._pending.matched_to)
        return None

    def _answer(self, refusal: Refusal | None) -> None:
        """Tell those who wait for what is stored now, or can't be."""
        due = [stored for mark, stored in self._waiting if mark <= self._taken and not stored.done()]
        self._waiting = [each for each in self._waiting if each[0] > self._taken]
        for stored in due:
            if refusal is None:
                stored.set_result(None)
            else:
                stored.set_exception(refusal)

    async def _match(self) -> None:
        room = PART
        # What one entry holds is taken whole: what is stored says "below this entry".
        while self._queue and (room > 0 or self._amid):
            if isinstance(self._queue[0], Rules) and self._pending:
                return  # storage must know it before it is read again
            item = self._queue.popleft()
            self._working, self._amid = True, not isinstance(item, Accepted)
            self._taken += 1
            self.backlog -= weight(item)
            room -= max(1, weight(item))
            self._unwritten += max(1, weight(item))
            self._pending.matched_to = max(self._pending.matched_to, item.entry + 1)
            self._now = max(self._now, item.time)
            if item.time // DAY > self._day:
                self._day = item.time // DAY
                self._absorb(self.matcher.advance(self._day * DAY))
                self.naming.prune((self._day - self.matcher.rules.window_days) * DAY)
                self._look_aside(set(self.aside))
            await self._take(item)
            self._place = max(self._place, (item.entry + 1) * POSITIONS) if item.entry else self._place
            self._working = False
            self._amid = bool(self._queue) and 0 < item.entry == self._queue[0].entry
            if self._amid:
                await asyncio.sleep(0)

    async def _take(self, item: Item) -> None:
        match item:
            case Accepted():
                await self._observe(item.seen, item.time)
                self._interest(set(item.named))
            case Gone():
                self._leave(item.places, item.time, spend=True)
            case Named():
                self._interest(set(item.tokens))
            case Disputed():
                self._absorb(self.matcher.dispute(item.places, disputed=item.until > 0))
            case Standing():
                self._rebuilt = self._put
                self._leave(self.naming.places_of(item.member), item.time, spend=False)
                async for rows in self._stored(0, item.entry * POSITIONS):
                    await self._observe([row for row in rows if row[0].issuer == item.member], item.time)
            case Rules():
                self._rebuilt = self._put
                await self._restore(item.entry, item.time, ())
            case MatchVerdict():
                match = self.matcher.matches.get(item.match_id)
                if match is not None:
                    self._pending.tallies += tallies_of(match, item)
                    self._absorb(self.matcher.judge(item.match_id, item.group, item.verdict, item.time))

    async def _observe(self, rows: Sequence[tuple[RoleSignal, Signal]], now: int) -> None:
        for at in range(0, len(rows), SLICE):
            seen = []
            for row, signal in rows[at : at + SLICE]:
                group = self._membership().counted_group(row.issuer)
                if group is not None:
                    seen.append(observation(row, signal, group))
                    self.naming.add(seen[-1], signal)
            self._absorb(self.matcher.observe(seen, now))
            self._place = max(self._place, rows[: at + SLICE][-1][0].place + 1)
            tokens = {token for each in seen for token in tokens_of(each)}
            self._interest(tokens)
            self._look_aside(tokens)
            for _ in range(TURNS):
                await asyncio.sleep(0)

    def _leave(self, places: Sequence[int], now: int, *, spend: bool) -> None:
        if not places:
            return
        self._absorb(self.matcher.withdraw(places, now, spend=spend))
        self._pending.pressing = True
        for place in places:
            self.naming.remove(place)
        self._look_aside(set(self.aside))

    def _interest(self, tokens: Set[bytes]) -> None:
        for token in self.matcher.named & tokens:
            self._pending.interest.update(match.match_id for match in self.matcher.of(token))

    def _absorb(self, changes: Changes) -> None:
        if changes:
            self._pending.changes.merge(changes)

    def _look_aside(self, tokens: Set[bytes]) -> None:
        """See which of the values join nobody now."""
        for token in self.aside.keys() & tokens:
            del self.aside[token]
        self.aside.update((why.token, why) for why in self.matcher.graph.set_aside_among(tokens))

    def _count(self) -> None:
        for row in self._pending.changes.matches.values():
            before = self._counted.get(row.number)
            if before is not None:
                self.counts[before] -= 1
            self._counted[row.number] = row.pattern, row.status
            self.counts[row.pattern, row.status] += 1
        for number in self._pending.changes.forgotten:
            self.counts[self._counted.pop(number)] -= 1

    # --- from storage

    async def _stored(self, start: int, stop: int) -> AsyncIterator[list[tuple[RoleSignal, Signal]]]:
        """Active signals with a role whose place is in [start, stop), in their order."""
        while page := await self._store.role_signals(start, stop, PAGE):
            yield [(row, Signal.FromString(row.body)) for row in page]
            start = page[-1].place + 1

    async def _restore(self, matched_to: int, now: int, without: Collection[str]) -> None:
        """Take up what is stored as it was when the entries below `matched_to` had been taken into account,
        but for what the members `without` said."""
        membership = self._membership()
        appealed = self.matcher.appealed or {place for place, _ in await self._store.appealed()}
        self.matcher = Matcher(
            membership.rulebook.matching, lambda: os.urandom(16), reliability=self._learning.reliability
        )
        self.matcher.appealed = appealed
        self.naming = Naming()
        self._day = now // DAY
        self._now = now
        horizon = self._day - self.matcher.rules.window_days
        seen = []
        # Nearly all that is made here stays: looking through it for garbage doubles the time this takes.
        gc.disable()
        try:
            async for rows in self._stored(0, matched_to * POSITIONS):
                for row, signal in rows:
                    group = membership.counted_group(row.issuer)
                    if group is None or row.issuer in without or signal.last_seen // DAY < horizon:
                        continue
                    seen.append(observation(row, signal, group))
                    self.naming.add(seen[-1], signal)
            matches = await self._store.matches()
            spent, instances = await self._store.spent(), await self._store.match_instances()
            self.matcher.restore(seen, spent, matches, instances)
        finally:
            gc.enable()
        self.aside = {why.token: why for why in self.matcher.graph.all_set_aside()}
        self._counted = {row.number: (row.pattern, row.status) for row in matches}
        self.counts.clear()
        self.counts.update(self._counted.values())

    async def _since(self, start: int) -> list[Item]:
        """What entries from `start` on hold for matching, in their order."""
        items: list[Item] = list(await self._store.outcomes_since(start))
        batches: dict[int, list[tuple[RoleSignal, Signal]]] = {}
        async for rows in self._stored(start * POSITIONS, 1 << 62):
            for row in rows:
                batches.setdefault(row[0].place // POSITIONS, []).append(row)
        for index, batch in batches.items():
            (entry,) = await self._store.entry_range(index, 1)
            items.append(Accepted(index, entry.time, batch, ()))
        return sorted(items, key=lambda item: item.entry)
