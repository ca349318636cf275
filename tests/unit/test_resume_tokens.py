"""Resume tokens: only this hub makes them, and only for one member."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.domain.refusal import Refusal
from exchange.domain.resume import MATCH_EVENTS, MATCH_PAGES, SET_ASIDE_PAGES, SIGNALS, ResumeTokens

TOKENS = ResumeTokens(bytes(32))


@given(st.integers(0, 2**63 - 1))
def test_a_token_leads_back_to_its_position(position: int) -> None:
    assert TOKENS.open("bank-north", TOKENS.seal("bank-north", position)) == position


@given(st.integers(0, 2**256 - 1))
def test_a_look_up_token_may_be_the_position(position: int) -> None:
    tokens = ResumeTokens(bytes(32), SET_ASIDE_PAGES, size=32)
    assert tokens.open("bank-north", tokens.seal("bank-north", position)) == position


def test_a_token_of_another_use_is_refused() -> None:
    uses = (SIGNALS, MATCH_EVENTS, MATCH_PAGES, SET_ASIDE_PAGES)
    assert len(set(uses)) == len(uses)
    for use in uses:
        token = ResumeTokens(bytes(32), use).seal("bank-north", 7)
        for other in uses:
            if other != use:
                with pytest.raises(Refusal):
                    ResumeTokens(bytes(32), other).open("bank-north", token)


def test_tokens_of_one_position_are_unlike_each_other() -> None:
    assert TOKENS.seal("bank-north", 7) != TOKENS.seal("bank-north", 7)


@given(st.binary(max_size=80))
def test_whatever_was_not_issued_is_refused(token: bytes) -> None:
    with pytest.raises(Refusal) as refusal:
        TOKENS.open("bank-north", token)
    assert refusal.value.reason_name == "RESUME_INVALID"


def test_another_members_or_hubs_or_a_changed_token_is_refused() -> None:
    token = TOKENS.seal("bank-north", 7)
    for tokens, member, value in (
        (TOKENS, "bank-south", token),
        (ResumeTokens(os.urandom(32)), "bank-north", token),
        (TOKENS, "bank-north", token[:-1] + bytes([token[-1] ^ 1])),
    ):
        with pytest.raises(Refusal):
            tokens.open(member, value)
