"""The hub's DisclosureService: thin, as the services beside it."""

from collections.abc import AsyncIterator
from typing import Any

from signalexchange.v1 import disclosure_service_pb2 as disclosures
from signalexchange.v1.disclosure_service_pb2_grpc import DisclosureServiceServicer

from exchange.domain.resume import DISCLOSURE_EVENTS, DISCLOSURE_PAGES, ResumeTokens
from exchange.server.calls import current
from exchange.usecases.disclosure_steps import (
    acknowledge_package,
    decide_disclosure,
    fetch_package,
    request_disclosure,
    withdraw_disclosure,
)
from exchange.usecases.disclosure_views import get_disclosure, list_disclosures, watch_disclosures
from exchange.usecases.exchange import Exchange

Context = Any


class DisclosureServicer(DisclosureServiceServicer):
    """DisclosureService; `key` is the 32-byte key of resume and page tokens."""

    def __init__(self, exchange: Exchange, key: bytes) -> None:
        self._exchange = exchange
        self._events = ResumeTokens(key, DISCLOSURE_EVENTS)
        self._pages = ResumeTokens(key, DISCLOSURE_PAGES)

    async def RequestDisclosure(  # noqa: N802
        self, request: disclosures.RequestDisclosureRequest, context: Context
    ) -> disclosures.RequestDisclosureResponse:
        """Take a request of an authority's."""
        return await request_disclosure(self._exchange, current().party, request)

    async def GetDisclosure(  # noqa: N802
        self, request: disclosures.GetDisclosureRequest, context: Context
    ) -> disclosures.GetDisclosureResponse:
        """One disclosure."""
        return await get_disclosure(self._exchange, current().party, request)

    async def ListDisclosures(  # noqa: N802
        self, request: disclosures.ListDisclosuresRequest, context: Context
    ) -> disclosures.ListDisclosuresResponse:
        """A page of disclosures."""
        return await list_disclosures(self._exchange, self._pages, current().party, request)

    async def WatchDisclosures(  # noqa: N802
        self, request: disclosures.WatchDisclosuresRequest, context: Context
    ) -> AsyncIterator[disclosures.WatchDisclosuresResponse]:
        """Stream disclosures as they go on."""
        async for event in watch_disclosures(self._exchange, self._events, current().party, request):
            yield event

    async def DecideDisclosure(  # noqa: N802
        self, request: disclosures.DecideDisclosureRequest, context: Context
    ) -> disclosures.DecideDisclosureResponse:
        """Take a member's decision."""
        return await decide_disclosure(self._exchange, current().party, request)

    async def FetchPackage(  # noqa: N802
        self, request: disclosures.FetchPackageRequest, context: Context
    ) -> disclosures.FetchPackageResponse:
        """Hand out a sealed package."""
        return await fetch_package(self._exchange, current().party, request)

    async def AcknowledgePackage(  # noqa: N802
        self, request: disclosures.AcknowledgePackageRequest, context: Context
    ) -> disclosures.AcknowledgePackageResponse:
        """Take a receipt."""
        return await acknowledge_package(self._exchange, current().party, request)

    async def WithdrawDisclosure(  # noqa: N802
        self, request: disclosures.WithdrawDisclosureRequest, context: Context
    ) -> disclosures.WithdrawDisclosureResponse:
        """Take a request back."""
        return await withdraw_disclosure(self._exchange, current().party, request)
