"""The features of a transaction recomputed from the whole history, as plainly as they are defined."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from signalexchange.detector.features import DAY, HOUR, MONTH, Parameters
from signalexchange.detector.transactions import Transaction
from signalexchange.flows import Kind

WIDTHS = {
    "1m": 60,
    "10m": 600,
    "1h": HOUR,
    "1d": DAY,
    "3d": 3 * DAY,
    "7d": 7 * DAY,
    "28d": 28 * DAY,
    "30d": MONTH,
}
SPENDING = (Kind.PURCHASE, Kind.TRANSFER)


@dataclass(frozen=True)
class Outcome:
    """An outcome of a transaction as it was given: `arrived` as the windows understand it."""

    transaction: Transaction
    fraud: bool
    arrived: int


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0


def total(events: Sequence[Transaction]) -> int:
    return sum(each.amount for each in events)


def other_side(t: Transaction) -> str:
    return t.payee if t.kind is Kind.TRANSFER else t.merchant


class Naive:
    """Everything ever counted, in a list."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.history: list[Transaction] = []
        self.outcomes: list[Outcome] = []
        self.large: list[bool] = []

    def hour(self, t: Transaction) -> int:
        return (t.time + self.parameters.utc_offset) // HOUR % 24

    def update(self, t: Transaction) -> dict[str, float]:
        features, large = self.features(t)
        self.history.append(t)
        self.large.append(large)
        return features

    def features(self, t: Transaction) -> tuple[dict[str, float], bool]:
        history, now = self.history, t.time
        f: dict[str, float] = {}

        def within(events: Sequence[Transaction], window: str) -> list[Transaction]:
            return [each for each in events if each.time > now - WIDTHS[window]]

        def each(name: str, windows: str, value: Callable[[str], float]) -> None:
            f.update({f"{name}.{window}": value(window) for window in windows.split()})

        def since(events: Sequence[Transaction]) -> int:
            recent = within(events, "30d")
            return now - recent[-1].time if recent else MONTH

        mine = [other for other in history if other.customer == t.customer]
        spent = [other for other in mine if other.kind in SPENDING]
        bought = [other for other in mine if other.kind is Kind.PURCHASE]
        sent = [other for other in mine if other.kind is Kind.TRANSFER]
        all_windows = "1m 10m 1h 1d 7d 30d"
        month = within(spent, "30d")
        p = self.parameters
        large = (
            t.kind in SPENDING
            and t.amount >= p.large_minimum
            and t.amount * len(month) >= p.large_factor * total(month)
        )
        f["transaction.amount"] = t.amount / 100
        f["transaction.kind"] = int(t.kind)
        f["transaction.credit"] = int(t.credit)
        f["transaction.hour"] = self.hour(t)
        f["transaction.weekday"] = ((now + p.utc_offset) // DAY + 3) % 7
        f["transaction.large"] = int(large)
        each("customer.count", all_windows, lambda w: len(within(spent, w)))
        each("customer.sum", all_windows, lambda w: total(within(spent, w)) / 100)
        each(
            "customer.amount_ratio",
            "7d 30d",
            lambda w: ratio(t.amount * len(within(spent, w)), total(within(spent, w))),
        )
        each("customer.merchants", "1d 7d 30d", lambda w: len({x.merchant for x in within(bought, w)} - {""}))
        each("customer.payees", "1d 7d 30d", lambda w: len({x.payee for x in within(sent, w)} - {""}))
        f["customer.since"] = since(spent)
        first = now
        for other in reversed(mine):
            if other.time <= first - MONTH:
                break
            first = other.time
        f["customer.age"] = now - first
        near = [x for x in month if (self.hour(x) - self.hour(t)) % 24 in (0, 1, 23)]
        f["customer.hour"] = ratio(len(near), len(month))
        side = other_side(t)
        way = Kind.TRANSFER if t.kind is Kind.TRANSFER else Kind.PURCHASE
        pair = [x for x in mine if side and x.kind is way and other_side(x) == side]
        f["customer.new_merchant"] = int(bool(side) and not within(pair, "30d"))
        large_ones = [
            x for x, was in zip(history, self.large, strict=True) if was and x.customer == t.customer
        ]
        on_credit = [x for x in large_ones if x.credit and x.kind is Kind.PURCHASE]
        each("customer.large", "10m 1h 1d", lambda w: len(within(large_ones, w)))
        each("customer.credit_large.count", "10m 1h 1d", lambda w: len(within(on_credit, w)))
        each("customer.credit_large.sum", "10m 1h 1d", lambda w: total(within(on_credit, w)) / 100)
        refunds = [x for x in mine if x.kind is Kind.REFUND]
        each(
            "customer.refund_ratio",
            "1d 7d",
            lambda w: ratio(total(within(refunds, w)), total(within(bought, w))),
        )
        received = [x for x in history if x.kind is Kind.TRANSFER and x.payee == t.customer]
        f["customer.pass_ratio.3d"] = ratio(total(within(sent, "3d")), total(within(received, "3d")))
        limit = t.limit or next((x.limit for x in reversed(within(mine, "30d")) if x.limit), 0)
        credit = [x for x in within(mine, "30d") if x.credit]
        drawn = sum(x.amount if x.kind in SPENDING else -x.amount for x in credit)
        f["customer.utilisation"] = ratio(max(drawn, 0), limit)

        def known(w: str, match: Callable[[Transaction], bool]) -> list[bool]:
            return [
                o.fraud for o in self.outcomes if now - WIDTHS[w] < o.arrived <= now and match(o.transaction)
            ]

        def at_merchant(x: Transaction) -> bool:
            return Kind.TRANSFER not in (x.kind, t.kind) and bool(t.merchant) and x.merchant == t.merchant

        def to_payee(x: Transaction) -> bool:
            return x.kind is t.kind is Kind.TRANSFER and bool(t.payee) and x.payee == t.payee

        labels = "1d 7d 28d"
        each("customer.frauds", labels, lambda w: sum(known(w, lambda x: x.customer == t.customer)))
        here = [x for x in history if x.kind is Kind.PURCHASE and at_merchant(x)]
        there = [x for x in history if to_payee(x)]
        for name, events in (("merchant", here), ("payee", there)):
            each(f"{name}.count", "1h 1d 7d 30d", lambda w, e=events: len(within(e, w)))  # type: ignore[misc]
            each(f"{name}.sum", "1h 1d 7d 30d", lambda w, e=events: total(within(e, w)) / 100)  # type: ignore[misc]
            each(
                f"{name}.customers",
                "1h 1d 7d 30d",
                lambda w, e=events: len({x.customer for x in within(e, w)}),  # type: ignore[misc]
            )
        each(
            "merchant.mean", "1d 7d 30d", lambda w: ratio(total(within(here, w)) / 100, len(within(here, w)))
        )
        month = within(here, "30d")
        f["merchant.amount_ratio.30d"] = ratio(t.amount / 100 * len(month), total(month) / 100)
        each("merchant.frauds", labels, lambda w: sum(known(w, at_merchant)))
        each("merchant.risk", labels, lambda w: sum(known(w, at_merchant)) / (len(known(w, at_merchant)) + 1))
        each("payee.frauds", labels, lambda w: sum(known(w, to_payee)))
        each("pair.count", "1d 7d 30d", lambda w: len(within(pair, w)))
        f["pair.since"] = since(pair)
        device = [x for x in history if t.device and x.device == t.device]
        used = {x.customer for x in within(device, "30d")}
        f["device.new"] = int(bool(t.device) and t.customer not in used)
        each("device.customers", "1d 7d 30d", lambda w: len({x.customer for x in within(device, w)}))
        card = [x for x in history if t.card and x.card == t.card and x.kind in SPENDING]
        each("card.count", "10m 1h 1d 7d", lambda w: len(within(card, w)))
        each("card.sum", "10m 1h 1d 7d", lambda w: total(within(card, w)) / 100)
        return f, large
