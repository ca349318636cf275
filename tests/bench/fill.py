"""Filling a hub's database fast: through its own storage, without signatures and without gRPC.

Invariants: what comes out is what a hub leaves behind: every entry has its leaf in the tree, every signal its
place in a batch of 1,000, and the hub that opens it goes on from there. The contents are valid signals of
random tokens; only the batches' member signatures are random bytes, for nothing checks them again.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from signalexchange import entries, merkle
from signalexchange.envelope import MAX_SIGNALS
from signalexchange.v1.log_entry_pb2 import AccessEntry, BatchEntry, EntryHeader, EntryType

from exchange.domain.records import Batch, Delta, Entry, NewSignal, place
from exchange.domain.tree import Tree
from exchange.storage.sqlite import SqliteStore
from tests.support.members import CARD, PURPOSE, signal

BATCHES_A_COMMIT = 50
ENTRIES_A_COMMIT = 20_000
KEPT = 4_096
"""Tokens of the filling that are remembered for look-ups that hit."""


@dataclass(frozen=True)
class Filling:
    """What was put in: how many signals or entries, and some of the tokens."""

    count: int
    tokens: list[bytes]


async def signals(folder: Path, count: int, issuer: str, now: int) -> Filling:
    """Put `count` signals (a multiple of 1,000) of `issuer` into a stopped hub's data folder."""
    store = await SqliteStore.open(folder)
    try:
        tree = await store.restore_tree()
        kept: list[bytes] = []
        for start in range(0, count, BATCHES_A_COMMIT * MAX_SIGNALS):
            batches = min(BATCHES_A_COMMIT, (count - start) // MAX_SIGNALS)
            delta = Delta()
            for _ in range(batches):
                _batch(delta, tree, issuer, now)
            kept.extend(row.token for row in islice(delta.signals, KEPT))
            await store.commit(delta)
    finally:
        await store.close()
    return Filling(count, kept[-KEPT:])


async def access_records(folder: Path, count: int, member: str, now: int) -> Filling:
    """Put `count` access records of `member` into the log."""
    store = await SqliteStore.open(folder)
    try:
        tree = await store.restore_tree()
        for start in range(0, count, ENTRIES_A_COMMIT):
            delta = Delta()
            for _ in range(min(ENTRIES_A_COMMIT, count - start)):
                _append(delta, tree, EntryType.ENTRY_TYPE_LOOK_UP, member, now, access_record())
            await store.commit(delta)
    finally:
        await store.close()
    return Filling(count, [])


def access_record() -> bytes:
    """The record of a look-up of one token that missed."""
    return AccessEntry(
        purpose=PURPOSE,
        type=CARD,
        epoch=1,
        asked=1,
        request_digest=os.urandom(32),
        answer_digest=os.urandom(32),
    ).SerializeToString()


def _batch(delta: Delta, tree: Tree, issuer: str, now: int) -> None:
    # Nothing looks into the statement of a batch again; only its size matters here.
    payload = BatchEntry(statement=os.urandom(120), signature=os.urandom(64)).SerializeToString()
    entry = _append(delta, tree, EntryType.ENTRY_TYPE_BATCH, issuer, now, payload)
    rows = list(_rows(entry, issuer, now))
    delta.signals.extend(rows)
    delta.batches.append(Batch(issuer, os.urandom(16), os.urandom(32), entry, rows[0].expires_at))


def _rows(entry: int, issuer: str, now: int) -> Iterator[NewSignal]:
    for position in range(MAX_SIGNALS):
        made = signal(now=now)
        yield NewSignal(
            place=place(entry, position),
            signal_id=made.signal_id,
            issuer=issuer,
            token=made.subject.value,
            type=made.subject.type,
            epoch=made.subject.epoch,
            code=made.code,
            audience=0,
            confidence=made.confidence,
            grade=made.grade,
            tlp=made.tlp,
            last_seen=made.last_seen,
            expires_at=made.expires_at,
            nonce=os.urandom(32),
            body=made.SerializeToString(),
        )


def _append(
    delta: Delta, tree: Tree, type_: EntryType.ValueType, member: str, now: int, payload: bytes
) -> int:
    index = tree.size
    header = EntryHeader(type=type_, member=member, time=now).SerializeToString()
    openings = os.urandom(32), os.urandom(32)
    leaf = entries.make_leaf(header, openings[0], payload, openings[1])
    delta.entries.append(Entry(index, type_, member, now, 0, leaf, header, openings[0], payload, openings[1]))
    delta.tiles.extend(tree.append(merkle.leaf_hash(leaf)))
    return index
