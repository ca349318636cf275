"""Refusals on the wire: gRPC status with google.rpc details.

Invariants: every refusal carries ErrorInfo (domain "signalexchange"); BadRequest lists at most 32
violations with the total in ErrorInfo's metadata; the serialised status stays below 6 KiB (gRPC's trailers
are limited to 8 KiB).
"""

from typing import Final

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from exchange.domain.refusal import Refusal

DOMAIN: Final = "signalexchange"
_MAX_STATUS: Final = 5_500
_MAX_TEXT: Final = 200


def status_of(refusal: Refusal) -> status_pb2.Status:
    """The google.rpc.Status of a refusal."""
    code = grpc.StatusCode[refusal.status]
    status = status_pb2.Status(code=code.value[0], message=refusal.message[:_MAX_TEXT])
    metadata = {key: value[:_MAX_TEXT] for key, value in refusal.metadata.items()}
    if refusal.total:
        metadata["violations_total"] = str(refusal.total)
    details: list[Any] = []
    details.append(
        _pack(error_details_pb2.ErrorInfo(reason=refusal.reason_name, domain=DOMAIN, metadata=metadata))
    )
    if refusal.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(max(1, round(refusal.retry_after * 1000)))
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    if refusal.violations:
        bad = error_details_pb2.BadRequest()
        size = sum(len(detail.value) for detail in details)
        for field, description in refusal.violations:
            violation = bad.field_violations.add(field=field[:_MAX_TEXT], description=description[:_MAX_TEXT])
            size += violation.ByteSize() + 4
            if size > _MAX_STATUS:
                del bad.field_violations[-1]
                break
        details.append(_pack(bad))
    status.details.extend(details)
    return status


def _pack(
    message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo | error_details_pb2.BadRequest,
) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


async def abort(
    context: "grpc.aio.ServicerContext[object, object]", refusal: Refusal, request_id: str
) -> None:
    """End the call with the refusal; always raises grpc.aio.AbortError."""
    status = status_of(refusal)
    await context.abort(
        grpc.StatusCode[refusal.status],
        status.message,
        trailing_metadata=(
            ("grpc-status-details-bin", status.SerializeToString()),
            ("x-request-id", request_id),
        ),
    )
