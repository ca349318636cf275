"""The hub's gRPC services: thin, one line a method.

Invariants: who calls comes from the admitted call alone; a request is passed on as it came.
"""

from collections.abc import AsyncIterator
from typing import Any

from signalexchange.v1 import (
    membership_service_pb2 as membership,
)
from signalexchange.v1 import (
    signal_service_pb2 as signals,
)
from signalexchange.v1 import (
    transparency_service_pb2 as transparency,
)
from signalexchange.v1.membership_service_pb2_grpc import MembershipServiceServicer
from signalexchange.v1.signal_service_pb2_grpc import SignalServiceServicer
from signalexchange.v1.transparency_service_pb2_grpc import TransparencyServiceServicer

from exchange.domain.resume import ResumeTokens
from exchange.server.calls import current
from exchange.usecases import enrol, proofs
from exchange.usecases.exchange import Exchange
from exchange.usecases.look_up import look_up
from exchange.usecases.publish import publish
from exchange.usecases.subscribe import subscribe, unsubscribe
from exchange.usecases.watch import watch
from exchange.usecases.withdraw import withdraw

Context = Any


class SignalServicer(SignalServiceServicer):
    """SignalService."""

    def __init__(self, exchange: Exchange, tokens: ResumeTokens) -> None:
        self._exchange = exchange
        self._tokens = tokens

    async def PublishSignals(  # noqa: N802
        self, request: signals.PublishSignalsRequest, context: Context
    ) -> signals.PublishSignalsResponse:
        """Store and log a signed batch."""
        call = current()
        call.facts["signals"] = len(request.signals)
        return await publish(self._exchange, call.party, request)

    async def WithdrawSignals(  # noqa: N802
        self, request: signals.WithdrawSignalsRequest, context: Context
    ) -> signals.WithdrawSignalsResponse:
        """Take signals back."""
        return await withdraw(self._exchange, current().party, request)

    async def LookUpSubjects(  # noqa: N802
        self, request: signals.LookUpSubjectsRequest, context: Context
    ) -> signals.LookUpSubjectsResponse:
        """Answer what others know."""
        call = current()
        response = await look_up(self._exchange, call.party, request)
        call.facts["asked"] = len(request.tokens)
        call.facts["hits"] = len(response.subjects)
        return response

    async def Subscribe(  # noqa: N802
        self, request: signals.SubscribeRequest, context: Context
    ) -> signals.SubscribeResponse:
        """Take out subscriptions."""
        return await subscribe(self._exchange, current().party, request)

    async def Unsubscribe(  # noqa: N802
        self, request: signals.UnsubscribeRequest, context: Context
    ) -> signals.UnsubscribeResponse:
        """End subscriptions."""
        return await unsubscribe(self._exchange, current().party, request)

    async def WatchSignals(  # noqa: N802
        self, request: signals.WatchSignalsRequest, context: Context
    ) -> AsyncIterator[signals.WatchSignalsResponse]:
        """Stream events."""
        async for event in watch(self._exchange, self._tokens, current().party, request):
            yield event


class TransparencyServicer(TransparencyServiceServicer):
    """TransparencyService."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def GetCheckpoint(  # noqa: N802
        self, request: transparency.GetCheckpointRequest, context: Context
    ) -> transparency.GetCheckpointResponse:
        """The newest durable checkpoint."""
        return transparency.GetCheckpointResponse(checkpoint=self._exchange.writer.head.checkpoint)

    async def GetInclusionProof(  # noqa: N802
        self, request: transparency.GetInclusionProofRequest, context: Context
    ) -> transparency.GetInclusionProofResponse:
        """Prove that an entry is in a tree."""
        return await proofs.inclusion_proof(self._exchange, request)

    async def GetConsistencyProof(  # noqa: N802
        self, request: transparency.GetConsistencyProofRequest, context: Context
    ) -> transparency.GetConsistencyProofResponse:
        """Prove that a tree extends another."""
        return await proofs.consistency_proof(self._exchange, request)

    async def ListLeaves(  # noqa: N802
        self, request: transparency.ListLeavesRequest, context: Context
    ) -> transparency.ListLeavesResponse:
        """Leaves in order."""
        return await proofs.list_leaves(self._exchange, current().party, request)

    async def OpenEntries(  # noqa: N802
        self, request: transparency.OpenEntriesRequest, context: Context
    ) -> transparency.OpenEntriesResponse:
        """Open entries to those who may."""
        return await proofs.open_entries(self._exchange, current().party, request)


class MembershipServicer(MembershipServiceServicer):
    """MembershipService."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def GetRoster(  # noqa: N802
        self, request: membership.GetRosterRequest, context: Context
    ) -> membership.GetRosterResponse:
        """Roster versions."""
        return enrol.get_roster(self._exchange, request)

    async def ProposeRosterVersion(  # noqa: N802
        self, request: membership.ProposeRosterVersionRequest, context: Context
    ) -> membership.ProposeRosterVersionResponse:
        """Install a version the quorum signed."""
        return await enrol.propose(self._exchange, current().party, request)

    async def SuspendMember(  # noqa: N802
        self, request: membership.SuspendMemberRequest, context: Context
    ) -> membership.SuspendMemberResponse:
        """Shut a party out."""
        return await enrol.suspend(self._exchange, current().party, request)
