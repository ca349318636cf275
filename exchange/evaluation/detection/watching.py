"""A member's payments as its detector sees them come in: windows, rules, and outcomes when they are due.

Invariants: a row depends on the payments before it, on outcomes that were `delay` old by then, on what the
exchange had answered by then and on the payment itself, and on nothing that comes after.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from signalexchange.detector.features import FEATURES
from signalexchange.detector.rules import Rules
from signalexchange.detector.shared import shared_features
from signalexchange.detector.windows import Windows
from signalexchange.v1.signal_service_pb2 import SubjectRisk

from exchange.evaluation.detection.plan import UTC
from exchange.replay.books import Payment


class Watcher:
    """Windows and rules of one member, and the outcomes it waits for. Give payments in order of time."""

    def __init__(self, delay: int) -> None:
        """Outcomes come `delay` seconds after their payment."""
        self.rules = Rules.default(FEATURES)
        self._delay = delay
        self._windows = Windows(UTC)
        self._waiting: deque[Payment] = deque()

    def row(self, payment: Payment, answers: Mapping[str, SubjectRisk | None]) -> list[float]:
        """What a model sees of a payment (plan.ROW), by what is known at its time; then it is counted.

        `answers` of the exchange by subject, as of `shared_features`: empty for who doesn't ask.
        """
        t = payment.transaction
        waiting, delay = self._waiting, self._delay
        while waiting and waiting[0].transaction.time + delay <= t.time:
            known = waiting.popleft()
            self._windows.label(known.transaction, known.fraud, known.transaction.time + delay)
        vector = self._windows.update(t)
        score = max((hit.score for hit in self.rules.judge(vector, t)), default=0)
        waiting.append(payment)
        return [*vector, score, *shared_features(answers)]


@dataclass(frozen=True)
class Watched:
    """Payments with their rows, all in order of time."""

    ids: NDArray[np.int64]
    times: NDArray[np.int64]
    customers: NDArray[np.str_]
    frauds: NDArray[np.bool_]
    scenarios: NDArray[np.int64]
    rows: NDArray[np.float32]

    @classmethod
    def of(cls, payments: list[Payment], rows: NDArray[np.float32]) -> "Watched":
        """Payments and their rows, in the same order."""
        return cls(
            np.array([int(each.transaction.id) for each in payments], np.int64),
            np.array([each.transaction.time for each in payments], np.int64),
            np.array([each.transaction.customer for each in payments], np.str_),
            np.array([each.fraud for each in payments], np.bool_),
            np.array([each.scenario for each in payments], np.int64),
            rows,
        )

    def write(self, path: Path) -> None:
        """Write a file that `read` reads."""
        np.savez(path, **vars(self))

    @classmethod
    def read(cls, path: Path) -> "Watched":
        """Read what `write` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{name: file[name] for name in file.files})
