"""The errors of the SDK.

Whatever goes wrong on purpose is an `ExchangeError`; malformed bytes never surface as ValueError,
struct.error or a library's own exception. Messages name the rule that was broken and never hold an
identifier, a token or a secret.
"""

from collections.abc import Mapping, Sequence


class ExchangeError(Exception):
    """Base of every error the SDK raises on purpose."""


class MalformedError(ExchangeError):
    """Bytes or text that are not of the form they should be."""


class VerificationError(ExchangeError):
    """A signature, proof, commitment or chain that does not hold."""


class ConfigError(ExchangeError):
    """A configuration file that can't be used; the message names file and key."""


class InvalidIdentifierError(ExchangeError):
    """An identifier that is not valid for its type. The value itself is never part of the message."""

    def __init__(self, type_name: str, reason: str) -> None:
        super().__init__(f"not a valid {type_name}: {reason}")
        self.type_name = type_name
        self.reason = reason


class CustodianError(ExchangeError):
    """Too few custodians gave a valid evaluation; `failures` says of each custodian why."""

    def __init__(self, message: str, failures: Mapping[str, str]) -> None:
        detail = "; ".join(f"{name}: {why}" for name, why in failures.items())
        super().__init__(f"{message} ({detail})" if detail else message)
        self.failures = dict(failures)


class RefusedError(ExchangeError):
    """The hub or a custodian refused a call.

    `reason` is the name of an ErrorReason without its prefix (or the gRPC status name where the peer sent
    none), `status` the gRPC status name, `violations` pairs of field and description, `retry_after` seconds
    or None.
    """

    def __init__(
        self,
        status: str,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[tuple[str, str]] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = list(violations)
        self.retry_after = retry_after
