"""Matches at the hub: found across members, told to those concerned and nobody else, resumed, told again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from signalexchange.v1.match_service_pb2 import (
    MATCH_PART_MERCHANT,
    MATCH_PART_PAYER,
    MATCH_STATUS_OPEN,
    PATTERN_FUNDS_LOOP,
    GetMatchRequest,
    ListMatchesRequest,
    Match,
    WatchMatchesRequest,
)

from exchange.provision import Deployment
from tests.support.exchange import Running, deploy, refused, serving
from tests.support.loops import TYPES, Loop

LENDER, BANK, OTHER_BANK, SHOP = "pay-lotus", "bank-north", "bank-south", "shop-river"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return deploy(tmp_path_factory.mktemp("matches"), types=TYPES)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path, types=TYPES)) as hub:
        yield hub


async def publish(running: Running, member: str, *signals: Any) -> Any:
    return await running[member].signals.PublishSignals(running.pen(member).batch(signals), timeout=10)


async def report(running: Running, loop: Loop) -> list[Any]:
    """All three members say what they see of it."""
    signals = [loop.purchase(), loop.settlement(), loop.backflow()]
    for member, each in zip((LENDER, BANK, OTHER_BANK), signals, strict=True):
        await publish(running, member, each)
    return signals


async def settled(running: Running) -> None:
    await running.hub._exchange.matching.settled()


async def matches(running: Running, member: str, **changes: Any) -> list[Match]:
    await settled(running)
    request = ListMatchesRequest(**({"page_size": 100} | changes))
    return list((await running[member].matches.ListMatches(request, timeout=10)).matches)


class Watch:
    """A member's stream of matches."""

    def __init__(self, running: Running, member: str, token: bytes = b"") -> None:
        request = WatchMatchesRequest(resume_token=token)
        self._stream = running[member].matches.WatchMatches(request, timeout=60)
        self.token = token

    async def begin(self) -> "Watch":
        first = await self._stream.read()
        assert not first.HasField("match")
        self.token = first.resume_token
        return self

    async def next(self) -> Match:
        event = await asyncio.wait_for(self._stream.read(), 10)
        self.token = event.resume_token
        return event.match

    async def is_quiet(self) -> bool:
        try:
            await asyncio.wait_for(self._stream.read(), 0.5)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._stream.cancel()


async def test_a_loop_across_three_members_is_told_to_them_and_nobody_else(running: Running) -> None:
    watches = {member: await Watch(running, member).begin() for member in (LENDER, BANK, OTHER_BANK, SHOP)}
    loop = Loop()
    purchase, settlement, backflow = await report(running, loop)
    found = {member: await watches[member].next() for member in (LENDER, BANK, OTHER_BANK)}
    assert await watches[SHOP].is_quiet()
    assert len({match.match_id for match in found.values()}) == 1
    for match in found.values():
        assert (match.pattern, match.status, match.groups) == (PATTERN_FUNDS_LOOP, MATCH_STATUS_OPEN, 3)
    assert list(found[LENDER].signal_ids) == [purchase.signal_id]
    assert {(each.token.value, each.part) for each in found[LENDER].subjects} == {
        (loop.payer.value, MATCH_PART_PAYER),
        (loop.merchant.value, MATCH_PART_MERCHANT),
    }
    assert {each.token.value for each in found[OTHER_BANK].subjects} == {loop.payer.value, loop.mule.value}
    assert await matches(running, SHOP) == []
    assert await matches(running, LENDER) == [found[LENDER]]
    request = GetMatchRequest(match_id=found[BANK].match_id)
    assert (await running[BANK].matches.GetMatch(request, timeout=10)).match == found[BANK]
    refusal = await refused(running[SHOP].matches.GetMatch(request, timeout=10))
    assert refusal.reason == "MATCH_UNKNOWN"
