"""Partial evaluation with a batched proof, on all cores.

Invariants: at most `MAX_PENDING` points are admitted at a time, what is beyond is refused before it is
charged; a batch is cut into chunks that share the threads with those of other batches. libsodium releases the
GIL, so threads are enough.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

from signalexchange import voprf
from signalexchange.errors import MalformedError
from signalexchange.ristretto import check_point
from signalexchange.v1.error_reason_pb2 import ErrorReason

from exchange.domain.refusal import Refusal

MAX_PENDING: Final = 32_000
"""Points admitted and not yet answered: a few seconds' work of two cores."""
_CHUNK: Final = 125
_POINTS_A_SECOND: Final = 4_000  # a core's, roughly: for the advice when to come again

Result = TypeVar("Result")


class Evaluator:
    """A pool of threads, one a core, for group operations."""

    def __init__(self, max_pending: int = MAX_PENDING) -> None:
        self._workers = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._workers, "evaluate")
        self._max_pending = max_pending
        self._pending = 0

    def close(self) -> None:
        """End the threads; nothing is pending any more."""
        self._pool.shutdown()

    @contextmanager
    def admit(self, points: int) -> Iterator[None]:
        """Hold places for a batch. Raises Refusal OVERLOADED when there are not as many left."""
        if self._pending + points > self._max_pending:
            wait = self._pending / (self._workers * _POINTS_A_SECOND)
            raise Refusal(
                ErrorReason.ERROR_REASON_OVERLOADED,
                "too many evaluations are waiting; nothing was charged",
                retry_after=max(0.05, wait),
            )
        self._pending += points
        try:
            yield
        finally:
            self._pending -= points

    async def violations(self, elements: Sequence[bytes]) -> list[tuple[str, str]]:
        """What is wrong with blinded elements, as pairs of field and description."""
        found = await self._in_chunks(_violations, elements)
        return [violation for part in found for violation in part]

    async def evaluate(
        self, share: bytes, public_share: bytes, elements: Sequence[bytes]
    ) -> tuple[list[bytes], bytes]:
        """share × element for 1 to 1,000 checked elements, and the proof against the public share."""
        seed = voprf.proof_seed(public_share)
        parts = await self._in_chunks(
            lambda offset, chunk: voprf.evaluate_chunk(share, seed, offset, chunk), elements
        )
        m = voprf.sum_points([weighted for _, weighted in parts])
        proof = voprf.prove(share, public_share, m)
        return [element for evaluated, _ in parts for element in evaluated], proof

    async def _in_chunks(
        self, work: Callable[[int, Sequence[bytes]], Result], elements: Sequence[bytes]
    ) -> list[Result]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            *(
                loop.run_in_executor(self._pool, work, start, elements[start : start + _CHUNK])
                for start in range(0, len(elements), _CHUNK)
            )
        )


def _violations(offset: int, elements: Sequence[bytes]) -> list[tuple[str, str]]:
    found = []
    for number, element in enumerate(elements, offset):
        try:
            check_point(element)
        except MalformedError as error:
            found.append((f"blinded_elements[{number}]", str(error)))
    return found
