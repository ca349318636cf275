"""Which transfers pass the gate: each rule with a look-alike from honest life."""

import pytest
from signalexchange.flows import Flow

from tests.support.flows import account, bought, offered, person, phone, places, sent, shop

FIRM = {"payer_links": (shop(1), phone(900))}


def passed(flows: list[Flow]) -> list[str]:
    return places(offered(flows), "pass-through")


def names(flows: list[Flow]) -> list[str]:
    return sorted(flow.place for flow in flows)


def test_a_sum_passed_on_publishes_both_sides() -> None:
    legs = [sent(account(1), account(2), 5_000, 1), sent(account(2), account(3), 4_600, 20)]
    assert passed(legs) == names(legs)


@pytest.mark.parametrize(
    ("sent_on", "hours"), [(3_000, 20), (5_100, 20), (4_600, 80)], ids=["little of it", "more", "late"]
)
def test_what_is_not_passed_on(sent_on: int, hours: int) -> None:
    assert (
        passed([sent(account(1), account(2), 5_000, 1), sent(account(2), account(3), sent_on, hours)]) == []
    )


def test_a_sum_may_be_split_on_either_side() -> None:
    whole, parts = sent(account(1), account(2), 5_000, 1), [1_900, 1_500, 1_200]
    out = [sent(account(2), account(3), amount, 5 + n) for n, amount in enumerate(parts)]
    assert passed([whole, *out]) == names([whole, *out])
    into = [sent(account(1), account(2), amount, n) for n, amount in enumerate(parts)]
    once = sent(account(2), account(3), 4_300, 9)
    assert passed([*into, once]) == names([*into, once])


def test_what_many_send_is_collected_and_a_crew_is_not() -> None:
    into = [sent(account(10 + n), account(2), 1_500 + n, n) for n in range(4)]
    once = sent(account(2), account(3), 5_700, 9)
    assert passed([*into, once]) == names([*into, once])
    whole = sent(account(1), account(2), 10_000, 1)
    crew = [sent(account(2), account(20 + n), 900 + n, 3 + n) for n in range(10)]
    assert passed([whole, *crew]) == []


def test_accounts_of_one_person_are_one() -> None:
    mine = (person(1),)
    into = sent(account(1), account(2), 5_000, 1, payee_links=mine)
    own = sent(account(2), account(3), 4_900, 2, payer_links=mine, payee_links=mine)
    on = sent(account(3), account(4), 4_700, 3, payer_links=mine)
    assert passed([into, own, on]) == names([into, on])


def test_money_sent_back_is_a_loan_and_partners_trade() -> None:
    assert passed([sent(account(1), account(2), 900, 1), sent(account(2), account(1), 900, 9)]) == []
    earlier = sent(account(2), account(1), 2_000, 0)
    later = [sent(account(1), account(2), 5_000, 200), sent(account(2), account(3), 4_600, 210)]
    assert passed([earlier, *later]) == []


def test_rent_and_salary_are_regular() -> None:
    months = range(0, 3 * 720, 720)
    salary = [sent(account(1), account(2), 8_000, at) for at in months]
    rent = [sent(account(2), account(3), 6_000, at + 20) for at in months]
    # The first time nobody can know.
    assert passed([*salary, *rent]) == names([salary[0], rent[0]])


def test_payments_that_repeat_within_days_and_those_that_do_not() -> None:
    twice = [sent(account(1), account(2), 800, 1), sent(account(1), account(2), 700, 50)]
    assert passed(twice) == names(twice)
    assert passed([sent(account(1), account(2), 800, 1), sent(account(1), account(2), 700, 200)]) == []
    small = [sent(account(1), account(2), 60, n) for n in range(10)]
    assert passed(small) == []


def test_an_owner_may_draw_as_often_as_he_likes() -> None:
    owner = {"payee_links": (person(1), phone(900))}
    assert passed([sent(account(1), account(2), 900, 24 * n, **FIRM, **owner) for n in range(4)]) == []


def test_the_first_a_day_whom_a_firm_without_trade_pays() -> None:
    days = [sent(account(1), account(10 + n), 1_500 + n, 24 * n, **FIRM) for n in range(3)]
    assert passed(days) == names(days)
    payroll = [sent(account(1), account(10 + n), 5_000 + n, 10 + n / 10, **FIRM) for n in range(12)]
    assert passed(payroll) == names(payroll[:1])
    known = [sent(account(1), account(10), 400, 24 * n, **FIRM) for n in (0, 8)]
    assert passed([*known, sent(account(1), account(10), 1_500, 24 * 12, **FIRM)]) == []


def test_a_firm_with_trade_pays_whom_it_likes() -> None:
    trade = [bought(phone(n), shop(1), 80, n / 10, credit=False) for n in range(5)]
    assert passed([*trade, sent(account(1), account(10), 1_500, 9, **FIRM)]) == []


def test_what_comes_back_of_a_purchase_that_just_counts() -> None:
    mine = (person(1),)
    card = bought(phone(1), shop(1), 600, 1, payer_links=mine)
    back = sent(account(9), account(1), 430, 9, payee_links=mine)
    assert passed([card, back]) == names([back])
    assert passed([card, sent(account(9), account(1), 410, 9, payee_links=mine)]) == []


def test_bills_and_busy_accounts_are_left_alone() -> None:
    wages = [sent(account(1), account(100 + n), 5_000, 1, payee_links=(person(n),)) for n in range(60)]
    bills = [sent(account(100 + n), account(2), 4_500, 5 + n / 10) for n in range(60)]
    assert passed([*wages, *bills]) == []


def test_of_a_flood_of_legs_the_latest_are_looked_at() -> None:
    mine = (person(1),)
    flood = [sent(account(10_000 + n), account(2), 100, n / 100, payee_links=mine) for n in range(3_000)]
    out = sent(account(2), account(3), 6_000, 31, payer_links=mine)
    assert passed([*flood, out]) == names([*flood[-64:], out])
