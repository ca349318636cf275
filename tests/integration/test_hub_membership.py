"""Roster versions, suspension and reinstatement, and what they do to calls and streams at once."""

import asyncio
import base64
import json
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from signalexchange.envelope import parse_statement
from signalexchange.errors import ConfigError
from signalexchange.note import Signer
from signalexchange.roster import Roster, RosterChain, sign_roster
from signalexchange.rulebook import Rulebook, default_text
from signalexchange.v1.membership_service_pb2 import (
    GetRosterRequest,
    ProposeRosterVersionRequest,
    SuspendMemberRequest,
)
from signalexchange.v1.signal_service_pb2 import WatchSignalsRequest
from signalexchange.v1.transparency_service_pb2 import GetCheckpointRequest, OpenEntriesRequest

from tests.support.exchange import Running, deploy, refused, serving
from tests.support.hub import hub_database
from tests.support.members import look_up, signal

NORTH, SOUTH, OPERATOR = "bank-north", "bank-south", "operator"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path)) as running:
        yield running


def next_version(hub: Running, **changes: Any) -> bytes:
    """The current roster's successor, signed by the quorum."""
    current = hub.hub._exchange.membership.roster
    table = current.model_dump(mode="json") | {
        "version": current.version + 1,
        "previous": sha256(current.text().encode()).hexdigest(),
        "reinstates": [],
    }
    return sign_roster(Roster.model_validate(table | changes), hub.deployment.governance_signers())


async def propose(hub: Running, note: bytes, rulebook: bytes = b"") -> int:
    request = ProposeRosterVersionRequest(note=note, rulebook=rulebook)
    response = await hub[OPERATOR].membership.ProposeRosterVersion(request)
    index: int = response.receipt.index
    return index


async def test_the_chain_is_served_with_its_rulebook(hub: Running) -> None:
    index = await propose(hub, next_version(hub))
    again = await propose(hub, hub.hub._exchange.membership.chain.versions[-1][0])
    assert again == index
    answer = await hub[NORTH].membership.GetRoster(GetRosterRequest(from_version=1))
    chain = RosterChain.start(answer.versions[0].note).extend(answer.versions[1].note)
    assert chain.current.version == 2
    assert sha256(answer.rulebook).hexdigest() == chain.current.rulebook_sha256
    assert [version.index for version in answer.versions] == [0, index]
    later = await hub[NORTH].membership.GetRoster(GetRosterRequest(from_version=2))
    assert [version.note for version in later.versions] == [answer.versions[1].note]
    assert not (await hub[NORTH].membership.GetRoster(GetRosterRequest(from_version=99))).versions
    assert (await refused(hub[NORTH].membership.GetRoster(GetRosterRequest()))).reason == "INVALID_REQUEST"
    (opened,) = (await hub[NORTH].log.OpenEntries(OpenEntriesRequest(indices=[index]))).entries
    assert answer.versions[1].note in opened.payload


async def test_what_does_not_extend_the_chain_is_refused(hub: Running) -> None:
    good = next_version(hub)
    current = hub.hub._exchange.membership.roster
    lonely = sign_roster(
        Roster.parse(good.decode().split("\n\n")[0] + "\n"), hub.deployment.governance_signers(1)
    )
    stranger = Signer.from_private_key(current.origin, Ed25519PrivateKey.generate()).verifier.vkey
    notes = {
        "another log key": next_version(hub, log_key=stranger),
        "garbage": b"\xff\x00",
        "without a quorum": lonely,
        "a gap": next_version(hub, version=current.version + 2),
        "another past": next_version(hub, previous=sha256(b"").hexdigest()),
        "another origin": next_version(hub, origin="elsewhere.test/log"),
        "altered after signing": good.replace(b"bank-south", b"bank-south-2"),
        "another rulebook": next_version(hub, rulebook_sha256=sha256(b"x").hexdigest()),
    }
    for what, note in notes.items():
        refusal = await refused(
            hub[OPERATOR].membership.ProposeRosterVersion(ProposeRosterVersionRequest(note=note))
        )
        assert refusal.reason == "ROSTER_REFUSED", what
    refusal = await refused(
        hub[NORTH].membership.ProposeRosterVersion(ProposeRosterVersionRequest(note=good))
    )
    assert refusal.reason == "METHOD_NOT_ALLOWED"
    assert hub.hub._exchange.membership.roster.version == 1


async def test_a_rulebook_comes_into_force_with_its_version(hub: Running) -> None:
    rulebook = Rulebook.parse(default_text())
    purposes = tuple(p for p in rulebook.purposes if p.purpose != "investigation")
    strict = rulebook.model_copy(update={"version": 2, "purposes": purposes})
    request = look_up([os.urandom(32)], purpose="investigation")
    await hub[NORTH].signals.LookUpSubjects(request)
    await propose(hub, next_version(hub, rulebook_sha256=strict.digest()), strict.text().encode())
    assert (await refused(hub[NORTH].signals.LookUpSubjects(request))).reason == "PURPOSE_NOT_ALLOWED"
    answer = await hub[NORTH].membership.GetRoster(GetRosterRequest(from_version=1))
    assert answer.rulebook == strict.text().encode()


async def test_suspension_shuts_out_at_once_until_a_version_reinstates(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    token = os.urandom(32)
    async with serving(deployment) as hub:
        await hub[NORTH].signals.PublishSignals(hub.pen(NORTH).batch([signal(token)]))
        watch = hub[NORTH].signals.WatchSignals(WatchSignalsRequest())
        await watch.read()
        order = SuspendMemberRequest(member=NORTH, reason="keys stolen")
        index = (await hub[OPERATOR].membership.SuspendMember(order)).receipt.index
        assert (await hub[OPERATOR].membership.SuspendMember(order)).receipt.index == index
        assert (await refused(asyncio.wait_for(watch.read(), 5))).reason == "SUSPENDED"
        assert (await refused(hub[NORTH].log.GetCheckpoint(GetCheckpointRequest()))).reason == "SUSPENDED"
        # What it said doesn't count meanwhile.
        assert not (await hub[SOUTH].signals.LookUpSubjects(look_up([token]))).subjects
        answer = await hub[SOUTH].membership.GetRoster(GetRosterRequest(from_version=1))
        assert [(each.member, each.index) for each in answer.suspensions] == [(NORTH, index)]
        await propose(hub, next_version(hub))
        assert (await refused(hub[NORTH].log.GetCheckpoint(GetCheckpointRequest()))).reason == "SUSPENDED"
    async with serving(deployment) as hub:
        assert (await refused(hub[NORTH].log.GetCheckpoint(GetCheckpointRequest()))).reason == "SUSPENDED"
        await propose(hub, next_version(hub, reinstates=[NORTH]))
        await hub[NORTH].log.GetCheckpoint(GetCheckpointRequest())
        assert len((await hub[SOUTH].signals.LookUpSubjects(look_up([token]))).subjects) == 1
    async with serving(deployment) as hub:
        assert hub.hub._exchange.membership.roster.version == 3
        await hub[NORTH].log.GetCheckpoint(GetCheckpointRequest())


async def test_orders_to_suspend_that_are_refused(hub: Running) -> None:
    for request in (
        SuspendMemberRequest(member=OPERATOR),
        SuspendMemberRequest(member="nobody"),
        SuspendMemberRequest(member=NORTH, reason="x" * 501),
    ):
        assert (await refused(hub[OPERATOR].membership.SuspendMember(request))).reason == "INVALID_REQUEST"
    refusal = await refused(hub[NORTH].membership.SuspendMember(SuspendMemberRequest(member=SOUTH)))
    assert refusal.reason == "METHOD_NOT_ALLOWED"


async def test_a_party_that_left_the_roster_is_out_and_its_streams_end(hub: Running) -> None:
    watch = hub[SOUTH].signals.WatchSignals(WatchSignalsRequest())
    await watch.read()
    current = hub.hub._exchange.membership.roster
    parties = [party.model_dump(mode="json") for party in current.parties if party.id != SOUTH]
    await propose(hub, next_version(hub, parties=parties))
    assert (await refused(asyncio.wait_for(watch.read(), 5))).reason == "NOT_ENROLLED"
    assert (await refused(hub[SOUTH].log.GetCheckpoint(GetCheckpointRequest()))).reason == "NOT_ENROLLED"


@pytest.mark.parametrize("how", ["ended", "replaced"])
async def test_a_lost_answer_is_had_again_after_the_key_that_signed_it(hub: Running, how: str) -> None:
    north, own = hub.pen(NORTH), signal()
    batch, unsent = north.batch([own]), north.batch([signal()])
    order, unsent_order = north.withdrawal([own.signal_id]), north.withdrawal([own.signal_id])
    published = await hub[NORTH].signals.PublishSignals(batch)
    withdrawn = await hub[NORTH].signals.WithdrawSignals(order)
    parties = hub.hub._exchange.membership.roster.model_dump(mode="json")["parties"]
    (key,) = next(party for party in parties if party["id"] == NORTH)["signing_keys"]
    if how == "ended":
        key["not_after"] = key["not_before"] + 1
    else:
        public = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        key.update(id="signing-2", public_key=base64.b64encode(public).decode())
    await hub[OPERATOR].membership.ProposeRosterVersion(
        ProposeRosterVersionRequest(note=next_version(hub, parties=parties))
    )
    again = await hub[NORTH].signals.PublishSignals(batch)
    assert (again.repeated_batch, again.receipt.index) == (True, published.receipt.index)
    order_again = await hub[NORTH].signals.WithdrawSignals(order)
    assert (order_again.repeated_order, order_again.receipt.index) == (True, withdrawn.receipt.index)
    # What was not stored before is refused as ever, and so is another statement over the same batch.
    other = replace(north, key_id="signing-3").batch(
        [own], batch_id=parse_statement(batch.statement).batch_id
    )
    for request in (unsent, other):
        assert (await refused(hub[NORTH].signals.PublishSignals(request))).reason == "SIGNATURE_INVALID"
    refusal = await refused(hub[NORTH].signals.WithdrawSignals(unsent_order))
    assert refusal.reason == "SIGNATURE_INVALID"


async def test_a_log_with_rules_of_another_version_of_the_program_is_not_opened(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    async with serving(deployment):
        pass
    rules = json.loads(default_text())
    del rules["cases"]
    with closing(sqlite3.connect(hub_database(deployment))) as database, database:
        database.execute("UPDATE rosters SET rulebook = ?", (json.dumps(rules).encode(),))
    with pytest.raises(ConfigError, match=r"is none that this version of the program knows: Rulebook\.cases"):
        async with serving(deployment):
            pass
