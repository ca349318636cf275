"""Refunds of orders that never shipped, within hours of the order.

Invariant: a refund counts only where its order was seen and delivery is known not to have begun.
"""

from collections.abc import Iterator

from signalexchange.flows import Logistics
from signalexchange.gate.legs import HOUR, Leg
from signalexchange.gate.parameters import GateParameters
from signalexchange.gate.windows import Window
from signalexchange.signals import Subject


class Refunds:
    """Orders of the last hours."""

    def __init__(self, parameters: GateParameters) -> None:
        self._parameters = parameters
        self._orders: Window[str, Leg] = Window(parameters.refund_hours * HOUR)
        self._refunds: Window[tuple[Subject, Subject], tuple[Leg, Leg]] = Window(
            parameters.refund_hours * HOUR
        )

    def __len__(self) -> int:
        return len(self._orders) + len(self._refunds)

    def advance(self, now: int) -> None:
        """Forget orders too old for their refund to be early."""
        self._orders.advance(now)
        self._refunds.advance(now)

    def ordered(self, leg: Leg) -> None:
        """A purchase came in."""
        if leg.flow.order:
            self._orders.add(leg.flow.order, leg.flow.time, leg)

    def refunded(self, leg: Leg) -> Iterator[tuple[Leg, Leg]]:
        """A refund came in: refunds and the purchases they take back that are now worth publishing."""
        flow = leg.flow
        if flow.logistics not in (Logistics.NONE, Logistics.EMPTY):
            return
        order = next((each for each in self._orders.get(flow.order) if each.payee == leg.payer), None)
        if order is None:
            return
        pair = (leg.payer, leg.payee)
        self._refunds.add(pair, flow.time, (leg, order))
        both = self._refunds.get(pair)
        if sum(refund.cents for refund, _ in both) >= self._parameters.refund_least_cny * 100:
            yield from both
