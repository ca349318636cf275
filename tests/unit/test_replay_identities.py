"""The demo's identifiers: valid for the ordinary normalisers, and one-to-one."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.identifiers import normalise
from signalexchange.v1.identifier_pb2 import IDENTIFIER_TYPE_MERCHANT, IDENTIFIER_TYPE_PHONE
from stdnum.cn import uscc

from exchange.replay import identities

terminals = st.integers(0, identities.TERMINALS - 1)
customers = st.integers(0, identities.CUSTOMERS - 1)


@given(terminals)
def test_a_terminal_becomes_a_valid_merchant_code_and_back(terminal: int) -> None:
    merchant = identities.merchant_of(terminal)
    assert uscc.is_valid(merchant)
    assert normalise(IDENTIFIER_TYPE_MERCHANT, merchant) == merchant
    assert identities.terminal_of(merchant) == terminal


@given(customers)
def test_a_customer_becomes_a_valid_phone_number_and_back(customer: int) -> None:
    phone = identities.phone_of(customer)
    assert phonenumbers.is_valid_number(phonenumbers.parse(phone))
    assert normalise(IDENTIFIER_TYPE_PHONE, phone) == phone
    assert identities.customer_of(phone) == customer


@given(terminals, terminals)
def test_two_terminals_never_share_a_merchant_code(one: int, other: int) -> None:
    assert (identities.merchant_of(one) == identities.merchant_of(other)) == (one == other)


@given(customers, customers)
def test_two_customers_never_share_a_phone_number(one: int, other: int) -> None:
    assert (identities.phone_of(one) == identities.phone_of(other)) == (one == other)


@pytest.mark.parametrize("edge", [0, identities.CUSTOMERS - 1])
def test_the_control_is_a_valid_phone_number_of_no_customer(edge: int) -> None:
    assert phonenumbers.is_valid_number(phonenumbers.parse(identities.CONTROL_PHONE))
    assert identities.phone_of(edge)[:5] == "+8613"
    assert not identities.CONTROL_PHONE.startswith("+8613")
