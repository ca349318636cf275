"""A flow on its way through the gate: who its ends are to this member, and whether it has been published."""

from dataclasses import dataclass
from decimal import Decimal

from signalexchange.flows import Flow
from signalexchange.signals import Subject

HOUR = 3_600
DAY = 86_400


@dataclass(slots=True, eq=False)
class Leg:
    """`cents` is the amount, cut to whole cents; `payer` and `payee` are the persons behind the ends."""

    flow: Flow
    cents: int
    payer: Subject
    payee: Subject
    published: bool = False


def cents(amount: Decimal) -> int:
    """An amount in cents."""
    return int(amount * 100)
