"""Refunds of orders that never shipped, within hours of the order.

Invariant: a refund counts only where its order was seen and delivery is known not to have begun.
"""

from signalexchange.flows import Flow, Logistics
from signalexchange.gate.legs import HOUR, Leg
from signalexchange.gate.parameters import GateParameters
from signalexchange.gate.windows import Window


class Refunds:
    """Orders of the last hours."""

    def __init__(self, parameters: GateParameters) -> None:
        self._parameters = parameters
        self._orders: Window[str, Leg] = Window(parameters.refund_hours * HOUR)

    def __len__(self) -> int:
        return len(self._orders)

    def advance(self, now: int) -> None:
        """Forget orders too old for their refund to be early."""
        self._orders.advance(now)

    def ordered(self, leg: Leg) -> None:
        """A purchase came in."""
        if leg.flow.order:
            self._orders.add(leg.flow.order, leg.flow.time, leg)

    def refunded(self, leg: Leg) -> Leg | None:
        """The purchase that a refund takes back, where that is worth publishing."""
        flow: Flow = leg.flow
        if flow.logistics not in (Logistics.NONE, Logistics.EMPTY):
            return None
        if leg.cents < self._parameters.refund_least_cny * 100:
            return None
        for order in self._orders.get(flow.order):
            if order.payee == leg.payer:
                return order
        return None
