"""The log over mTLS: every proof verifies, and openings go to those who may see them."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from signalexchange.checkpoint import Checkpoint, open_checkpoint
from signalexchange.client import ExchangeClient
from signalexchange.collect import collect
from signalexchange.entries import check_header, check_payload
from signalexchange.evidence import Opening, read_openings
from signalexchange.merkle import leaf_hash, verify_consistency, verify_inclusion
from signalexchange.v1.log_entry_pb2 import EntryHeader, EntryType, OpeningEntry
from signalexchange.v1.transparency_service_pb2 import (
    GetCheckpointRequest,
    GetConsistencyProofRequest,
    GetInclusionProofRequest,
    ListLeavesRequest,
    OpenEntriesRequest,
)

from exchange.usecases import proofs
from tests.support.exchange import Running, deploy, refused, serving
from tests.support.members import configuration, look_up, signal

NORTH, SOUTH, AUDITOR, OPERATOR = "bank-north", "bank-south", "audit-one", "operator"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path)) as running:
        yield running


def opened(hub: Running, note: bytes) -> Checkpoint:
    roster = hub.hub._exchange.membership.roster
    return open_checkpoint(note, roster.log_verifier, roster.origin)


async def newest(hub: Running) -> Checkpoint:
    return opened(hub, (await hub[NORTH].log.GetCheckpoint(GetCheckpointRequest())).checkpoint)


async def fill(hub: Running, count: int) -> list[Checkpoint]:
    """Grow the log by look-ups, one commit each; the checkpoint of every receipt."""
    seen = []
    for _ in range(count):
        answer = await hub[SOUTH].signals.LookUpSubjects(look_up([os.urandom(32)]))
        checkpoint = opened(hub, answer.receipt.checkpoint)
        assert checkpoint.size > answer.receipt.index
        seen.append(checkpoint)
    return seen


async def test_every_receipt_is_included_and_every_checkpoint_extends_the_last(hub: Running) -> None:
    seen = await fill(hub, 300)
    last = await newest(hub)
    for index in (0, 1, 100, 255, 256, 257, last.size - 1):
        for size in {0, last.size, max(index + 1, 270)}:
            proof = await hub[NORTH].log.GetInclusionProof(
                GetInclusionProofRequest(index=index, tree_size=size)
            )
            root = last.root if size in (0, last.size) else next(c.root for c in seen if c.size == size)
            assert bool(proof.checkpoint) == (size == 0)
            verify_inclusion(index, proof.tree_size, leaf_hash(proof.leaf), proof.hashes, root)
    for old in (seen[0], seen[100], seen[254], seen[255], seen[-1]):
        request = GetConsistencyProofRequest(old_size=old.size, new_size=last.size)
        proof = await hub[NORTH].log.GetConsistencyProof(request)
        verify_consistency(old.size, last.size, proof.hashes, old.root, last.root)


async def test_beyond_the_log(hub: Running) -> None:
    size = (await newest(hub)).size
    log = hub[NORTH].log
    for call in (
        log.GetInclusionProof(GetInclusionProofRequest(index=size)),
        log.GetInclusionProof(GetInclusionProofRequest(index=0, tree_size=size + 9)),
        log.GetConsistencyProof(GetConsistencyProofRequest(old_size=1, new_size=size + 9)),
        log.ListLeaves(ListLeavesRequest(start=size + 9, limit=1)),
        log.OpenEntries(OpenEntriesRequest(indices=[0, 2**63])),
        log.ListLeaves(ListLeavesRequest(start=2**64 - 1, limit=1)),
    ):
        assert (await refused(call)).reason == "BEYOND_LOG"
    for call in (
        log.GetConsistencyProof(GetConsistencyProofRequest(old_size=0, new_size=1)),
        log.GetConsistencyProof(GetConsistencyProofRequest(old_size=2, new_size=1)),
        log.ListLeaves(ListLeavesRequest(start=0, limit=0)),
        log.ListLeaves(ListLeavesRequest(start=0, limit=1001)),
        log.OpenEntries(OpenEntriesRequest()),
        log.OpenEntries(OpenEntriesRequest(indices=[0, 0])),
    ):
        assert (await refused(call)).reason == "INVALID_REQUEST"


async def test_headers_are_shown_to_auditors_and_the_member_concerned(hub: Running) -> None:
    await hub[NORTH].signals.PublishSignals(hub.pen(NORTH).batch([signal()]))
    await fill(hub, 2)
    request = ListLeavesRequest(start=0, limit=1000)
    pages = {
        party: (await hub[party].log.ListLeaves(request)).leaves
        for party in (AUDITOR, NORTH, SOUTH, OPERATOR)
    }
    assert [bool(leaf.header) for leaf in pages[AUDITOR]] == [True] * 4
    assert [bool(leaf.header) for leaf in pages[NORTH]] == [False, True, False, False]
    assert [bool(leaf.header) for leaf in pages[SOUTH]] == [False, False, True, True]
    assert not any(leaf.header for leaf in pages[OPERATOR])
    assert len({tuple(leaf.leaf for leaf in page) for page in pages.values()}) == 1
    for leaf in pages[AUDITOR]:
        check_header(leaf.leaf, leaf.header, leaf.header_opening)
    types = [EntryHeader.FromString(leaf.header).type for leaf in pages[AUDITOR]]
    assert types == [
        EntryType.ENTRY_TYPE_ROSTER,
        EntryType.ENTRY_TYPE_BATCH,
        EntryType.ENTRY_TYPE_LOOK_UP,
        EntryType.ENTRY_TYPE_LOOK_UP,
    ]
    end = (await newest(hub)).size
    assert not (await hub[NORTH].log.ListLeaves(ListLeavesRequest(start=end, limit=5))).leaves


async def test_payloads_are_opened_to_whom_they_concern_and_an_auditors_opening_is_logged(
    hub: Running,
) -> None:
    await hub[NORTH].signals.PublishSignals(hub.pen(NORTH).batch([signal()]))
    await fill(hub, 1)
    for party in (NORTH, SOUTH, OPERATOR, AUDITOR):
        (roster,) = (await hub[party].log.OpenEntries(OpenEntriesRequest(indices=[0]))).entries
        check_payload(roster.leaf, roster.payload, roster.payload_opening)
    size = (await newest(hub)).size
    refusal = await refused(hub[NORTH].log.OpenEntries(OpenEntriesRequest(indices=[0, 1, 2])))
    assert (refusal.reason, refusal.fields) == ("OPENING_NOT_ALLOWED", ["indices[2]"])
    assert (
        await refused(hub[OPERATOR].log.OpenEntries(OpenEntriesRequest(indices=[1])))
    ).status == "PERMISSION_DENIED"
    size += 2  # both refusals
    entries = (await hub[AUDITOR].log.OpenEntries(OpenEntriesRequest(indices=[0, 1, 2]))).entries
    for entry in entries:
        check_header(entry.leaf, entry.header, entry.header_opening)
        check_payload(entry.leaf, entry.payload, entry.payload_opening)
    (opening,) = (await hub[AUDITOR].log.OpenEntries(OpenEntriesRequest(indices=[size]))).entries
    assert list(OpeningEntry.FromString(opening.payload).indices) == [1, 2]


async def test_the_log_goes_on_after_a_restart(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    async with serving(deployment) as hub:
        before = (await fill(hub, 270))[-1]
    async with serving(deployment) as hub:
        assert await newest(hub) == before
        after = (await fill(hub, 3))[-1]
        request = GetConsistencyProofRequest(old_size=before.size, new_size=after.size)
        proof = await hub[NORTH].log.GetConsistencyProof(request)
        verify_consistency(before.size, after.size, proof.hashes, before.root, after.root)


async def test_access_records_are_erased_after_their_term_and_still_proved(tmp_path: Path) -> None:
    start = 1_500_000_000
    deployment = deploy(tmp_path, clock=start, epochs={1: (start, start + 10**9)})
    async with serving(deployment) as hub:
        answer = await hub[SOUTH].signals.LookUpSubjects(look_up([os.urandom(32)]))
        index = answer.receipt.index
        await hub[SOUTH].log.OpenEntries(OpenEntriesRequest(indices=[index]))
        deployment.clock.write_text(str(start + 1096 * 86_400))
        request = OpenEntriesRequest(indices=[index])
        for _ in range(50):
            if not (await hub.hub._store.entries([index]))[0].payload_opening:
                break
            await asyncio.sleep(0.1)
        assert (await refused(hub[SOUTH].log.OpenEntries(request))).reason == "ERASED"
        proof = await hub[SOUTH].log.GetInclusionProof(GetInclusionProofRequest(index=index))
        checkpoint = opened(hub, proof.checkpoint)
        verify_inclusion(index, proof.tree_size, leaf_hash(proof.leaf), proof.hashes, checkpoint.root)


async def test_an_answer_of_openings_is_bounded_and_collecting_asks_for_fewer(
    hub: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(proofs, "MAX_OPENED", 100)
    await fill(hub, 7)
    size = (await newest(hub)).size
    indices = list(range(size))
    refusal = await refused(hub[AUDITOR].log.OpenEntries(OpenEntriesRequest(indices=indices)))
    assert (refusal.reason, [field for field, _ in refusal.violations]) == ("INVALID_REQUEST", ["indices"])
    # One alone is opened whatever its size; the refusal put no opening on the log.
    assert len((await hub[AUDITOR].log.OpenEntries(OpenEntriesRequest(indices=indices[-1:]))).entries) == 1
    assert (await newest(hub)).size == size + 2
    config = configuration(hub.deployment, AUDITOR)
    target = config.hub.model_copy(update={"target": f"127.0.0.1:{hub.hub.port}"})
    async with ExchangeClient.from_config(config.model_copy(update={"hub": target})) as client:
        await collect(client, tmp_path / "evidence")
    collected = [opening for _, opening in read_openings(tmp_path / "evidence")]
    assert {o.index for o in collected if isinstance(o, Opening) and o.payload is not None} >= set(indices)
