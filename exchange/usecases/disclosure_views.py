"""Showing disclosures to requester and asked member: one, a page, a stream.

Invariants: a party is shown its own disclosures and learns of no others; an expiry shows from its moment on;
what is sealed is handed out until the disclosure has ended, the scope here and the package by FetchPackage.
"""

from collections.abc import AsyncIterator
from typing import Final

from signalexchange.envelope import ID_SIZE
from signalexchange.roster import Party
from signalexchange.v1.disclosure_service_pb2 import (
    DISCLOSURE_STATE_EXPIRED,
    Disclosure,
    GetDisclosureRequest,
    GetDisclosureResponse,
    ListDisclosuresRequest,
    ListDisclosuresResponse,
    SignedDecision,
    SignedRequest,
    WatchDisclosuresRequest,
    WatchDisclosuresResponse,
)
from signalexchange.v1.log_entry_pb2 import (
    ENTRY_TYPE_DISCLOSURE_DECISION,
    ENTRY_TYPE_DISCLOSURE_EXPIRY,
    ENTRY_TYPE_DISCLOSURE_REQUEST,
    DisclosureDecisionEntry,
    DisclosureExpiryEntry,
    DisclosureRequestEntry,
)

from exchange.domain.disclosure import StoredDisclosure, seen
from exchange.domain.refusal import invalid
from exchange.domain.resume import ResumeTokens
from exchange.usecases.disclosures import own
from exchange.usecases.exchange import Exchange
from exchange.usecases.watch import Feed, follow

MAX_PAGE: Final = 100


async def get_disclosure(
    exchange: Exchange, party: Party, request: GetDisclosureRequest
) -> GetDisclosureResponse:
    """One disclosure with its scope. Raises Refusal INVALID_REQUEST or DISCLOSURE_UNKNOWN."""
    if len(request.request_id) != ID_SIZE:
        raise invalid("request_id", "must have 16 bytes")
    found = own(await exchange.store.disclosure(request.request_id), party)
    shown = _message(party, found, exchange.clock())
    scope = b"" if shown.ended_at else await exchange.store.sealed_scope(request.request_id)
    return GetDisclosureResponse(disclosure=shown, scope=scope or b"")


async def list_disclosures(
    exchange: Exchange, tokens: ResumeTokens, party: Party, request: ListDisclosuresRequest
) -> ListDisclosuresResponse:
    """A page, oldest first. Raises Refusal INVALID_REQUEST or RESUME_INVALID."""
    if not 1 <= request.page_size <= MAX_PAGE:
        raise invalid("page_size", f"must be 1 to {MAX_PAGE}")
    after = tokens.open(party.id, request.page_token) if request.page_token else 0
    size = request.page_size
    page = await exchange.store.disclosures_of(party.id, after, size + 1, unfinished=request.unfinished)
    now = exchange.clock()
    shown = [_message(party, each, now) for each in page[:size]]
    if request.unfinished:
        shown = [each for each in shown if not each.ended_at]
    more = len(page) > size
    return ListDisclosuresResponse(
        disclosures=shown, next_page_token=tokens.seal(party.id, page[size - 1].number) if more else b""
    )


async def watch_disclosures(
    exchange: Exchange, tokens: ResumeTokens, party: Party, request: WatchDisclosuresRequest
) -> AsyncIterator[WatchDisclosuresResponse]:
    """The stream of WatchDisclosures. Raises Refusal RESUME_INVALID or RESUME_TOO_OLD."""
    feed = Feed(exchange.store.disclosure_events, exchange.store.disclosure_event_bounds, tokens)
    async for token, stored in follow(exchange, feed, party, request.resume_token):
        if stored is None:
            yield WatchDisclosuresResponse(resume_token=token)
            continue
        found = await exchange.store.disclosure(stored.event.request_id)
        yield WatchDisclosuresResponse(
            resume_token=token, disclosure=_message(party, own(found, party), exchange.clock())
        )


def _message(party: Party, stored: StoredDisclosure, now: int) -> Disclosure:
    """A disclosure as one side sees it."""
    standing = seen(stored.standing, now)
    requests = party.id == stored.requester
    message = Disclosure(
        state=standing.state,  # type: ignore[arg-type]  # the number of a DisclosureState
        expires_at=standing.due,
        entries=sorted(step.requester_entry if requests else step.member_entry for step in stored.steps),
    )
    asked = stored.step(ENTRY_TYPE_DISCLOSURE_REQUEST)
    if asked is not None:
        entry = DisclosureRequestEntry.FromString(asked.payload)
        message.request.CopyFrom(SignedRequest(statement=entry.statement, signature=entry.signature))
        message.requested_at = asked.time
    decided = stored.step(ENTRY_TYPE_DISCLOSURE_DECISION)
    if decided is not None:
        decision = DisclosureDecisionEntry.FromString(decided.payload)
        message.decision.CopyFrom(
            SignedDecision(statement=decision.statement, signatures=decision.signatures)
        )
        message.decided_at = decided.time
    if standing.state == DISCLOSURE_STATE_EXPIRED:
        message.ended_at = stored.standing.due or _expired_at(stored)
    elif not standing.due:
        message.ended_at = max(step.time for step in stored.steps)
    return message


def _expired_at(stored: StoredDisclosure) -> int:
    """When it was due, of one whose expiry is recorded."""
    step = stored.step(ENTRY_TYPE_DISCLOSURE_EXPIRY)
    return 0 if step is None else DisclosureExpiryEntry.FromString(step.payload).due
