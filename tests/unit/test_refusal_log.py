"""What was only counted gets onto the log, whatever becomes of the call that carries it there."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from signalexchange.v1.error_reason_pb2 import ErrorReason

from exchange.domain.refusal import Refusal
from exchange.usecases.refusals import RefusalLog, Refused
from exchange.usecases.writer import unavailable


class Writer:
    """Takes a while for each change, or refuses."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.refuses = False

    async def submit(self, change: Refused) -> None:
        await asyncio.sleep(0.01)
        if self.refuses:
            raise unavailable("too much is waiting")
        self.counts.append(sum(change._refusals.values()))


class Clock:
    now = 60


async def record(log: RefusalLog) -> None:
    party: Any = SimpleNamespace(id="bank-north")
    await log.record(party, "/a/B", Refusal(ErrorReason.ERROR_REASON_INVALID_REQUEST, "no"))


def refusal_log(writer: Writer, clock: Clock) -> RefusalLog:
    limits = SimpleNamespace(refusals_per_minute=1)
    membership = SimpleNamespace(rulebook=SimpleNamespace(limits=limits))
    exchange: Any = SimpleNamespace(membership=membership, writer=writer, clock=lambda: clock.now)
    return RefusalLog(exchange)


async def test_a_caller_that_gives_up_does_not_take_the_count_with_it() -> None:
    writer, clock = Writer(), Clock()
    log = refusal_log(writer, clock)
    for _ in range(8):
        await record(log)
    clock.now = 120
    call = asyncio.create_task(record(log))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await asyncio.sleep(0.05)
    assert writer.counts == [1, 7]


async def test_a_count_that_finds_no_room_waits_for_the_next_time() -> None:
    writer, clock = Writer(), Clock()
    log = refusal_log(writer, clock)
    for _ in range(8):
        await record(log)
    clock.now, writer.refuses = 120, True
    with pytest.raises(Refusal):
        await log.flush()
    clock.now, writer.refuses = 180, False
    await log.flush()
    assert writer.counts == [1, 7]
