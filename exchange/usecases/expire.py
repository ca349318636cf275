"""Expiry: what is past its term goes, a part at a time.

Invariants: an expired signal stops counting by its own time, whether or not this has run; its content is
deleted and its issuer told, its tombstone stays; events go when the rulebook's term for resuming is over;
access records lose their content only after their term.
"""

from collections.abc import Sequence
from typing import Final, Self

from signalexchange.v1.signal_service_pb2 import SignalChange

from exchange.domain.records import Event, SignalState, Status
from exchange.domain.store import Store
from exchange.usecases.exchange import Exchange
from exchange.usecases.items import Gone
from exchange.usecases.writer import Change, Proposal

PART: Final = 500
DAY: Final = 86_400


async def expire(exchange: Exchange) -> int:
    """Expire everything that is due; returns how many signals went."""
    gone = 0
    while True:
        part, more = await exchange.writer.submit(Expire(exchange))
        gone += part
        if not more:
            return gone


class Expire(Change[tuple[int, bool]]):
    """One part of what is due: answered with how many signals went, and whether there is more."""

    weight = PART

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._due: list[SignalState] = []
        self._batches: list[tuple[int, int]] = []
        self._events = 0
        self._access = 0
        self._match_events = 0
        self._case_events = 0
        self._gone: Gone | None = None

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """What is due."""
        for change in changes:  # alone in its group
            terms = change._exchange.membership.rulebook.terms
            change._due, change._batches = await store.due(now, PART)
            change._events = await store.old_events(now - terms.events_days * DAY)
            change._match_events = await store.old_match_events(now - terms.events_days * DAY)
            change._case_events = await store.old_case_events(now - terms.events_days * DAY)
            change._access = await store.old_access(now - terms.access_days * DAY, PART)

    def decide(self, proposal: Proposal) -> tuple[tuple[int, bool], None]:
        """Delete content, tell issuers, forget old events."""
        delta = proposal.delta
        for state in self._due:
            # One that was withdrawn had its event then, and stays a withdrawn one.
            if state.status == Status.ACTIVE:
                delta.expired.append(state.place)
                delta.events.append(
                    Event(
                        state.issuer,
                        state.signal_id,
                        SignalChange.SIGNAL_CHANGE_EXPIRED,
                        True,
                        state.type,
                        state.epoch,
                        None,
                        proposal.now,
                    )
                )
            else:
                delta.erased.append(state.place)
        delta.rescheduled.extend((entry, was, proposal.now) for entry, was in self._batches)
        delta.forgotten_events = self._events
        delta.forgotten_access = self._access
        delta.lapsed = proposal.now
        delta.forgotten_match_events = self._match_events
        delta.forgotten_case_events = self._case_events
        # A 256th of them a minute: all are looked at several times a day, and none of it takes long.
        days = self._exchange.membership.rulebook.matching.rumour_days
        delta.forgotten_shown = (proposal.now // 60 % 256, proposal.now // DAY - days)
        self._gone = Gone(0, proposal.now, [state.place for state in self._due if state.role])
        old_events = self._events or self._match_events or self._case_events
        more = bool(self._batches or old_events or self._access)
        return (len(self._due), more), None

    def applied(self) -> None:
        """Let matching do without what has gone; it learns of the day, too."""
        if self._gone is not None:
            self._exchange.matching.put(self._gone)
