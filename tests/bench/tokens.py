"""Tokens end to end: from phone numbers to tokens, through custodians that are real processes.

A token costs multiplications on both sides of the wire (blinding, two partial evaluations, two proofs,
checking both, combining, unblinding), all on the same two cores here, so
the ratio to bare multiplications is small.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from itertools import count

import grpc
from signalexchange.manifest import open_manifest
from signalexchange.roster import RosterChain
from signalexchange.token_cache import TokenCache
from signalexchange.token_client import TokenClient
from signalexchange.v1.identifier_pb2 import IdentifierType
from signalexchange.v1.token_service_pb2 import EvaluateRequest, EvaluationPurpose
from signalexchange.voprf import MAX_BATCH

from tests.bench.baselines import multiplications
from tests.bench.custodian import BATCH, IN_FLIGHT, blinded_points
from tests.bench.load import open_channel, unary
from tests.bench.measure import Effort, compare
from tests.bench.report import Result
from tests.bench.world import ASKER, Exchange, World

METHOD = "/signalexchange.v1.TokenService/Evaluate"
PHONE = IdentifierType.IDENTIFIER_TYPE_PHONE
TOKENS = 2_000
"""Identifiers a run: two batches."""


async def tokens(world: World, effort: Effort) -> list[Result]:
    """The SDK's token client against three custodians, and one custodian's answers over gRPC."""
    exchange = world.deploy()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(exchange.custodians())
        channels = {
            name: await stack.enter_async_context(open_channel(f"127.0.0.1:{port}", exchange.tls(ASKER)))
            for name, port in exchange.deployment.custodian_ports.items()
        }
        return [
            await _end_to_end(exchange, channels, effort),
            await _over_grpc(next(iter(channels.values())), effort),
        ]


async def _end_to_end(exchange: Exchange, channels: dict[str, grpc.aio.Channel], effort: Effort) -> Result:
    roster = RosterChain.start(exchange.deployment.genesis.read_bytes()).current
    manifest = open_manifest(exchange.deployment.manifest.read_bytes(), roster)
    numbers = count(13_000_000_000)

    async def tokenise() -> float:
        # A cache of its own: every token is computed.
        client = TokenClient(roster, manifest, channels, cache=TokenCache())
        phones = [f"+86{next(numbers)}" for _ in range(TOKENS)]
        started = time.perf_counter()
        await client.tokens(PHONE, 1, phones)
        return TOKENS / (time.perf_counter() - started)

    return Result(
        name="tokens",
        what="tokens from phone numbers, two of three custodian processes",
        against="libsodium scalar multiplications, two threads",
        unit="1/s",
        runs=await compare(tokenise, lambda: multiplications(10_000), effort.runs),
        measured_on="client",
        batch=MAX_BATCH,
        in_flight=TOKENS // MAX_BATCH,
    )


async def _over_grpc(channel: grpc.aio.Channel, effort: Effort) -> Result:
    request = EvaluateRequest(
        type=PHONE,
        epoch=1,
        generation=1,
        purpose=EvaluationPurpose.EVALUATION_PURPOSE_TOKENISE,
        blinded_elements=blinded_points(BATCH),
    ).SerializeToString()
    call = unary(channel, METHOD)
    rounds = max(1, round(effort.seconds))

    async def evaluate() -> float:
        started = time.perf_counter()
        for _ in range(rounds):
            await asyncio.gather(*(call(request, timeout=30) for _ in range(IN_FLIGHT)))
        return rounds * IN_FLIGHT * BATCH / (time.perf_counter() - started)

    return Result(
        name="custodian_over_grpc",
        what="points evaluated with a batched proof, budget charged durably",
        against="libsodium scalar multiplications, two threads",
        unit="1/s",
        runs=await compare(evaluate, lambda: multiplications(10_000), effort.runs),
        measured_on="client",
        batch=BATCH,
        in_flight=IN_FLIGHT,
    )
