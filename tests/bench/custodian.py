"""The custodian: blinded points a second with proof, against bare scalar multiplications on as many threads.

A point costs two multiplications, an addition and a hash, so 0.43 is about the ceiling.
"""

import asyncio
import time

from signalexchange import ristretto, voprf

from exchange.custodian.evaluator import Evaluator
from tests.bench.baselines import multiplications
from tests.bench.measure import Effort, compare
from tests.bench.report import Result
from tests.bench.world import World

BATCH = 1_000
IN_FLIGHT = 2
AIM = 0.30


def blinded_points(count: int) -> list[bytes]:
    """Blinded elements as a member would send them."""
    return [voprf.blind(number.to_bytes(4, "big"))[1] for number in range(count)]


async def custodian(_world: World, effort: Effort) -> list[Result]:
    """The evaluator alone, in this process: check, evaluate and prove batches on all cores."""
    evaluator = Evaluator()
    share = ristretto.random_scalar()
    public_share = ristretto.multiply_base(share)
    points = blinded_points(BATCH)
    rounds = max(1, round(effort.seconds))

    async def evaluate() -> None:
        assert not await evaluator.violations(points)
        await evaluator.evaluate(share, public_share, points)

    async def batches() -> float:
        started = time.perf_counter()
        for _ in range(rounds):
            await asyncio.gather(*(evaluate() for _ in range(IN_FLIGHT)))
        return rounds * IN_FLIGHT * BATCH / (time.perf_counter() - started)

    try:
        runs = await compare(batches, lambda: multiplications(rounds * 5_000), effort.runs)
    finally:
        evaluator.close()
    return [
        Result(
            name="custodian",
            what="points evaluated with a batched proof, two threads",
            against="libsodium scalar multiplications, two threads",
            unit="1/s",
            runs=runs,
            measured_on="server",
            batch=BATCH,
            in_flight=IN_FLIGHT,
            at_least=AIM,
        )
    ]
