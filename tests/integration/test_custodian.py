"""A custodian over mTLS: what it answers, what it refuses, and that a refusal costs nothing."""

import asyncio
import io
import signal
import sys
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiosqlite
import grpc
import pytest
from grpc_health.v1 import health_pb2
from signalexchange import ristretto, voprf
from signalexchange.config import load_config as load_member
from signalexchange.errors import (
    ConfigError,
    CustodianError,
    InvalidIdentifierError,
    RefusedError,
    VerificationError,
)
from signalexchange.note import sign_note
from signalexchange.roster import Roster, sign_roster
from signalexchange.rpc_errors import refusal_from
from signalexchange.token_cache import TokenCache
from signalexchange.token_client import TokenClient, fetch_manifest
from signalexchange.v1.error_reason_pb2 import ErrorReason

from exchange.custodian.config import load_config
from exchange.custodian.evaluator import Evaluator
from exchange.custodian.process import Custodian
from exchange.domain.refusal import Refusal
from exchange.provision import Deployment
from exchange.server.telemetry import Log
from tests.support.custodians import (
    CARD,
    DAY,
    NAMES,
    NOW,
    PHONE,
    ROTATE,
    Network,
    config_of,
    deploy,
    evaluate,
    manifest_of,
    network,
    phones,
    roster_of,
)

POINT = voprf.blind(b"a point")[1]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    epochs = {1: (NOW - DAY, NOW + 100 * DAY), 2: (NOW + 200 * DAY, NOW + 300 * DAY)}
    return deploy(tmp_path_factory.mktemp("custodians"), epochs=epochs)


@pytest.fixture
async def net(deployment: Deployment) -> AsyncIterator[Network]:
    async with network(deployment) as running:
        yield running


async def refusal(channel: grpc.aio.Channel, elements: list[bytes], **changes: Any) -> RefusedError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await evaluate(channel, elements, **changes)
    return refusal_from(caught.value)


async def test_members_get_the_same_tokens_from_any_custodians(net: Network) -> None:
    raw = ["+86 138 0000 0000", "+8613800000001", "+8613800000000"]
    first = await net.client("bank-north", NAMES[:2]).tokens(PHONE, 1, raw)
    second = await net.client("shop-river", NAMES[1:]).tokens(PHONE, 1, raw)
    assert first == second
    assert first[0] == first[2] != first[1]
    cards = await net.client("pay-lotus").tokens(CARD, 1, ["4111111111111111"])
    assert cards[0].value not in {token.value for token in first}


async def test_more_than_a_batch_with_progress(net: Network) -> None:
    seen: list[tuple[int, int]] = []
    tokens = await net.client().tokens(
        PHONE, 1, phones(1_203), on_progress=lambda done, total: seen.append((done, total))
    )
    assert len({token.value for token in tokens}) == 1_203
    assert seen[-1] == (1_203, 1_203)
    assert len(seen) == 2


async def test_the_cache_spares_the_budget(net: Network, deployment: Deployment) -> None:
    cache = TokenCache()
    client = TokenClient(roster_of(deployment), manifest_of(deployment), net.channels(), cache=cache)
    first = await client.tokens(PHONE, 1, phones(5))
    for name in NAMES:
        await net.stop(name)
    assert await client.tokens(PHONE, 1, phones(5)) == first
    with pytest.raises(CustodianError):
        await client.tokens(PHONE, 1, phones(6))


async def test_nothing_to_do_asks_nobody(net: Network) -> None:
    assert await net.client().tokens(PHONE, 1, []) == []


async def test_an_invalid_identifier_is_named_by_its_place(net: Network) -> None:
    with pytest.raises(InvalidIdentifierError, match=r"value 2") as caught:
        await net.client().tokens(PHONE, 1, [*phones(2), "13800138000"])
    assert "138001" not in str(caught.value)


async def test_an_unknown_epoch_is_refused_before_asking(net: Network) -> None:
    with pytest.raises(VerificationError, match="no phone key of epoch 9"):
        await net.client().tokens(PHONE, 9, phones(1))


async def test_an_unreachable_custodian_is_named_and_the_next_asked(net: Network) -> None:
    await net.stop(NAMES[0])
    client = net.client()
    assert len(await client.tokens(PHONE, 1, phones(2, 50))) == 2
    assert client.failures.keys() == {NAMES[0]}
    await net.stop(NAMES[1])
    with pytest.raises(CustodianError) as caught:
        await net.client().tokens(PHONE, 1, phones(2, 60))
    assert caught.value.failures.keys() == {NAMES[0], NAMES[1]}


async def test_the_manifest_comes_from_any_custodian(net: Network, deployment: Deployment) -> None:
    channels = net.channels("audit-one")
    assert await fetch_manifest(roster_of(deployment), channels) == manifest_of(deployment)
    await net.stop(NAMES[0])
    assert await fetch_manifest(roster_of(deployment), channels) == manifest_of(deployment)


def test_channels_must_be_to_custodians(deployment: Deployment) -> None:
    roster, manifest = roster_of(deployment), manifest_of(deployment)
    with pytest.raises(ConfigError, match="not a custodian"):
        TokenClient(roster, manifest, {"custodian-x": None})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="need 2 custodians"):
        TokenClient(roster, manifest, {})


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"type": 0}, "INVALID_REQUEST", "type"),
        ({"type": 77}, "INVALID_REQUEST", "type"),
        ({"purpose": 0}, "INVALID_REQUEST", "purpose"),
        ({"purpose": 9}, "INVALID_REQUEST", "purpose"),
        ({"blinded_elements": []}, "INVALID_REQUEST", "blinded_elements"),
        ({"blinded_elements": [POINT] * 1_001}, "INVALID_REQUEST", "blinded_elements"),
        ({"blinded_elements": [POINT, ristretto.IDENTITY]}, "INVALID_REQUEST", "blinded_elements[1]"),
        ({"blinded_elements": [b"\xff" * 32]}, "INVALID_REQUEST", "blinded_elements[0]"),
        ({"blinded_elements": [POINT[:31]]}, "INVALID_REQUEST", "blinded_elements[0]"),
        ({"epoch": 9}, "EPOCH_NOT_VALID", ""),
        ({"epoch": 2}, "EPOCH_NOT_VALID", ""),  # not yet
        ({"type": 4}, "EPOCH_NOT_VALID", ""),  # no key of that type
        ({"generation": 2}, "GENERATION_UNKNOWN", ""),
        ({"purpose": ROTATE}, "NO_ROTATION", ""),
    ],
)
async def test_refusals(net: Network, changes: dict[str, Any], reason: str, field: str) -> None:
    elements = changes.pop("blinded_elements", [POINT])
    found = await refusal(net.channel(NAMES[0]), elements, **changes)
    assert found.reason == reason
    assert [name for name, _ in found.violations] == ([field] if field else [])


async def test_a_thousand_bad_points_are_counted_and_32_listed(net: Network) -> None:
    found = await refusal(net.channel(NAMES[0]), [b"x"] * 1_000)
    assert (len(found.violations), found.metadata["violations_total"]) == (32, "1000")


@pytest.mark.parametrize("party", ["audit-one", "operator"])
async def test_only_members_may_evaluate(net: Network, party: str) -> None:
    assert (await refusal(net.channel(NAMES[0], party), [POINT])).reason == "METHOD_NOT_ALLOWED"


async def test_a_custodian_is_no_member(net: Network, deployment: Deployment) -> None:
    tls = load_config(deployment.custodian_config(NAMES[1])).tls
    credentials = grpc.ssl_channel_credentials(
        tls.ca.read_bytes(), tls.key.read_bytes(), tls.certificate.read_bytes()
    )
    async with grpc.aio.secure_channel(f"127.0.0.1:{net.ports[NAMES[0]]}", credentials) as channel:
        assert (await refusal(channel, [POINT])).reason == "NOT_ENROLLED"


async def test_refusals_cost_nothing_and_the_rest_is_what_was_left(tmp_path: Path) -> None:
    async with network(deploy(tmp_path, per_day=20), NAMES[:1]) as net:
        channel = net.channel(NAMES[0])
        for elements, changes in (
            ([b"\xff" * 32] * 10, {}),
            ([POINT] * 10, {"generation": 2}),
            ([POINT] * 11, {}),
        ):
            await refusal(channel, elements, **changes)
        await evaluate(channel, [POINT] * 7)
        found = await refusal(channel, [POINT] * 4)
        assert found.reason == "BUDGET_EXHAUSTED"
        assert found.metadata["budget"] == "day"
        assert (found.metadata["allowed"], found.metadata["remaining"]) == ("10", "3")
        assert found.retry_after == pytest.approx(DAY - NOW % DAY)
        await evaluate(channel, [POINT] * 3)
        assert (await refusal(channel, [POINT])).metadata["remaining"] == "0"
        # Another group, another type, another day: each has its own.
        await evaluate(net.channel(NAMES[0], "bank-south"), [POINT] * 10)
        await evaluate(channel, [POINT] * 10, type=CARD)
        net.deployment.clock.write_text(str(NOW + DAY))
        await evaluate(channel, [POINT] * 10)


async def test_an_epoch_holds_the_declared_customers_and_a_fifth(tmp_path: Path) -> None:
    async with network(deploy(tmp_path, per_day=1_000, customers=10), NAMES[:1]) as net:
        channel = net.channel(NAMES[0])
        await evaluate(channel, [POINT] * 6)  # ⌊10 × 1.2⌋ × (2 − 1) ÷ (3 − 1)
        found = await refusal(channel, [POINT])
        assert (found.reason, found.metadata["budget"]) == ("BUDGET_EXHAUSTED", "epoch")
        assert found.retry_after is None


async def test_rotation_has_an_allowance_of_its_own_during_overlap(tmp_path: Path) -> None:
    epochs = {1: (NOW - DAY, NOW + 10 * DAY), 2: (NOW - 1, NOW + 100 * DAY)}
    async with network(deploy(tmp_path, per_day=4, customers=10, epochs=epochs), NAMES[:1]) as net:
        channel = net.channel(NAMES[0])
        assert (await refusal(channel, [POINT], epoch=1, purpose=ROTATE)).reason == "NO_ROTATION"
        await evaluate(channel, [POINT] * 6, epoch=2, purpose=ROTATE)
        found = await refusal(channel, [POINT], epoch=2, purpose=ROTATE)
        assert (found.reason, found.metadata["budget"]) == ("BUDGET_EXHAUSTED", "rotation")
        await evaluate(channel, [POINT] * 2, epoch=2)
        net.deployment.clock.write_text(str(NOW + 10 * DAY))
        assert (await refusal(channel, [POINT], epoch=2, purpose=ROTATE)).reason == "NO_ROTATION"
        assert (await refusal(channel, [POINT], epoch=1)).reason == "EPOCH_NOT_VALID"


async def test_simultaneous_requests_do_not_overshoot(tmp_path: Path) -> None:
    async with network(deploy(tmp_path, per_day=100), NAMES[:1]) as net:
        channels = [net.channel(NAMES[0]) for _ in range(4)]
        outcomes = await asyncio.gather(
            *(evaluate(channels[number % 4], [POINT] * 7) for number in range(20)), return_exceptions=True
        )
        answered = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        assert len(answered) == 7  # ⌊50 ÷ 7⌋
        assert {refusal_from(o).reason for o in outcomes if isinstance(o, grpc.aio.AioRpcError)} == {
            "BUDGET_EXHAUSTED"
        }


async def test_what_can_not_be_charged_is_not_evaluated(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    async with network(deployment, NAMES[:1]) as net:
        async with aiosqlite.connect(config_of(deployment, NAMES[0]).data_dir / "budgets.db") as db:
            await db.execute("DROP TABLE charge")
            await db.commit()
        found = await refusal(net.channel(NAMES[0]), [POINT])
        assert (found.status, found.reason) == ("UNAVAILABLE", "UNAVAILABLE")
        assert "charge" not in found.message.replace("can't be charged", "")


async def test_too_much_at_once_is_refused_before_it_is_charged() -> None:
    evaluator = Evaluator(max_pending=10)
    try:
        with evaluator.admit(8):
            with pytest.raises(Refusal) as caught, evaluator.admit(3):
                pass
            assert caught.value.reason == ErrorReason.ERROR_REASON_OVERLOADED
            assert caught.value.retry_after is not None
            with evaluator.admit(2):
                pass
        with evaluator.admit(10):
            pass
    finally:
        evaluator.close()


async def test_health_and_logs(net: Network) -> None:
    check = net.channel(NAMES[0]).unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    for service in ("", "signalexchange.v1.TokenService", "replay"):
        response = await check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        assert response.status == health_pb2.HealthCheckResponse.SERVING
    await evaluate(net.channel(NAMES[0]), [POINT] * 3)
    (line,) = [line for line in net.log_lines(NAMES[0]) if line.get("method", "").endswith("/Evaluate")]
    assert line["member"] == "bank-north"
    assert (line["type"], line["epoch"], line["points"], line["purpose"]) == ("phone", 1, 3, "tokenise")
    assert POINT.hex() not in net.logs[NAMES[0]].getvalue().decode()


def next_roster(deployment: Deployment, **changes: Any) -> bytes:
    roster = roster_of(deployment)
    fields = roster.model_dump(mode="json") | {
        "version": roster.version + 1,
        "previous": sha256(roster.text().encode()).hexdigest(),
        **changes,
    }
    return sign_roster(Roster.model_validate(fields), deployment.governance_signers())


async def reloaded(net: Network, name: str) -> dict[str, Any]:
    """Have a custodian read its files again and return what it said."""
    before = len([line for line in net.log_lines(name) if line["event"] == "reloaded"])
    net.custodians[name].reload()
    for _ in range(200):
        lines = [line for line in net.log_lines(name) if line["event"] == "reloaded"]
        if len(lines) > before:
            return lines[-1]
        await asyncio.sleep(0.02)
    raise AssertionError("not reloaded")


async def test_a_new_roster_version_counts_at_once(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    async with network(deployment, NAMES[:1]) as net:
        channel = net.channel(NAMES[0], "shop-river")
        await evaluate(channel, [POINT])
        parties = [
            p for p in roster_of(deployment).model_dump(mode="json")["parties"] if p["id"] != "shop-river"
        ]
        (deployment.rosters / "0002.note").write_bytes(next_roster(deployment, parties=parties))
        assert (await reloaded(net, NAMES[0]))["roster_version"] == 2
        assert (await refusal(channel, [POINT])).reason == "NOT_ENROLLED"
        await evaluate(net.channel(NAMES[0]), [POINT])


async def test_files_are_noticed_without_a_signal(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    async with network(deployment, NAMES[:1]) as net:
        (deployment.rosters / "0002.note").write_bytes(next_roster(deployment))
        for _ in range(100):
            if any(line.get("roster_version") == 2 for line in net.log_lines(NAMES[0])):
                return
            await asyncio.sleep(0.1)
        raise AssertionError("not noticed")


async def test_a_roster_that_its_quorum_did_not_sign_changes_nothing(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    async with network(deployment, NAMES[:1]) as net:
        forged = sign_note(
            next_roster(deployment).decode().partition("\n\n")[0] + "\n", deployment.governance_signers(1)
        )
        (deployment.rosters / "0002.note").write_bytes(forged)
        line = await reloaded(net, NAMES[0])
        assert line["roster_version"] == 1
        assert "0002.note" in line["problems"][0]
        await evaluate(net.channel(NAMES[0]), [POINT])


async def test_a_manifest_that_does_not_verify_changes_nothing(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    async with network(deployment, NAMES[:1]) as net:
        deployment.manifest.write_bytes(b"half a note")
        line = await reloaded(net, NAMES[0])
        assert line["manifest_version"] == 1
        assert line["problems"]
        await evaluate(net.channel(NAMES[0]), [POINT])


async def test_a_manifest_that_the_roster_left_behind_serves_nothing(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    async with network(deployment, NAMES[:1]) as net:
        custodians = roster_of(deployment).model_dump(mode="json")["custodians"]
        custodians[1]["key"] = custodians[2]["key"]
        custodians.pop()
        (deployment.rosters / "0002.note").write_bytes(next_roster(deployment, custodians=custodians))
        line = await reloaded(net, NAMES[0])
        assert (line["roster_version"], line["manifest_version"]) == (2, None)
        assert (await refusal(net.channel(NAMES[0]), [POINT])).reason == "UNAVAILABLE"


def broken(deployment: Deployment, what: str) -> None:
    home = deployment.custodian_config(NAMES[0]).parent
    shares = home / "shares.json"
    if what == "readable shares":
        shares.chmod(0o644)
    elif what == "other's shares":
        shares.write_bytes((home.parent / NAMES[1] / "shares.json").read_bytes())
    elif what == "altered share":
        lines = shares.read_text().splitlines(keepends=True)
        at = next(number for number, line in enumerate(lines) if '"share": "' in line)
        lines[at] = '      "share": "' + "01" * 31 + '00",\n'
        shares.write_text("".join(lines))
    elif what == "no shares":
        shares.write_text('{"shares": []}')
    elif what == "unsigned manifest":
        deployment.manifest.write_bytes(deployment.manifest.read_bytes().partition(b"\n\n")[0] + b"\n")
    elif what == "no roster":
        deployment.genesis.unlink()
    elif what == "bad roster":
        deployment.genesis.write_bytes(b"no note")
    elif what == "another's key":
        (home / "tls.key").write_bytes((home.parent / NAMES[1] / "tls.key").read_bytes())
    elif what == "no certificate":
        (home / "tls.pem").unlink()
    elif what == "other budgets":
        (home / "data").mkdir()
        (home / "data" / "budgets.db").write_bytes(b"x" * 4096)


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("readable shares", "shares: .*shares.json: the key shares may be read"),
        ("other's shares", "shares: .*shares.json: not a share file of custodian"),
        ("altered share", "shares: .*shares.json: phone, epoch 1"),
        ("no shares", "shares: .*shares.json: "),
        ("unsigned manifest", "manifest: .*manifest.note: "),
        ("no roster", "roster: .*0001.note: "),
        ("bad roster", "roster: .*rosters: "),
        ("another's key", "tls.key: .*tls.key: not the key of the certificate"),
        ("no certificate", "tls.certificate: .*tls.pem: "),
        ("other budgets", "data_dir: .*budgets.db: "),
    ],
)
async def test_what_keeps_a_custodian_from_starting_is_named(tmp_path: Path, what: str, named: str) -> None:
    deployment = deploy(tmp_path)
    broken(deployment, what)
    with pytest.raises(ConfigError, match=f"^{named}"):
        await Custodian.start(config_of(deployment, NAMES[0]), Log("custodian", io.BytesIO()))


async def test_a_custodian_that_is_not_on_the_roster_does_not_start(tmp_path: Path) -> None:
    config = config_of(deploy(tmp_path), NAMES[0]).model_copy(update={"custodian": "nobody"})
    with pytest.raises(ConfigError, match=r"^custodian: .*rosters: the roster has no custodian nobody"):
        await Custodian.start(config, Log("custodian", io.BytesIO()))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("listen = 5", "listen"),
        ("listen = 'nowhere'", "listen"),
        ("nonsense = 1", "nonsense"),
        ("not toml", "not a TOML file"),
        ("[tls]\ncertificate = 'x'", "tls.key"),
    ],
)
def test_configuration_errors_name_the_key(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "custodian.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named):
        load_config(path)
    with pytest.raises(ConfigError, match="can't read"):
        load_config(tmp_path / "missing.toml")


async def test_the_process_drains_on_sigterm_and_keeps_its_budgets_through_sigkill(tmp_path: Path) -> None:
    deployment = deploy(tmp_path, per_day=40)
    code = (
        "import asyncio, pathlib, sys\n"
        "from exchange.custodian.config import load_config\n"
        "from exchange.custodian.process import serve\n"
        "asyncio.run(serve(load_config(pathlib.Path(sys.argv[1]))))\n"
    )
    tls = load_member(deployment.party_config("bank-north")).tls.files

    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            str(deployment.custodian_config(NAMES[0])),
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def ask(count: int) -> int:
        target = f"127.0.0.1:{deployment.custodian_ports[NAMES[0]]}"
        async with grpc.aio.secure_channel(target, tls.load()) as channel:
            await asyncio.wait_for(channel.channel_ready(), 20)
            return len((await evaluate(channel, [POINT] * count)).evaluated_elements)

    process = await start()
    try:
        assert await ask(15) == 15
        process.kill()
        await process.wait()
        process = await start()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(6)
        assert refusal_from(caught.value).metadata["remaining"] == "5"
        assert await ask(5) == 5
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
