"""Matches through the SDK and the command: listed, shown, watched, with the member's own references."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from signalexchange.client import ExchangeClient
from signalexchange.errors import RefusedError
from signalexchange.signals import SignalDraft, Subject
from signalexchange.v1.identifier_pb2 import (
    IDENTIFIER_TYPE_CARD,
    IDENTIFIER_TYPE_MERCHANT,
    IDENTIFIER_TYPE_PHONE,
)
from signalexchange.v1.match_service_pb2 import MATCH_STATUS_CONFIRMED, MATCH_STATUS_OPEN, PATTERN_FUNDS_LOOP
from signalexchange.v1.signal_pb2 import EVIDENCE_GRADE_SUSPECTED

from tests.support.commands import run
from tests.support.sdk import World, draft, luhn, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

LENDER, BANK, SHOP = "pay-lotus", "bank-north", "shop-river"
SHOP_CODE = "91350100M000100Y43"
CLIENTS: dict[str, ExchangeClient] = {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exchange(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("world")) as running:
        yield running


def leg(code: str, number: int, *, back: bool = False, hours_ago: int = 30) -> SignalDraft:
    card, shop = Subject(IDENTIFIER_TYPE_CARD, luhn(number)), Subject(IDENTIFIER_TYPE_MERCHANT, SHOP_CODE)
    at = int(time.time()) - hours_ago * 3600
    return replace(
        draft(number),
        code=code,
        subject=shop if back else card,
        counterparty=card if back else shop,
        grade=EVIDENCE_GRADE_SUSPECTED,
        first_seen=at,
        last_seen=at,
        amount=Decimal("5000") if not back else Decimal("4600"),
        reference=f"{'settlement' if back else 'purchase'}-{number}",
    )


async def client(exchange: World, party: str) -> ExchangeClient:
    """The party's client, one for all tests."""
    if party not in CLIENTS:
        CLIENTS[party] = await exchange.client(party)
    return CLIENTS[party]


async def loop(exchange: World, number: int) -> None:
    """payer → shop → payer, as a lender and a bank see it."""
    lender, bank = await client(exchange, LENDER), await client(exchange, BANK)
    await lender.publish([leg("credit-purchase", number)])
    await bank.publish([leg("pass-through", number, back=True, hours_ago=28)])
    await exchange.running.hub._exchange.matching.settled()


async def test_a_match_is_watched_got_and_listed_with_own_references(exchange: World) -> None:
    lender = await client(exchange, LENDER)
    async with aclosing(lender.matches.watch(from_now=True)) as stream:
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.3)
        await loop(exchange, 1)
        news = await asyncio.wait_for(first, 20)
    match = news.match
    assert (match.pattern, match.status, match.groups) == (PATTERN_FUNDS_LOOP, MATCH_STATUS_OPEN, 2)
    assert lender.matches.references(match) == ["purchase-1"]
    assert await lender.matches.get(match.match_id) == match
    assert match in [each async for each in lender.matches.all()]
    assert [each async for each in lender.matches.all(MATCH_STATUS_CONFIRMED)] == []
    shop = await client(exchange, SHOP)
    with pytest.raises(RefusedError) as caught:
        await shop.matches.get(match.match_id)
    assert caught.value.reason == "MATCH_UNKNOWN"


async def test_a_watch_goes_on_where_it_stopped(exchange: World) -> None:
    bank = await client(exchange, BANK)
    async with aclosing(bank.matches.watch(from_now=True)) as stream:
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.3)
        await loop(exchange, 2)
        news = await asyncio.wait_for(first, 20)
    await bank.matches.handled(news)
    await loop(exchange, 3)  # nobody watches
    async with aclosing(bank.matches.watch()) as stream:
        later = await asyncio.wait_for(anext(stream), 20)
    # One shop, one match: what the bank sees of it has grown.
    assert later.match.match_id == news.match.match_id
    assert len(later.match.subjects) == len(news.match.subjects) + 1


async def test_values_set_aside_are_listed_with_why(exchange: World) -> None:
    shared = replace(
        draft(70),
        code="shared-value",
        subject=Subject(IDENTIFIER_TYPE_PHONE, "+8613800138000"),
        reference="aggregator",
    )
    for member in (LENDER, BANK):
        await (await client(exchange, member)).publish([shared])
    await exchange.running.hub._exchange.matching.settled()
    bank, shop = await client(exchange, BANK), await client(exchange, SHOP)
    (value,) = [each async for each in bank.matches.set_aside()]
    assert "aggregator" in bank.journal.references(value.token.value)
    assert [each async for each in shop.matches.set_aside()] == []
    listed = (await run(exchange, BANK, "matches", "set-aside", "--json")).json
    assert [each["reason"] for each in listed] == ["known-shared"]
    table = await run(exchange, BANK, "matches", "set-aside")
    assert table.out.splitlines()[0].split("\t") == ["value", "type", "reason", "limit", "references"]


async def test_the_commands(exchange: World) -> None:
    await loop(exchange, 4)
    listed = (await run(exchange, LENDER, "matches", "list", "--json")).json
    assert listed
    one: dict[str, Any] = (
        await run(exchange, LENDER, "matches", "show", listed[0]["match_id"], "--json")
    ).json
    assert one["pattern"] == "funds-loop"
    assert next(each["name"] for each in one["factors"]) == "pattern"
    table = await run(exchange, LENDER, "matches", "list")
    head, first = (line.split("\t") for line in table.out.splitlines()[:2])
    assert head[0] == "match"
    assert first[1] == "funds-loop"
    shown = await run(exchange, LENDER, "matches", "show", listed[0]["match_id"])
    assert "purchase-" in shown.out
    assert (await run(exchange, LENDER, "matches", "show", "00" * 16)).code == 1
    assert (await run(exchange, LENDER, "matches", "show", "zz")).code == 2
    watched = asyncio.ensure_future(
        run(exchange, BANK, "matches", "watch", "--from-now", "--count", "1", "--json")
    )
    number = 40
    while not watched.done():
        await loop(exchange, number)
        number += 1
        await asyncio.sleep(0.5)
    assert json.loads((await watched).out)["pattern"] == "funds-loop"


async def test_the_command_shows_which_amounts_of_the_law_may_have_been_passed(exchange: World) -> None:
    """Of others' facts alone, and never as a verdict."""
    lender, bank = await client(exchange, LENDER), await client(exchange, BANK)
    # The lender's report comes last, so that it isn't the bank's that brings the match in.
    back = leg("pass-through", 9, back=True, hours_ago=28)
    await bank.publish([replace(back, amount=Decimal("1150000"))])
    await lender.publish([replace(leg("credit-purchase", 9), amount=Decimal("1250000"))])
    await exchange.running.hub._exchange.matching.settled()
    listed = (await run(exchange, BANK, "matches", "list", "--json")).json
    one = max(listed, key=lambda each: len(each["total"]))
    assert one["total"] == "1,000,000 to 9,999,999"
    assert one["notice_code"] == f"advice-{one['advice']}"
    standing = {(each["statute"], each["level"]): each["standing"] for each in one["thresholds"]}
    assert standing == {
        ("credit-card-interpretation", "serious"): "may have passed",
        ("credit-card-interpretation", "especially-serious"): "may have passed",
        ("payment-settlement-interpretation", "serious"): "may have passed",
        ("payment-settlement-interpretation", "especially-serious"): "below",
    }
    shown = await run(exchange, BANK, "matches", "show", one["match_id"])
    assert "法释〔2018〕19号" in shown.out
    assert "may have passed" in shown.out
    assert "not legal advice" in shown.err
