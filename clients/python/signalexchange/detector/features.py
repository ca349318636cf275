"""The features a transaction is judged by: their names and what each means.

Invariants: the order of FEATURES is the order of a vector of `Windows.update`; each feature is of what was
counted before the transaction, and of the transaction itself only where its meaning says so; what there is
nothing to divide by, or to look at, is 0. Amounts are CNY, times seconds, shares and ratios plain numbers.

A window of width w at time t holds what happened after t − w, up to t. "Spent" is on purchases and transfers
together; a counterparty is the merchant of a purchase (or refund, or repayment) and the payee of a transfer.
Outcomes stand in a window by when they were learned.
"""

from dataclasses import dataclass
from typing import Final

from signalexchange.errors import ConfigError

MINUTE: Final = 60
HOUR: Final = 3_600
DAY: Final = 86_400
WEEK: Final = 7 * DAY
MONTH: Final = 30 * DAY
"""The widest window: nothing that is older matters to a feature, but for `customer.age`."""
OUTCOMES: Final = 28 * DAY
"""The widest window of outcomes."""


@dataclass(frozen=True)
class Parameters:
    """What a "large" amount is, and the members' clock. Raises ConfigError outside of the bounds.

    `large_factor` (1 to 1,000): an amount is large from that many times the customer's own mean of 30 days,
    and from `large_minimum` cents (1 to 10^14), on, which decides alone for who spent nothing in 30 days.
    `utc_offset`: seconds from UTC to local time, within a day, for hours and weekdays; China's by default.
    """

    large_factor: int = 3
    large_minimum: int = 100_000
    utc_offset: int = 8 * HOUR

    def __post_init__(self) -> None:
        if not 1 <= self.large_factor <= 1_000:
            raise ConfigError("large_factor must be 1 to 1000")
        if not 1 <= self.large_minimum <= 10**14:
            raise ConfigError("large_minimum must be 1 to 10^14 cents")
        if not -DAY < self.utc_offset < DAY:
            raise ConfigError("utc_offset must be within a day")


def _each(name: str, meaning: str, *windows: str) -> dict[str, str]:
    return {f"{name}.{window}": f"{meaning}, {window}" for window in windows}


MEANINGS: Final[dict[str, str]] = {
    "transaction.amount": "this amount",
    "transaction.kind": "1 purchase, 2 transfer, 3 refund, 4 repayment",
    "transaction.credit": "1 on a credit line, else 0",
    "transaction.hour": "local hour of this transaction, 0 to 23",
    "transaction.weekday": "local weekday of this transaction, Monday 0 to Sunday 6",
    "transaction.large": "1 for a purchase or transfer that is large for this customer (Parameters), else 0",
    **_each("customer.count", "purchases and transfers", "1m", "10m", "1h", "1d", "7d", "30d"),
    **_each("customer.sum", "spent", "1m", "10m", "1h", "1d", "7d", "30d"),
    **_each("customer.amount_ratio", "this amount ÷ own mean of what was spent at a time", "7d", "30d"),
    **_each("customer.merchants", "merchants bought from", "1d", "7d", "30d"),
    **_each("customer.payees", "payees sent to", "1d", "7d", "30d"),
    "customer.since": "time since the last purchase or transfer; 30 days at most, and where there is none",
    "customer.age": "time since the first transaction of any kind, of those without a pause of 30 days",
    "customer.hour": "share of purchases and transfers of 30 days in this local hour or one next to it",
    "customer.new_merchant": "1 where a counterparty is given that was not met for 30 days, else 0",
    **_each("customer.large", "large purchases and transfers", "10m", "1h", "1d"),
    **_each("customer.credit_large.count", "large purchases on credit", "10m", "1h", "1d"),
    **_each("customer.credit_large.sum", "spent in large purchases on credit", "10m", "1h", "1d"),
    **_each("customer.refund_ratio", "refunded ÷ purchased", "1d", "7d"),
    "customer.pass_ratio.3d": "sent in transfers ÷ received in transfers of this member's customers, 3d",
    "customer.utilisation": "drawn on credit less what was restored, in 30 days and at least 0, ÷ the line's "
    "limit: this transaction's, else the last one known from the last 30 days",
    **_each("customer.frauds", "own transactions learned to be fraud", "1d", "7d", "28d"),
    **_each("merchant.count", "purchases at this merchant", "1h", "1d", "7d", "30d"),
    **_each("merchant.sum", "spent in purchases at this merchant", "1h", "1d", "7d", "30d"),
    **_each("merchant.customers", "customers of this merchant", "1h", "1d", "7d", "30d"),
    **_each("merchant.mean", "mean purchase at this merchant", "1d", "7d", "30d"),
    "merchant.amount_ratio.30d": "this amount ÷ mean purchase at this merchant, 30d",
    **_each("merchant.frauds", "transactions here learned to be fraud", "1d", "7d", "28d"),
    **_each("merchant.risk", "frauds ÷ (outcomes + 1), of outcomes learned", "1d", "7d", "28d"),
    **_each("payee.count", "transfers to this payee", "1h", "1d", "7d", "30d"),
    **_each("payee.sum", "sent to this payee", "1h", "1d", "7d", "30d"),
    **_each("payee.customers", "customers who sent to this payee", "1h", "1d", "7d", "30d"),
    **_each("payee.frauds", "transfers to this payee learned to be fraud", "1d", "7d", "28d"),
    **_each("pair.count", "purchases or transfers with this counterparty", "1d", "7d", "30d"),
    "pair.since": "time since the last one with this counterparty; 30 days at most, and where there is none",
    "device.new": "1 where a device is given that this customer did not use for 30 days, else 0",
    **_each("device.customers", "customers who used this device", "1d", "7d", "30d"),
    **_each("card.count", "purchases and transfers with this card", "10m", "1h", "1d", "7d"),
    **_each("card.sum", "spent with this card", "10m", "1h", "1d", "7d"),
}  # fmt: skip
"""Each feature's name and what it means; a name ends in its window where it has one."""

FEATURES: Final[tuple[str, ...]] = tuple(MEANINGS)
