"""An auditor's copy of the log: every leaf once read, and the root of every size it has had.

A checkpoint that the hub handed out at any time must be the root of that many leaves of the copy; leaves
already in the copy are never read again, so a hub that rewrites one can't match the copy with any later
checkpoint.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from signalexchange import merkle
from signalexchange.checkpoint import Checkpoint, open_checkpoint
from signalexchange.entries import check_header, check_payload
from signalexchange.note import NoteVerifier
from signalexchange.v1.log_entry_pb2 import EntryHeader
from signalexchange.v1.transparency_service_pb2 import (
    GetCheckpointRequest,
    GetConsistencyProofRequest,
    GetInclusionProofRequest,
    ListLeavesRequest,
    OpenedEntry,
    OpenEntriesRequest,
)
from signalexchange.v1.transparency_service_pb2_grpc import TransparencyServiceStub

PAGE = 1000


@dataclass
class Mirror:
    """`leaves`, `headers` (where shown) and `roots` grow; they never change."""

    verifier: NoteVerifier
    origin: str
    leaves: list[bytes] = field(default_factory=list)
    headers: list[EntryHeader | None] = field(default_factory=list)
    roots: list[bytes] = field(default_factory=lambda: [merkle.EMPTY_ROOT])
    frontier: merkle.Frontier = field(default_factory=merkle.Frontier)

    def extend(self, log: TransparencyServiceStub) -> Checkpoint:
        """Read what the newest checkpoint has beyond the copy, and check that checkpoint."""
        note = log.GetCheckpoint(GetCheckpointRequest(), timeout=10).checkpoint
        size = open_checkpoint(note, self.verifier, self.origin).size
        assert size >= len(self.leaves), f"the log shrank from {len(self.leaves)} to {size}"
        while len(self.leaves) < size:
            start, limit = len(self.leaves), min(PAGE, size - len(self.leaves))
            page = log.ListLeaves(ListLeavesRequest(start=start, limit=limit), timeout=10).leaves
            assert page
            for leaf in page:
                header = None
                if leaf.header:
                    check_header(leaf.leaf, leaf.header, leaf.header_opening)
                    header = EntryHeader.FromString(leaf.header)
                self.leaves.append(leaf.leaf)
                self.headers.append(header)
                self.frontier.append(merkle.leaf_hash(leaf.leaf))
                self.roots.append(self.frontier.root())
        return self.check(note)

    def check(self, note: bytes) -> Checkpoint:
        """Check that a checkpoint is the root of that many leaves of the copy."""
        checkpoint = open_checkpoint(note, self.verifier, self.origin)
        assert checkpoint.root == self.roots[checkpoint.size], f"another tree of size {checkpoint.size}"
        return checkpoint

    def of_type(self, type_: int, start: int = 0) -> list[int]:
        """Indices of the entries whose shown header has this type."""
        return [
            index
            for index, header in enumerate(self.headers[start:], start)
            if header is not None and header.type == type_
        ]

    def opened(self, log: TransparencyServiceStub, indices: list[int]) -> Iterator[OpenedEntry]:
        """Open entries and check both commitments of each."""
        for at in range(0, len(indices), PAGE):
            request = OpenEntriesRequest(indices=indices[at : at + PAGE])
            for entry in log.OpenEntries(request, timeout=10).entries:
                assert entry.leaf == self.leaves[entry.index]
                check_header(entry.leaf, entry.header, entry.header_opening)
                check_payload(entry.leaf, entry.payload, entry.payload_opening)
                yield entry

    def prove_inclusion(self, log: TransparencyServiceStub, index: int, size: int) -> None:
        """Have the hub prove that the entry is in the tree of that size."""
        proof = log.GetInclusionProof(GetInclusionProofRequest(index=index, tree_size=size), timeout=10)
        assert proof.leaf == self.leaves[index]
        merkle.verify_inclusion(index, size, merkle.leaf_hash(proof.leaf), proof.hashes, self.roots[size])

    def prove_consistency(self, log: TransparencyServiceStub, old: int, new: int) -> None:
        """Have the hub prove that the newer tree extends the older one."""
        proof = log.GetConsistencyProof(GetConsistencyProofRequest(old_size=old, new_size=new), timeout=10)
        merkle.verify_consistency(old, new, proof.hashes, self.roots[old], self.roots[new])
