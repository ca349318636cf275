"""The gate as a whole: how it says what passes, that it says the same every time, and that it forgets."""

from dataclasses import fields
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange.errors import ConfigError
from signalexchange.flows import Flow, Kind, Logistics, in_order
from signalexchange.gate import FlowOrderError, Gate, GateParameters
from signalexchange.rulebook import Rulebook, default_text
from signalexchange.signals import SignalDraft, record, rule_violations, violations

from tests.support.flows import (
    DAY,
    account,
    bought,
    device,
    flow,
    offered,
    person,
    phone,
    places,
    refunded,
    repaid,
    sent,
    shop,
)
from tests.support.pages import table

ROWS = frozenset({"credit-purchase", "pass-through", "refund-without-shipment"})
RULEBOOK = Rulebook.parse(default_text())


def test_what_many_share_is_said_and_not_looked_at() -> None:
    lender = account(99)
    flows = [
        sent(account(1), lender, 5_000, 1),
        sent(lender, account(2), 4_600, 20),
        sent(account(1), lender, 5_000, 24 * 41),
    ]
    assert places(offered(flows), "pass-through")
    gate = Gate(shared=[lender])
    drafts = [draft for each in flows for draft in gate.offer(each)]
    assert [(draft.code, draft.subject) for draft in drafts] == [("shared-value", lender)] * 2
    assert [draft.first_seen for draft in drafts] == [flows[0].time, flows[2].time], "again when it is due"
    for draft in drafts:
        assert violations(draft, draft.last_seen) == []
        assert rule_violations(draft, RULEBOOK, "bank", draft.last_seen) == []


def test_nobody_is_linked_to_what_many_share() -> None:
    hotline = phone(500)
    row = bought(phone(1), shop(1), 3_000, 1, limit=3_100, payer_links=(person(1), hotline))
    (draft,) = [each for each in Gate(shared=[hotline]).offer(row) if each.code == "credit-purchase"]
    assert draft.links == (person(1),)


@st.composite
def any_flow(draw: st.DrawFn) -> Flow:
    """Any flow among few people, shops and accounts within twelve days."""
    at, amount = draw(st.integers(0, 12 * 24)), draw(st.sampled_from((50, 400, 700, 950, 2_000, 1_900)))
    who, where = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    more: dict[str, Any] = {"place": str(draw(st.integers(0, 2**60))), "payer_links": (person(who),)}
    match draw(st.sampled_from(Kind)):
        case Kind.PURCHASE:
            more |= {"device": device(who // 2), "limit": draw(st.sampled_from((None, 2_500))), "order": "o"}
            return bought(phone(who), shop(where), amount, at, credit=draw(st.booleans()), **more)
        case Kind.REFUND:
            more |= {"order": "o", "logistics": draw(st.sampled_from((None, *Logistics)))}
            return refunded(shop(where), phone(who), amount, at, **{**more, "payer_links": ()})
        case Kind.REPAYMENT:
            return repaid(phone(who), shop(9), amount, at, **more)
    payee = (who + 1 + draw(st.integers(0, 2))) % 4
    return sent(account(who), account(payee), amount, at, payee_links=(person(payee),), **more)


some_flows = st.lists(any_flow(), max_size=40, unique_by=lambda each: each.place)


def said(flows: list[Flow], parameters: GateParameters | None = None) -> list[bytes]:
    gate = Gate(parameters)
    return [record(draft) for each in in_order(flows) for draft in gate.offer(each)]


@settings(max_examples=60, deadline=None)
@given(some_flows, st.randoms(use_true_random=False))
def test_the_same_rows_in_any_order_give_the_same_drafts(flows: list[Flow], random: Random) -> None:
    shuffled = flows[:]
    random.shuffle(shuffled)
    assert said(shuffled) == said(flows)


@settings(max_examples=60, deadline=None)
@given(some_flows, st.booleans())
def test_drafts_keep_contract_and_rulebook_and_no_row_passes_twice(
    flows: list[Flow], everything: bool
) -> None:
    drafts = offered(in_order(flows), GateParameters.everything() if everything else None)
    now = max((each.time for each in flows), default=0)
    for draft in drafts:
        assert violations(draft, now) == []
        kind = "bank" if draft.code == "pass-through" else "payment_provider"
        assert rule_violations(draft, RULEBOOK, kind, now) == []
    rows = [draft.place for draft in drafts if draft.code in ROWS]
    assert len(rows) == len(set(rows))
    assert set(rows) <= {each.place for each in flows}


@settings(max_examples=40, deadline=None)
@given(some_flows)
def test_everything_is_forgotten_in_time(flows: list[Flow]) -> None:
    gate = Gate()
    for each in in_order(flows):
        gate.offer(each)
    gate.offer(sent(account(7), account(8), 5, 400 * 24))
    assert len(gate) <= 6


@st.composite
def ordinary_life(draw: st.DrawFn) -> list[Flow]:
    """Two months of salary, rent, everyday shopping on credit and off it, and paying a friend back."""
    wage = draw(st.integers(4_000, 20_000))
    flows = []
    for month in (0, 30):
        flows.append(sent(account(1), account(2), wage, 24 * (month + 9), payee_links=(person(1),)))
        rent = wage * draw(st.integers(10, 60)) // 100
        flows.append(sent(account(2), account(3), rent, 24 * (month + 12), payer_links=(person(1),)))
    for day in draw(st.lists(st.integers(0, 59), max_size=60)):
        at, amount = 24 * day + draw(st.integers(7, 22)), draw(st.integers(3, 250))
        number, credit = draw(st.integers(0, 9)), draw(st.booleans())
        more = {"credit": credit, "limit": 8_000, "device": device(1), "payer_links": (person(1),)}
        flows.append(bought(phone(draw(st.integers(1, 2))), shop(number), amount, at, **more))
    for number, day in enumerate(draw(st.lists(st.integers(0, 59), max_size=3))):
        flows.append(sent(account(2), account(10 + number), draw(st.integers(10, 300)), 24 * day + 13))
    return flows


@settings(max_examples=60, deadline=None)
@given(ordinary_life())
def test_nothing_of_an_ordinary_life_passes(flows: list[Flow]) -> None:
    assert [draft for draft in offered(in_order(flows)) if draft.amount and draft.amount < 600] == []
    daily = [each for each in flows if each.kind is Kind.PURCHASE and each.amount < 60]
    assert offered(in_order([*daily, *(each for each in flows if each.kind is Kind.TRANSFER)])) == []


def test_a_flow_earlier_than_the_one_before_is_refused() -> None:
    gate = Gate()
    gate.offer(sent(account(1), account(2), 100, 2))
    with pytest.raises(FlowOrderError):
        gate.offer(sent(account(1), account(2), 100, 1))


def test_without_a_gate_every_credit_purchase_and_transfer_passes() -> None:
    flows = [
        bought(phone(1), shop(1), 12, 1),
        bought(phone(1), shop(1), 12, 2, credit=False),
        sent(account(1), account(2), 5, 3),
    ]
    assert offered(flows) == []
    drafts = offered(flows, GateParameters.everything())
    assert [draft.code for draft in drafts] == ["credit-purchase", "pass-through"]


def hops(count: int, every: float) -> list[Flow]:
    """Sums that account 2 passes on, among customers whose links are known."""
    known = {n: (person(n), phone(n)) for n in (1, 2, 3)}
    return [
        leg
        for n in range(count)
        for leg in (
            sent(account(1), account(2), 10_000, every * n, payer_links=known[1], payee_links=known[2]),
            sent(account(2), account(3), 9_000, every * n + 2, payer_links=known[2], payee_links=known[3]),
        )
    ]


def links_said(drafts: list[SignalDraft]) -> list[str]:
    return sorted(f"{draft.subject.value} {link.value}" for draft in drafts for link in draft.links)


def test_links_are_said_once_strong_ones_first_and_of_counterparties_too() -> None:
    drafts = offered(hops(5, 9))
    assert len(places(drafts, "pass-through")) == 10
    expected = [f"{account(n).value} {link.value}" for n in (1, 2, 3) for link in (person(n), phone(n))]
    assert links_said(drafts) == sorted(expected)
    assert [draft.subject for draft in drafts if draft.code == "same-subject"] == [account(3)]
    later = offered(hops(2, 50 * 24))
    assert len(links_said(later)) == 2 * len(expected)


def test_a_value_of_many_is_not_linked() -> None:
    crowd = [bought(phone(n), shop(1), 20, n / 60, device=device(1)) for n in range(30)]
    dear = [bought(phone(n), shop(5), 5_000, 24, device=device(1), limit=6_000) for n in (1, 2)]
    assert links_said(offered([*crowd, *dear])) == []
    assert len(links_said(offered(dear))) == 2


def test_no_more_signals_on_a_subject_than_the_hub_takes() -> None:
    gate = Gate(GateParameters(signals_most=5))
    drafts = [draft for each in hops(6, 3) for draft in gate.offer(each)]
    assert sum(draft.subject == account(2) for draft in drafts if draft.code == "pass-through") == 5
    assert gate.held_back == 2


def test_signals_of_one_day_end_together_within_the_codes_term() -> None:
    early, late = (
        offered([flow(Kind.PURCHASE, phone(1), shop(1), 5_000, at, credit=True)]) for at in (1, 22)
    )
    assert early[0].expires_at == late[0].expires_at
    assert 59 * DAY < late[0].expires_at - late[0].last_seen <= 60 * DAY


def test_figures_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="pass_least_cny"):
        GateParameters(pass_least_cny=-1)
    with pytest.raises(ConfigError, match="pass_hours"):
        GateParameters(pass_hours=0)
    with pytest.raises(ConfigError, match="quiet_permille"):
        GateParameters(quiet_permille=1_001)


def test_the_parameters_are_documented() -> None:
    documented = {row[0].strip("`"): row[1] for row in table("table: gate")}
    assert documented == {each.name: str(each.default) for each in fields(GateParameters)}
