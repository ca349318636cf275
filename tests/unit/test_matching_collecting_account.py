"""Collecting accounts: fan-in and fan-out, scatter and gather, and which honest accounts are none."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings

from exchange.domain.matching import collecting_account
from exchange.domain.matching.observation import Observation, Role
from tests.support.observations import (
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

FAN = [
    *(sent("north", f"iban m{n}", "iban x", 2000 + 100 * n, n, f"merchant {n}") for n in range(3)),
    sent("north", "iban x", "iban y", 6000, 8, "id x"),
    linked("south", "iban y", "id x", at=8),
    *(sent("south", "iban y", f"iban {n}", 1800 + 100 * n, 12 + n) for n in range(3)),
]
BACK_TO_PAYERS = [
    *(paid("lotus", f"phone {n}", f"merchant {n % 2}", 2000, n / 2, f"id {n}") for n in range(3)),
    sent("north", "iban m0", "iban x", 3900, 5, "merchant 0"),
    sent("north", "iban m1", "iban x", 1950, 6, "merchant 1"),
    *(sent("south", "iban x", f"iban {n}", 1800, 12 + n) for n in range(3)),
    *(linked("south", f"iban {n}", f"id {n}", at=20) for n in range(3)),
]
SCATTER = [
    *(sent("north", "iban m", f"iban x{n}", 1500 + 200 * n, n / 2, "merchant m") for n in range(3)),
    *(sent("south", f"iban x{n}", "iban t", 1400 + 190 * n, 6 + n) for n in range(3)),
]


@pytest.mark.parametrize("rows", [FAN, BACK_TO_PAYERS, SCATTER], ids=["fan", "payers", "scatter"])
def test_a_collecting_account_is_found(rows: list[Observation]) -> None:
    (finding,) = found(collecting_account, rows).values()
    inside = {
        row.place for row in rows if row.subject == token("iban x") and row.counterparty == token("iban y")
    }
    legs = {row.place for row in rows if row.role != Role.LINK} - inside
    assert set(finding.evidence) == legs
    assert finding.anchors == (token("iban t" if rows is SCATTER else "iban x"),)
    assert len(finding.principal) == len(
        [row for row in rows if row.role == Role.TRANSFER and row.counterparty in finding.anchors]
    )


def test_everybody_who_took_part_is_named() -> None:
    (finding,) = found(collecting_account, BACK_TO_PAYERS).values()
    known = ["iban x", *(f"{kind} {n}" for n in range(3) for kind in ("phone", "iban", "merchant"))]
    assert names(finding, [*known, "iban m0", "iban m1"]) == {*known, "iban m0", "iban m1"} - {"merchant 2"}


@settings(max_examples=20, deadline=None)
@given(any_order(FAN))
def test_a_fan_is_found_in_any_order(order: list[Observation]) -> None:
    assert_same_in(order, collecting_account, FAN)


@settings(max_examples=20, deadline=None)
@given(any_order(BACK_TO_PAYERS))
def test_money_back_to_payers_is_found_in_any_order(order: list[Observation]) -> None:
    assert_same_in(order, collecting_account, BACK_TO_PAYERS)


@settings(max_examples=20, deadline=None)
@given(any_order(SCATTER))
def test_a_scatter_is_found_in_any_order(order: list[Observation]) -> None:
    assert_same_in(order, collecting_account, SCATTER)


def wages() -> list[Observation]:
    """One firm pays a foreman, who pays a crew; friends pay the foreman back for dinners."""
    rows = [sent("north", "iban f", "iban x", 9000, 0, "merchant f")]
    rows += [sent("north", f"iban friend{n}", "iban x", 60 + n, n) for n in range(4)]
    return rows + [sent("south", "iban x", f"iban {n}", 1400, 10 + n) for n in range(6)]


def landlord() -> list[Observation]:
    """Many tenants, one mortgage."""
    rows = [sent("north", f"iban {n}", "iban x", 2000, n) for n in range(8)]
    return [*rows, sent("south", "iban x", "iban bank", 15_000, 30)]


def trip() -> list[Observation]:
    """What is left over goes back to those who paid."""
    rows = [sent("north", f"iban {n}", "iban x", 1000, n) for n in range(8)]
    rows += [sent("south", "iban x", "iban agency", 6000, 20, "id x")]
    return rows + [sent("south", "iban x", f"iban {n}", 230, 30 + n) for n in range(8)]


def club() -> list[Observation]:
    """A savings club's pot goes to two in turn."""
    rows = [sent("north", f"iban {n}", "iban x", 1000, n) for n in range(8)]
    return rows + [sent("south", "iban x", f"iban {n}", 4000, 30) for n in range(2)]


def firm() -> list[Observation]:
    """A wholesaler's account: many customers in, suppliers and wages out."""
    rows = [sent("north", f"iban c{n}", "iban x", 3000, n) for n in range(8)]
    return rows + [sent("north", "iban x", f"iban s{n}", 5500, 30 + n, "merchant x") for n in range(4)]


def keeps() -> list[Observation]:
    """Half of what comes in stays."""
    rows = [sent("north", f"iban c{n}", "iban x", 3000, n) for n in range(4)]
    return rows + [sent("south", "iban x", f"iban s{n}", 1500, 30 + n) for n in range(4)]


@pytest.mark.parametrize("honest", [wages, landlord, trip, club, firm, keeps])
def test_honest_accounts_are_none(honest: Callable[[], list[Observation]]) -> None:
    assert found(collecting_account, honest()) == {}


def test_an_aggregator_is_none() -> None:
    rows = [sent("north", f"iban c{n}", "account g", 3000, n) for n in range(4)]
    rows += [sent("south", "account g", f"iban s{n}", 2900, 10 + n) for n in range(4)]
    assert found(collecting_account, rows)
    shared = [seen(group, Role.SHARED, "account g") for group in ("north", "south")]
    assert found(collecting_account, [*shared, *rows]) == {}


def test_what_is_set_aside_is_neither_source_nor_sink() -> None:
    shared = [seen(group, Role.SHARED, "iban m2") for group in ("north", "south")]
    assert found(collecting_account, [*shared, *FAN]) == {}


def test_an_account_with_thousands_of_legs_is_still_found() -> None:
    crowd = [sent("evil", f"iban c{n}", "iban x", 2000, n / 100) for n in range(1000)]
    assert found(collecting_account, [*FAN, *crowd])
