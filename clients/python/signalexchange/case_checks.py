"""What opened entries about cases must keep: officers' signatures, chains of steps, who must be another.

Invariants: an entry is judged once all entries have been read, so that their order doesn't matter; what can't
be told because entries aren't open or have been erased counts as not checked. Whether the ladder of measures
was kept is for the hub's state machine; the log proves who signed what, after which step, and that who had to
be another officer was one.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from google.protobuf.message import Message

from signalexchange.cases import (
    open_corrections,
    open_erasure,
    open_step,
    parse_corrections,
    parse_erasure,
    parse_step,
)
from signalexchange.envelope import Named
from signalexchange.errors import ExchangeError, VerificationError
from signalexchange.report import Report
from signalexchange.roster import Roster
from signalexchange.v1.case_service_pb2 import CaseStatement
from signalexchange.v1.log_entry_pb2 import (
    CaseEntry,
    CaseErasureEntry,
    CorrectionEntry,
    CorrectionsEntry,
    EntryHeader,
    EntryType,
)

RosterOf = Callable[[int, EntryHeader, Named], Roster | None]
"""The roster in force at an entry; None, counted as not checked, where none is known. Raises
VerificationError unless the statement is for this log and of the header's member."""


class _Step(NamedTuple):
    """A step on the log; `officer` is empty where its signature was not checked."""

    entry: int
    statement: CaseStatement
    digest: bytes
    officer: str


class CaseChecker:
    """Collects entries about cases and judges them at the end."""

    def __init__(self, report: Report, roster_of: RosterOf) -> None:
        self._report = report
        self._roster_of = roster_of
        self._headers: dict[int, tuple[int, str]] = {}
        self._steps: dict[tuple[str, bytes], list[_Step]] = defaultdict(list)
        self._unread: set[int] = set()
        self._erased: list[tuple[int, str, Sequence[int]]] = []
        self._acknowledged: list[tuple[int, str, Sequence[int]]] = []

    def note(self, index: int, header: EntryHeader) -> None:
        """Take in the header of an entry."""
        if header.type in (EntryType.ENTRY_TYPE_CASE, EntryType.ENTRY_TYPE_CORRECTION):
            self._headers[index] = header.type, header.member
            if header.type == EntryType.ENTRY_TYPE_CASE:
                self._unread.add(index)

    def judge(self, index: int, header: EntryHeader, payload: Message, statements: Iterable[bytes]) -> None:
        """Check what can be checked of the entry alone; `statements` are those of receipts in hand."""
        if isinstance(payload, CaseEntry):
            self._step(index, header, payload)
        elif isinstance(payload, CaseErasureEntry):
            self._erasure(index, header, payload, statements)
        elif isinstance(payload, CorrectionEntry):
            self._report.count("corrections")
        elif isinstance(payload, CorrectionsEntry):
            self._corrections(index, header, payload)

    def finish(self, opened: Sequence[int]) -> None:
        """Judge the rest. `opened` is non-zero at entries whose headers are open."""
        whole = next((index for index, flag in enumerate(opened) if not flag), len(opened))
        whole = min(whole, min(self._unread, default=whole))
        for steps in self._steps.values():
            self._chain(sorted(steps, key=lambda step: step.entry), whole)
        for index, member, entries in self._erased:
            wrong = self._other(opened, EntryType.ENTRY_TYPE_CASE, member, entries)
            if wrong is not None:
                self._report.problem("case_erasures", index, f"erases entry {wrong}, no step of the member's")
            else:
                self._report.count("case_erasures")
        acknowledged: set[int] = set()
        for index, member, entries in self._acknowledged:
            wrong = self._other(opened, EntryType.ENTRY_TYPE_CORRECTION, member, entries)
            if wrong is not None:
                what = f"acknowledges entry {wrong}, no correction told to the member"
                self._report.problem("acknowledged", index, what)
                continue
            acknowledged.update(entry for entry in entries if opened[entry])
            unopened = sum(not opened[entry] for entry in entries)
            self._report.skip("acknowledged correction whose entry is not opened", unopened)
        self._report.count("acknowledged", len(acknowledged))

    def _step(self, index: int, header: EntryHeader, payload: CaseEntry) -> None:
        self._unread.discard(index)
        try:
            statement = parse_step(payload.statement)
        except ExchangeError as error:
            self._report.problem("case_steps", index, error)
            return
        officer = ""
        try:
            roster = self._roster_of(index, header, statement)
            if roster is not None:
                officer = self._officer(roster, statement, header.time, payload)
        except ExchangeError as error:
            self._report.problem("case_steps", index, error)
        digest = sha256(payload.statement).digest()
        # A step that fails alone still stands where the next one says it does.
        self._steps[statement.member, statement.case_id].append(_Step(index, statement, digest, officer))

    def _officer(self, roster: Roster, statement: CaseStatement, time: int, payload: CaseEntry) -> str:
        """Who signed it, by the roster."""
        key = roster.officer_key(statement.member, statement.key_id, time)
        if key is None:
            raise VerificationError("signed with a key that the roster gave no officer of the member's then")
        open_step(payload.statement, payload.signature, key.public_key)
        return key.officer

    def _chain(self, steps: Sequence[_Step], whole: int) -> None:
        """Judge one proceeding's steps; nothing is missing before entry `whole`."""
        known = {step.digest: step for step in reversed(steps)}
        taken: set[int] = set()
        for step in steps:
            try:
                if step.statement.sequence in taken:
                    raise VerificationError(f"step {step.statement.sequence} stands on the log twice")
                taken.add(step.statement.sequence)
                checked = self._follows(step, known, whole)
                checked = self._is_independent(step, steps, known, whole) and checked
            except VerificationError as error:
                self._report.problem("case_steps", step.entry, error)
                continue
            if checked and step.officer:
                self._report.count("case_steps")

    def _follows(self, step: _Step, known: dict[bytes, _Step], whole: int) -> bool:
        """Whether the step before is the one it names; False where that is not open."""
        if step.statement.sequence == 0:
            return True
        before = known.get(step.statement.previous)
        if before is None:
            if step.entry <= whole:
                raise VerificationError("follows a step that is not on the log")
            self._report.skip("step of a case whose step before is not opened")
            return False
        if before.entry >= step.entry or before.statement.sequence + 1 != step.statement.sequence:
            raise VerificationError("does not follow the step that it names")
        return True

    def _is_independent(
        self, step: _Step, steps: Sequence[_Step], known: dict[bytes, _Step], whole: int
    ) -> bool:
        """Whether who had to be another officer was one; False where that can't be told."""
        if not step.officer:
            return False
        if step.statement.HasField("decide_proposal"):
            proposal = known.get(step.statement.decide_proposal.proposal)
            if proposal is None and step.entry <= whole:
                raise VerificationError("decides on an action that is not on the log")
            if proposal is None or not proposal.officer:
                self._report.skip("second officer of an action that is not opened")
                return False
            if proposal.entry >= step.entry or not proposal.statement.HasField("action"):
                raise VerificationError("decides on what is no action taken before")
            if proposal.officer == step.officer:
                raise VerificationError("the second officer is the one who proposed it")
        elif step.statement.HasField("decide_appeal"):
            before = [other for other in steps if other.entry < step.entry]
            if any(other.officer == step.officer and _takes_part(other.statement) for other in before):
                raise VerificationError("the appeal is decided by an officer who took part")
        return True

    def _erasure(
        self, index: int, header: EntryHeader, payload: CaseErasureEntry, statements: Iterable[bytes]
    ) -> None:
        try:
            if payload.entries[-1] >= index:
                raise VerificationError("erases entries that were not on the log yet")
            if payload.signature:
                held = [each for each in statements if sha256(each).digest() == payload.statement_digest]
                if not held:
                    self._report.skip("erasure of a case whose order is not in the folder")
                    return
                statement = parse_erasure(held[0])
                roster = self._roster_of(index, header, statement)
                if roster is None:
                    return
                key = roster.officer_key(statement.member, statement.key_id, header.time)
                if key is None:
                    raise VerificationError("ordered with a key that the roster gave no officer then")
                open_erasure(held[0], payload.signature, key.public_key)
        except ExchangeError as error:
            self._report.problem("case_erasures", index, error)
            return
        self._erased.append((index, header.member, payload.entries))

    def _corrections(self, index: int, header: EntryHeader, payload: CorrectionsEntry) -> None:
        try:
            statement = parse_corrections(payload.statement)
            roster = self._roster_of(index, header, statement)
            if roster is None:
                return
            key = roster.signing_key(statement.member, statement.key_id, header.time)
            if key is None:
                raise VerificationError("signed with a key that the roster did not give the member then")
            open_corrections(payload.statement, payload.signature, key)
            if statement.entries[-1] >= index:
                raise VerificationError("acknowledges entries that were not on the log yet")
        except ExchangeError as error:
            self._report.problem("acknowledged", index, error)
            return
        self._acknowledged.append((index, header.member, statement.entries))

    def _other(
        self, opened: Sequence[int], kind: EntryType.ValueType, member: str, entries: Sequence[int]
    ) -> int | None:
        """The first open entry that is not of this kind and member."""
        wanted = (kind, member)
        return next(
            (entry for entry in entries if opened[entry] and self._headers.get(entry) != wanted), None
        )


def _takes_part(statement: CaseStatement) -> bool:
    """Whether the step keeps its officer from deciding an appeal."""
    return (
        statement.HasField("action")
        or statement.HasField("judge_explanation")
        or statement.decide_proposal.approved
    )
