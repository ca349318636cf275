"""The hub's CaseService: thin, as the services beside it."""

from collections.abc import AsyncIterator
from typing import Any

from signalexchange.v1 import case_service_pb2 as cases
from signalexchange.v1.case_service_pb2_grpc import CaseServiceServicer

from exchange.domain.resume import CASE_EVENTS, CASE_PAGES, ResumeTokens
from exchange.server.calls import current
from exchange.usecases.case_views import get_case, list_cases, watch_cases
from exchange.usecases.cases import record_step
from exchange.usecases.corrections import acknowledge
from exchange.usecases.erase_case import erase_case
from exchange.usecases.exchange import Exchange

Context = Any


class CaseServicer(CaseServiceServicer):
    """CaseService; `key` is the 32-byte key of resume and page tokens."""

    def __init__(self, exchange: Exchange, key: bytes) -> None:
        self._exchange = exchange
        self._events = ResumeTokens(key, CASE_EVENTS)
        self._pages = ResumeTokens(key, CASE_PAGES)

    async def RecordStep(  # noqa: N802
        self, request: cases.RecordStepRequest, context: Context
    ) -> cases.RecordStepResponse:
        """Take an officer's step."""
        return await record_step(self._exchange, current().party, request)

    async def GetCase(  # noqa: N802
        self, request: cases.GetCaseRequest, context: Context
    ) -> cases.GetCaseResponse:
        """One case."""
        return await get_case(self._exchange, current().party, request)

    async def ListCases(  # noqa: N802
        self, request: cases.ListCasesRequest, context: Context
    ) -> cases.ListCasesResponse:
        """A page of cases."""
        return await list_cases(self._exchange, self._pages, current().party, request)

    async def WatchCases(  # noqa: N802
        self, request: cases.WatchCasesRequest, context: Context
    ) -> AsyncIterator[cases.WatchCasesResponse]:
        """Stream cases as they change."""
        async for event in watch_cases(self._exchange, self._events, current().party, request):
            yield event

    async def EraseCase(  # noqa: N802
        self, request: cases.EraseCaseRequest, context: Context
    ) -> cases.EraseCaseResponse:
        """Erase a closed proceeding."""
        return await erase_case(self._exchange, current().party, request)

    async def AcknowledgeCorrections(  # noqa: N802
        self, request: cases.AcknowledgeCorrectionsRequest, context: Context
    ) -> cases.AcknowledgeCorrectionsResponse:
        """Take the word that corrections were received."""
        return await acknowledge(self._exchange, current().party, request)
