"""Builds an evidence package from the member's journal and the hub's log.

Invariants: only what the officers name goes in, and only the member's own; everything is proved under one
checkpoint; a signal that the member withdrew or refuted is shown as such, as far as this journal knows; a
package that does not verify is never handed out.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from signalexchange.cases import parse_step
from signalexchange.client import ExchangeClient
from signalexchange.collect import open_unerased
from signalexchange.disclosures import parse_statement
from signalexchange.entry_payloads import parse_header
from signalexchange.envelope import parse_withdrawal, signal_disclosure
from signalexchange.errors import ConfigError, VerificationError
from signalexchange.journal import Journal, Kind
from signalexchange.outcomes import parse_outcomes
from signalexchange.package import (
    REPORT,
    REQUEST,
    RULEBOOK,
    CasePart,
    Change,
    LogEntry,
    Manifest,
    MatchPart,
    RequestPart,
    RosterPart,
    SignalPart,
    check_attachment,
    rows,
    write_package,
)
from signalexchange.package_contents import Contents
from signalexchange.package_report import REPORT_VERSION, render
from signalexchange.package_verify import verify_package
from signalexchange.sending import signals_of
from signalexchange.tlog_proof import TlogProof
from signalexchange.v1.disclosure_service_pb2 import Disclosure, DisclosureRequestStatement, Instrument
from signalexchange.v1.log_entry_pb2 import CaseEntry, EntryType, MatchDeliveryEntry
from signalexchange.v1.match_service_pb2 import Match
from signalexchange.v1.outcome_service_pb2 import VERDICT_REFUTED, ReportOutcomesRequest
from signalexchange.v1.signal_service_pb2 import WithdrawSignalsRequest
from signalexchange.v1.transparency_service_pb2 import OpenedEntry

LEAVES = 1_000
OPENED = 250


@dataclass(frozen=True)
class Selection:
    """What the officers release.

    `signals`, `matches` and `cases` are ids of 16 bytes. `references` and `records` add the member's
    reference and its own row, with raw identifiers, of each signal; `attachments` maps names to contents.
    """

    signals: Sequence[bytes] = ()
    matches: Sequence[bytes] = ()
    cases: Sequence[bytes] = ()
    references: bool = False
    records: bool = False
    attachments: Mapping[str, bytes] = field(default_factory=dict)


async def build_package(
    client: ExchangeClient, genesis: bytes, disclosure: Disclosure, selection: Selection
) -> bytes:
    """The package of a selection that answers a request, verified against the trust anchor `genesis`.

    Raises ConfigError for what the journal doesn't know, MalformedError for what no package can carry,
    RefusedError, VerificationError.
    """
    for name, data in selection.attachments.items():
        check_attachment(name, data)
    await client.roster.refresh()
    matches = [await client.matches.get(match_id) for match_id in selection.matches]
    deliveries = await _deliveries(client, matches)
    cases = {case_id: await _steps(client, case_id) for case_id in selection.cases}
    note = await client.log.checkpoint()
    entries = _Entries(client, note)
    roster_indices = [index for _, index in sorted(client.roster.indices.items())]
    signals = await asyncio.to_thread(_signals, client.journal, selection)
    wanted = {*roster_indices, disclosure.entries[0], *deliveries}
    wanted |= {index for index, _, changes in signals for index in (index, *(at for at, _ in changes))}
    wanted |= {index for steps in cases.values() for index in steps}
    await entries.fetch(sorted(wanted))
    parts: dict[str, bytes] = {
        REQUEST: RequestPart(entry=entries[disclosure.entries[0]]).text().encode(),
        RULEBOOK: client.roster.rulebook_text,
    }
    for number, index in enumerate(roster_indices, 1):
        parts[f"rosters/{number:04}.json"] = RosterPart(entry=entries[index]).text().encode()
    for number, (index, part, changes) in enumerate(signals, 1):
        done = SignalPart(
            **{
                **part,
                "entry": entries[index],
                "changes": tuple(Change(entry=entries[at], statement=said) for at, said in changes),
            }
        )
        parts[f"signals/{number:04}.json"] = done.text().encode()
    for number, (match, index) in enumerate(zip(matches, deliveries, strict=True), 1):
        shown = MatchPart(match=match.SerializeToString(deterministic=True), delivery=entries[index])
        parts[f"matches/{number:04}.json"] = shown.text().encode()
    for number, (case_id, steps) in enumerate(cases.items(), 1):
        case = CasePart(case_id=case_id, steps=tuple(entries[index] for index in steps))
        parts[f"cases/{number:04}.json"] = case.text().encode()
    parts |= {f"attachments/{name}": data for name, data in selection.attachments.items()}
    package = compose(parts, disclosure.request.statement, client.now(), secrets.token_bytes(32))
    report = verify_package(package, genesis, disclosure.request.statement)
    if not report.ok:
        raise VerificationError("the package does not verify: " + "; ".join(report.problems[:3]))
    return package


def compose(parts: Mapping[str, bytes], request: bytes, made_at: int, salt: bytes) -> bytes:
    """The package of parts, its manifest and its report added; `request` is the request's statement,
    `made_at` Unix seconds, `salt` 32 random bytes. Raises MalformedError."""
    statement = parse_statement(DisclosureRequestStatement, request)
    manifest = Manifest(
        version=1,
        report_version=REPORT_VERSION,
        salt=salt,
        origin=statement.origin,
        member=statement.member,
        requester=statement.requester,
        request_sha256=sha256(request).hexdigest(),
        instrument=Instrument.Name(statement.instrument).removeprefix("INSTRUMENT_").lower(),
        instrument_reference=statement.reference,
        made_at=made_at,
        parts=rows(parts),
    )
    whole = {**parts, REPORT: render(Contents.parse(manifest, parts))}
    return write_package(manifest.model_copy(update={"parts": rows(whole)}), whole)


class _Entries:
    """Entries of the member's own, opened and proved under one checkpoint."""

    def __init__(self, client: ExchangeClient, note: bytes) -> None:
        self._client = client
        self._note = note
        self._found: dict[int, LogEntry] = {}

    async def fetch(self, indices: Sequence[int]) -> None:
        """Open and prove all of them."""
        for start in range(0, len(indices), OPENED):
            for entry in await self._client.log.open_entries(indices[start : start + OPENED]):
                self._found[entry.index] = await self._proved(entry)

    async def _proved(self, entry: OpenedEntry) -> LogEntry:
        proved = await self._client.log.prove_under(self._note, entry.index)
        if proved.leaf != entry.leaf:
            raise VerificationError(f"entry {entry.index} was opened with another leaf than the one proved")
        return LogEntry(
            header=entry.header,
            header_opening=entry.header_opening,
            payload=entry.payload,
            payload_opening=entry.payload_opening,
            proof=TlogProof(proved.index, proved.hashes, proved.checkpoint).encode().decode(),
        )

    def __getitem__(self, index: int) -> LogEntry:
        return self._found[index]


Released = tuple[int, dict[str, object], list[tuple[int, bytes]]]
"""Index of a signal's batch, fields of its part, and (index, withdrawal's statement or nothing) of what
changed it."""


def _signals(journal: Journal, selection: Selection) -> list[Released]:
    """The signals as the journal has them. Raises ConfigError for one that it doesn't have."""
    changes = _changes(journal, set(selection.signals))
    found: list[Released] = []
    for signal_id in selection.signals:
        kept = journal.signal(signal_id)
        sent = None if kept is None else journal.sent(Kind.BATCH, kept.batch_id)
        if kept is None or sent is None or sent.index is None:
            raise ConfigError(f"the journal has no acknowledged signal {signal_id.hex()}")
        batch, ids = signals_of(sent.request)
        fields: dict[str, object] = {
            "disclosure": signal_disclosure(
                batch.statement, batch.signature, list(batch.signals), ids.index(signal_id), sent.index
            ),
            "reference": kept.reference if selection.references else "",
            "record": kept.record if selection.records else b"",
            "salt": kept.salt if selection.records else b"",
        }
        found.append((sent.index, fields, changes.get(signal_id, [])))
    return found


def _changes(journal: Journal, wanted: set[bytes]) -> dict[bytes, list[tuple[int, bytes]]]:
    """Withdrawals and refutations of the member's own that name the signals, by signal."""
    found: dict[bytes, list[tuple[int, bytes]]] = {}
    for sent in journal.history(Kind.ORDER):
        statement = WithdrawSignalsRequest.FromString(sent.request).statement
        if sent.index is not None:
            for signal_id in wanted.intersection(parse_withdrawal(statement).signal_ids):
                found.setdefault(signal_id, []).append((sent.index, statement))
    for sent in journal.history(Kind.REPORT):
        outcomes = parse_outcomes(ReportOutcomesRequest.FromString(sent.request).statement).outcomes
        refuted = {outcome.signal_id for outcome in outcomes if outcome.verdict == VERDICT_REFUTED}
        if sent.index is not None:
            for signal_id in wanted & refuted:
                found.setdefault(signal_id, []).append((sent.index, b""))
    return found


async def _deliveries(client: ExchangeClient, matches: Sequence[Match]) -> list[int]:
    """Indices of the entries by which the member was told of the matches as they are now."""
    digests = [sha256(match.SerializeToString(deterministic=True)).digest() for match in matches]
    found: dict[bytes, int] = {}
    if digests:
        async for entry in _own(client, EntryType.ENTRY_TYPE_MATCH_DELIVERY):
            found.setdefault(MatchDeliveryEntry.FromString(entry.payload).digest, entry.index)
            if found.keys() >= set(digests):
                break
    if not found.keys() >= set(digests):
        raise VerificationError("the log has no entry by which the hub told of this match; look again")
    return [found[digest] for digest in digests]


async def _steps(client: ExchangeClient, case_id: bytes) -> list[int]:
    """Indices of the member's own steps in a case, in order. Raises ConfigError where there is none."""
    found = [
        entry.index
        async for entry in _own(client, EntryType.ENTRY_TYPE_CASE)
        if parse_step(CaseEntry.FromString(entry.payload).statement).case_id == case_id
    ]
    if not found:
        raise ConfigError(f"the log has no steps of this member in case {case_id.hex()}")
    return sorted(found)


async def _own(client: ExchangeClient, type_: int) -> AsyncGenerator[OpenedEntry, None]:
    """The member's own entries of a type that were not erased, newest first; reads the log as far as need
    be."""
    end = (await client.log.accept(await client.log.checkpoint())).size
    while end:
        start = max(0, end - LEAVES)
        leaves = await client.log.leaves(start, end - start)
        own = [
            start + at
            for at, leaf in enumerate(leaves)
            if leaf.header and parse_header(leaf.header).type == type_
        ]
        opened: list[OpenedEntry] = []
        for first in range(0, len(own), OPENED):
            opened += await open_unerased(client, own[first : first + OPENED])
        for entry in reversed(opened):
            yield entry
        end = start
