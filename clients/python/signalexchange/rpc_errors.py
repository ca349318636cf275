"""From a failed call to the SDK's error: one place that reads google.rpc.Status.

Invariants: whatever the peer sent (no details, malformed details, details of another call) becomes a
`RefusedError`; nothing here raises.
"""

from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from signalexchange.errors import RefusedError

DETAILS_KEY = "grpc-status-details-bin"
DOMAIN = "signalexchange"
# What gRPC writes where the handshake ends because of the peer's certificate: its chain, its name.
_NOT_THE_PEER = (
    "CERTIFICATE_VERIFY_FAILED",
    "is not in peer certificate",
    "Hostname Verification Check failed",
)


def refusal_from(error: grpc.aio.AioRpcError) -> RefusedError:
    """What a peer's refusal says, read from its rich status (google.rpc.Status, AIP-193).

    Without a readable ErrorInfo of the domain "signalexchange" the reason is the gRPC status name, so that a
    call that never reached the peer reads "UNAVAILABLE" or "DEADLINE_EXCEEDED". `retry_after` is in seconds,
    never negative.
    """
    status_name = error.code().name
    reason, metadata, violations, retry_after = status_name, dict[str, str](), list[tuple[str, str]](), None
    for detail in _details(error):
        try:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(info) and info.domain == DOMAIN and info.reason:
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                violations = [(v.field, v.description) for v in bad.field_violations]
            elif detail.Unpack(retry):
                retry_after = max(0.0, retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9)
        except DecodeError:
            continue
    return RefusedError(
        status_name,
        reason,
        _message(error),
        metadata=metadata,
        violations=violations,
        retry_after=retry_after,
    )


def _message(error: grpc.aio.AioRpcError) -> str:
    text = error.details() or "no details"
    if error.code() is grpc.StatusCode.UNAVAILABLE and any(sign in text for sign in _NOT_THE_PEER):
        return "the peer's certificate is not of the configured authority, or not of the configured name"
    return text


def _details(error: grpc.aio.AioRpcError) -> list[Any]:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                return []
            return list(status.details) if status.code == error.code().value[0] else []
    return []
