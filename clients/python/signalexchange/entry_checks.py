"""What opened entries of a log must keep: members' signatures, orders, receipts and disclosures.

Invariants: an entry's content is looked at only after its commitments opened; a signature counts under the
key that the roster in force at the entry's place gave its member at the entry's time, never under another;
each batch and each report of a member stands on the log once; a withdrawal takes back signals of its own
member's batches.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from google.protobuf.message import Message

from signalexchange import envelope
from signalexchange.case_checks import CaseChecker
from signalexchange.checkpoint import Checkpoint
from signalexchange.disclosure_checks import ENTRIES as DISCLOSURE_ENTRIES
from signalexchange.disclosure_checks import DisclosureChecker
from signalexchange.entries import check_header, check_payload
from signalexchange.entry_payloads import parse_header, parse_payload
from signalexchange.errors import ExchangeError, VerificationError
from signalexchange.evidence import HeldReceipt, Opening
from signalexchange.match_checks import MatchChecker
from signalexchange.outcomes import open_outcomes, parse_outcomes
from signalexchange.report import Report
from signalexchange.roster import Roster
from signalexchange.tiles import TILE_WIDTH, read_leaves
from signalexchange.v1.log_entry_pb2 import (
    AccessEntry,
    BatchEntry,
    CaseEntry,
    CaseErasureEntry,
    CorrectionEntry,
    CorrectionsEntry,
    DisputeEntry,
    EntryHeader,
    EntryType,
    MatchDeliveryEntry,
    MatchEntry,
    ModelEntry,
    OpeningEntry,
    OutcomesEntry,
    SignalPosition,
    WithdrawalEntry,
)
from signalexchange.version_checks import VersionChecker


class EntryOpener:
    """Opens entries against the leaves of a folder, of which the first `size` are sound."""

    def __init__(self, folder: Path, size: int) -> None:
        # Openings come in order for the most part: the last bundle serves the next one too.
        @lru_cache(maxsize=4)
        def bundle(number: int) -> list[bytes]:
            start = number * TILE_WIDTH
            return list(read_leaves(folder, min(start + TILE_WIDTH, size), start))

        self._bundle = bundle

    def open(self, opening: Opening) -> tuple[EntryHeader, Message | None]:
        """Header and, where opened, payload; raises MalformedError or VerificationError unless all of it
        holds.
        """
        leaf = self._bundle(opening.index // TILE_WIDTH)[opening.index % TILE_WIDTH]
        check_header(leaf, opening.header, opening.header_opening)
        header = parse_header(opening.header)
        if opening.payload is None or opening.payload_opening is None:
            return header, None
        check_payload(leaf, opening.payload, opening.payload_opening)
        return header, parse_payload(header.type, opening.payload)


class Held(NamedTuple):
    """A receipt with its checkpoint, which the log signed."""

    receipt: HeldReceipt
    checkpoint: Checkpoint


class _Withdrawn(NamedTuple):
    """A withdrawal's entry; `signed` tells that its statement was there and its signature good."""

    entry: int
    member: str
    positions: Sequence[SignalPosition]
    signed: bool


class EntryChecker:
    """Judges opened entries, each once, and writes what it finds into the report.

    `rosters` are the versions on the log, `roster_indices` the entries that hold them, both ascending;
    `proved_roots` the (size, root) that the leaves lead to.
    """

    def __init__(
        self,
        report: Report,
        rosters: Sequence[Roster],
        roster_indices: Sequence[int],
        proved_roots: Set[tuple[int, bytes]],
        receipts: Iterable[Held],
        disclosures: Iterable[envelope.SignalDisclosure],
    ) -> None:
        self.report = report
        self.rosters = rosters
        self.roster_indices = roster_indices
        self.proved_roots = proved_roots
        self.receipts: dict[int, list[Held]] = defaultdict(list)
        for held in receipts:
            self.receipts[held.receipt.index].append(held)
        self.disclosures: dict[int, list[envelope.SignalDisclosure]] = defaultdict(list)
        for disclosure in disclosures:
            self.disclosures[disclosure.index].append(disclosure)
        self._batches: set[tuple[str, bytes]] = set()
        self._reports: set[tuple[str, bytes]] = set()
        self._issued: dict[int, tuple[str, int | None]] = {}
        self._withdrawn: list[_Withdrawn] = []
        self._about_matches = MatchChecker(report)
        self._about_versions = VersionChecker(report, rosters, roster_indices)
        self._about_disclosures = DisclosureChecker(report, self._roster_at)
        self._about_cases = CaseChecker(report, self._roster)

    def note(self, index: int, header: EntryHeader) -> None:
        """Take in an entry's header, its payload opened or not."""
        if header.type == EntryType.ENTRY_TYPE_BATCH:
            self._issued.setdefault(index, (header.member, None))
        self._about_cases.note(index, header)

    def judge(self, index: int, header: EntryHeader, payload: Message) -> None:
        """Check what the entry says, and the receipts and disclosures in hand about it."""
        if isinstance(payload, BatchEntry):
            self._batch(index, header, payload)
        elif isinstance(payload, WithdrawalEntry):
            self._withdrawal(index, header, payload)
        elif isinstance(payload, OutcomesEntry):
            self._outcomes(index, header, payload)
        elif isinstance(payload, MatchEntry):
            self._about_matches.match(index, payload)
            self._about_versions.used(index, payload)
        elif isinstance(payload, MatchDeliveryEntry):
            self._about_matches.delivery(index, payload)
        elif isinstance(payload, ModelEntry):
            self._about_versions.version(index, payload)
        elif isinstance(payload, AccessEntry):
            self._about_versions.used(index, payload)
        elif isinstance(payload, DISCLOSURE_ENTRIES):
            self._about_disclosures.judge(index, header, payload)
        elif isinstance(payload, CaseEntry | CaseErasureEntry | CorrectionEntry | CorrectionsEntry):
            statements = [held.receipt.statement for held in self.receipts.get(index, ())]
            self._about_cases.judge(index, header, payload, statements)
        elif isinstance(payload, DisputeEntry) and payload.signals[-1].index >= index:
            self.report.problem("payloads", index, "disputes signals that were not on the log yet")
        elif isinstance(payload, OpeningEntry) and payload.indices[-1] >= index:
            self.report.problem("payloads", index, "opens entries that did not exist yet")
        for held in self.receipts.pop(index, ()):
            self._receipt(index, held, payload)
        for disclosure in self.disclosures.pop(index, ()):
            self._disclosure(index, header, disclosure, payload)

    def finish(self, opened: Sequence[int]) -> None:
        """Check what withdrawals take back and what matches stand on, and count the receipts and disclosures
        of entries that were never judged as not checked. `opened` is non-zero at the entries whose headers
        were.
        """
        for withdrawn in self._withdrawn:
            if what := self._misplaced(withdrawn, opened):
                self.report.problem("withdrawals", withdrawn.entry, what)
            elif withdrawn.signed:
                self.report.count("withdrawals")
        self._about_matches.finish(opened, self._issued)
        self._about_versions.finish()
        self._about_disclosures.finish()
        self._about_cases.finish(opened)
        receipts = sum(len(held) for held in self.receipts.values())
        disclosures = sum(len(shown) for shown in self.disclosures.values())
        self.report.skip("receipt of an entry that is not opened", receipts)
        self.report.skip("disclosure from an entry that is not opened", disclosures)

    def _roster_at(self, index: int) -> Roster | None:
        """The roster in force at an entry; None where no roster before it is known."""
        version = bisect_left(self.roster_indices, index)
        return self.rosters[version - 1] if version else None

    def _roster(self, index: int, header: EntryHeader, statement: envelope.Named) -> Roster | None:
        """The roster in force at an entry; None, counted as not checked, where none is known. Raises
        VerificationError unless the statement is for this log and of the header's member."""
        roster = self._roster_at(index)
        if roster is None:
            self.report.skip("signature before the first opened roster entry")
            return None
        if statement.origin != roster.origin:
            raise VerificationError("the statement is for another log")
        if statement.member != header.member:
            raise VerificationError("the statement is another member's than the header's")
        return roster

    def _key(self, index: int, header: EntryHeader, statement: envelope.Named) -> bytes | None:
        """The signing key a statement must be signed with; None where no roster is known."""
        roster = self._roster(index, header, statement)
        if roster is None:
            return None
        key = roster.signing_key(statement.member, statement.key_id, header.time)
        if key is None:
            raise VerificationError("signed with a key that the roster did not give the member at that time")
        return key

    def _batch(self, index: int, header: EntryHeader, payload: BatchEntry) -> None:
        try:
            statement = envelope.parse_statement(payload.statement)
            key = self._key(index, header, statement)
            if key is None:
                return
            envelope.open_batch(payload.statement, payload.signature, key)
            self._issued[index] = (header.member, statement.count)
            if (statement.member, statement.batch_id) in self._batches:
                raise VerificationError("the batch stands on the log twice")
        except ExchangeError as error:
            self.report.problem("batches", index, error)
            return
        self._batches.add((statement.member, statement.batch_id))
        self.report.count("batches")

    def _withdrawal(self, index: int, header: EntryHeader, payload: WithdrawalEntry) -> None:
        statements = [
            held.receipt.statement
            for held in self.receipts.get(index, ())
            if sha256(held.receipt.statement).digest() == payload.statement_digest
        ]
        try:
            if any(place.index >= index for place in payload.positions):
                raise VerificationError("withdraws signals that were not on the log yet")
            if not statements:
                self.report.skip("withdrawal whose statement is not in the folder")
                self._withdrawn.append(_Withdrawn(index, header.member, payload.positions, signed=False))
                return
            statement = envelope.parse_withdrawal(statements[0])
            key = self._key(index, header, statement)
            if key is None:
                return
            envelope.open_withdrawal(statements[0], payload.signature, key)
            if len(payload.positions) != len(statement.signal_ids):
                raise VerificationError("withdraws another number of signals than the order")
        except ExchangeError as error:
            self.report.problem("withdrawals", index, error)
            return
        self._withdrawn.append(_Withdrawn(index, header.member, payload.positions, signed=True))

    def _outcomes(self, index: int, header: EntryHeader, payload: OutcomesEntry) -> None:
        try:
            statement = parse_outcomes(payload.statement)
            key = self._key(index, header, statement)
            if key is None:
                return
            open_outcomes(payload.statement, payload.signature, key)
            if (statement.member, statement.report_id) in self._reports:
                raise VerificationError("the report stands on the log twice")
        except ExchangeError as error:
            self.report.problem("outcomes", index, error)
            return
        self._reports.add((statement.member, statement.report_id))
        self.report.count("outcomes")

    def _misplaced(self, withdrawn: "_Withdrawn", opened: Sequence[int]) -> str | None:
        """Which position is none of a batch of the withdrawal's member, as far as entries are open."""
        for place in withdrawn.positions:
            if not opened[place.index]:
                continue
            member, count = self._issued.get(place.index, (None, None))
            if member is None:
                return f"withdraws from entry {place.index}, which is not a batch"
            if member != withdrawn.member:
                return f"withdraws a signal of another member's, in entry {place.index}"
            if count is not None and place.position >= count:
                return f"withdraws signal {place.position} of entry {place.index}, which has {count}"
        return None

    def _receipt(self, index: int, held: Held, payload: Message) -> None:
        statement, checkpoint = held.receipt.statement, held.checkpoint
        if isinstance(payload, BatchEntry | OutcomesEntry | CaseEntry | CorrectionsEntry):
            same = payload.statement == statement
        elif isinstance(payload, WithdrawalEntry | CaseErasureEntry):
            same = payload.statement_digest == sha256(statement).digest()
        else:
            same = not statement
        if not same:
            self.report.problem("receipts", index, "the entry is not what the receipt acknowledged")
        elif (checkpoint.size, checkpoint.root) in self.proved_roots:
            self.report.count("receipts")
        else:
            self.report.skip("receipt whose checkpoint is not proved by the leaves")

    def _disclosure(
        self, index: int, header: EntryHeader, disclosure: envelope.SignalDisclosure, payload: Message
    ) -> None:
        try:
            if not isinstance(payload, BatchEntry) or payload.statement != disclosure.statement:
                raise VerificationError("the entry is not the batch that the signal is disclosed from")
            statement = envelope.parse_statement(disclosure.statement)
            key = self._key(index, header, statement)
            if key is None:
                return
            envelope.verify_disclosure(disclosure, key)
        except ExchangeError as error:
            self.report.problem("disclosures", index, error)
            return
        self.report.count("disclosures")
