"""A connection to one peer over mutual TLS that follows its credentials' files.

Invariants: every call has a deadline; only idempotent methods are ever repeated; a channel whose certificate
was renewed gets no new calls and is closed when its last call has ended; what the peer answers is a message
or an ExchangeError, never a library's exception.

UNAVAILABLE is repeated by gRPC itself, as the service config below says (gRPC A6, with its jitter and
throttling); RESOURCE_EXHAUSTED here, at most twice and only where the peer says when (google.rpc.RetryInfo).
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from signalexchange.credentials import TlsFiles
from signalexchange.errors import ConfigError, MalformedError
from signalexchange.rpc_errors import refusal_from
from signalexchange.v1 import case_service_pb2 as cases
from signalexchange.v1 import disclosure_service_pb2 as disclosures
from signalexchange.v1 import match_service_pb2 as matches
from signalexchange.v1 import membership_service_pb2 as membership
from signalexchange.v1 import notice_service_pb2 as notices
from signalexchange.v1 import outcome_service_pb2 as outcomes
from signalexchange.v1 import signal_service_pb2 as signals
from signalexchange.v1 import token_service_pb2 as tokens
from signalexchange.v1 import transparency_service_pb2 as transparency

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

TIMEOUT = 10.0
RELOAD_SECONDS = 2.0
MAX_MESSAGE = 16 * 1024 * 1024
MAX_REPEATS = 2


@dataclass(frozen=True)
class Method(Generic[Request, Response]):
    """A method of the contract: service and name, the answer's type, and whether repeating it is harmless."""

    service: str
    name: str
    request: type[Request]
    response: type[Response]
    idempotent: bool = True

    @property
    def path(self) -> str:
        """The method's path in HTTP/2."""
        return f"/signalexchange.v1.{self.service}/{self.name}"


PUBLISH = Method(
    "SignalService", "PublishSignals", signals.PublishSignalsRequest, signals.PublishSignalsResponse
)
WITHDRAW = Method(
    "SignalService", "WithdrawSignals", signals.WithdrawSignalsRequest, signals.WithdrawSignalsResponse
)
LOOK_UP = Method(
    "SignalService", "LookUpSubjects", signals.LookUpSubjectsRequest, signals.LookUpSubjectsResponse
)
SUBSCRIBE = Method("SignalService", "Subscribe", signals.SubscribeRequest, signals.SubscribeResponse)
UNSUBSCRIBE = Method("SignalService", "Unsubscribe", signals.UnsubscribeRequest, signals.UnsubscribeResponse)
# A broken stream is resumed by whoever reads it, after the last event it handled.
WATCH = Method(
    "SignalService",
    "WatchSignals",
    signals.WatchSignalsRequest,
    signals.WatchSignalsResponse,
    idempotent=False,
)
CHECKPOINT = Method(
    "TransparencyService", "GetCheckpoint",
    transparency.GetCheckpointRequest, transparency.GetCheckpointResponse,
)  # fmt: skip
INCLUSION_PROOF = Method(
    "TransparencyService", "GetInclusionProof",
    transparency.GetInclusionProofRequest, transparency.GetInclusionProofResponse,
)  # fmt: skip
CONSISTENCY_PROOF = Method(
    "TransparencyService", "GetConsistencyProof",
    transparency.GetConsistencyProofRequest, transparency.GetConsistencyProofResponse,
)  # fmt: skip
LEAVES = Method(
    "TransparencyService", "ListLeaves", transparency.ListLeavesRequest, transparency.ListLeavesResponse
)
OPEN_ENTRIES = Method(
    "TransparencyService", "OpenEntries", transparency.OpenEntriesRequest, transparency.OpenEntriesResponse
)
ROSTER = Method("MembershipService", "GetRoster", membership.GetRosterRequest, membership.GetRosterResponse)
PROPOSE_ROSTER = Method(
    "MembershipService", "ProposeRosterVersion",
    membership.ProposeRosterVersionRequest, membership.ProposeRosterVersionResponse,
)  # fmt: skip
SUSPEND = Method(
    "MembershipService", "SuspendMember", membership.SuspendMemberRequest, membership.SuspendMemberResponse
)
REPORT_OUTCOMES = Method(
    "OutcomeService", "ReportOutcomes", outcomes.ReportOutcomesRequest, outcomes.ReportOutcomesResponse
)
RELIABILITY = Method(
    "OutcomeService", "GetReliability", outcomes.GetReliabilityRequest, outcomes.GetReliabilityResponse
)
GET_MATCH = Method("MatchService", "GetMatch", matches.GetMatchRequest, matches.GetMatchResponse)
LIST_MATCHES = Method("MatchService", "ListMatches", matches.ListMatchesRequest, matches.ListMatchesResponse)
WATCH_MATCHES = Method(
    "MatchService",
    "WatchMatches",
    matches.WatchMatchesRequest,
    matches.WatchMatchesResponse,
    idempotent=False,
)
LIST_SET_ASIDE = Method(
    "MatchService", "ListSetAside", matches.ListSetAsideRequest, matches.ListSetAsideResponse
)
RECORD_STEP = Method("CaseService", "RecordStep", cases.RecordStepRequest, cases.RecordStepResponse)
GET_CASE = Method("CaseService", "GetCase", cases.GetCaseRequest, cases.GetCaseResponse)
LIST_CASES = Method("CaseService", "ListCases", cases.ListCasesRequest, cases.ListCasesResponse)
WATCH_CASES = Method(
    "CaseService", "WatchCases", cases.WatchCasesRequest, cases.WatchCasesResponse, idempotent=False
)
ERASE_CASE = Method("CaseService", "EraseCase", cases.EraseCaseRequest, cases.EraseCaseResponse)
ACKNOWLEDGE_CORRECTIONS = Method(
    "CaseService", "AcknowledgeCorrections",
    cases.AcknowledgeCorrectionsRequest, cases.AcknowledgeCorrectionsResponse,
)  # fmt: skip
LIST_NOTICES = Method("NoticeService", "ListNotices", notices.ListNoticesRequest, notices.ListNoticesResponse)
GET_NOTICE = Method("NoticeService", "GetNotice", notices.GetNoticeRequest, notices.GetNoticeResponse)
LIST_LEGAL_FACTS = Method(
    "NoticeService", "ListLegalFacts", notices.ListLegalFactsRequest, notices.ListLegalFactsResponse
)
REQUEST_DISCLOSURE = Method(
    "DisclosureService", "RequestDisclosure",
    disclosures.RequestDisclosureRequest, disclosures.RequestDisclosureResponse,
)  # fmt: skip
GET_DISCLOSURE = Method(
    "DisclosureService", "GetDisclosure",
    disclosures.GetDisclosureRequest, disclosures.GetDisclosureResponse,
)  # fmt: skip
LIST_DISCLOSURES = Method(
    "DisclosureService", "ListDisclosures",
    disclosures.ListDisclosuresRequest, disclosures.ListDisclosuresResponse,
)  # fmt: skip
WATCH_DISCLOSURES = Method(
    "DisclosureService", "WatchDisclosures",
    disclosures.WatchDisclosuresRequest, disclosures.WatchDisclosuresResponse,
    idempotent=False,
)  # fmt: skip
DECIDE_DISCLOSURE = Method(
    "DisclosureService", "DecideDisclosure",
    disclosures.DecideDisclosureRequest, disclosures.DecideDisclosureResponse,
)  # fmt: skip
FETCH_PACKAGE = Method(
    "DisclosureService", "FetchPackage", disclosures.FetchPackageRequest, disclosures.FetchPackageResponse
)
ACKNOWLEDGE_PACKAGE = Method(
    "DisclosureService", "AcknowledgePackage",
    disclosures.AcknowledgePackageRequest, disclosures.AcknowledgePackageResponse,
)  # fmt: skip
WITHDRAW_DISCLOSURE = Method(
    "DisclosureService", "WithdrawDisclosure",
    disclosures.WithdrawDisclosureRequest, disclosures.WithdrawDisclosureResponse,
)  # fmt: skip
KEY_MANIFEST = Method(
    "TokenService", "GetKeyManifest", tokens.GetKeyManifestRequest, tokens.GetKeyManifestResponse
)

METHODS: tuple[Method[Message, Message], ...] = (
    PUBLISH, WITHDRAW, LOOK_UP, SUBSCRIBE, UNSUBSCRIBE, WATCH, CHECKPOINT, INCLUSION_PROOF, CONSISTENCY_PROOF,
    LEAVES, OPEN_ENTRIES, ROSTER, PROPOSE_ROSTER, SUSPEND, REPORT_OUTCOMES, RELIABILITY,
    GET_MATCH, LIST_MATCHES, WATCH_MATCHES, LIST_SET_ASIDE, RECORD_STEP, GET_CASE, LIST_CASES, WATCH_CASES,
    ERASE_CASE, ACKNOWLEDGE_CORRECTIONS, LIST_NOTICES, GET_NOTICE, LIST_LEGAL_FACTS, KEY_MANIFEST,
    REQUEST_DISCLOSURE, GET_DISCLOSURE, LIST_DISCLOSURES, WATCH_DISCLOSURES, DECIDE_DISCLOSURE, FETCH_PACKAGE,
    ACKNOWLEDGE_PACKAGE, WITHDRAW_DISCLOSURE,
)  # type: ignore[assignment] # fmt: skip


def service_config(methods: Iterable[Method[Message, Message]]) -> str:
    """The gRPC service config (JSON) that repeats the idempotent of `methods`, and no others."""
    names = [
        {"service": f"signalexchange.v1.{method.service}", "method": method.name}
        for method in methods
        if method.idempotent
    ]
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.2s",
        "maxBackoff": "3s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": policy}]})


class _Channel:
    """A channel, the stamp of the files it was opened with, and how many calls still use it."""

    def __init__(self, channel: grpc.aio.Channel, stamp: tuple[tuple[int, int], ...]) -> None:
        self.channel = channel
        self.stamp = stamp
        self.in_use = 0


class Connection:
    """One peer's target (host:port), reached under one party's certificate. Used on one event loop."""

    def __init__(self, target: str, tls: TlsFiles, *, server_name: str | None = None) -> None:
        """Load the credentials; nothing is sent yet. Raises ConfigError for files that can't be used."""
        self.target = target
        self._tls = tls
        self._server_name = server_name
        self._current = self._open()
        self._retired: set[_Channel] = set()
        self._checked = time.monotonic()

    def _open(self) -> _Channel:
        stamp = self._tls.stamp()
        options: list[tuple[str, str | int]] = [
            ("grpc.service_config", service_config(METHODS)),
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_send_message_length", MAX_MESSAGE),
            # Above the 300 seconds that a gRPC server tolerates by default: a dead peer ends a silent watch.
            ("grpc.keepalive_time_ms", 330_000),
            ("grpc.keepalive_timeout_ms", 20_000),
        ]
        if self._server_name is not None:
            options.append(("grpc.ssl_target_name_override", self._server_name))
        return _Channel(grpc.aio.secure_channel(self.target, self._tls.load(), options), stamp)

    async def reload(self) -> bool:
        """Open a new channel if the credentials' files have changed; returns whether they had.

        Files that can't be used, such as those of a renewal under way, leave the old channel in place.
        """
        self._checked = time.monotonic()
        try:
            if self._tls.stamp() == self._current.stamp:
                return False
            fresh = self._open()
        except ConfigError:
            return False
        old, self._current = self._current, fresh
        self._retired.add(old)
        await self._close_unused()
        return True

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """The channel under the present credentials; it stays open at least until the context ends."""
        if time.monotonic() - self._checked >= RELOAD_SECONDS:
            await self.reload()
        used = self._current
        used.in_use += 1
        try:
            yield used.channel
        finally:
            used.in_use -= 1
            await self._close_unused()

    async def _close_unused(self) -> None:
        for each in [each for each in self._retired if each.in_use == 0]:
            self._retired.discard(each)
            await each.channel.close()

    async def call(
        self,
        method: Method[Request, Response],
        request: Request,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - gRPC ends the call
    ) -> Response:
        """Call a unary method; `timeout` in seconds covers all attempts.

        Raises RefusedError for a refusal or an unreachable peer, MalformedError for an answer that is none.
        """
        deadline = time.monotonic() + timeout
        repeats = MAX_REPEATS if method.idempotent else 0
        while True:
            try:
                async with self.channel() as channel:
                    call: grpc.aio.UnaryUnaryMultiCallable[Request, bytes]
                    call = channel.unary_unary(method.path, request_serializer=_serialise)
                    answer = await call(request, timeout=max(0.0, deadline - time.monotonic()))
                return _parse(method.response, answer)
            except grpc.aio.AioRpcError as error:
                refused = refusal_from(error)
            if repeats == 0 or refused.status != "RESOURCE_EXHAUSTED" or refused.retry_after is None:
                raise refused from None
            pause = refused.retry_after * random.uniform(1.0, 1.25)  # noqa: S311 - jitter
            if time.monotonic() + pause >= deadline:
                raise refused from None
            repeats -= 1
            await asyncio.sleep(pause)

    async def stream(
        self, method: Method[Request, Response], request: Request
    ) -> AsyncGenerator[Response, None]:
        """Read a server stream until the peer or the reader ends it; raises as `call` does."""
        async with self.channel() as channel:
            open_stream: grpc.aio.UnaryStreamMultiCallable[Request, bytes]
            open_stream = channel.unary_stream(method.path, request_serializer=_serialise)
            call = open_stream(request)
            try:
                async for answer in call:
                    yield _parse(method.response, answer)
            except grpc.aio.AioRpcError as error:
                raise refusal_from(error) from None
            finally:
                call.cancel()

    async def close(self) -> None:
        """Close every channel; calls still running are cancelled."""
        for each in (self._current, *self._retired):
            await each.channel.close()
        self._retired.clear()


def _serialise(message: Message) -> bytes:
    return message.SerializeToString()


def _parse(kind: type[Response], data: bytes) -> Response:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise MalformedError(f"the answer is not a {kind.__name__}") from None
