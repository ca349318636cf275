"""Which refunds, cycles and exhausted lines pass the gate: each rule with a look-alike from honest life."""

from decimal import Decimal

import pytest
from signalexchange.flows import Flow, Logistics
from signalexchange.signals import SignalDraft

from tests.support.flows import HOUR, START, account, bought, offered, phone, refunded, repaid, shop

LENDER = shop(500)
DAY = 24


def facts(flows: list[Flow], code: str) -> list[SignalDraft]:
    return [draft for draft in offered(flows) if draft.code == code]


def order(amount: int, hours: float, logistics: Logistics | None, number: int = 1) -> list[Flow]:
    """An order and its refund."""
    more = {"order": f"o-{number}", "limit": 50_000}
    return [
        bought(phone(1), shop(1), amount, number / 100, **more),
        refunded(shop(1), phone(1), amount, hours + number / 100, logistics=logistics, order=f"o-{number}"),
    ]


@pytest.mark.parametrize("logistics", [Logistics.NONE, Logistics.EMPTY])
def test_a_refund_within_hours_of_what_never_shipped(logistics: Logistics) -> None:
    (draft,) = facts(order(1_900, 3, logistics), "refund-without-shipment")
    assert (draft.subject, draft.counterparty, draft.amount) == (phone(1), shop(1), Decimal(1_900))
    assert draft.last_seen - draft.first_seen == 3 * HOUR


@pytest.mark.parametrize(
    ("amount", "hours", "logistics"),
    [(1_900, 30, Logistics.NONE), (1_900, 3, Logistics.MOVED), (1_900, 3, None), (200, 3, Logistics.NONE)],
)
def test_refunds_of_ordinary_life(amount: int, hours: float, logistics: Logistics | None) -> None:
    assert facts(order(amount, hours, logistics), "refund-without-shipment") == []


def test_refunds_of_a_split_order_count_together() -> None:
    split = [flow for n in (1, 2, 3) for flow in order(250, 2, Logistics.EMPTY, n)]
    assert len(facts(split, "refund-without-shipment")) == 3


def test_a_line_repaid_and_spent_again_at_once() -> None:
    pay = repaid(phone(1), LENDER, 5_000, 10, limit=6_000)
    again = [bought(phone(1), shop(n), 2_000, 20 + n, limit=6_000) for n in (1, 2)]
    (draft,) = facts([pay, *again], "repay-and-respend")
    assert (draft.subject, draft.counterparty, draft.amount) == (phone(1), None, Decimal(5_000))
    assert (draft.first_seen, draft.last_seen) == (pay.time, again[1].time)
    assert [draft.code for draft in offered([pay, *again])].count("credit-purchase") == 2


def test_a_repayment_in_parts_is_one() -> None:
    parts = [repaid(phone(1), LENDER, 1_700, n, limit=6_000) for n in (1, 2, 3)]
    (draft,) = facts([*parts, bought(phone(1), shop(1), 4_000, 9, limit=6_000)], "repay-and-respend")
    assert (draft.first_seen, draft.amount) == (parts[0].time, Decimal(5_100))


def test_repaying_from_a_linked_account_is_for_the_line() -> None:
    flows = [
        bought(phone(1), shop(1), 5_000, 1, limit=6_000),
        repaid(account(1), LENDER, 5_000, 100, payer_links=(phone(1),)),
        bought(phone(1), shop(1), 4_500, 110, limit=6_000),
    ]
    (draft,) = facts(flows, "repay-and-respend")
    assert draft.subject == phone(1)


@pytest.mark.parametrize(
    ("repayment", "spent", "after"), [(5_000, 2_000, 10), (5_000, 4_500, 60), (400, 400, 10)]
)
def test_repaying_of_ordinary_life(repayment: int, spent: int, after: int) -> None:
    flows = [
        repaid(phone(1), LENDER, repayment, 1, limit=6_000),
        bought(phone(1), shop(1), spent, 1 + after, limit=6_000),
    ]
    assert facts(flows, "repay-and-respend") == []


def test_a_routine_repayment_of_a_little_used_line_is_no_cycle() -> None:
    flows = [
        bought(phone(1), shop(1), 1_500, 1, limit=20_000),
        repaid(phone(1), LENDER, 1_500, 300, limit=20_000),
        bought(phone(1), shop(1), 1_400, 310, limit=20_000),
    ]
    assert facts(flows, "repay-and-respend") == []


def drawn(begin: float, every: float) -> list[Flow]:
    """A line of 10,000 drawn in five parts, the first flow of all long before."""
    watch = bought(phone(9), shop(9), 10, 0)
    return [watch, *(bought(phone(1), shop(n), 1_950, begin + every * n, limit=10_000) for n in range(5))]


def test_a_quiet_line_drawn_to_its_limit_within_days() -> None:
    (draft,) = facts(drawn(30 * DAY, DAY), "line-exhausted")
    assert (draft.subject, draft.amount) == (phone(1), Decimal(10_000))
    # It left quiet with the second part and was exhausted with the fifth.
    assert (draft.first_seen - START, draft.last_seen - START) == (31 * DAY * HOUR, 34 * DAY * HOUR)


@pytest.mark.parametrize(("begin", "every"), [(5 * DAY, DAY), (30 * DAY, 4 * DAY)], ids=["new", "slowly"])
def test_lines_of_ordinary_life(begin: float, every: float) -> None:
    assert facts(drawn(begin, every), "line-exhausted") == []


def test_a_refund_restores_the_line() -> None:
    flows = drawn(30 * DAY, DAY)
    back = refunded(shop(2), phone(1), 1_950, 33.5 * DAY)
    assert facts([*flows, back], "line-exhausted") == []
