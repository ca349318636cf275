"""Showing a member its cases: one, a page, a stream.

Invariants: a member is shown proceedings of its own, and of others' no more than how many groups have one and
whether an appeal is undecided; a case is shown as it is now, not as it was when news of it came.
"""

from collections.abc import AsyncIterator
from typing import Final

from signalexchange.envelope import ID_SIZE
from signalexchange.roster import Party
from signalexchange.v1.case_service_pb2 import (
    Case,
    GetCaseRequest,
    GetCaseResponse,
    ListCasesRequest,
    ListCasesResponse,
    WatchCasesRequest,
    WatchCasesResponse,
)

from exchange.domain.refusal import invalid
from exchange.domain.resume import ResumeTokens
from exchange.usecases.exchange import Exchange
from exchange.usecases.proceedings import Kept, unknown_case
from exchange.usecases.watch import Feed, follow

MAX_PAGE: Final = 100
PAGE_BYTES: Final = 4 << 20
"""Bytes of cases after which a page ends: each may have hundreds of steps, and a message has its bound."""


async def get_case(exchange: Exchange, party: Party, request: GetCaseRequest) -> GetCaseResponse:
    """One case. Raises Refusal INVALID_REQUEST or CASE_UNKNOWN."""
    if len(request.case_id) != ID_SIZE:
        raise invalid("case_id", f"must have {ID_SIZE} bytes")
    case = await _case(exchange, party, request.case_id)
    if case is None:
        raise unknown_case()
    return GetCaseResponse(case=case)


async def list_cases(
    exchange: Exchange, tokens: ResumeTokens, party: Party, request: ListCasesRequest
) -> ListCasesResponse:
    """A page of cases, oldest first. Raises Refusal INVALID_REQUEST or RESUME_INVALID."""
    if not 1 <= request.page_size <= MAX_PAGE:
        raise invalid("page_size", f"must be 1 to {MAX_PAGE}")
    after = tokens.open(party.id, request.page_token) if request.page_token else 0
    page = await exchange.store.proceedings_of(
        party.id, after, request.page_size + 1, unfinished=request.unfinished
    )
    cases: list[Case] = []
    size = last = shown = 0
    for each in page[: request.page_size]:
        case = await _case(exchange, party, each.row.case_id)
        last, shown = each.number, shown + 1
        if case is not None:  # one may have been erased meanwhile
            cases.append(case)
            size += case.ByteSize()
        if size >= PAGE_BYTES:
            break
    more = shown < len(page)
    return ListCasesResponse(cases=cases, next_page_token=tokens.seal(party.id, last) if more else b"")


async def watch_cases(
    exchange: Exchange, tokens: ResumeTokens, party: Party, request: WatchCasesRequest
) -> AsyncIterator[WatchCasesResponse]:
    """The stream of WatchCases. Raises Refusal RESUME_INVALID or RESUME_TOO_OLD."""
    feed = Feed(exchange.store.case_events, exchange.store.case_event_bounds, tokens)
    async for token, stored in follow(exchange, feed, party, request.resume_token):
        case = None if stored is None else await _case(exchange, party, stored.event.case_id)
        yield WatchCasesResponse(resume_token=token, case=case)


async def _case(exchange: Exchange, party: Party, case_id: bytes) -> Case | None:
    kept = await Kept.read(exchange, party.id, case_id)
    if kept.row is None:
        return None
    return kept.message(exchange.membership, kept.fold(), exchange.clock())
