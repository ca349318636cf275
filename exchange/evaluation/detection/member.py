"""One member of the evaluation, a process of its own:
`python -m exchange.evaluation.detection.member CONFIG BOOKS FIRST DELAY ROWS`.

It answers each line of JSON on standard input with one on standard output, and ends with its input.

Invariants: it knows its own books and what the exchange answers, nothing else; a fraud is published on the
first morning on which it is known, and each morning before anybody asks; an answer is used for its day alone.
"""

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from signalexchange.client import MAX_BATCH, ExchangeClient
from signalexchange.config import load_config
from signalexchange.detector.publishing import Outlet
from signalexchange.v1.identifier_pb2 import IDENTIFIER_TYPE_MERCHANT
from signalexchange.v1.signal_service_pb2 import SubjectRisk

from exchange.evaluation.detection.plan import MEMBER, ROW
from exchange.evaluation.detection.watching import Watched, Watcher
from exchange.replay.books import read_payments
from exchange.replay.processes import serve
from exchange.replay.transactions import DAY

PATIENCE = 60.0
"""Seconds a call may take: a whole exchange on one machine, busy with other things, answers late."""


class Member:
    """A member at work. Times are Unix seconds."""

    def __init__(self, client: ExchangeClient, books: Path, first: int, delay: int) -> None:
        self._client = client
        self._payments = list(read_payments(books))
        self._first = first
        self._delay = delay
        self._outlet = Outlet(MEMBER)
        self._watcher = Watcher(delay)
        self._published = 0
        self._watched = 0
        self._rows = np.empty((len(self._payments), len(ROW)), np.float32)
        self._counts = Counter[str]()

    async def publish(self, now: int) -> None:
        """Publish the frauds that have become known since the last time."""
        drafts = []
        for payment in self._payments[self._published :]:
            if payment.transaction.time + self._delay > now:
                break
            self._published += 1
            if payment.fraud:
                drafts += self._outlet.labelled(payment.transaction, True)
        for start in range(0, len(drafts), MAX_BATCH):
            await self._client.publish(drafts[start : start + MAX_BATCH], now=now, timeout=PATIENCE)
        self._counts["signals"] += len(drafts)

    async def watch(self, day: int) -> None:
        """Ask about the terminals of a day's payments, then take these as they come."""
        end = self._first + (day + 1) * DAY
        until = self._watched
        while until < len(self._payments) and self._payments[until].transaction.time < end:
            until += 1
        today = self._payments[self._watched : until]
        answers = await self._ask(sorted({each.transaction.merchant for each in today}))
        for payment in today:
            shared = {"merchant": answers[payment.transaction.merchant]}
            self._rows[self._watched] = self._watcher.row(payment, shared)
            self._watched += 1

    async def _ask(self, merchants: list[str]) -> dict[str, SubjectRisk | None]:
        assert MEMBER.exchange is not None  # noqa: S101 - that is what is evaluated
        tokens = await self._client.tokens(IDENTIFIER_TYPE_MERCHANT, merchants)
        answers = await self._client.look_up(MEMBER.exchange.purpose, tokens, timeout=PATIENCE)
        self._counts["asked"] += len(merchants)
        self._counts["hits"] += sum(answer.risk is not None for answer in answers)
        return {merchant: answer.risk for merchant, answer in zip(merchants, answers, strict=True)}

    def finish(self, path: Path) -> dict[str, int]:
        """Write the rows (`Watched`); what was done."""
        Watched.of(self._payments, self._rows).write(path)
        return dict(self._counts)


async def main(config: Path, books: Path, first: int, delay: int, rows: Path) -> None:
    """Serve the commands of standard input until it ends."""
    async with ExchangeClient.from_config(load_config(config)) as client:
        member = Member(client, books, first, delay)
        # What is read now lives to the end: going over it again and again takes a fifth of the time.
        gc.freeze()

        async def answer(request: Mapping[str, Any]) -> Mapping[str, Any]:
            match request["command"]:
                case "publish":
                    await member.publish(request["now"])
                    return {}
                case "watch":
                    await member.watch(request["day"])
                    return {}
                case "finish":
                    return member.finish(rows)
                case command:
                    raise ValueError(f"unknown command {command}")

        await serve(answer)


if __name__ == "__main__":
    _config, _books, _first, _delay, _rows = sys.argv[1:]
    asyncio.run(main(Path(_config), Path(_books), int(_first), int(_delay), Path(_rows)))
