"""Payer rings: what is found, in any order, and which honest neighbours are not."""

import pytest
from hypothesis import given, settings

from exchange.domain.matching import payer_ring
from exchange.domain.matching.finding import Part
from exchange.domain.matching.observation import Observation, Role
from tests.support.observations import RULES, any_order, assert_same_in, found, linked, paid, seen, token

DEVICE = [
    paid(("lotus", "shop")[n % 2], f"phone {n}", "merchant m", 900, 9 * n, "device d") for n in range(4)
]
OPERATOR = [
    paid("north", "card 1", "merchant m", 1000, 1, "id 1", "phone o"),
    paid("south", "card 2", "merchant m", 1200, 5, "id 2", "phone o"),
    paid("lotus", "phone 3", "merchant m", 1500, 9, "id 3", "device d"),
    paid("shop", "phone 4", "merchant m", 800, 10, "device d"),
    linked("shop", "merchant m", "phone o", at=10),
]
TOLD_APART = [
    *(paid("lotus", f"phone {n}", "merchant m", 900, n) for n in range(3)),
    *(linked("shop", f"phone {n}", "address drop", at=20) for n in range(3)),
]


@pytest.mark.parametrize("rows", [DEVICE, OPERATOR, TOLD_APART], ids=["device", "operator", "told apart"])
def test_a_ring_is_found(rows: list[Observation]) -> None:
    (finding,) = found(payer_ring, rows).values()
    payments = {row.place for row in rows if row.role == Role.PAYMENT}
    assert set(finding.principal) == payments
    assert set(finding.evidence) == {row.place for row in rows}, "who says that a value is had tells of it"
    assert finding.anchors == (token("merchant m"),)
    assert 0 < finding.rarity <= 1000


def test_whose_number_the_payers_go_by_takes_part() -> None:
    cards = [
        paid(("north", "south")[n % 2], f"card {n}", "merchant m", 900, n, f"id {n}", "phone o")
        for n in range(3)
    ]
    (finding,) = found(payer_ring, cards).values()
    assert {subject.part for subject in finding.subjects if subject.token == token("phone o")} == {
        Part.MERCHANT
    }
    (finding,) = found(payer_ring, DEVICE).values()
    assert all(subject.token != token("device d") for subject in finding.subjects)


@settings(max_examples=25, deadline=None)
@given(any_order(DEVICE))
def test_a_ring_is_found_in_any_order(order: list[Observation]) -> None:
    assert_same_in(order, payer_ring, DEVICE)


@settings(max_examples=25, deadline=None)
@given(any_order(OPERATOR))
def test_a_ring_behind_the_operator_is_found_in_any_order(order: list[Observation]) -> None:
    assert_same_in(order, payer_ring, OPERATOR)


@settings(max_examples=25, deadline=None)
@given(any_order(TOLD_APART))
def test_what_is_said_late_completes_a_ring(order: list[Observation]) -> None:
    assert_same_in(order, payer_ring, TOLD_APART)


def test_a_couple_is_none() -> None:
    rows = [
        paid(group, name, "merchant m", 900, n, *links)
        for n, (group, name, links) in enumerate(
            [
                ("lotus", "phone 1", ("id 1", "device tablet")),
                ("shop", "phone 1", ("device tablet", "address home")),
                ("north", "card 1", ("id 1", "phone 1")),
                ("lotus", "phone 2", ("id 2", "device tablet")),
                ("shop", "phone 2", ("device tablet", "address home")),
                ("south", "card 2", ("id 2", "phone 1")),
            ]
        )
    ]
    assert found(payer_ring, rows) == {}


def test_two_couples_at_one_merchant_are_none() -> None:
    rows = [paid("lotus", f"phone {n}", "merchant m", 900, n, f"device {n // 2}") for n in range(4)]
    assert found(payer_ring, rows) == {}


def test_two_couples_one_of_them_behind_the_operator_are_a_ring() -> None:
    rows = [paid("lotus", f"phone {n}", "merchant m", 900, n, f"device {n // 2}") for n in range(4)]
    behind = linked("shop", "merchant m", "device 1", at=9)
    assert found(payer_ring, [*rows, behind])


def test_a_family_among_many_is_none() -> None:
    family = [
        paid(("lotus", "shop")[n % 2], f"phone {n}", "merchant m", 900, n, "device tablet") for n in range(4)
    ]
    assert found(payer_ring, family)
    limit = 4 * 1000 // RULES.payer_ring.share
    others = [
        paid(("lotus", "shop")[n % 2], f"phone x{n}", "merchant m", 900, n / 9) for n in range(2 * limit)
    ]
    assert found(payer_ring, [*others, *family]) == {}


def test_one_group_alone_cannot_hide_a_ring_among_many() -> None:
    flood = [paid("evil", f"phone x{n}", "merchant m", 900, n / 9) for n in range(400)]
    assert found(payer_ring, [*flood, *DEVICE])


def test_strangers_of_one_campus_are_none() -> None:
    limit = RULES.degrees.address
    campus = [
        linked(group, f"phone {n}", "address campus") for n in range(limit + 1) for group in ("lotus", "shop")
    ]
    rows = [paid("lotus", f"phone {n}", "merchant m", 900, n, "address campus") for n in range(4)]
    assert found(payer_ring, [*campus, *rows]) == {}
    known = [seen(group, Role.SHARED, "device d") for group in ("lotus", "shop")]
    assert found(payer_ring, [*known, *DEVICE]) == {}


def test_the_same_people_at_different_merchants_are_none() -> None:
    rows = [paid("lotus", f"phone {n}", f"merchant {n}", 900, n, "device d") for n in range(4)]
    assert found(payer_ring, rows) == {}


def test_payers_weeks_apart_are_none() -> None:
    apart = RULES.payer_ring.days * 24 / 2 + 1
    rows = [paid("lotus", f"phone {n}", "merchant m", 900, apart * n, "device d") for n in range(3)]
    assert found(payer_ring, rows) == {}
