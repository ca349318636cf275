"""Disclosures at the hub: asked, decided by two officers, fetched, received, withdrawn, expired; shown."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from signalexchange.disclosures import open_package, open_scope, parse_statement
from signalexchange.v1 import disclosure_service_pb2 as pb
from signalexchange.v1.log_entry_pb2 import (
    ENTRY_TYPE_REFUSAL,
    DisclosureDecisionEntry,
    DisclosureRequestEntry,
    EntryHeader,
)
from signalexchange.v1.transparency_service_pb2 import ListLeavesRequest, OpenEntriesRequest

from exchange.usecases.disclosures import expire_disclosures
from tests.support.disclosures import (
    NORTH,
    POLICE,
    SCOPE,
    SOUTH,
    acknowledge,
    ask,
    decide,
    hpke_key,
    officer,
    statement_of,
    withdraw,
)
from tests.support.exchange import Running, deploy, refused, serving
from tests.support.outcomes import START, at

DAY = 86_400


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path, clock=START)) as running:
        yield running


async def asked(hub: Running, **changes: Any) -> pb.RequestDisclosureRequest:
    request = ask(hub.deployment, START, **changes)
    await hub[POLICE].disclosures.RequestDisclosure(request, timeout=10)
    return request


async def get(hub: Running, party: str, request_id: bytes) -> pb.GetDisclosureResponse:
    request = pb.GetDisclosureRequest(request_id=request_id)
    answer: pb.GetDisclosureResponse = await hub[party].disclosures.GetDisclosure(request, timeout=10)
    return answer


async def state(hub: Running, request_id: bytes) -> int:
    found = [(await get(hub, party, request_id)).disclosure.state for party in (POLICE, NORTH)]
    assert found[0] == found[1]
    return found[0]


async def test_a_package_goes_from_member_to_requester_and_leaves_the_hub(hub: Running) -> None:
    request = await asked(hub)
    again = await hub[POLICE].disclosures.RequestDisclosure(request, timeout=10)
    assert again.repeated_request
    request_id = statement_of(request).request_id
    seen = await get(hub, NORTH, request_id)
    assert seen.disclosure.state == pb.DISCLOSURE_STATE_REQUESTED
    assert seen.disclosure.expires_at == START + 10 * DAY
    statement = parse_statement(pb.DisclosureRequestStatement, seen.disclosure.request.statement)
    assert open_scope(seen.scope, hpke_key(hub.deployment, NORTH), statement) == SCOPE

    decision = decide(hub.deployment, request, b"what the bank holds")
    first = await hub[NORTH].disclosures.DecideDisclosure(decision, timeout=10)
    repeated = await hub[NORTH].disclosures.DecideDisclosure(decision, timeout=10)
    assert (first.repeated_decision, repeated.repeated_decision) == (False, True)
    assert first.receipt.index == repeated.receipt.index
    assert await state(hub, request_id) == pb.DISCLOSURE_STATE_RELEASED

    fetched = await hub[POLICE].disclosures.FetchPackage(pb.FetchPackageRequest(request_id=request_id))
    assert fetched.decision == decision.decision
    opened = parse_statement(pb.DisclosureDecisionStatement, fetched.decision.statement)
    key = hpke_key(hub.deployment, POLICE)
    assert open_package(fetched.package, key, request.request.statement, opened) == b"what the bank holds"
    size = hub.hub._exchange.writer.head.tree.size
    await hub[POLICE].disclosures.FetchPackage(pb.FetchPackageRequest(request_id=request_id))
    assert hub.hub._exchange.writer.head.tree.size == size, "the first fetching alone is logged"

    receipt = acknowledge(hub.deployment, request_id, decision)
    done = await hub[POLICE].disclosures.AcknowledgePackage(receipt, timeout=10)
    assert not done.repeated_receipt
    assert (await hub[POLICE].disclosures.AcknowledgePackage(receipt, timeout=10)).repeated_receipt
    assert await state(hub, request_id) == pb.DISCLOSURE_STATE_RECEIVED
    assert not (await get(hub, POLICE, request_id)).scope
    gone = await refused(hub[POLICE].disclosures.FetchPackage(pb.FetchPackageRequest(request_id=request_id)))
    assert gone.reason == "DISCLOSURE_CONFLICT"


async def test_every_step_is_on_the_log_for_both_sides_and_for_nobody_else(hub: Running) -> None:
    request = await asked(hub)
    request_id = statement_of(request).request_id
    decision = decide(hub.deployment, request)
    await hub[NORTH].disclosures.DecideDisclosure(decision, timeout=10)
    await hub[POLICE].disclosures.FetchPackage(pb.FetchPackageRequest(request_id=request_id))
    await hub[POLICE].disclosures.AcknowledgePackage(acknowledge(hub.deployment, request_id, decision))
    both = []
    for party in (POLICE, NORTH):
        shown = (await get(hub, party, request_id)).disclosure
        assert len(shown.entries) == 4
        opened = await hub[party].log.OpenEntries(OpenEntriesRequest(indices=shown.entries))
        both.append([entry.payload for entry in opened.entries])
        found = await refused(hub[SOUTH].log.OpenEntries(OpenEntriesRequest(indices=shown.entries)))
        assert found.reason == "OPENING_NOT_ALLOWED"
    assert both[0] == both[1]
    assert DisclosureRequestEntry.FromString(both[0][0]).statement == request.request.statement
    assert DisclosureDecisionEntry.FromString(both[0][1]).statement == decision.decision.statement
    leaves = (await hub[SOUTH].log.ListLeaves(ListLeavesRequest(start=0, limit=1000))).leaves
    assert {len(leaf.leaf) for leaf in leaves} == {65}
    headers = [EntryHeader.FromString(leaf.header) for leaf in leaves if leaf.header]
    assert {(header.member, header.type) for header in headers} == {(SOUTH, ENTRY_TYPE_REFUSAL)}


LACKING: list[tuple[dict[str, Any], str]] = [
    ({"instrument": 0}, "request.statement.instrument"),
    ({"instrument": 99}, "request.statement.instrument"),
    ({"reference": ""}, "request.statement.reference"),
    ({"reference": "x" * 201}, "request.statement.reference"),
    ({"issued_at": 0}, "request.statement.issued_at"),
    ({"issued_at": START + 60}, "request.statement.issued_at"),
    ({"deadline": 0}, "request.statement.deadline"),
    ({"deadline": START}, "request.statement.deadline"),
    ({"deadline": START + 91 * DAY}, "request.statement.deadline"),
    ({"scope_key_id": "hpke-9"}, "request.statement.scope_key_id"),
    ({"package_key_id": "hpke-9"}, "request.statement.package_key_id"),
    ({"scope_digest": bytes(32)}, "scope"),
    ({"scope_digest": b""}, "request.statement.scope_digest"),
    ({"member": "audit-one"}, "request.statement.member"),
    ({"inquiry_id": b""}, "request.statement.inquiry_id"),
    ({"origin": "elsewhere.test/log"}, "statement.origin"),
]


async def test_what_lacks_something_is_refused_by_name(hub: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = []
    with monkeypatch.context() as careless:
        careless.setattr("signalexchange.disclosures._check", lambda statement: None)
        careless.setattr("tests.support.disclosures.public_hpke_key", _north(hub))
        requests = [(ask(hub.deployment, START, **changes), field) for changes, field in LACKING]
    for request, field in requests:
        found = await refused(hub[POLICE].disclosures.RequestDisclosure(request, timeout=10))
        assert (found.reason, found.fields) == ("INVALID_REQUEST", [field])


def _north(hub: Running) -> Any:
    public = hpke_key(hub.deployment, NORTH).public_key().public_bytes_raw()
    return lambda deployment, member: public


async def test_a_refusal_needs_a_reason_and_ends_it(hub: Running) -> None:
    request = await asked(hub)
    request_id = statement_of(request).request_id
    await hub[NORTH].disclosures.DecideDisclosure(decide(hub.deployment, request, None), timeout=10)
    assert await state(hub, request_id) == pb.DISCLOSURE_STATE_REFUSED
    late = await refused(hub[NORTH].disclosures.DecideDisclosure(decide(hub.deployment, request)))
    assert late.reason == "DISCLOSURE_CONFLICT"
    late = await refused(hub[POLICE].disclosures.WithdrawDisclosure(withdraw(hub.deployment, request_id)))
    assert late.reason == "DISCLOSURE_CONFLICT"


async def test_a_request_can_be_withdrawn_until_the_package_is_received(hub: Running) -> None:
    for released in (False, True):
        request = await asked(hub)
        request_id = statement_of(request).request_id
        if released:
            await hub[NORTH].disclosures.DecideDisclosure(decide(hub.deployment, request), timeout=10)
        order = withdraw(hub.deployment, request_id)
        await hub[POLICE].disclosures.WithdrawDisclosure(order, timeout=10)
        assert (await hub[POLICE].disclosures.WithdrawDisclosure(order, timeout=10)).repeated_withdrawal
        assert await state(hub, request_id) == pb.DISCLOSURE_STATE_WITHDRAWN
        late = await refused(hub[NORTH].disclosures.DecideDisclosure(decide(hub.deployment, request)))
        assert late.reason == "DISCLOSURE_CONFLICT"


async def test_what_is_not_decided_or_not_received_expires_once(hub: Running) -> None:
    undecided, unreceived = await asked(hub), await asked(hub)
    ids = [statement_of(each).request_id for each in (undecided, unreceived)]
    await hub[NORTH].disclosures.DecideDisclosure(decide(hub.deployment, unreceived), timeout=10)
    at(hub, 10 * DAY)
    # Even before it is recorded.
    assert await state(hub, ids[0]) == pb.DISCLOSURE_STATE_EXPIRED
    late = await refused(hub[NORTH].disclosures.DecideDisclosure(decide(hub.deployment, undecided)))
    assert late.reason == "DISCLOSURE_CONFLICT"
    await expire_disclosures(hub.hub._exchange)
    await expire_disclosures(hub.hub._exchange)
    at(hub, 30 * DAY)
    late = await refused(hub[POLICE].disclosures.FetchPackage(pb.FetchPackageRequest(request_id=ids[1])))
    assert late.reason == "DISCLOSURE_CONFLICT"
    await expire_disclosures(hub.hub._exchange)
    await expire_disclosures(hub.hub._exchange)
    for request_id, ended, count in ((ids[0], START + 10 * DAY, 2), (ids[1], START + 30 * DAY, 3)):
        shown = (await get(hub, NORTH, request_id)).disclosure
        assert (shown.state, shown.ended_at) == (pb.DISCLOSURE_STATE_EXPIRED, ended)
        assert len(shown.entries) == count
        assert await hub.hub._store.sealed_package(request_id) is None
        assert await hub.hub._store.sealed_scope(request_id) is None


async def test_lists_and_watches_show_each_side_its_own(hub: Running) -> None:
    watches = {}
    for party in (POLICE, NORTH, SOUTH):
        watches[party] = hub[party].disclosures.WatchDisclosures(pb.WatchDisclosuresRequest(), timeout=60)
        assert not (await watches[party].read()).HasField("disclosure")
    requests = [await asked(hub) for _ in range(3)]
    await hub[NORTH].disclosures.DecideDisclosure(decide(hub.deployment, requests[0], None), timeout=10)
    for party in (POLICE, NORTH):
        events = [await asyncio.wait_for(watches[party].read(), 10) for _ in range(4)]
        ids = [statement(event.disclosure).request_id for event in events]
        assert ids == [statement_of(each).request_id for each in (*requests, requests[0])]
        resumed = hub[party].disclosures.WatchDisclosures(
            pb.WatchDisclosuresRequest(resume_token=events[2].resume_token), timeout=60
        )
        await resumed.read()
        last = await asyncio.wait_for(resumed.read(), 10)
        assert last.disclosure.state == pb.DISCLOSURE_STATE_REFUSED
        resumed.cancel()
        first = await hub[party].disclosures.ListDisclosures(pb.ListDisclosuresRequest(page_size=2))
        rest = await hub[party].disclosures.ListDisclosures(
            pb.ListDisclosuresRequest(page_size=2, page_token=first.next_page_token)
        )
        assert len(first.disclosures) == 2
        assert len(rest.disclosures) == 1
        assert not rest.next_page_token
        unfinished = pb.ListDisclosuresRequest(page_size=100, unfinished=True)
        assert len((await hub[party].disclosures.ListDisclosures(unfinished)).disclosures) == 2
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watches[SOUTH].read(), 0.3)
    for watch in watches.values():
        watch.cancel()
    none = await hub[SOUTH].disclosures.ListDisclosures(pb.ListDisclosuresRequest(page_size=10))
    assert not none.disclosures
    request = pb.GetDisclosureRequest(request_id=statement_of(requests[0]).request_id)
    unknown = await refused(hub[SOUTH].disclosures.GetDisclosure(request))
    missing = await refused(
        hub[SOUTH].disclosures.GetDisclosure(pb.GetDisclosureRequest(request_id=bytes(16)))
    )
    assert unknown == missing
    assert unknown.reason == "DISCLOSURE_UNKNOWN"


def statement(disclosure: pb.Disclosure) -> pb.DisclosureRequestStatement:
    return pb.DisclosureRequestStatement.FromString(disclosure.request.statement)


async def test_statements_in_anothers_name_and_other_content_under_an_id_are_refused(hub: Running) -> None:
    request = await asked(hub)
    request_id = statement_of(request).request_id
    other = ask(hub.deployment, START, request_id=request_id)
    found = await refused(hub[POLICE].disclosures.RequestDisclosure(other))
    assert found.reason == "ID_REUSED"
    named = ask(hub.deployment, START, requester=NORTH)
    assert (await refused(hub[POLICE].disclosures.RequestDisclosure(named))).reason == "WRONG_MEMBER"
    found = await refused(hub[NORTH].disclosures.RequestDisclosure(named))
    assert found.reason == "METHOD_NOT_ALLOWED"
    unsigned = ask(hub.deployment, START, sign=officer(hub.deployment, POLICE, 2))
    assert (await refused(hub[POLICE].disclosures.RequestDisclosure(unsigned))).reason == "SIGNATURE_INVALID"
    decision = decide(hub.deployment, request)
    found = await refused(hub[SOUTH].disclosures.DecideDisclosure(decision))
    assert found.reason == "WRONG_MEMBER"
    decision.package += b"x"
    found = await refused(hub[NORTH].disclosures.DecideDisclosure(decision))
    assert (found.reason, found.fields) == ("INVALID_REQUEST", ["package"])
    await hub[NORTH].disclosures.DecideDisclosure(decide(hub.deployment, request), timeout=10)
    wrong = acknowledge(hub.deployment, request_id, decide(hub.deployment, request))
    found = await refused(hub[POLICE].disclosures.AcknowledgePackage(wrong))
    assert found.fields == ["statement.decision_digest"]
