"""The custodian's process: start, watch files, drain, stop.

Invariants: it listens only after configuration, roster, manifest and shares have been verified; SIGTERM and
SIGINT let calls in hand end; SIGHUP, or a file that changed, reads roster, manifest and shares again.
"""

import asyncio
import signal
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from signalexchange.errors import ConfigError
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.token_service_pb2_grpc import add_TokenServiceServicer_to_server

from exchange.custodian.budgets import Budgets
from exchange.custodian.config import CustodianConfig
from exchange.custodian.evaluator import Evaluator
from exchange.custodian.material import Watched
from exchange.custodian.service import TokenServicer
from exchange.domain.refusal import Refusal
from exchange.server.by_name import ByName
from exchange.server.clock import ReplayClock, SystemClock
from exchange.server.interceptor import Gate
from exchange.server.ports import open_ports
from exchange.server.streams import OpenStreams
from exchange.server.telemetry import Log, Metrics
from exchange.server.tls import TlsFiles

SERVICE: Final = "signalexchange.v1.TokenService"
REPLAY: Final = "replay"
"""Health service that exists, and serves, only on a replay clock."""
DRAIN: Final = 20.0
"""Seconds that calls in hand get to end in."""
_POLL: Final = 2.0
_STREAMS: Final = 4
_RATES: Final = {"calls": (200.0, 400.0)}
_OPTIONS: Final = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 1 << 20))


class Custodian:
    """A custodian that serves. Made by `start`."""

    def __init__(
        self,
        config: CustodianConfig,
        watched: Watched,
        budgets: Budgets,
        log: Log,
    ) -> None:
        self._config = config
        self._watched = watched
        self._budgets = budgets
        self._log = log
        self._evaluator = Evaluator()
        self._metrics = Metrics()
        self._streams = OpenStreams(lambda: _STREAMS, self._metrics.streams_changed)
        self._health = health.HealthServicer()
        self._reload = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self.port = 0
        self.metrics_port = 0
        self._gate = Gate(
            directory=watched,
            log=log,
            metrics=self._metrics,
            rates=_RATES.get,
            streams=self._streams,
        )
        self._server = grpc.aio.server(interceptors=[self._gate], options=_OPTIONS)
        clock = ReplayClock(config.replay.clock) if config.replay else SystemClock()
        servicer = TokenServicer(watched, budgets, self._evaluator, clock)
        services: Any = ByName(self._server)
        add_TokenServiceServicer_to_server(servicer, services)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, services)

    @classmethod
    async def start(cls, config: CustodianConfig, log: Log | None = None) -> "Custodian":
        """Verify all files, open the budgets, listen at `port`. Raises ConfigError naming what is wrong."""
        log = log or Log(config.custodian)
        watched = Watched(config)
        credentials = TlsFiles(config.tls.certificate, config.tls.key, config.tls.ca).credentials()
        try:
            config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(f"data_dir: {config.data_dir}: {error.strerror}") from None
        try:
            budgets = await Budgets.open(config.data_dir / "budgets.db")
        except ConfigError as error:
            raise ConfigError(f"data_dir: {error}") from None
        try:
            custodian = cls(config, watched, budgets, log)
            await custodian._listen(credentials)
        except BaseException:
            await budgets.close()
            raise
        return custodian

    async def _listen(self, credentials: grpc.ServerCredentials) -> None:
        self.port, self.metrics_port = open_ports(
            self._server, self._config.listen, credentials, self._metrics, self._config.metrics
        )
        await self._set_health()
        if self._config.replay:
            await self._health.set(REPLAY, HealthCheckResponse.SERVING)
        await self._server.start()
        self._watcher = asyncio.create_task(self._watch())
        self._log.event(
            "serving",
            port=self.port,
            metrics_port=self.metrics_port,
            roster_version=self._watched.roster.version,
            manifest_version=self._manifest_version(),
            replay=self._config.replay is not None,
        )

    def reload(self) -> None:
        """Read roster, manifest and shares again, soon."""
        self._reload.set()

    async def stop(self, grace: float = DRAIN) -> None:
        """Accept no more calls, let those in hand end within `grace` seconds, close everything."""
        self._log.event("stopping")
        await self._health.enter_graceful_shutdown()
        self._streams.close(Refusal(ErrorReason.ERROR_REASON_UNAVAILABLE, "the custodian is stopping"))
        await self._gate.close("the custodian is stopping")
        await self._server.stop(grace)
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        self._evaluator.close()
        self._metrics.close()
        await self._budgets.close()
        self._log.event("stopped")

    async def _watch(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._reload.wait(), _POLL)
            except TimeoutError:
                if not await asyncio.to_thread(self._watched.changed):
                    continue
            self._reload.clear()
            problems = await asyncio.to_thread(self._watched.reload)
            await self._set_health()
            self._log.event(
                "reloaded",
                roster_version=self._watched.roster.version,
                manifest_version=self._manifest_version(),
                problems=problems,
            )

    def _manifest_version(self) -> int | None:
        keys = self._watched.material.keys
        return keys.manifest.version if keys else None

    async def _set_health(self) -> None:
        ready = self._watched.material.keys is not None
        status = HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
        await self._health.set("", status)
        await self._health.set(SERVICE, status)


async def serve(config: CustodianConfig) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Raises ConfigError before it listens."""
    custodian = await Custodian.start(config)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, custodian.reload)
    await stopping.wait()
    await custodian.stop()
