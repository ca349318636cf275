"""Retries, deadlines, refusals and reload of a connection, against servers that misbehave on purpose."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from signalexchange import connection as connections
from signalexchange.connection import CHECKPOINT, KEY_MANIFEST, METHODS, WATCH, Connection, service_config
from signalexchange.credentials import TlsFiles
from signalexchange.errors import ExchangeError, MalformedError, RefusedError
from signalexchange.journal import Journal
from signalexchange.sealed_store import create_key
from signalexchange.v1 import signal_service_pb2 as signals
from signalexchange.v1 import token_service_pb2 as tokens
from signalexchange.v1.token_service_pb2_grpc import TokenServiceStub
from signalexchange.v1.transparency_service_pb2 import GetCheckpointRequest, GetCheckpointResponse
from signalexchange.watch import ResumeTooOldError, watch

from exchange.pki import Authority

Answer = Callable[[str, grpc.aio.ServicerContext[Any, Any]], Any]


def refusal(status: grpc.StatusCode, reason: str, retry: float | None = None) -> Any:
    details = [error_details_pb2.ErrorInfo(reason=reason, domain="signalexchange")]
    if retry is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(retry * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return rpc_status.to_status(status_pb2.Status(code=status.value[0], message="no", details=packed))


class Server:
    """Answers every method by `answer(call number)`: bytes, a list of bytes for a stream, or a status."""

    def __init__(self, answer: Callable[[int, bytes], Any]) -> None:
        self.calls: list[str] = []
        self.peers: list[str] = []
        self._answer = answer

    def handler(self, details: grpc.HandlerCallDetails) -> Any:
        name = details.method.rsplit("/", 1)[1]

        async def unary(request: bytes, context: Any) -> bytes:
            answer = self._called(name, request, context)
            if not isinstance(answer, bytes):
                await context.abort_with_status(answer)
            return bytes(answer)

        async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
            for answer in self._called(name, request, context):
                if not isinstance(answer, bytes):
                    await context.abort_with_status(answer)
                yield answer

        if name == "WatchSignals":
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)

    def _called(self, name: str, request: bytes, context: Any) -> Any:
        self.calls.append(name)
        (certificate,) = context.auth_context()["x509_pem_cert"]
        self.peers.append(certificate.decode())
        return self._answer(len(self.calls), request)


class Handlers(grpc.GenericRpcHandler):
    def __init__(self, server: Server) -> None:
        self._server = server

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._server.handler(handler_call_details)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority.create(tmp_path_factory.mktemp("pki") / "ca")
    authority.issue(authority.folder.parent / "hub", "spiffe://exchange.test/hub", server=True)
    authority.issue(authority.folder.parent / "bank", "spiffe://exchange.test/party/bank")
    return authority


@asynccontextmanager
async def connected(authority: Authority, server: Server) -> AsyncIterator[Connection]:
    folder = authority.folder.parent
    hub = folder / "hub"
    real = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    real.add_generic_rpc_handlers((Handlers(server),))
    pair = [((hub / "tls.key").read_bytes(), (hub / "tls.pem").read_bytes())]
    credentials = grpc.ssl_server_credentials(pair, (hub / "ca.pem").read_bytes(), require_client_auth=True)
    port = real.add_secure_port("127.0.0.1:0", credentials)
    await real.start()
    bank = folder / "bank"
    connection = Connection(
        f"127.0.0.1:{port}", TlsFiles(bank / "tls.pem", bank / "tls.key", bank / "ca.pem")
    )
    try:
        yield connection
    finally:
        await connection.close()
        await real.stop(None)


UNAVAILABLE = refusal(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
GOOD = GetCheckpointResponse(checkpoint=b"cp").SerializeToString()


async def test_an_idempotent_call_is_repeated_while_the_peer_is_unavailable(authority: Authority) -> None:
    server = Server(lambda call, request: UNAVAILABLE if call <= 2 else GOOD)
    async with connected(authority, server) as connection:
        assert (await connection.call(CHECKPOINT, GetCheckpointRequest())).checkpoint == b"cp"
    assert len(server.calls) == 3


async def test_after_four_attempts_the_refusal_is_told(authority: Authority) -> None:
    server = Server(lambda call, request: UNAVAILABLE)
    async with connected(authority, server) as connection:
        with pytest.raises(RefusedError) as caught:
            await connection.call(CHECKPOINT, GetCheckpointRequest())
    assert (caught.value.status, caught.value.reason, len(server.calls)) == ("UNAVAILABLE", "UNAVAILABLE", 4)


async def test_an_evaluation_is_never_repeated(authority: Authority) -> None:
    server = Server(lambda call, request: UNAVAILABLE)
    async with connected(authority, server) as connection, connection.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await TokenServiceStub(channel).Evaluate(tokens.EvaluateRequest(), timeout=5)
    assert server.calls == ["Evaluate"]


def test_the_service_config_names_the_idempotent_methods_and_no_others() -> None:
    config = service_config(METHODS)
    named = {method.name for method in METHODS if f'"{method.name}"' in config}
    watches = {"WatchSignals", "WatchMatches", "WatchCases", "WatchDisclosures"}
    assert named == {method.name for method in METHODS} - watches
    assert "Evaluate" not in config


async def test_a_full_queue_is_awaited_as_long_as_it_says_and_not_for_ever(authority: Authority) -> None:
    overloaded = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry=0.05)
    server = Server(lambda call, request: overloaded if call <= 2 else GOOD)
    async with connected(authority, server) as connection:
        assert (await connection.call(CHECKPOINT, GetCheckpointRequest())).checkpoint == b"cp"
    assert len(server.calls) == 3
    server = Server(lambda call, request: overloaded)
    async with connected(authority, server) as connection:
        with pytest.raises(RefusedError) as caught:
            await connection.call(CHECKPOINT, GetCheckpointRequest())
    assert (caught.value.reason, caught.value.retry_after) == ("OVERLOADED", 0.05)
    assert len(server.calls) == 3


@pytest.mark.parametrize("retry", [None, 3600.0])
async def test_a_full_queue_beyond_the_deadline_is_told_at_once(
    authority: Authority, retry: float | None
) -> None:
    server = Server(lambda call, request: refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", retry))
    async with connected(authority, server) as connection:
        with pytest.raises(RefusedError, match="RATE_LIMITED"):
            await connection.call(CHECKPOINT, GetCheckpointRequest())
    assert len(server.calls) == 1


async def test_every_call_has_a_deadline(authority: Authority) -> None:
    class Slow(Server):
        def handler(self, details: grpc.HandlerCallDetails) -> Any:
            async def unary(request: bytes, context: Any) -> bytes:
                self.calls.append("slow")
                await asyncio.sleep(60)
                return b""

            return grpc.unary_unary_rpc_method_handler(unary)

    async with connected(authority, Slow(lambda call, request: b"")) as connection:
        with pytest.raises(RefusedError) as caught:
            await connection.call(CHECKPOINT, GetCheckpointRequest(), timeout=0.3)
    assert caught.value.reason == "DEADLINE_EXCEEDED"


async def test_an_answer_that_is_none_is_malformed(authority: Authority) -> None:
    async with connected(authority, Server(lambda call, request: b"\xff\xff\xff")) as connection:
        with pytest.raises(MalformedError, match="not a GetCheckpointResponse"):
            await connection.call(CHECKPOINT, GetCheckpointRequest())
        with pytest.raises(MalformedError, match="not a GetKeyManifestResponse"):
            await connection.call(KEY_MANIFEST, tokens.GetKeyManifestRequest())


async def test_an_unreachable_peer_is_a_refusal(authority: Authority) -> None:
    bank = authority.folder.parent / "bank"
    connection = Connection("127.0.0.1:1", TlsFiles(bank / "tls.pem", bank / "tls.key", bank / "ca.pem"))
    with pytest.raises(RefusedError) as caught:
        await connection.call(CHECKPOINT, GetCheckpointRequest(), timeout=3.0)
    assert caught.value.reason in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    await connection.close()


async def test_a_renewed_certificate_is_used_and_a_half_renewed_one_is_not(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "RELOAD_SECONDS", 0.0)
    bank = authority.folder.parent / "bank"
    fresh = authority.issue(authority.folder.parent / "renewed", "spiffe://exchange.test/party/bank")
    server = Server(lambda call, request: GOOD)
    async with connected(authority, server) as connection:
        await connection.call(CHECKPOINT, GetCheckpointRequest())
        async with connection.channel() as old:
            shutil.copyfile(fresh.certificate, bank / "tls.pem")
            await connection.call(CHECKPOINT, GetCheckpointRequest())
            shutil.copyfile(fresh.key, bank / "tls.key")
            await connection.call(CHECKPOINT, GetCheckpointRequest())
            # Who still holds the old channel may finish with it.
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = old.unary_unary(CHECKPOINT.path)
            assert await call(b"", timeout=5) == GOOD
    assert server.peers[0] == server.peers[1] == server.peers[3]
    assert server.peers[2] == fresh.certificate.read_text()
    assert server.peers[2] != server.peers[0]


def event(token: bytes, signal_id: bytes = b"") -> bytes:
    return signals.WatchSignalsResponse(resume_token=token, signal_id=signal_id).SerializeToString()


@pytest.fixture
def journal(tmp_path: Path) -> Any:
    create_key(tmp_path / "key")
    with Journal(tmp_path / "db", tmp_path / "key") as opened:
        yield opened


async def test_a_broken_watch_goes_on_after_the_last_event_handled(
    authority: Authority, journal: Journal
) -> None:
    asked: list[bytes] = []

    def answer(call: int, request: bytes) -> list[Any]:
        asked.append(signals.WatchSignalsRequest.FromString(request).resume_token)
        if call == 1:
            return [event(b"t0"), event(b"t1", b"a" * 16), UNAVAILABLE]
        return [event(b"t1"), event(b"t2", b"b" * 16), event(b"t3", b"c" * 16), UNAVAILABLE]

    async with connected(authority, Server(answer)) as connection:
        async with aclosing(watch(connection, journal, "origin")) as events:
            seen = [(await anext(events)).signal_id[:1] for _ in range(3)]
        # The third was not handled: nobody asked for the next one.
        async with aclosing(watch(connection, journal, "origin")) as events:
            await anext(events)
    assert seen == [b"a", b"b", b"c"]
    assert asked == [b"", b"t1", b"t2"]


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        (grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOO_OLD", ResumeTooOldError),
        (grpc.StatusCode.INVALID_ARGUMENT, "RESUME_INVALID", RefusedError),
        (grpc.StatusCode.PERMISSION_DENIED, "SUSPENDED", RefusedError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", RefusedError),
        (grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_INVALID", RefusedError),
    ],
)
async def test_what_time_does_not_mend_ends_a_watch(
    authority: Authority, journal: Journal, status: grpc.StatusCode, reason: str, error: type[ExchangeError]
) -> None:
    journal.set_state("resume origin", b"old")
    server = Server(lambda call, request: [refusal(status, reason)])
    async with connected(authority, server) as connection:
        with pytest.raises(error):
            await anext(watch(connection, journal, "origin"))
    assert server.calls == [WATCH.name]
    assert journal.state("resume origin") == b"old"
