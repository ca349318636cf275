"""What a failed call becomes, whatever its trailers hold."""

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.rpc_errors import DETAILS_KEY, refusal_from


def failed(
    code: grpc.StatusCode, trailers: list[tuple[str, str | bytes]], details: str | None = "no"
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), details)


def packed(*messages: object) -> list[any_pb2.Any]:
    out = []
    for message in messages:
        out.append(any_pb2.Any())
        out[-1].Pack(message)  # type: ignore[arg-type]
    return out


def rich(code: int, *messages: object) -> bytes:
    return bytes(status_pb2.Status(code=code, message="no", details=packed(*messages)).SerializeToString())


def test_reads_reason_metadata_violations_and_retry_delay() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="signals[3].code", description="unknown")
    details = rich(
        grpc.StatusCode.RESOURCE_EXHAUSTED.value[0],
        error_details_pb2.ErrorInfo(reason="RATE_LIMITED", domain="signalexchange", metadata={"limit": "10"}),
        error_details_pb2.BadRequest(field_violations=[violation]),
        error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2, nanos=500_000_000)),
    )
    error = refusal_from(failed(grpc.StatusCode.RESOURCE_EXHAUSTED, [(DETAILS_KEY, details)]))
    assert (error.status, error.reason, error.metadata) == (
        "RESOURCE_EXHAUSTED",
        "RATE_LIMITED",
        {"limit": "10"},
    )
    assert error.violations == [("signals[3].code", "unknown")]
    assert error.retry_after == pytest.approx(2.5)


def test_without_details_the_reason_is_the_status() -> None:
    error = refusal_from(failed(grpc.StatusCode.UNAVAILABLE, [], None))
    assert (error.status, error.reason, error.violations, error.retry_after) == (
        "UNAVAILABLE",
        "UNAVAILABLE",
        [],
        None,
    )


def test_details_of_another_domain_or_another_status_are_not_believed() -> None:
    foreign = rich(7, error_details_pb2.ErrorInfo(reason="SUSPENDED", domain="elsewhere"))
    assert (
        refusal_from(failed(grpc.StatusCode.PERMISSION_DENIED, [(DETAILS_KEY, foreign)])).reason
        == "PERMISSION_DENIED"
    )
    other = rich(7, error_details_pb2.ErrorInfo(reason="SUSPENDED", domain="signalexchange"))
    assert refusal_from(failed(grpc.StatusCode.UNAVAILABLE, [(DETAILS_KEY, other)])).reason == "UNAVAILABLE"


@given(st.binary(max_size=200))
def test_malformed_details_are_tolerated(junk: bytes) -> None:
    error = refusal_from(failed(grpc.StatusCode.INTERNAL, [(DETAILS_KEY, junk)]))
    assert error.status == "INTERNAL"


@given(st.binary(max_size=60))
def test_malformed_detail_inside_a_valid_status_is_tolerated(junk: bytes) -> None:
    details = packed(error_details_pb2.ErrorInfo(reason="MALFORMED", domain="signalexchange"))
    broken = [any_pb2.Any(type_url=details[0].type_url, value=junk), *details]
    status = status_pb2.Status(code=3, details=broken).SerializeToString()
    assert (
        refusal_from(failed(grpc.StatusCode.INVALID_ARGUMENT, [(DETAILS_KEY, status)])).reason == "MALFORMED"
    )


@pytest.mark.parametrize(
    "text",
    [
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Ssl handshake failed: "
        "SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED",
        "failed to connect to all addresses; last error: UNKNOWN: Peer name hub is not in peer certificate",
    ],
)
def test_a_peer_of_another_authority_or_name_is_said_in_one_sentence(text: str) -> None:
    error = refusal_from(failed(grpc.StatusCode.UNAVAILABLE, [], text))
    assert error.reason == "UNAVAILABLE"
    assert "the peer's certificate is not of the configured authority" in str(error)
    assert "SSL" not in str(error)
    assert "is not in peer" not in str(error)
