"""Reading the log once more from its first entry on: what each entry says must follow from those before it.

Each leaf is opened, membership, evidence, disputes and what is learned are rebuilt from the entries, and for
every hit of every look-up the score is worked out by the domain's own `assess` and compared. Invariants:
nothing is written; whatever is looked at is counted, as reproduced, differing, or unverifiable with the
reason; a score is called unverifiable only where an input is gone that could have made it what it is.
"""

from collections.abc import Callable
from typing import Final

from google.protobuf.message import Message
from signalexchange import merkle
from signalexchange.entries import check_header, check_payload
from signalexchange.entry_payloads import TOKEN_SIZE, parse_header, parse_payload
from signalexchange.errors import ExchangeError, VerificationError
from signalexchange.outcomes import about, parse_outcomes
from signalexchange.roster import Party, RosterChain
from signalexchange.v1.log_entry_pb2 import (
    AccessEntry,
    BatchEntry,
    CaseErasureEntry,
    DisputeEntry,
    EntryHeader,
    EntryType,
    MatchEntry,
    ModelEntry,
    OutcomesEntry,
    RosterEntry,
    SuspensionEntry,
    WithdrawalEntry,
)
from signalexchange.v1.outcome_service_pb2 import VERDICT_CONFIRMED, VERDICT_INCONCLUSIVE

from exchange.domain.archive import Archive
from exchange.domain.learned import Learned
from exchange.domain.membership import Membership
from exchange.domain.records import Entry, MatchVerdict, place
from exchange.domain.reliability import Tally
from exchange.domain.scoring import Matched, assess
from exchange.domain.tree import TILE
from exchange.domain.verdicts import effect
from exchange.domain.visible import visible
from exchange.usecases.enrol import check_rulebook
from exchange.usecases.items import Accepted, Disputed, Item, Named, Rules, Standing
from exchange.usecases.matching import DAY
from exchange.usecases.replay.matching import MatchingReplay
from exchange.usecases.replay.report import ReplayReport, What, Why
from exchange.usecases.replay.signals import SignalBook
from exchange.usecases.replay.versions import VersionBook

_ACCESS: Final = (
    EntryType.ENTRY_TYPE_LOOK_UP,
    EntryType.ENTRY_TYPE_SUBSCRIPTION,
    EntryType.ENTRY_TYPE_DELIVERY,
    EntryType.ENTRY_TYPE_MATCH_DELIVERY,
    EntryType.ENTRY_TYPE_CORRECTION,
)


def replay(archive: Archive, progress: Callable[[int, int], None] = lambda done, of: None) -> ReplayReport:
    """Read the whole log; `progress` is told how many entries of how many are done.

    Raises ConfigError where the database can't be read.
    """
    report = ReplayReport()
    Walk(archive, report).run(progress)
    return report


class Walk:
    """The state at a place in the log that moves on entry by entry."""

    def __init__(self, archive: Archive, report: ReplayReport) -> None:
        self._archive = archive
        self._report = report
        self._frontier = merkle.Frontier()
        self._hashes: list[bytes] = []
        self._forgotten = archive.forgotten_access()
        self._rulebooks = {row.entry: row.rulebook for row in archive.rosters()}
        self._membership: Membership | None = None
        self._book = SignalBook(archive, report)
        self._versions = VersionBook(report)
        self._learned: Learned | None = None
        self._matching = MatchingReplay(report, self._book, lambda: self.membership, list(archive.spent()))
        self._verdicts: set[tuple[bool, bytes, str]] = set()
        self._erased: set[int] = set()

    @property
    def membership(self) -> Membership:
        """Who takes part at this place. Raises VerificationError before the first roster."""
        if self._membership is None:
            raise VerificationError("nothing may come before the first roster")
        return self._membership

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Read all of it."""
        for payload in self._archive.payloads(EntryType.ENTRY_TYPE_WITHDRAWAL):
            try:
                order = parse_payload(EntryType.ENTRY_TYPE_WITHDRAWAL, payload)
            except ExchangeError:
                continue  # told of where the entry is read
            if isinstance(order, WithdrawalEntry) and order.erased:
                self._book.note_erased([place(at.index, at.position) for at in order.positions])
        for payload in self._archive.payloads(EntryType.ENTRY_TYPE_CASE_ERASURE):
            try:
                erasure = parse_payload(EntryType.ENTRY_TYPE_CASE_ERASURE, payload)
            except ExchangeError:
                continue
            if isinstance(erasure, CaseErasureEntry):
                self._erased.update(erasure.entries)
        size = self._archive.size()
        for entry in self._archive.entries():
            if entry.idx != self._frontier.size:
                self._report.differs(What.ENTRIES, self._frontier.size, "is missing")
                break
            self._read(entry)
            progress(entry.idx + 1, size)
        self._versions.finish(list(self._archive.tallies()), self._archive.learned(), self._frontier.size)
        self._report.size = self._frontier.size
        self._report.root = self._frontier.root()

    def _read(self, entry: Entry) -> None:
        opened = self._open(entry)
        if opened is None:
            return
        header, payload = opened
        if not isinstance(payload, ModelEntry) and (missed := self._versions.missed()) is not None:
            self._report.differs(What.VERSIONS, missed, "no version of what is learned follows")
        if self._membership is None and not isinstance(payload, RosterEntry):
            return  # nothing can be said without the first roster, which was told of
        try:
            self._follow(entry.idx, header, payload)
        except ExchangeError as error:
            self._report.differs(What.ENTRIES, entry.idx, error)

    # --- leaves and openings

    def _open(self, entry: Entry) -> tuple[EntryHeader, Message] | None:
        """Header and payload, if they are what the leaf commits to and the payload is there."""
        leaf = merkle.leaf_hash(entry.leaf)
        self._frontier.append(leaf)
        self._hashes.append(leaf)
        problem = None
        if len(self._hashes) == TILE:
            if self._archive.tile(entry.idx // TILE) != b"".join(self._hashes):
                problem = "the tile it completes holds other hashes"
            self._hashes = []
        try:
            if problem is not None:
                raise VerificationError(problem)
            check_header(entry.leaf, entry.header, entry.header_opening)
            header = parse_header(entry.header)
            if (header.type, header.member, header.time) != (entry.type, entry.member, entry.time):
                raise VerificationError("is stored under another type, member or time than its header's")
            if not entry.payload_opening:
                over = entry.idx < self._forgotten and header.type in _ACCESS
                if not over and (header.type != EntryType.ENTRY_TYPE_CASE or entry.idx not in self._erased):
                    raise VerificationError("its payload is missing")
                self._report.same(What.ENTRIES)
                if header.type == EntryType.ENTRY_TYPE_LOOK_UP and entry.shown:
                    self._report.unknown(What.SCORES, Why.TERM, entry.shown)
                return None
            check_payload(entry.leaf, entry.payload, entry.payload_opening)
            payload = parse_payload(header.type, entry.payload)
        except ExchangeError as error:
            self._report.differs(What.ENTRIES, entry.idx, error)
            return None
        self._report.same(What.ENTRIES)
        return header, payload

    # --- what entries do

    def _follow(self, index: int, header: EntryHeader, payload: Message) -> None:
        match payload:
            case RosterEntry():
                self._roster(index, header, payload)
            case SuspensionEntry():
                known = self.membership
                suspended = {**known.suspended, payload.member: index}
                self._install(
                    index, header, Membership(known.chain, known.rulebook, known.entries, suspended)
                )
            case BatchEntry():
                rows = self._book.batch(index, payload, self.membership.rulebook, header.member)
                self._matching.put(Accepted(index, header.time, rows, ()))
            case WithdrawalEntry():
                ended = self._book.end([place(at.index, at.position) for at in payload.positions])
                self._matching.gone(index, header.time, ended)
            case DisputeEntry():
                disputed = [place(at.index, at.position) for at in payload.signals]
                self._book.appeal(disputed, payload.until)
                self._matching.put(Disputed(index, header.time, disputed, payload.until))
            case OutcomesEntry():
                self._outcomes(index, header, payload)
            case ModelEntry():
                self._version(index, payload)
            case MatchEntry():
                self._matching.check(index, payload)
            case AccessEntry() if header.type == EntryType.ENTRY_TYPE_LOOK_UP:
                self._look_up(index, header, payload)
            case AccessEntry():
                self._matching.put(Named(index, header.time, ()))
            case _:
                pass

    def _roster(self, index: int, header: EntryHeader, payload: RosterEntry) -> None:
        known = self._membership
        chain = RosterChain.start(payload.note) if known is None else known.chain.extend(payload.note)
        rulebook = check_rulebook(chain.current, self._rulebooks.get(index, b""))
        entries = (index,) if known is None else (*known.entries, index)
        suspended = {} if known is None else known.suspended
        lifted = set(chain.current.reinstates)
        suspended = {member: entry for member, entry in suspended.items() if member not in lifted}
        self._install(index, header, Membership(chain, rulebook, entries, suspended))

    def _install(self, index: int, header: EntryHeader, after: Membership) -> None:
        """Put a membership in force, as `Exchange.install` and `Matching.membership_changed` do."""
        before = self._membership
        if before is None:
            self._membership = after
            self._believe(self._versions.install(index, after))
            return
        # What came before was matched under the membership before.
        self._matching.advance(index)
        self._membership = after
        self._believe(self._versions.install(index, after))
        items: list[Item] = []
        if before.rulebook.matching != after.rulebook.matching:
            items.append(Rules(index, header.time))
        items += [
            Standing(index, header.time, member)
            for member in after.members
            if before.counted_group(member) != after.counted_group(member)
        ]
        for item in items:
            self._matching.put(item)

    def _believe(self, learned: Learned) -> None:
        self._learned = learned
        self._matching.believe(learned.version, learned.reliability)

    def _outcomes(self, index: int, header: EntryHeader, payload: OutcomesEntry) -> None:
        statement = parse_outcomes(payload.statement)
        party = self._party(header.member)
        until = header.time + self.membership.rulebook.matching.dispute_days * DAY
        for outcome in statement.outcomes:
            is_match, id_ = about(outcome)
            is_new = (is_match, id_, party.group) not in self._verdicts
            self._verdicts.add((is_match, id_, party.group))
            if is_match:
                if is_new:
                    self._matching.put(
                        MatchVerdict(index, header.time, id_, party.group, party.id, outcome.verdict)
                    )
                continue
            stored = self._archive.whose(id_)
            if stored is None:
                raise VerificationError(f"judges signal {id_.hex()}, which is not stored")
            at, issuer = stored
            row = self._book.known(at)
            if is_new and outcome.verdict != VERDICT_INCONCLUSIVE:
                confirmed = outcome.verdict == VERDICT_CONFIRMED
                tally = Tally(issuer, row.code if row else "", party.id, confirmed, not confirmed)
                self._versions.count(tally, self._book.lost_why(at) if row is None else None)
            if self._book.is_active(at):
                own = self.membership.group(issuer) == party.group
                what = effect(outcome.verdict, own=own, is_new=is_new, disputed=self._book.is_disputed(at))
                self._matching.gone(index, header.time, self._book.judge(at, what, until))
        self._versions.await_version(index)

    def _version(self, index: int, payload: ModelEntry) -> None:
        lacks = None
        if payload.as_of:
            self._matching.advance(payload.as_of)
            for tally in self._matching.tallies:
                self._versions.count(tally)
            self._matching.tallies = []
            lacks = self._matching.lacks(place(payload.as_of, 0))
        self._believe(self._versions.check(index, payload, self.membership, lacks))

    # --- scores

    def _look_up(self, index: int, header: EntryHeader, payload: AccessEntry) -> None:
        hits = [payload.hits[at : at + TOKEN_SIZE] for at in range(0, len(payload.hits), TOKEN_SIZE)]
        if len(payload.scores) != len(hits):
            self._report.unknown(What.SCORES, Why.OLDER, len(hits))
            return
        if payload.learned != self._versions.version:
            raise VerificationError(
                f"version {payload.learned} of what is learned is named, {self._versions.version} in force"
            )
        for at, token in enumerate(hits):
            self._score(index, header, payload, at, token)

    def _score(self, index: int, header: EntryHeader, payload: AccessEntry, at: int, token: bytes) -> None:
        membership, learned = self.membership, self._learned
        party = self._party(header.member)
        purpose = membership.rulebook.purpose(payload.purpose)
        if purpose is None or learned is None:
            raise VerificationError(f"purpose {payload.purpose} is not in the rulebook")
        matches: list[Matched] = []
        lacks = None
        is_matched = at in payload.matched
        if is_matched and not payload.HasField("matched_to"):
            lacks = Why.AMID
        elif is_matched:
            stood = payload.matched_to
            self._matching.advance(stood.index, stood.position, payload.matched_day)
            lacks = self._matching.lacks(place(stood.index, stood.position))
            matches = self._matching.counted(payload, token, party.group, purpose.patterns, header.time)
        asked = payload.type, payload.epoch
        evidence = visible(
            self._book.hits(token, header.time), membership, party, purpose, asked, header.time
        )
        risk = assess(
            token,
            evidence,
            membership.rulebook,
            purpose,
            header.time,
            learned.reliability,
            matches,
            party.kind,
        )
        recorded = payload.scores[at], payload.advice[at]
        found = (0, 0) if risk is None else (risk.score, risk.advice)
        if found == recorded:
            self._report.same(What.SCORES)
            return
        own = {member for member in membership.members if membership.counted_group(member) == party.group}
        why = lacks or self._book.gone(header.time, own)
        # What is gone, or wasn't matched again at all, can only have raised the score.
        is_least = not is_matched or lacks == Why.AMID
        if why is None or (is_least and found[0] > recorded[0]):
            token_name = token.hex()[:16]
            self._report.differs(
                What.SCORES,
                index,
                f"hit {at} ({token_name}…): score {found[0]} and advice {found[1]} here, "
                f"{recorded[0]} and {recorded[1]} on the log",
            )
        else:
            self._report.unknown(What.SCORES, why)

    def _party(self, member: str) -> Party:
        party = self.membership.roster.party(member)
        if party is None:
            raise VerificationError(f"{member} is not on the roster")
        return party
