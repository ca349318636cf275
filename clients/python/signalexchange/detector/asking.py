"""Asking the exchange about the subjects of transactions, within a budget of time.

Invariants: a batch waits at most the budget, whatever the hub and the custodians do; what comes later is kept
for the next transactions and never lost; an answer is used for a stated time and not beyond; what could not
be asked or was not answered is said to be so, and counted. Subjects are asked about in batches, sorted, and
each once as long as its answer is fresh: the less the hub sees of when somebody pays, the better.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Final

from signalexchange.client import ExchangeClient
from signalexchange.detector.decisions import Answered, Shared
from signalexchange.detector.settings import Exchange
from signalexchange.detector.transactions import Transaction
from signalexchange.errors import ExchangeError, InvalidIdentifierError
from signalexchange.identifiers import normalise
from signalexchange.v1.signal_service_pb2 import SubjectRisk

REMEMBERED: Final = 200_000
"""Answers that are kept; the oldest go first."""
RUNNING: Final = 4
"""Questions under way at a time; while there are as many, what is new counts as late."""
REST: Final = 1.0
"""Seconds without questions after one failed: an absent hub costs nobody its whole budget each time."""
PATIENCE: Final = 10.0
"""Seconds after which a question under way is given up."""

_Key = tuple[int, str]
"""Identifier type and raw value."""


class Asker:
    """Answers about transactions' subjects. To be used on one event loop; `close` it."""

    def __init__(self, client: ExchangeClient, settings: Exchange) -> None:
        """`client` stays the caller's to close."""
        self._client = client
        self._settings = settings
        self._types = settings.asked
        self._answers: OrderedDict[_Key, tuple[int, SubjectRisk | None]] = OrderedDict()
        self._unusable: OrderedDict[_Key, None] = OrderedDict()
        """What is no identifier of its type: nobody can be asked about it."""
        self._asked: dict[_Key, asyncio.Task[None]] = {}
        self._resting_until = 0.0
        self.counts: Counter[str] = Counter()
        """Subjects asked about, answered from memory, without an identifier; calls that failed."""
        self.problem = ""
        """Why the last question that failed did; empty again after one that was answered."""

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = set(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def ask(self, transactions: Sequence[Transaction]) -> list[Answered]:
        """What the exchange says of each, as far as it says so within the budget. Raises nothing."""
        now = self._client.now()
        keys = [self._keys(transaction) for transaction in transactions]
        wanted = [key for each in keys for key in each.values()]
        missing = {key for key in wanted if not self._fresh(key, now)}
        self.counts["remembered"] += sum(key not in missing for key in wanted)
        failed = await self._fetch(missing) if missing else set[_Key]()
        return [self._answered(each, failed) for each in keys]

    async def _fetch(self, missing: set[_Key]) -> set[_Key]:
        """Ask, and wait for at most the budget; those that could not be asked about, or failed, come back."""
        new = missing - self._asked.keys()
        resting = time.monotonic() < self._resting_until
        if new and not resting and len(set(self._asked.values())) < RUNNING:
            task = asyncio.create_task(self._question(sorted(new)))
            self._asked.update(dict.fromkeys(new, task))
        under_way = missing & self._asked.keys()
        if under_way:
            waited = {self._asked[key] for key in under_way}
            await asyncio.wait(waited, timeout=self._settings.budget_ms / 1000)
        now = self._client.now()
        tried = missing if resting else under_way
        return {key for key in tried if key not in self._asked and not self._fresh(key, now)}

    async def _question(self, keys: Sequence[_Key]) -> None:
        """Ask about identifiers and keep the answers, one identifier type after the other."""
        try:
            async with asyncio.timeout(PATIENCE):
                for type_ in sorted({key[0] for key in keys}):
                    values = [value for of, value in keys if of == type_]
                    tokens = await self._client.tokens(type_, values)
                    self.counts["asked"] += len(values)
                    answers = await self._client.look_up(self._settings.purpose, tokens, timeout=PATIENCE)
                    until = self._client.now() + 60 * self._settings.fresh_minutes
                    for value, answer in zip(values, answers, strict=True):
                        self._answers[type_, value] = until, answer.risk
                        self._answers.move_to_end((type_, value))
            self.problem = ""
        except (ExchangeError, TimeoutError) as error:
            self.problem = str(error) or f"no answer within {PATIENCE:g} s"
            self.counts["failed"] += 1
            self._resting_until = time.monotonic() + REST
        finally:
            for key in keys:
                self._asked.pop(key, None)
            while len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)

    def _keys(self, transaction: Transaction) -> dict[str, _Key]:
        """By subject: what can be asked about."""
        keys: dict[str, _Key] = {}
        for subject, type_ in self._types.items():
            if value := getattr(transaction, subject):
                key = type_, value
                if key not in self._answers and not self._usable(key):
                    self.counts["no_identifier"] += 1
                    continue
                keys[subject] = key
        return keys

    def _usable(self, key: _Key) -> bool:
        if key in self._unusable:
            return False
        try:
            normalise(*key)
        except InvalidIdentifierError:
            self._unusable[key] = None
            if len(self._unusable) > REMEMBERED:
                self._unusable.popitem(last=False)
            return False
        return True

    def _fresh(self, key: _Key, now: int) -> bool:
        known = self._answers.get(key)
        return known is not None and known[0] > now

    def _answered(self, keys: dict[str, _Key], failed: set[_Key]) -> Answered:
        now = self._client.now()
        risks: dict[str, SubjectRisk | None] = {}
        shared: Shared = "answered" if keys else "nothing"
        for subject, key in keys.items():
            if self._fresh(key, now):
                risks[subject] = self._answers[key][1]
            elif key in failed:
                shared = "unreachable"
            elif shared != "unreachable":
                shared = "late"
        return Answered(risks, shared)
