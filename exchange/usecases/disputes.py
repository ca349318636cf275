"""What an appeal does to signals: disputed at every member until it is decided, or its time is over.

Invariants: a signal stays disputed while any undecided appeal names it, whatever its issuer answers, but one
group's appeals pause what is said of one subject for `appeal_days` a year: none of them is a veto. Until when
is on the log, in an entry that no member opens, since it says where others' signals stand; everybody who
was shown one is told when its dispute begins and when it ends.
"""

from collections.abc import Collection, Iterable
from hashlib import sha256
from typing import Final, Self

from signalexchange.v1.log_entry_pb2 import ENTRY_TYPE_DISPUTE, DisputeEntry, SignalPosition
from signalexchange.v1.signal_service_pb2 import SIGNAL_CHANGE_DISPUTED, SIGNAL_CHANGE_UPHELD

from exchange.domain.case_rows import AppealRow, AppealTime
from exchange.domain.matching.naming import tokens_of
from exchange.domain.proceeding import DAY
from exchange.domain.records import POSITIONS, SignalState, Status
from exchange.domain.store import Store
from exchange.usecases.audience import Audience
from exchange.usecases.exchange import Exchange
from exchange.usecases.items import Disputed
from exchange.usecases.writer import Proposal

YEAR: Final = 365 * DAY
"""Seconds after which a group's appeals may pause once more what is said of a subject."""


class Disputes:
    """The signals that an appeal in one member's proceeding disputes."""

    def __init__(
        self,
        exchange: Exchange,
        member: str,
        case_id: bytes,
        named: Collection[bytes],
        places: Collection[int],
    ) -> None:
        self._exchange = exchange
        self._member = member
        self._case_id = case_id
        self._named = named
        self._places = places
        self._states: list[SignalState] = []
        self._by_others: dict[int, int] = {}
        self._times: dict[bytes, AppealTime] = {}
        self._audience = Audience(exchange, [])
        self._items: list[Disputed] = []

    @classmethod
    async def begun(
        cls,
        exchange: Exchange,
        member: str,
        case_id: bytes,
        named: Collection[bytes],
        places: Collection[int],
    ) -> Self:
        """Of an appeal that names signals by id, and in a case about a match those at these places."""
        disputes = cls(exchange, member, case_id, named, places)
        await disputes.read(exchange.store)
        return disputes

    @classmethod
    async def ended(cls, exchange: Exchange, member: str, case_id: bytes) -> Self:
        """Of an appeal that is about to be decided, or whose time is over."""
        places = await exchange.store.appealed_by(member, case_id)
        return await cls.begun(exchange, member, case_id, (), places)

    async def read(self, store: Store) -> None:
        """The signals as last committed, what else disputes them, and who was shown them as far as the log
        goes."""
        states = {state.place: state for state in await store.signals_at(list(self._places))}
        if self._named:
            states |= {state.place: state for state in (await store.signals(list(self._named))).values()}
        self._states = [state for _, state in sorted(states.items())]
        self._by_others = {}
        for row in await store.appeals(list(states)) if states else ():
            if (row.case_id, row.member) != (self._case_id, self._member):
                self._by_others[row.place] = max(row.until, self._by_others.get(row.place, 0))
        self._times = await store.appeal_times([self._key(state) for state in self._states]) if states else {}
        if self._audience.covers(self._states):
            await self._audience.read_on()
        else:
            self._audience = await Audience.find(self._exchange, self._states)

    def begin(self, proposal: Proposal, until: int) -> None:
        """Dispute them until then (Unix seconds) at most."""
        untils: dict[int, int] = {}
        for state in self._states:
            own = self._until(proposal, state, until) if state.status == Status.ACTIVE else 0
            if own > proposal.now:
                proposal.delta.appeals.append(AppealRow(self._case_id, self._member, state.place, own))
                untils[state.place] = max(own, self._by_others.get(state.place, 0))
        self._set(proposal, untils)
        for state in self._states:
            if state.place in untils and not state.is_disputed(proposal.now):
                self._audience.tell(proposal, state, SIGNAL_CHANGE_DISPUTED)

    def _until(self, proposal: Proposal, state: SignalState, until: int) -> int:
        """Until when this appeal disputes a signal: a group's appeals pause what is said of one subject for
        the time of one in a year, however many cases it opens and signals it adds."""
        key = self._key(state)
        known = self._times.get(key)
        if known is None or known.again <= proposal.now:
            known = self._times[key] = AppealTime(key, until, until + YEAR)
            proposal.delta.appeal_times.append(known)
        return min(until, known.until)

    def _key(self, state: SignalState) -> bytes:
        group = self._exchange.membership.group(self._member) or ""
        return sha256(group.encode() + b"\0" + (state.token or b"")).digest()

    def end(self, proposal: Proposal) -> None:
        """This appeal disputes them no longer."""
        proposal.delta.decided_appeals.append((self._case_id, self._member))
        self._end(proposal, self._states)

    def run_out(self, proposal: Proposal, places: Collection[int]) -> None:
        """The time is over for which the group's appeals may dispute the signals at these places; the appeal
        waits on."""
        states = [state for state in self._states if state.place in places]
        proposal.delta.ended_appeals.extend((self._case_id, self._member, place) for place in sorted(places))
        self._end(proposal, states)

    def _end(self, proposal: Proposal, states: Collection[SignalState]) -> None:
        delta = proposal.delta
        self._set(proposal, {state.place: self._by_others.get(state.place, 0) for state in states})
        # What a report in the same transaction says of a signal was told with it.
        judged = {*delta.refuted, *(place for until, place in delta.disputed if until)}
        for state in states:
            left = max(state.disputed_until, self._by_others.get(state.place, 0))
            if state.status == Status.ACTIVE and left <= proposal.now and state.place not in judged:
                self._audience.tell(proposal, state, SIGNAL_CHANGE_UPHELD)

    def hand_on(self) -> None:
        """Have matching take it into account, once it is committed."""
        for item in self._items:
            self._exchange.matching.put(item)

    def _set(self, proposal: Proposal, untils: dict[int, int]) -> None:
        proposal.delta.appealed.extend((until, place) for place, until in untils.items())
        for until in sorted(set(untils.values())):
            places = sorted(place for place, each in untils.items() if each == until)
            payload = DisputeEntry(
                signals=[SignalPosition(index=at // POSITIONS, position=at % POSITIONS) for at in places],
                until=until,
            )
            index = proposal.log(ENTRY_TYPE_DISPUTE, "", payload.SerializeToString())
            self._items.append(Disputed(index, proposal.now, places, until))


async def evidence_naming(exchange: Exchange, match_id: bytes, token: bytes) -> list[int]:
    """Places of the evidence of a match that names a token, ascending; none where the match is gone."""
    matching = exchange.matching
    async with matching.lock:
        match = matching.matcher.matches.get(match_id)
        seen: Iterable[int] = (
            ()
            if match is None
            else (item.seen.place for item in match.evidence() if token in tokens_of(item.seen))
        )
        return sorted(set(seen))
