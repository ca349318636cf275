"""The door: rules for every method, limits, request ids, malformed bytes, logs without content."""

import asyncio
import functools
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from signalexchange.rulebook import Rate, Rulebook, default_text
from signalexchange.v1 import (
    case_service_pb2,
    disclosure_service_pb2,
    match_service_pb2,
    membership_service_pb2,
    notice_service_pb2,
    outcome_service_pb2,
    signal_service_pb2,
    token_service_pb2,
    transparency_service_pb2,
)
from signalexchange.v1.log_entry_pb2 import RefusalEntry
from signalexchange.v1.transparency_service_pb2 import GetCheckpointRequest, OpenEntriesRequest

from exchange.server import app, interceptor, services
from exchange.server.access import EVERYBODY, MEMBERS, RULES
from exchange.usecases import writer
from tests.support.exchange import Running, deploy, refused, serving
from tests.support.members import look_up, signal

NORTH, AUDITOR, OPERATOR, POLICE = "bank-north", "audit-one", "operator", "police-one"
SERVICES = [
    module.DESCRIPTOR.services_by_name[name]
    for module, name in (
        (signal_service_pb2, "SignalService"),
        (transparency_service_pb2, "TransparencyService"),
        (membership_service_pb2, "MembershipService"),
        (match_service_pb2, "MatchService"),
        (outcome_service_pb2, "OutcomeService"),
        (case_service_pb2, "CaseService"),
        (disclosure_service_pb2, "DisclosureService"),
        (notice_service_pb2, "NoticeService"),
        (token_service_pb2, "TokenService"),
        (health_pb2, "Health"),
        (reflection_pb2, "ServerReflection"),
    )
]
METHODS = {f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path)) as running:
        yield running


def as_any(value: Any) -> Any:
    return value


def limited(**changes: Any) -> str:
    rulebook = Rulebook.parse(default_text())
    return rulebook.model_copy(update={"limits": rulebook.limits.model_copy(update=changes)}).text()


def test_every_method_has_a_rule_and_every_rule_a_method() -> None:
    assert RULES.keys() == METHODS
    assert all(rule.kinds <= EVERYBODY for rule in RULES.values())
    shares = {name for name, rule in RULES.items() if rule.kinds == MEMBERS}
    assert {name for name in METHODS if "SignalService" in name} <= shares


async def test_a_method_without_a_rule_is_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = "/signalexchange.v1.TransparencyService/GetCheckpoint"
    rules = {name: rule for name, rule in RULES.items() if name != method}
    gate = functools.partial(interceptor.Gate, rules=rules)
    monkeypatch.setattr(app, "Gate", gate)
    async with serving(deploy(tmp_path)) as hub:
        refusal = await refused(hub[NORTH].log.GetCheckpoint(GetCheckpointRequest()))
        assert refusal.reason == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize("party", [AUDITOR, OPERATOR, POLICE])
async def test_who_shares_nothing_asks_nothing(hub: Running, party: str) -> None:
    refusal = await refused(hub[party].signals.LookUpSubjects(look_up([os.urandom(32)])))
    assert refusal.reason == "METHOD_NOT_ALLOWED"
    stream = hub[party].signals.WatchSignals(signal_service_pb2.WatchSignalsRequest())
    assert (await refused(stream.read())).reason == "METHOD_NOT_ALLOWED"


async def test_malformed_bytes_are_the_callers_fault_for_every_method(hub: Running) -> None:
    for method in sorted(name for name in METHODS if "TokenService" not in name and "reflection" not in name):
        kinds = RULES[method].kinds
        service = hub[NORTH if "bank" in kinds else OPERATOR if "operator" in kinds else POLICE]
        raw: Any = service.channel.unary_unary(method)
        assert (await refused(raw(b"\xff\xff\xff", timeout=10))).reason == "MALFORMED", method


async def test_request_ids_go_through(hub: Running) -> None:
    call = hub[NORTH].log.GetCheckpoint(GetCheckpointRequest(), metadata=(("x-request-id", "mine-42"),))
    await call
    assert ("x-request-id", "mine-42") in list(await call.trailing_metadata())
    call = hub[NORTH].log.GetCheckpoint(GetCheckpointRequest(), metadata=(("x-request-id", "not ok!"),))
    await call
    trailers = dict(list(await call.trailing_metadata()))
    assert trailers["x-request-id"] != "not ok!"
    assert {event["request_id"] for event in hub.events() if event["event"] == "call"} >= {
        "mine-42",
        trailers["x-request-id"],
    }


async def test_rate_limits_say_when_to_come_again_and_are_logged_in_aggregate(tmp_path: Path) -> None:
    rulebook = limited(calls=Rate(per_second=1, burst=5), refusals_per_minute=3)
    start = 1_500_000_000
    deployment = deploy(tmp_path, rulebook=rulebook, clock=start)
    async with serving(deployment) as hub:
        size = hub.hub._exchange.writer.head.tree.size
        outcomes = []
        for _ in range(25):
            try:
                await hub[NORTH].log.GetCheckpoint(GetCheckpointRequest())
            except grpc.aio.AioRpcError as error:
                outcomes.append(error)
        assert 15 <= len(outcomes) <= 20
        refusal = await refused(hub[NORTH].log.GetCheckpoint(GetCheckpointRequest()))
        assert refusal.reason == "RATE_LIMITED"
        assert refusal.retry_after is not None
        assert 0 < refusal.retry_after <= 1
        assert hub.hub._exchange.writer.head.tree.size == size + 3
        # Another member is not held up.
        await hub[AUDITOR].log.GetCheckpoint(GetCheckpointRequest())
        deployment.clock.write_text(str(start + 60))
        for _ in range(60):
            if hub.hub._exchange.writer.head.tree.size > size + 3:
                break
            await asyncio.sleep(0.1)
        entries = (
            await hub[AUDITOR].log.OpenEntries(OpenEntriesRequest(indices=[*range(size, size + 4)]))
        ).entries
        counts = [RefusalEntry.FromString(entry.payload).count for entry in entries]
        assert counts == [1, 1, 1, len(outcomes) + 1 - 3]


async def test_look_ups_are_limited_by_tokens(tmp_path: Path) -> None:
    async with serving(deploy(tmp_path, rulebook=limited(look_ups=Rate(per_second=1, burst=1000)))) as hub:
        await hub[NORTH].signals.LookUpSubjects(look_up([os.urandom(32) for _ in range(900)]))
        refusal = await refused(
            hub[NORTH].signals.LookUpSubjects(look_up([os.urandom(32) for _ in range(200)]))
        )
        assert refusal.reason == "RATE_LIMITED"
        await hub[NORTH].signals.PublishSignals(hub.pen(NORTH).batch([signal()]))


async def test_too_much_at_once_is_refused_and_look_ups_keep_their_share(hub: Running) -> None:
    pending = hub.hub._exchange.writer
    pending._pending += writer.CAPACITY // 2
    try:
        batch = hub.pen(NORTH).batch([signal()])
        refusal = await refused(hub[NORTH].signals.PublishSignals(batch))
        assert refusal.reason == "OVERLOADED"
        assert refusal.retry_after
        await hub[NORTH].signals.LookUpSubjects(look_up([os.urandom(32)]))
    finally:
        pending._pending -= writer.CAPACITY // 2
    await hub[NORTH].signals.PublishSignals(batch)


async def test_health_and_reflection(tmp_path: Path) -> None:
    start = 1_500_000_000
    async with serving(deploy(tmp_path, clock=start)) as hub:
        health: Any = health_pb2_grpc.HealthStub(hub[AUDITOR].channel)
        for service in ("", "signalexchange.v1.SignalService", "replay"):
            status = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert status.status == health_pb2.HealthCheckResponse.SERVING
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(as_any(hub[AUDITOR].channel))
        stream = reflection.ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stream.read()
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_reflection_where_it_is_configured(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    text = deployment.hub_config.read_text()
    deployment.hub_config.write_text("reflection = true\n" + text)
    async with serving(deployment) as hub:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(as_any(hub[NORTH].channel))
        stream = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        answer = await stream.read()
        names = {service.name for service in answer.list_services_response.service}
        assert "signalexchange.v1.SignalService" in names
        stream.cancel()


async def test_nothing_internal_leaks_and_the_log_has_no_content(
    hub: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = os.urandom(32)

    async def explode(*_: object) -> None:
        raise RuntimeError(f"secret {secret.hex()}")

    monkeypatch.setattr(services, "look_up", explode)
    refusal = await refused(hub[NORTH].signals.LookUpSubjects(look_up([secret])))
    assert refusal.reason == "INTERNAL"
    assert secret.hex() not in refusal.message
    (line,) = [event for event in hub.events() if event["event"] == "unexpected"]
    assert line["error"] == "RuntimeError"
    assert line["request_id"] in refusal.message
    output = hub.output.getvalue()
    assert secret.hex().encode() not in output
    assert secret not in output


async def test_a_call_without_a_deadline_gets_one(hub: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stuck(*_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(services, "look_up", stuck)
    monkeypatch.setattr(interceptor, "DEADLINE", 0.2)
    refusal = await refused(hub[NORTH].signals.LookUpSubjects(look_up([os.urandom(32)])))
    assert refusal.reason == "DEADLINE_EXCEEDED"
