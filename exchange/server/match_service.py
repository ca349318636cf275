"""The hub's MatchService: thin, as the services beside it."""

from collections.abc import AsyncIterator
from typing import Any

from signalexchange.v1 import match_service_pb2 as matches
from signalexchange.v1.match_service_pb2_grpc import MatchServiceServicer

from exchange.domain.resume import MATCH_EVENTS, MATCH_PAGES, SET_ASIDE_PAGES, ResumeTokens
from exchange.server.calls import current
from exchange.usecases.exchange import Exchange
from exchange.usecases.matches import get_match, list_matches, list_set_aside, watch_matches

Context = Any


class MatchServicer(MatchServiceServicer):
    """MatchService; `key` is the 32-byte key of resume and page tokens."""

    def __init__(self, exchange: Exchange, key: bytes) -> None:
        self._exchange = exchange
        self._events = ResumeTokens(key, MATCH_EVENTS)
        self._pages = ResumeTokens(key, MATCH_PAGES)
        self._set_aside_pages = ResumeTokens(key, SET_ASIDE_PAGES, size=32)

    async def GetMatch(  # noqa: N802
        self, request: matches.GetMatchRequest, context: Context
    ) -> matches.GetMatchResponse:
        """One match."""
        return await get_match(self._exchange, current().party, request)

    async def ListMatches(  # noqa: N802
        self, request: matches.ListMatchesRequest, context: Context
    ) -> matches.ListMatchesResponse:
        """A page of matches."""
        return await list_matches(self._exchange, self._pages, current().party, request)

    async def WatchMatches(  # noqa: N802
        self, request: matches.WatchMatchesRequest, context: Context
    ) -> AsyncIterator[matches.WatchMatchesResponse]:
        """Stream matches as they are found and change."""
        async for event in watch_matches(self._exchange, self._events, current().party, request):
            yield event

    async def ListSetAside(  # noqa: N802
        self, request: matches.ListSetAsideRequest, context: Context
    ) -> matches.ListSetAsideResponse:
        """Values that join nobody."""
        return list_set_aside(self._exchange, self._set_aside_pages, current().party, request)
