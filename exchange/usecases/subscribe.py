"""Subscribing to subjects, and ending that.

Invariants: a subscription leaves an access record like a look-up; a member holds at most as many as the
rulebook allows; subscribing again only extends the term, and the newest purpose counts.
"""

import os
from collections.abc import Sequence
from typing import Final, Self

from signalexchange.roster import Party
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.identifier_pb2 import Receipt
from signalexchange.v1.log_entry_pb2 import EntryType
from signalexchange.v1.signal_service_pb2 import (
    SubscribeRequest,
    SubscribeResponse,
    UnsubscribeRequest,
    UnsubscribeResponse,
)

from exchange.domain.records import Subscription
from exchange.domain.refusal import Refusal
from exchange.domain.store import Store
from exchange.domain.validation import allowed_purpose, check_tokens, check_type_and_epoch
from exchange.usecases.exchange import Exchange
from exchange.usecases.items import Named
from exchange.usecases.look_up import SALT_SIZE, access_record, check_asking
from exchange.usecases.writer import Change, Proposal

DAY: Final = 86_400


async def subscribe(exchange: Exchange, party: Party, request: SubscribeRequest) -> SubscribeResponse:
    """Subscribe. Raises Refusal as the contract says."""
    check_asking(exchange, party, request)
    return await exchange.writer.submit(Subscribe(exchange, party, request))


async def unsubscribe(exchange: Exchange, party: Party, request: UnsubscribeRequest) -> UnsubscribeResponse:
    """End subscriptions. Raises Refusal INVALID_REQUEST."""
    check_tokens(request.tokens)
    # A subscription is ended in any epoch, past ones included.
    check_type_and_epoch(request.type, request.epoch, lambda _type, _epoch: True)
    return await exchange.writer.submit(Unsubscribe(party, request))


class Subscribe(Change[SubscribeResponse]):
    """A subscription that may be taken out."""

    def __init__(self, exchange: Exchange, party: Party, request: SubscribeRequest) -> None:
        self._exchange = exchange
        self._party = party
        self._request = request
        self._tokens = list(request.tokens)
        self._others = 0
        self._named: Named | None = None
        self.weight = len(self._tokens)

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """How many other subscriptions the member holds."""
        for change in changes:  # alone in its group
            change._others = await store.subscription_count(change._party.id, now, change._tokens)

    def applied(self) -> None:
        """Have the member told of matches that stand already."""
        if self._named is not None:
            self._exchange.matching.put(self._named)

    def decide(self, proposal: Proposal) -> tuple[SubscribeResponse, Receipt]:
        """Write the subscriptions and their access record."""
        membership = self._exchange.membership
        party = membership.standing(self._party.id)
        allowed_purpose(membership.rulebook, self._request.purpose, party.kind)
        limit = membership.rulebook.limits.subscriptions
        if self._others + len(self._tokens) > limit:
            raise Refusal(
                ErrorReason.ERROR_REASON_QUOTA_EXCEEDED,
                "more subscriptions than the rulebook allows",
                metadata={"limit": str(limit)},
            )
        expires_at = proposal.now + membership.rulebook.terms.subscription_days * DAY
        request = self._request
        proposal.delta.subscriptions.extend(
            Subscription(token, party.id, request.type, request.epoch, request.purpose, expires_at)
            for token in self._tokens
        )
        salt = os.urandom(SALT_SIZE)
        entry = access_record(request, self._tokens, None, salt)
        index = proposal.log(EntryType.ENTRY_TYPE_SUBSCRIPTION, party.id, entry.SerializeToString())
        self._named = Named(index, proposal.now, self._tokens)
        response = SubscribeResponse(receipt=Receipt(index=index), expires_at=expires_at, access_salt=salt)
        return response, response.receipt


class Unsubscribe(Change[UnsubscribeResponse]):
    """The end of subscriptions."""

    def __init__(self, party: Party, request: UnsubscribeRequest) -> None:
        self._party = party
        self._request = request
        self._held: list[Subscription] = []
        self.weight = len(request.tokens)

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """Which of the tokens the member has subscribed to."""
        for change in changes:  # alone in its group
            held = await store.held_subscriptions(change._party.id, list(change._request.tokens))
            wanted = (change._request.type, change._request.epoch)
            change._held = [row for row in held if (row.type, row.epoch) == wanted and row.expires_at > now]

    def decide(self, proposal: Proposal) -> tuple[UnsubscribeResponse, None]:
        """Remove what is held."""
        proposal.delta.unsubscribed.extend((row.token, row.member) for row in self._held)
        return UnsubscribeResponse(removed=len(self._held)), None
