"""The SDK's client against a hub and custodians in this process, over mTLS."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.sdk import CARD, PURPOSE, World, draft, luhn, world


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as running:
        yield running


async def test_what_one_publishes_others_look_up(exchange: World) -> None:
    north, south = await exchange.client("bank-north"), await exchange.client("bank-south")
    done = await north.publish([draft(1), draft(2)])
    assert not done.repeated
    tokens = await south.tokens(CARD, [luhn(1), luhn(9), luhn(2), luhn(1)])
    answers = await south.look_up(PURPOSE, tokens)
    assert [answer.risk is not None for answer in answers] == [True, False, True, True]
    assert answers[0].risk is not None
    assert answers[0].risk.groups == 1
    assert [answer.token.value for answer in answers] == [token.value for token in tokens]
    assert all(answer.index > done.index for answer in answers)
    # The issuer's own signals are left out of what it is told.
    own = await north.look_up(PURPOSE, await north.tokens(CARD, [luhn(1)]))
    assert own[0].risk is None
