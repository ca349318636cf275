"""Watching: a member's events, in one order, resumable.

Invariants: events come after they have been committed, in the order of their positions, each once; a stream
holds at most one page in memory; a position whose successors are no longer kept is refused, never skipped;
who has no news is moved on at the start and once a day, at times that tell nothing of others' news.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from signalexchange.roster import Party
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.identifier_pb2 import SubjectToken
from signalexchange.v1.signal_service_pb2 import WatchSignalsRequest, WatchSignalsResponse

from exchange.domain.records import StoredEvent
from exchange.domain.refusal import Refusal
from exchange.domain.resume import ResumeTokens
from exchange.usecases.exchange import Exchange

PAGE: Final = 256
DAY: Final = 86_400
_LOOK: Final = 2.0
"""Seconds between looks at the clock."""


class _Positioned(Protocol):
    @property
    def position(self) -> int:
        """Where it stands in the one order."""
        ...


E = TypeVar("E", bound=_Positioned)


@dataclass(frozen=True)
class Feed(Generic[E]):
    """A stream of events: its pages, a member's after a position, and its (forgotten, newest) positions."""

    page: Callable[[str, int, int], Awaitable[Sequence[E]]]
    bounds: Callable[[], Awaitable[tuple[int, int]]]
    tokens: ResumeTokens


async def follow(
    exchange: Exchange, feed: Feed[E], party: Party, resume_token: bytes
) -> AsyncIterator[tuple[bytes, E | None]]:
    """Events, each with the token that resumes after it, and at times a token alone.

    Raises Refusal RESUME_INVALID or RESUME_TOO_OLD.
    """
    tokens = feed.tokens
    forgotten, newest = await feed.bounds()
    position = newest
    if resume_token:
        position = tokens.open(party.id, resume_token)
        if position > newest:
            raise Refusal(
                ErrorReason.ERROR_REASON_RESUME_INVALID, "the resume token is ahead of this hub's events"
            )
        if position >= forgotten:
            position = await _moved_on(feed, party, position, newest)
    # The first message says that the watch has begun, and from where.
    yield tokens.seal(party.id, position), None
    loop = asyncio.get_running_loop()
    told, look = exchange.clock(), loop.time() + _LOOK
    while True:
        if position < forgotten:
            raise Refusal(
                ErrorReason.ERROR_REASON_RESUME_TOO_OLD,
                "events after the resume token are no longer kept; start again without it",
            )
        news = exchange.writer.news  # taken before reading, so that no commit falls in between
        page = await feed.page(party.id, position, PAGE)
        for stored in page:
            yield tokens.seal(party.id, stored.position), stored
            position = stored.position
        if len(page) < PAGE:
            try:
                # Others' news wake this too, but don't move the time of the next look.
                async with asyncio.timeout_at(look):
                    await news.wait()
            except TimeoutError:
                look = loop.time() + _LOOK
                now = exchange.clock()
                if now - told >= DAY:
                    told = now
                    _, newest = await feed.bounds()
                    position = await _moved_on(feed, party, position, newest)
                    yield tokens.seal(party.id, position), None
        else:
            # A slow reader may be overtaken by the term of the events.
            forgotten, _ = await feed.bounds()


async def _moved_on(feed: Feed[E], party: Party, position: int, newest: int) -> int:
    """The newest position, read before, where the member has no event after `position`: positions count
    everybody's events, and a quiet member's would grow too old to be resumed."""
    return position if await feed.page(party.id, position, 1) else max(position, newest)


async def watch(
    exchange: Exchange, tokens: ResumeTokens, party: Party, request: WatchSignalsRequest
) -> AsyncIterator[WatchSignalsResponse]:
    """The stream of WatchSignals. Raises Refusal RESUME_INVALID or RESUME_TOO_OLD."""
    feed = Feed(exchange.store.events, exchange.store.event_bounds, tokens)
    async for token, stored in follow(exchange, feed, party, request.resume_token):
        yield _message(token, stored)


def _message(token: bytes, stored: StoredEvent | None) -> WatchSignalsResponse:
    if stored is None:
        return WatchSignalsResponse(resume_token=token)
    event = stored.event
    message = WatchSignalsResponse(
        resume_token=token,
        signal_id=event.signal_id,
        change=event.change,  # type: ignore[arg-type]  # the number of a SignalChange
        own=event.own,
        correction=event.correction or None,
    )
    if event.token is not None:
        message.subject.CopyFrom(
            SubjectToken(type=event.type, epoch=event.epoch, value=event.token)  # type: ignore[arg-type]
        )
    return message
