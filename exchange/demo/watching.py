"""A member's detectors in the demo: one with the exchange, and one alone to compare it with.

Invariants: both see the member's own transactions once, in the order of their times, and the frauds among
them a week later; they differ in the exchange alone; what a decision is worth is counted from EVALUATED_FROM
on, and no detector sees it.
"""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from signalexchange.client import ExchangeClient
from signalexchange.detector.arrivals import Arrival, Label
from signalexchange.detector.asking import Asker
from signalexchange.detector.detector import BATCH, Detector, Told
from signalexchange.detector.journal import DetectorJournal
from signalexchange.detector.settings import DetectorSettings, Exchange, LearningSettings
from signalexchange.detector.transactions import Rejected

from exchange.demo.books import Books
from exchange.demo.ranking import Ranking
from exchange.demo.risk import DELAY

VIEWS: Final = ("alone", "with_exchange")
SHOWN: Final = 2
"""Decisions a day that are shown of a member's."""
_LEARNING: Final = LearningSettings(every_hours=14 * 24)
# A replay is no race: what a member of a busy machine asks is waited for.
_EXCHANGE: Final = Exchange(subjects={"merchant": "merchant"}, budget_ms=10_000, fresh_minutes=24 * 60 - 1)
_SETTINGS: Final = DetectorSettings(lateness=0, learning=_LEARNING, exchange=_EXCHANGE)


class Watch:
    """One member's detectors. A context manager."""

    def __init__(self, client: ExchangeClient, books: Books, folder: Path, evaluated_from: int) -> None:
        """`folder` is theirs; decisions of days from `evaluated_from` on are counted."""
        self._books = books
        self._evaluated_from = evaluated_from
        self._labelled_until = 0
        self._stack = ExitStack()
        self._asker = Asker(client, _EXCHANGE)
        self._detectors: dict[str, Detector] = {}
        for view in VIEWS:
            journal = self._stack.enter_context(DetectorJournal(folder / view))
            settings, asker = _SETTINGS, self._asker
            if view == "alone":
                self._detectors[view] = Detector.open(settings.model_copy(update={"exchange": None}), journal)
            else:
                self._detectors[view] = Detector.open(settings, journal, asker)
        self._rankings = {view: Ranking() for view in ("rules", *VIEWS)}
        self._caught: Counter[str] = Counter()
        self._decided = 0
        self._seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    async def day(self, now: int, number: int) -> list[str]:
        """Watch a day's transactions, after the labels that are known by its morning; lines to show."""
        arrivals: list[Arrival] = [
            Label(payment.transaction.id, True, now)
            for payment in self._books.learned(self._labelled_until, now - DELAY)
        ]
        self._labelled_until = now - DELAY
        payments = self._books.payments(number)
        arrivals += [payment.transaction for payment in payments]
        told: dict[str, list[Told]] = {}
        for view, detector in self._detectors.items():
            started = time.monotonic()
            told[view] = await _all(detector, arrivals)
            if view == "with_exchange":
                self._seconds += time.monotonic() - started
                self._decided += len(told[view])
            await detector.learned()
        if number >= self._evaluated_from:
            frauds = {payment.transaction.id for payment in payments if payment.fraud}
            self._count(told, frauds)
        return self._lines(told)

    async def close(self) -> None:
        """End what runs beside them."""
        await self._asker.close()
        for detector in self._detectors.values():
            await detector.close()

    def summary(self) -> dict[str, Any]:
        """What they were worth, for the report."""
        versions = {view: each.engine.learner.current for view, each in self._detectors.items()}
        return {
            "rankings": {view: ranking.rows() for view, ranking in self._rankings.items()},
            "caught": dict(self._caught),
            "decided": self._decided,
            "seconds": self._seconds,
            "models": {view: 0 if model is None else model.version for view, model in versions.items()},
        }

    def _count(self, told: dict[str, list[Told]], frauds: set[str]) -> None:
        rules = {rule.name: rule.score for rule in self._detectors["alone"].rules.rules}
        alone = {each.decision.id: each.decision for each in told["alone"]}
        for each in told["with_exchange"]:
            decision, fraud = each.decision, each.decision.id in frauds
            said = {reason.code for reason in decision.reasons if reason.source == "rule"}
            self._rankings["rules"].add(max((rules[name] for name in said), default=0), fraud)
            self._rankings["with_exchange"].add(decision.score, fraud)
            self._rankings["alone"].add(alone[decision.id].score, fraud)
            self._caught["frauds" if fraud else "genuine"] += 1
            if not decision.matters:
                self._caught["missed_with_exchange"] += fraud and alone[decision.id].matters
                continue
            if not fraud:
                self._caught["stopped_genuine"] += 1
                continue
            self._caught["caught"] += 1
            if not alone[decision.id].matters:
                self._caught["thanks_to_exchange"] += 1
            elif said:
                self._caught["thanks_to_rules"] += 1
            else:
                self._caught["thanks_to_model"] += 1

    def _lines(self, told: dict[str, list[Told]]) -> list[str]:
        """The decisions that matter most, those first that the exchange brought about."""
        alone = {each.decision.id for each in told["alone"] if each.decision.matters}
        matter = [each for each in told["with_exchange"] if each.decision.matters]
        matter.sort(key=lambda each: (each.decision.id in alone, -each.decision.score, each.number))
        return [_line(each, each.decision.id not in alone) for each in matter[:SHOWN]]


async def _all(detector: Detector, arrivals: Sequence[Arrival]) -> list[Told]:
    """All decisions on a day's arrivals. Raises Rejected: the books hold nothing that can't be taken."""
    told: list[Told] = []
    for start in range(0, len(arrivals), BATCH):
        decided, rejected = await detector.take(arrivals[start : start + BATCH])
        _none(rejected)
        told += decided
    return told


def _none(rejected: Sequence[Rejected]) -> None:
    for each in rejected:
        raise each


def _line(told: Told, shared: bool) -> str:
    decision, transaction = told.decision, told.transaction
    when = datetime.fromtimestamp(decision.time, UTC).strftime("%m-%d %H:%M")
    why = ", ".join(dict.fromkeys(reason.code.replace("_", " ") for reason in decision.reasons[:3]))
    thanks = " (alone it would have passed)" if shared else ""
    amount = f"CNY {transaction.amount / 100:9,.2f}"
    return f"{when}  {decision.action:12} {decision.score:4}  {amount}  {why}{thanks}"
