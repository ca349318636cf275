"""Refund loops: what is found, in any order, and which honest refunds are not."""

import pytest
from hypothesis import given, settings

from exchange.domain.matching import refund_loop
from exchange.domain.matching.observation import Observation, Role
from tests.support.observations import RULES, any_order, assert_same_in, found, linked, seen, sent, token


def refunded(payer: str, merchant: str, amount: float, at: float, until: float) -> Observation:
    return seen("shop", Role.REFUND, payer, merchant, amount, at, until)


BY_OPERATOR = [
    refunded("phone 1", "merchant m", 2000, 0, 3),
    linked("shop", "merchant m", "phone o", at=3),
    sent("north", "iban o", "iban 1", 1850, 9, "phone o", "id o"),
    linked("north", "iban 1", "phone 1", at=9),
]
SPLIT = [
    refunded("phone 1", "merchant m", 1000, 0, 3),
    refunded("phone 1", "merchant m", 1200, 0.5, 3.2),
    sent("lotus", "merchant m", "phone x", 1300, 8),
    sent("lotus", "merchant m", "phone x", 800, 9),
    sent("lotus", "phone x", "phone 1", 900, 10),
    sent("lotus", "phone x", "phone 1", 1100, 20),
]


@pytest.mark.parametrize("rows", [BY_OPERATOR, SPLIT], ids=["operator", "split"])
def test_a_refund_loop_is_found(rows: list[Observation]) -> None:
    (finding,) = found(refund_loop, rows).values()
    assert set(finding.evidence) == {row.place for row in rows if row.role != Role.LINK}
    assert set(finding.principal) == {row.place for row in rows if row.role == Role.REFUND}
    assert finding.anchors == (token("merchant m"),)


@settings(max_examples=25, deadline=None)
@given(any_order(BY_OPERATOR))
def test_it_is_found_in_any_order(order: list[Observation]) -> None:
    assert_same_in(order, refund_loop, BY_OPERATOR)


@settings(max_examples=25, deadline=None)
@given(any_order(SPLIT))
def test_a_split_one_is_found_in_any_order(order: list[Observation]) -> None:
    assert_same_in(order, refund_loop, SPLIT)


def test_an_honest_cancellation_is_none() -> None:
    rows = [
        refunded("phone 1", "merchant m", 2000, 0, 1),
        sent("north", "iban f", "phone 1", 1900, 4),
        sent("north", "merchant m", "phone 2", 1900, 4),
    ]
    assert found(refund_loop, rows) == {}


def test_a_late_refund_is_none() -> None:
    hours = RULES.refund_loop.refund_hours
    for after, count in ((hours, 1), (hours + 1, 0)):
        rows = [
            refunded("phone 1", "merchant m", 2000, 0, after),
            sent("north", "merchant m", "phone 1", 1900, 9),
        ]
        assert len(found(refund_loop, rows)) == count


def test_goodwill_is_none() -> None:
    rows = [
        refunded("phone 1", "merchant m", 2000, 0, 2),
        sent("north", "merchant m", "phone 1", 400, 9),
    ]
    assert found(refund_loop, rows) == {}


def test_money_long_after_is_none() -> None:
    rows = [
        refunded("phone 1", "merchant m", 2000, 0, 2),
        sent("north", "merchant m", "phone 1", 1900, 2 + RULES.refund_loop.hours + 1),
    ]
    assert found(refund_loop, rows) == {}


def test_each_bank_knows_its_own_side() -> None:
    """The merchant's bank says who paid, the payer's bank who was paid; both report the transfer."""
    rows = [
        refunded("phone 1", "merchant m", 2000, 0, 3),
        sent("north", "iban m", "iban 1", 1850, 9, "merchant m"),
        linked("south", "iban 1", "phone 1", at=9),
    ]
    assert found(refund_loop, rows) == {}, "north doesn't know whom it paid, and south said nothing of it"
    twin = sent("south", "iban m", "iban 1", 1850, 9.1)
    for order in ([*rows, twin], [twin, *rows]):
        (finding,) = found(refund_loop, order).values()
        assert set(finding.evidence) == {rows[0].place, rows[1].place, twin.place}
