"""The gate as a whole: what passes, how it is said, and that it forgets."""

import pytest
from signalexchange.gate import FlowOrderError, Gate, GateParameters

from tests.support.flows import account, bought, offered, person, phone, places, sent, shop


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


def test_links_are_said_once_and_of_counterparties_too() -> None:
    flows = [
        sent(account(1), account(2), 10_000, 1, payer_links=(person(1),), payee_links=(person(2),)),
        sent(account(2), account(3), 9_000, 2, payer_links=(person(2),), payee_links=(person(3),)),
        sent(account(1), account(2), 10_000, 5, payer_links=(person(1),), payee_links=(person(2),)),
        sent(account(2), account(3), 9_000, 6, payer_links=(person(2),), payee_links=(person(3),)),
    ]
    drafts = offered(flows)
    assert len(places(drafts, "pass-through")) == 4
    said = [(draft.subject, link) for draft in drafts for link in draft.links]
    assert sorted(said, key=repr) == sorted([(account(n), person(n)) for n in (1, 2, 3)], key=repr)
