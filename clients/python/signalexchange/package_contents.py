"""The parts of an evidence package, parsed: what the report says and the verifier checks is read here once.

Invariants: every part is read strictly by its kind; nothing here is verified.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from signalexchange.cases import parse_step
from signalexchange.checkpoint import Checkpoint
from signalexchange.disclosures import parse_statement
from signalexchange.entry_payloads import parse_header, parse_payload
from signalexchange.envelope import parse_message, parse_withdrawal
from signalexchange.errors import MalformedError
from signalexchange.note import split_note
from signalexchange.outcomes import parse_outcomes
from signalexchange.package import (
    REQUEST,
    RULEBOOK,
    CasePart,
    LogEntry,
    Manifest,
    MatchPart,
    PartRow,
    RequestPart,
    RosterPart,
    SignalPart,
    text_of,
)
from signalexchange.roster import Roster
from signalexchange.rulebook import Rulebook
from signalexchange.tlog_proof import TlogProof
from signalexchange.v1.case_service_pb2 import CaseStatement
from signalexchange.v1.disclosure_service_pb2 import DisclosureRequestStatement
from signalexchange.v1.log_entry_pb2 import (
    CaseEntry,
    DisclosureRequestEntry,
    EntryHeader,
    OutcomesEntry,
    RosterEntry,
    WithdrawalEntry,
)
from signalexchange.v1.match_service_pb2 import Match
from signalexchange.v1.outcome_service_pb2 import VERDICT_REFUTED
from signalexchange.v1.signal_pb2 import Signal


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it is opened: where it stands, its header, and the proof of both."""

    index: int
    header: EntryHeader
    opened: LogEntry
    proof: TlogProof


class ReleasedRequest(NamedTuple):
    """The request, and its statement's bytes as they were signed."""

    statement: DisclosureRequestStatement
    signed: bytes
    entry: Entry


class ReleasedSignal(NamedTuple):
    """A signal, and how the member changed it since: "withdrawn" or "refuted", with the entry of it."""

    part: SignalPart
    signal: Signal
    entry: Entry
    changes: tuple[tuple[str, Entry], ...]


class ReleasedMatch(NamedTuple):
    """A match as it was shown."""

    part: MatchPart
    match: Match
    delivery: Entry


class ReleasedCase(NamedTuple):
    """A proceeding's steps."""

    case_id: bytes
    steps: tuple[tuple[CaseStatement, Entry], ...]


@dataclass(frozen=True)
class Contents:
    """All of a package but its report."""

    manifest: Manifest
    request: ReleasedRequest
    rosters: tuple[tuple[Roster, bytes, Entry], ...]
    rulebook: Rulebook
    signals: tuple[ReleasedSignal, ...]
    matches: tuple[ReleasedMatch, ...]
    cases: tuple[ReleasedCase, ...]
    attachments: tuple[PartRow, ...]

    @classmethod
    def parse(cls, manifest: Manifest, parts: Mapping[str, bytes]) -> "Contents":
        """Read the parts. Raises MalformedError naming the part that can't be read."""
        by_kind: dict[str, list[str]] = {}
        for row in manifest.parts:
            by_kind.setdefault(row.kind, []).append(row.name)
        for name in (REQUEST, RULEBOOK):
            if name not in parts:
                raise MalformedError(f"the package lacks {name}")

        def each(kind: str) -> list[tuple[str, str]]:
            return [(name, text_of(parts[name])) for name in by_kind.get(kind, ())]

        contents = cls(
            manifest,
            _request(text_of(parts[REQUEST])),
            tuple(_roster(text) for _, text in each("roster")),
            Rulebook.parse(text_of(parts[RULEBOOK])),
            tuple(_signal(text) for _, text in each("signal")),
            tuple(_match(text) for _, text in each("match")),
            tuple(_case(text) for _, text in each("case")),
            tuple(row for row in manifest.parts if row.kind == "attachment"),
        )
        contents.check_entries()
        return contents

    @property
    def entries(self) -> list[Entry]:
        """Every entry that the package opens, each once, by its place."""
        once = {entry.index: entry for entry in self._entries()}
        return [once[index] for index in sorted(once)]

    def check_entries(self) -> None:
        """Raise MalformedError where an entry is opened twice, and otherwise the second time."""
        once = {entry.index: entry.opened for entry in self.entries}
        if any(once[entry.index] != entry.opened for entry in self._entries()):
            raise MalformedError("an entry is opened in two ways")

    def _entries(self) -> Iterator[Entry]:
        yield self.request.entry
        yield from (entry for _, _, entry in self.rosters)
        for signal in self.signals:
            yield signal.entry
            yield from (entry for _, entry in signal.changes)
        yield from (match.delivery for match in self.matches)
        yield from (entry for case in self.cases for _, entry in case.steps)

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint that the request is proved under, its signature not checked; every entry must be
        proved under the same."""
        return Checkpoint.parse(split_note(self.request.entry.proof.checkpoint)[0])


def opened(entry: LogEntry) -> Entry:
    """An entry, its header and proof read. Raises MalformedError."""
    try:
        proof = TlogProof.parse(entry.proof.encode())
    except UnicodeEncodeError:
        raise MalformedError("a proof is text") from None
    return Entry(proof.index, parse_header(entry.header), entry, proof)


def _request(text: str) -> ReleasedRequest:
    entry = opened(RequestPart.parse(text).entry)
    payload = parse_payload(entry.header.type, entry.opened.payload)
    if not isinstance(payload, DisclosureRequestEntry):
        raise MalformedError("the request's entry is of another type")
    statement = parse_statement(DisclosureRequestStatement, payload.statement)
    return ReleasedRequest(statement, payload.statement, entry)


def _roster(text: str) -> tuple[Roster, bytes, Entry]:
    entry = opened(RosterPart.parse(text).entry)
    payload = parse_payload(entry.header.type, entry.opened.payload)
    if not isinstance(payload, RosterEntry):
        raise MalformedError("a roster part holds an entry of another type")
    return Roster.parse(split_note(payload.note)[0]), payload.note, entry


def _signal(text: str) -> ReleasedSignal:
    part = SignalPart.parse(text)
    signal = parse_message(Signal, part.disclosure.signal)
    changes = []
    for change in part.changes:
        entry = opened(change.entry)
        payload = parse_payload(entry.header.type, entry.opened.payload)
        if isinstance(payload, WithdrawalEntry):
            if signal.signal_id not in parse_withdrawal(change.statement).signal_ids:
                raise MalformedError("a withdrawal of another signal")
            changes.append(("withdrawn", entry))
        elif isinstance(payload, OutcomesEntry):
            outcomes = parse_outcomes(payload.statement).outcomes
            said = {outcome.verdict for outcome in outcomes if outcome.signal_id == signal.signal_id}
            if said != {VERDICT_REFUTED} or change.statement:
                raise MalformedError("a report that doesn't refute the signal")
            changes.append(("refuted", entry))
        else:
            raise MalformedError("a signal is changed by withdrawals and outcomes alone")
    return ReleasedSignal(part, signal, opened(part.entry), tuple(changes))


def _match(text: str) -> ReleasedMatch:
    part = MatchPart.parse(text)
    return ReleasedMatch(part, parse_message(Match, part.match), opened(part.delivery))


def _case(text: str) -> ReleasedCase:
    part = CasePart.parse(text)
    steps = []
    for step in part.steps:
        entry = opened(step)
        payload = parse_payload(entry.header.type, entry.opened.payload)
        if not isinstance(payload, CaseEntry):
            raise MalformedError("a case part holds an entry of another type")
        steps.append((parse_step(payload.statement), entry))
    return ReleasedCase(part.case_id, tuple(steps))
