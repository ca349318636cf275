"""Cases while the hub is down, and when it is killed: deadlines are told once, acknowledged steps kept."""

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from signalexchange.v1.case_service_pb2 import EXPLANATION_OVERDUE, Case, GetCaseRequest, RecordStepRequest
from signalexchange.v1.log_entry_pb2 import CaseDeadlineEntry, EntryType
from signalexchange.v1.outcome_service_pb2 import VERDICT_INCONCLUSIVE
from signalexchange.v1.signal_service_pb2 import ACTION_AUTHENTICATE, ACTION_EXPLAIN, ACTION_RESTRICT

from exchange.provision import Deployment, Plan, provision
from tests.support.caller import Caller
from tests.support.cases import Desk, acknowledge_notice, action, close, opening
from tests.support.faults import Server
from tests.support.hub import hub_data, hub_server, new_mirror
from tests.support.members import DAY, caller
from tests.support.outcomes import START

KILLS = 6
SEED = 11
MEMBER = "bank-north"


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return provision(tmp_path / "deployment", Plan(types=("card",), clock=START))


@pytest.fixture
def hub(deployment: Deployment, tmp_path: Path) -> Iterator[Server]:
    server = hub_server(deployment, tmp_path / "hub.log")
    yield server
    server.close()


def take(member: Caller, desk: Desk, request: RecordStepRequest) -> Case:
    """Record a step."""
    answer = member.cases.RecordStep(request, timeout=10)
    desk.taken(request)
    case: Case = answer.case
    return case


def deadlines(deployment: Deployment) -> list[CaseDeadlineEntry]:
    mirror = new_mirror(deployment)
    with caller(deployment, "audit-one") as auditor:
        mirror.extend(auditor.log)
        opened = mirror.opened(auditor.log, mirror.of_type(EntryType.ENTRY_TYPE_CASE_DEADLINE))
        return [CaseDeadlineEntry.FromString(entry.payload) for entry in opened]


def test_a_deadline_that_passed_while_the_hub_was_down_is_told_once(
    deployment: Deployment, hub: Server
) -> None:
    hub.start()
    desk = Desk(deployment, MEMBER)
    due = START + 20 * DAY
    with caller(deployment, MEMBER) as member:
        take(member, desk, desk.write(opening()))
        take(member, desk, desk.write(action(ACTION_EXPLAIN, due)))
    hub.kill()
    (deployment.folder / "clock").write_text(f"{due + DAY}\n")
    for _ in range(2):  # and once more, for nothing
        hub.start()
        patience = time.monotonic() + 10
        while not (found := deadlines(deployment)):
            assert time.monotonic() < patience
            time.sleep(0.05)
        assert [(each.case_id, each.due, each.what) for each in found] == [(desk.case_id, due, "explanation")]
        with caller(deployment, MEMBER) as member:
            case = member.cases.GetCase(GetCaseRequest(case_id=desk.case_id), timeout=10).case
            assert case.state.explanation == EXPLANATION_OVERDUE
        hub.kill()
    hub.start()
    with caller(deployment, MEMBER) as member:
        case = take(member, desk, desk.write(action(ACTION_RESTRICT)))
        assert case.state.measure == ACTION_RESTRICT
    assert len(deadlines(deployment)) == 1


def test_every_acknowledged_step_is_there_exactly_once_after_kills(
    deployment: Deployment, hub: Server
) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeats
    desk = Desk(deployment, MEMBER)
    hub.start()
    with caller(deployment, MEMBER) as member:
        take(member, desk, desk.write(opening()))
    for _ in range(KILLS):
        killer = threading.Timer(chance.uniform(0.0, 0.05), hub.kill)
        with caller(deployment, MEMBER) as member:
            killer.start()
            request = desk.write(action(ACTION_AUTHENTICATE))
            try:
                while True:
                    take(member, desk, request)
                    request = desk.write(action(ACTION_AUTHENTICATE))
            except grpc.RpcError:
                pass  # the step in hand was recorded, or it wasn't
        killer.join()
        hub.start()
        with caller(deployment, MEMBER) as member:
            case = take(member, desk, request)  # sent again, it is the same step
            assert len(case.steps) == desk.sequence
    mirror = new_mirror(deployment)
    with caller(deployment, "audit-one") as auditor:
        mirror.extend(auditor.log)
        assert len(mirror.of_type(EntryType.ENTRY_TYPE_CASE)) == desk.sequence


def test_what_an_acknowledged_erasure_erased_is_in_no_file(deployment: Deployment, hub: Server) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeats
    for _ in range(KILLS):
        hub.start()
        desk = Desk(deployment, MEMBER)
        secret = os.urandom(32)
        step = acknowledge_notice()
        step["acknowledge_notice"].notice.digest = secret
        with caller(deployment, MEMBER) as member:
            take(member, desk, desk.write(opening()))
            take(member, desk, desk.write(step))
            take(member, desk, desk.write(close(VERDICT_INCONCLUSIVE)))
            assert _held(deployment, secret)
            order = desk.erasure()
            killer = threading.Timer(chance.uniform(0.0, 0.008), hub.kill)
            killer.start()
            try:
                member.cases.EraseCase(order, timeout=10)
            except grpc.RpcError:
                pass
            else:
                assert not _held(deployment, secret)
            killer.join()
        hub.start()
        with caller(deployment, MEMBER) as member:
            member.cases.EraseCase(order, timeout=10)
            assert not _held(deployment, secret)
        hub.kill()


def _held(deployment: Deployment, secret: bytes) -> bool:
    files = [each for each in hub_data(deployment).iterdir() if each.is_file()]
    return any(secret in file.read_bytes() for file in files)
