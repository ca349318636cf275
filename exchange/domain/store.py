"""The one interface of storage, in domain verbs.

Invariants: `commit` writes a Delta in one transaction, durably, or not at all; nobody but the writer calls
it or the methods marked "writer"; the others see committed state alone and may run at any time.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from exchange.domain.case_rows import AppealRow, AppealTime, StoredCaseEvent, StoredProceeding, StoredStep
from exchange.domain.disclosure import StoredDisclosure, StoredDisclosureEvent
from exchange.domain.records import (
    Batch,
    Delta,
    Entry,
    Hit,
    InstanceRow,
    MatchRow,
    MatchVerdict,
    MatchView,
    Order,
    Report,
    RoleSignal,
    RosterRow,
    Shown,
    SignalState,
    StoredEvent,
    StoredMatchEvent,
    Subscription,
    SuspensionRow,
)
from exchange.domain.reliability import Tally
from exchange.domain.tree import TileKey, Tree


class StorageFailed(Exception):  # noqa: N818 - named after what happened
    """Storage can't be relied on any more: the process must stop and reopen."""


class StorageFull(Exception):  # noqa: N818 - named after what happened
    """There was no room; the transaction was rolled back and nothing was changed."""


class Store(Protocol):
    """Durable state and log."""

    async def commit(self, delta: Delta) -> None:
        """Write all of it durably (writer). Raises StorageFull or StorageFailed."""

    async def forget_traces(self) -> None:
        """Make content deleted before unreadable in the files too (writer). Raises StorageFailed."""

    async def hits(self, tokens: Sequence[bytes], now: int) -> dict[bytes, list[Hit]]:
        """Active signals on the tokens, or joined to them by their issuer's own links (writer)."""

    async def batches(self, ids: Sequence[tuple[str, bytes]]) -> dict[tuple[str, bytes], Batch]:
        """Accepted batches of (member, batch id)."""

    async def known_signals(self, signal_ids: Sequence[bytes]) -> set[bytes]:
        """Those of the ids that are taken, by tombstones too (writer)."""

    async def signals(self, signal_ids: Sequence[bytes]) -> dict[bytes, SignalState]:
        """Signals by id."""

    async def order(self, member: str, order_id: bytes) -> Order | None:
        """A withdrawal carried out before."""

    async def linked_tokens(self, states: Sequence[SignalState]) -> dict[int, list[tuple[bytes, int]]]:
        """By place: tokens through which the signals were findable besides their own, and for whom."""

    async def due(self, now: int, limit: int) -> tuple[list[SignalState], list[tuple[int, int]]]:
        """Expired signals that have content, about `limit`, and (entry, next expiry) of their batches
        (writer)."""

    async def spoken(
        self, issuer: str, tokens: Sequence[bytes], now: int
    ) -> tuple[Counter[bytes], Counter[bytes]]:
        """How many active signals of the issuer's are on each of the tokens, and how many links (writer)."""

    async def subscribers(self, tokens: Sequence[bytes], now: int) -> dict[bytes, list[Subscription]]:
        """Subscriptions in force on the tokens (writer)."""

    async def subscription_count(self, member: str, now: int, without: Sequence[bytes]) -> int:
        """Subscriptions the member holds, not counting those on the tokens `without` (writer)."""

    async def held_subscriptions(self, member: str, tokens: Sequence[bytes]) -> list[Subscription]:
        """The member's subscriptions on the tokens (writer)."""

    async def old_events(self, before: int) -> int:
        """Position of the last event older than `before` (Unix seconds); 0 if none (writer)."""

    async def old_access(self, before: int, limit: int) -> int:
        """Index below which access records are older than `before` (Unix seconds); 0 if none (writer)."""

    async def restore_tree(self) -> Tree:
        """The tree as last committed (at start)."""

    async def tiles(self, keys: Sequence[TileKey]) -> dict[TileKey, bytes]:
        """Complete tiles by key."""

    async def entries(self, indices: Sequence[int]) -> list[Entry]:
        """Entries by index, ascending; payload and its opening are empty where they were erased."""

    async def entry_range(self, start: int, limit: int) -> list[Entry]:
        """Entries from `start` on, at most `limit`, without their payloads."""

    async def shown(self, start: int, stop: int) -> list[Shown]:
        """Entries in [start, stop) that say something was shown."""

    async def events(self, member: str, after: int, limit: int) -> list[StoredEvent]:
        """The member's events after a position, at most `limit`."""

    async def event_bounds(self) -> tuple[int, int]:
        """(position up to which events are forgotten, position of the newest event ever)."""

    async def rosters(self) -> list[RosterRow]:
        """All roster versions, ascending."""

    async def suspensions(self) -> list[SuspensionRow]:
        """Parties shut out at present."""

    async def shown_to(self, group: str, tokens: Sequence[bytes], since: int) -> set[bytes]:
        """Those of the tokens about which the group was shown something on the day `since` (Unix seconds /
        86,400) or later (writer)."""

    async def old_match_events(self, before: int) -> int:
        """Position of the last match event older than `before` (Unix seconds); 0 if none (writer)."""

    async def role_signals(self, start: int, stop: int, limit: int) -> list[RoleSignal]:
        """Active signals with a role in matching whose place is in [start, stop), at most `limit`."""

    async def roles_at(self, places: Sequence[int]) -> list[RoleSignal]:
        """The active signals with a role in matching at these places."""

    async def issuers(self, tokens: Sequence[bytes], now: int) -> dict[bytes, dict[str, int]]:
        """Who has active signals on each of the tokens, or links to or from it, that look-ups find; with the
        token's epoch."""

    async def watchers(self, tokens: Sequence[bytes], now: int) -> dict[bytes, list[Subscription]]:
        """Subscriptions in force on the tokens, as committed."""

    async def matched_to(self) -> int:
        """Index below which matching has taken every entry into account."""

    async def withdrawn_since(self, start: int) -> bool:
        """Whether an entry from `start` on may end signals: an order, or a report of outcomes."""

    async def matches(self) -> list[MatchRow]:
        """All matches, ascending by number."""

    async def match_instances(self) -> list[InstanceRow]:
        """All instances of matches."""

    async def spent(self) -> list[tuple[bytes, int]]:
        """Withdrawn hypotheses, and until when (Unix seconds) they can't be put up again."""

    async def match_views(self, numbers: Sequence[int]) -> list[MatchView]:
        """Who was last shown what of the matches."""

    async def matches_shown(
        self, member: str, after: int, limit: int, status: int
    ) -> list[tuple[int, bytes]]:
        """(number, match id) of the matches the member was told of after a number, at most `limit`, of a
        MatchStatus or, for 0, of any."""

    async def matches_of(self, member: str, match_ids: Sequence[bytes]) -> dict[bytes, int]:
        """Numbers of those of the matches that the member was told of, by id."""

    async def match_events(self, member: str, after: int, limit: int) -> list[StoredMatchEvent]:
        """The member's match events after a position, at most `limit`."""

    async def match_event_bounds(self) -> tuple[int, int]:
        """(position up to which match events are forgotten, position of the newest one ever)."""

    async def report(self, member: str, report_id: bytes) -> Report | None:
        """A report of outcomes accepted before."""

    async def told_of(self, member: str, places: Sequence[int]) -> set[int]:
        """Places of those of the signals that the member was told of."""

    async def verdicts(self, group: str, ids: Sequence[bytes]) -> dict[tuple[bool, bytes], int]:
        """Verdicts of a group by what they are about: whether a match, and the id."""

    async def outcomes_since(self, start: int) -> list[MatchVerdict]:
        """Verdicts on matches in entries from `start` on, in their order."""

    async def tallies(self) -> list[Tally]:
        """All tallies of verdicts."""

    async def learned(self) -> int:
        """Version of the learned parameters; 0 before the first."""

    async def signals_at(self, places: Sequence[int]) -> list[SignalState]:
        """Signals by place, ascending."""

    async def proceeding(self, member: str, case_id: bytes) -> StoredProceeding | None:
        """The member's proceeding in a case."""

    async def proceedings_in(self, case_id: bytes) -> list[StoredProceeding]:
        """Every member's proceeding in a case, but those that were erased."""

    async def proceedings_of(
        self, member: str, after: int, limit: int, *, unfinished: bool
    ) -> list[StoredProceeding]:
        """The member's proceedings after a number, at most `limit`, or those that are unfinished."""

    async def proceedings_due(self, now: int, limit: int) -> list[StoredProceeding]:
        """Proceedings with a deadline that passed and was not told, at most `limit`."""

    async def proceedings_expired(self, now: int, limit: int) -> list[StoredProceeding]:
        """Proceedings whose term is over, at most `limit`."""

    async def case_steps(self, member: str, case_id: bytes) -> list[StoredStep]:
        """The steps of a proceeding, in order."""

    async def case_deadlines(self, member: str, case_id: bytes) -> set[tuple[int, str]]:
        """(when it was due, what) of the deadlines of a proceeding that were told."""

    async def appeals(self, places: Sequence[int]) -> list[AppealRow]:
        """Which undecided appeals dispute the signals at these places."""

    async def appeal_times(self, digests: Sequence[bytes]) -> dict[bytes, AppealTime]:
        """By digest: until when appeals dispute, and when they may again."""

    async def appeals_past(self, now: int, limit: int) -> list[tuple[str, bytes]]:
        """(member, case id) of proceedings whose undecided appeal disputed signals until before `now`, at
        most `limit`."""

    async def appealed_until(self, member: str, case_id: bytes, now: int) -> list[int]:
        """Places of the signals that the undecided appeal in a proceeding disputed until before `now`."""

    async def appealed_by(self, member: str, case_id: bytes) -> list[int]:
        """Places of the signals that the undecided appeal in a proceeding disputes, ascending."""

    async def appealed(self) -> list[tuple[int, int]]:
        """Places of the signals that undecided appeals dispute, and until when (Unix seconds)."""

    async def sanctions(self, member: str, tokens: Sequence[bytes]) -> set[tuple[bytes, int]]:
        """(token, Action) of the measures in force with which the member's proceedings about these tokens
        were closed as confirmed."""

    async def case_order(self, member: str, order_id: bytes) -> Order | None:
        """An order to erase a case carried out before."""

    async def case_events(self, member: str, after: int, limit: int) -> list[StoredCaseEvent]:
        """The member's case events after a position, at most `limit`."""

    async def case_event_bounds(self) -> tuple[int, int]:
        """(position up to which case events are forgotten, position of the newest one ever)."""

    async def old_case_events(self, before: int) -> int:
        """Position of the last case event older than `before` (Unix seconds); 0 if none (writer)."""

    async def acknowledged(self, entries: Sequence[int]) -> dict[int, int]:
        """Those of the corrections that were acknowledged, by their entries, with the acknowledgement's."""

    async def secret(self, name: str) -> bytes:
        """A random 32-byte secret of this database, made at first use."""

    async def disclosure(self, request_id: bytes) -> StoredDisclosure | None:
        """The disclosure of that request."""

    async def disclosures_of(
        self, party: str, after: int, limit: int, *, unfinished: bool
    ) -> list[StoredDisclosure]:
        """Disclosures that the party requested or was asked for, after a number, at most `limit`;
        `unfinished`: those alone that have not ended."""

    async def open_disclosures(self, requester: str) -> int:
        """How many of the requester's have not ended."""

    async def due_disclosures(self, now: int, limit: int) -> list[StoredDisclosure]:
        """Those that expired by `now` (Unix seconds) and whose expiry is not recorded, at most `limit`."""

    async def sealed_scope(self, request_id: bytes) -> bytes | None:
        """The sealed scope, while the disclosure has not ended."""

    async def sealed_package(self, request_id: bytes) -> bytes | None:
        """The sealed package, while it waits to be received."""

    async def disclosure_events(self, member: str, after: int, limit: int) -> list[StoredDisclosureEvent]:
        """The party's disclosure events after a position, at most `limit`."""

    async def disclosure_event_bounds(self) -> tuple[int, int]:
        """(position up to which disclosure events are forgotten, position of the newest one ever)."""

    async def old_disclosure_events(self, before: int) -> int:
        """Position of the last disclosure event older than `before` (Unix seconds); 0 if none."""
