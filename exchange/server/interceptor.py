"""The one interceptor: every call of hub and custodian goes through it, streams included.

Order: identity → roster → suspension → access table → parsing → rate limit → the servicer. Invariants:
nothing reaches a servicer that was not admitted; whatever is raised leaves as a refusal with ErrorInfo, an
unexpected exception as INTERNAL with nothing but the request id; malformed bytes are INVALID_ARGUMENT;
every call has a deadline, a request id (taken from the caller's `x-request-id` or made; in the trailers of
every refusal, and of every answer to a caller that sent one), one log line and its metrics.
"""

import asyncio
import inspect
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from signalexchange.roster import Party
from signalexchange.v1.error_reason_pb2 import ErrorReason

from exchange.domain.limits import TokenBucket
from exchange.domain.refusal import Refusal
from exchange.domain.store import StorageFailed
from exchange.server.access import RULES, Rule
from exchange.server.calls import CURRENT, Call, Directory
from exchange.server.identity import Identities, PeerIdentity
from exchange.server.refusals import abort
from exchange.server.streams import OpenStreams
from exchange.server.telemetry import Log, Metrics

DEADLINE: Final = 30.0
"""Seconds a unary call may take where its caller sets no shorter deadline."""
_LINGER: Final = 0.25
"""Seconds for which calls are refused before a server stops."""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

Context = Any
Rates = Callable[[str], tuple[float, float] | None]
"""Bucket name → (units a second, burst), or None for no limit."""
OnRefusal = Callable[[Party, str, Refusal], Awaitable[None]]
Recorder = Callable[[str, bytes], None]


class Gate(grpc.aio.ServerInterceptor):
    """Admits, parses, limits, translates and records calls.

    `on_refusal` is awaited before a refusal of an enrolled caller leaves; `record` sees method and bytes of
    each request that parsed (replays only).
    """

    def __init__(
        self,
        *,
        directory: Directory,
        log: Log,
        metrics: Metrics,
        rates: Rates,
        streams: OpenStreams,
        on_refusal: OnRefusal | None = None,
        record: Recorder | None = None,
        rules: Mapping[str, Rule] = RULES,
    ) -> None:
        self._directory = directory
        self._log = log
        self._metrics = metrics
        self._rates = rates
        self._streams = streams
        self._on_refusal = on_refusal
        self._record = record
        self._rules = rules
        self._identities = Identities()
        self._buckets: dict[tuple[str, str], tuple[tuple[float, float], TokenBucket]] = {}
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._closed = ""

    async def close(self, why: str) -> None:
        """Refuse every further call as UNAVAILABLE, those in hand go on; then the server may be stopped."""
        self._closed = why
        # What has arrived by now is told so: a stopped server cancels such calls without a reason.
        await asyncio.sleep(_LINGER)

    async def intercept_service(
        self,
        continuation: "Callable[[Any], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The method's handler with this gate around it, built once."""
        method = handler_call_details.method
        wrapped = self._handlers.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None  # not served at all: gRPC answers UNIMPLEMENTED
            wrapped = self._wrap(method, handler)
            self._handlers[method] = wrapped
        return wrapped

    def _wrap(self, method: str, handler: Any) -> "grpc.RpcMethodHandler[Any, Any]":
        parse = handler.request_deserializer
        serialise = handler.response_serializer
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(method, parse, handler.unary_unary), None, serialise
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                self._streaming(method, parse, handler.unary_stream, one_request=True), None, serialise
            )
        return grpc.stream_stream_rpc_method_handler(
            self._streaming(method, parse, handler.stream_stream, one_request=False), None, serialise
        )

    def _unary(self, method: str, parse: Any, behaviour: Any) -> Any:
        rule = self._rules.get(method)

        async def serve(raw: bytes, context: Context) -> Any:
            started = time.perf_counter()
            request_id, sent = _request_id(context)
            call: Call | None = None
            try:
                call, _ = self._admit(method, rule, request_id, context)
                request = self._parse(parse, raw, call, rule)
                self._charge(call, rule, request)
                remaining = context.time_remaining()
                if remaining is not None and remaining <= DEADLINE:
                    # gRPC itself cancels the call when the caller's deadline passes.
                    response = await behaviour(request, context)
                else:
                    async with asyncio.timeout(DEADLINE):
                        response = await behaviour(request, context)
            except BaseException as error:
                await self._fail(error, method, request_id, call, started, context)
                raise
            if sent:
                context.set_trailing_metadata((("x-request-id", request_id),))
            self._ended(method, request_id, call, "OK", started)
            return response

        return serve

    def _streaming(self, method: str, parse: Any, behaviour: Any, *, one_request: bool) -> Any:
        rule = self._rules.get(method)
        generates = inspect.isasyncgenfunction(behaviour)

        async def serve(source: Any, context: Context) -> None:
            started = time.perf_counter()
            request_id, sent = _request_id(context)
            call: Call | None = None
            try:
                call, identity = self._admit(method, rule, request_id, context)
                if one_request:
                    request = self._parse(parse, source, call, rule)
                    self._charge(call, rule, request)
                else:
                    request = self._requests(parse, source, call, rule)

                async def body() -> None:
                    if generates:
                        async for message in behaviour(request, context):
                            await context.write(message)
                    else:
                        await behaviour(request, context)

                if sent:
                    context.set_trailing_metadata((("x-request-id", request_id),))
                await self._streams.run(call.party.id, identity.not_after, body())
            except BaseException as error:
                await self._fail(error, method, request_id, call, started, context)
                raise
            self._ended(method, request_id, call, "OK", started)

        return serve

    async def _requests(self, parse: Any, source: AsyncIterator[bytes], call: Call, rule: Rule | None) -> Any:
        async for raw in source:
            request = self._parse(parse, raw, call, rule)
            self._charge(call, rule, request)
            yield request

    def _admit(
        self, method: str, rule: Rule | None, request_id: str, context: Context
    ) -> tuple[Call, PeerIdentity]:
        if self._closed:
            raise Refusal(ErrorReason.ERROR_REASON_UNAVAILABLE, self._closed, retry_after=1.0)
        identity = self._identities.of(context.auth_context())
        party = self._directory.party_by_spiffe(identity.spiffe_id)
        if party is None:
            raise Refusal(ErrorReason.ERROR_REASON_NOT_ENROLLED, "the certificate's identity is not enrolled")
        call = Call(method, request_id, party)
        CURRENT.set(call)
        if self._directory.is_suspended(party.id):
            raise Refusal(ErrorReason.ERROR_REASON_SUSPENDED, "the party is suspended")
        if rule is None or party.kind not in rule.kinds:
            raise Refusal(
                ErrorReason.ERROR_REASON_METHOD_NOT_ALLOWED,
                "no rule allows this method to this kind of party",
                metadata={"kind": party.kind},
            )
        return call, identity

    def _parse(self, parse: Any, raw: bytes, call: Call, rule: Rule | None) -> Any:
        try:
            request = parse(raw)
        except DecodeError:
            self._charge(call, rule, None)
            raise Refusal(
                ErrorReason.ERROR_REASON_MALFORMED, "not a protocol buffer of this method"
            ) from None
        if self._record is not None:
            self._record(call.method, raw)
        return request

    def _charge(self, call: Call, rule: Rule | None, request: Any) -> None:
        """Spend from the member's bucket; `request` is None for bytes that did not parse."""
        if rule is None:
            return
        rate = self._rates(rule.bucket)
        if rate is None:
            return
        now = time.monotonic()
        key = (call.party.id, rule.bucket)
        known = self._buckets.get(key)
        if known is None or known[0] != rate:
            known = (rate, TokenBucket(*rate, now))
            self._buckets[key] = known
        wait = known[1].take(1 if request is None else rule.cost(request), now)
        if wait > 0:
            raise Refusal(
                ErrorReason.ERROR_REASON_RATE_LIMITED,
                "the member's rate limit is used up",
                metadata={"bucket": rule.bucket},
                retry_after=wait,
            )

    async def _fail(
        self,
        error: BaseException,
        method: str,
        request_id: str,
        call: Call | None,
        started: float,
        context: Context,
    ) -> None:
        """End a failed call: with a refusal, or not at all where gRPC has ended it already."""
        if isinstance(error, grpc.aio.AbortError | asyncio.CancelledError | GeneratorExit):
            reason = "ABORTED" if isinstance(error, grpc.aio.AbortError) else "CANCELLED"
            self._ended(method, request_id, call, reason, started)
            return
        if isinstance(error, Refusal):
            refusal = error
        elif isinstance(error, TimeoutError):
            refusal = Refusal(ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED, "the deadline passed")
        elif isinstance(error, StorageFailed):
            # A read outside the writer; whether the hub can go on is for the writer to find out.
            refusal = Refusal(ErrorReason.ERROR_REASON_UNAVAILABLE, "storage can't be read")
            self._log.event("storage-read-failed", method=method, request_id=request_id, error=error)
        else:
            refusal = Refusal(ErrorReason.ERROR_REASON_INTERNAL, f"internal error, request id {request_id}")
            self._log.event("unexpected", method=method, request_id=request_id, error=error)
        if call is not None and self._on_refusal is not None:
            try:
                await self._on_refusal(call.party, method, refusal)
            except Refusal as lost:
                # A refusal that can't be put on the log is not given: storage is gone or full.
                refusal = lost
        self._ended(method, request_id, call, refusal.reason_name, started)
        await abort(context, refusal, request_id)

    def _ended(self, method: str, request_id: str, call: Call | None, reason: str, started: float) -> None:
        seconds = time.perf_counter() - started
        self._metrics.call_ended(method if method in self._rules else "other", reason, seconds)
        if call is None:
            return  # unknown callers appear in metrics alone
        self._log.event(
            "call",
            method=method,
            member=call.party.id,
            request_id=request_id,
            reason=reason,
            ms=round(seconds * 1000, 2),
            **call.facts,
        )


def _request_id(context: Context) -> tuple[str, bool]:
    """The call's request id, and whether the caller sent one. A trailer costs as much as a log line, so an
    answer carries the id only to who is interested in it."""
    sent = False
    for key, value in context.invocation_metadata() or ():
        if key == "x-request-id":
            if isinstance(value, str) and _REQUEST_ID.fullmatch(value):
                return value, True
            sent = True
    return os.urandom(8).hex(), sent
