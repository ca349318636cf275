"""Logs and metrics of a process.

Invariants: one JSON line a call; logs and labels never hold a token, an identifier, a key or a request's
content (an exception is logged by class and place, for its text could quote a request); unknown callers
appear in metrics alone, never by name.
"""

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, BinaryIO, Final
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from structlog.typing import EventDict

from exchange.domain.matching.confidence import NAMES
from exchange.domain.matching.finding import Pattern
from exchange.domain.matching.match import MatchStatus

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_encode: Final = json.JSONEncoder(default=str, separators=(",", ":"), ensure_ascii=False).encode


def _describe_error(_logger: object, _method: str, event: EventDict) -> EventDict:
    error = event.get("error")
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        event["raised_at"] = _places(error.__traceback__)
    return event


def _places(trace: TracebackType | None) -> list[str]:
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}:{code.co_name}")
        trace = trace.tb_next
    return places[-8:]


def _render(_logger: object, _method: str, event: EventDict) -> bytes:
    return _encode(event).encode()


class _Lines:
    """Writes what is logged in one turn of the event loop at once: under load that is dozens of lines."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._waiting: list[bytes] = []

    def info(self, line: bytes) -> None:
        """Take a line; where no loop runs it is written right away."""
        self._waiting.append(line)
        if len(self._waiting) > 1:
            return
        try:
            asyncio.get_running_loop().call_soon(self._write)
        except RuntimeError:
            self._write()

    def _write(self) -> None:
        lines, self._waiting = self._waiting, []
        self._stream.write(b"\n".join(lines) + b"\n")
        self._stream.flush()


class Log:
    """Writes JSON lines with `process` and a time to `stream` (default: standard error)."""

    def __init__(self, process: str, stream: BinaryIO | None = None) -> None:
        logger: Any = structlog.wrap_logger(
            _Lines(stream or sys.stderr.buffer),
            processors=[structlog.processors.TimeStamper(fmt="iso", utc=True), _describe_error, _render],
            wrapper_class=structlog.BoundLogger,
        )
        self._write = logger.bind(process=process).info

    def event(self, name: str, **fields: object) -> None:
        """Write one line; an exception is given as `error`."""
        self._write(name, **fields)


class Metrics:
    """The process's own Prometheus registry, served on a local port of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter("calls", "Calls ended.", ["method", "reason"], registry=self.registry)
        self._seconds = Histogram(
            "call_seconds", "How long calls took.", ["method"], buckets=_SECONDS, registry=self.registry
        )
        self._streams = Gauge("open_streams", "Streams open at present.", registry=self.registry)
        self._served: tuple[WSGIServer, threading.Thread] | None = None
        # Resolving labels costs more than counting: children are kept.
        self._children: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def call_ended(self, method: str, reason: str, seconds: float) -> None:
        """Count a call that ended for `reason` ("OK" or an ErrorReason's name)."""
        children = self._children.get((method, reason))
        if children is None:
            children = (self._calls.labels(method, reason), self._seconds.labels(method))
            self._children[(method, reason)] = children
        children[0].inc()
        children[1].observe(seconds)

    def streams_changed(self, by: int) -> None:
        """Count streams that opened or ended."""
        self._streams.inc(by)

    def watch_matching(
        self, backlog: Callable[[], int], aside: Callable[[], int], count: Callable[[tuple[int, int]], int]
    ) -> None:
        """Serve what a hub's matching is at: signals that wait, values set aside, and how many matches there
        are of a (Pattern, MatchStatus)."""
        registry = self.registry
        waiting = Gauge("matching_backlog", "Signals that wait to be matched.", registry=registry)
        waiting.set_function(backlog)
        values = Gauge("values_set_aside", "Values that join nobody at present.", registry=registry)
        values.set_function(aside)
        matches = Gauge("matches", "Matches stored.", ["pattern", "status"], registry=registry)
        for pattern in Pattern:
            for status in MatchStatus:
                child = matches.labels(NAMES[pattern], status.name.lower())
                child.set_function(partial(count, (pattern.value, status.value)))

    def serve(self, host: str, port: int) -> int:
        """Serve /metrics at host:port (0 picks one) and return the port. Raises OSError."""
        server, thread = start_http_server(port, host, self.registry)
        self._served = (server, thread)
        return server.server_port

    def close(self) -> None:
        """Stop serving."""
        if self._served is not None:
            server, thread = self._served
            server.shutdown()
            server.server_close()
            thread.join()
            self._served = None
