"""Rule files and what their rules are judged on."""

from dataclasses import dataclass

import pytest
from signalexchange.detector.conditions import FIELDS
from signalexchange.detector.rules import RuleFileError, Rules
from signalexchange.flows import Kind

MINUTE, HOUR, DAY = 60, 3600, 86400
NOON = 1_750_000_000 // DAY * DAY + 4 * HOUR
"""Noon in China."""
FEATURES = (
    *(f"customer.count.{window}" for window in ("1m", "10m", "1h", "1d", "7d", "30d")),
    *(f"customer.sum.{window}" for window in ("1m", "10m", "1h", "1d", "7d", "30d")),
    "transaction.large", "customer.credit_large.count.10m", "customer.credit_large.count.1h",
    "customer.credit_large.count.1d",
    "customer.amount_ratio.30d", "customer.payees.1d", "customer.payees.30d", "customer.hour",
    "customer.new_merchant", "customer.refund_ratio.7d", "customer.pass_ratio.3d", "customer.utilisation",
    "customer.frauds.28d", "device.new", "device.customers.1d", "pair.count.30d", "merchant.frauds.28d",
    "merchant.risk.28d",
)  # fmt: skip


@dataclass(frozen=True)
class Bought:
    """What rules read of a transaction."""

    time: int = NOON
    amount: int = 500_000
    limit: int = 0
    kind: Kind = Kind.PURCHASE
    credit: bool = False


def quoted(text: str) -> str:
    """A TOML string."""
    return (
        '"'
        + "".join(f"\\U{ord(each):08x}" if each in '"\\' or not each.isprintable() else each for each in text)
        + '"'
    )


def rule(**changes: object) -> str:
    """A [[rule]]; a value of None leaves its key out."""
    keys: dict[str, object] = {
        "name": "a-rule", "when": "amount > 1", "score": 500, "action": "review", "reason": "because",
    }  # fmt: skip
    keys |= changes
    lines = (
        f"{key} = {quoted(value) if isinstance(value, str) else value}"
        for key, value in keys.items()
        if value is not None
    )
    return "\n".join(["[[rule]]", *lines, ""])


def parse(when: str) -> Rules:
    return Rules.parse("version = 1\n" + rule(when=when), FEATURES)


def refusal(text: str) -> RuleFileError:
    with pytest.raises(RuleFileError) as caught:
        Rules.parse(text, FEATURES, "own.toml")
    assert str(caught.value) == f"own.toml: line {caught.value.line}: {caught.value.reason}"
    return caught.value


def vector(**values: float) -> list[float]:
    """A feature vector; dots of names are written __."""
    given = {name.replace("__", "."): value for name, value in values.items()}
    assert given.keys() <= set(FEATURES)
    return [given.get(name, 0.0) for name in FEATURES]


def applies(when: str, bought: Bought | None = None, **values: float) -> bool:
    return bool(parse(when).judge(vector(**values), bought or Bought()))


HEAD = "version = 1\n\n"
PIECES = [
    *FIELDS, *FEATURES[:4], "and", "or", "not", "in", "is", "if", "else", "lambda", "True", "None", "yield",
    "__import__", "hits", "divide", "(", ")", "[", "]", "{", "}", "*", "+", "-", "/", "%", "@", "~", "<",
    "<=", "==", "!=", ">", "=",
    ":=", ":", ",", ".", ";", "'", '"', '"refund"', "\\", "#", "\n", "0", "1", "3.5",
    "1_000", "10m", "9" * 200, "0x1f", "1e9", "1j",
]  # fmt: skip
