"""Transfers worth publishing: the legs in and out of an account that passes money on, and irregular payouts
of a business to persons.

An account that sends on, within hours, 0.70 to 1.0 of what it received lives from neither: it is a hop.
Sources: docs/gate.md.

Invariants: a leg is given out at most once; what a payer sends to the same payee every month is life, not
passing on.
"""

from collections.abc import Iterator

from signalexchange.gate.known import Known
from signalexchange.gate.legs import DAY, HOUR, Leg
from signalexchange.gate.parameters import GateParameters
from signalexchange.gate.windows import Window
from signalexchange.signals import Subject

MONTH = 20 * DAY
MANY = 3
"""Payers that make a collection."""


class Transfers:
    """Transfers of the last days by account."""

    def __init__(self, parameters: GateParameters, known: Known) -> None:
        self._parameters = parameters
        self._known = known
        self._into: Window[Subject, Leg] = Window(parameters.pass_hours * HOUR)
        self._out: Window[Subject, Leg] = Window(parameters.pass_hours * HOUR)
        self._pairs: Window[tuple[Subject, Subject], tuple[int, int]] = Window(parameters.regular_days * DAY)
        self._payouts: Window[Subject, Leg] = Window(parameters.payout_days * DAY)
        self._windows = (self._into, self._out, self._pairs, self._payouts)

    def __len__(self) -> int:
        return sum(len(window) for window in self._windows)

    def advance(self, now: int) -> None:
        """Forget what is older than its window at `now`."""
        for window in self._windows:
            window.advance(now)

    def receive(self, leg: Leg) -> None:
        """Money that isn't transferred but paid to a merchant: it may be passed on."""
        self._into.add(leg.payee, leg.flow.time, leg)

    def take(self, leg: Leg) -> Iterator[Leg]:
        """A transfer came in; legs that are now worth publishing."""
        time = leg.flow.time
        if leg.payer == leg.payee:
            return  # between accounts of one person
        regular = self._is_regular(leg)
        self._pairs.add((leg.payer, leg.payee), time, (time, leg.cents))
        if regular:
            return
        self._into.add(leg.payee, time, leg)
        self._out.add(leg.payer, time, leg)
        yield from self._passed_on(leg)
        if self._known.is_business(leg.flow.payer) and not self._known.is_business(leg.flow.payee):
            self._payouts.add(leg.payer, time, leg)
            payouts = self._payouts.get(leg.payer)
            if len({each.flow.time // DAY for each in payouts}) > 1:
                yield from (each for each in payouts if each.cents >= self._least)

    @property
    def _least(self) -> int:
        return self._parameters.pass_least_cny * 100

    def _is_regular(self, leg: Leg) -> bool:
        return any(
            leg.flow.time - time >= MONTH and amount * 8 <= leg.cents * 10 <= amount * 12
            for time, amount in self._pairs.get((leg.payer, leg.payee))
        )

    def _passed_on(self, leg: Leg) -> Iterator[Leg]:
        """Legs in and out of the payer that fit each other, the new one among them."""
        into = self._into.get(leg.payer)
        out = self._out.get(leg.payer)
        if not into or sum(each.cents for each in out) < self._least:
            return
        for received in into:
            # One sum received, sent on whole or in parts.
            if received.cents < self._least or received.payer == leg.payee:
                continue
            after = [each for each in out if each.flow.time >= received.flow.time]
            for parts in (after, [leg]):
                if self._fits(received.cents, sum(each.cents for each in parts)):
                    yield received
                    yield from parts
                    break
        if len({each.payer for each in into}) >= MANY and self._fits(
            sum(each.cents for each in into), sum(each.cents for each in out)
        ):
            yield from into
            yield from out

    def _fits(self, received: int, sent: int) -> bool:
        least = self._parameters.pass_returns_permille
        return sent >= self._least and received * least <= sent * 1_000 <= received * 1_000
