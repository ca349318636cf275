"""Watching: a member's events, in one order, resumable.

Invariants: events come after they have been committed, in the order of their positions, each once; a stream
holds at most one page in memory; a position whose successors are no longer kept is refused, never skipped.
"""

from collections.abc import AsyncIterator
from typing import Final

from signalexchange.roster import Party
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.identifier_pb2 import SubjectToken
from signalexchange.v1.signal_service_pb2 import WatchSignalsRequest, WatchSignalsResponse

from exchange.domain.records import StoredEvent
from exchange.domain.refusal import Refusal
from exchange.domain.resume import ResumeTokens
from exchange.usecases.exchange import Exchange

PAGE: Final = 256


async def watch(
    exchange: Exchange, tokens: ResumeTokens, party: Party, request: WatchSignalsRequest
) -> AsyncIterator[WatchSignalsResponse]:
    """The stream. Raises Refusal RESUME_INVALID or RESUME_TOO_OLD."""
    forgotten, newest = await exchange.store.event_bounds()
    position = newest
    if request.resume_token:
        position = tokens.open(party.id, request.resume_token)
        if position > newest:
            raise Refusal(
                ErrorReason.ERROR_REASON_RESUME_INVALID, "the resume token is ahead of this hub's events"
            )
    # The first message says that the watch has begun, and from where.
    yield WatchSignalsResponse(resume_token=tokens.seal(party.id, position))
    while True:
        if position < forgotten:
            raise Refusal(
                ErrorReason.ERROR_REASON_RESUME_TOO_OLD,
                "events after the resume token are no longer kept; start again without it",
            )
        news = exchange.writer.news  # taken before reading, so that no commit falls in between
        page = await exchange.store.events(party.id, position, PAGE)
        for stored in page:
            yield _message(tokens, party, stored)
            position = stored.position
        if len(page) < PAGE:
            await news.wait()
        else:
            # A slow reader may be overtaken by the term of the events.
            forgotten, _ = await exchange.store.event_bounds()


def _message(tokens: ResumeTokens, party: Party, stored: StoredEvent) -> WatchSignalsResponse:
    event = stored.event
    message = WatchSignalsResponse(
        resume_token=tokens.seal(party.id, stored.position),
        signal_id=event.signal_id,
        change=event.change,  # type: ignore[arg-type]  # the number of a SignalChange
        own=event.own,
    )
    if event.token is not None:
        message.subject.CopyFrom(
            SubjectToken(type=event.type, epoch=event.epoch, value=event.token)  # type: ignore[arg-type]
        )
    return message
