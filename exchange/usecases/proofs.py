"""Proving the log: inclusion, consistency, leaves, and opening entries to those who may.

Invariants: proofs come from complete tiles and the edge, a handful of rows whatever the size of the log;
nothing is proved or shown of a tree that isn't durable; a header is shown to auditors and to the member it
concerns; a payload is opened to the member concerned, to everybody if it is a roster or a suspension, to an
auditor only once that is itself on the log.
"""

from itertools import pairwise
from typing import Final

from signalexchange.merkle import consistency_ranges, inclusion_ranges
from signalexchange.roster import Party
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.log_entry_pb2 import EntryType, OpeningEntry
from signalexchange.v1.transparency_service_pb2 import (
    GetConsistencyProofRequest,
    GetConsistencyProofResponse,
    GetInclusionProofRequest,
    GetInclusionProofResponse,
    Leaf,
    ListLeavesRequest,
    ListLeavesResponse,
    OpenedEntry,
    OpenEntriesRequest,
    OpenEntriesResponse,
)

from exchange.domain.records import Entry
from exchange.domain.refusal import Refusal, invalid
from exchange.domain.tree import Tree
from exchange.usecases.exchange import Exchange
from exchange.usecases.writer import Change, Proposal

MAX_ENTRIES: Final = 1000
MAX_OPENED: Final = 4 << 20
"""Bytes of payload opened at once; a single entry is opened whatever its size."""
_PUBLIC: Final = frozenset({EntryType.ENTRY_TYPE_ROSTER, EntryType.ENTRY_TYPE_SUSPENSION})


async def inclusion_proof(exchange: Exchange, request: GetInclusionProofRequest) -> GetInclusionProofResponse:
    """Prove an entry. Raises Refusal BEYOND_LOG."""
    tree, checkpoint = exchange.writer.head
    size = request.tree_size or tree.size
    if size > tree.size or request.index >= size:
        raise _beyond(tree)
    hashes = await _hashes(exchange, tree, inclusion_ranges(request.index, size))
    (entry,) = await exchange.store.entry_range(request.index, 1)
    return GetInclusionProofResponse(
        leaf=entry.leaf, tree_size=size, hashes=hashes, checkpoint=b"" if request.tree_size else checkpoint
    )


async def consistency_proof(
    exchange: Exchange, request: GetConsistencyProofRequest
) -> GetConsistencyProofResponse:
    """Prove that one tree extends another. Raises Refusal BEYOND_LOG or INVALID_REQUEST."""
    tree = exchange.writer.head.tree
    if request.old_size < 1 or request.old_size > request.new_size:
        raise invalid("old_size", "must be 1 to new_size")
    if request.new_size > tree.size:
        raise _beyond(tree)
    ranges = consistency_ranges(request.old_size, request.new_size)
    return GetConsistencyProofResponse(hashes=await _hashes(exchange, tree, ranges))


async def _hashes(exchange: Exchange, tree: Tree, ranges: list[tuple[int, int]]) -> list[bytes]:
    return tree.hashes(ranges, await exchange.store.tiles(sorted(tree.needed(ranges))))


async def list_leaves(exchange: Exchange, party: Party, request: ListLeavesRequest) -> ListLeavesResponse:
    """Leaves from `start` on. Raises Refusal BEYOND_LOG or INVALID_REQUEST."""
    tree = exchange.writer.head.tree
    if not 1 <= request.limit <= MAX_ENTRIES:
        raise invalid("limit", f"must be 1 to {MAX_ENTRIES}")
    if request.start > tree.size:
        raise _beyond(tree)
    limit = min(request.limit, tree.size - request.start)
    entries = await exchange.store.entry_range(request.start, limit) if limit else []
    return ListLeavesResponse(
        leaves=[
            Leaf(leaf=entry.leaf, header=entry.header, header_opening=entry.header_opening)
            if party.kind == "auditor" or entry.member == party.id
            else Leaf(leaf=entry.leaf)
            for entry in entries
        ]
    )


async def open_entries(exchange: Exchange, party: Party, request: OpenEntriesRequest) -> OpenEntriesResponse:
    """Open entries, all or none. Raises Refusal BEYOND_LOG, OPENING_NOT_ALLOWED, ERASED or
    INVALID_REQUEST."""
    # Counted before it is copied: a message holds millions.
    if not 1 <= len(request.indices) <= MAX_ENTRIES:
        raise invalid("indices", f"must be 1 to {MAX_ENTRIES}")
    indices = list(request.indices)
    if any(left >= right for left, right in pairwise(indices)):
        raise invalid("indices", "must be strictly ascending")
    tree = exchange.writer.head.tree
    if indices[-1] >= tree.size:
        raise _beyond(tree)
    entries = await exchange.store.entries(indices)
    auditor = party.kind == "auditor"
    closed = [
        (f"indices[{at}]", "does not concern the caller")
        for at, entry in enumerate(entries)
        if not (auditor or entry.type in _PUBLIC or entry.member == party.id)
    ]
    if closed:
        raise Refusal(
            ErrorReason.ERROR_REASON_OPENING_NOT_ALLOWED,
            "the caller may not open this entry",
            violations=closed,
        )
    erased = [
        (f"indices[{at}]", "its content has been erased")
        for at, entry in enumerate(entries)
        if not entry.payload_opening
    ]
    if erased:
        raise Refusal(
            ErrorReason.ERROR_REASON_ERASED, "the entry's content has been erased", violations=erased
        )
    if len(entries) > 1 and sum(len(entry.payload) for entry in entries) > MAX_OPENED:
        raise invalid("indices", f"payloads are above {MAX_OPENED} bytes together; ask for fewer")
    if auditor:
        await exchange.writer.submit(
            Opening(exchange, party, [e.idx for e in entries if e.type not in _PUBLIC])
        )
    return OpenEntriesResponse(entries=[_opened(entry) for entry in entries])


class Opening(Change[None]):
    """An auditor opens payloads: put on the log before it sees them."""

    appends_only = True

    def __init__(self, exchange: Exchange, party: Party, indices: list[int]) -> None:
        self._exchange = exchange
        self._party = party
        self._indices = indices

    def decide(self, proposal: Proposal) -> tuple[None, None]:
        """Log it, unless everything opened is public anyway."""
        self._exchange.membership.standing(self._party.id)
        if self._indices:
            payload = OpeningEntry(indices=self._indices).SerializeToString()
            proposal.log(EntryType.ENTRY_TYPE_OPENING, self._party.id, payload)
        return None, None


def _opened(entry: Entry) -> OpenedEntry:
    return OpenedEntry(
        index=entry.idx,
        leaf=entry.leaf,
        header=entry.header,
        header_opening=entry.header_opening,
        payload=entry.payload,
        payload_opening=entry.payload_opening,
    )


def _beyond(tree: Tree) -> Refusal:
    return Refusal(
        ErrorReason.ERROR_REASON_BEYOND_LOG,
        "the log has no such entry or tree size yet",
        metadata={"size": str(tree.size)},
    )
