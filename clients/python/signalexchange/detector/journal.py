"""The detector's journal: what was taken in and what was decided, batch by batch, so that a crash loses
neither and decides nothing twice.

Invariants: the events of a batch and its decisions are durable together, before a decision is told to
anybody; a transaction id has one decision as long as it is kept; the last snapshot and the batches behind it
are the whole state; one process at a time writes. Everything is encrypted (signalexchange.sealed_store).
"""

import fcntl
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from signalexchange.detector.engine import ROW, Engine, Event, Made
from signalexchange.detector.features import HOUR
from signalexchange.detector.learning import Learner
from signalexchange.detector.settings import DetectorSettings
from signalexchange.detector.snapshot import TEMPORARY, newest_snapshot, read_snapshot, write_snapshot
from signalexchange.detector.transactions import Transaction
from signalexchange.detector.versions import read_versions, write_versions
from signalexchange.errors import ConfigError, MalformedError
from signalexchange.sealed_store import SealedStore, create_key, read_key

FILE: Final = "journal.db"
MODELS: Final = "models"
BATCH: Final = 1
DECISION: Final = 2
SHAPE: Final = 3
OUTBOX: Final = 4
MARK: Final = 5
"""Kinds of rows; never renumbered. A mark is where an hour's decisions end: they are forgotten together."""
FORGOTTEN: Final = 1_000
BATCHES: Final = 50
"""Decisions, and batches, that are deleted at a time."""
_MAX_BATCH: Final = 1 << 28
"""Bytes a stored batch unpacks to."""


class Decided(NamedTuple):
    """A stored decision: its number, which grows, and the transaction it is about."""

    number: int
    transaction: Transaction
    document: dict[str, Any]


class DetectorJournal:
    """A folder: the key (unless it lies elsewhere), the journal, snapshots, model versions.

    Methods raise JournalError where the file can't be read or written, VerificationError where it was
    altered.
    """

    def __init__(self, folder: Path, key: Path | None = None) -> None:
        """Open or create; raises ConfigError, where another process has it open too, and VerificationError
        for a wrong key."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"{folder}: can't keep the detector's state there: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConfigError(f"{folder}: another detector runs on this state") from None
        try:
            self.folder = folder
            for torn in folder.glob(f"{TEMPORARY}*"):
                torn.unlink(missing_ok=True)
            self.key_path = key_path = key if key is not None else folder / "key"
            if key is None and not key_path.exists():
                if (folder / FILE).exists():
                    raise ConfigError(f"{key_path}: the key of the journal beside it is missing")
                create_key(key_path)
            self._secret = read_key(key_path)
            self._store = SealedStore(folder / FILE, self._secret)
        except BaseException:
            os.close(self._lock)
            raise
        self._hour = -1
        """Of the last mark."""
        self.batches = 0
        """Number of the next batch."""

    def close(self) -> None:
        """Close the files."""
        self._store.close()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open_engine(self, settings: DetectorSettings, rules: int) -> Engine:
        """The state as of the last batch, under these settings.

        Raises ConfigError where the windows were counted with other parameters, MalformedError where the
        state can't be made from what is stored.
        """
        shape = settings.shape()
        made_with = self._store.get(SHAPE, b"shape")
        before = made_with[0] if made_with is not None else shape
        if before["windows"] != shape["windows"]:
            raise ConfigError(
                f"{self.folder}: its windows were counted with other [windows] settings: put"
                f" {before['windows']} back, or start in an empty folder"
            )
        versions = read_versions(self.folder / MODELS, ROW)
        then = dict(zip(("lateness", "grace", "ahead", "gap"), before["order"], strict=True))
        engine = Engine(settings.model_copy(update=then), versions, rules)
        self.batches = restore(engine, self._store, self.folder, self._secret)
        if before != shape:
            engine.retime(settings)
            # Before the new settings count: what was released under the old ones can't be replayed by them.
            self.snapshot(engine)
        if made_with is None or before != shape:
            with self._store.transaction():
                self._store.put(SHAPE, b"shape", shape)
        return engine

    def commit(
        self,
        events: Sequence[Event],
        decided: Sequence[tuple[Transaction, dict[str, Any], Made]],
        labelled: Sequence[Decided],
        sources: dict[str, list[Any]],
        counts: dict[str, int],
        outbox: Sequence[dict[str, Any]],
    ) -> range:
        """Make a batch durable: its events, decisions and labels, how far its inputs were read, what else was
        counted in it, and what is to be sent. The decisions' numbers, in order.

        `decided`: each with its document, as `Decision.document` gives it, and the label if it has one."""
        content = {
            "events": events,
            "decided": [made for _, _, made in decided],
            "sources": sources,
            "counts": counts,
        }
        body = zlib.compress(json.dumps(content, separators=(",", ":"), allow_nan=False).encode(), 1)
        rows = [
            (_name(transaction.id), {"of": transaction.values(), "decision": document})
            for transaction, document, _ in decided
        ]
        store = self._store
        with store.transaction():
            store.put(BATCH, self.batches.to_bytes(8, "big"), {"number": self.batches}, body)
            numbers = store.append(DECISION, rows)
            if decided and (time := decided[-1][0].time) // HOUR != self._hour:
                self._hour = time // HOUR
                store.put(MARK, numbers[-1].to_bytes(8, "big"), {"time": time, "position": numbers[-1]})
            for known in labelled:
                fields = {"of": known.transaction.values(), "decision": known.document}
                store.put(DECISION, _name(known.transaction.id), fields)
            for number, item in enumerate(outbox):
                name = self.batches.to_bytes(8, "big") + number.to_bytes(4, "big")
                store.put(OUTBOX, name, {"name": name.hex()} | item)
        self.batches += 1
        return numbers

    def outbox(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """What is to be sent, oldest first, each with its name."""
        return ((bytes.fromhex(fields["name"]), fields) for _, fields, _ in self._store.after(OUTBOX, 0))

    def sent(self, name: bytes) -> None:
        """Forget what was to be sent: it was."""
        with self._store.transaction():
            self._store.delete(OUTBOX, name)

    def decision(self, transaction_id: str) -> Decided | None:
        """The decision on a transaction, if it is kept; `document` has "fraud" once a label came."""
        name = _name(transaction_id)
        found = self._store.get(DECISION, name)
        if found is None:
            return None
        (position,) = self._store.positions(DECISION, [name])
        return _decided(position or 0, found[0])

    def known(self, transaction_ids: Sequence[str]) -> set[str]:
        """Those of the ids that have a decision."""
        places = self._store.positions(DECISION, [_name(each) for each in transaction_ids])
        return {each for each, place in zip(transaction_ids, places, strict=True) if place is not None}

    def decisions(self, after: int = 0) -> Iterator[Decided]:
        """The decisions kept with a number above `after`, ascending."""
        return (_decided(number, fields) for number, fields, _ in self._store.after(DECISION, after))

    def forget(self, before: int) -> int:
        """Forget decisions of an hour that ended before a time (Unix seconds), the oldest first and at most
        FORGOTTEN of them, so that nobody waits for it; how many."""
        for position, fields, _ in self._store.after(MARK, 0):
            if fields["time"] >= before:
                return 0
            with self._store.transaction():
                forgotten = self._store.trim(DECISION, fields["position"], FORGOTTEN)
                if forgotten < FORGOTTEN:
                    self._store.trim(MARK, position, 1)
            return forgotten
        return 0

    def keep_versions(self, learner: Learner) -> None:
        """Make the learner's versions durable. Raises ConfigError."""
        write_versions(self.folder / MODELS, learner.versions)

    def snapshot(self, engine: Engine) -> None:
        """Write a snapshot of the state behind the last batch. Raises ConfigError."""
        if newest_snapshot(self.folder) < self.batches:
            write_snapshot(self.folder, self._secret, self.batches, engine.state())
        while self.trim():
            pass

    def trim(self) -> bool:
        """Delete batches that the newest snapshot holds, whoever made it, BATCHES of them at most; whether
        there may be more."""
        kept_from = newest_snapshot(self.folder)
        last = seen = 0
        for position, fields, _ in self._store.after(BATCH, 0):
            if fields["number"] >= kept_from or seen == BATCHES:
                break
            last, seen = position, seen + 1
        if last:
            with self._store.transaction():
                self._store.trim(BATCH, last, BATCHES)
        return seen == BATCHES


def snapshot_aside(folder: Path, key_path: Path, settings: DetectorSettings) -> None:
    """Write a snapshot of what another process has committed to the journal by now; it isn't disturbed.

    Raises what opening a journal and its engine raise.
    """
    secret = read_key(key_path)
    store = SealedStore(folder / FILE, secret)
    try:
        engine = Engine(settings)
        batch = restore(engine, store, folder, secret)
        if newest_snapshot(folder) < batch:
            write_snapshot(folder, secret, batch, engine.state())
    finally:
        store.close()


def restore(engine: Engine, store: SealedStore, folder: Path, secret: bytes) -> int:
    """Bring a fresh engine to where the last batch left it; the number of the next batch."""
    following = 0
    if (found := read_snapshot(folder, secret)) is not None:
        following, records = found
        engine.restore(records)
    for _, fields, body in store.after(BATCH, 0):
        if fields["number"] < following:
            continue
        if fields["number"] != following:
            raise MalformedError(f"{folder}: a batch of the journal is missing")
        unpacker = zlib.decompressobj()
        content = json.loads(unpacker.decompress(body, _MAX_BATCH))
        engine.replay(content["events"], [Made(*made) for made in content["decided"]])
        engine.sources = content["sources"]
        engine.counts.update(content["counts"])
        following += 1
    return following


def _name(transaction_id: str) -> bytes:
    return transaction_id.encode("utf-8", "surrogatepass")


def _decided(number: int, fields: dict[str, Any]) -> Decided:
    return Decided(number, Transaction.restore(fields["of"]), fields["decision"])
