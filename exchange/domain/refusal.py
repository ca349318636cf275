"""Refusals: why a call is not carried out.

Invariants: every refusal has a stable ErrorReason, and the gRPC status follows from the reason alone, by
the table below. Messages and violations name rules and fields, never a token, an identifier or a secret.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from signalexchange.v1.error_reason_pb2 import ErrorReason

MAX_VIOLATIONS: Final = 32
"""At most this many violations travel; the total travels beside them."""

STATUS: Final[Mapping[int, str]] = {
    ErrorReason.ERROR_REASON_CERTIFICATE_INVALID: "UNAUTHENTICATED",
    ErrorReason.ERROR_REASON_NOT_ENROLLED: "UNAUTHENTICATED",
    ErrorReason.ERROR_REASON_SUSPENDED: "PERMISSION_DENIED",
    ErrorReason.ERROR_REASON_METHOD_NOT_ALLOWED: "PERMISSION_DENIED",
    ErrorReason.ERROR_REASON_PURPOSE_REQUIRED: "PERMISSION_DENIED",
    ErrorReason.ERROR_REASON_PURPOSE_NOT_ALLOWED: "PERMISSION_DENIED",
    ErrorReason.ERROR_REASON_CODE_NOT_ALLOWED: "PERMISSION_DENIED",
    ErrorReason.ERROR_REASON_INVALID_REQUEST: "INVALID_ARGUMENT",
    ErrorReason.ERROR_REASON_MALFORMED: "INVALID_ARGUMENT",
    ErrorReason.ERROR_REASON_SIGNATURE_INVALID: "UNAUTHENTICATED",
    ErrorReason.ERROR_REASON_WRONG_MEMBER: "PERMISSION_DENIED",
    ErrorReason.ERROR_REASON_ID_REUSED: "ALREADY_EXISTS",
    ErrorReason.ERROR_REASON_SIGNAL_ID_REUSED: "ALREADY_EXISTS",
    ErrorReason.ERROR_REASON_SIGNAL_UNKNOWN: "NOT_FOUND",
    ErrorReason.ERROR_REASON_EPOCH_NOT_VALID: "FAILED_PRECONDITION",
    ErrorReason.ERROR_REASON_RATE_LIMITED: "RESOURCE_EXHAUSTED",
    ErrorReason.ERROR_REASON_OVERLOADED: "RESOURCE_EXHAUSTED",
    ErrorReason.ERROR_REASON_BUDGET_EXHAUSTED: "RESOURCE_EXHAUSTED",
    ErrorReason.ERROR_REASON_GENERATION_UNKNOWN: "FAILED_PRECONDITION",
    ErrorReason.ERROR_REASON_NO_ROTATION: "FAILED_PRECONDITION",
    ErrorReason.ERROR_REASON_BEYOND_LOG: "OUT_OF_RANGE",
    ErrorReason.ERROR_REASON_OPENING_NOT_ALLOWED: "PERMISSION_DENIED",
    ErrorReason.ERROR_REASON_ERASED: "NOT_FOUND",
    ErrorReason.ERROR_REASON_RESUME_TOO_OLD: "OUT_OF_RANGE",
    ErrorReason.ERROR_REASON_RESUME_INVALID: "INVALID_ARGUMENT",
    ErrorReason.ERROR_REASON_ROSTER_REFUSED: "FAILED_PRECONDITION",
    ErrorReason.ERROR_REASON_UNAVAILABLE: "UNAVAILABLE",
    ErrorReason.ERROR_REASON_INTERNAL: "INTERNAL",
    ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    ErrorReason.ERROR_REASON_QUOTA_EXCEEDED: "RESOURCE_EXHAUSTED",
    ErrorReason.ERROR_REASON_MATCH_UNKNOWN: "NOT_FOUND",
    ErrorReason.ERROR_REASON_OUTCOME_CONFLICT: "FAILED_PRECONDITION",
    ErrorReason.ERROR_REASON_CASE_UNKNOWN: "NOT_FOUND",
    ErrorReason.ERROR_REASON_CASE_CONFLICT: "ABORTED",
    ErrorReason.ERROR_REASON_STEP_NOT_ALLOWED: "FAILED_PRECONDITION",
    ErrorReason.ERROR_REASON_OFFICER_NOT_INDEPENDENT: "PERMISSION_DENIED",
    ErrorReason.ERROR_REASON_NOTICE_UNKNOWN: "NOT_FOUND",
    ErrorReason.ERROR_REASON_DISCLOSURE_UNKNOWN: "NOT_FOUND",
    ErrorReason.ERROR_REASON_DISCLOSURE_CONFLICT: "FAILED_PRECONDITION",
}


class Refusal(Exception):  # noqa: N818 - a refusal is an outcome, not a defect
    """A call refused for `reason`.

    `violations` are pairs of field path and description, the first `MAX_VIOLATIONS` kept; `total` counts
    all of them (default: as many as were given). `metadata` goes into the ErrorInfo; `retry_after` is in
    seconds.
    """

    def __init__(
        self,
        reason: ErrorReason.ValueType,
        message: str,
        *,
        violations: Sequence[tuple[str, str]] = (),
        total: int | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = list(violations[:MAX_VIOLATIONS])
        self.total = len(violations) if total is None else total
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after

    @property
    def reason_name(self) -> str:
        """Name of the reason without its prefix, as in ErrorInfo.reason."""
        return ErrorReason.Name(self.reason).removeprefix("ERROR_REASON_")

    @property
    def status(self) -> str:
        """Name of the gRPC status code."""
        return STATUS[self.reason]


def invalid(field: str, description: str) -> Refusal:
    """One violated field of a request."""
    return Refusal(
        ErrorReason.ERROR_REASON_INVALID_REQUEST, f"{field}: {description}", violations=[(field, description)]
    )
