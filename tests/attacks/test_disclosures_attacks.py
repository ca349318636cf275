"""Attacks on disclosures: code that plays operator, officer, member, authority, bystander, and must fail."""

import asyncio
import base64
import os
import sqlite3
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from signalexchange.disclosures import decision_bytes, open_package, sign_decision
from signalexchange.errors import VerificationError
from signalexchange.v1 import disclosure_service_pb2 as pb
from signalexchange.v1.match_service_pb2 import WatchMatchesRequest
from signalexchange.v1.signal_service_pb2 import WatchSignalsRequest
from signalexchange.v1.transparency_service_pb2 import ListLeavesRequest, OpenEntriesRequest

from exchange.provision import FOUNDERS, PartySpec
from exchange.server.access import RULES
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
from tests.support.hub import hub_data, hub_database
from tests.support.match_members import propose
from tests.support.members import look_up
from tests.support.outcomes import START, at, claim, publish

OTHER = "police-two"
SECRET = b"account 6222 0000 1111 2222 belongs to Zhang San" * 8


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    parties = (*FOUNDERS, PartySpec(OTHER, "law_enforcement", OTHER))
    async with serving(deploy(tmp_path, clock=START, parties=parties)) as running:
        yield running


async def asked(hub: Running, **changes: Any) -> pb.RequestDisclosureRequest:
    request = ask(hub.deployment, START, **changes)
    await hub[changes.get("requester", POLICE)].disclosures.RequestDisclosure(request, timeout=10)
    return request


def in_files(hub: Running, secret: bytes) -> set[str]:
    """The hub's files that hold a secret, or a part of it that no page boundary cuts."""
    parts = [secret[at : at + 64] for at in range(0, max(1, len(secret) - 64), 64)]
    files = [each for each in hub_data(hub.deployment).rglob("*") if each.is_file()]
    return {file.name for file in files if any(part in file.read_bytes() for part in parts)} | (
        {"output"} if secret in hub.output.getvalue() else set()
    )


async def test_the_operator_reads_neither_scope_nor_package_and_nothing_sealed_outlives_the_receipt(
    hub: Running,
) -> None:
    request = await asked(hub)
    decision = decide(hub.deployment, request, SECRET)
    await hub[NORTH].disclosures.DecideDisclosure(decision, timeout=10)
    assert in_files(hub, decision.package), "the scan finds what is stored"
    assert in_files(hub, request.scope)
    assert not in_files(hub, SECRET)
    assert not in_files(hub, SCOPE)
    keys = {path.name for path in hub.deployment.hub_config.parent.rglob("*.key")}
    assert keys == {"log.key", "tls.key"}, "it holds no key that opens anything"
    request_id = statement_of(request).request_id
    await hub[POLICE].disclosures.AcknowledgePackage(acknowledge(hub.deployment, request_id, decision))
    assert not in_files(hub, decision.package)
    assert not in_files(hub, request.scope)


@pytest.mark.parametrize("end", ["refusal", "withdrawal", "expiry"])
async def test_nothing_sealed_outlives_any_other_end(hub: Running, end: str) -> None:
    request = await asked(hub)
    decision = decide(hub.deployment, request, None if end == "refusal" else SECRET)
    await hub[NORTH].disclosures.DecideDisclosure(decision, timeout=10)
    if end == "withdrawal":
        order = withdraw(hub.deployment, statement_of(request).request_id)
        await hub[POLICE].disclosures.WithdrawDisclosure(order, timeout=10)
    elif end == "expiry":
        assert in_files(hub, decision.package)
        at(hub, 31 * 86_400)
        await expire_disclosures(hub.hub._exchange)
    assert not in_files(hub, request.scope)
    if decision.package:
        assert not in_files(hub, decision.package)


async def test_a_package_swapped_for_another_requests_does_not_open(hub: Running) -> None:
    requests = [await asked(hub) for _ in range(2)]
    decisions = [decide(hub.deployment, each, b"contents %d" % n) for n, each in enumerate(requests)]
    ids = [statement_of(each).request_id for each in requests]
    for decision in decisions:
        await hub[NORTH].disclosures.DecideDisclosure(decision, timeout=10)
    database = sqlite3.connect(hub_database(hub.deployment))
    database.execute(
        "UPDATE disclosures SET package = ? WHERE request_id = ?", (decisions[1].package, ids[0])
    )
    database.commit()
    database.close()
    fetched = await hub[POLICE].disclosures.FetchPackage(pb.FetchPackageRequest(request_id=ids[0]))
    key = hpke_key(hub.deployment, POLICE)
    signed = pb.DisclosureDecisionStatement.FromString(fetched.decision.statement)
    with pytest.raises(VerificationError):
        open_package(fetched.package, key, requests[0].request.statement, signed)
    # Swapped with its decision, it is on another request; made to fit, it still doesn't open.
    other = pb.DisclosureDecisionStatement.FromString(decisions[1].decision.statement)
    with pytest.raises(VerificationError):
        open_package(fetched.package, key, requests[0].request.statement, other)
    other.request_digest = sha256(requests[0].request.statement).digest()
    with pytest.raises(VerificationError):
        open_package(fetched.package, key, requests[0].request.statement, other)


async def decision_refused(hub: Running, decision: pb.DecideDisclosureRequest, member: str = NORTH) -> str:
    return (await refused(hub[member].disclosures.DecideDisclosure(decision, timeout=10))).reason


async def test_one_officer_is_not_two_whatever_keys_it_holds(hub: Running) -> None:
    request = await asked(hub)
    first = ("officer-1", officer(hub.deployment, NORTH, 1))
    twice = decide(hub.deployment, request, officers=[first, first])
    assert await decision_refused(hub, twice) == "OFFICER_NOT_INDEPENDENT"
    renewed = Ed25519PrivateKey.generate()
    table = hub.hub._exchange.membership.roster.model_dump(mode="json")
    (north,) = [party for party in table["parties"] if party["id"] == NORTH]
    north["officer_keys"].append(
        {
            **north["officer_keys"][0],
            "id": "officer-1-renewed",
            "public_key": base64.b64encode(renewed.public_key().public_bytes_raw()).decode(),
        }
    )
    await propose(hub, parties=table["parties"])
    both = decide(hub.deployment, request, officers=[first, ("officer-1-renewed", renewed.sign)])
    assert await decision_refused(hub, both) == "OFFICER_NOT_INDEPENDENT"
    alone = decide(hub.deployment, request, officers=[first])
    assert await decision_refused(hub, alone) == "SIGNATURE_INVALID"


async def test_officers_of_another_member_decide_nothing(hub: Running) -> None:
    request = await asked(hub)
    theirs = [(f"officer-{n}", officer(hub.deployment, SOUTH, n)) for n in (1, 2)]
    assert (
        await decision_refused(hub, decide(hub.deployment, request, officers=theirs)) == "SIGNATURE_INVALID"
    )
    mixed = [("officer-1", officer(hub.deployment, NORTH, 1)), theirs[1]]
    assert await decision_refused(hub, decide(hub.deployment, request, officers=mixed)) == "SIGNATURE_INVALID"
    police = [(f"officer-{n}", officer(hub.deployment, POLICE, n)) for n in (1, 2)]
    assert (
        await decision_refused(hub, decide(hub.deployment, request, officers=police)) == "SIGNATURE_INVALID"
    )


async def test_a_member_releases_nothing_for_another(hub: Running) -> None:
    request = await asked(hub)
    assert await decision_refused(hub, decide(hub.deployment, request), SOUTH) == "WRONG_MEMBER"
    theirs = [(f"officer-{n}", officer(hub.deployment, SOUTH, n)) for n in (1, 2)]
    named = decide(hub.deployment, request, member=SOUTH, officers=theirs)
    assert await decision_refused(hub, named, SOUTH) == "DISCLOSURE_UNKNOWN"


async def test_a_decision_is_replayed_for_no_other_request(hub: Running) -> None:
    first, second = await asked(hub), await asked(hub)
    decision = decide(hub.deployment, first)
    await hub[NORTH].disclosures.DecideDisclosure(decision, timeout=10)
    statement = pb.DisclosureDecisionStatement.FromString(decision.decision.statement)
    statement.request_id = statement_of(second).request_id
    replayed = pb.DecideDisclosureRequest(
        decision=pb.SignedDecision(
            statement=decision_bytes(statement), signatures=decision.decision.signatures
        ),
        package=decision.package,
    )
    assert await decision_refused(hub, replayed) == "INVALID_REQUEST"  # the digest is another request's
    statement.request_digest = sha256(second.request.statement).digest()
    replayed.decision.statement = decision_bytes(statement)
    assert await decision_refused(hub, replayed) == "SIGNATURE_INVALID"
    # An answer that was given is not turned round, not even by two officers.
    assert await decision_refused(hub, decide(hub.deployment, first, None)) == "DISCLOSURE_CONFLICT"


async def test_an_officers_signature_under_another_statement_is_none(hub: Running) -> None:
    request = await asked(hub)
    encoded = decide(hub.deployment, request).decision.statement
    signature = sign_decision(encoded, "officer-1", officer(hub.deployment, POLICE, 1))
    receipt = pb.AcknowledgePackageRequest(statement=encoded, signature=signature.signature)
    found = await refused(hub[POLICE].disclosures.AcknowledgePackage(receipt, timeout=10))
    assert found.reason == "INVALID_REQUEST"


async def test_an_authority_reaches_its_own_disclosures_and_nothing_else(hub: Running) -> None:
    request = await asked(hub)
    request_id = statement_of(request).request_id
    await hub[NORTH].disclosures.DecideDisclosure(decide(hub.deployment, request), timeout=10)
    for call, message in (
        (hub[OTHER].disclosures.GetDisclosure, pb.GetDisclosureRequest(request_id=request_id)),
        (hub[OTHER].disclosures.FetchPackage, pb.FetchPackageRequest(request_id=request_id)),
        (hub[SOUTH].disclosures.GetDisclosure, pb.GetDisclosureRequest(request_id=request_id)),
    ):
        assert (await refused(call(message, timeout=10))).reason == "DISCLOSURE_UNKNOWN"
    order = withdraw(hub.deployment, request_id)
    assert (await refused(hub[OTHER].disclosures.WithdrawDisclosure(order))).reason == "WRONG_MEMBER"
    allowed = {name for name, rule in RULES.items() if "law_enforcement" in rule.kinds}
    services = {name.split("/")[1].rpartition(".")[2] for name in allowed}
    assert services & {"SignalService", "MatchService", "OutcomeService", "CaseService"} == set()
    found = await refused(hub[POLICE].signals.LookUpSubjects(look_up([os.urandom(32)])))
    assert found.reason == "METHOD_NOT_ALLOWED"
    await publish(hub, NORTH, claim())
    size = hub.hub._exchange.writer.head.tree.size
    found = await refused(hub[POLICE].log.OpenEntries(OpenEntriesRequest(indices=[size - 1])))
    assert found.reason == "OPENING_NOT_ALLOWED"


async def bystander(hub: Running, start: int) -> tuple[int, int, int]:
    """What a third member can see of the log from an entry on: how many leaves, their sizes, open headers."""
    leaves = (await hub[SOUTH].log.ListLeaves(ListLeavesRequest(start=start, limit=1000))).leaves
    return len(leaves), len({len(leaf.leaf) for leaf in leaves}), sum(bool(leaf.header) for leaf in leaves)


async def test_a_third_member_cannot_tell_that_a_disclosure_is_pending(hub: Running) -> None:
    subject = claim()
    await publish(hub, NORTH, subject)
    south = hub[SOUTH]
    streams = [
        south.disclosures.WatchDisclosures(pb.WatchDisclosuresRequest(), timeout=30),
        south.signals.WatchSignals(WatchSignalsRequest(), timeout=30),
        south.matches.WatchMatches(WatchMatchesRequest(), timeout=30),
    ]
    for stream in streams:
        await stream.read()

    async def answers() -> list[bytes]:
        """Everything the third member can ask that isn't random."""
        risk = (await south.signals.LookUpSubjects(look_up([subject.subject.value]))).subjects
        listed = await south.disclosures.ListDisclosures(pb.ListDisclosuresRequest(page_size=100))
        return [*(each.SerializeToString() for each in risk), listed.SerializeToString()]

    before = await answers()
    size = hub.hub._exchange.writer.head.tree.size
    # Two entries of others, as any two members leave by looking up at the same time.
    for member in (NORTH, "pay-lotus"):
        await hub[member].signals.LookUpSubjects(look_up([os.urandom(32)]))
    plain = await bystander(hub, size)
    size = hub.hub._exchange.writer.head.tree.size
    request = await asked(hub)
    assert await bystander(hub, size) == plain
    assert await answers() == before
    request_id = statement_of(request).request_id
    known = await refused(south.disclosures.GetDisclosure(pb.GetDisclosureRequest(request_id=request_id)))
    guess = await refused(south.disclosures.GetDisclosure(pb.GetDisclosureRequest(request_id=os.urandom(16))))
    assert known == guess
    opening = [
        await refused(south.log.OpenEntries(OpenEntriesRequest(indices=[index])))
        for index in (size - 1, size)
    ]
    assert opening[0] == opening[1]
    for stream in streams:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.read(), 0.2)
        stream.cancel()
