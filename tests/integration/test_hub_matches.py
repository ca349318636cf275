"""Matches at the hub: found across members, told to those concerned and nobody else, resumed, told again."""

import os
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio
from signalexchange.rulebook import Rulebook, default_text
from signalexchange.v1.match_service_pb2 import (
    MATCH_PART_MERCHANT,
    MATCH_PART_PAYER,
    MATCH_STATUS_EXPIRED,
    MATCH_STATUS_OPEN,
    PATTERN_FUNDS_LOOP,
    SET_ASIDE_REASON_KNOWN_SHARED,
    GetMatchRequest,
    ListMatchesRequest,
    ListSetAsideRequest,
    WatchMatchesRequest,
)
from signalexchange.v1.membership_service_pb2 import SuspendMemberRequest
from signalexchange.v1.signal_pb2 import WITHDRAWAL_REASON_ERASURE
from signalexchange.v1.signal_service_pb2 import SubscribeRequest, UnsubscribeRequest, WatchSignalsRequest

from exchange.domain.records import Delta
from exchange.domain.refusal import Refusal
from exchange.domain.store import StorageFull
from exchange.server.config import load_config
from exchange.usecases import matching
from tests.support.exchange import Running, deploy, refused, serving
from tests.support.loops import IBAN, PHONE, TYPES, Loop
from tests.support.match_members import (
    BANK,
    LENDER,
    OPERATOR,
    OTHER_BANK,
    REPORTERS,
    SHOP,
    Watch,
    matches,
    matches_with,
    propose,
    publish,
    report,
    rows,
    settled,
    withdraw,
)
from tests.support.members import DAY, signal, subject

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path_factory.mktemp("matches"), types=TYPES)) as hub:
        yield hub


async def test_a_loop_across_three_members_is_told_to_them_and_nobody_else(running: Running) -> None:
    watches = {member: await Watch(running, member).begin() for member in (*REPORTERS, SHOP)}
    loop = Loop()
    purchase, _, _ = await report(running, loop)
    found = {member: await watches[member].next() for member in REPORTERS}
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
    assert await matches_with(running, LENDER, loop) == [found[LENDER]]
    request = GetMatchRequest(match_id=found[BANK].match_id)
    assert (await running[BANK].matches.GetMatch(request, timeout=10)).match == found[BANK]
    for member, id_ in ((SHOP, found[BANK].match_id), (BANK, os.urandom(16))):
        refusal = await refused(running[member].matches.GetMatch(GetMatchRequest(match_id=id_), timeout=10))
        assert refusal.reason == "MATCH_UNKNOWN"
    for watch in watches.values():
        watch.close()


async def test_a_watch_resumes_after_the_last_event_and_knows_its_own_tokens(running: Running) -> None:
    watch = await Watch(running, BANK).begin()
    loops = [Loop() for _ in range(3)]
    for loop in loops:
        await report(running, loop)
    first = await watch.next()
    kept = watch.token
    watch.close()
    resumed = await Watch(running, BANK, kept).begin()
    later = [await resumed.next(), await resumed.next()]
    assert len({match.match_id for match in (first, *later)}) == 3
    resumed.close()
    other = running[LENDER].matches.WatchMatches(WatchMatchesRequest(resume_token=kept), timeout=10)
    assert (await refused(other.read())).reason == "RESUME_INVALID"
    signals = running[BANK].signals.WatchSignals(WatchSignalsRequest(resume_token=kept), timeout=10)
    assert (await refused(signals.read())).reason == "RESUME_INVALID"
    page = ListMatchesRequest(page_size=1, page_token=kept)
    assert (await refused(running[BANK].matches.ListMatches(page, timeout=10))).reason == "RESUME_INVALID"


async def test_matches_come_in_pages_oldest_first(running: Running) -> None:
    for _ in range(4):
        await report(running, Loop())
    everything = await matches(running, BANK)
    assert len(everything) >= 4
    token, paged = b"", []
    while True:
        request = ListMatchesRequest(page_size=3, page_token=token)
        page = await running[BANK].matches.ListMatches(request, timeout=10)
        paged += page.matches
        token = page.next_page_token
        if not token:
            break
        wrong = ListSetAsideRequest(page_size=1, page_token=token)
        assert (
            await refused(running[BANK].matches.ListSetAside(wrong, timeout=10))
        ).reason == "RESUME_INVALID"
    assert paged == everything
    assert await matches(running, BANK, status=MATCH_STATUS_EXPIRED) == []
    for size in (0, 101):
        request = ListMatchesRequest(page_size=size)
        refusal = await refused(running[BANK].matches.ListMatches(request, timeout=10))
        assert refusal.reason == "INVALID_REQUEST"
    odd = ListMatchesRequest(page_size=1, status=9)  # type: ignore[arg-type]
    assert (await refused(running[BANK].matches.ListMatches(odd, timeout=10))).reason == "INVALID_REQUEST"
    short = GetMatchRequest(match_id=b"x")
    assert (await refused(running[BANK].matches.GetMatch(short, timeout=10))).reason == "INVALID_REQUEST"


async def test_what_is_shown_is_on_the_log_once(running: Running) -> None:
    loop = Loop()
    await report(running, loop)
    await settled(running)
    count = "SELECT count(*) FROM entries WHERE type = 12"
    (told,) = rows(running, count)
    (match,) = await matches_with(running, LENDER, loop)
    await running[LENDER].matches.GetMatch(GetMatchRequest(match_id=match.match_id), timeout=10)
    assert rows(running, count) == [told]


async def test_withdrawal_tells_again_everybody_who_was_told(running: Running) -> None:
    loop = Loop()
    signals = await report(running, loop)
    await settled(running)
    watches = {member: await Watch(running, member).begin() for member in REPORTERS}
    await withdraw(running, OTHER_BANK, signals[2])
    for member, watch in watches.items():
        again = await watch.next()
        assert again.status == MATCH_STATUS_EXPIRED, member
        assert list(again.signal_ids) == []
        watch.close()
    # What was withdrawn can't be put up again.
    await publish(running, OTHER_BANK, loop.backflow())
    assert {match.status for match in await matches_with(running, LENDER, loop)} <= {MATCH_STATUS_EXPIRED}


async def test_no_token_of_what_is_erased_is_left_in_matches_when_the_order_is_answered(
    running: Running,
) -> None:
    loop = Loop()
    signals = await report(running, loop)
    await settled(running)
    held = "SELECT count(*) FROM match_instances WHERE instr(body, ?) > 0"
    assert rows(running, held, loop.mule.value) == [(1,)]
    await withdraw(running, OTHER_BANK, signals[2], reason=WITHDRAWAL_REASON_ERASURE)
    for token in loop.tokens:
        assert rows(running, held, token) == [(0,)]


async def test_a_subscriber_is_told_where_its_purpose_shows_the_pattern(running: Running) -> None:
    loop = Loop()
    await report(running, loop)
    await settled(running)
    watch = await Watch(running, SHOP).begin()
    subscription = SubscribeRequest(
        purpose="transaction-screening", type=IBAN, epoch=1, tokens=[loop.payer.value]
    )
    await running[SHOP].signals.Subscribe(subscription, timeout=10)
    match = await watch.next()
    assert [each.token.value for each in match.subjects] == [loop.payer.value]
    assert list(match.signal_ids) == []
    watch.close()
    ended = UnsubscribeRequest(type=IBAN, epoch=1, tokens=[loop.payer.value])
    await running[SHOP].signals.Unsubscribe(ended, timeout=10)
    # Once told, always; but what it submitted is no longer there.
    (kept,) = [each for each in await matches(running, SHOP) if each.match_id == match.match_id]
    assert not kept.subjects


async def test_who_names_a_subject_later_is_told(running: Running) -> None:
    loop = Loop()
    await report(running, loop)
    await settled(running)
    watch = await Watch(running, SHOP).begin()
    merchant = signal(code="merchant-sham", subject=loop.merchant)
    await publish(running, SHOP, merchant)
    match = await watch.next()
    assert [each.token.value for each in match.subjects] == [loop.merchant.value]
    assert list(match.signal_ids) == []
    assert match.groups == 3
    watch.close()


async def test_one_group_alone_is_no_match(running: Running) -> None:
    loop = Loop()
    await report(running, loop, [BANK] * 3)
    assert await matches_with(running, BANK, loop) == []


async def test_repeating_what_one_was_shown_makes_no_match(running: Running) -> None:
    accused = subject(type_=IBAN)
    await publish(running, LENDER, signal(code="cash-out-suspected", subject=accused))
    subscription = SubscribeRequest(
        purpose="transaction-screening", type=IBAN, epoch=1, tokens=[accused.value]
    )
    await running[BANK].signals.Subscribe(subscription, timeout=10)
    await publish(running, LENDER, signal(code="mule-account", subject=accused))
    loop = Loop(payer=accused)
    await publish(running, LENDER, loop.purchase())
    await publish(running, BANK, loop.settlement(), loop.backflow())
    assert rows(running, "SELECT sum(echo) FROM signals WHERE token = ?", loop.mule.value) == [(1,)]
    # The settlement is no echo by itself, but what the bank was told of is all that it leads to.
    assert not await matches_with(running, LENDER, loop)


async def test_values_set_aside_are_listed_to_those_who_reported_them(running: Running) -> None:
    values = sorted((subject(type_=PHONE) for _ in range(3)), key=lambda each: each.value)
    for member in (LENDER, BANK):
        shared = [signal(code="shared-value", subject=value) for value in values]
        await publish(running, member, *shared)
    await settled(running)
    first = await running[BANK].matches.ListSetAside(ListSetAsideRequest(page_size=2), timeout=10)
    assert [each.token for each in first.values] == values[:2]
    assert {each.reason for each in first.values} == {SET_ASIDE_REASON_KNOWN_SHARED}
    rest = ListSetAsideRequest(page_size=2, page_token=first.next_page_token)
    second = await running[BANK].matches.ListSetAside(rest, timeout=10)
    assert [each.token for each in second.values] == values[2:]
    assert not second.next_page_token
    nothing = await running[SHOP].matches.ListSetAside(ListSetAsideRequest(page_size=10), timeout=10)
    assert not nothing.values
    for size in (0, 1001):
        request = ListSetAsideRequest(page_size=size)
        refusal = await refused(running[BANK].matches.ListSetAside(request, timeout=10))
        assert refusal.reason == "INVALID_REQUEST"


async def test_signals_for_matching_alone_are_not_found_by_look_ups(running: Running) -> None:
    loop = Loop()
    await publish(running, LENDER, loop.purchase(links=[subject(type_=PHONE)]))
    stored = "SELECT searched, role FROM signals WHERE token = ?"
    assert rows(running, stored, loop.payer.value) == [(0, 1)]
    assert rows(running, "SELECT count(*) FROM links WHERE subject = ?", loop.payer.value) == [(0,)]


async def test_too_much_to_match_is_refused(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "CAPACITY", 5)
    monkeypatch.setattr(running.hub._exchange.matching, "backlog", 4)
    refusal = await refused(publish(running, BANK, Loop().settlement(), Loop().settlement()))
    assert refusal.reason == "OVERLOADED"
    assert refusal.retry_after


async def test_auditors_and_operators_have_no_matches(running: Running) -> None:
    for party in ("audit-one", OPERATOR):
        refusal = await refused(
            running[party].matches.ListMatches(ListMatchesRequest(page_size=1), timeout=10)
        )
        assert refusal.reason == "METHOD_NOT_ALLOWED"


async def test_what_a_suspended_member_said_does_not_count_until_it_is_back(tmp_path: Path) -> None:
    async with serving(deploy(tmp_path, types=TYPES)) as running:
        loop = Loop()
        await report(running, loop)
        await settled(running)
        watch = await Watch(running, LENDER).begin()
        order = SuspendMemberRequest(member=OTHER_BANK, reason="trial")
        await running[OPERATOR].membership.SuspendMember(order, timeout=10)
        assert (await watch.next()).status == MATCH_STATUS_EXPIRED
        await propose(running, reinstates=[OTHER_BANK])
        found = await watch.next()
        assert (found.status, found.groups) == (MATCH_STATUS_OPEN, 3)
        assert await matches_with(running, OTHER_BANK, loop)
        watch.close()


async def test_a_restart_in_between_changes_nothing(tmp_path: Path) -> None:
    deployment = deploy(tmp_path, types=TYPES)
    loop = Loop()
    async with serving(deployment) as running:
        other = Loop()
        await report(running, other)
        (before,) = await matches(running, LENDER)
        watch = await Watch(running, LENDER).begin()
        kept = watch.token
        watch.close()
        await publish(running, LENDER, loop.purchase())
        await publish(running, BANK, loop.settlement())
    async with serving(deployment) as running:
        assert await matches(running, LENDER) == [before]
        await publish(running, OTHER_BANK, loop.backflow())
        watch = await Watch(running, LENDER, kept).begin()
        found = await watch.next()
        assert found.match_id != before.match_id
        assert await matches(running, LENDER) == [before, found]
        watch.close()
    async with serving(deployment) as running:
        assert await matches(running, LENDER) == [before, found]


async def test_what_was_withdrawn_just_before_the_end_does_not_count_after_it(tmp_path: Path) -> None:
    deployment = deploy(tmp_path, types=TYPES)
    loops = [Loop(), Loop()]
    async with serving(deployment) as running:
        signals = [await report(running, loop) for loop in loops]
        assert len(await matches(running, LENDER)) == 2
        # The process ends before matching has taken the order into account.
        running.hub._exchange.matching.put = lambda item: None  # type: ignore[method-assign]
        await withdraw(running, BANK, signals[0][1])
    async with serving(deployment) as running:
        first, second = await matches(running, LENDER)
        assert (first.status, second.status) == (MATCH_STATUS_EXPIRED, MATCH_STATUS_OPEN)
        await publish(running, BANK, loops[0].settlement())
        assert (await matches(running, LENDER))[0] == first


async def test_what_could_not_be_stored_is_shown_to_nobody_and_stored_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "RETRY", 0.05)
    async with serving(deploy(tmp_path, types=TYPES)) as running:
        other, loop = Loop(), Loop()
        await report(running, other)
        (before,) = await matches(running, LENDER)
        commit = running.hub._store.commit

        async def full(delta: Delta) -> None:
            if delta.matched_to:
                raise StorageFull("no room in storage")
            await commit(delta)

        monkeypatch.setattr(running.hub._store, "commit", full)
        watch = await Watch(running, LENDER).begin()
        await report(running, loop)
        with pytest.raises(Refusal, match="full"):
            await settled(running)
        request = GetMatchRequest(match_id=before.match_id)
        refusal = await refused(running[LENDER].matches.GetMatch(request, timeout=10))
        assert refusal.reason == "UNAVAILABLE"
        monkeypatch.setattr(running.hub._store, "commit", commit)
        found = await watch.next()
        assert await matches(running, LENDER) == [before, found]
        watch.close()


async def test_other_rules_hold_from_the_version_that_brings_them(tmp_path: Path) -> None:
    async with serving(deploy(tmp_path, types=TYPES)) as running:
        before, after = Loop(), Loop()
        await report(running, before, [LENDER, BANK, BANK])
        assert [match.groups for match in await matches(running, BANK)] == [2]
        rules = Rulebook.parse(default_text())
        stricter = rules.matching.model_copy(update={"min_groups": 3})
        text = rules.model_copy(update={"matching": stricter}).text()
        digest = sha256(text.encode()).hexdigest()
        await propose(running, rulebook=text.encode(), rulebook_sha256=digest)
        await report(running, after, [LENDER, BANK, BANK])
        assert await matches_with(running, BANK, after) == []
        assert len(await matches_with(running, BANK, before)) == 1
        await report(running, third := Loop())
        assert [match.groups for match in await matches_with(running, BANK, third)] == [3]


async def test_a_match_expires_with_its_evidence(tmp_path: Path) -> None:
    start = 1_800_000_000 // DAY * DAY
    deployment = deploy(tmp_path, types=TYPES, clock=start)
    clock = load_config(deployment.hub_config).replay.clock  # type: ignore[union-attr]
    async with serving(deployment) as running:
        loop = Loop(start=start - DAY)
        short = {"expires_at": start + 3 * DAY}
        await publish(running, LENDER, loop.purchase(**short))
        await publish(running, BANK, loop.settlement(**short), loop.backflow(**short))
        assert [match.status for match in await matches(running, LENDER)] == [MATCH_STATUS_OPEN]
        watch = await Watch(running, LENDER).begin()
        clock.write_text(f"{start + 4 * DAY}\n")
        again = await watch.next()
        assert again.status == MATCH_STATUS_EXPIRED
        watch.close()
