"""Disclosures to law enforcement: how a step is taken, and expiry.

Invariants: a step is taken whole or not at all, and once; repeating its statement is answered even when the
keys that signed it have ended; each step is on the log for requester and asked member in one transaction, and
nobody else is told anything; the hub never opens what is sealed, and when a disclosure has ended scope and
package are out of its files before the answer leaves.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Self

from signalexchange.roster import Party
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.identifier_pb2 import Receipt
from signalexchange.v1.log_entry_pb2 import (
    ENTRY_TYPE_DISCLOSURE_DECISION,
    ENTRY_TYPE_DISCLOSURE_EXPIRY,
    DisclosureExpiryEntry,
    EntryType,
)

from exchange.domain.disclosure import (
    MAX_OPEN,
    DisclosureEvent,
    DisclosureStep,
    Move,
    NewDisclosure,
    Standing,
    StoredDisclosure,
    take,
)
from exchange.domain.refusal import Refusal
from exchange.domain.store import StorageFull, Store
from exchange.usecases.exchange import Exchange
from exchange.usecases.writer import Change, Proposal, unavailable

DAY: Final = 86_400
PART: Final = 100


class Taken(NamedTuple):
    """A step that is durable: the receipt of the caller's entry, and whether it had been taken before."""

    receipt: Receipt
    repeated: bool


Check = Callable[[StoredDisclosure | None, int], None]
"""Raises Refusal unless the step may be taken on what is stored, at a time."""


class TakeStep(Change[Taken]):
    """A step of a disclosure; `new` is a request's, `package` a release's."""

    def __init__(
        self,
        exchange: Exchange,
        party: Party,
        request_id: bytes,
        type_: EntryType.ValueType,
        payload: bytes,
        check: Check,
        *,
        new: NewDisclosure | None = None,
        package: bytes | None = None,
    ) -> None:
        self._exchange = exchange
        self._party = party
        self._request_id = request_id
        self._type = type_
        self._payload = payload
        self._check = check
        self._new = new
        self._package = package
        self._known: StoredDisclosure | None = None
        self._open = 0
        self._ended = False

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """What is stored of it."""
        for change in changes:  # alone in its group
            change._known = await store.disclosure(change._request_id)
            if change._new is not None:
                change._open = await store.open_disclosures(change._party.id)

    def decide(self, proposal: Proposal) -> tuple[Taken, Receipt]:
        """Write the step, its two entries and its news."""
        self._exchange.membership.standing(self._party.id)
        known, new = self._known, self._new
        if new is None:
            known = own(known, self._party)
            decides = self._type == ENTRY_TYPE_DISCLOSURE_DECISION
            if self._party.id != (known.member if decides else known.requester):
                raise unknown()
        before = None if known is None else known.step(self._type)
        if known is not None and (before is not None or new is not None):
            return self._repeat(known, before)
        # The roster may have changed while the step waited, even to another key of the same id.
        self._check(known, proposal.now)
        if new is not None:
            if self._open >= MAX_OPEN:
                raise Refusal(
                    ErrorReason.ERROR_REASON_QUOTA_EXCEEDED,
                    f"more than {MAX_OPEN:,} requests of the caller's are open",
                )
            proposal.delta.disclosures.opened.append(new)
            requester, member, standing = new.requester, new.member, Standing(new.state, new.due)
        else:
            known = own(known, self._party)
            requester, member = known.requester, known.member
            standing = take(known.standing, self._type, proposal.now, released=self._package is not None)
            if standing != known.standing:
                move = Move(*standing, self._package, self._request_id)
                proposal.delta.disclosures.moved.append(move)
        self._ended = not standing.due
        step = log_step(proposal, self._request_id, self._type, self._payload, requester, member)
        taken = Taken(Receipt(index=_entry_of(step, requester == self._party.id)), False)
        return taken, taken.receipt

    def _repeat(self, known: StoredDisclosure, before: DisclosureStep | None) -> tuple[Taken, Receipt]:
        if before is None or before.payload != self._payload:
            if self._new is not None:
                raise Refusal(
                    ErrorReason.ERROR_REASON_ID_REUSED, "the request id was used before with other content"
                )
            raise Refusal(
                ErrorReason.ERROR_REASON_DISCLOSURE_CONFLICT, "the disclosure took this step otherwise before"
            )
        self._ended = not known.standing.due
        taken = Taken(Receipt(index=_entry_of(before, known.requester == self._party.id)), True)
        return taken, taken.receipt

    async def settle(self, store: Store) -> None:
        """What was sealed leaves no trace once it has ended. Raises Refusal UNAVAILABLE where one is left."""
        if self._ended:
            await _forget(store)


async def expire_disclosures(exchange: Exchange) -> int:
    """Record every expiry that is due and forget old events; returns how many expired."""
    gone = 0
    while True:
        part = await exchange.writer.submit(ExpireDisclosures(exchange))
        gone += part
        if part < PART:
            return gone


class ExpireDisclosures(Change[int]):
    """A part of what is due: answered with how many expired."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._due: list[StoredDisclosure] = []
        self._events = 0

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """What is due."""
        for change in changes:  # alone in its group
            terms = change._exchange.membership.rulebook.terms
            change._due = await store.due_disclosures(now, PART)
            change._events = await store.old_disclosure_events(now - terms.events_days * DAY)

    def decide(self, proposal: Proposal) -> tuple[int, None]:
        """Log each expiry for both sides."""
        disclosures = proposal.delta.disclosures
        for each in self._due:
            standing = take(each.standing, ENTRY_TYPE_DISCLOSURE_EXPIRY, proposal.now)
            disclosures.moved.append(Move(*standing, None, each.request_id))
            payload = DisclosureExpiryEntry(request_id=each.request_id, due=each.standing.due)
            log_step(
                proposal,
                each.request_id,
                ENTRY_TYPE_DISCLOSURE_EXPIRY,
                payload.SerializeToString(),
                each.requester,
                each.member,
            )
        disclosures.forgotten_events = self._events
        return len(self._due), None

    async def settle(self, store: Store) -> None:
        """What was sealed leaves no trace."""
        if self._due:
            await _forget(store)


def log_step(
    proposal: Proposal,
    request_id: bytes,
    type_: EntryType.ValueType,
    payload: bytes,
    requester: str,
    member: str,
) -> DisclosureStep:
    """Put a step on the log and into the watches of both sides: an entry concerns one party, so there are
    two."""
    entries = [proposal.log(type_, party, payload) for party in (requester, member)]
    step = DisclosureStep(request_id, type_, proposal.now, payload, *entries)
    proposal.delta.disclosures.steps.append(step)
    proposal.delta.disclosures.events.extend(
        DisclosureEvent(party, request_id, proposal.now) for party in (requester, member)
    )
    return step


async def _forget(store: Store) -> None:
    try:
        await store.forget_traces()
    except StorageFull:
        raise unavailable("done, but what was sealed is not yet out of every file; repeat it") from None


def _entry_of(step: DisclosureStep, requesters: bool) -> int:
    return step.requester_entry if requesters else step.member_entry


def own(known: StoredDisclosure | None, party: Party) -> StoredDisclosure:
    """The disclosure, if the party is a side of it. Raises Refusal DISCLOSURE_UNKNOWN."""
    if known is None or party.id not in (known.requester, known.member):
        raise unknown()
    return known


def unknown() -> Refusal:
    """None of that id, for this caller."""
    return Refusal(
        ErrorReason.ERROR_REASON_DISCLOSURE_UNKNOWN,
        "there is no disclosure of that id that concerns the caller",
    )
