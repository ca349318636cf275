"""Repay and re-spend: rows of cycles over issuers, and which honest repayments are none."""

from hypothesis import given, settings

from exchange.domain.matching import repay_and_respend
from exchange.domain.matching.observation import Observation, Role
from tests.support.observations import RULES, any_order, assert_same_in, found, linked, seen, token


def cycle(group: str, name: str, at: float, *links: str) -> Observation:
    return seen(group, Role.CYCLE, name, "", 4000, at, at + 20, links)


ROW = [
    cycle("lotus", "phone 1", 0, "id 1"),
    cycle("north", "card 1", 40),
    cycle("lotus", "phone 1", 90),
    linked("north", "card 1", "id 1", at=100),
]


def test_a_row_is_found() -> None:
    findings = list(found(repay_and_respend, ROW).values())
    assert len(findings) == 3, "one for each token and day"
    anchors = tuple(sorted({token("phone 1"), token("card 1")}))
    assert {finding.anchors for finding in findings} == {anchors}
    assert {finding.evidence for finding in findings} == {tuple(row.place for row in ROW[:3])}
    assert sorted(place for finding in findings for place in finding.principal) == [
        row.place for row in ROW[:3]
    ]


@settings(max_examples=25, deadline=None)
@given(any_order(ROW))
def test_a_row_is_found_in_any_order(order: list[Observation]) -> None:
    assert_same_in(order, repay_and_respend, ROW)


def test_one_cycle_is_none() -> None:
    assert found(repay_and_respend, ROW[:1]) == {}


def test_one_issuer_is_none() -> None:
    assert found(repay_and_respend, [cycle("lotus", "phone 1", 40 * n) for n in range(4)]) == {}


def test_cycles_of_different_people_are_none() -> None:
    assert found(repay_and_respend, [cycle("lotus", "phone 1", 0), cycle("north", "card 2", 40)]) == {}


def test_cycles_far_apart_are_none() -> None:
    apart = RULES.repay_and_respend.gap_days * 24 + 21
    rows = [cycle("lotus", "phone 1", 0), cycle("north", "phone 1", apart)]
    assert found(repay_and_respend, rows) == {}


def test_a_flood_of_one_group_hides_no_row_of_others() -> None:
    flood = [cycle("evil", "phone 1", 95 + n / 10) for n in range(300)]
    findings = found(repay_and_respend, [*flood, *ROW])
    told = {place for finding in findings.values() for place in finding.evidence}
    assert {row.place for row in ROW[:3]} & told
