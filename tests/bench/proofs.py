"""Time to an inclusion proof as the log grows, and the bytes an access record takes in it.

Server side is reading tiles and hashing, on the hub's own storage; through gRPC one call at a time, from this
process. The baseline of both is the smallest log, in turns with the grown one.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc
from signalexchange import merkle
from signalexchange.v1.transparency_service_pb2 import GetInclusionProofRequest, GetInclusionProofResponse

from exchange.storage.sqlite import SqliteStore
from tests.bench import fill
from tests.bench.load import unary
from tests.bench.measure import Effort, in_turns, quantile
from tests.bench.report import Comparison, Result
from tests.bench.world import ASKER, Exchange, World

METHOD = "/signalexchange.v1.TransparencyService/GetInclusionProof"
PROOFS = 200
"""Proofs a run."""

Run = Callable[[], Awaitable[float]]


@dataclass(frozen=True)
class AtSize:
    """Median milliseconds of a proof in a log of `size` entries, against the smallest log's."""

    size: int
    server: Comparison
    client: Comparison
    disk: int


async def proof(world: World, effort: Effort) -> list[Result]:
    """Inclusion proofs of random entries, and what an access record weighs."""
    small, growing = world.deploy(), world.deploy()
    await small.fill_entries(effort.sizes[0])
    found = []
    for size in effort.sizes:
        await growing.fill_entries(size)
        disk = growing.bytes_on_disk()
        found.append(
            AtSize(size, await _server(small, growing, effort), await _client(small, growing, effort), disk)
        )
    large = found[-1]
    return [
        Result(
            name=name,
            what=f"inclusion proof in a log of {large.size:,} entries",
            against=f"in a log of {found[0].size:,}",
            unit="ms",
            runs=pick(large),
            measured_on=side,
            batch=1,
            in_flight=1,
            details={f"ms_at_{each.size}": pick(each).value for each in found},
        )
        for name, side, pick in (
            ("proof", "server", _server_runs),
            ("proof_over_grpc", "client", _client_runs),
        )
    ] + [
        Result(
            name="disk_access_record",
            what=f"bytes an access record on disk, at {large.size:,} entries",
            against="bytes of the record itself",
            unit="bytes",
            runs=Comparison([large.disk / large.size], [float(len(fill.access_record()))]),
            measured_on="server",
            batch=1,
            in_flight=1,
        )
    ]


def _server_runs(found: AtSize) -> Comparison:
    return found.server


def _client_runs(found: AtSize) -> Comparison:
    return found.client


async def _server(small: Exchange, growing: Exchange, effort: Effort) -> Comparison:
    async with AsyncExitStack() as stack:
        runs = []
        for exchange in (growing, small):
            store = await SqliteStore.open(exchange.data)
            stack.push_async_callback(store.close)
            runs.append(await _reading(store))
        return Comparison(*await in_turns(runs[0], runs[1], effort.runs))


async def _reading(store: SqliteStore) -> Run:
    tree = await store.restore_tree()

    async def prove(index: int) -> list[bytes]:
        ranges = merkle.inclusion_ranges(index, tree.size)
        return tree.hashes(ranges, await store.tiles(sorted(tree.needed(ranges))))

    async def run() -> float:
        times = []
        for _ in range(PROOFS):
            started = time.perf_counter()
            await prove(secrets.randbelow(tree.size))
            times.append(time.perf_counter() - started)
        return quantile(times, 0.5) * 1e3

    # A proof that doesn't verify would be no measurement.
    (entry,) = await store.entries([tree.size // 3])
    merkle.verify_inclusion(
        entry.idx, tree.size, merkle.leaf_hash(entry.leaf), await prove(entry.idx), tree.root()
    )
    return run


async def _client(small: Exchange, growing: Exchange, effort: Effort) -> Comparison:
    async with (
        small.hub(),
        growing.hub(),
        small.channel(ASKER) as small_channel,
        growing.channel(ASKER) as channel,
    ):
        return Comparison(*await in_turns(await _asking(channel), await _asking(small_channel), effort.runs))


async def _asking(channel: grpc.aio.Channel) -> Run:
    call = unary(channel, METHOD)
    answer = await call(GetInclusionProofRequest(index=0).SerializeToString(), timeout=10)
    size = GetInclusionProofResponse.FromString(answer).tree_size

    async def run() -> float:
        times = []
        for _ in range(PROOFS):
            request = GetInclusionProofRequest(index=secrets.randbelow(size)).SerializeToString()
            started = time.perf_counter()
            await call(request, timeout=10)
            times.append(time.perf_counter() - started)
        return quantile(times, 0.5) * 1e3

    return run
