"""The operator alone: it suspends and it proposes, but enrols nobody and swaps no key."""

import base64
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from signalexchange.credentials import load_signing_key
from signalexchange.errors import ExchangeError
from signalexchange.note import Signer, sign_note
from signalexchange.roster import Roster, RosterChain, sign_roster
from signalexchange.v1.log_entry_pb2 import EntryType, RosterEntry
from signalexchange.v1.membership_service_pb2 import (
    GetRosterRequest,
    ProposeRosterVersionRequest,
    SuspendMemberRequest,
)
from signalexchange.v1.transparency_service_pb2 import OpenEntriesRequest

from exchange.provision import Deployment, Plan
from tests.support.caller import Caller, Refused, refused
from tests.support.faults import Server
from tests.support.hub import hub_database, hub_server, new_mirror, running_hub
from tests.support.members import Pen, caller, configuration, pen, signal

PUPPET = "puppet"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with running_hub(tmp_path_factory.mktemp("operator"), Plan(types=("card",))) as running:
        yield running


@pytest.fixture
def operator(deployment: Deployment) -> Iterator[Caller]:
    with caller(deployment, "operator") as one:
        yield one


def key(private: Ed25519PrivateKey, key_id: str = "signing-1") -> dict[str, Any]:
    public = base64.b64encode(private.public_key().public_bytes_raw()).decode()
    return {"id": key_id, "public_key": public, "not_before": 0, "not_after": 2**40}


def next_version(deployment: Deployment) -> dict[str, Any]:
    """The data of a version that would follow the first, to be changed at will."""
    return following(RosterChain.start(deployment.genesis.read_bytes()).current)


def following(current: Roster) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(current.text())
    data["version"] += 1
    data["previous"] = sha256(current.text().encode()).hexdigest()
    return data


def with_puppet(data: dict[str, Any], private: Ed25519PrivateKey) -> dict[str, Any]:
    data["groups"].append({"id": PUPPET, "budgets": {}})
    data["parties"].append(
        {
            "id": PUPPET,
            "kind": "bank",
            "group": PUPPET,
            "spiffe_id": f"spiffe://exchange.test/party/{PUPPET}",
            "signing_keys": [key(private)],
            "officer_keys": [],
            "hpke_keys": [],
        }
    )
    return data


def propose(operator: Caller, note: bytes, rulebook: bytes = b"") -> Refused:
    request = ProposeRosterVersionRequest(note=note, rulebook=rulebook)
    return refused(operator.membership.ProposeRosterVersion, request, timeout=10)


def signed(data: dict[str, Any], signers: list[Signer]) -> bytes:
    return sign_roster(Roster.model_validate_json(json.dumps(data)), signers)


def own_signer() -> Signer:
    return Signer.from_private_key("operator", Ed25519PrivateKey.generate())


def log_signer(deployment: Deployment) -> Signer:
    """The operator holds the log's key."""
    sign = load_signing_key(deployment.folder / "hub" / "log.key")
    current = RosterChain.start(deployment.genesis.read_bytes()).current
    return Signer(current.log_verifier.name, current.log_verifier.public_key, sign)


def _alone(deployment: Deployment) -> dict[str, bytes]:
    """Versions that an operator could make by itself, or with one governance key that went astray."""
    private = Ed25519PrivateKey.generate()
    puppet = with_puppet(next_version(deployment), private)
    one_key = deployment.governance_signers(1)
    swapped = next_version(deployment)
    swapped["parties"][0]["signing_keys"] = [key(private)]
    renamed = next_version(deployment)
    renamed["parties"][0]["spiffe_id"] = "spiffe://exchange.test/party/operator-two"
    usurped = with_puppet(next_version(deployment), private)
    mine = own_signer()
    usurped["governance"] = {"quorum": 1, "keys": [mine.verifier.vkey]}
    twice = signed(puppet, one_key)
    line = twice[twice.rindex("\n— ".encode()) + 1 :]
    return {
        "by the log's key": signed(puppet, [log_signer(deployment)]),
        "by a key of its own": signed(puppet, [own_signer()]),
        "by one governance key": signed(puppet, one_key),
        "by one governance key twice": twice + line,
        "by one governance key and its own": signed(puppet, [*one_key, own_signer()]),
        "by the governance keys it names itself": signed(usurped, [mine]),
        "with a member's key swapped": signed(swapped, [*one_key, own_signer()]),
        "with a member's certificate swapped": signed(renamed, [*one_key, own_signer()]),
    }


HOW = (
    "by the log's key",
    "by a key of its own",
    "by one governance key",
    "by one governance key twice",
    "by one governance key and its own",
    "by the governance keys it names itself",
    "with a member's key swapped",
    "with a member's certificate swapped",
)


@pytest.mark.parametrize("how", HOW)
def test_the_operator_alone_changes_no_roster(deployment: Deployment, operator: Caller, how: str) -> None:
    versions = _alone(deployment)
    assert versions.keys() == set(HOW)
    assert propose(operator, versions[how]).reason == "ROSTER_REFUSED"
    found = operator.membership.GetRoster(GetRosterRequest(from_version=1), timeout=10).versions
    assert [each.note for each in found] == [deployment.genesis.read_bytes()]


def _spoiled(deployment: Deployment) -> dict[str, bytes]:
    """Versions with a quorum that don't follow, or hold what no roster may hold."""
    quorum = deployment.governance_signers()
    ahead = next_version(deployment) | {"version": 3}
    elsewhere = next_version(deployment) | {"origin": "elsewhere.test/signals"}
    orphan = next_version(deployment) | {"previous": "0" * 64}
    earlier = next_version(deployment) | {"issued_at": 1}
    unknown_rules = next_version(deployment) | {"rulebook_sha256": "0" * 64}
    text = json.dumps(next_version(deployment) | {"backdoor": True})
    return {
        "a version left out": signed(ahead, quorum),
        "another origin": signed(elsewhere, quorum),
        "another past": signed(orphan, quorum),
        "issued before": signed(earlier, quorum),
        "a rulebook nobody has": signed(unknown_rules, quorum),
        "an unknown field": sign_note(text + "\n", quorum),
        "no roster": sign_note("no roster\n", quorum),
        "no note": b"no note",
        "nothing": b"",
    }


SPOILED = (
    "a version left out",
    "another origin",
    "another past",
    "issued before",
    "a rulebook nobody has",
    "an unknown field",
    "no roster",
    "no note",
    "nothing",
)


@pytest.mark.parametrize("how", SPOILED)
def test_even_a_quorum_installs_no_version_that_does_not_follow(
    deployment: Deployment, operator: Caller, how: str
) -> None:
    versions = _spoiled(deployment)
    assert versions.keys() == set(SPOILED)
    assert propose(operator, versions[how]).reason in ("ROSTER_REFUSED", "INVALID_REQUEST")
    found = operator.membership.GetRoster(GetRosterRequest(from_version=1), timeout=10).versions
    assert len(found) == 1


def test_another_rulebook_than_the_version_names_is_refused(deployment: Deployment, operator: Caller) -> None:
    note = signed(next_version(deployment), deployment.governance_signers())
    rulebook = json.loads(deployment.rulebook.read_text("utf-8"))
    rulebook["limits"]["streams"] += 1
    changed = json.dumps(rulebook, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert propose(operator, note, changed.encode()).reason in ("ROSTER_REFUSED", "INVALID_REQUEST")


def test_the_quorum_enrols_a_member_and_rotates_a_key_and_both_are_on_the_log(tmp_path: Path) -> None:
    with running_hub(tmp_path, Plan(types=("card",))) as deployment:
        private, fresh = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        data = with_puppet(next_version(deployment), private)
        (north,) = (each for each in data["parties"] if each["id"] == "bank-north")
        north["signing_keys"] = [key(fresh, "signing-2")]
        note = signed(data, deployment.governance_signers())
        request = ProposeRosterVersionRequest(note=note)
        with caller(deployment, "operator") as operator, caller(deployment, "audit-one") as auditor:
            receipt = operator.membership.ProposeRosterVersion(request, timeout=10).receipt
            again = operator.membership.ProposeRosterVersion(request, timeout=10).receipt
            assert again.index == receipt.index
            mirror = new_mirror(deployment)
            mirror.extend(auditor.log)
            entries = list(mirror.opened(auditor.log, mirror.of_type(EntryType.ENTRY_TYPE_ROSTER)))
            notes = [RosterEntry.FromString(entry.payload).note for entry in entries]
            assert notes == [deployment.genesis.read_bytes(), note]
        files = deployment.authority.issue(tmp_path / PUPPET, f"spiffe://exchange.test/party/{PUPPET}")
        config = configuration(deployment, "bank-north")
        with Caller(config.hub.target, certificate=files.certificate, key=files.key, ca=files.ca) as puppet:
            publish = Pen(deployment.origin, PUPPET, "signing-1", private.sign).batch([signal()])
            assert puppet.signals.PublishSignals(publish, timeout=10).receipt
        with caller(deployment, "bank-north") as one:
            old = pen(deployment, "bank-north")
            new = replace(old, key_id="signing-2", sign=fresh.sign)
            stale = old.batch([signal()])
            assert refused(one.signals.PublishSignals, stale, timeout=10).reason == "SIGNATURE_INVALID"
            assert one.signals.PublishSignals(new.batch([signal()]), timeout=10).receipt


def test_a_roster_put_into_the_database_is_refused_by_the_hub_or_by_every_client(tmp_path: Path) -> None:
    with running_hub(tmp_path, Plan(types=("card",))) as deployment:
        pass  # runs once, so that there is a database
    forged = signed(with_puppet(next_version(deployment), Ed25519PrivateKey.generate()), [own_signer()])
    database = sqlite3.connect(hub_database(deployment))
    rulebook = deployment.rulebook.read_bytes()
    with database:
        database.execute("INSERT INTO rosters VALUES (2, ?, ?, 0)", (forged, rulebook))
    database.close()
    server = hub_server(deployment, tmp_path / "again.log")
    server.spawn()
    try:
        assert _refuses_to_start(server) or _chain_fails(deployment)
    finally:
        server.close()


def _refuses_to_start(server: Server) -> bool:
    try:
        code = server.wait(3.0)
    except TimeoutError:
        return False
    assert code
    assert "Traceback" not in server.text()
    return True


def _chain_fails(deployment: Deployment) -> bool:
    with caller(deployment, "bank-north") as north:
        found = north.membership.GetRoster(GetRosterRequest(from_version=1), timeout=10).versions
    chain = RosterChain.start(deployment.genesis.read_bytes())
    try:
        for version in found[1:]:
            chain = chain.extend(version.note)
    except ExchangeError:
        return True
    return False


def test_a_suspension_names_nobody_anew_and_only_a_roster_version_lifts_it(tmp_path: Path) -> None:
    with (
        running_hub(tmp_path, Plan(types=("card",))) as deployment,
        caller(deployment, "operator") as operator,
        caller(deployment, "bank-north") as north,
    ):
        order = SuspendMemberRequest(member="bank-north", reason="under review")
        operator.membership.SuspendMember(order, timeout=10)
        roster = operator.membership.GetRoster(GetRosterRequest(from_version=1), timeout=10)
        assert [each.member for each in roster.suspensions] == ["bank-north"]
        unchanged = signed(next_version(deployment), deployment.governance_signers())
        operator.membership.ProposeRosterVersion(ProposeRosterVersionRequest(note=unchanged), timeout=10)
        request = GetRosterRequest(from_version=1)
        assert refused(north.membership.GetRoster, request, timeout=10).reason == "SUSPENDED"
        current = RosterChain.start(deployment.genesis.read_bytes()).extend(unchanged).current
        data = following(current) | {"reinstates": ["bank-north"]}
        lifted = signed(data, deployment.governance_signers())
        operator.membership.ProposeRosterVersion(ProposeRosterVersionRequest(note=lifted), timeout=10)
        assert not north.membership.GetRoster(request, timeout=10).suspensions


def test_the_operator_opens_no_members_entry(deployment: Deployment, operator: Caller) -> None:
    with caller(deployment, "bank-north") as north:
        publish = pen(deployment, "bank-north").batch([signal()])
        index = north.signals.PublishSignals(publish, timeout=10).receipt.index
    request = OpenEntriesRequest(indices=[index])
    assert refused(operator.log.OpenEntries, request, timeout=10).reason == "OPENING_NOT_ALLOWED"


def test_the_reason_of_a_suspension_is_bounded(operator: Caller) -> None:
    order = SuspendMemberRequest(member="bank-south", reason="x" * 501)
    refusal = refused(operator.membership.SuspendMember, order, timeout=10)
    assert refusal.reason == "INVALID_REQUEST"
    assert refusal.fields == ["reason"]
