"""Merchant hopping: what is found, in any order, and which honest shopping is not."""

from hypothesis import given, settings

from exchange.domain.matching import merchant_hopping
from exchange.domain.matching.observation import Observation
from tests.support.observations import (
    RULES,
    any_order,
    assert_same_in,
    found,
    found_at_once,
    linked,
    paid,
    token,
)

GROUPS = ("lotus", "north", "south")
BLOCK = [
    paid(
        GROUPS[(payer + merchant) % 3], f"phone {payer}", f"merchant {merchant}", 1500, 18 * merchant + payer
    )
    for payer in range(3)
    for merchant in range(3)
]
TWO_LINES = [
    paid("lotus", "phone 1", "merchant 1", 1500, 1, "id 1"),
    paid("lotus", "phone 1", "merchant 2", 1500, 20),
    paid("north", "card 1", "merchant 3", 1500, 40, "id 1"),
    *(
        paid(("south", "lotus")[n % 2], name, f"merchant {n}", 1500, 20 * n)
        for name in ("phone 2", "phone 3")
        for n in (1, 2, 3)
    ),
]


def test_a_block_is_one_instance_a_payer_and_they_share_their_anchors() -> None:
    findings = list(found(merchant_hopping, BLOCK).values())
    assert len(findings) == 3
    assert {finding.anchors for finding in findings} == {
        tuple(sorted(token(f"phone {payer}") for payer in range(3)))
    }
    for finding in findings:
        assert set(finding.evidence) == {row.place for row in BLOCK}
        assert len(finding.subjects) == 6
    principals = [place for finding in findings for place in finding.principal]
    assert sorted(principals) == sorted(row.place for row in BLOCK), "each purchase is in one total"


@settings(max_examples=20, deadline=None)
@given(any_order(BLOCK))
def test_a_block_is_found_in_any_order(order: list[Observation]) -> None:
    assert_same_in(order, merchant_hopping, BLOCK)


@settings(max_examples=20, deadline=None)
@given(any_order(TWO_LINES))
def test_a_payer_with_two_lines_is_one(order: list[Observation]) -> None:
    assert_same_in(order, merchant_hopping, TWO_LINES)
    assert len(found(merchant_hopping, TWO_LINES)) == 4


def test_a_gap_takes_one_more_payer() -> None:
    gap = [row for row in BLOCK if (row.subject, row.counterparty) != (token("phone 2"), token("merchant 2"))]
    assert found(merchant_hopping, gap) == {}
    more = [paid("lotus", "phone 3", f"merchant {merchant}", 1500, 19 * merchant) for merchant in range(2)]
    findings = found(merchant_hopping, [*gap, *more])
    assert {len(finding.subjects) for finding in findings.values()} == {7}
    assert found(merchant_hopping, [*more, *gap]) == findings


def test_who_comes_days_apart_goes_alone() -> None:
    """Households that furnish, each in its own week, at the same few shops of dear things."""

    def block(apart: int) -> list[Observation]:
        return [
            paid(GROUPS[n % 3], f"phone {n}", f"merchant {shop}", 1500, 20 * shop + apart * n)
            for n in range(3)
            for shop in range(3)
        ]

    assert len(found(merchant_hopping, block(24))) == 3
    assert found(merchant_hopping, block(60)) == {}


def test_two_friends_are_none() -> None:
    rows = [row for row in BLOCK if row.subject != token("phone 2")]
    assert found(merchant_hopping, rows) == {}


def test_two_merchants_are_none() -> None:
    rows = [row for row in BLOCK if row.counterparty != token("merchant 2")]
    assert found(merchant_hopping, rows) == {}


def test_one_with_three_lines_is_none() -> None:
    links = [linked(group, f"phone {n}", "id 1") for n, group in enumerate(GROUPS)]
    rows = [
        paid(GROUPS[n], f"phone {n}", f"merchant {merchant}", 900, 20 * merchant + n)
        for n in range(3)
        for merchant in range(3)
    ]
    assert found(merchant_hopping, rows)
    assert found(merchant_hopping, [*links, *rows]) == {}


def test_everybody_meets_at_popular_merchants() -> None:
    popular = RULES.merchant_hopping.popular
    crowd = [
        paid(GROUPS[n % 3], f"phone x{n}", f"merchant {merchant}", 900, n / 9)
        for n in range(2 * popular)
        for merchant in range(3)
    ]
    assert found_at_once(merchant_hopping, [*crowd, *BLOCK]) == {}


def test_one_group_alone_cannot_make_merchants_popular() -> None:
    crowd = [
        paid("evil", f"phone x{n}", f"merchant {merchant}", 900, -20 - n / 9)
        for n in range(5 * RULES.merchant_hopping.popular)
        for merchant in range(3)
    ]
    assert found(merchant_hopping, [*crowd, *BLOCK])


def test_the_same_shops_in_other_weeks_are_none() -> None:
    apart = (RULES.merchant_hopping.days + 1) * 24
    rows = [
        paid("lotus", f"phone {payer}", f"merchant {merchant}", 900, apart * payer + merchant)
        for payer in range(3)
        for merchant in range(3)
    ]
    assert found(merchant_hopping, rows) == {}
