"""What the detector remembers, as a function of what it was given: order, windows, rows to learn from.

Invariants: the same events give the same releases, vectors and state, whatever clock, hub or model there is;
`replay` of the events and additions of a batch brings the state to where the batch left it; so a snapshot and
the batches after it are all that a crash may leave. Nothing here reads a clock, a file or the network.

An event is a list that JSON holds: what was offered (OFFER), the clock (TICK), the end of the input (FLUSH),
a label (LABEL), one of a transaction that is still held back (WAIT), that a trial began (TRIAL), that a
version took over (TAKEOVER) or was dropped (ROLLBACK).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from numpy.typing import ArrayLike

from signalexchange.detector.features import FEATURES
from signalexchange.detector.learning import Learner
from signalexchange.detector.model import Model
from signalexchange.detector.order import Due, Order
from signalexchange.detector.settings import DetectorSettings
from signalexchange.detector.shared import NAN, SHARED
from signalexchange.detector.transactions import Rejected, Transaction
from signalexchange.detector.trial import RULES_SCORE
from signalexchange.detector.windows import Windows
from signalexchange.errors import MalformedError

ROW: Final[tuple[str, ...]] = (*FEATURES, RULES_SCORE, *SHARED)
"""What a model sees of a transaction: the windows, the rules' highest score, what the exchange says."""
JUDGED: Final[tuple[str, ...]] = (*FEATURES, *SHARED)
"""What rules see of it."""

OFFER: Final = "offer"
TICK: Final = "tick"
FLUSH: Final = "flush"
LABEL: Final = "label"
WAIT: Final = "wait"
TRIAL: Final = "trial"
TAKEOVER: Final = "takeover"
ROLLBACK: Final = "rollback"

Event = list[Any]


class Released(NamedTuple):
    """A transaction whose turn has come, and the features of its windows."""

    transaction: Transaction
    vector: list[float]


class Waited(NamedTuple):
    """A label that came before its transaction was decided: whether it was fraud, and since when that is
    known."""

    transaction: Transaction
    fraud: bool
    at: int
    place: str


class Made(NamedTuple):
    """What a replay must be told of a decision: model and exchange are others by then."""

    action: str
    review: bool
    shared: str
    added: Sequence[float | None]
    """The rules' score and SHARED; None for what was not known."""


class Engine:
    """One member's state. Used from one thread."""

    def __init__(self, settings: DetectorSettings, versions: Sequence[Model] = (), rules: int = 0) -> None:
        self.order = _order(settings)
        self.windows = Windows(settings.windows.parameters())
        self.learner = Learner(ROW, settings.learning.learner(), versions, rules)
        self.counts: Counter[str] = Counter()
        """Decisions by action and by whether the exchange answered; labels; rows that could not be read."""
        self.sources: dict[str, list[Any]] = {}
        """By input: rows read, and a digest of the last of them."""
        self.waiting: dict[str, tuple[bool, int | None, str]] = {}
        """Labels of transactions that are held back, by id: fraud, since when (None: its time), place."""
        self._now = 0

    @property
    def now(self) -> int:
        """Event time: what the last transaction released counts as of, Unix seconds."""
        return self._now

    def take(self, event: Event) -> list[Released]:
        """Take one event in. Raises Rejected (it is counted) where a transaction is not taken."""
        match event:
            case [str(what), list(values), (int() | None) as now] if what == OFFER:
                return self.offer(Transaction.restore(values), now)
            case [str(what), int(now)] if what == TICK:
                return self._release(self.order.advance(now))
            case [str(what)] if what == FLUSH:
                return self._release(self.order.flush())
            case [str(what), list(values), bool(fraud), int(at), bool(first)] if what == LABEL:
                self._label(Transaction.restore(values), fraud, at, first)
            case [str(what), str(id_), bool(fraud), (int() | None) as at, str(place)] if what == WAIT:
                self.waiting[id_] = fraud, at, place
            case [str(what), int(now)] if what == TRIAL:
                self.learner.began(now)
            case [str(what), int(version)] if what == TAKEOVER:
                self.learner.numbered(version)
            case [str(what), int(now)] if what == ROLLBACK:
                self.learner.dropped(now)
            case _:
                raise MalformedError("not a stored event")
        return []

    def offer(self, transaction: Transaction, now: int | None) -> list[Released]:
        """`take` of an OFFER, without the way over plain data."""
        return self._release(self.order.offer(transaction, now))

    def decided(
        self, released: Sequence[Released], rows: ArrayLike, decisions: Sequence[Made]
    ) -> list[Waited]:
        """Count decisions in and keep their transactions to learn from; `rows` are of the columns ROW.

        The labels that waited for them: they are taken, but those that are from before their transaction.
        """
        transactions = [one.transaction for one in released]
        self.learner.decided([each.id for each in transactions], [each.time for each in transactions], rows)
        counts = self.counts
        for made in decisions:
            counts[f"action.{made.action}"] += 1
            counts[f"shared.{made.shared}"] += 1
            if made.review:
                counts["review"] += 1
        waited = []
        for transaction in transactions if self.waiting else ():
            if (label := self.waiting.pop(transaction.id, None)) is None:
                continue
            fraud, at, place = label
            at = at if at is not None else transaction.time
            waited.append(Waited(transaction, fraud, at, place))
            if at < transaction.time:
                counts["label.early"] += 1
            else:
                self._learn(transaction, fraud, at)
        return waited

    def replay(self, events: Iterable[Event], decided: Sequence[Made]) -> None:
        """Take the events of a batch again, with what was decided then.

        Raises MalformedError where they don't fit each other or this state.
        """
        released: list[Released] = []
        for event in events:
            try:
                released += self.take(event)
            except Rejected:
                continue  # as then; it is counted
        if len(released) != len(decided):
            raise MalformedError("the stored batches don't fit the state: another number of decisions")
        rows = [
            [*one.vector, *(NAN if number is None else number for number in made.added)]
            for one, made in zip(released, decided, strict=True)
        ]
        self.decided(released, rows, decided)

    def state(self) -> Iterator[list[Any]]:
        """What `restore` needs, record by record, as plain data that JSON holds. Don't take events in
        between."""
        yield ["now", self._now]
        yield ["counts", dict(self.counts)]
        yield ["sources", self.sources]
        yield ["order", self.order.state()]
        yield ["waiting", {id_: list(label) for id_, label in self.waiting.items()}]
        for record in self.windows.state():
            yield ["windows", record]
        yield ["learner", self.learner.state()]

    def restore(self, records: Iterable[Any]) -> None:
        """Go on from a `state()`. Raises MalformedError; this engine is of no use then."""
        seen: set[str] = set()

        def of_windows() -> Iterator[Any]:
            for record in records:
                name, state = _pair(record)
                if name == "windows":
                    yield state
                else:
                    self._restore_one(name, state)
                    seen.add(name)

        self.windows.restore(of_windows())
        if seen != {"now", "counts", "sources", "order", "waiting", "learner"}:
            raise MalformedError("not a stored state: a part is missing")

    def retime(self, settings: DetectorSettings) -> None:
        """Go on with other bounds of lateness."""
        order = _order(settings)
        order.restore(self.order.state())
        self.order = order

    def _restore_one(self, name: str, state: Any) -> None:
        match name, state:
            case "now", int(now):
                self._now = now
            case "counts", dict(counts) if all(type(each) is int for each in counts.values()):
                self.counts = Counter(counts)
            case "sources", dict(sources) if all(map(_is_position, sources.values())):
                self.sources = sources
            case "waiting", dict(labels):
                self.waiting = {id_: _waiting(label) for id_, label in labels.items()}
            case "order", order:
                self.order.restore(order)
            case "learner", learner:
                self.learner.restore(learner)
            case _:
                raise MalformedError("not a stored state: a part of no known name")

    def _release(self, due: Sequence[Due]) -> list[Released]:
        released = []
        for at, transaction in due:
            counted = transaction if transaction.time == at else replace(transaction, time=at)
            released.append(Released(transaction, self.windows.update(counted)))
            self._now = at
            if self.waiting and (label := self.waiting.get(transaction.id)) is not None:
                # Here, not once the batch is decided: those behind it may be released with it.
                fraud, known, _ = label
                known = known if known is not None else transaction.time
                if known >= transaction.time:
                    self.windows.label(transaction, fraud, known)
        return released

    def _label(self, transaction: Transaction, fraud: bool, at: int, first: bool) -> None:
        # Windows count an outcome once; what corrects it is for the learner, who keeps them by id.
        if first:
            self.windows.label(transaction, fraud, at)
        self._learn(transaction, fraud, at)

    def _learn(self, transaction: Transaction, fraud: bool, at: int) -> None:
        self.learner.label(transaction.id, fraud, at)
        self.counts["label.fraud" if fraud else "label.genuine"] += 1


def _order(settings: DetectorSettings) -> Order:
    return Order(settings.lateness, settings.ahead, gap=settings.gap, grace=settings.grace)


def _pair(record: Any) -> tuple[str, Any]:
    match record:
        case [str(name), state]:
            return name, state
    raise MalformedError("not a stored state")


def _is_position(position: Any) -> bool:
    match position:
        case [int(), str()]:
            return True
    return False


def _waiting(label: Any) -> tuple[bool, int | None, str]:
    match label:
        case [bool(fraud), (int() | None) as at, str(place)]:
            return fraud, at, place
    raise MalformedError("not a stored state: a label that is none")
