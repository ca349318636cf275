"""The load generator: prebuilt requests over one raw channel, a fixed number of calls in flight.

Requests are sent and answers received as bytes, so that the client's side of a real service and of the echo
cost the same.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from tests.bench.measure import quantile


@dataclass(frozen=True)
class Load:
    """What a run of load showed: calls, calls a second, and latencies in seconds."""

    calls: int
    rate: float
    p50: float
    p99: float


def open_channel(target: str, tls: Path) -> grpc.aio.Channel:
    """A channel with the client certificate of the folder `tls` (tls.pem, tls.key, ca.pem)."""
    credentials = grpc.ssl_channel_credentials(
        (tls / "ca.pem").read_bytes(), (tls / "tls.key").read_bytes(), (tls / "tls.pem").read_bytes()
    )
    return grpc.aio.secure_channel(target, credentials)


def unary(channel: grpc.aio.Channel, method: str) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
    """A method that takes and gives bytes."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    return call


async def run(
    channel: grpc.aio.Channel, method: str, requests: Iterator[bytes], *, in_flight: int, seconds: float
) -> Load:
    """Call `method` for `seconds` with `in_flight` calls at once. A refusal ends the run."""
    call = unary(channel, method)
    latencies: list[float] = []
    started = time.perf_counter()
    end = started + seconds

    async def worker() -> None:
        now = time.perf_counter()
        while now < end:
            await call(next(requests), timeout=20)
            later = time.perf_counter()
            latencies.append(later - now)
            now = later

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    elapsed = time.perf_counter() - started
    return Load(len(latencies), len(latencies) / elapsed, quantile(latencies, 0.5), quantile(latencies, 0.99))
