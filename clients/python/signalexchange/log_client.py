"""The hub's log as one party sees it: no checkpoint is believed that does not extend the ones before.

Invariants: a checkpoint counts only if the roster's log key signed it and a consistency proof ties it to the
newest one remembered, which only ever grows; where that fails, a `ForkError` carries both and from then on
nothing of this log is believed, by no client of the same journal, until `settle_fork`.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from signalexchange.checkpoint import Checkpoint, open_checkpoint
from signalexchange.connection import (
    CHECKPOINT,
    CONSISTENCY_PROOF,
    INCLUSION_PROOF,
    LEAVES,
    OPEN_ENTRIES,
    TIMEOUT,
    Connection,
)
from signalexchange.entries import check_header, check_payload
from signalexchange.errors import MalformedError, VerificationError
from signalexchange.journal import Journal
from signalexchange.merkle import leaf_hash, verify_consistency, verify_inclusion
from signalexchange.note import split_note
from signalexchange.roster_client import RosterClient
from signalexchange.v1 import transparency_service_pb2 as pb
from signalexchange.v1.identifier_pb2 import Receipt

MAX_BATCH = 1000
KEEP_SECONDS = 5.0


class ForkError(VerificationError):
    """The log signed two checkpoints, `ours` and `theirs`, that it did not show to be of one tree; signed
    notes.
    """

    def __init__(self, ours: bytes, theirs: bytes) -> None:
        one, other = (Checkpoint.parse(split_note(note)[0]) for note in (ours, theirs))
        super().__init__(
            f"the log {one.origin} is forked or hides it: size {one.size} with root {one.root.hex()} and "
            f"size {other.size} with root {other.root.hex()}; keep both signed checkpoints as evidence"
        )
        self.ours = ours
        self.theirs = theirs


@dataclass(frozen=True, slots=True)
class Inclusion:
    """A proved entry: its leaf, its audit path and the checkpoint (a signed note) whose tree it is in."""

    index: int
    leaf: bytes
    hashes: tuple[bytes, ...]
    checkpoint: bytes


class LogClient:
    """Reads and checks the log of the roster's origin."""

    def __init__(self, hub: Connection, rosters: RosterClient, journal: Journal | None) -> None:
        """The newest checkpoint is remembered in the journal; without one, for this object's life."""
        self._hub = hub
        self._rosters = rosters
        self._journal = journal
        self._newest: bytes | None = None
        self._fork: ForkError | None = None
        self._kept_at = -KEEP_SECONDS
        self._turn = asyncio.Lock()

    async def checkpoint(self, timeout: float = TIMEOUT) -> bytes:  # noqa: ASYNC109 - gRPC ends the call
        """The hub's newest checkpoint, a signed note, checked; raises RefusedError, VerificationError."""
        answer = await self._hub.call(CHECKPOINT, pb.GetCheckpointRequest(), timeout)
        await self.accept(answer.checkpoint)
        return answer.checkpoint

    async def accept(self, note: bytes) -> Checkpoint:
        """Believe a checkpoint after checking it against the newest one known.

        Raises MalformedError, VerificationError for one that the log did not sign, ForkError, or RefusedError
        where the proof can't be had.
        """
        roster = await self._rosters.roster()
        try:
            checkpoint = open_checkpoint(note, roster.log_verifier, roster.origin)
        except VerificationError:
            # The log's key may have been rotated by a roster version not seen yet.
            await self._rosters.refresh()
            roster = await self._rosters.roster()
            checkpoint = open_checkpoint(note, roster.log_verifier, roster.origin)
        async with self._turn:
            if self._newest is None and self._fork is None and self._journal is not None:
                evidence = await asyncio.to_thread(fork_evidence, self._journal, roster.origin)
                self._fork = None if evidence is None else ForkError(*evidence)
            if self._fork is not None:
                raise self._fork
            known_note = await self._remembered(roster.origin)
            if known_note is None:
                await self._remember(roster.origin, note)
                return checkpoint
            known = Checkpoint.parse(split_note(known_note)[0])
            await self._compare(known, known_note, checkpoint, note)
            if checkpoint.size > known.size:
                await self._remember(roster.origin, note)
        return checkpoint

    async def accept_receipt(self, receipt: Receipt) -> Checkpoint:
        """Believe a receipt's checkpoint, whose tree must be large enough for its entry."""
        checkpoint = await self.accept(receipt.checkpoint)
        if receipt.index >= checkpoint.size:
            raise VerificationError(f"the receipt names entry {receipt.index} of a tree of {checkpoint.size}")
        return checkpoint

    async def prove(self, index: int, timeout: float = TIMEOUT) -> Inclusion:  # noqa: ASYNC109
        """Prove that entry `index` is in the newest tree; raises RefusedError (BEYOND_LOG),
        VerificationError.
        """
        answer = await self._hub.call(INCLUSION_PROOF, pb.GetInclusionProofRequest(index=index), timeout)
        checkpoint = await self.accept(answer.checkpoint)
        verify_inclusion(index, checkpoint.size, leaf_hash(answer.leaf), answer.hashes, checkpoint.root)
        return Inclusion(index, answer.leaf, tuple(answer.hashes), answer.checkpoint)

    async def prove_under(self, note: bytes, index: int, timeout: float = TIMEOUT) -> Inclusion:  # noqa: ASYNC109
        """Prove that entry `index` is in the tree of a checkpoint, so that many proofs rest on one; raises as
        `prove` does.
        """
        checkpoint = await self.accept(note)
        request = pb.GetInclusionProofRequest(index=index, tree_size=checkpoint.size)
        answer = await self._hub.call(INCLUSION_PROOF, request, timeout)
        verify_inclusion(index, checkpoint.size, leaf_hash(answer.leaf), answer.hashes, checkpoint.root)
        return Inclusion(index, answer.leaf, tuple(answer.hashes), note)

    async def leaves(self, start: int, limit: int, timeout: float = TIMEOUT) -> list[pb.Leaf]:  # noqa: ASYNC109
        """At most 1,000 leaves from `start` on, headers opened where the caller may see them; not yet
        proved.
        """
        request = pb.ListLeavesRequest(start=start, limit=min(limit, MAX_BATCH))
        leaves = list((await self._hub.call(LEAVES, request, timeout)).leaves)
        if len(leaves) > request.limit:
            raise MalformedError("the hub answered with more leaves than it was asked for")
        for leaf in leaves:
            if leaf.header:
                check_header(leaf.leaf, leaf.header, leaf.header_opening)
        return leaves

    async def open_entries(self, indices: Sequence[int], timeout: float = TIMEOUT) -> list[pb.OpenedEntry]:  # noqa: ASYNC109
        """Open 1 to 1,000 entries, in ascending order, each checked against its leaf's commitments; not yet
        proved.

        An auditor's openings are themselves logged. Raises RefusedError (BEYOND_LOG, OPENING_NOT_ALLOWED,
        ERASED).
        """
        wanted = sorted(set(indices))
        answer = await self._hub.call(OPEN_ENTRIES, pb.OpenEntriesRequest(indices=wanted), timeout)
        entries = list(answer.entries)
        if [entry.index for entry in entries] != wanted:
            raise MalformedError("the hub opened other entries than those asked for")
        for entry in entries:
            check_header(entry.leaf, entry.header, entry.header_opening)
            check_payload(entry.leaf, entry.payload, entry.payload_opening)
        return entries

    async def _compare(
        self, known: Checkpoint, known_note: bytes, seen: Checkpoint, seen_note: bytes
    ) -> None:
        old, new = (known, seen) if known.size <= seen.size else (seen, known)
        try:
            if old.size == new.size:
                if old.root != new.root:
                    raise VerificationError("two roots of one size")
            elif old.size > 0:
                request = pb.GetConsistencyProofRequest(old_size=old.size, new_size=new.size)
                answer = await self._hub.call(CONSISTENCY_PROOF, request)
                verify_consistency(old.size, new.size, answer.hashes, old.root, new.root)
        except (VerificationError, MalformedError) as error:
            self._fork = ForkError(known_note, seen_note)
            if self._journal is not None:
                await asyncio.to_thread(self._journal.set_state, f"fork {seen.origin}", seen_note)
                await asyncio.to_thread(self._journal.set_state, f"checkpoint {seen.origin}", known_note)
            raise self._fork from error

    async def _remembered(self, origin: str) -> bytes | None:
        if self._newest is None and self._journal is not None:
            self._newest = await asyncio.to_thread(self._journal.state, f"checkpoint {origin}")
        return self._newest

    async def _remember(self, origin: str, note: bytes) -> None:
        self._newest = note
        # A crash forgets the last seconds' checkpoints; the older one still ties every later one down.
        if time.monotonic() - self._kept_at >= KEEP_SECONDS:
            await self._keep(origin, note)

    async def close(self) -> None:
        """Write the newest checkpoint into the journal."""
        if self._newest is not None and self._fork is None:
            await self._keep(Checkpoint.parse(split_note(self._newest)[0]).origin, self._newest)

    async def _keep(self, origin: str, note: bytes) -> None:
        self._kept_at = time.monotonic()
        if self._journal is not None:
            await asyncio.to_thread(self._journal.set_state, f"checkpoint {origin}", note)


def fork_evidence(journal: Journal, origin: str) -> tuple[bytes, bytes] | None:
    """The two signed checkpoints, ours and theirs, of a fork that a client of this journal saw."""
    ours, theirs = journal.state(f"checkpoint {origin}"), journal.state(f"fork {origin}")
    return (ours, theirs) if ours is not None and theirs is not None else None


def settle_fork(journal: Journal, origin: str) -> None:
    """Let clients of this journal ask the log again: the checkpoint believed before the fork stays, so that
    only a proof that the log extends it, which was missing, makes the log believed.
    """
    journal.drop_state(f"fork {origin}")


async def confirm(log: LogClient, receipt: Receipt, payload: bytes) -> Inclusion:
    """Prove that what a receipt names is in the log and that its entry holds `payload`, the caller's own
    request.

    Raises VerificationError where the entry says something else, RefusedError where proof or opening can't be
    had.
    """
    inclusion = await log.prove(receipt.index)
    (entry,) = await log.open_entries([receipt.index])
    if entry.leaf != inclusion.leaf:
        raise VerificationError(f"entry {receipt.index} was opened with another leaf than the one proved")
    if entry.payload != payload:
        raise VerificationError(f"entry {receipt.index} holds something else than what was sent")
    return inclusion
