"""Funds loops: what is found, in any order, and which honest flows are not."""

import pytest
from hypothesis import given, settings

from exchange.domain.matching import funds_loop
from exchange.domain.matching.observation import Observation, Role
from tests.support.observations import (
    RULES,
    any_order,
    assert_same_in,
    found,
    linked,
    names,
    paid,
    seen,
    sent,
    token,
)

PEOPLE = ("phone 1", "iban 1", "merchant m", "iban m", "iban x", "iban y", "iban z")

DIRECT = [
    paid("lender", "phone 1", "merchant m", 3000, 0, "id 1"),
    sent("north", "iban m", "iban 1", 2790, 5, "merchant m"),
    linked("north", "iban 1", "id 1", at=5),
]
LONG = [
    paid("lender", "phone 1", "merchant m", 3000, 0, "id 1"),
    sent("north", "iban m", "iban x", 2900, 2, "merchant m"),
    sent("north", "iban x", "iban y", 2850, 5),
    sent("south", "iban x", "iban y", 2850, 5),
    sent("south", "iban y", "iban z", 2800, 9),
    sent("south", "iban z", "iban 1", 2750, 20),
    linked("south", "iban 1", "id 1", at=20),
]
SPLIT = [
    paid("lender", "phone 1", "merchant m", 1400, 0, "id 1"),
    paid("lender", "phone 1", "merchant m", 1700, 0.5),
    sent("north", "iban m", "iban x", 1500, 2, "merchant m"),
    sent("north", "iban m", "iban x", 1450, 3),
    sent("south", "iban x", "iban 1", 900, 8),
    sent("south", "iban x", "iban 1", 1100, 9),
    sent("south", "iban x", "iban 1", 800, 10),
    linked("south", "iban 1", "id 1", at=20),
]
SCATTERED = [
    paid("lender", "phone 1", "merchant m", 3000, 0, "id 1"),
    *(sent("north", "iban m", f"iban {mule}", 950, 2, "merchant m") for mule in "xyz"),
    *(sent("south", f"iban {mule}", "iban 1", 910, 7) for mule in "xyz"),
    linked("south", "iban 1", "id 1", at=20),
]


@pytest.mark.parametrize(
    "rows", [DIRECT, LONG, SPLIT, SCATTERED], ids=["direct", "long", "split", "scattered"]
)
def test_a_loop_is_found(rows: list[Observation]) -> None:
    (finding,) = found(funds_loop, rows).values()
    told = set(finding.evidence)
    assert told == {row.place for row in rows if row.role != Role.LINK}, "every leg is evidence"
    assert set(finding.principal) == {row.place for row in rows if row.role == Role.PAYMENT}
    assert finding.anchors == (token("merchant m"),)
    named = {name for row in rows for name in PEOPLE if token(name) in (row.subject, row.counterparty)}
    assert names(finding, PEOPLE) == named
    assert len(finding.subjects) == len(named)


@settings(max_examples=25, deadline=None)
@given(any_order(LONG))
def test_a_long_loop_is_found_in_any_order(order: list[Observation]) -> None:
    assert_same_in(order, funds_loop, LONG)


@settings(max_examples=25, deadline=None)
@given(any_order(SPLIT))
def test_a_split_loop_is_found_in_any_order(order: list[Observation]) -> None:
    assert_same_in(order, funds_loop, SPLIT)


@settings(max_examples=25, deadline=None)
@given(any_order(SCATTERED))
def test_a_scattered_loop_is_found_in_any_order(order: list[Observation]) -> None:
    assert_same_in(order, funds_loop, SCATTERED)


def test_loops_of_two_days_are_two_instances_of_one_anchor() -> None:
    rows = [
        row
        for day in (0, 30)
        for row in (
            paid("lender", "phone 1", "merchant m", 3000, day),
            sent("north", "merchant m", "phone 1", 2790, day + 5),
        )
    ]
    first, second = found(funds_loop, rows).values()
    assert first.anchors == second.anchors
    assert not {*first.evidence} & {*second.evidence}


def test_several_loops_of_one_day_are_one_instance() -> None:
    rows = [
        row
        for hour in (0, 4, 8)
        for row in (
            paid("lender", "phone 1", "merchant m", 1000 + 300 * hour, hour),
            sent("north", "merchant m", "phone 1", 950 + 285 * hour, hour + 2),
        )
    ]
    (finding,) = found(funds_loop, rows).values()
    assert len(finding.principal) == 3
    assert len(finding.evidence) == 6


def test_two_reports_of_one_payment_count_once() -> None:
    rows = [*DIRECT, paid("shop", "phone 1", "merchant m", 3000, 0)]
    (finding,) = found(funds_loop, rows).values()
    assert len(finding.principal) == 1
    assert len(finding.evidence) == 3


def test_waiting_helps_up_to_the_window_alone() -> None:
    hours = RULES.funds_loop.hours
    for late, count in ((hours - 1, 1), (hours + 1, 0)):
        rows = [
            paid("lender", "phone 1", "merchant m", 3000, 0),
            sent("north", "merchant m", "phone 1", 2790, late),
        ]
        assert len(found(funds_loop, rows)) == count


@pytest.mark.parametrize(
    "back",
    [
        pytest.param((1500, 5), id="half of it"),
        pytest.param((3600, 5), id="more than it"),
        pytest.param((2790, -3), id="before it was paid"),
    ],
)
def test_what_does_not_return_it_closes_nothing(back: tuple[float, float]) -> None:
    amount, hours = back
    rows = [
        paid("lender", "phone 1", "merchant m", 3000, 20),
        sent("north", "merchant m", "phone 1", amount, 20 + hours),
    ]
    assert found(funds_loop, rows) == {}


def test_a_hop_before_the_one_it_follows_closes_nothing() -> None:
    rows = [
        paid("lender", "phone 1", "merchant m", 3000, 0),
        sent("north", "iban x", "phone 1", 2700, 2),
        sent("north", "merchant m", "iban x", 2800, 4),
    ]
    assert found(funds_loop, rows) == {}


def test_firms_that_trade_both_ways_are_no_loop() -> None:
    rows = [
        paid("lender", "phone 1", "merchant m", 3000, 0, "merchant f"),
        sent("north", "merchant m", "merchant f", 2700, 9),
        sent("north", "merchant m", "phone 1", 2700, 9),
    ]
    assert found(funds_loop, rows) == {}


def test_a_shared_account_joins_nobody() -> None:
    rows = [
        paid("lender", "phone 1", "merchant m", 3000, 0),
        sent("north", "merchant m", "account g", 2900, 2),
        sent("south", "account g", "phone 1", 2800, 9),
    ]
    assert found(funds_loop, rows)
    shared = [seen(group, Role.SHARED, "account g") for group in ("north", "south")]
    assert found(funds_loop, [*shared, *rows]) == {}


def test_a_stranger_in_between_does_not_hide_a_loop() -> None:
    noise = [sent("south", f"iban f{n}", "iban 1", 40 + n, 6 + n / 4) for n in range(12)]
    (finding,) = found(funds_loop, [*DIRECT, *noise]).values()
    assert len(finding.evidence) == 2


def test_a_flood_of_one_group_hides_no_loop_of_others() -> None:
    flood = [sent("evil", f"iban f{n}", "iban 1", 2800, 4 + n / 100) for n in range(300)]
    flood += [paid("evil", f"phone f{n}", "merchant m", 3000, n / 100) for n in range(300)]
    assert found(funds_loop, [*flood, *DIRECT])
