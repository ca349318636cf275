"""A stream of transactions put in the order of their times, each once, with what is not taken said.

Invariants: the time that what is released counts as of (`Due.at`) never goes back, and no transaction id is
released twice with the same content; those that arrive less than `lateness` behind are released in one order
(time, then id) whatever order they arrived in, as of their own times; `offered = released + held + late +
ahead + duplicates + reused` at any point.
Nothing reads a clock: event time moves on by what is offered and, where the caller says it, by its clock.

Bound of memory: at most `capacity` transactions are known at a time, held (about 1 kB each) or remembered
by id alone (about 0.3 kB). Those held are of the last `lateness` and the next `ahead` seconds, those
remembered of the last `remember` seconds. Above the bound the oldest ids are forgotten, then the oldest
transactions released before their time (`Counts.early`).
"""

from collections import OrderedDict
from dataclasses import asdict, dataclass
from hashlib import blake2b
from heapq import heapify, heappop, heappush
from typing import Any, Final, NamedTuple

from signalexchange.detector.transactions import Rejected, Transaction
from signalexchange.errors import ConfigError, MalformedError

DAY: Final = 86_400


class Late(Rejected):
    """A transaction older than what was released already."""


class Ahead(Rejected):
    """A transaction too far in the future: its clock jumped, or time stood still for longer than allowed."""


class Reused(Rejected):
    """An id that another transaction has already."""


class Due(NamedTuple):
    """A transaction that is released, and the time it counts as of: its own, unless its clock is ahead or it
    came behind others within the grace."""

    at: int
    transaction: Transaction


@dataclass(slots=True)
class Counts:
    """How many transactions were offered and what became of them; those not counted as anything are held."""

    offered: int = 0
    released: int = 0
    late: int = 0
    ahead: int = 0
    duplicates: int = 0
    """Same id, same content: dropped."""
    reused: int = 0
    early: int = 0
    """Of those released: before their time, to stay within the bound of memory."""
    behind: int = 0
    """Of those released: behind others of a later time, within the grace."""


class Order:
    """Transactions by event time. `len()` is how many it holds back.

    All times are seconds. `lateness`: a transaction that arrives less than this behind the newest still finds
    its place; at 0 each is released as it comes. `ahead`: how far beyond `now` one may be. `gap`: how far
    beyond the newest where no `now` is given (left out: as far), for in a file a night is no jump.
    `remember`: how long after its time an id is known, at least `lateness`. `grace`: how far one may be
    behind what was released; it is released at once, as of then.
    Raises ConfigError.
    """

    def __init__(
        self,
        lateness: int,
        ahead: int,
        remember: int = DAY,
        capacity: int = 1_000_000,
        gap: int | None = None,
        grace: int = 0,
    ) -> None:
        gap = ahead if gap is None else gap
        if min(lateness, ahead, gap, grace) < 0 or remember < lateness or capacity < 1:
            raise ConfigError(
                "lateness, ahead, gap and grace are at least 0, remember at least lateness, capacity 1"
            )
        self._lateness = lateness
        self._ahead = ahead
        self._gap = gap
        self._grace = grace
        self._remember = remember
        self._capacity = capacity
        self._newest: int | None = None
        self._last = 0
        """What the last one released counts as of."""
        self._forgotten = -1
        """Time of the last id forgotten: of that time on back, what is new can't be told from a duplicate."""
        self._held: dict[str, Transaction] = {}
        self._heap: list[tuple[int, str]] = []
        self._ids: OrderedDict[str, tuple[int, bytes]] = OrderedDict()
        """The later of time and `Due.at` of those released, and a digest, by id, as they were released."""
        self.counts = Counts()

    def __len__(self) -> int:
        return len(self._held)

    def offer(self, transaction: Transaction, now: int | None = None) -> list[Due]:
        """Takes one and gives those whose time has come, by time; a duplicate changes nothing.

        With `now` (Unix seconds; give it where transactions arrive as they happen) no transaction's clock
        moves time beyond it: one that is ahead counts as of now. Without it the newest transaction is what
        the next are compared with, and the first is believed. Raises Late, Ahead or Reused; it is counted,
        and the next can be offered.
        """
        counts = self.counts
        counts.offered += 1
        if self._known(transaction):
            counts.duplicates += 1
            return []
        newest, moment = self._newest, transaction.time
        reference = now if now is not None else newest
        allowed = self._ahead if now is not None else self._gap
        if reference is not None and moment > reference + allowed:
            counts.ahead += 1
            than = "the newest before it" if now is None else "now"
            why = f"{moment - reference} s ahead of {than}; {allowed} s are allowed"
            raise Ahead(transaction.place, "time", why)
        if moment < self._last or moment <= self._forgotten:
            behind = max(self._last, self._forgotten) - moment
            if moment > self._forgotten and behind <= self._grace:
                counts.behind += 1
                return [self._release(self._last, transaction)]
            counts.late += 1
            allowed = max(self._lateness, self._grace)
            why = f"late: {behind} s behind what was decided; {allowed} s are allowed"
            raise Late(transaction.place, "time", why)
        self._held[transaction.id] = transaction
        at = moment if now is None else max(self._last, min(moment, now))
        heappush(self._heap, (at, transaction.id))
        return self.advance(at)

    def advance(self, now: int) -> list[Due]:
        """Gives those whose time has come when it is `now`, so a stream gone quiet holds back nothing."""
        if self._newest is None or now > self._newest:
            self._newest = now
        released = []
        due = self._newest - self._lateness
        while self._heap and self._heap[0][0] <= due:
            released.append(self._release_first())
        self._forget_before(self._newest - self._remember)
        while len(self._held) + len(self._ids) > self._capacity:
            if self._ids:
                self._forget_first()
            else:
                self.counts.early += 1
                released.append(self._release_first())
        return released

    def knows(self, transaction_id: str) -> bool:
        """Whether an id is held or remembered."""
        return transaction_id in self._held or transaction_id in self._ids

    def flush(self) -> list[Due]:
        """Gives all that is held, by time: the stream has ended."""
        return [self._release_first() for _ in range(len(self._heap))]

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here, as plain data that JSON holds."""
        return {
            "newest": self._newest,
            "last": self._last,
            "forgotten": self._forgotten,
            "held": [[at, self._held[id_].values()] for at, id_ in sorted(self._heap)],
            "ids": [[id_, moment, digest.hex()] for id_, (moment, digest) in self._ids.items()],
            "counts": asdict(self.counts),
        }

    def restore(self, state: Any) -> None:
        """Goes on from where `state()` was taken, with the settings of this one.

        Raises MalformedError, and is as it was then.
        """
        try:
            newest, last, forgotten = state["newest"], state["last"], state["forgotten"]
            due = [Due(at, Transaction.restore(values)) for at, values in state["held"]]
            ids = OrderedDict((id_, (moment, bytes.fromhex(hex_))) for id_, moment, hex_ in state["ids"])
            counts = Counts(**state["counts"])
            numbers = [newest if newest is not None else 0, last, forgotten, *asdict(counts).values()]
            numbers += [moment for moment, _ in ids.values()] + [each.at for each in due]
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedError("not a stored order of transactions") from error
        if not all(type(number) is int for number in numbers) or not all(type(id_) is str for id_ in ids):
            raise MalformedError("not a stored order of transactions: a number or an id is none")
        refused = counts.late + counts.ahead + counts.duplicates + counts.reused
        held = {each.transaction.id: each.transaction for each in due}
        if counts.offered != counts.released + len(held) + refused:
            raise MalformedError("not a stored order of transactions: its counts don't add up")
        self._newest, self._last, self._forgotten = newest, last, forgotten
        self._held, self._ids, self.counts = held, ids, counts
        self._heap = [(each.at, each.transaction.id) for each in due]
        heapify(self._heap)

    def _known(self, transaction: Transaction) -> bool:
        """Whether the same transaction was taken before. Raises Reused where another has its id."""
        if (held := self._held.get(transaction.id)) is not None:
            same = held == transaction
        elif (released := self._ids.get(transaction.id)) is not None:
            same = released[1] == _digest(transaction)
        else:
            return False
        if not same:
            self.counts.reused += 1
            raise Reused(transaction.place, "id", "used for another transaction already")
        return True

    def _release_first(self) -> Due:
        self._last, id_ = heappop(self._heap)
        return self._release(self._last, self._held.pop(id_))

    def _release(self, at: int, transaction: Transaction) -> Due:
        self._ids[transaction.id] = max(at, transaction.time), _digest(transaction)
        self.counts.released += 1
        return Due(at, transaction)

    def _forget_before(self, moment: int) -> None:
        while self._ids and next(iter(self._ids.values()))[0] < moment:
            self._forget_first()

    def _forget_first(self) -> None:
        self._forgotten = max(self._forgotten, self._ids.popitem(last=False)[1][0])


def _digest(transaction: Transaction) -> bytes:
    """16 bytes of all but the place: what tells a duplicate from another transaction of the same id."""
    return blake2b(ascii(transaction.values()[:-1]).encode(), digest_size=16).digest()
