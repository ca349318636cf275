"""Purchases on credit worth publishing: by points for what cash-out looks like, or by a sign.

Cash-out draws sums that are worth a fee, at merchants that exist for it: they sell little that is small or
not on credit, and not to many. Whoever does so buys at such merchants again within days, and is not the only
one there that day. Honest dear purchases are made at merchants with other trade, by people who now and then
make them, once. A sign is several buyers on credit behind one device or address, or a payer whom another rule
has named. Sources and the table of points: docs/gate.md.

Invariants: what one payer spends at one merchant within a day is one sum, and its parts are given out
together; a sum that later ones put in another light is given out with them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from signalexchange.gate.known import Known
from signalexchange.gate.legs import DAY, HOUR, Leg, cents
from signalexchange.gate.parameters import GateParameters
from signalexchange.gate.windows import Window
from signalexchange.signals import Subject


@dataclass(slots=True, eq=False)
class Sum:
    """What a payer spent at a merchant within a day. `points` are those of the sum alone; `again` says that
    the payer did the like within days, `burst` that somebody else did the same day, `counted` that it is
    among those that others are compared with.
    """

    payer: Subject
    merchant: Subject
    began: int
    parts: list[Leg] = field(default_factory=list)
    total: int = 0
    points: int = 0
    again: bool = False
    burst: bool = False
    counted: bool = False


class Purchases:
    """Purchases of the last days."""

    def __init__(self, parameters: GateParameters, known: Known) -> None:
        self._parameters = parameters
        self._known = known
        self._least = parameters.purchase_least_cny * 100
        self._sums: Window[Subject, Sum] = Window(parameters.again_days * DAY)
        self._quiet: Window[Subject, Sum] = Window(parameters.again_days * DAY)
        self._buyers: Window[Subject, Sum] = Window(parameters.buyers_days * DAY)
        self._trade: Window[Subject, Sum | None] = Window(parameters.trade_days * DAY)
        self._dear: Window[Subject, int] = Window(parameters.known_days * DAY)
        self._history: Window[Subject, int] = Window(parameters.known_days * DAY)
        self._by_value: Window[Subject, Leg] = Window(parameters.sign_days * DAY)
        self._signs: Window[Subject, None] = Window(parameters.sign_days * DAY)
        self._windows = (
            self._sums, self._quiet, self._buyers, self._trade, self._dear, self._history, self._by_value,
            self._signs,
        )  # fmt: skip

    def __len__(self) -> int:
        return sum(len(window) for window in self._windows)

    def advance(self, now: int) -> None:
        """Forget what is older than its window at `now`."""
        for window in self._windows:
            window.advance(now)

    def paid(self, leg: Leg) -> None:
        """A purchase not on credit of this member came in: other trade of the merchant."""
        # What a platform's dear order was paid with it doesn't know: with credit of another, perhaps.
        if leg.cents < self._least or not leg.flow.order:
            self._trade.add(leg.payee, leg.flow.time, None)

    def other_trade(self, merchant: Subject) -> int:
        """How many purchases the merchant had lately that were small or not on credit."""
        return sum(each is None or each.total < self._least for each in self._trade.get(merchant))

    def take(self, leg: Leg) -> Iterator[Leg]:
        """A credit purchase came in; purchases that are now worth publishing."""
        time = leg.flow.time
        current = self._sum(leg)
        if leg.cents < self._least:
            self._trade.add(leg.payee, time, current)
        if current.total >= self._least:
            if self._signs.get(leg.payer):
                yield from current.parts
            yield from self._judge(current, leg)
        for value in (leg.flow.device, leg.flow.address):
            if value is not None:
                self._by_value.add(value, time, leg)
                yield from self._sharing(value)
        self._history.add(leg.payer, time, leg.cents)

    def sign(self, payer: Subject, now: int) -> Iterator[Leg]:
        """Another rule named the payer; its purchases of late that are now worth publishing."""
        self._signs.add(payer, now, None)
        for each in self._sums.get(payer):
            if each.total >= self._least:
                yield from each.parts

    def _sum(self, leg: Leg) -> Sum:
        """The sum that the leg belongs to, the leg included."""
        since = leg.flow.time - self._parameters.split_hours * HOUR
        for each in reversed(self._sums.get(leg.payer)):
            if each.merchant == leg.payee and each.began > since:
                current = each
                break
        else:
            current = Sum(leg.payer, leg.payee, leg.flow.time)
            self._sums.add(leg.payer, leg.flow.time, current)
        current.parts.append(leg)
        current.total += leg.cents
        return current

    def _judge(self, current: Sum, leg: Leg) -> Iterator[Leg]:
        """The sum, and others that it puts in another light."""
        figures, time = self._parameters, leg.flow.time
        others = self.other_trade(current.merchant)
        current.points = self._points(current, leg, others)
        touched = [current]
        if others <= figures.trade_some:
            for each in self._quiet.get(current.payer):
                if each.merchant != current.merchant or each.began // DAY != current.began // DAY:
                    current.again = each.again = True
                    touched.append(each)
            for each in self._buyers.get(current.merchant):
                if each.payer != current.payer and each.began > time - figures.burst_hours * HOUR:
                    current.burst = each.burst = True
                    touched.append(each)
            if not current.counted:
                current.counted = True
                self._quiet.add(current.payer, time, current)
                self._buyers.add(current.merchant, time, current)
        self._dear.add(current.payer, time, current.began)
        for each in touched:
            if each.points + 3 * each.again + each.burst >= figures.points:
                yield from each.parts

    def _points(self, current: Sum, leg: Leg, others: int) -> int:
        figures, now = self._parameters, leg.flow.time
        points = 3 if others <= figures.trade_none else 2 if others <= figures.trade_little else -1
        if others > figures.trade_some:
            points -= 2
        points += self._size(current, leg)
        payers = {each.payer for each in self._buyers.get(current.merchant)} - {current.payer}
        points -= (len(payers) >= figures.buyers_some) + (len(payers) >= figures.buyers_many)
        dear = self._dear.get(current.payer)
        points -= bool(dear) and dear[0] < now - figures.again_days * DAY
        return points

    def _size(self, current: Sum, leg: Leg) -> int:
        """3 points for a sum that is large for the payer, 1 for one that is considerable."""
        figures = self._parameters
        if leg.flow.limit is not None:
            share = current.total * 1_000 // cents(leg.flow.limit)
            return (
                3
                if share >= figures.purchase_large_permille
                else int(share >= figures.purchase_some_permille)
            )
        history = self._history.get(current.payer)
        if len(history) >= figures.purchase_history_count:
            large = current.total * len(history) >= sum(history) * figures.purchase_history_times
        else:
            large = current.total >= figures.purchase_large_cny * 100
        return 3 * large

    def _sharing(self, value: Subject) -> Iterator[Leg]:
        figures = self._parameters
        if self._known.shares(value) > figures.shared_most:
            return
        worth = list(self._worth(self._by_value.get(value)))
        if len({leg.payer for leg in worth}) >= figures.sharers:
            yield from worth

    def _worth(self, legs: Iterable[Leg]) -> Iterator[Leg]:
        return (leg for leg in legs if leg.cents >= self._least)
