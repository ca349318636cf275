"""Acknowledging corrections: a member's signed word that it received what corrects what it had been shown.

Invariants: a member acknowledges corrections that are its own; each is acknowledged once, and a statement
that brings nothing new is answered with where the earlier one stands.
"""

from collections.abc import Sequence
from typing import Self

from signalexchange.cases import open_corrections, parse_corrections
from signalexchange.errors import MalformedError, VerificationError
from signalexchange.roster import Party
from signalexchange.v1.case_service_pb2 import (
    AcknowledgeCorrectionsRequest,
    AcknowledgeCorrectionsResponse,
    CorrectionsStatement,
)
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.identifier_pb2 import Receipt
from signalexchange.v1.log_entry_pb2 import ENTRY_TYPE_CORRECTION, ENTRY_TYPE_CORRECTIONS, CorrectionsEntry

from exchange.domain.refusal import Refusal, invalid
from exchange.domain.store import Store
from exchange.usecases.exchange import Exchange
from exchange.usecases.publish import check_signer, signing_key
from exchange.usecases.writer import Change, Proposal


async def acknowledge(
    exchange: Exchange, party: Party, request: AcknowledgeCorrectionsRequest
) -> AcknowledgeCorrectionsResponse:
    """Take the acknowledgement. Raises Refusal as the contract says."""
    try:
        statement = parse_corrections(request.statement)
    except MalformedError as error:
        raise invalid("statement", str(error)) from None
    check_signer(exchange, party, statement.origin, statement.member)
    return await exchange.writer.submit(Acknowledge(exchange, party, request, statement))


class Acknowledge(Change[AcknowledgeCorrectionsResponse]):
    """An acknowledgement that is well-formed."""

    def __init__(
        self,
        exchange: Exchange,
        party: Party,
        request: AcknowledgeCorrectionsRequest,
        statement: CorrectionsStatement,
    ) -> None:
        self._exchange = exchange
        self._party = party
        self._request = request
        self._statement = statement
        self._own: set[int] = set()
        self._known: dict[int, int] = {}
        self.weight = len(statement.entries)

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """Which of the entries are corrections of the caller's, and which it acknowledged before."""
        for change in changes:  # alone in its group
            size = change._exchange.writer.head.tree.size
            indices = [index for index in change._statement.entries if index < size]
            entries = await store.entries(indices)
            change._own = {
                entry.idx
                for entry in entries
                if entry.type == ENTRY_TYPE_CORRECTION and entry.member == change._party.id
            }
            change._known = await store.acknowledged(indices) if indices else {}

    def decide(self, proposal: Proposal) -> tuple[AcknowledgeCorrectionsResponse, Receipt]:
        """Log it, unless it says nothing new."""
        party = self._exchange.membership.standing(self._party.id)
        key = signing_key(self._exchange, party, self._statement.key_id, proposal.now)
        try:
            open_corrections(self._request.statement, self._request.signature, key)
        except (MalformedError, VerificationError) as error:
            raise Refusal(ErrorReason.ERROR_REASON_SIGNATURE_INVALID, str(error)) from None
        foreign = [
            (f"statement.entries[{at}]", "is no correction to the caller")
            for at, index in enumerate(self._statement.entries)
            if index not in self._own
        ]
        if foreign:
            raise Refusal(
                ErrorReason.ERROR_REASON_OPENING_NOT_ALLOWED,
                "an entry is no correction to the caller",
                violations=foreign,
            )
        fresh = [index for index in self._statement.entries if index not in self._known]
        if fresh:
            payload = CorrectionsEntry(statement=self._request.statement, signature=self._request.signature)
            index = proposal.log(ENTRY_TYPE_CORRECTIONS, party.id, payload.SerializeToString())
            proposal.delta.acknowledged.extend((entry, index) for entry in fresh)
        else:
            index = max(self._known.values())
        response = AcknowledgeCorrectionsResponse(receipt=Receipt(index=index))
        return response, response.receipt
