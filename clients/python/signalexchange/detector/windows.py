"""The features of each transaction, from what was counted before it.

Invariants: a vector depends on transactions taken before, on outcomes that arrived by the transaction's time,
and on the transaction itself, never on what comes after; it is exactly what a recomputation from the whole
history gives; `state()` and `restore` at any point change no vector that follows.

Memory: a customer, merchant, payee or device that was silent for 30 days (a card: 7) is forgotten, its memory
given back within an eighth of that time more, and of the others what is older than 30 days before their last
event; a log may hold twice what a window needs, and 64 events. A purchase takes about 60 bytes while it is
remembered, the first with a merchant in 30 days 170 more; a customer takes about 1.2 kB, a merchant
or payee 1 kB, a device 0.8 kB, a card 0.5 kB. These are many objects that live for long and hold no cycles: a
process of its own gains a fifth in speed by a high `gc.set_threshold`, and by `gc.freeze()` after `restore`.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from signalexchange.detector.counters import LAST_TIME, whole
from signalexchange.detector.crowd import Crowd, Till
from signalexchange.detector.customer import PURCHASE, TRANSFER, Card, Customer
from signalexchange.detector.features import DAY, HOUR, MONTH, WEEK, Parameters
from signalexchange.detector.labels import CUSTOMERS, MERCHANTS, PAYEES, Labels
from signalexchange.detector.registry import Registry
from signalexchange.detector.transactions import Rejected, Transaction
from signalexchange.errors import MalformedError

NO_MERCHANT: Final[tuple[float, ...]] = (0,) * 22
NO_PAYEE: Final[tuple[float, ...]] = (0,) * 15
NO_PAIR: Final = (0, 0, 0, MONTH)
NO_USERS: Final = (0, 0, 0)
NO_CARD: Final = (0,) * 8
FORGET_EVERY: Final = 16
"""Transactions after which the memory of the silent is looked for: at most 32 of each sort at a time."""


class Windows:
    """What a member's transactions are judged by, kept as they come. Not for use by several threads."""

    def __init__(self, parameters: Parameters | None = None) -> None:
        self.parameters = parameters if parameters is not None else Parameters()
        self._now = 0
        self._taken = 0
        self._customers = Registry(partial(Customer, parameters=self.parameters), MONTH)
        self._merchants = Registry(Till, MONTH)
        self._payees = Registry(Till, MONTH)
        self._devices = Registry(Crowd, MONTH)
        self._cards = Registry(Card, WEEK)
        self._labels = Labels()

    def update(self, t: Transaction) -> list[float]:
        """The vector of a transaction (values in the order of FEATURES), which is then counted.

        Raises Rejected where its time is before that of the one before it, below 0 or above 2^62, and counts
        nothing then; several of the same time are counted in the order they are given.
        """
        now, amount, kind = t.time, t.amount, t.kind
        if not self._now <= now <= LAST_TIME:
            raise Rejected(t.place, "time", "out of order")
        self._now = now
        labels = self._labels
        labels.advance(now)
        customer = self._customers.touch(t.customer, now)
        name = customer.key
        local = now + self.parameters.utc_offset
        hour = local % DAY // HOUR
        received = 0
        if customer.sent is not None:
            till = self._payees.get(name)
            if till is not None and till.last > now - 3 * DAY:
                received = till.sum(now, 3 * DAY)
        own, pair, large = customer.describe(t, hour, received)
        merchant = payee = None
        at_merchant, to_payee = NO_MERCHANT, NO_PAYEE
        counterparty = ""
        if kind is TRANSFER:
            if t.payee:
                payee = self._payees.touch(t.payee, now)
                counterparty = payee.key
                to_payee = (*payee.tally(now), *labels.tally(PAYEES, counterparty, now)[:3])
        elif t.merchant:
            merchant = self._merchants.touch(t.merchant, now)
            counterparty = merchant.key
            at_merchant = (
                *_of_merchant(merchant, amount, now),
                *labels.tally(MERCHANTS, counterparty, now),
            )
        users: Sequence[int] = NO_USERS
        unknown_device = 0
        device = None
        if t.device:
            device = self._devices.touch(t.device, now)
            device.advance(now)
            users = (device.day, device.week, device.month)
            unknown_device = 0 if name in device.latest else 1
        card = self._cards.touch(t.card, now) if t.card else None
        vector = [
            amount / 100, int(kind), 1 if t.credit else 0, hour, (local // DAY + 3) % 7, 1 if large else 0,
            *own,
            *labels.tally(CUSTOMERS, name, now)[:3],
            *at_merchant,
            *to_payee,
            *((pair.day, pair.week, pair.month, now - pair.last) if pair is not None else NO_PAIR),
            unknown_device, *users,
            *(card.tally(now) if card is not None else NO_CARD),
        ]  # fmt: skip
        customer.count(t, pair, counterparty, large)
        if kind is PURCHASE or kind is TRANSFER:
            till = merchant if kind is PURCHASE else payee
            if till is not None:
                till.add(now, name, amount)
            if card is not None:
                card.spent.add(now, amount)
        if device is not None:
            device.add(now, name)
        self._taken += 1
        if not self._taken % FORGET_EVERY:
            self._forget()
        return vector

    def label(self, t: Transaction, fraud: bool, now: int) -> None:
        """Takes the outcome of a transaction, which arrives at `now` (Unix seconds, up to 2^62): it is in the
        vectors of transactions from that time on. Give each transaction's outcome once.

        One that says it arrived before the last transaction taken counts as having arrived with that one.
        Raises Rejected where `now` is before the transaction's own time, or out of bounds.
        """
        if not t.time <= now <= LAST_TIME:
            raise Rejected(t.place, "time", "its outcome is from before it")
        transfer = t.kind is TRANSFER
        names = (t.customer, "" if transfer else t.merchant, t.payee if transfer else "")
        self._labels.add(max(now, self._now), names, fraud)

    def sizes(self) -> dict[str, int]:
        """How many customers, merchants, payees, devices and cards are remembered."""
        return {
            "customers": len(self._customers),
            "merchants": len(self._merchants),
            "payees": len(self._payees),
            "devices": len(self._devices),
            "cards": len(self._cards),
        }

    def state(self) -> Iterator[list[Any]]:
        """What `restore` needs to go on from here: records that JSON holds, one a customer, merchant, …,
        so that a snapshot is written record by record. Don't update in between.
        """
        yield ["now", self._now]
        for customer in self._customers.heard(self._now):
            yield ["customer", customer.state()]
        for name, tills in (("merchant", self._merchants), ("payee", self._payees)):
            for till in tills.heard(self._now):
                yield [name, till.state()]
        for device in self._devices.heard(self._now):
            yield ["device", device.state()]
        for card in self._cards.heard(self._now):
            yield ["card", card.state()]
        for record in self._labels.state(self._now):
            yield ["label", record]

    def restore(self, records: Iterable[Any]) -> None:
        """Goes on from where `state()` was taken, which is to be of the same parameters.

        Raises MalformedError, and is as it was then.
        """
        other = Windows(self.parameters)
        try:
            for name, state in records:
                other._restore_one(name, state)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise MalformedError("not stored windows") from error
        vars(self).update(vars(other))

    def _forget(self) -> None:
        for things in (
            self._customers,
            self._merchants,
            self._payees,
            self._devices,
            self._cards,
            self._labels,
        ):
            things.forget(self._now, 2 * FORGET_EVERY)

    def _restore_one(self, name: str, state: Any) -> None:
        if name == "now":
            self._now = whole(state, LAST_TIME)
        elif name == "customer":
            self._customers.put(Customer.restore(self.parameters, state), self._now)
        elif name in {"merchant", "payee"}:
            tills = self._merchants if name == "merchant" else self._payees
            tills.put(Till.restore(state), self._now)
        elif name == "device":
            self._devices.put(Crowd.restore(state), self._now)
        elif name == "card":
            self._cards.put(Card.restore(state), self._now)
        elif name == "label":
            self._labels.restore(state, self._now)
        else:
            raise MalformedError("not stored windows: a record of no known name")


def _of_merchant(merchant: Till, amount: int, now: int) -> tuple[float, ...]:
    """The features of a merchant but for its outcomes, for a transaction there of that many cents."""
    tally = merchant.tally(now)
    day, week, month, month_sum = tally[1], tally[2], tally[3], tally[7]
    return (
        *tally,
        tally[5] / day if day else 0, tally[6] / week if week else 0, month_sum / month if month else 0,
        amount / 100 * month / month_sum if month else 0,
    )  # fmt: skip
