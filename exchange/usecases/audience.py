"""Who was shown a signal, and the news for them.

Found by scanning the access records and deliveries from the signal's entry on: before a change is queued as
far as the log goes, the rest inside the writer's group, and what the group itself shows. Invariants: nobody
is told who couldn't have been shown the signal by the rules of that moment; each member is told once, of the
token it submitted itself; what corrects what a member was shown is on the log with what made it wrong.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Self

from signalexchange.roster import Roster
from signalexchange.rulebook import Rulebook, audience_allows
from signalexchange.v1.log_entry_pb2 import (
    ENTRY_TYPE_CORRECTION,
    AccessEntry,
    CorrectionEntry,
    DeliveryEntry,
    EntryType,
)
from signalexchange.v1.signal_service_pb2 import SignalChange

from exchange.domain.records import POSITIONS, Event, RosterRow, Shown, SignalState, Status
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
        self._rosters: Sequence[RosterRow] = ()

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
        if self._next < min(stop, self._exchange.membership.entries[-1]):
            self._rosters = await self._exchange.store.rosters()
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
        self._take_in(proposal)
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

    def _take_in(self, proposal: Proposal) -> None:
        """Look-ups of the same group: they saw the state before it, and their records are not stored yet."""
        entries = proposal.delta.entries
        for entry in entries[max(0, self._next - (proposal.tree.size - len(entries))) :]:
            if entry.shown:
                self._add(Shown(entry.idx, entry.member, entry.type, entry.payload or b""))
        self._next = max(self._next, proposal.tree.size)

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
                if self._could_see(shown, access.purpose, state, link_audience):
                    self._tell(state, Told(shown.member, access.type, access.epoch, token))

    def _tell(self, state: SignalState, told: Told) -> None:
        self._told.setdefault(state.signal_id, {}).setdefault(told.member, told)

    def _could_see(self, shown: Shown, purpose: str, state: SignalState, link_audience: int) -> bool:
        membership = self._exchange.membership
        roster, rulebook = self._in_force(shown.idx)
        reader, issuer = roster.party(shown.member), roster.party(state.issuer)
        group = membership.group(state.issuer) if issuer is None else issuer.group
        rule = rulebook.purpose(purpose)
        return (
            reader is not None
            and membership.roster.party(shown.member) is not None
            and reader.group != group
            and rule is not None
            and state.code in rule.code_set
            and audience_allows(state.audience, reader.kind)
            and audience_allows(link_audience, reader.kind)
        )

    def _in_force(self, index: int) -> tuple[Roster, Rulebook]:
        """Roster and rulebook at an entry: new rules don't undo what was shown under old ones."""
        membership = self._exchange.membership
        version = bisect_left(membership.entries, index) - 1
        if version == len(membership.entries) - 1:
            return membership.roster, membership.rulebook
        return membership.chain.versions[version][1], _rulebook(self._rosters[version].rulebook)


@lru_cache(maxsize=8)
def _rulebook(text: bytes) -> Rulebook:
    return Rulebook.parse(text.decode())
