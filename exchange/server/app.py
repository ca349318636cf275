"""The hub's process: start, serve, watch the clock, drain, stop.

Invariants: it listens only after everything has been verified and is healthy only while it serves; SIGTERM
and SIGINT let calls in hand end; after storage has failed, answers in hand leave (as UNAVAILABLE) and the
process ends with exit code 74, to be started again: reopening tells what holds.
"""

import asyncio
import gc
import signal
from collections.abc import Callable
from typing import Any, BinaryIO, Final

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha import reflection
from signalexchange.errors import ConfigError
from signalexchange.v1.case_service_pb2_grpc import add_CaseServiceServicer_to_server
from signalexchange.v1.disclosure_service_pb2_grpc import add_DisclosureServiceServicer_to_server
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.match_service_pb2_grpc import add_MatchServiceServicer_to_server
from signalexchange.v1.membership_service_pb2_grpc import add_MembershipServiceServicer_to_server
from signalexchange.v1.notice_service_pb2_grpc import add_NoticeServiceServicer_to_server
from signalexchange.v1.outcome_service_pb2_grpc import add_OutcomeServiceServicer_to_server
from signalexchange.v1.signal_service_pb2_grpc import add_SignalServiceServicer_to_server
from signalexchange.v1.transparency_service_pb2_grpc import add_TransparencyServiceServicer_to_server

from exchange.domain.refusal import Refusal
from exchange.domain.resume import ResumeTokens
from exchange.server.by_name import ByName
from exchange.server.case_service import CaseServicer
from exchange.server.clock import Clock, ReplayClock, SystemClock
from exchange.server.config import HubConfig
from exchange.server.disclosure_service import DisclosureServicer
from exchange.server.interceptor import Gate
from exchange.server.match_service import MatchServicer
from exchange.server.notice_service import NoticeServicer
from exchange.server.outcome_service import OutcomeServicer
from exchange.server.ports import open_ports
from exchange.server.services import MembershipServicer, SignalServicer, TransparencyServicer
from exchange.server.start import load_manifest, open_exchange
from exchange.server.streams import OpenStreams
from exchange.server.telemetry import Log, Metrics
from exchange.server.tls import TlsFiles
from exchange.storage.sqlite import SqliteStore
from exchange.usecases.case_deadlines import keep_cases
from exchange.usecases.disclosures import expire_disclosures
from exchange.usecases.exchange import Exchange
from exchange.usecases.expire import expire
from exchange.usecases.refusals import RefusalLog

EX_IOERR: Final = 74
"""Exit code after storage has failed (sysexits.h)."""
SERVICES: Final = (
    "signalexchange.v1.SignalService",
    "signalexchange.v1.MatchService",
    "signalexchange.v1.TransparencyService",
    "signalexchange.v1.MembershipService",
    "signalexchange.v1.OutcomeService",
    "signalexchange.v1.CaseService",
    "signalexchange.v1.NoticeService",
    "signalexchange.v1.DisclosureService",
)
REPLAY: Final = "replay"
"""Health service that exists, and serves, only on a replay clock."""
DRAIN: Final = 10.0
"""Seconds that calls in hand get to end in."""
GARBAGE: Final = 10_000
"""Objects made before the collector looks through the youngest for garbage."""
_TICK: Final = 1.0
_LAST_ANSWERS: Final = 0.5
_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 8 << 20),
    ("grpc.max_concurrent_streams", 1000),
    ("grpc.max_metadata_size", 16 << 10),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


class Hub:
    """A hub that serves. Made by `start`."""

    def __init__(self, config: HubConfig, store: SqliteStore, clock: Clock, log: Log) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._log = log
        self._metrics = Metrics()
        self._health = health.HealthServicer()
        self._recorder: BinaryIO | None = None
        self._janitor: asyncio.Task[None] | None = None
        self.ended = asyncio.Event()
        """Set when the process should end."""
        self.exit_code = 0
        self.port = 0
        self.metrics_port = 0

    @classmethod
    async def start(cls, config: HubConfig, log: Log | None = None) -> "Hub":
        """Verify everything, restore or begin the log, listen. Raises ConfigError."""
        log = log or Log("hub")
        clock: Clock = ReplayClock(config.replay.clock) if config.replay else SystemClock()
        credentials = TlsFiles(config.tls.certificate, config.tls.key, config.tls.ca).credentials()
        try:
            store = await SqliteStore.open(config.data_dir)
        except ConfigError as error:
            raise ConfigError(f"data_dir: {error}") from None
        hub = cls(config, store, clock, log)
        try:
            exchange = await open_exchange(config, store, clock, hub._storage_failed, hub._report)
            await hub._serve(exchange, credentials, await store.secret("resume"))
        except BaseException:
            await store.close()
            raise
        return hub

    async def _serve(self, exchange: Exchange, credentials: grpc.ServerCredentials, key: bytes) -> None:
        """Serve; `key` is that of resume and page tokens."""
        self._exchange = exchange
        matching = exchange.matching
        self._metrics.watch_matching(
            lambda: matching.backlog, lambda: len(matching.aside), matching.counts.__getitem__
        )
        self._refusals = RefusalLog(exchange)
        self._streams = OpenStreams(
            lambda: exchange.membership.rulebook.limits.streams, self._metrics.streams_changed
        )
        exchange.on_membership.append(self._end_streams)
        self._gate = Gate(
            directory=exchange,
            log=self._log,
            metrics=self._metrics,
            rates=self._rate,
            streams=self._streams,
            on_refusal=self._refusals.record,
            record=self._open_recorder(),
        )
        self._server = grpc.aio.server(interceptors=[self._gate], options=_OPTIONS)
        services: Any = ByName(self._server)
        add_SignalServiceServicer_to_server(SignalServicer(exchange, ResumeTokens(key)), services)
        add_MatchServiceServicer_to_server(MatchServicer(exchange, key), services)
        add_TransparencyServiceServicer_to_server(TransparencyServicer(exchange), services)
        add_MembershipServiceServicer_to_server(MembershipServicer(exchange), services)
        add_OutcomeServiceServicer_to_server(OutcomeServicer(exchange), services)
        add_CaseServiceServicer_to_server(CaseServicer(exchange, key), services)
        add_NoticeServiceServicer_to_server(NoticeServicer(), services)
        add_DisclosureServiceServicer_to_server(DisclosureServicer(exchange, key), services)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, services)
        if self._config.reflection:
            names = (*SERVICES, "grpc.health.v1.Health", reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)
        # HealthServicer() begins SERVING: not before the port is open.
        await self._set_health(HealthCheckResponse.NOT_SERVING)
        self.port, self.metrics_port = open_ports(
            self._server, self._config.listen, credentials, self._metrics, self._config.metrics
        )
        await self._server.start()
        self._janitor = asyncio.create_task(self._keep())
        await self._set_health(HealthCheckResponse.SERVING)
        self._log.event(
            "serving",
            port=self.port,
            metrics_port=self.metrics_port,
            log_size=exchange.writer.head.tree.size,
            roster_version=exchange.membership.roster.version,
            manifest_version=exchange.manifest.version,
            replay=self._config.replay is not None,
        )

    def reload(self) -> None:
        """Read the key manifest again; one that doesn't verify or is older leaves the present one in
        force."""
        try:
            manifest = load_manifest(self._config, self._exchange.membership.roster)
            if manifest.version < self._exchange.manifest.version:
                # An old one is signed as well, and would bring back keys that have been replaced.
                raise ConfigError(f"version {manifest.version} is older than the one in force")
            self._exchange.manifest = manifest
        except ConfigError as error:
            self._log.event("manifest-refused", problem=str(error))
        else:
            self._log.event("manifest-read", manifest_version=self._exchange.manifest.version)

    async def stop(self, grace: float = DRAIN) -> None:
        """Accept no more calls, let those in hand end within `grace` seconds, close everything."""
        self._log.event("stopping")
        await self._health.enter_graceful_shutdown()
        self._streams.close(Refusal(ErrorReason.ERROR_REASON_UNAVAILABLE, "the hub is stopping"))
        await self._gate.close("the hub is stopping")
        await self._server.stop(grace)
        if self._janitor is not None:
            self._janitor.cancel()
            await asyncio.gather(self._janitor, return_exceptions=True)
        if not self.exit_code:
            try:
                await self._refusals.flush(everything=True)
            except Refusal as error:
                self._log.event("refusals-lost", error=error)
        await self._exchange.matching.stop()
        await self._exchange.writer.stop()
        await self._store.close()
        self._metrics.close()
        if self._recorder is not None:
            self._recorder.close()
        self._log.event("stopped", exit_code=self.exit_code)

    async def _keep(self) -> None:
        """Once a minute of the clock: log what was counted, expire what is due."""
        minute = -1
        while True:
            now = self._clock.now() // 60
            if now != minute:
                minute = now
                try:
                    await self._refusals.flush()
                    gone = await expire(self._exchange)
                    await keep_cases(self._exchange)
                    await expire_disclosures(self._exchange)
                    if gone:
                        self._log.event("expired", signals=gone)
                except Exception as error:  # it comes again in a minute
                    self._log.event("upkeep-failed", error=error)
            await asyncio.sleep(_TICK)

    async def _set_health(self, status: int) -> None:
        for service in ("", *SERVICES):
            await self._health.set(service, status)
        if self._config.replay:
            await self._health.set(REPLAY, status)

    def _rate(self, bucket: str) -> tuple[float, float] | None:
        limits = self._exchange.membership.rulebook.limits
        rate = {"look_ups": limits.look_ups, "signals": limits.signals, "calls": limits.calls}[bucket]
        return rate.per_second, rate.burst

    def _end_streams(self) -> None:
        for member in self._streams.members():
            try:
                self._exchange.membership.standing(member)
            except Refusal as refusal:
                self._streams.end(member, refusal)

    def _open_recorder(self) -> Callable[[str, bytes], None] | None:
        """Appends requests as method, newline, length in decimal, newline, bytes, newline."""
        if self._config.replay is None or self._config.replay.record is None:
            return None
        path = self._config.replay.record
        try:
            self._recorder = recorder = path.open("ab")
        except OSError as error:
            raise ConfigError(f"replay.record: {path}: {error.strerror}") from None

        def record(method: str, request: bytes) -> None:
            recorder.write(b"%s\n%d\n%s\n" % (method.encode(), len(request), request))
            recorder.flush()

        return record

    def _storage_failed(self, error: Exception) -> None:
        self._log.event("storage-failed", problem=str(error))
        self.exit_code = EX_IOERR
        # The answers in hand first: they say that nothing was changed.
        asyncio.get_running_loop().call_later(_LAST_ANSWERS, self.ended.set)

    def _report(self, event: str, error: Exception) -> None:
        self._log.event(event, error=error)


async def serve(config: HubConfig) -> int:
    """Serve until SIGTERM, SIGINT or the loss of storage; returns the exit code. Raises ConfigError."""
    hub = await Hub.start(config)
    # What was rebuilt stays: the collector would go through it again and again, and calls wait for that.
    gc.freeze()
    # So does most of what arrives: with the default (700) a sixth of matching was looking through it.
    gc.set_threshold(GARBAGE)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, hub.ended.set)
    loop.add_signal_handler(signal.SIGHUP, hub.reload)
    await hub.ended.wait()
    await hub.stop(_LAST_ANSWERS if hub.exit_code else DRAIN)
    return hub.exit_code
