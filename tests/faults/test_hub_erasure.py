"""An erasure cut off by a kill: once the order is acknowledged, even on repetition, the content is gone."""

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from signalexchange.v1.signal_pb2 import WithdrawalReason

from exchange.provision import Deployment, Plan, provision
from tests.support.faults import Server
from tests.support.hub import hub_data, hub_server
from tests.support.members import caller, pen, signal

KILLS = 12
SEED = 7
MEMBER = "bank-north"
ERASURE = WithdrawalReason.WITHDRAWAL_REASON_ERASURE


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return provision(tmp_path / "deployment", Plan(types=("card",)))


@pytest.fixture
def hub(deployment: Deployment, tmp_path: Path) -> Iterator[Server]:
    server = hub_server(deployment, tmp_path / "hub.log")
    yield server
    server.close()


def _holds(deployment: Deployment, secret: bytes) -> bool:
    files = [each for each in hub_data(deployment).iterdir() if each.is_file()]
    return any(secret in file.read_bytes() for file in files)


def test_an_order_repeated_after_a_kill_leaves_no_content(deployment: Deployment, hub: Server) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeats
    mine = pen(deployment, MEMBER)
    cut_off = 0
    for _ in range(KILLS):
        hub.start()
        secrets = [os.urandom(500) for _ in range(5)]
        signals = [signal(sealed_detail=secret) for secret in secrets]
        order = mine.withdrawal([each.signal_id for each in signals], ERASURE)
        with caller(deployment, MEMBER) as member:
            member.signals.PublishSignals(mine.batch(signals), timeout=10)
            assert all(_holds(deployment, secret) for secret in secrets)
            killer = threading.Timer(chance.uniform(0.0, 0.008), hub.kill)
            killer.start()
            try:
                member.signals.WithdrawSignals(order, timeout=10)
            except grpc.RpcError:
                cut_off += 1
            else:
                assert not any(_holds(deployment, secret) for secret in secrets)
            killer.join()
        hub.start()
        with caller(deployment, MEMBER) as member:
            member.signals.WithdrawSignals(order, timeout=10)
            assert not any(_holds(deployment, secret) for secret in secrets)
        hub.kill()
    assert cut_off
