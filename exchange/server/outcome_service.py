"""The hub's OutcomeService: thin, as the services beside it."""

from typing import Any

from signalexchange.v1 import outcome_service_pb2 as outcomes
from signalexchange.v1.outcome_service_pb2_grpc import OutcomeServiceServicer

from exchange.server.calls import current
from exchange.usecases.exchange import Exchange
from exchange.usecases.outcomes import get_reliability, report_outcomes

Context = Any


class OutcomeServicer(OutcomeServiceServicer):
    """OutcomeService."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def ReportOutcomes(  # noqa: N802
        self, request: outcomes.ReportOutcomesRequest, context: Context
    ) -> outcomes.ReportOutcomesResponse:
        """Take signed verdicts."""
        return await report_outcomes(self._exchange, current().party, request)

    async def GetReliability(  # noqa: N802
        self, request: outcomes.GetReliabilityRequest, context: Context
    ) -> outcomes.GetReliabilityResponse:
        """What outcomes say of codes and of the caller's group."""
        return get_reliability(self._exchange, current().party)
