"""Transfers worth publishing: money passed on, money that comes back, payments that repeat within days, and
what a business without trade pays somebody new.

An account that sends on, within hours, 0.70 to 1.0 of what it received lives from neither: it is a hop. A
credit purchase of which as much comes back to the buyer was none. One that pays the same payee several times
within days settles something. Sources: docs/gate.md.

Invariants: a leg is given out at most once; bills are not looked at (what businesses and busy accounts are
paid), nor what the same payee gets every month.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from signalexchange.gate.known import Known
from signalexchange.gate.legs import DAY, HOUR, Leg
from signalexchange.gate.parameters import GateParameters
from signalexchange.gate.purchases import Purchases
from signalexchange.gate.windows import Window
from signalexchange.signals import Subject

MONTH = 20 * DAY
LATEST = 64
"""Legs in, and legs out, of an account that are looked at: what a flood of legs costs is bounded."""


class Transfers:
    """Transfers of the last days by account."""

    def __init__(self, parameters: GateParameters, known: Known, purchases: Purchases) -> None:
        self._parameters = parameters
        self._known = known
        self._purchases = purchases
        self._into: Window[Subject, Leg] = Window(parameters.pass_hours * HOUR)
        self._out: Window[Subject, Leg] = Window(parameters.pass_hours * HOUR)
        self._bought: Window[Subject, Leg] = Window(parameters.pass_hours * HOUR)
        self._paid: Window[tuple[Subject, Subject], tuple[int, int]] = Window(parameters.regular_days * DAY)
        self._pairs: Window[tuple[Subject, Subject], Leg] = Window(parameters.repeat_hours * HOUR)
        self._payouts: Window[tuple[Subject, int], None] = Window(DAY)
        self._now = 0
        self._windows = (self._into, self._out, self._bought, self._paid, self._pairs, self._payouts)

    def __len__(self) -> int:
        return sum(len(window) for window in self._windows)

    def advance(self, now: int) -> None:
        """Forget what is older than its window at `now`."""
        self._now = now
        for window in self._windows:
            window.advance(now)

    def bought(self, leg: Leg) -> None:
        """A credit purchase came in; money that comes back to the buyer soon is compared with it."""
        self._bought.add(leg.payer, leg.flow.time, leg)

    def take(self, leg: Leg) -> Iterator[Leg]:
        """A transfer came in; legs that are now worth publishing, credit purchases among them."""
        if leg.payer == leg.payee:
            return  # between accounts of one person
        time, pair = leg.flow.time, (leg.payer, leg.payee)
        regular, fresh = self._is_regular(leg), self._is_fresh(pair)
        self._paid.add(pair, time, (time, leg.cents))
        if regular:
            return
        self._into.add(leg.payee, time, leg)
        self._out.add(leg.payer, time, leg)
        if self._is_bill(leg) or self._is_busy(leg.payer):
            return
        yield from self._passed_on(leg)
        yield from self._came_back(leg)
        if not self._known.tied(leg.flow.payer, leg.flow.payee):
            yield from self._repeated(leg)
            if fresh and not self._known.is_business(leg.flow.payee):
                yield from self._paid_out(leg)

    @property
    def _least(self) -> int:
        return self._parameters.pass_least_cny * 100

    def _is_regular(self, leg: Leg) -> bool:
        return any(
            leg.flow.time - time >= MONTH and amount * 8 <= leg.cents * 10 <= amount * 12
            for time, amount in self._paid.get((leg.payer, leg.payee))
        )

    def _is_fresh(self, pair: tuple[Subject, Subject]) -> bool:
        paid = self._paid.get(pair)
        return not paid or self._now - paid[0][0] <= self._parameters.payout_days * DAY

    def _is_bill(self, leg: Leg) -> bool:
        trade = self._known.is_business(leg.flow.payee) and self._purchases.other_trade(leg.payee)
        return trade > self._parameters.trade_none or self._is_busy(leg.payee)

    def _is_busy(self, account: Subject) -> bool:
        if self._known.is_person(account):
            return False
        most = self._parameters.busy_legs
        return len(self._into.get(account)) > most or len(self._out.get(account)) > most

    def _trades(self, account: Subject, owner: Subject) -> bool:
        """Whether the account is of a business with trade of its own."""
        return (
            self._known.is_business(account)
            and self._purchases.other_trade(owner) > self._parameters.trade_little
        )

    def _passed_on(self, leg: Leg) -> Iterator[Leg]:
        """What the payer received lately and sent on, this leg included."""
        if self._trades(leg.flow.payer, leg.payer):
            return
        into = [
            each
            for each in self._latest(self._into, leg.payer)
            if each.payer != leg.payee
            and not self._is_busy(each.payer)
            and not self._has_paid(leg.payer, each.payer)
        ]
        if not into or self._has_paid(leg.payee, leg.payer):
            return
        out = [each for each in self._latest(self._out, leg.payer) if not self._is_bill(each)]
        for received in self._sums(into, out):
            total = sum(each.cents for each in received)
            since = received[0].flow.time
            after = [each for each in out if each.flow.time >= since]
            same = [each for each in after if each.payee == leg.payee]
            few = len({each.payee for each in after}) <= self._parameters.pass_payees
            for sent in ([leg], same, after if few else ()):
                if self._fits(total, sum(each.cents for each in sent)):
                    yield from received
                    yield from sent
                    break

    def _latest(self, window: Window[Subject, Leg], account: Subject) -> list[Leg]:
        """The latest legs of an account that can be parts of a sum, oldest first."""
        worth = (each for each in reversed(window.get(account)) if each.cents * 10 >= self._least)
        return list(islice(worth, LATEST))[::-1]

    def _sums(self, into: Sequence[Leg], out: Sequence[Leg]) -> Iterator[Sequence[Leg]]:
        """What was received that may be one sum: each leg, all of one payer, all, all since the last but this
        was sent."""
        by_payer: dict[Subject, list[Leg]] = {}
        for each in into:
            by_payer.setdefault(each.payer, []).append(each)
            yield [each]
        if len(by_payer) < len(into):
            yield from (legs for legs in by_payer.values() if len(legs) > 1)
        if len(by_payer) > 1:
            yield into
            before = max((each.flow.time for each in out[:-1]), default=0)
            lately = [each for each in into if each.flow.time >= before]
            if 1 < len(lately) < len(into):
                yield lately

    def _has_paid(self, payer: Subject, payee: Subject) -> bool:
        """Whether the two have done business for a while: one that is paid by the other paid it before."""
        paid = self._paid.get((payer, payee))
        return bool(paid) and self._now - paid[0][0] >= self._parameters.partner_days * DAY

    def _came_back(self, leg: Leg) -> Iterator[Leg]:
        """What the payee bought on credit lately, most of which this leg, or its like, gives back."""
        bought = self._bought.get(leg.payee)
        if not bought:
            return
        alike = self._pairs.get((leg.payer, leg.payee))
        by_merchant: dict[Subject, list[Leg]] = {}
        for each in bought:
            by_merchant.setdefault(each.payee, []).append(each)
        purchases: list[Sequence[Leg]] = [[each] for each in bought]
        purchases += [legs for legs in by_merchant.values() if len(legs) > 1]
        for legs in purchases:
            total, since = sum(each.cents for each in legs), legs[0].flow.time
            parts = [each for each in alike if each.flow.time >= since]
            for sent in ([leg], [*parts, leg]):
                if self._fits(total, sum(each.cents for each in sent)):
                    yield from legs
                    yield from sent
                    break

    def _repeated(self, leg: Leg) -> Iterator[Leg]:
        """Payments of one to another within days that add up."""
        pair = (leg.payer, leg.payee)
        self._pairs.add(pair, leg.flow.time, leg)
        legs = self._pairs.get(pair)
        if len(legs) > 1 and sum(each.cents for each in legs) >= self._parameters.repeat_least_cny * 100:
            yield from legs

    def _paid_out(self, leg: Leg) -> Iterator[Leg]:
        """The first payment a day of a business without trade to somebody new: a payroll has one first."""
        if leg.cents < self._least or not self._known.is_business(leg.flow.payer):
            return
        if self._purchases.other_trade(leg.payer) > self._parameters.trade_none:
            return
        today = (leg.payer, leg.flow.time // DAY)
        if not self._payouts.get(today):
            yield leg
        self._payouts.add(today, leg.flow.time, None)

    def _fits(self, received: int, sent: int) -> bool:
        least = self._parameters.pass_returns_permille
        return sent >= self._least and received * least <= sent * 1_000 <= received * 1_000
