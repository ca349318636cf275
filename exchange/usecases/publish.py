"""Publishing a signed batch: judged whole, stored and logged in one transaction, told to subscribers, handed
to matching.

Invariants: nothing is stored of a batch that is refused; the same batch id with the same Merkle root is one
batch, however often it is sent, and repeating it is answered even when its signals would no longer pass, or
the key that signed this very statement has ended; a signal id is never used twice, tombstones included; a
signal on what its issuer's group was shown shortly before is stored as an echo.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Self

from signalexchange.envelope import check_batch, open_batch, parse_statement
from signalexchange.errors import MalformedError, VerificationError
from signalexchange.roster import Party, kind_value
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.identifier_pb2 import Receipt
from signalexchange.v1.log_entry_pb2 import BatchEntry, DeliveryEntry, EntryType
from signalexchange.v1.signal_pb2 import BatchStatement
from signalexchange.v1.signal_service_pb2 import (
    PublishSignalsRequest,
    PublishSignalsResponse,
    SignalChange,
)

from exchange.domain.records import (
    Batch,
    Delivery,
    Event,
    RoleSignal,
    ShownToken,
    Subscription,
    place,
)
from exchange.domain.refusal import Refusal, invalid
from exchange.domain.store import Store
from exchange.domain.validation import BatchValidator, ValidSignal, check_count
from exchange.usecases.exchange import Exchange
from exchange.usecases.items import Accepted
from exchange.usecases.writer import Change, Proposal, unavailable

_SLICE: Final = 100
"""Signals judged at a stretch, so that a large batch doesn't hold up look-ups."""
_DAY: Final = 86_400


async def publish(exchange: Exchange, party: Party, request: PublishSignalsRequest) -> PublishSignalsResponse:
    """Store the batch. Raises Refusal as the contract says."""
    check_count(len(request.signals))
    now = exchange.clock()
    statement = _parse(exchange, party, request)
    known = (await exchange.store.batches([(party.id, statement.batch_id)])).get(
        (party.id, statement.batch_id)
    )
    if known is None or not await _logged(exchange.store, known.entry, request.statement):
        _check_signature(exchange, party, request, now)
    if known is None:
        exchange.matching.check_room(len(request.signals))
        validator = BatchValidator(
            party,
            statement,
            exchange.membership.rulebook,
            lambda type_, epoch: exchange.epoch_valid(type_, epoch, now),
            now,
        )
        with exchange.writer.room(len(request.signals)):
            async with exchange.judging:
                for at, envelope in enumerate(request.signals, start=1):
                    validator.add(envelope)
                    if at % _SLICE == 0:
                        await asyncio.sleep(0)
        validator.finish()
    try:
        check_batch(statement, request.signals)
    except (MalformedError, VerificationError) as error:
        raise invalid("statement", str(error)) from None
    signals = validator.signals if known is None else None
    return await exchange.writer.submit(Publish(exchange, party, request, statement, signals))


def _parse(exchange: Exchange, party: Party, request: PublishSignalsRequest) -> BatchStatement:
    """The statement, if it is in the caller's name and for this hub."""
    try:
        statement = parse_statement(request.statement)
    except MalformedError as error:
        raise invalid("statement", str(error)) from None
    check_signer(exchange, party, statement.origin, statement.member)
    return statement


async def _logged(store: Store, index: int, statement: bytes) -> bool:
    """Whether the entry is the batch of this very statement, whose signature was checked then."""
    (entry,) = await store.entries([index])
    return BatchEntry.FromString(entry.payload).statement == statement


def _check_signature(exchange: Exchange, party: Party, request: PublishSignalsRequest, now: int) -> None:
    """Refuse a batch that no key of the caller's, valid at `now`, signed."""
    key = signing_key(exchange, party, _parse(exchange, party, request).key_id, now)
    try:
        open_batch(request.statement, request.signature, key)
    except (MalformedError, VerificationError) as error:
        raise Refusal(ErrorReason.ERROR_REASON_SIGNATURE_INVALID, str(error)) from None


def check_signer(exchange: Exchange, party: Party, origin: str, member: str) -> None:
    """Refuse a statement in another's name or for another hub."""
    if member != party.id:
        raise Refusal(
            ErrorReason.ERROR_REASON_WRONG_MEMBER, "the statement names another member than the certificate"
        )
    if origin != exchange.origin:
        raise invalid("statement.origin", "is not the origin of this hub's log")


def signing_key(exchange: Exchange, party: Party, key_id: str, now: int) -> bytes:
    """The member's valid key of that id. Raises Refusal SIGNATURE_INVALID."""
    key = exchange.membership.roster.signing_key(party.id, key_id, now)
    if key is None:
        raise Refusal(
            ErrorReason.ERROR_REASON_SIGNATURE_INVALID, "the member has no valid signing key of that id"
        )
    return key


class Publish(Change[PublishSignalsResponse]):
    """A batch that passed every rule that needs no stored state; `signals` is None for one that is stored."""

    def __init__(
        self,
        exchange: Exchange,
        party: Party,
        request: PublishSignalsRequest,
        statement: BatchStatement,
        signals: list[ValidSignal] | None,
    ) -> None:
        self._exchange = exchange
        self._party = party
        self._request = request
        self._statement = statement
        self._repeats = signals is None
        self._signals = signals or []
        self._signal_ids = [signal.message.signal_id for signal in self._signals]
        self._known: Batch | None = None
        self._taken: set[bytes] = set()
        self._subscribers: dict[bytes, list[Subscription]] = {}
        self._spoken: tuple[Counter[bytes], Counter[bytes]] = (Counter(), Counter())
        self._shown: set[bytes] = set()
        self._sanctions: set[tuple[bytes, int]] = set()
        self._accepted: Accepted | None = None
        self.weight = max(1, len(self._signals))

    def ids(self) -> frozenset[bytes]:
        """The batch's id and its signals'."""
        return frozenset((self._party.id.encode() + b"/" + self._statement.batch_id, *self._signal_ids))

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """Known batches, taken signal ids, subscribers, how much the members said of the subjects, and of
        which their groups were shown something."""
        batches = await store.batches([(c._party.id, c._statement.batch_id) for c in changes])
        ids = [signal_id for change in changes for signal_id in change._signal_ids]
        taken = await store.known_signals(ids)
        # What look-ups don't find costs them nothing: it has no quota, and nobody subscribes to it.
        subjects: dict[str, set[bytes]] = {}
        about: dict[str, set[bytes]] = {}
        for change in changes:
            for signal in change._signals:
                if signal.searched or signal.joins:
                    subjects.setdefault(change._party.id, set()).update(
                        (signal.message.subject.value, *signal.links)
                    )
                about.setdefault(change._party.group, set()).update(signal.ends)
        subscribers = await store.subscribers(list(set().union(*subjects.values())), now)
        spoken = {
            member: await store.spoken(member, list(tokens), now) for member, tokens in subjects.items()
        }
        since = 0
        if about:
            days = changes[0]._exchange.membership.rulebook.matching.rumour_days
            since = now // _DAY - days
        shown = {group: await store.shown_to(group, list(tokens), since) for group, tokens in about.items()}
        for change in changes:
            if tokens := [signal.message.subject.value for signal in change._signals if signal.measure]:
                change._sanctions = await store.sanctions(change._party.id, tokens)
            change._shown = shown.get(change._party.group, set())
            if change._party.id in spoken:
                # Shared by a member's batches in the group: each sees those decided before it.
                change._spoken = spoken[change._party.id]
            change._known = batches.get((change._party.id, change._statement.batch_id))
            change._taken = taken
            change._subscribers = subscribers

    def decide(self, proposal: Proposal) -> tuple[PublishSignalsResponse, Receipt]:
        """Store the batch, or say that it is stored."""
        member = self._party.id
        self._exchange.membership.standing(member)
        if self._known is not None:
            return self._repeated(self._known)
        if self._repeats:
            raise unavailable("the batch's first delivery was not stored; send it again")
        # The roster may have changed while the batch waited, even to another key of the same id.
        _check_signature(self._exchange, self._party, self._request, proposal.now)
        taken = [
            (f"signals[{at}].signal_id", "is already known")
            for at, signal_id in enumerate(self._signal_ids)
            if signal_id in self._taken
        ]
        if taken:
            raise Refusal(
                ErrorReason.ERROR_REASON_SIGNAL_ID_REUSED,
                "a signal id of the batch is already known",
                violations=taken,
            )
        self._check_sanctions()
        self._keep_quota()
        payload = BatchEntry(statement=self._request.statement, signature=self._request.signature)
        index = proposal.log(EntryType.ENTRY_TYPE_BATCH, member, payload.SerializeToString())
        delta = proposal.delta
        echoes = [self._is_echo(signal) for signal in self._signals]
        for position, (signal, echo) in enumerate(zip(self._signals, echoes, strict=True)):
            delta.signals.append(signal.row(index, position, member, echo))
            if signal.joins:
                delta.links.extend(signal.link_rows(place(index, position), member))
        self._accepted = self._for_matching(index, proposal.now, echoes)
        expiry = min(signal.message.expires_at for signal in self._signals)
        delta.batches.append(Batch(member, self._statement.batch_id, self._statement.root, index, expiry))
        if self._subscribers:
            for position, signal in enumerate(self._signals):
                if signal.searched:
                    self._tell(proposal, signal, place(index, position))
        response = PublishSignalsResponse(receipt=Receipt(index=index))
        return response, response.receipt

    def _is_echo(self, signal: ValidSignal) -> bool:
        """Whether it may repeat what the group was shown; a fact about what it told of by itself doesn't."""
        shown = self._shown.intersection(signal.ends)
        if signal.searched or not shown:
            return bool(shown)
        return not all(self._exchange.matching.knows(self._party.group, token) for token in shown)

    def _for_matching(self, index: int, now: int, echoes: list[bool]) -> Accepted:
        seen = []
        named: list[bytes] = []
        for position, (signal, echo) in enumerate(zip(self._signals, echoes, strict=True)):
            if signal.role:
                row = RoleSignal(place(index, position), self._party.id, signal.role, echo, signal.body)
                seen.append((row, signal.message))
            else:
                named.extend((*signal.ends, *signal.links))
        return Accepted(index, now, seen, named)

    def applied(self) -> None:
        """Hand the batch to matching."""
        if self._accepted is not None:
            self._exchange.matching.put(self._accepted)

    def _check_sanctions(self) -> None:
        """Raise Refusal CODE_NOT_ALLOWED where a signal tells of a measure with which the caller closed no
        case of its own about that subject as confirmed, or which is no longer in force."""
        unfounded = [
            (f"signals[{at}].code", "tells of a measure that no confirmed case of the caller's has in force")
            for at, signal in enumerate(self._signals)
            if signal.measure and (signal.message.subject.value, signal.measure) not in self._sanctions
        ]
        if unfounded:
            raise Refusal(
                ErrorReason.ERROR_REASON_CODE_NOT_ALLOWED,
                "a measure is told of by who has it in force, in a case closed as confirmed",
                violations=unfounded,
            )

    def _keep_quota(self) -> None:
        """Count the batch in. Raises Refusal QUOTA_EXCEEDED where one token would bring up too much: a
        look-up fetches all of it, through every link."""
        limits = self._exchange.membership.rulebook.limits
        signals, links = (counts.copy() for counts in self._spoken)
        over: list[tuple[str, str]] = []
        for at, signal in enumerate(self._signals):
            subject = signal.message.subject.value
            if signal.searched:
                signals[subject] += 1
            if signals[subject] > limits.signals_per_subject:
                over.append(
                    (f"signals[{at}].subject", "has as many active signals of the caller's as it may")
                )
            if signal.joins:
                links[subject] += len(signal.links)
                for link in signal.links:
                    links[link] += 1
                if max(links[token] for token in (subject, *signal.links)) > limits.links_per_subject:
                    over.append((f"signals[{at}].subject", "has or would be given more links than it may"))
        if over:
            raise Refusal(
                ErrorReason.ERROR_REASON_QUOTA_EXCEEDED,
                "more of the caller's signals or links on one subject than the rulebook allows",
                violations=over,
            )
        for counts, counted in zip(self._spoken, (signals, links), strict=True):
            counts.update(counted - counts)

    def _repeated(self, known: Batch) -> tuple[PublishSignalsResponse, Receipt]:
        if known.root != self._statement.root:
            raise Refusal(
                ErrorReason.ERROR_REASON_ID_REUSED, "the batch id was used before with other content"
            )
        response = PublishSignalsResponse(receipt=Receipt(index=known.entry), repeated_batch=True)
        return response, response.receipt

    def _tell(self, proposal: Proposal, signal: ValidSignal, at: int) -> None:
        message = signal.message
        for told in (message.subject, *message.links):
            for subscription in self._subscribers.get(told.value, ()):
                if (subscription.type, subscription.epoch) != (told.type, told.epoch):
                    continue
                if not self._may_see(subscription, message):
                    continue
                proposal.delta.deliveries.append(Delivery(at, subscription.member))
                delivery = DeliveryEntry(token=told.value, signal_id=message.signal_id)
                proposal.log(
                    EntryType.ENTRY_TYPE_DELIVERY, subscription.member, delivery.SerializeToString(), shown=1
                )
                reader = self._exchange.membership.group(subscription.member) or ""
                proposal.delta.shown.append(ShownToken(told.value, reader, proposal.now // _DAY))
                proposal.delta.events.append(
                    Event(
                        subscription.member,
                        message.signal_id,
                        SignalChange.SIGNAL_CHANGE_RECORDED,
                        False,
                        told.type,
                        told.epoch,
                        told.value,
                        proposal.now,
                    )
                )

    def _may_see(self, subscription: Subscription, message: Any) -> bool:
        membership = self._exchange.membership
        reader = membership.roster.party(subscription.member)
        if reader is None or reader.id in membership.suspended or reader.group == self._party.group:
            return False
        if message.audience and kind_value(reader.kind) not in message.audience:
            return False
        purpose = membership.rulebook.purpose(subscription.purpose)
        return purpose is not None and reader.kind in purpose.kinds and message.code in purpose.code_set
