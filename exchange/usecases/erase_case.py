"""Erasing a closed proceeding: at its member's order, or when its term is over.

Invariants: an order is carried out once, and only where neither a measure stands nor an appeal waits; content
and openings of all steps are out of every file before it is acknowledged, a repeated order included; what is
left is that there was a proceeding, so that an old statement begins none anew, and leaves that every proof
still ends in.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Self

from signalexchange.cases import open_erasure, parse_erasure
from signalexchange.errors import MalformedError, VerificationError
from signalexchange.roster import Party
from signalexchange.v1.case_service_pb2 import CaseErasureStatement, EraseCaseRequest, EraseCaseResponse
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.identifier_pb2 import Receipt
from signalexchange.v1.log_entry_pb2 import ENTRY_TYPE_CASE_ERASURE, CaseErasureEntry

from exchange.domain.records import Order
from exchange.domain.refusal import Refusal, invalid
from exchange.domain.store import Store
from exchange.usecases.exchange import Exchange
from exchange.usecases.officers import officer_key
from exchange.usecases.proceedings import Kept, unknown_case
from exchange.usecases.publish import check_signer
from exchange.usecases.withdraw import Forget
from exchange.usecases.writer import Change, Proposal


async def erase_case(exchange: Exchange, party: Party, request: EraseCaseRequest) -> EraseCaseResponse:
    """Carry out the order. Raises Refusal as the contract says."""
    try:
        statement = parse_erasure(request.statement)
    except MalformedError as error:
        raise invalid("statement", str(error)) from None
    check_signer(exchange, party, statement.origin, statement.member)
    response = await exchange.writer.submit(EraseAtOrder(exchange, party, request, statement))
    await exchange.writer.submit(Forget())
    return response


def erase(proposal: Proposal, kept: Kept, statement: bytes = b"", signature: bytes = b"") -> int:
    """Let the content of a proceeding go; the index of the entry that says so."""
    entries = [each.shown.index for each in kept.steps]
    payload = CaseErasureEntry(
        statement_digest=sha256(statement).digest() if statement else b"",
        signature=signature,
        entries=entries,
    )
    proposal.delta.erased_entries.extend(entries)
    proposal.delta.erased_proceedings.append((kept.case_id, kept.member))
    return proposal.log(ENTRY_TYPE_CASE_ERASURE, kept.member, payload.SerializeToString())


class Erase(Change[None]):
    """A proceeding whose term is over."""

    def __init__(self, exchange: Exchange, member: str, case_id: bytes) -> None:
        self._exchange = exchange
        self._kept = Kept(case_id, member, None, (), (), (), False)

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """The proceeding."""
        for change in changes:  # alone in its group
            change._kept = await Kept.read(change._exchange, change._kept.member, change._kept.case_id)

    def decide(self, proposal: Proposal) -> tuple[None, None]:
        """Let it go, unless it is gone."""
        row = self._kept.row
        if row is not None and 0 < row.expires_at <= proposal.now:
            erase(proposal, self._kept)
        return None, None


class EraseAtOrder(Change[EraseCaseResponse]):
    """A member's order that is well-formed."""

    def __init__(
        self, exchange: Exchange, party: Party, request: EraseCaseRequest, statement: CaseErasureStatement
    ) -> None:
        self._exchange = exchange
        self._party = party
        self._request = request
        self._statement = statement
        self._order: Order | None = None
        self._kept = Kept(statement.case_id, party.id, None, (), (), (), False)

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """The order, and the proceeding."""
        for change in changes:  # alone in its group
            change._order = await store.case_order(change._party.id, change._statement.order_id)
            change._kept = await Kept.read(change._exchange, change._party.id, change._statement.case_id)

    def decide(self, proposal: Proposal) -> tuple[EraseCaseResponse, Receipt]:
        """Erase and say so on the log."""
        party = self._exchange.membership.standing(self._party.id)
        digest = sha256(self._request.statement).digest()
        if self._order is not None:
            if self._order.digest != digest:
                raise Refusal(
                    ErrorReason.ERROR_REASON_ID_REUSED, "the order id was used before with other content"
                )
            repeated = EraseCaseResponse(receipt=Receipt(index=self._order.entry), repeated_order=True)
            return repeated, repeated.receipt
        key = officer_key(self._exchange, party, self._statement.key_id, proposal.now)
        try:
            open_erasure(self._request.statement, self._request.signature, key.public_key)
        except (MalformedError, VerificationError) as error:
            raise Refusal(ErrorReason.ERROR_REASON_SIGNATURE_INVALID, str(error)) from None
        if self._kept.row is None:
            raise unknown_case()
        if not self._kept.fold().is_settled:
            raise Refusal(
                ErrorReason.ERROR_REASON_STEP_NOT_ALLOWED,
                "what is erased is closed, without a measure in force or an appeal undecided",
                metadata={"why": "not-settled"},
            )
        index = erase(proposal, self._kept, self._request.statement, self._request.signature)
        proposal.delta.case_orders.append(Order(party.id, self._statement.order_id, digest, index))
        response = EraseCaseResponse(receipt=Receipt(index=index))
        return response, response.receipt
