"""The detector: what arrives goes in, in batches as small as the stream allows, and decisions come out.

Invariants: a decision is told only once it is durable; each transaction id gets one, whatever is sent again
and whenever the process dies; nothing that arrives is lost silently: what is not taken is counted and told;
no transaction waits for the exchange longer than its budget, or for a model to be made, a snapshot to be
written or a signal to be sent. To be used on one event loop.
"""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np

from signalexchange.client import MAX_BATCH
from signalexchange.detector.arrivals import Arrival, Label, Position
from signalexchange.detector.asking import Asker
from signalexchange.detector.decisions import Answered, Decision, decide
from signalexchange.detector.engine import (
    FLUSH,
    JUDGED,
    LABEL,
    OFFER,
    ROLLBACK,
    TAKEOVER,
    TICK,
    TRIAL,
    WAIT,
    Engine,
    Event,
    Made,
    Released,
)
from signalexchange.detector.features import DAY
from signalexchange.detector.journal import Decided, DetectorJournal
from signalexchange.detector.publishing import Outlet, Sender, reference, values_of
from signalexchange.detector.rules import Rules
from signalexchange.detector.settings import DetectorSettings
from signalexchange.detector.shared import shared_features
from signalexchange.detector.transactions import Rejected, Transaction
from signalexchange.detector.trial import Outcome, Trial
from signalexchange.errors import ConfigError, ExchangeError
from signalexchange.sealed_store import JournalError

BATCH: Final = 256
"""Arrivals a batch should have at most: more wait for each other longer than they save."""
SNAPSHOT_EVERY: Final = 250_000
"""Transactions between two snapshots: as many are taken anew after a crash, in a few tens of seconds."""
NOT_ASKED: Final = Answered({}, "off")
EARLY: Final = "a label from before its transaction"


class Told(NamedTuple):
    """A decision with its number, which grows by every decision, and the transaction it is about."""

    number: int
    transaction: Transaction
    decision: Decision


class StoppedError(ExchangeError):
    """A row that can't be taken, where the settings say that such a row ends the run: `rejected`.

    `told`: what was decided before it; that is durable.
    """

    def __init__(self, told: list[Told], rejected: Rejected) -> None:
        super().__init__(f"{rejected}; the settings say on_rejected = stop")
        self.told = told
        self.rejected = rejected


class Detector:
    """One member's detector on an open journal; `open` makes one."""

    def __init__(
        self,
        settings: DetectorSettings,
        rules: Rules,
        journal: DetectorJournal,
        engine: Engine,
        asker: Asker | None,
        sender: Sender | None,
        say: Callable[[str], None],
    ) -> None:
        self.engine = engine
        self.rules = rules
        self._settings = settings
        self._journal = journal
        self._asker = asker
        self._sender = sender
        self._say = say
        self._outlet = Outlet(settings) if sender is not None else None
        self._carried: list[Event] = []
        """Events of between batches: they become durable with the next."""
        self._trial: asyncio.Task[tuple[Outcome, Trial]] | None = None
        self._snapshot: asyncio.subprocess.Process | None = None
        self._since_snapshot = 0
        self._trimming = False
        """Whether the journal may hold batches that a snapshot holds, too."""
        self._torn = False
        """Whether the state holds what is not durable: of a batch under way, or one that failed."""

    @classmethod
    def open(
        cls,
        settings: DetectorSettings,
        journal: DetectorJournal,
        asker: Asker | None = None,
        sender: Sender | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> Self:
        """Go on from what the journal holds. `asker` and `sender` stay the caller's to close; `say` is called
        with lines for people: model versions, drift.

        Raises what `DetectorJournal.open_engine` raises, and RuleFileError or ConfigError for the rules.
        """
        rules = Rules.read(settings.rules, JUDGED) if settings.rules is not None else Rules.default(JUDGED)
        unknown = {each.rule for each in settings.publish if each.rule} - {each.name for each in rules.rules}
        if unknown:
            raise ConfigError(f"publish: the rule file has no rule {', '.join(sorted(unknown))}")
        engine = journal.open_engine(settings, rules.version)
        detector = cls(settings, rules, journal, engine, asker, sender, say)
        if detector._outlet is not None and settings.flows:
            for decided in journal.decisions():
                detector._outlet.remember(decided.transaction)
        return detector

    async def take(
        self,
        arrivals: Sequence[Arrival],
        now: int | None = None,
        source: Callable[[int], Position] | None = None,
    ) -> tuple[list[Told], list[Rejected]]:
        """Take a batch in and decide what its turn has come for; what is not taken, and why.

        `now` (Unix seconds) where arrivals happen now. `source`: how far the input was read once so many of
        the arrivals were taken.
        Raises StoppedError where a row that is not taken ends the run: what was before it is durable, it and
        what comes after it were not taken, and are read again by the next run. JournalError or ConfigError
        where something can't be made durable: what was not told was not decided, and this detector can't go
        on.
        """
        stop = self._settings.on_rejected == "stop"
        transactions = [each.id for each in arrivals if isinstance(each, Transaction)]
        batch = await self._begin()
        taken = self._journal.known(transactions)
        told: list[Told] = []
        rejected: list[Rejected] = []
        done = 0
        for arrival in arrivals:
            if isinstance(arrival, Label) and arrival.id in batch.ids:
                # The label counts from here on; first its transaction must have been decided.
                self._read(source, done)
                told += await self._decide(batch, rejected)
                batch = await self._begin()
            try:
                if isinstance(arrival, Transaction):
                    self._offer(batch, arrival, now, taken)
                elif isinstance(arrival, Label):
                    self._label(batch, arrival, now)
                else:
                    batch.counts["unreadable"] += 1
                    raise arrival
            except Rejected as why:
                rejected.append(why)
                if stop:
                    break
            done += 1
            if batch.labels_due:
                self._read(source, done)
                told += await self._decide(batch, rejected)
                batch = await self._begin()
        self._read(source, done)
        told += await self._decide(batch, rejected)
        if rejected and stop:
            raise StoppedError(told, rejected[0])
        return told, rejected

    async def tick(self, now: int) -> list[Told]:
        """Decide what waited for others and need not wait any more when it is `now` (Unix seconds)."""
        return await self._event([TICK, now]) if len(self.engine.order) else []

    async def finish(self) -> list[Told]:
        """Decide all that still waits: the input has ended."""
        return await self._event([FLUSH]) if len(self.engine.order) else []

    async def learned(self) -> None:
        """Wait for the model that is being made, if one is: so that a replay of the past learns in step."""
        if self._trial is not None:
            await asyncio.wait([self._trial])
            self._conclude()

    def rollback(self) -> None:
        """Drop the model version in force, if there is one; durable at once."""
        learner = self.engine.learner
        if learner.current is None:
            return
        # First that it was dropped: a version that is dropped though it still stands in the list can be
        # dropped again, but one that is gone without a note could come back tomorrow.
        events = [*self._carried, [ROLLBACK, self.engine.now]]
        self._journal.commit(events, [], [], self.engine.sources, {}, [])
        self._carried = []
        learner.rollback(self.engine.now)
        self._journal.keep_versions(learner)

    async def close(self) -> None:
        """Stop what runs beside the stream and write a snapshot. Raises ConfigError where that fails."""
        if self._trial is not None:
            self._trial.cancel()  # its thread ends by itself; what it found is found again
        if self._snapshot is not None:
            await self._snapshot.wait()
            self._snapshot = None
        if self._torn:
            return  # what is durable is what counts, and the journal has it
        if self._carried:
            await self._decide(_Batch(self._carried), [])
        await asyncio.to_thread(self._journal.snapshot, self.engine)

    async def _begin(self) -> "_Batch":
        """A batch to take events into, after what could not be done beside the one before."""
        if self._torn:
            raise JournalError("the detector's last batch could not be made durable; it must be started anew")
        await self._beside()
        self._torn = True
        return _Batch(self._carried)

    def _read(self, source: Callable[[int], Position] | None, done: int) -> None:
        if source is not None:
            name, position = source(done)
            self.engine.sources[name] = position

    def _offer(self, batch: "_Batch", transaction: Transaction, now: int | None, taken: set[str]) -> None:
        engine = self.engine
        if transaction.id in taken and not engine.order.knows(transaction.id):
            before = batch.ids.get(transaction.id)
            if before is None and (known := self._journal.decision(transaction.id)) is not None:
                before = known.transaction
            if before == transaction:
                batch.counts["again"] += 1
                return
            batch.counts["reused"] += 1
            raise Rejected(transaction.place, "id", "used for another transaction already")
        batch.events.append([OFFER, transaction.values(), now])
        for released in engine.offer(transaction, now):
            id_ = released.transaction.id
            taken.add(id_)
            batch.ids[id_] = released.transaction
            batch.released.append(released)
            batch.labels_due |= id_ in engine.waiting

    def _label(self, batch: "_Batch", label: Label, now: int | None) -> None:
        known = batch.labelled.get(label.id) or self._journal.decision(label.id)
        if known is None:
            if not self.engine.order.knows(label.id):
                batch.counts["label.unknown"] += 1
                raise Rejected(
                    label.place, "id", "a label of a transaction that was not decided, or is forgotten"
                )
            event: Event = [WAIT, label.id, label.fraud, label.at, label.place]
            self.engine.take(event)
            batch.events.append(event)
            return
        transaction, document = known.transaction, known.document
        at = label.at
        if at is None:
            at = max(now if now is not None else self.engine.now, transaction.time)
        if at < transaction.time:
            batch.counts["label.early"] += 1
            raise Rejected(label.place, "at", EARLY)
        before = document.get("fraud")
        if before == label.fraud or (before is not None and at < document["labelled_at"]):
            batch.counts["label.again"] += 1
            return
        event = [LABEL, transaction.values(), label.fraud, at, before is None]
        self.engine.take(event)
        batch.events.append(event)
        labelled = {**document, "fraud": label.fraud, "labelled_at": at}
        batch.labelled[label.id] = known._replace(document=labelled)
        self._published(batch, transaction, label.fraud)

    def _published(self, batch: "_Batch", transaction: Transaction, fraud: bool) -> None:
        """What a label makes the detector say, or take back."""
        if self._outlet is None:
            return
        batch.drafts += [values_of(draft) for draft in self._outlet.labelled(transaction, fraud)]
        if fraud:
            batch.withdrawn.pop(reference(transaction), None)
        else:
            batch.withdrawn[reference(transaction)] = None

    async def _event(self, event: Event) -> list[Told]:
        batch = await self._begin()
        batch.events.append(event)
        batch.released += self.engine.take(event)
        return await self._decide(batch, [])

    async def _decide(self, batch: "_Batch", rejected: list[Rejected]) -> list[Told]:
        """Judge what a batch released, make all of it durable, and give the decisions."""
        engine, released = self.engine, batch.released
        answers = await self._answers(released)
        rows, added, hits = [], [], []
        for (transaction, vector), answered in zip(released, answers, strict=True):
            shared = shared_features(answered.risks)
            found = self.rules.judge([*vector, *shared], transaction)
            more = [float(max((hit.score for hit in found), default=0)), *shared]
            hits.append(found)
            added.append(more)
            rows.append([*vector, *more])
        matrix = np.array(rows, dtype=np.float32)
        model = engine.learner.current
        probabilities = (
            model.probabilities(matrix).tolist() if model is not None and rows else [0.0] * len(rows)
        )
        decisions = [
            decide(
                one.transaction, row, found, answered,
                model=model, probability=probability, rules=self.rules.version,
                thresholds=self._settings.thresholds,
            )
            for one, row, found, answered, probability in zip(
                released, rows, hits, answers, probabilities, strict=True
            )
        ]  # fmt: skip
        made = [
            Made(
                each.action,
                each.review,
                each.shared,
                [None if number != number else number for number in more],
            )
            for each, more in zip(decisions, added, strict=True)
        ]
        due = engine.decided(released, matrix, made)
        engine.counts.update(batch.counts)
        if self._outlet is not None:
            for one, decision in zip(released, decisions, strict=True):
                batch.drafts += map(values_of, self._outlet.decided(one.transaction, decision))
        documents = {each.id: each.document() for each in decisions}
        for transaction, fraud, at, place in due:
            if at < transaction.time:
                rejected.append(Rejected(place, "at", EARLY))
            else:
                documents[transaction.id] |= {"fraud": fraud, "labelled_at": at}
                self._published(batch, transaction, fraud)
        transactions = [one.transaction for one in released]
        numbers = await asyncio.to_thread(
            self._journal.commit,
            batch.events,
            list(zip(transactions, documents.values(), made, strict=True)),
            list(batch.labelled.values()),
            engine.sources,
            dict(batch.counts),
            batch.outbox(),
        )
        self._carried = []
        self._torn = False
        self._since_snapshot += len(released)
        if self._sender is not None and (batch.drafts or batch.withdrawn):
            self._sender.more()
        return list(map(Told, numbers, transactions, decisions))

    async def _answers(self, released: Sequence[Released]) -> list[Answered]:
        if self._asker is None or not released:
            return [NOT_ASKED] * len(released)
        return await self._asker.ask([one.transaction for one in released])

    async def _beside(self) -> None:
        """What the stream doesn't wait for: a model, a snapshot, what may be forgotten.

        It comes before a batch is taken in, not after: what fails here leaves nothing decided and untold.
        """
        engine, now = self.engine, self.engine.now
        if self._trial is not None and self._trial.done():
            self._conclude()
        if self._trial is None and now and engine.learner.due(now):
            self._carried.append([TRIAL, now])
            trial = engine.learner.trial(now)
            self._trial = asyncio.create_task(_run(trial))
            drift = engine.learner.drift(now)
            if drift is not None and drift.noticed:
                self._say(drift.text())
        await asyncio.to_thread(self._journal.forget, now - self._settings.keep_days * DAY)
        if self._snapshot is not None and self._snapshot.returncode is not None:
            if self._snapshot.returncode:
                self._say(f"a snapshot failed with exit code {self._snapshot.returncode}; it is tried again")
            self._snapshot = None
            self._trimming = True
        if self._trimming:
            self._trimming = await asyncio.to_thread(self._journal.trim)
        if self._snapshot is None and self._since_snapshot >= SNAPSHOT_EVERY:
            self._since_snapshot = 0
            try:
                self._snapshot = await self._aside()
            except OSError as error:
                self._say(f"a snapshot failed: {error.strerror}; it is tried again")

    async def _aside(self) -> asyncio.subprocess.Process:
        """A process that makes a snapshot from the journal: in this one the stream would stand still for
        seconds."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "signalexchange.detector.aside",
            str(self._journal.folder.absolute()),
            str(self._journal.key_path.absolute()),
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is meant for the detector, which waits for it
        )
        assert process.stdin is not None  # noqa: S101 - it was asked for
        process.stdin.write(self._settings.model_dump_json().encode())
        process.stdin.close()
        return process

    def _conclude(self) -> None:
        """Take over what a trial found better."""
        task, self._trial = self._trial, None
        if task is None or task.cancelled():
            return
        if (problem := task.exception()) is not None:
            self._say(f"no model could be made: {problem}")
            return
        outcome, trial = task.result()
        learner = self.engine.learner
        if learner.conclude(outcome, trial):
            self._journal.keep_versions(learner)
            self._carried.append([TAKEOVER, trial.version])
            self._say(f"model version {trial.version} takes over: {outcome.reason}")
        elif outcome.model is not None:
            self._say(f"model version {trial.version} is not used: {outcome.reason}")


class _Batch:
    """What comes together while a batch is taken in."""

    def __init__(self, carried: Sequence[Event]) -> None:
        self.events: list[Event] = list(carried)
        self.released: list[Released] = []
        self.ids: dict[str, Transaction] = {}
        """Those released, by id."""
        self.labels_due = False
        """Whether a label waited for one of them: it counts before the next arrival."""
        self.labelled: dict[str, Decided] = {}
        self.counts: Counter[str] = Counter()
        self.drafts: list[list[Any]] = []
        self.withdrawn: dict[str, None] = {}

    def outbox(self) -> list[dict[str, Any]]:
        """What is to be sent because of it, in parts the hub takes at a time."""
        parts: list[dict[str, Any]] = [
            {"drafts": self.drafts[at : at + MAX_BATCH]} for at in range(0, len(self.drafts), MAX_BATCH)
        ]
        return [*parts, {"withdraw": list(self.withdrawn)}] if self.withdrawn else parts


async def _run(trial: Trial) -> tuple[Outcome, Trial]:
    return await asyncio.to_thread(trial.run), trial
