"""Who was shown a signal, and the news for them.

Found by scanning the access records and deliveries from the signal's entry on: before a change is queued as
far as the log goes, and the rest inside the writer's group. Invariants: nobody is told who couldn't have been
shown the signal; each member is told once, of the token it submitted itself; what corrects
what a member was shown is on the log with what made it wrong.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple, Self

from signalexchange.rulebook import audience_allows
from signalexchange.v1.log_entry_pb2 import (
    ENTRY_TYPE_CORRECTION,
    AccessEntry,
    CorrectionEntry,
    DeliveryEntry,
    EntryType,
)
from signalexchange.v1.signal_service_pb2 import SignalChange

from exchange.domain.records import POSITIONS, Event, Shown, SignalState, Status
from exchange.usecases.exchange import Exchange
from exchange.usecases.writer import Proposal

_PAGE: Final = 5_000
"""Entries scanned at a stretch."""
_TOKEN: Final = 32


class Told(NamedTuple):
    """A member that was shown a signal, and the token it had submitted to see it."""

    member: str
    type: int
    epoch: int
    token: bytes


class Audience:
    """Works out from access records and deliveries who was shown which of some signals."""

    def __init__(
        self, exchange: Exchange, signals: list[tuple[SignalState, list[tuple[bytes, int]]]]
    ) -> None:
        self._exchange = exchange
        self._by_token: dict[bytes, list[tuple[SignalState, int]]] = {}
        self._by_id = {state.signal_id: state for state, _ in signals}
        for state, tokens in signals:
            for token, audience in tokens:
                self._by_token.setdefault(token, []).append((state, audience))
        places = [state.place for state, _ in signals]
        # The entry from which on signals can have been shown.
        self._next = min(places) // POSITIONS if places else 1 << 62
        self._told: dict[bytes, dict[str, Told]] = {}

    @classmethod
    async def find(cls, exchange: Exchange, states: Iterable[SignalState]) -> Self:
        """Who was shown the active ones of the signals, as far as the log goes now."""
        active = [state for state in states if state.status == Status.ACTIVE and state.token]
        linked = await exchange.store.linked_tokens(active)
        audience = cls(
            exchange,
            [(state, [(state.token or b"", 0), *linked.get(state.place, ())]) for state in active],
        )
        await audience.read_on()
        return audience

    def covers(self, states: Iterable[SignalState]) -> bool:
        """Whether it works out those of the signals that are active."""
        return all(state.signal_id in self._by_id for state in states if state.status == Status.ACTIVE)

    async def read_on(self) -> None:
        """Take in what the log has gained since."""
        stop = self._exchange.writer.head.tree.size
        while self._next < stop:
            end = min(self._next + _PAGE, stop)
            for shown in await self._exchange.store.shown(self._next, end):
                self._add(shown)
            self._next = end

    def tell(
        self, proposal: Proposal, state: SignalState, change: SignalChange.ValueType, without: str = ""
    ) -> None:
        """Tell the issuer and everybody who was shown the signal, but the member `without`; that others were
        told is on the log."""
        events, now = proposal.delta.events, proposal.now
        if state.issuer != without:
            events.append(
                Event(state.issuer, state.signal_id, change, True, state.type, state.epoch, None, now)
            )
        for told in self._told.get(state.signal_id, {}).values():
            if told.member == without:
                continue
            payload = CorrectionEntry(signal_id=state.signal_id, token=told.token, change=change)
            index = proposal.log(ENTRY_TYPE_CORRECTION, told.member, payload.SerializeToString())
            events.append(
                Event(
                    told.member, state.signal_id, change, False, told.type, told.epoch, told.token, now, index
                )
            )

    def _add(self, shown: Shown) -> None:
        if shown.type == EntryType.ENTRY_TYPE_DELIVERY:
            delivery = DeliveryEntry.FromString(shown.payload)
            state = self._by_id.get(delivery.signal_id)
            if state is not None:
                # What was delivered had passed every rule.
                self._tell(state, Told(shown.member, state.type, state.epoch, delivery.token))
            return
        if shown.type != EntryType.ENTRY_TYPE_LOOK_UP:
            return
        access = AccessEntry.FromString(shown.payload)
        for at in range(0, len(access.hits), _TOKEN):
            token = access.hits[at : at + _TOKEN]
            for state, link_audience in self._by_token.get(token, ()):
                if self._could_see(shown.member, access.purpose, state, link_audience):
                    self._tell(state, Told(shown.member, access.type, access.epoch, token))

    def _tell(self, state: SignalState, told: Told) -> None:
        self._told.setdefault(state.signal_id, {}).setdefault(told.member, told)

    def _could_see(self, member: str, purpose: str, state: SignalState, link_audience: int) -> bool:
        membership = self._exchange.membership
        reader = membership.roster.party(member)
        rule = membership.rulebook.purpose(purpose)
        return (
            reader is not None
            and reader.group != membership.group(state.issuer)
            and rule is not None
            and state.code in rule.code_set
            and audience_allows(state.audience, reader.kind)
            and audience_allows(link_audience, reader.kind)
        )
