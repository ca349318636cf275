"""Collects the log from the hub into an evidence folder, for `verify` to check offline.

Invariants: what is here is never fetched again, so that collecting is resumed by doing it again; only entries
whose header the party may see, and rosters, are asked for; an entry that was erased is left closed. Nothing
collected counts before `verify` has checked it; the checkpoint itself is checked against those seen before.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from signalexchange.checkpoint import Checkpoint
from signalexchange.client import ExchangeClient
from signalexchange.errors import MalformedError, RefusedError
from signalexchange.evidence import EvidenceFolder, HeldReceipt, Opening, read_openings
from signalexchange.journal import Journal, Kind
from signalexchange.note import split_note
from signalexchange.v1.case_service_pb2 import RecordStepRequest
from signalexchange.v1.outcome_service_pb2 import ReportOutcomesRequest
from signalexchange.v1.signal_service_pb2 import PublishSignalsRequest, WithdrawSignalsRequest
from signalexchange.v1.transparency_service_pb2 import OpenedEntry

LEAVES = 1000
# An access record holds up to 1,000 tokens: so many are answered in one message.
ENTRIES = 250

_INDEX = re.compile(r"indices\[([0-9]{1,4})\]")

Progress = Callable[[str, int, int], None]
"""Called with what is fetched ("leaves", "entries"), how many are done and how many there are."""


async def collect(client: ExchangeClient, folder: Path, on_progress: Progress | None = None) -> Checkpoint:
    """Fetch rosters, rulebook, leaves and all openings the party may see, up to the newest checkpoint; return
    it.

    An auditor's openings are themselves put on the log. Raises RefusedError, VerificationError,
    MalformedError.
    """
    progress = on_progress or (lambda what, done, total: None)
    evidence = EvidenceFolder(folder)
    await client.roster.refresh()
    for version, (note, _) in enumerate(client.roster.chain.versions, 1):
        evidence.add_roster(version, note)
    evidence.set_rulebook(client.roster.rulebook_text)
    note = await client.log.checkpoint()
    checkpoint = Checkpoint.parse(split_note(note)[0])
    evidence.add_checkpoint(note)
    await _leaves(client, evidence, checkpoint.size, progress)
    wanted = {index for index in client.roster.indices.values() if index < checkpoint.size}
    for _, opening in read_openings(folder):
        if isinstance(opening, Opening) and opening.payload is None:
            wanted.add(opening.index)
    for _, opening in read_openings(folder):
        if isinstance(opening, Opening) and opening.payload is not None:
            wanted.discard(opening.index)
    await _payloads(client, evidence, sorted(wanted), progress)
    evidence.add_checkpoint(note)
    return checkpoint


async def _leaves(client: ExchangeClient, evidence: EvidenceFolder, size: int, progress: Progress) -> None:
    while evidence.size < size:
        start = evidence.size
        leaves = (await client.log.leaves(start, min(LEAVES, size - start)))[: size - start]
        if not leaves:
            raise MalformedError(f"the hub has no leaf {start}, though its checkpoint is of {size}")
        # Headers first: after a crash in between they come twice, never not at all.
        evidence.add_openings(
            Opening(index=start + at, header=leaf.header, header_opening=leaf.header_opening)
            for at, leaf in enumerate(leaves)
            if leaf.header
        )
        evidence.append_leaves(leaf.leaf for leaf in leaves)
        progress("leaves", evidence.size, size)


async def _payloads(
    client: ExchangeClient, evidence: EvidenceFolder, indices: list[int], progress: Progress
) -> None:
    for start in range(0, len(indices), ENTRIES):
        entries = await open_unerased(client, indices[start : start + ENTRIES])
        evidence.add_openings(
            Opening(
                index=entry.index,
                header=entry.header,
                header_opening=entry.header_opening,
                payload=entry.payload,
                payload_opening=entry.payload_opening,
            )
            for entry in entries
        )
        progress("entries", min(start + ENTRIES, len(indices)), len(indices))


async def open_unerased(client: ExchangeClient, indices: list[int]) -> Iterable[OpenedEntry]:
    """Open the entries that were not erased; a refusal names those that were, 32 at most at a time."""
    while indices:
        try:
            return await client.log.open_entries(indices)
        except RefusedError as error:
            if len(indices) > 1 and any(field == "indices" for field, _ in error.violations):
                half = len(indices) // 2  # together they are too large for one answer
                return [
                    *await open_unerased(client, indices[:half]),
                    *await open_unerased(client, indices[half:]),
                ]
            fields = (_INDEX.fullmatch(field) for field, _ in error.violations)
            erased = {int(field[1]) for field in fields if field is not None}
            if error.reason != "ERASED" or not erased:
                raise
            indices = [index for at, index in enumerate(indices) if at not in erased]
    return []


def keep_receipts(journal: Journal, folder: Path) -> int:
    """Put the journal's receipts beside what was collected, so that `verify` holds the log to them; how
    many.
    """
    evidence, count = EvidenceFolder(folder), 0
    for kind, message in (
        (Kind.BATCH, PublishSignalsRequest),
        (Kind.ORDER, WithdrawSignalsRequest),
        (Kind.REPORT, ReportOutcomesRequest),
        (Kind.STEP, RecordStepRequest),
    ):
        for sent in journal.history(kind):
            if sent.index is not None:
                statement = message.FromString(sent.request).statement
                evidence.add_receipt(
                    HeldReceipt(index=sent.index, checkpoint=sent.checkpoint, statement=statement)
                )
                count += 1
    return count
