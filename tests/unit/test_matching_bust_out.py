"""Bust-out: lines exhausted together, and which honest ones are not."""

from hypothesis import given, settings

from exchange.domain.matching import bust_out
from exchange.domain.matching.observation import Observation, Role
from tests.support.observations import RULES, any_order, assert_same_in, found, linked, seen, token


def line(group: str, name: str, until: float, *links: str, member: str = "") -> Observation:
    return seen(group, Role.LINE, name, "", 8000, until - 60, until, links, member=member)


THREE = [
    line("lotus", "phone 1", 100, "id 1"),
    line("shop", "phone 1", 130),
    line("north", "card 1", 170),
    linked("north", "card 1", "id 1", at=100),
]


def test_three_lines_are_found() -> None:
    findings = list(found(bust_out, THREE).values())
    assert len(findings) == 3
    for finding in findings:
        assert finding.anchors == tuple(sorted({token("phone 1"), token("card 1")}))
        assert finding.evidence == tuple(row.place for row in THREE[:3])
    assert sorted(place for finding in findings for place in finding.principal) == [
        row.place for row in THREE[:3]
    ]


@settings(max_examples=25, deadline=None)
@given(any_order(THREE))
def test_they_are_found_in_any_order(order: list[Observation]) -> None:
    assert_same_in(order, bust_out, THREE)


def test_one_line_is_none() -> None:
    assert found(bust_out, THREE[:1]) == {}


def test_one_line_said_again_is_one() -> None:
    rows = [line("lotus", "phone 1", 100 + n) for n in range(3)]
    assert found(bust_out, rows) == {}


def test_lines_of_one_issuer_are_none() -> None:
    assert found(bust_out, [line("north", f"card {n}", 100, "id 1") for n in range(3)]) == {}


def test_lines_far_apart_are_none() -> None:
    apart = RULES.bust_out.days * 24 + 1
    rows = [line(group, "phone 1", 100 + apart * n) for n, group in enumerate(["lotus", "shop", "north"])]
    assert found(bust_out, rows) == {}
