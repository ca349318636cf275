"""Who is let in: a certificate of the authority with one SPIFFE URI, enrolled, not suspended nor expired."""

import datetime
import secrets
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from google.protobuf import descriptor_pool
from signalexchange.v1 import (
    case_service_pb2,
    membership_service_pb2,
    signal_service_pb2,
    transparency_service_pb2,
)
from signalexchange.v1.log_entry_pb2 import EntryType, SuspensionEntry
from signalexchange.v1.membership_service_pb2 import GetRosterRequest, SuspendMemberRequest
from signalexchange.v1.signal_service_pb2 import WatchSignalsRequest
from signalexchange.v1.transparency_service_pb2 import GetCheckpointRequest
from signalexchange.v1.transparency_service_pb2_grpc import TransparencyServiceStub

from exchange.pki import Authority
from exchange.provision import Deployment, Plan
from tests.support.caller import Caller, Refused, read_refusal, refused, status_of
from tests.support.certificates import forge
from tests.support.hub import new_mirror, running_hub
from tests.support.members import caller, configuration, look_up, pen, signal, subject

NORTH = "spiffe://exchange.test/party/bank-north"

# Who may call what, as the comments of the contract say.
MEMBERS = {"bank", "ecommerce", "payment_provider"}
EVERYBODY = MEMBERS | {"auditor", "operator", "law_enforcement"}
ALLOWED = {
    "SignalService": dict.fromkeys(
        (
            "PublishSignals",
            "WithdrawSignals",
            "LookUpSubjects",
            "Subscribe",
            "Unsubscribe",
            "WatchSignals",
        ),
        MEMBERS,
    ),
    "TransparencyService": dict.fromkeys(
        ("GetCheckpoint", "GetInclusionProof", "GetConsistencyProof", "ListLeaves", "OpenEntries"), EVERYBODY
    ),
    "CaseService": dict.fromkeys(
        ("RecordStep", "GetCase", "ListCases", "WatchCases", "EraseCase", "AcknowledgeCorrections"), MEMBERS
    ),
    "MembershipService": {
        "GetRoster": EVERYBODY,
        "ProposeRosterVersion": {"operator"},
        "SuspendMember": {"operator"},
    },
}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with running_hub(tmp_path_factory.mktemp("identity"), Plan(types=("card",))) as running:
        yield running


def connect(deployment: Deployment, certificate: Path | None, key: Path | None) -> Caller:
    config = configuration(deployment, "bank-north")
    return Caller(config.hub.target, certificate=certificate, key=key, ca=config.tls.ca)


def outcome(one: Caller) -> Refused:
    return refused(one.log.GetCheckpoint, GetCheckpointRequest(), timeout=10)


def uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


def handshake_fails(one: Caller) -> None:
    """TLS itself refuses: the hub's code never sees the call."""
    with pytest.raises(grpc.RpcError) as caught:
        one.log.GetCheckpoint(GetCheckpointRequest(), timeout=10)
    assert status_of(caught.value) == "UNAVAILABLE"


def test_a_party_that_is_enrolled_is_answered(deployment: Deployment) -> None:
    with caller(deployment, "bank-north") as north:
        assert north.log.GetCheckpoint(GetCheckpointRequest(), timeout=10).checkpoint


def test_law_enforcement_is_answered_what_everybody_may_ask_and_nothing_else(deployment: Deployment) -> None:
    """It asks members, under a named instrument, never the hub for what members said."""
    with caller(deployment, "police-one") as police:
        assert police.log.GetCheckpoint(GetCheckpointRequest(), timeout=10).checkpoint
        assert police.membership.GetRoster(GetRosterRequest(from_version=1), timeout=10).versions
        refusal = refused(police.signals.LookUpSubjects, look_up([secrets.token_bytes(32)]), timeout=10)
        assert refusal.reason == "METHOD_NOT_ALLOWED"


def test_without_a_certificate_there_is_no_connection(deployment: Deployment) -> None:
    with connect(deployment, None, None) as nobody:
        handshake_fails(nobody)


def test_without_tls_there_is_no_connection(deployment: Deployment) -> None:
    with (
        grpc.insecure_channel(f"127.0.0.1:{deployment.hub_port}") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        TransparencyServiceStub(channel).GetCheckpoint(GetCheckpointRequest(), timeout=10)
    assert status_of(caught.value) == "UNAVAILABLE"


def test_the_certificate_of_another_authority_is_refused(deployment: Deployment, tmp_path: Path) -> None:
    files = Authority.create(tmp_path / "other").issue(tmp_path / "north", NORTH)
    with connect(deployment, files.certificate, files.key) as impostor:
        handshake_fails(impostor)


def test_an_expired_certificate_is_refused(deployment: Deployment, tmp_path: Path) -> None:
    files = forge(
        deployment.folder / "authority",
        tmp_path / "old",
        names=[uri(NORTH)],
        start=datetime.timedelta(days=-2),
        end=datetime.timedelta(seconds=-1),
    )
    with connect(deployment, files.certificate, files.key) as late:
        handshake_fails(late)


def test_a_certificate_that_expires_ends_its_streams_and_calls_on_an_open_connection(
    deployment: Deployment, tmp_path: Path
) -> None:
    files = forge(
        deployment.folder / "authority",
        tmp_path / "short",
        names=[uri(NORTH)],
        end=datetime.timedelta(seconds=3),
    )
    with connect(deployment, files.certificate, files.key) as north:
        watch = north.signals.WatchSignals(WatchSignalsRequest(), timeout=20)
        next(watch)
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            next(watch)
        assert time.monotonic() - started < 6
        assert read_refusal(caught.value).reason == "CERTIFICATE_INVALID"
        assert outcome(north).reason == "CERTIFICATE_INVALID"


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([uri(NORTH), uri("spiffe://exchange.test/party/bank-south")], id="two URIs"),
        pytest.param([uri(NORTH), uri(NORTH)], id="the same URI twice"),
        pytest.param([uri("https://exchange.test/party/bank-north")], id="no SPIFFE URI"),
        pytest.param([uri("spiffe://exchange.test")], id="no path"),
        pytest.param([uri("spiffe://exchange.test/party/../party/bank-north")], id="dots in the path"),
        pytest.param([uri("spiffe://EXCHANGE.test/party/bank-north")], id="capitals in the trust domain"),
        pytest.param([uri(NORTH + "?as=operator")], id="a query"),
        pytest.param([x509.DNSName("bank-north")], id="a DNS name alone"),
        pytest.param([], id="a common name alone"),
    ],
)
def test_a_certificate_without_exactly_one_spiffe_uri_identifies_nobody(
    deployment: Deployment, tmp_path: Path, names: list[x509.GeneralName]
) -> None:
    files = forge(deployment.folder / "authority", tmp_path / "client", names=names)
    with connect(deployment, files.certificate, files.key) as odd:
        assert outcome(odd).reason in ("CERTIFICATE_INVALID", "NOT_ENROLLED")


@pytest.mark.parametrize(
    "spiffe_id",
    [
        "spiffe://exchange.test/party/ghost",
        "spiffe://elsewhere.test/party/bank-north",
        "spiffe://exchange.test/party/bank-north/sub",
        "spiffe://exchange.test/party/Bank-North",
    ],
)
def test_a_certificate_that_is_not_on_the_roster_is_refused(
    deployment: Deployment, tmp_path: Path, spiffe_id: str
) -> None:
    files = forge(deployment.folder / "authority", tmp_path / "client", names=[uri(spiffe_id)])
    with connect(deployment, files.certificate, files.key) as ghost:
        assert outcome(ghost).reason == "NOT_ENROLLED"
        publish = pen(deployment, "bank-north").batch([signal()])
        assert refused(ghost.signals.PublishSignals, publish, timeout=10).reason == "NOT_ENROLLED"
        with pytest.raises(grpc.RpcError) as caught:
            next(ghost.signals.WatchSignals(WatchSignalsRequest(), timeout=10))
        assert read_refusal(caught.value).reason == "NOT_ENROLLED"


def test_strangers_leave_nothing_on_the_log_and_no_name_in_the_hubs_own(
    deployment: Deployment, tmp_path: Path
) -> None:
    """Otherwise anybody with a certificate could fill the log."""
    files = forge(
        deployment.folder / "authority",
        tmp_path / "client",
        names=[uri("spiffe://exchange.test/party/loud-stranger")],
    )
    with caller(deployment, "audit-one") as auditor:
        before = new_mirror(deployment).extend(auditor.log).size
        with connect(deployment, files.certificate, files.key) as stranger:
            for _ in range(20):
                assert outcome(stranger).reason == "NOT_ENROLLED"
        assert new_mirror(deployment).extend(auditor.log).size == before
    assert "loud-stranger" not in (deployment.folder.parent / "hub.log").read_text("utf-8")
    with urllib.request.urlopen(f"http://127.0.0.1:{deployment.metrics_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert "NOT_ENROLLED" in text
    assert "loud-stranger" not in text


def test_custodians_and_the_hub_itself_are_no_parties(deployment: Deployment) -> None:
    for home in (deployment.folder / "custodians" / "custodian-a", deployment.folder / "hub"):
        with connect(deployment, home / "tls.pem", home / "tls.key") as one:
            assert outcome(one).reason == "NOT_ENROLLED"


def test_a_members_certificate_can_not_pose_as_a_server(deployment: Deployment) -> None:
    home = deployment.folder / "parties" / "bank-north"
    certificate = x509.load_pem_x509_certificate((home / "tls.pem").read_bytes())
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]


def _methods() -> Iterator[tuple[str, str, bool]]:
    for module in (
        signal_service_pb2,
        transparency_service_pb2,
        membership_service_pb2,
        case_service_pb2,
    ):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield service.name, method.name, method.server_streaming


@pytest.mark.parametrize(("service", "method", "streams"), list(_methods()))
def test_every_method_denies_the_kinds_that_the_contract_does_not_name(
    deployment: Deployment, service: str, method: str, streams: bool
) -> None:
    parties = {each.kind: each.id for each in deployment.plan.parties}
    assert parties.keys() == EVERYBODY
    for kind, party in parties.items():
        if kind in ALLOWED[service][method]:
            continue
        with caller(deployment, party) as one:
            full = f"/signalexchange.v1.{service}/{method}"
            refusal = refused(next, one.raw_stream(full, b"")) if streams else refused(one.raw, full, b"")
            assert refusal.reason == "METHOD_NOT_ALLOWED", kind


@pytest.mark.parametrize(
    "method",
    [
        "/signalexchange.v1.SignalService/DeleteSignals",
        "/signalexchange.v1.TokenService/Evaluate",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/",
    ],
)
def test_what_the_hub_does_not_serve_is_unimplemented(deployment: Deployment, method: str) -> None:
    with caller(deployment, "bank-north") as north, pytest.raises(grpc.RpcError) as caught:
        north.raw(method, b"")
    assert status_of(caught.value) == "UNIMPLEMENTED"


def test_no_file_of_the_contract_has_a_service_that_is_not_in_the_table() -> None:
    pool = descriptor_pool.Default()
    names = {service for service, _, _ in _methods()}
    assert names == ALLOWED.keys()
    assert {(service, method) for service, method, _ in _methods()} == {
        (service, method) for service, methods in ALLOWED.items() for method in methods
    }
    assert pool.FindServiceByName("signalexchange.v1.SignalService")


def test_a_suspended_member_is_shut_out_at_once_and_its_streams_end(tmp_path: Path) -> None:
    plan = Plan(types=("card",))
    with (
        running_hub(tmp_path, plan) as deployment,
        caller(deployment, "bank-north") as north,
        caller(deployment, "bank-south") as south,
        caller(deployment, "operator") as operator,
        caller(deployment, "audit-one") as auditor,
    ):
        watch = north.signals.WatchSignals(WatchSignalsRequest(), timeout=30)
        beside = south.signals.WatchSignals(WatchSignalsRequest(), timeout=30)
        next(watch)
        next(beside)
        order = SuspendMemberRequest(member="bank-north", reason="key reported stolen")
        receipt = operator.membership.SuspendMember(order, timeout=10).receipt
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            next(watch)
        assert time.monotonic() - started < 2
        assert read_refusal(caught.value).reason == "SUSPENDED"
        publish = pen(deployment, "bank-north").batch([signal()])
        for call in (
            lambda: north.signals.PublishSignals(publish, timeout=10),
            lambda: north.signals.LookUpSubjects(look_up([secrets.token_bytes(32)]), timeout=10),
            lambda: north.membership.GetRoster(GetRosterRequest(from_version=1), timeout=10),
            lambda: next(north.signals.WatchSignals(WatchSignalsRequest(), timeout=10)),
        ):
            assert refused(call).reason == "SUSPENDED"
        assert south.signals.LookUpSubjects(look_up([subject().value]), timeout=10).receipt.index
        assert beside.is_active()
        beside.cancel()

        mirror = new_mirror(deployment)
        mirror.extend(auditor.log)
        (entry,) = mirror.opened(auditor.log, [receipt.index])
        assert SuspensionEntry.FromString(entry.payload).member == "bank-north"
        assert mirror.of_type(EntryType.ENTRY_TYPE_SUSPENSION) == [receipt.index]
        # Suspending again changes nothing, and nobody else is shut out by an operator's slip.
        again = operator.membership.SuspendMember(order, timeout=10).receipt
        assert again.index == receipt.index
        for member in ("operator", "ghost", ""):
            slip = SuspendMemberRequest(member=member, reason="slip")
            refusal = refused(operator.membership.SuspendMember, slip, timeout=10)
            assert refusal.reason == "INVALID_REQUEST"
