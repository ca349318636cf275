"""Refusals on the log.

Invariants: a refusal of an enrolled caller is on the log before its answer leaves, the first few of a
member, reason and minute one by one; the rest of that minute is counted and becomes one entry, so that
refusals can't flood the log. What says nothing about the caller (no storage, a defect, a deadline) is not
logged; an overload is only counted.
"""

import asyncio
from collections import Counter
from typing import ClassVar, Final

from signalexchange.roster import Party
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.log_entry_pb2 import EntryType, RefusalEntry

from exchange.domain.refusal import Refusal
from exchange.usecases.exchange import Exchange
from exchange.usecases.writer import Change, Proposal

_NOT_LOGGED: Final = frozenset(
    {
        ErrorReason.ERROR_REASON_UNAVAILABLE,
        ErrorReason.ERROR_REASON_INTERNAL,
        ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED,
    }
)
_Key = tuple[str, str, str]
"""Member, method, reason."""


class RefusalLog:
    """Logs refusals, aggregating what exceeds the rulebook's number a minute."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._minute = -1
        self._seen: Counter[tuple[str, str]] = Counter()
        self._rest: Counter[_Key] = Counter()

    async def record(self, party: Party, method: str, refusal: Refusal) -> None:
        """Put a refusal on the log. Raises Refusal UNAVAILABLE where that can't be done."""
        if refusal.reason in _NOT_LOGGED:
            return
        await self.flush()
        reason = refusal.reason_name
        self._seen[(party.id, reason)] += 1
        limit = self._exchange.membership.rulebook.limits.refusals_per_minute
        if self._seen[(party.id, reason)] > limit or refusal.reason == ErrorReason.ERROR_REASON_OVERLOADED:
            self._rest[(party.id, method, reason)] += 1
            return
        await self._exchange.writer.submit(Refused(Counter({(party.id, method, reason): 1})))

    async def flush(self, *, everything: bool = False) -> None:
        """Log what was counted in a minute that is over, or `everything`."""
        minute = self._exchange.clock() // 60
        if minute == self._minute and not everything:
            return
        self._minute = minute
        self._seen.clear()
        if self._rest:
            rest, self._rest = self._rest, Counter()
            # A caller that gives up while its call carries the count must not take the count with it.
            await asyncio.shield(self._log(rest))

    async def _log(self, rest: Counter[_Key]) -> None:
        try:
            await self._exchange.writer.submit(Refused(rest))
        except Refusal:
            self._rest.update(rest)
            raise


class Refused(Change[None]):
    """Refusals, by member, method and reason."""

    appends_only: ClassVar[bool] = True

    def __init__(self, refusals: Counter[_Key]) -> None:
        self._refusals = refusals

    def decide(self, proposal: Proposal) -> tuple[None, None]:
        """One entry each."""
        for (member, method, reason), count in self._refusals.items():
            payload = RefusalEntry(method=method, reason=reason, count=count)
            proposal.log(EntryType.ENTRY_TYPE_REFUSAL, member, payload.SerializeToString())
        return None, None
