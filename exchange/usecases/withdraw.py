"""Withdrawing signals: tombstones, erasure, and telling everybody who was shown one.

Invariants: an order is carried out whole or not at all, and once; repeating its statement is answered even
when the key that signed it has ended; erased content is out of every file before the order is acknowledged, a
repeated order included.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Self

from signalexchange.envelope import open_withdrawal, parse_withdrawal
from signalexchange.errors import MalformedError, VerificationError
from signalexchange.roster import Party
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.identifier_pb2 import Receipt
from signalexchange.v1.log_entry_pb2 import (
    EntryType,
    SignalPosition,
    WithdrawalEntry,
)
from signalexchange.v1.signal_pb2 import Signal, WithdrawalReason, WithdrawalStatement
from signalexchange.v1.signal_service_pb2 import (
    SignalChange,
    WithdrawSignalsRequest,
    WithdrawSignalsResponse,
)

from exchange.domain.matching.reading import observation, spent
from exchange.domain.records import POSITIONS, Order, RoleSignal, SignalState, Status
from exchange.domain.refusal import Refusal, invalid
from exchange.domain.store import StorageFull, Store
from exchange.usecases.audience import Audience
from exchange.usecases.exchange import Exchange
from exchange.usecases.items import Gone
from exchange.usecases.publish import check_signer, signing_key
from exchange.usecases.writer import Change, Proposal, unavailable


async def withdraw(
    exchange: Exchange, party: Party, request: WithdrawSignalsRequest
) -> WithdrawSignalsResponse:
    """Carry out the order. Raises Refusal as the contract says."""
    statement = _parse(exchange, party, request)
    known = await exchange.store.order(party.id, statement.order_id)
    if known is None or known.digest != sha256(request.statement).digest():
        _check_signature(exchange, party, request, exchange.clock())
    states = await exchange.store.signals(list(statement.signal_ids))
    # Before the scan: an order that will be refused must not cost a walk through the log, whose length would
    # tell where another's signal stands; and what is unknown now would be missing from the scan.
    _check_own(party, statement, states)
    audience = await Audience.find(exchange, [] if known else states.values())
    response = await exchange.writer.submit(Withdraw(exchange, party, request, statement, audience))
    if statement.reason == WithdrawalReason.WITHDRAWAL_REASON_ERASURE:
        # First out of the matches, then out of every file.
        await exchange.matching.settled()
        await exchange.writer.submit(Forget())
    return response


def _parse(exchange: Exchange, party: Party, request: WithdrawSignalsRequest) -> WithdrawalStatement:
    """The statement, if it is in the caller's name and for this hub."""
    try:
        statement = parse_withdrawal(request.statement)
    except MalformedError as error:
        raise invalid("statement", str(error)) from None
    check_signer(exchange, party, statement.origin, statement.member)
    return statement


def _check_signature(exchange: Exchange, party: Party, request: WithdrawSignalsRequest, now: int) -> None:
    """Refuse an order that no key of the caller's, valid at `now`, signed."""
    key = signing_key(exchange, party, _parse(exchange, party, request).key_id, now)
    try:
        open_withdrawal(request.statement, request.signature, key)
    except (MalformedError, VerificationError) as error:
        raise Refusal(ErrorReason.ERROR_REASON_SIGNATURE_INVALID, str(error)) from None


def _check_own(party: Party, statement: WithdrawalStatement, states: dict[bytes, SignalState]) -> None:
    """Raise Refusal SIGNAL_UNKNOWN unless all signals of the order are the caller's."""
    unknown = [
        (f"signal_ids[{at}]", "is not a signal of the caller's")
        for at, signal_id in enumerate(statement.signal_ids)
        if signal_id not in states or states[signal_id].issuer != party.id
    ]
    if unknown:
        raise Refusal(
            ErrorReason.ERROR_REASON_SIGNAL_UNKNOWN,
            "the caller has published no signal of that id",
            violations=unknown,
        )


class Withdraw(Change[WithdrawSignalsResponse]):
    """An order whose signature holds."""

    def __init__(
        self,
        exchange: Exchange,
        party: Party,
        request: WithdrawSignalsRequest,
        statement: WithdrawalStatement,
        audience: Audience,
    ) -> None:
        self._exchange = exchange
        self._party = party
        self._request = request
        self._statement = statement
        self._audience = audience
        self._digest = sha256(request.statement).digest()
        self._erases = statement.reason == WithdrawalReason.WITHDRAWAL_REASON_ERASURE
        self._order: Order | None = None
        self._states: dict[bytes, SignalState] = {}
        self._seen: list[RoleSignal] = []
        self._gone: Gone | None = None
        self.weight = len(statement.signal_ids)

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """The order, the signals, and who was shown them since the scan."""
        for change in changes:  # alone in its group
            change._order = await store.order(change._party.id, change._statement.order_id)
            change._states = await store.signals(list(change._statement.signal_ids))
            await change._audience.read_on()
            roles = [state.place for state in change._states.values() if state.role]
            change._seen = await store.roles_at(roles) if roles else []

    def decide(self, proposal: Proposal) -> tuple[WithdrawSignalsResponse, Receipt]:
        """Write tombstones, events and the entry."""
        member = self._party.id
        self._exchange.membership.standing(member)
        if self._order is not None:
            if self._order.digest != self._digest:
                raise Refusal(
                    ErrorReason.ERROR_REASON_ID_REUSED, "the order id was used before with other content"
                )
            repeated = WithdrawSignalsResponse(receipt=Receipt(index=self._order.entry), repeated_order=True)
            return repeated, repeated.receipt
        # The roster may have changed while the order waited, even to another key of the same id.
        _check_signature(self._exchange, self._party, self._request, proposal.now)
        states = self._own()
        delta = proposal.delta
        payload = WithdrawalEntry(
            statement_digest=self._digest,
            signature=self._request.signature,
            positions=[
                SignalPosition(index=state.place // POSITIONS, position=state.place % POSITIONS)
                for state in states
            ],
            erased=self._erases,
        )
        index = proposal.log(EntryType.ENTRY_TYPE_WITHDRAWAL, member, payload.SerializeToString())
        delta.orders.append(Order(member, self._statement.order_id, self._digest, index))
        for state in states:
            if self._erases and not state.erased:
                delta.erased.append(state.place)
            elif state.status == Status.ACTIVE:
                delta.withdrawn.append(state.place)
            if state.status == Status.ACTIVE:
                self._audience.tell(proposal, state, SignalChange.SIGNAL_CHANGE_WITHDRAWN)
        if self._seen:
            self._gone = leave_matching(self._exchange, self._seen, proposal, index)
        response = WithdrawSignalsResponse(receipt=Receipt(index=index))
        return response, response.receipt

    def applied(self) -> None:
        """Let matching do without what is gone."""
        if self._gone is not None:
            self._exchange.matching.put(self._gone)

    def _own(self) -> list[SignalState]:
        """The order's signals. Raises Refusal unless all of them are the caller's."""
        _check_own(self._party, self._statement, self._states)
        return [self._states[signal_id] for signal_id in self._statement.signal_ids]


def leave_matching(exchange: Exchange, rows: Sequence[RoleSignal], proposal: Proposal, index: int) -> Gone:
    """What to hand to matching, once committed, of signals that the entry at `index` ends."""
    membership = exchange.membership
    seen = [observation(row, Signal.FromString(row.body), membership.group(row.issuer) or "") for row in rows]
    # In this very transaction: what is taken back can't be put up again, whatever happens next.
    proposal.delta.spent.extend(spent(seen, membership.rulebook.matching.window_days, proposal.now).items())
    return Gone(index, proposal.now, [row.place for row in rows])


class Forget(Change[None]):
    """Sees to it that erased content is out of every file."""

    def decide(self, proposal: Proposal) -> tuple[None, None]:
        """Nothing to write."""
        return None, None

    async def settle(self, store: Store) -> None:
        """Leave no trace. Raises Refusal UNAVAILABLE where one is left."""
        try:
            await store.forget_traces()
        except StorageFull:
            raise unavailable("erased, but not yet out of every file; repeat the order") from None
