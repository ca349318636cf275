"""What is stored, as values: the rows between use cases and storage.

Invariants: a signal's place, entry · 1024 + position in the batch, is its key and grows with the log; a
tombstone keeps place, id, issuer and status when token, nonce and content are gone. Times are Unix seconds.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from exchange.domain.case_rows import (
    AppealRow,
    AppealTime,
    CaseEvent,
    CaseStepRow,
    DeadlineRow,
    ProceedingRow,
)
from exchange.domain.disclosure import DisclosureDelta
from exchange.domain.reliability import Tally
from exchange.domain.tree import Tile

POSITIONS: Final = 1024
"""Places an entry has; a batch has at most 1,000 signals."""


def place(entry: int, position: int) -> int:
    """Key of the signal at `position` of the batch in `entry`."""
    return entry * POSITIONS + position


class Status(IntEnum):
    """What has become of a signal."""

    ACTIVE = 0
    WITHDRAWN = 1
    EXPIRED = 2
    REFUTED = 3
    """Its issuer's group said that it was wrong; it keeps its content until it expires."""


class Entry(NamedTuple):
    """A log entry with its openings. `shown` counts the signals' subjects the entry says were shown to the
    member."""

    idx: int
    type: int
    member: str
    time: int
    shown: int
    leaf: bytes
    header: bytes
    header_opening: bytes
    payload: bytes
    payload_opening: bytes


class NewSignal(NamedTuple):
    """A signal as it is stored. `audience` is a bit set of PartyKinds, 0 for all.

    `role` is its code's in matching (0 for none), `searched` whether look-ups find it, `echo` whether its
    issuer's group had been shown a hit on its subject or counterparty shortly before.
    """

    place: int
    signal_id: bytes
    issuer: str
    token: bytes
    type: int
    epoch: int
    code: str
    audience: int
    confidence: int
    grade: int
    tlp: int
    last_seen: int
    expires_at: int
    nonce: bytes
    body: bytes
    role: int = 0
    searched: bool = True
    echo: bool = False


class Hit(NamedTuple):
    """An active signal that bears on a token asked about; audience and tlp of the link it was found through
    are 0 where it is the token's own."""

    link_audience: int
    link_tlp: int
    place: int
    issuer: str
    type: int
    epoch: int
    code: str
    audience: int
    confidence: int
    grade: int
    tlp: int
    last_seen: int
    echo: bool
    disputed_until: int


class RoleSignal(NamedTuple):
    """An active signal as matching takes it in, from storage; `body` is the serialised Signal."""

    place: int
    issuer: str
    role: int
    echo: bool
    body: bytes


class SignalState(NamedTuple):
    """What withdrawal and expiry need of a signal; `token` is None where it was erased."""

    place: int
    signal_id: bytes
    issuer: str
    token: bytes | None
    type: int
    epoch: int
    code: str
    audience: int
    status: int
    erased: bool
    role: int
    searched: bool
    disputed_until: int
    appealed_until: int

    def is_disputed(self, now: int) -> bool:
        """Whether a verdict or an appeal disputes it at `now`."""
        return max(self.disputed_until, self.appealed_until) > now


class Link(NamedTuple):
    """`issuer` says that `token`, of `type` and `epoch`, and `subject` are one, in the signal at `place`;
    audience and tlp are that signal's."""

    token: bytes
    type: int
    epoch: int
    subject: bytes
    issuer: str
    audience: int
    tlp: int
    place: int
    expires_at: int


class Batch(NamedTuple):
    """An accepted batch. `next_expiry` is the earliest expiry of its active signals."""

    member: str
    batch_id: bytes
    root: bytes
    entry: int
    next_expiry: int


class Order(NamedTuple):
    """A withdrawal carried out."""

    member: str
    order_id: bytes
    digest: bytes
    entry: int


class Event(NamedTuple):
    """News for one member's watch; `token` is None on news of its own signals, `correction` the index of the
    entry that corrects what it was shown, 0 for none."""

    member: str
    signal_id: bytes
    change: int
    own: bool
    type: int
    epoch: int
    token: bytes | None
    time: int
    correction: int = 0


class StoredEvent(NamedTuple):
    """An event with its position in the one strictly growing order."""

    position: int
    event: Event


class ShownToken(NamedTuple):
    """A group was shown something about a token on a day (Unix seconds / 86,400)."""

    token: bytes
    group: str
    day: int


class Delivery(NamedTuple):
    """A member is told of the signal at a place."""

    place: int
    member: str


class Report(NamedTuple):
    """A report of outcomes that was accepted; `digest` is its statement's SHA-256."""

    member: str
    report_id: bytes
    digest: bytes
    entry: int


class VerdictRow(NamedTuple):
    """A controlling group's verdict on a signal or a match, by its id, in the report at `entry`."""

    is_match: bool
    about: bytes
    group: str
    verdict: int
    entry: int


class MatchVerdict(NamedTuple):
    """A controlling group's verdict on a match, in its `member`'s report at `entry`, given at `time`."""

    entry: int
    time: int
    match_id: bytes
    group: str
    member: str
    verdict: int


class MatchRow(NamedTuple):
    """A match but for its instances. `number` grows with time; `verdicts` is matching's own encoding;
    `reported` says that somebody was told of it."""

    number: int
    match_id: bytes
    pattern: int
    status: int
    found_at: int
    updated_at: int
    verdicts: bytes
    reported: bool


class InstanceRow(NamedTuple):
    """One instance of a pattern in a match; `body` is matching's own encoding and holds tokens."""

    number: int
    key: bytes
    body: bytes


class MatchView(NamedTuple):
    """SHA-256 of a match as a member was last shown it."""

    member: str
    number: int
    digest: bytes


class MatchEvent(NamedTuple):
    """News of a match for one member's watch."""

    member: str
    number: int
    time: int


class StoredMatchEvent(NamedTuple):
    """A match event with its position in the one strictly growing order, and the match's id."""

    position: int
    event: MatchEvent
    match_id: bytes


class Subscription(NamedTuple):
    """A member's wish to be told of a token."""

    token: bytes
    member: str
    type: int
    epoch: int
    purpose: str
    expires_at: int


class Shown(NamedTuple):
    """An entry that says a member was shown something: a look-up with hits, or a delivery."""

    idx: int
    member: str
    type: int
    payload: bytes


class RosterRow(NamedTuple):
    """A roster version on the log, with the rulebook it names."""

    version: int
    note: bytes
    rulebook: bytes
    entry: int


class SuspensionRow(NamedTuple):
    """A party shut out by an entry."""

    member: str
    entry: int


@dataclass(slots=True)
class Delta:
    """All that one transaction writes: every list is either written whole or not at all."""

    entries: list[Entry] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    signals: list[NewSignal] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    withdrawn: list[int] = field(default_factory=list)
    """Places of signals that become tombstones and keep their content until they expire."""
    expired: list[int] = field(default_factory=list)
    """Places of signals that become tombstones, or are some, whose content goes."""
    erased: list[int] = field(default_factory=list)
    """Places of signals whose content goes at their issuer's order."""
    rescheduled: list[tuple[int, int, int]] = field(default_factory=list)
    """(entry, next expiry so far, now): batches whose next expiry is to be worked out again."""
    events: list[Event] = field(default_factory=list)
    forgotten_events: int = 0
    """Events up to this position go."""
    forgotten_access: int = 0
    """Access records below this index lose payload and opening: their term is over."""
    subscriptions: list[Subscription] = field(default_factory=list)
    unsubscribed: list[tuple[bytes, str]] = field(default_factory=list)
    lapsed: int = 0
    """Subscriptions that ended by then go, hypotheses that may be put up again, and appeal times that are
    over."""
    rosters: list[RosterRow] = field(default_factory=list)
    suspensions: list[SuspensionRow] = field(default_factory=list)
    reinstated: list[str] = field(default_factory=list)
    shown: list[ShownToken] = field(default_factory=list)
    forgotten_shown: tuple[int, int] | None = None
    """(first byte of the tokens, day): what was shown before the day goes."""
    matches: list[MatchRow] = field(default_factory=list)
    forgotten_matches: list[int] = field(default_factory=list)
    """Numbers of matches that go with all that hangs on them."""
    match_instances: list[InstanceRow] = field(default_factory=list)
    match_instances_gone: list[tuple[int, bytes]] = field(default_factory=list)
    """(number, key)."""
    match_views: list[MatchView] = field(default_factory=list)
    match_events: list[MatchEvent] = field(default_factory=list)
    forgotten_match_events: int = 0
    """Match events up to this position go."""
    spent: list[tuple[bytes, int]] = field(default_factory=list)
    """(key, Unix seconds): what is left of withdrawn hypotheses, and until when it counts."""
    deliveries: list[Delivery] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    verdicts: list[VerdictRow] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    """Added to what is stored."""
    refuted: list[int] = field(default_factory=list)
    """Places of signals that their issuer's group refutes."""
    disputed: list[tuple[int, int]] = field(default_factory=list)
    """(until when a dispute caps advice, in Unix seconds, 0 for no longer; place of the signal)."""
    learned: int = 0
    """Version of the learned parameters that is in force from now on; 0: unchanged."""
    matched_to: int = 0
    """Matching has taken every entry below this index into account; 0: unchanged."""
    proceedings: list[ProceedingRow] = field(default_factory=list)
    """In place of what was stored of the same member in the same case."""
    case_steps: list[CaseStepRow] = field(default_factory=list)
    case_deadlines: list[DeadlineRow] = field(default_factory=list)
    appeals: list[AppealRow] = field(default_factory=list)
    appeal_times: list[AppealTime] = field(default_factory=list)
    decided_appeals: list[tuple[bytes, str]] = field(default_factory=list)
    """(case id, member): the appeal in that proceeding disputes nothing any more."""
    ended_appeals: list[tuple[bytes, str, int]] = field(default_factory=list)
    """(case id, member, place): the appeal in that proceeding disputes that signal no more."""
    appealed: list[tuple[int, int]] = field(default_factory=list)
    """(until when undecided appeals dispute it, in Unix seconds, 0 for no longer; place of the signal)."""
    case_events: list[CaseEvent] = field(default_factory=list)
    forgotten_case_events: int = 0
    """Case events up to this position go."""
    case_orders: list[Order] = field(default_factory=list)
    erased_proceedings: list[tuple[bytes, str]] = field(default_factory=list)
    """(case id, member): all that is stored of it goes, but that it was there."""
    erased_entries: list[int] = field(default_factory=list)
    """Entries that lose payload and opening."""
    acknowledged: list[tuple[int, int]] = field(default_factory=list)
    """(a correction's entry, that of its acknowledgement)."""
    disclosures: DisclosureDelta = field(default_factory=DisclosureDelta)
