"""Members that report loops to a running hub and are told of matches; roster versions that say who counts."""

import asyncio
import sqlite3
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from signalexchange.roster import Roster, sign_roster
from signalexchange.v1.match_service_pb2 import ListMatchesRequest, Match, WatchMatchesRequest
from signalexchange.v1.membership_service_pb2 import ProposeRosterVersionRequest

from tests.support.exchange import Running
from tests.support.hub import hub_database
from tests.support.loops import Loop

LENDER, BANK, OTHER_BANK, SHOP, OPERATOR = "pay-lotus", "bank-north", "bank-south", "shop-river", "operator"
REPORTERS = (LENDER, BANK, OTHER_BANK)


async def publish(running: Running, member: str, *signals: Any) -> Any:
    return await running[member].signals.PublishSignals(running.pen(member).batch(signals), timeout=10)


async def withdraw(running: Running, member: str, *signals: Any, reason: Any = None) -> Any:
    arguments = () if reason is None else (reason,)
    order = running.pen(member).withdrawal([each.signal_id for each in signals], *arguments)
    return await running[member].signals.WithdrawSignals(order, timeout=20)


async def report(running: Running, loop: Loop, reporters: Iterable[str] = REPORTERS) -> list[Any]:
    """Lender, merchant's bank and mule's bank say what they see of it."""
    signals = [loop.purchase(), loop.settlement(), loop.backflow()]
    for member, each in zip(reporters, signals, strict=True):
        await publish(running, member, each)
    return signals


async def settled(running: Running) -> None:
    """Until all that was committed is matched and stored."""
    await running.hub._exchange.matching.settled()


async def matches(running: Running, member: str, **changes: Any) -> list[Match]:
    """A page of what the member is shown, once all is matched."""
    await settled(running)
    request = ListMatchesRequest(**({"page_size": 100} | changes))
    return list((await running[member].matches.ListMatches(request, timeout=10)).matches)


async def matches_with(running: Running, member: str, loop: Loop) -> list[Match]:
    """Matches that name somebody of a loop."""
    return [
        match
        for match in await matches(running, member)
        if loop.tokens & {subject.token.value for subject in match.subjects}
    ]


class Watch:
    """A member's stream of matches."""

    def __init__(self, running: Running, member: str, token: bytes = b"") -> None:
        request = WatchMatchesRequest(resume_token=token)
        self._stream = running[member].matches.WatchMatches(request, timeout=60)
        self.token = token

    async def begin(self) -> "Watch":
        """Wait until it stands."""
        first = await self._stream.read()
        assert not first.HasField("match")
        self.token = first.resume_token
        return self

    async def next(self) -> Match:
        event = await asyncio.wait_for(self._stream.read(), 10)
        self.token = event.resume_token
        match: Match = event.match
        return match

    async def is_quiet(self) -> bool:
        """Whether nothing comes for a while; the stream is of no use after."""
        try:
            await asyncio.wait_for(self._stream.read(), 0.4)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._stream.cancel()


def rows(running: Running, sql: str, *parameters: Any) -> list[Any]:
    """What the hub's database holds, as whoever has it in hand sees it."""
    database = sqlite3.connect(f"file:{hub_database(running.deployment)}?mode=ro", uri=True)
    try:
        return database.execute(sql, parameters).fetchall()
    finally:
        database.close()


async def propose(running: Running, *, rulebook: bytes = b"", **changes: Any) -> None:
    """Put the current roster's successor in force, signed by the quorum."""
    current = running.hub._exchange.membership.roster
    table = current.model_dump(mode="json") | {
        "version": current.version + 1,
        "previous": sha256(current.text().encode()).hexdigest(),
        "reinstates": [],
    }
    note = sign_roster(Roster.model_validate(table | changes), running.deployment.governance_signers())
    request = ProposeRosterVersionRequest(note=note, rulebook=rulebook)
    await running[OPERATOR].membership.ProposeRosterVersion(request)
