"""Deadlines that pass while the hub is down, and kills in between: each disclosure expires once."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from signalexchange.v1 import disclosure_service_pb2 as pb
from signalexchange.v1.log_entry_pb2 import DisclosureExpiryEntry, EntryType
from signalexchange.v1.transparency_service_pb2 import OpenEntriesRequest

from exchange.provision import Deployment, Plan, provision
from tests.support.caller import refused
from tests.support.disclosures import NORTH, POLICE, ask, decide, statement_of
from tests.support.faults import Server
from tests.support.hub import hub_data, hub_server, new_mirror
from tests.support.members import caller

START = 1_790_000_000
DAY = 86_400


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return provision(tmp_path / "deployment", Plan(types=("card",), clock=START))


@pytest.fixture
def hub(deployment: Deployment, tmp_path: Path) -> Iterator[Server]:
    server = hub_server(deployment, tmp_path / "hub.log")
    yield server
    server.close()


def disclosure(deployment: Deployment, party: str, request_id: bytes) -> pb.Disclosure:
    with caller(deployment, party) as connection:
        request = pb.GetDisclosureRequest(request_id=request_id)
        found: pb.Disclosure = connection.disclosures.GetDisclosure(request, timeout=10).disclosure
        return found


def recorded(deployment: Deployment, count: int) -> list[bytes]:
    """Request ids of the expiries on the log, once there are so many entries of them."""
    mirror = new_mirror(deployment)
    deadline = time.monotonic() + 20
    with caller(deployment, "audit-one") as auditor:
        while True:
            mirror.extend(auditor.log)
            indices = mirror.of_type(EntryType.ENTRY_TYPE_DISCLOSURE_EXPIRY)
            if len(indices) >= count or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        opened = [
            auditor.log.OpenEntries(OpenEntriesRequest(indices=[index])).entries[0] for index in indices
        ]
    return [DisclosureExpiryEntry.FromString(entry.payload).request_id for entry in opened]


def test_what_was_due_while_the_hub_was_down_expires_once(deployment: Deployment, hub: Server) -> None:
    hub.start()
    undecided, released = ask(deployment, START), ask(deployment, START)
    with caller(deployment, POLICE) as police:
        for request in (undecided, released):
            police.disclosures.RequestDisclosure(request, timeout=10)
    decision = decide(deployment, released)
    with caller(deployment, NORTH) as north:
        north.disclosures.DecideDisclosure(decision, timeout=10)
    ids = [statement_of(each).request_id for each in (undecided, released)]
    hub.kill()
    deployment.clock.write_text(f"{START + 40 * DAY}\n")
    hub.start()
    # From its first answer on, whether or not it has got round to recording it.
    with caller(deployment, NORTH) as north:
        late = refused(north.disclosures.DecideDisclosure, decide(deployment, undecided), timeout=10)
        assert late.reason == "DISCLOSURE_CONFLICT"
    assert sorted(recorded(deployment, 4)) == sorted(2 * ids)
    hub.kill()
    hub.start()
    deployment.clock.write_text(f"{START + 41 * DAY}\n")
    for request_id in ids:
        for party in (POLICE, NORTH):
            assert disclosure(deployment, party, request_id).state == pb.DISCLOSURE_STATE_EXPIRED
    time.sleep(1.5)
    assert len(recorded(deployment, 4)) == 4
    hub.stop()
    files = [each for each in hub_data(deployment).iterdir() if each.is_file()]
    assert not any(decision.package[:64] in file.read_bytes() for file in files)


def test_what_was_acknowledged_survives_a_kill_and_is_repeated(deployment: Deployment, hub: Server) -> None:
    hub.start()
    request = ask(deployment, START)
    with caller(deployment, POLICE) as police:
        police.disclosures.RequestDisclosure(request, timeout=10)
    hub.kill()
    hub.start()
    decision = decide(deployment, request)
    with caller(deployment, POLICE) as police, caller(deployment, NORTH) as north:
        assert police.disclosures.RequestDisclosure(request, timeout=10).repeated_request
        north.disclosures.DecideDisclosure(decision, timeout=10)
    hub.kill()
    hub.start()
    with caller(deployment, NORTH) as north, caller(deployment, POLICE) as police:
        assert north.disclosures.DecideDisclosure(decision, timeout=10).repeated_decision
        fetched = police.disclosures.FetchPackage(
            pb.FetchPackageRequest(request_id=statement_of(request).request_id), timeout=10
        )
    assert fetched.package == decision.package
