"""The detector's packaged rules: each catches its case and not what looks like it, the burst above all."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from signalexchange.detector.conditions import FIELDS, KINDS
from signalexchange.detector.rules import RuleFileError, Rules, default_text
from signalexchange.flows import Kind

from tests.support.detector_rules import DAY, FEATURES, HOUR, MINUTE, NOON, Bought, vector

PAGE = Path(__file__).parents[2] / "docs" / "detector-rules.md"


def judged(history: Sequence[Bought], bought: Bought, **others: float) -> set[str]:
    """Packaged rules that apply to a customer's purchase after its history, recounted naively."""

    def within(seconds: int, upto: int = len(history)) -> list[Bought]:
        return [each for each in history[:upto] if bought.time - seconds < each.time]

    def mean(purchases: Sequence[Bought]) -> float:
        return sum(each.amount for each in purchases) / len(purchases) if purchases else 0.0

    def is_large(each: Bought, before: int) -> bool:
        return each.amount >= max(100_000, 3 * mean(within(30 * DAY, before)))

    large = [each for index, each in enumerate(history) if each.credit and is_large(each, index)]
    windows = {"1m": MINUTE, "10m": 10 * MINUTE, "1h": HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
    values: dict[str, float] = {}
    for name, seconds in windows.items():
        values[f"customer__count__{name}"] = len(within(seconds))
        values[f"customer__sum__{name}"] = sum(each.amount for each in within(seconds)) / 100
        if name in {"10m", "1h", "1d"}:
            values[f"customer__credit_large__count__{name}"] = sum(each in large for each in within(seconds))
    usual = mean(within(30 * DAY))
    values["transaction__large"] = is_large(bought, len(history))
    values["customer__amount_ratio__30d"] = bought.amount / usual if usual else 0.0
    values |= {"customer__hour": 0.5, "customer__utilisation": 0.5, "pair__count__30d": 3} | others
    return {hit.name for hit in Rules.default(FEATURES).judge(vector(**values), bought)}


EVERYDAY = [Bought(NOON - day * DAY, 8_000) for day in range(29, 0, -1)]


def large(*minutes: int, amount: int = 450_000, credit: bool = True) -> list[Bought]:
    return [
        Bought(NOON + minute * MINUTE, amount + minute * 100, 2_000_000, credit=credit) for minute in minutes
    ]


@pytest.mark.parametrize("history", [EVERYDAY, []], ids=["a known customer", "a new customer"])
def test_a_burst_of_large_purchases_on_credit_is_caught_at_the_third(history: list[Bought]) -> None:
    burst = large(0, 4, 8)
    for index in range(2):
        assert not judged(history + burst[:index], burst[index])
    assert "credit-burst" in judged(history + burst[:2], burst[2])
    assert "credit-burst" in judged(history + burst, large(9)[0])
    assert "credit-burst" in judged(history + burst, large(12)[0])


def test_a_burst_spread_over_an_hour_is_caught_at_the_fourth() -> None:
    burst = large(0, 18, 36, 54)
    assert "credit-burst-slow" not in judged(EVERYDAY + burst[:2], burst[2])
    assert "credit-burst-slow" in judged(EVERYDAY + burst[:3], burst[3])


RICH = [replace(each, amount=500_000, credit=True) for each in EVERYDAY]
LOOK_ALIKES: dict[str, list[Bought]] = {
    "paid with own money": EVERYDAY + large(0, 4, 8, 12, credit=False),
    "small things on credit": EVERYDAY + large(0, 4, 8, 12, amount=20_000),
    "two large things": EVERYDAY + large(0, 4),
    "large things on different days": EVERYDAY + large(-3 * 1440, -1440, 0),
    "large for others, usual for this customer": RICH + large(0, 4, 8, 12),
    "small after large": EVERYDAY + large(0, 4) + large(8, amount=3_000),
    "a refund on the line": EVERYDAY + large(0, 4) + [replace(large(8)[0], kind=Kind.REFUND)],
    "a repayment of the line": EVERYDAY + large(0, 4) + [replace(large(8)[0], kind=Kind.REPAYMENT)],
}  # fmt: skip


@pytest.mark.parametrize("purchases", LOOK_ALIKES.values(), ids=LOOK_ALIKES)
def test_what_looks_like_a_burst_is_not_caught_as_one(purchases: list[Bought]) -> None:
    for index, bought in enumerate(purchases):
        assert not judged(purchases[:index], bought) & {"credit-burst", "credit-burst-slow"}


def test_everyday_life_hits_nothing() -> None:
    for index, bought in enumerate(EVERYDAY):
        assert judged(EVERYDAY[:index], bought) == set()


ON_CREDIT = Bought(limit=1_000_000, credit=True)
SENT = Bought(kind=Kind.TRANSFER)
BACK = Bought(kind=Kind.REFUND)
CAUGHT: dict[str, tuple[Bought, dict[str, float], list[tuple[Bought, dict[str, float]]]]] = {
    "line-at-once": (
        replace(ON_CREDIT, amount=600_000),
        {"customer__new_merchant": 1},
        [
            (replace(ON_CREDIT, amount=590_000), {}),
            (replace(ON_CREDIT, limit=0), {}),
            (ON_CREDIT, {"customer__new_merchant": 0}),
        ],
    ),
    "line-exhausted": (
        ON_CREDIT,
        {"customer__utilisation": 0.4, "customer__count__1d": 2, "customer__sum__1d": 4_000,
         "customer__sum__30d": 5_000},
        [
            (ON_CREDIT, {"customer__utilisation": 0.95}),
            (ON_CREDIT, {"customer__utilisation": 0.3}),
            (ON_CREDIT, {"customer__sum__30d": 8_001}),
            (replace(ON_CREDIT, limit=0), {}),
        ],
    ),
    "fan-out": (
        SENT,
        {"customer__payees__1d": 9, "customer__payees__30d": 12, "customer__pass_ratio__3d": 0.5},
        [
            (SENT, {"pair__count__30d": 1}),
            (SENT, {"customer__payees__1d": 8}),
            (SENT, {"customer__payees__30d": 19}),
            (SENT, {"customer__pass_ratio__3d": 0}),
            (SENT, {"customer__pass_ratio__3d": 2}),
            (replace(SENT, amount=50_000), {}),
        ],
    ),
    "pass-through": (
        SENT,
        {"customer__pass_ratio__3d": 0.9},
        [(SENT, {"customer__pass_ratio__3d": 0.6}), (SENT, {"customer__pass_ratio__3d": 1.2}), (BACK, {})],
    ),
    "refund-abuse": (
        BACK,
        {"customer__count__7d": 6, "customer__refund_ratio__7d": 0.6},
        [(BACK, {"customer__count__7d": 2}), (BACK, {"customer__refund_ratio__7d": 0.2}), (ON_CREDIT, {})],
    ),
    "new-device-large": (
        Bought(),
        {"device__new": 1, "customer__amount_ratio__30d": 8, "customer__count__30d": 12},
        [
            (Bought(), {"device__new": 0}),
            (Bought(), {"customer__amount_ratio__30d": 2}),
            (Bought(), {"customer__count__30d": 1}),
            (Bought(amount=90_000), {}),
        ],
    ),
    "shared-device": (
        ON_CREDIT,
        {"device__customers__1d": 5},
        [(ON_CREDIT, {"device__customers__1d": 4}), (Bought(), {}), (replace(ON_CREDIT, amount=50_000), {})],
    ),
    "quiet-then-burst": (
        Bought(),
        {
            "customer__count__30d": 6, "customer__count__7d": 2, "customer__count__1d": 2,
            "customer__sum__1d": 9_000, "customer__sum__30d": 9_400,
        },
        [
            (Bought(), {"customer__count__7d": 3}),
            (Bought(), {"customer__count__30d": 2}),
            (Bought(), {"customer__sum__30d": 30_000}),
        ],
    ),
    "rapid-fire": (
        Bought(),
        {"customer__count__1m": 4},
        [(Bought(), {"customer__count__1m": 3}), (SENT, {})],
    ),
    "odd-hour-large": (
        Bought(),
        {"customer__count__30d": 40, "customer__hour": 0.01, "customer__amount_ratio__30d": 6},
        [(Bought(), {"customer__hour": 0.1}), (Bought(), {"customer__count__30d": 5})],
    ),
    "merchant-with-frauds": (
        Bought(amount=2_000),
        {"merchant__frauds__28d": 3, "merchant__risk__28d": 0.25},
        [(Bought(), {"merchant__frauds__28d": 2}), (Bought(), {"merchant__risk__28d": 0.05})],
    ),
    "customer-with-fraud": (
        Bought(amount=30_000),
        {"customer__frauds__28d": 1, "customer__amount_ratio__30d": 5},
        [(Bought(), {"customer__frauds__28d": 0}), (Bought(), {"customer__amount_ratio__30d": 1})],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CAUGHT)
def test_each_packaged_rule_catches_its_case_and_not_the_look_alikes(name: str) -> None:
    rules = Rules.default(FEATURES)
    bought, values, look_alikes = CAUGHT[name]
    assert name in {hit.name for hit in rules.judge(vector(**values), bought)}
    for other, changes in look_alikes:
        assert name not in {hit.name for hit in rules.judge(vector(**values | changes), other)}


def test_every_packaged_rule_is_tested() -> None:
    names = {each.name for each in Rules.default(FEATURES).rules}
    assert names == {*CAUGHT, "credit-burst", "credit-burst-slow"}


def test_the_page_lists_the_packaged_rules_as_they_are() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (\w+) \|", PAGE.read_text("utf-8"), flags=re.M)
    assert rows == [(each.name, str(each.score), each.action) for each in Rules.default(FEATURES).rules]


def test_the_page_explains_every_field_and_feature_the_packaged_rules_read() -> None:
    page = PAGE.read_text("utf-8")
    for name in [*FIELDS, *KINDS]:
        assert f"`{name}`" in page
    for name in Rules.default(FEATURES).features:
        assert re.sub(r"\.\d+[mhd]$", "", name) in page


def test_the_packaged_rules_read_features_that_windows_have() -> None:
    windows = pytest.importorskip("signalexchange.detector.features")
    assert Rules.default(windows.FEATURES).features <= set(windows.FEATURES)


def test_a_packaged_rule_that_reads_what_is_not_there_is_refused_by_line() -> None:
    with pytest.raises(RuleFileError, match=r"rules\.toml: line \d+: rule credit-burst: when: unknown name"):
        Rules.parse(default_text(), FEATURES[:12], "rules.toml")
