"""Why a model scored a transaction as it did: a few reason codes, strongest first.

Invariants: what a code adds is the sum of what its features add (exact TreeSHAP, in log-odds), so a reason is
never more than the model made of it; only what speaks for fraud is a reason; no reason holds a feature's
value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from signalexchange.detector.model import Model

MOST: Final = 4
"""Reasons a decision has at most; more are read by nobody."""
LEAST: Final = 0.05
"""Log-odds below which something is no reason: 5 percent of the odds."""

CODES: Final[dict[str, str]] = {
    "amount": "an amount unusual for this customer or merchant",
    "kind": "a kind of transaction that is often fraud here",
    "time_of_day": "an hour or weekday this customer seldom pays at",
    "pace": "more or larger payments in a short time than is usual",
    "spread": "unusually many merchants or payees",
    "large_burst": "several large payments in a short time",
    "credit_burst": "several large credit purchases in a short time",
    "dormant": "a customer who is new, or was silent before",
    "new_counterparty": "little or nothing known between these two before",
    "refunds": "much of what was bought is refunded",
    "pass_through": "money sent on soon after it came in",
    "credit_line": "a credit line drawn far",
    "known_frauds": "earlier frauds of this customer",
    "merchant_frauds": "earlier frauds at this merchant",
    "merchant_activity": "activity at this merchant out of the ordinary",
    "payee_frauds": "earlier frauds towards this payee",
    "payee_activity": "activity towards this payee out of the ordinary",
    "device": "a device that is new or used by several customers",
    "card": "more or larger payments with this card than is usual",
    "shared_signals": "signals that other members shared",
    "rules": "rules that apply",
    "other": "other features",
}
"""What each reason code means."""

PREFIXES: Final[dict[str, str]] = {
    "transaction.amount": "amount",
    "transaction.large": "amount",
    "transaction.kind": "kind",
    "transaction.credit": "kind",
    "transaction.hour": "time_of_day",
    "transaction.weekday": "time_of_day",
    "customer.amount_ratio": "amount",
    "customer.hour": "time_of_day",
    "customer.count": "pace",
    "customer.sum": "pace",
    "customer.merchants": "spread",
    "customer.payees": "spread",
    "customer.large": "large_burst",
    "customer.credit_large": "credit_burst",
    "customer.since": "dormant",
    "customer.age": "dormant",
    "customer.new_merchant": "new_counterparty",
    "customer.refund_ratio": "refunds",
    "customer.pass_ratio": "pass_through",
    "customer.utilisation": "credit_line",
    "customer.frauds": "known_frauds",
    "merchant": "merchant_activity",
    "merchant.amount_ratio": "amount",
    "merchant.frauds": "merchant_frauds",
    "merchant.risk": "merchant_frauds",
    "payee": "payee_activity",
    "payee.frauds": "payee_frauds",
    "payee.risk": "payee_frauds",
    "pair": "new_counterparty",
    "device": "device",
    "card": "card",
    "shared": "shared_signals",
    "rules": "rules",
}
"""Which code the features have whose dotted names begin so; the longest prefix decides."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason code, what it means, and the log-odds it added."""

    code: str
    text: str
    log_odds: float


def code_of(feature: str) -> str:
    """The reason code of a feature, "other" where no prefix fits."""
    parts = feature.split(".")
    for end in range(len(parts), 0, -1):
        if code := PREFIXES.get(".".join(parts[:end])):
            return code
    return "other"


def explain(model: Model, vector: Sequence[float]) -> tuple[Reason, ...]:
    """The reasons for a transaction's score, at most MOST, strongest first. Takes milliseconds.

    None at all is possible: then nothing spoke for fraud. Raises MalformedError for another vector.
    """
    added: dict[str, float] = {}
    for feature, log_odds in zip(model.features, model.contributions([vector])[0], strict=False):
        code = code_of(feature)
        added[code] = added.get(code, 0.0) + float(log_odds)
    strongest = sorted(added.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST]
    return tuple(Reason(code, CODES[code], value) for code, value in strongest if value >= LEAST)
