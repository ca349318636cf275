"""The one writer: every change of state and every log entry is made here, many in a transaction.

A Change says what it reads, decides on the loop, and is answered after COMMIT. Invariants: one transaction
at a time; state and log move together; the tree, the checkpoint and the answers are released only once the
transaction is durable; after storage has failed nothing is answered but UNAVAILABLE. Within a group,
changes that only append to the log are decided first and see the state before the group; of those that
change state, only batches without a common id, and what matching found, share a group, anything else is
alone; so each decision sees exactly what committed before it.
"""

import asyncio
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final, Generic, NamedTuple, Self, TypeVar

from signalexchange.checkpoint import Checkpoint, sign_checkpoint
from signalexchange.entries import OPENING_SIZE, make_leaf
from signalexchange.merkle import leaf_hash
from signalexchange.note import NoteSigner
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.identifier_pb2 import Receipt
from signalexchange.v1.log_entry_pb2 import EntryHeader, EntryType

from exchange.domain.records import Delta, Entry
from exchange.domain.refusal import Refusal
from exchange.domain.store import StorageFailed, StorageFull, Store
from exchange.domain.tree import Tree

GROUP: Final = 256
"""Changes a commit takes at most."""
GROUP_WEIGHT: Final = 1_000
"""Signals a commit takes at most: look-ups wait for a commit at a time.

Tried: with 4,000 a look-up beside a flood of batches took 0.6 s, with 1,000 0.06 s; publishing is as fast."""
PAUSE: Final = 0.005
"""Seconds the writer waits for company while it is under load."""
CAPACITY: Final = 64_000
"""Tokens and signals that may be pending; look-ups may use all of it, everything else half."""
RETRY: Final = 0.5

T = TypeVar("T")


class Head(NamedTuple):
    """The tree as last committed and its checkpoint, a signed note."""

    tree: Tree
    checkpoint: bytes


class Proposal:
    """What a group is about to commit: decisions add to it, and see what came before them in `delta`."""

    def __init__(self, tree: Tree, now: int) -> None:
        self.tree = tree
        self.now = now
        self.delta = Delta()

    def log(self, type_: EntryType.ValueType, member: str, payload: bytes, shown: int = 0) -> int:
        """Append an entry and return its index."""
        random = os.urandom(2 * OPENING_SIZE)
        header_opening, payload_opening = random[:OPENING_SIZE], random[OPENING_SIZE:]
        header = EntryHeader(type=type_, member=member, time=self.now).SerializeToString()
        leaf = make_leaf(header, header_opening, payload, payload_opening)
        index = self.tree.size
        self.delta.entries.append(
            Entry(
                index, type_, member, self.now, shown, leaf, header, header_opening, payload, payload_opening
            )
        )
        self.delta.tiles.extend(self.tree.append(leaf_hash(leaf)))
        return index


class Change(ABC, Generic[T]):
    """One change waiting to be committed. Its answer is of type T."""

    appends_only: ClassVar[bool] = False
    """Whether it changes nothing but the log."""
    weight: int = 1
    """Tokens or signals it is about."""

    def ids(self) -> frozenset[bytes] | None:
        """Ids of which no other change of the group may have one; None: it changes state alone."""
        return None

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """Fetch what `decide` needs, for all changes of the class in the group at once."""

    @abstractmethod
    def decide(self, proposal: Proposal) -> tuple[T, Receipt | None]:
        """Decide and add to the proposal: the answer, and the receipt in it that awaits its checkpoint.

        Raises Refusal, before anything was added.
        """

    def applied(self) -> None:
        """Move what is kept in memory; called right after COMMIT, before any answer."""

    async def settle(self, store: Store) -> None:
        """What must be done between COMMIT and the answer. Raises Refusal where the answer can't be given
        yet."""


def unavailable(message: str) -> Refusal:
    """The server can't carry it out now; nothing was changed."""
    return Refusal(ErrorReason.ERROR_REASON_UNAVAILABLE, message, retry_after=RETRY)


class Writer:
    """Owns the tree. `clock` tells the entries' time; `failed` is called once when storage has failed."""

    def __init__(
        self,
        store: Store,
        tree: Tree,
        signer: NoteSigner,
        origin: str,
        clock: Callable[[], int],
        failed: Callable[[Exception], None],
        report: Callable[[str, Exception], None],
    ) -> None:
        self._store = store
        self._signer = signer
        self._origin = origin
        self._clock = clock
        self._failed = failed
        self._report = report
        self.head = Head(tree, self._sign(tree))
        self._appending: deque[_Waiting] = deque()
        self._changing: deque[_Waiting] = deque()
        self._pending = 0
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._dead: Refusal | None = None
        self._task = asyncio.create_task(self._run())
        self.news = asyncio.Event()
        """Set, and replaced by a fresh one, by each commit that wrote events for watches."""

    async def submit(self, change: Change[T]) -> T:
        """Commit a change and return its answer.

        Raises Refusal: the change's own, OVERLOADED when too much is pending, UNAVAILABLE when it stops.
        """
        if self._dead is not None:
            raise self._dead
        self._check_room(change.weight, CAPACITY if change.appends_only else CAPACITY // 2)
        waiting = _Waiting(change)
        (self._appending if change.appends_only else self._changing).append(waiting)
        self._pending += change.weight
        self._arrived.set()
        if len(self._appending) + len(self._changing) >= GROUP:
            self._full.set()
        answer: T = await waiting.done
        return answer

    @contextmanager
    def room(self, weight: int) -> Iterator[None]:
        """Hold room for a batch while it is judged, so that what waits for that is bounded too.

        Raises Refusal OVERLOADED.
        """
        self._check_room(weight, CAPACITY // 2)
        self._pending += weight
        try:
            yield
        finally:
            self._pending -= weight

    def _check_room(self, weight: int, limit: int) -> None:
        if self._pending and self._pending + weight > limit:
            raise Refusal(
                ErrorReason.ERROR_REASON_OVERLOADED, "too much is waiting to be written", retry_after=RETRY
            )

    async def stop(self) -> None:
        """Commit what is pending, then accept nothing more."""
        while self._pending and self._dead is None:  # noqa: ASYNC110 - once in a process's life
            await asyncio.sleep(0.01)
        self._dead = self._dead or unavailable("the server is stopping")
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            group = self._take()
            try:
                # Whoever no longer waits is not carried out: no access record without an answer to leave.
                await self._commit([waiting for waiting in group if not waiting.done.done()])
            except StorageFailed as error:
                self._die(group, error)
                return
            except Exception as error:  # a defect: the group is refused, the writer lives on
                self._report("commit", error)
                for waiting in group:
                    waiting.fail(error)
            finally:
                self._pending -= sum(waiting.change.weight for waiting in group)
            if self._appending or self._changing:
                # Under load: a commit, its signature and its thread hops are better shared.
                self._full.clear()
                if len(self._appending) + len(self._changing) < GROUP:
                    timer = asyncio.get_running_loop().call_later(PAUSE, self._full.set)
                    await self._full.wait()
                    timer.cancel()
            else:
                self._arrived.clear()

    def _take(self) -> "list[_Waiting]":
        group: list[_Waiting] = []
        while self._appending and len(group) < GROUP:
            group.append(self._appending.popleft())
        taken: set[bytes] = set()
        weight = 0
        changes = 0
        while self._changing and len(group) < GROUP:
            change = self._changing[0].change
            ids = change.ids()
            weight += change.weight
            if changes and (ids is None or weight > GROUP_WEIGHT or not taken.isdisjoint(ids)):
                break
            group.append(self._changing.popleft())
            changes += 1
            if ids is None:
                break
            taken |= ids
        return group

    async def _commit(self, group: "list[_Waiting]") -> None:
        now = self._clock()
        classes: dict[type[Change[Any]], list[Change[Any]]] = {}
        for waiting in group:
            classes.setdefault(type(waiting.change), []).append(waiting.change)
        for kind, changes in classes.items():
            await kind.read(changes, self._store, now)
        proposal = Proposal(self.head.tree.copy(), now)
        decided: list[_Waiting] = []
        for waiting in group:
            try:
                waiting.answer, waiting.receipt = waiting.change.decide(proposal)
                decided.append(waiting)
            except Refusal as refusal:
                waiting.fail(refusal)
        if proposal.delta != _NOTHING:
            # An entry of the group is in the checkpoint that goes out with its receipt.
            checkpoint = self._sign(proposal.tree) if proposal.delta.entries else self.head.checkpoint
            try:
                await self._store.commit(proposal.delta)
            except StorageFull as error:
                self._report("storage-full", error)
                for waiting in decided:
                    waiting.fail(unavailable("storage is full"))
                return
            self.head = Head(proposal.tree, checkpoint)
        for waiting in decided:
            waiting.change.applied()
        delta = proposal.delta
        if delta.events or delta.match_events or delta.case_events or delta.disclosures.events:
            self.news.set()
            self.news = asyncio.Event()
        for waiting in decided:
            if waiting.receipt is not None:
                waiting.receipt.checkpoint = self.head.checkpoint
            try:
                await waiting.change.settle(self._store)
            except Refusal as refusal:
                waiting.fail(refusal)
            else:
                waiting.succeed()

    def _sign(self, tree: Tree) -> bytes:
        return sign_checkpoint(Checkpoint(self._origin, tree.size, tree.root()), self._signer)

    def _die(self, group: "list[_Waiting]", error: StorageFailed) -> None:
        self._dead = unavailable("storage has failed")
        for waiting in (*group, *self._appending, *self._changing):
            waiting.fail(self._dead)
        self._appending.clear()
        self._changing.clear()
        self._failed(error)


_NOTHING: Final = Delta()


class _Waiting:
    """A change in the queue and who waits for it."""

    __slots__ = ("answer", "change", "done", "receipt")

    def __init__(self, change: Change[Any]) -> None:
        self.change = change
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.answer: Any = None
        self.receipt: Receipt | None = None

    def succeed(self) -> None:
        if not self.done.done():
            self.done.set_result(self.answer)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
