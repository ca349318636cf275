"""Checks an evidence package offline: from its bytes and a trust anchor, and nothing else.

Invariants: a thing counts as checked only after every check on it held; every entry is proved under one
checkpoint that the log signed; every signature counts under the key that the roster in force at the entry's
place gave its signer; a package holds nothing of another member's than of the one that released it; the
report says what the parts say. What a package can't show is that something was left out: it is what the
member chose.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from signalexchange.checkpoint import Checkpoint, open_checkpoint
from signalexchange.cosignature import Cosignature, CosignatureVerifier, cosignatures
from signalexchange.entry_checks import EntryChecker, Held
from signalexchange.entry_payloads import parse_payload
from signalexchange.errors import ExchangeError, MalformedError, VerificationError
from signalexchange.evidence import HeldReceipt
from signalexchange.note import split_note
from signalexchange.package import REPORT, RULEBOOK, Manifest, read_package
from signalexchange.package_contents import Contents, Entry, ReleasedCase, ReleasedMatch, ReleasedSignal
from signalexchange.package_report import REPORT_VERSION, render
from signalexchange.report import Report
from signalexchange.roster import RosterChain
from signalexchange.signals import record_commitment
from signalexchange.tlog_proof import verify_proof
from signalexchange.v1.disclosure_service_pb2 import Instrument
from signalexchange.v1.log_entry_pb2 import EntryType, MatchDeliveryEntry

_TYPES = frozenset(
    {
        EntryType.ENTRY_TYPE_ROSTER,
        EntryType.ENTRY_TYPE_DISCLOSURE_REQUEST,
        EntryType.ENTRY_TYPE_BATCH,
        EntryType.ENTRY_TYPE_WITHDRAWAL,
        EntryType.ENTRY_TYPE_OUTCOMES,
        EntryType.ENTRY_TYPE_MATCH_DELIVERY,
        EntryType.ENTRY_TYPE_CASE,
    }
)
MAX_TREE = 1 << 28
"""Entries of a log whose packages are checked: a byte is kept for each."""


@dataclass
class PackageReport:
    """What was checked, what does not hold, and what could not be checked; `manifest` is what the package
    says of itself, and `page` its report rendered anew from what was checked."""

    manifest: Manifest
    checkpoint: Checkpoint
    page: bytes
    checked: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    cosigned: list[Cosignature] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything that was checked holds."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data for JSON."""
        return {
            "ok": self.ok,
            "origin": self.checkpoint.origin,
            "size": self.checkpoint.size,
            "root": self.checkpoint.root.hex(),
            "member": self.manifest.member,
            "requester": self.manifest.requester,
            "request_sha256": self.manifest.request_sha256,
            "instrument": self.manifest.instrument,
            "instrument_reference": self.manifest.instrument_reference,
            "checked": dict(self.checked),
            "problems": list(self.problems),
            "not_checked": list(self.not_checked),
            "cosigned": [{"name": each.name, "time": each.time} for each in self.cosigned],
        }


def verify_package(
    data: bytes,
    genesis_note: bytes,
    request: bytes | None = None,
    witnesses: Sequence[CosignatureVerifier] = (),
) -> PackageReport:
    """Check a package against the trust anchor `genesis_note` and, where the caller holds it, the `request`
    (the statement's bytes) that it must answer; tell which of the `witnesses` cosigned its checkpoint.

    Raises MalformedError for bytes that are no package, and MalformedError or VerificationError for an anchor
    that is none: then there is nothing to report on.
    """
    chain = RosterChain.start(genesis_note)
    manifest, parts = read_package(data)
    contents = Contents.parse(manifest, parts)
    page = render(contents)
    report = PackageReport(manifest, contents.checkpoint, page)
    if report.checkpoint.size > MAX_TREE:
        raise MalformedError("the log is too large to check this package here")
    _Verification(chain, contents, parts, witnesses, report).run(request)
    return report


class _Verification:
    def __init__(
        self,
        chain: RosterChain,
        contents: Contents,
        parts: dict[str, bytes],
        witnesses: Sequence[CosignatureVerifier],
        report: PackageReport,
    ) -> None:
        self.chain = chain
        self.contents = contents
        self.parts = parts
        self.witnesses = witnesses
        self.report = report
        self.member = contents.manifest.member
        self.shown: set[bytes] = set()

    def run(self, request: bytes | None) -> None:
        self._check("rosters", self._rosters)
        self._check("checkpoint", self._checkpoint)
        self._check("rulebook", self._rulebook)
        self._check("request", lambda: self._request(request))
        self._entries()
        for number, signal in enumerate(self.contents.signals, 1):
            self._check("signals", lambda signal=signal: self._signal(signal), number)
        for number, match in enumerate(self.contents.matches, 1):
            self._check("matches", lambda match=match: self._match(match), number)
        for number, case in enumerate(self.contents.cases, 1):
            self._check("cases", lambda case=case: self._case(case), number)
        self._report()

    def _check(self, what: str, check: Any, number: int = 0) -> None:
        try:
            check()
        except ExchangeError as error:
            self.report.problems.append(f"{what}{f' {number}' if number else ''}: {error}")
        else:
            self.report.checked[what] += 1

    def _rosters(self) -> None:
        """Every version on the log up to the newest, each following the one before."""
        if not self.contents.rosters:
            raise VerificationError("there is none, so no signature can be checked")
        last = -1
        for version, (_, note, entry) in enumerate(self.contents.rosters, 1):
            if version > 1:
                self.chain = self.chain.extend(note)
            if split_note(note)[0] != self.chain.current.text():
                raise VerificationError("the first version is not the trust anchor's")
            if entry.index <= last:
                raise VerificationError("the versions stand on the log in another order")
            last = entry.index

    def _checkpoint(self) -> None:
        """One checkpoint for all, signed by the log."""
        notes = {entry.proof.checkpoint for entry in self.contents.entries}
        if len(notes) != 1:
            raise VerificationError("the entries are proved under several checkpoints")
        (note,) = notes
        open_checkpoint(note, self.chain.current.log_verifier, self.chain.current.origin)
        self.report.cosigned = cosignatures(note, self.witnesses)
        if self.contents.manifest.origin != self.chain.current.origin:
            raise VerificationError("the manifest names another log")

    def _rulebook(self) -> None:
        if sha256(self.parts[RULEBOOK]).hexdigest() != self.chain.current.rulebook_sha256:
            raise VerificationError("is not the one that the newest roster names")

    def _request(self, wanted: bytes | None) -> None:
        """The manifest says what the request says; its entry shows that an officer signed it."""
        manifest, (statement, signed, _) = self.contents.manifest, self.contents.request
        said = (
            statement.origin,
            statement.member,
            statement.requester,
            sha256(signed).hexdigest(),
            Instrument.Name(statement.instrument).removeprefix("INSTRUMENT_").lower(),
            statement.reference,
        )
        if said != (
            manifest.origin,
            manifest.member,
            manifest.requester,
            manifest.request_sha256,
            manifest.instrument,
            manifest.instrument_reference,
        ):
            raise VerificationError("the manifest says otherwise than the request")
        if wanted is not None and wanted != signed:
            raise VerificationError("the package answers another request")

    def _entries(self) -> None:
        """Prove every entry, and judge what it says as the log's verifier does."""
        contents, checkpoint = self.contents, self.report.checkpoint
        log = Report(checkpoint.origin)
        checker = EntryChecker(
            log,
            [roster for _, roster in self.chain.versions],
            [entry.index for _, _, entry in contents.rosters[: len(self.chain.versions)]],
            {(checkpoint.size, checkpoint.root)},
            self._orders(),
            [signal.part.disclosure for signal in contents.signals],
        )
        flags = bytearray(checkpoint.size)
        for entry in contents.entries:
            try:
                verify_proof(
                    entry.opened.proof.encode(),
                    entry.opened.leaf,
                    self.chain.current.log_verifier,
                    self.chain.current.origin,
                )
                if entry.index >= checkpoint.size:
                    raise VerificationError("stands beyond the checkpoint")
                if entry.header.member != self.member and entry.header.type != EntryType.ENTRY_TYPE_ROSTER:
                    raise VerificationError("concerns another party than the member that releases it")
                if entry.header.type not in _TYPES:
                    raise VerificationError("is of a type that no package holds")
                payload = parse_payload(entry.header.type, entry.opened.payload)
            except ExchangeError as error:
                self.report.problems.append(f"entry {entry.index}: {error}")
                continue
            checker.note(entry.index, entry.header)
            checker.judge(entry.index, entry.header, payload)
            flags[entry.index] = 1
            self.report.checked["entries"] += 1
        checker.finish(flags)
        self.report.problems += [f"{each.check}, entry {each.index}: {each.what}" for each in log.problems]
        # A member is not shown the entry in which the hub says what it found, only that it was told.
        told = "delivery of a match whose entry is not opened"
        self.report.not_checked += [reason for reason in log.not_checked if reason != told]

    def _orders(self) -> list[Held]:
        """What withdrawals say, for their entries hold its digest alone; everything that is said to be."""
        found: dict[tuple[int, bytes], Held] = {}
        for signal in self.contents.signals:
            for (_, entry), change in zip(signal.changes, signal.part.changes, strict=True):
                if change.statement:
                    receipt = HeldReceipt(
                        index=entry.index, checkpoint=entry.proof.checkpoint, statement=change.statement
                    )
                    found[entry.index, change.statement] = Held(receipt, self.report.checkpoint)
        return list(found.values())

    def _once(self, id_: bytes) -> None:
        """What stands twice could be shown with and without what became of it."""
        if id_ in self.shown:
            raise VerificationError("stands in the package twice")
        self.shown.add(id_)

    def _signal(self, signal: ReleasedSignal) -> None:
        self._once(signal.signal.signal_id)
        disclosure = signal.part.disclosure
        _check_type(signal.entry, EntryType.ENTRY_TYPE_BATCH)
        if disclosure.index != signal.entry.index:
            raise VerificationError("is disclosed from another entry")
        row = signal.part.record
        if row and record_commitment(signal.part.salt, row) != signal.signal.record_commitment:
            raise VerificationError("the record is not the one that the signal commits to")

    def _match(self, match: ReleasedMatch) -> None:
        _check_type(match.delivery, EntryType.ENTRY_TYPE_MATCH_DELIVERY)
        delivered = parse_payload(match.delivery.header.type, match.delivery.opened.payload)
        assert isinstance(delivered, MatchDeliveryEntry)  # noqa: S101 - by its type
        if delivered.match_id != match.match.match_id:
            raise VerificationError("the delivery is of another match")
        if delivered.digest != sha256(match.part.match).digest():
            raise VerificationError("the match was shown to the member otherwise")

    def _case(self, case: ReleasedCase) -> None:
        """The member's own steps, from the first on and without a gap."""
        if not case.steps:
            raise VerificationError("holds no step")
        self._once(case.case_id)
        previous = b""
        for sequence, (statement, entry) in enumerate(case.steps):
            if statement.case_id != case.case_id or statement.member != self.member:
                raise VerificationError("holds a step of another case or member")
            if statement.sequence != sequence or statement.previous != previous:
                raise VerificationError("a step is missing, or they are in another order")
            _check_type(entry, EntryType.ENTRY_TYPE_CASE)
            previous = sha256(case_statement(entry)).digest()

    def _report(self) -> None:
        manifest = self.contents.manifest
        if manifest.report_version != REPORT_VERSION:
            self.report.not_checked.append("report.html, which another version of the software made")
        elif self.parts.get(REPORT) != self.report.page:
            self.report.problems.append("report: says otherwise than the parts; render it anew")
        else:
            self.report.checked["report"] += 1
        self.report.checked["attachments"] = len(self.contents.attachments)


def case_statement(entry: Entry) -> bytes:
    """The statement's bytes in a case's entry."""
    payload = parse_payload(entry.header.type, entry.opened.payload)
    statement: bytes = payload.statement  # type: ignore[attr-defined]  # a CaseEntry
    return statement


def _check_type(entry: Entry, type_: EntryType.ValueType) -> None:
    if entry.header.type != type_:
        raise VerificationError("stands on an entry of another type")
