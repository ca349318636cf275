"""The hub is killed between taking evidence and storing what matching made of it: nothing is lost or doubled.

Three members report loops; the kill comes at a random moment after the last acknowledgement, or in the middle
of an erasure. After each start every loop reported so far is in one match, under the id it was first told by.
"""

import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from signalexchange.v1.match_service_pb2 import MATCH_STATUS_OPEN, ListMatchesRequest, Match
from signalexchange.v1.signal_pb2 import WITHDRAWAL_REASON_ERASURE

from exchange.provision import Deployment, Plan, provision
from tests.support.caller import Caller
from tests.support.faults import Server
from tests.support.hub import hub_database, hub_server
from tests.support.loops import TYPES, Loop
from tests.support.match_members import LENDER, REPORTERS
from tests.support.members import caller, pen

KILLS = 12
SEED = 20_260_802
LATEST = 0.03
"""Seconds after the last acknowledgement at which the kill comes at the latest."""
PATIENCE = 10.0


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return provision(tmp_path / "deployment", Plan(types=TYPES))


@pytest.fixture
def hub(deployment: Deployment, tmp_path: Path) -> Iterator[Server]:
    server = hub_server(deployment, tmp_path / "hub.log")
    try:
        yield server
    finally:
        server.close()


def report(deployment: Deployment, loop: Loop) -> list[bytes]:
    """What each member says, acknowledged; the ids."""
    signals = [loop.purchase(), loop.settlement(), loop.backflow()]
    for member, signal in zip(REPORTERS, signals, strict=True):
        with caller(deployment, member) as each:
            each.signals.PublishSignals(pen(deployment, member).batch([signal]), timeout=10)
    return [signal.signal_id for signal in signals]


def listed(lender: Caller) -> dict[bytes, Match]:
    """Open matches by the token of their payer."""
    request = ListMatchesRequest(page_size=100, status=MATCH_STATUS_OPEN)
    found = {}
    for match in lender.matches.ListMatches(request, timeout=10).matches:
        (payer,) = [each.token.value for each in match.subjects if each.part == 1]
        assert payer not in found, "a loop is in two matches"
        found[payer] = match
    return found


def test_no_evidence_is_lost_and_no_match_is_told_twice(deployment: Deployment, hub: Server) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable
    told: dict[bytes, bytes] = {}
    for _ in range(KILLS):
        hub.start()
        loop = Loop()
        report(deployment, loop)
        time.sleep(chance.uniform(0, LATEST))
        hub.kill()
        hub.start()
        told[loop.payer.value] = b""
        with caller(deployment, LENDER) as lender:
            deadline = time.monotonic() + PATIENCE
            while (found := listed(lender)).keys() != told.keys():
                assert time.monotonic() < deadline, f"{len(found)} of {len(told)} loops are in matches"
                time.sleep(0.05)
        for payer, match in found.items():
            assert told[payer] in (b"", match.match_id), "a match has come back under another id"
            told[payer] = match.match_id
        hub.kill()


def test_an_erasure_that_was_answered_has_left_no_token_in_matches(
    deployment: Deployment, hub: Server
) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable
    for _ in range(KILLS // 2):
        hub.start()
        loop = Loop()
        ids = report(deployment, loop)
        order = pen(deployment, LENDER).withdrawal(ids[:1], WITHDRAWAL_REASON_ERASURE)
        with caller(deployment, LENDER) as lender:
            started = lender.signals.WithdrawSignals.future(order, timeout=10)
            time.sleep(chance.uniform(0, LATEST))
            hub.kill()
            try:
                started.result()
                answered = True
            except grpc.RpcError:
                answered = False
        if not answered:
            hub.start()
            with caller(deployment, LENDER) as lender:
                lender.signals.WithdrawSignals(order, timeout=10)
            hub.kill()
        database = sqlite3.connect(hub_database(deployment))
        held = "SELECT count(*) FROM match_instances WHERE instr(body, ?) > 0"
        for token in loop.tokens:
            assert database.execute(held, (token,)).fetchone() == (0,), answered
        database.close()
