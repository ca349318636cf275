"""A member's detector as it runs, journal and exchange included, against the same without the exchange.

The hub and the custodians are real, on the same two cores. Invariants: both detectors take the same
transactions, each with a journal of its own; what the exchange is asked about in a run it was not asked about
before, so each subject's first transaction pays for it; seconds are of the wall, as waiting counts.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from signalexchange.client import ExchangeClient
from signalexchange.config import load_config
from signalexchange.detector.asking import Asker
from signalexchange.detector.detector import BATCH, Detector
from signalexchange.detector.journal import DetectorJournal
from signalexchange.detector.settings import DetectorSettings, Exchange
from signalexchange.detector.transactions import Transaction

from tests.bench.measure import Effort, in_turns, quantile
from tests.bench.payments import Payments
from tests.bench.report import Comparison, Result
from tests.bench.world import ASKER, World

CUSTOMERS = 1_000
WARM = 10
"""Days before anything is measured."""
SINGLES = 300
MILLI = 1e3
EXCHANGE = Exchange(subjects={"merchant": "account"})
"""As it is by default: 50 ms of budget, answers good for an hour."""
SETTINGS = DetectorSettings(lateness=0, exchange=EXCHANGE)
ALONE = SETTINGS.model_copy(update={"exchange": None})


@dataclass(frozen=True)
class Passed:
    """A day that passed: transactions a second, and seconds of each that was taken by itself."""

    rate: float
    singles: list[float]


class Stream:
    """A detector and the days it takes; each has merchants of its own, whom nobody asked about before."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._payments = Payments(CUSTOMERS)
        self._day = 0

    async def warm(self) -> None:
        """Take the first days."""
        for _ in range(WARM):
            await self._take(self._next(), BATCH)

    async def pass_day(self) -> Passed:
        """Take a day in batches, then transactions of the next one by one."""
        day = self._next()
        started = time.perf_counter()
        await self._take(day, BATCH)
        rate = len(day) / (time.perf_counter() - started)
        singles = []
        following = self._next()
        for transaction in following[:SINGLES]:
            started = time.perf_counter()
            await self._take([transaction], 1)
            singles.append(time.perf_counter() - started)
        await self._take(following[SINGLES:], BATCH)
        return Passed(rate, singles)

    @property
    def decided(self) -> Counter[str]:
        """Decisions by whether the exchange answered."""
        counts = self._detector.engine.counts
        return Counter({name[7:]: count for name, count in counts.items() if name.startswith("shared.")})

    async def _take(self, transactions: Sequence[Transaction], size: int) -> None:
        for start in range(0, len(transactions), size):
            _, rejected = await self._detector.take(transactions[start : start + size])
            if rejected:
                raise rejected[0]

    def _next(self) -> list[Transaction]:
        self._day += 1
        return [self._renamed(each) for each in self._payments.days(1)]

    def _renamed(self, t: Transaction) -> Transaction:
        values = t.values()
        if t.merchant:
            values[_MERCHANT] = f"shop:{int(t.merchant.partition('-')[2]):06d}D{self._day}"
        return Transaction.restore(values)


async def detector_exchange(world: World, effort: Effort) -> list[Result]:
    """Throughput in batches and latency one by one, with the exchange against without."""
    exchange = world.deploy()
    async with exchange.hub(), exchange.custodians():
        config = load_config(exchange.deployment.party_config(ASKER))
        async with ExchangeClient.from_config(config) as client:
            asker = Asker(client, EXCHANGE)
            with _journal(world, "shared") as shared_journal, _journal(world, "alone") as alone_journal:
                shared = Stream(Detector.open(SETTINGS, shared_journal, asker))
                alone = Stream(Detector.open(ALONE, alone_journal))
                await shared.warm()
                await alone.warm()
                with_, without = await in_turns(shared.pass_day, alone.pass_day, effort.runs)
                counts = shared.decided
            await asker.close()
    total = sum(counts.values())
    details = {f"share {name}": counts[name] / total for name in sorted(counts)}
    details["subjects asked about a transaction"] = asker.counts["asked"] / total
    return [
        Result(
            name="detector_exchange",
            what="transactions a second decided, journal and exchange included, every merchant new each day",
            against="without the exchange",
            unit="1/s",
            runs=Comparison([each.rate for each in with_], [each.rate for each in without]),
            measured_on="client",
            batch=BATCH,
            in_flight=1,
            details=details,
        ),
        *(
            Result(
                name=name,
                what=f"{which} of one transaction by itself, durable, its merchant asked about or known",
                against="without the exchange",
                unit="ms",
                runs=Comparison(
                    [quantile(each.singles, share) * MILLI for each in with_],
                    [quantile(each.singles, share) * MILLI for each in without],
                ),
                measured_on="client",
                batch=1,
                in_flight=1,
            )
            for name, which, share in (
                ("detector_exchange_latency", "median", 0.5),
                ("detector_exchange_latency_p99", "99th percentile", 0.99),
            )
        ),
    ]


def _journal(world: World, name: str) -> DetectorJournal:
    return DetectorJournal(Path(world.folder) / f"detector-{name}")


_MERCHANT = list(Transaction.__dataclass_fields__).index("merchant")
