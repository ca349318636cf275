"""What members, the hub's operator and outsiders to a match try to learn from matches, and don't."""

import os
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import pytest
import pytest_asyncio
from signalexchange.notices import advice_code
from signalexchange.v1.log_entry_pb2 import MatchDeliveryEntry, MatchEntry
from signalexchange.v1.match_service_pb2 import GetMatchRequest, ListMatchesRequest, Match, MatchSubject
from signalexchange.v1.transparency_service_pb2 import OpenEntriesRequest

from exchange.domain.matching.counters import thresholds
from tests.support.exchange import Running, deploy, refused, serving
from tests.support.loops import TYPES, Loop
from tests.support.match_members import (
    BANK,
    LENDER,
    OTHER_BANK,
    REPORTERS,
    SHOP,
    Watch,
    matches,
    matches_with,
    publish,
    report,
    rows,
    settled,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path_factory.mktemp("privacy"), types=TYPES)) as hub:
        yield hub


async def told(running: Running, loop: Loop) -> dict[str, Match]:
    """The loop's match as each reporter sees it."""
    found = {}
    for member in REPORTERS:
        (found[member],) = await matches_with(running, member, loop)
    return found


async def test_a_match_tells_no_member_what_it_did_not_submit_itself(running: Running) -> None:
    loop = Loop()
    signals = dict(zip(REPORTERS, await report(running, loop), strict=True))
    own = {
        LENDER: {loop.payer.value, loop.merchant.value},
        BANK: {loop.merchant.value, loop.mule.value},
        OTHER_BANK: {loop.mule.value, loop.payer.value},
    }
    for member, match in (await told(running, loop)).items():
        raw = match.SerializeToString()
        for token in loop.tokens - own[member]:
            assert token not in raw
        for other, each in signals.items():
            assert (each.signal_id in raw) == (other == member)
            assert each.record_commitment not in raw
        for other in (*REPORTERS, SHOP):
            assert other.encode() not in raw
        assert not match.kinds, "two groups of a kind are too few to name the kind"
        # Who told of the way between sees a decade of what others told of both ends; the rest follows.
        assert match.gain_digits == {LENDER: 0, BANK: 3, OTHER_BANK: 0}[member]
        assert match.notice_code == advice_code(match.advice)
        assert list(match.thresholds) == list(thresholds(match.total_digits, match.gain_digits))
    # The contract itself has no room for more: a new field must come here to be judged.
    assert set(Match.DESCRIPTOR.fields_by_name) == {
        *(
            "match_id",
            "pattern",
            "status",
            "groups",
            "kinds",
            "days",
            "total_digits",
            "signal_ids",
            "subjects",
        ),
        *("confidence", "factors", "advice", "human_review", "found_on", "rules_version"),
        *("notice_code", "gain_digits", "thresholds"),
    }
    assert set(MatchSubject.DESCRIPTOR.fields_by_name) == {"token", "part", "advice"}


@pytest.mark.parametrize("band", [81, 95])
async def test_bands_and_slots_of_others_move_nothing_within_their_range(running: Running, band: int) -> None:
    """Loops that differ in another's band and slot, within the same digits and days, look alike."""
    seen = []
    for shift in (0, 1):
        loop = Loop(band=band - shift)
        loop.start += shift * 300
        await report(running, loop)
        match = (await told(running, loop))[OTHER_BANK]
        for field in ("match_id", "signal_ids", "subjects"):
            match.ClearField(field)
        seen.append(match)
    assert seen[0] == seen[1]


async def test_a_match_of_others_and_no_match_are_refused_alike(running: Running) -> None:
    loop = Loop()
    await report(running, loop)
    match = (await told(running, loop))[LENDER]
    answers = [
        await refused(running[SHOP].matches.GetMatch(GetMatchRequest(match_id=id_), timeout=10))
        for id_ in (match.match_id, os.urandom(16))
    ]
    assert answers[0] == answers[1]


async def test_who_is_not_concerned_sees_no_event_and_no_page(running: Running) -> None:
    watch = await Watch(running, SHOP).begin()
    await report(running, Loop())
    await settled(running)
    assert await watch.is_quiet()
    page = await running[SHOP].matches.ListMatches(ListMatchesRequest(page_size=100), timeout=10)
    assert not page.matches
    assert not page.next_page_token
    assert rows(running, "SELECT count(*) FROM match_events WHERE member = ?", SHOP) == [(0,)]
    watch.close()


async def test_planting_a_leg_at_a_guess_says_nothing_of_who_else_is_there(running: Running) -> None:
    """Evidence of one group alone never becomes a match, so its own legs show nobody else's."""
    victim = Loop()
    await publish(running, LENDER, victim.purchase())
    await publish(running, SHOP, Loop(payer=victim.payer).purchase())
    guess = Loop(payer=victim.payer, merchant=victim.merchant)
    await publish(running, LENDER, guess.purchase())
    assert await matches_with(running, LENDER, victim) == []
    assert await matches(running, SHOP) == []


async def test_match_entries_on_the_log_hold_no_token_and_deliveries_only_the_members_own(
    running: Running,
) -> None:
    loop = Loop()
    await report(running, loop)
    shown = await told(running, loop)
    match_id = shown[LENDER].match_id
    entries = [
        (index, payload)
        for index, payload in rows(running, "SELECT idx, payload FROM entries WHERE type = 11")
        if MatchEntry.FromString(payload).match_id == match_id
    ]
    assert entries
    for _, payload in entries:
        assert not any(token in payload for token in loop.tokens)
        assert not any(member.encode() in payload for member in REPORTERS)
    deliveries: dict[str, Any] = {}
    for index, member, payload in rows(running, "SELECT idx, member, payload FROM entries WHERE type = 12"):
        delivery = MatchDeliveryEntry.FromString(payload)
        if delivery.match_id == match_id:
            deliveries[member] = index, delivery
    assert deliveries.keys() == set(REPORTERS)
    for member, (index, delivery) in deliveries.items():
        match = shown[member]
        assert delivery.digest == sha256(match.SerializeToString(deterministic=True)).digest()
        assert delivery.subjects == b"".join(sorted(each.token.value for each in match.subjects))
        opened = await running[member].log.OpenEntries(OpenEntriesRequest(indices=[index]), timeout=10)
        assert MatchDeliveryEntry.FromString(opened.entries[0].payload) == delivery
        other = SHOP if member != SHOP else BANK
        refusal = await refused(
            running[other].log.OpenEntries(OpenEntriesRequest(indices=[index]), timeout=10)
        )
        assert refusal.reason == "OPENING_NOT_ALLOWED"
    request = OpenEntriesRequest(indices=[entries[0][0]])
    assert (
        await refused(running[LENDER].log.OpenEntries(request, timeout=10))
    ).reason == "OPENING_NOT_ALLOWED"
    audited = await running["audit-one"].log.OpenEntries(request, timeout=10)
    assert MatchEntry.FromString(audited.entries[0].payload).match_id == match_id


async def test_the_database_names_who_was_told_but_holds_no_match_body_apart_from_its_evidence(
    running: Running,
) -> None:
    """Tokens stand in instances alone, which go with the signals; views are digests."""
    loop = Loop()
    await report(running, loop)
    await told(running, loop)
    for table, column in (("match_views", "digest"), ("matches", "verdicts")):
        for (value,) in rows(running, f"SELECT {column} FROM {table}"):  # noqa: S608 - names of ours
            assert not any(token in value for token in loop.tokens)
    columns = {row[1] for row in rows(running, "PRAGMA table_info(match_events)")}
    assert columns == {"position", "member", "number", "time"}
