"""Purchases on credit worth publishing: large against the line, split from a large sum, or with a sign.

Cash-out needs sums that a line is drawn by, not everyday shopping; a sign is several buyers on credit behind
one device or address, or a payer that another rule has named. Sources: docs/gate.md.

Invariants: a purchase is given out at most once; parts of a split sum are given out together, those that
came before the sum was large included.
"""

from collections.abc import Iterable, Iterator

from signalexchange.gate.known import Known
from signalexchange.gate.legs import DAY, HOUR, Leg, cents
from signalexchange.gate.parameters import GateParameters
from signalexchange.gate.windows import Window
from signalexchange.signals import Subject


class Purchases:
    """Credit purchases of the last days."""

    def __init__(self, parameters: GateParameters, known: Known) -> None:
        self._parameters = parameters
        self._known = known
        self._pairs: Window[tuple[Subject, Subject], Leg] = Window(parameters.split_hours * HOUR)
        self._history: Window[Subject, int] = Window(parameters.known_days * DAY)
        self._by_value: Window[Subject, Leg] = Window(parameters.sign_days * DAY)
        self._by_payer: Window[Subject, Leg] = Window(parameters.sign_days * DAY)
        self._signs: Window[Subject, None] = Window(parameters.sign_days * DAY)
        self._windows = (self._pairs, self._history, self._by_value, self._by_payer, self._signs)

    def __len__(self) -> int:
        return sum(len(window) for window in self._windows)

    def advance(self, now: int) -> None:
        """Forget what is older than its window at `now`."""
        for window in self._windows:
            window.advance(now)

    def take(self, leg: Leg) -> Iterator[Leg]:
        """A credit purchase came in; purchases that are now worth publishing."""
        time = leg.flow.time
        pair = (leg.payer, leg.payee)
        self._pairs.add(pair, time, leg)
        self._by_payer.add(leg.payer, time, leg)
        parts = self._pairs.get(pair)
        if self._is_large(leg, sum(part.cents for part in parts)):
            yield from parts
        if self._signs.get(leg.payer):
            yield from self._worth([leg])
        for value in (leg.flow.device, leg.flow.address):
            if value is not None:
                self._by_value.add(value, time, leg)
                yield from self._sharing(value)
        self._history.add(leg.payer, time, leg.cents)

    def sign(self, payer: Subject, now: int) -> Iterator[Leg]:
        """Another rule named the payer; its purchases of late that are now worth publishing."""
        self._signs.add(payer, now, None)
        yield from self._worth(self._by_payer.get(payer))

    def _is_large(self, leg: Leg, total: int) -> bool:
        figures = self._parameters
        if total < figures.purchase_least_cny * 100:
            return False
        if leg.flow.limit is not None:
            return total * 1_000 >= cents(leg.flow.limit) * figures.purchase_limit_permille
        history = self._history.get(leg.payer)
        if len(history) >= figures.purchase_history_count:
            return total * len(history) >= sum(history) * figures.purchase_history_times
        return total >= figures.purchase_large_cny * 100

    def _sharing(self, value: Subject) -> Iterator[Leg]:
        figures = self._parameters
        if self._known.shares(value) > figures.shared_most:
            return
        worth = list(self._worth(self._by_value.get(value)))
        if len({leg.payer for leg in worth}) >= figures.sharers:
            yield from worth

    def _worth(self, legs: Iterable[Leg]) -> Iterator[Leg]:
        return (leg for leg in legs if leg.cents >= self._parameters.purchase_least_cny * 100)
