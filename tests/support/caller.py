"""A party without the SDK's client: it sends what a test says, and judges each refusal by the contract.

Every refusal that a test meets is checked here in one place: ErrorInfo with a listed reason in the domain
"signalexchange", the status that the contract gives that reason, small trailers, nothing internal in it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from google.rpc import error_details_pb2, status_pb2
from signalexchange.v1.case_service_pb2_grpc import CaseServiceStub
from signalexchange.v1.disclosure_service_pb2_grpc import DisclosureServiceStub
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.match_service_pb2_grpc import MatchServiceStub
from signalexchange.v1.membership_service_pb2_grpc import MembershipServiceStub
from signalexchange.v1.notice_service_pb2_grpc import NoticeServiceStub
from signalexchange.v1.outcome_service_pb2_grpc import OutcomeServiceStub
from signalexchange.v1.signal_service_pb2_grpc import SignalServiceStub
from signalexchange.v1.transparency_service_pb2_grpc import TransparencyServiceStub

DEADLINE = 10.0
MAX_TRAILERS = 8 * 1024
MAX_VIOLATIONS = 32

_CONTRACT = Path(__file__).parents[2] / "proto" / "signalexchange" / "v1" / "error_reason.proto"
STATUS = {
    reason: status
    for status, reason in re.findall(
        r"// ([A-Z_]+): .*\n  ERROR_REASON_([A-Z_]+) = ", _CONTRACT.read_text("utf-8")
    )
}
"""Reason → gRPC status, as the contract's comments say."""

# What an internal text looks like: traces, paths, Python's and SQLite's names, SQL, addresses of objects.
INTERNAL = re.compile(
    r"Traceback|File \"|\.py\b|/tmp/|/home/|/root/|/work|site-packages|[A-Z][a-z]+Error\b|Exception\b|"
    r"\bsqlite|"
    r"\bSELECT\b|\bINSERT\b|\bUNIQUE constraint|\bNone\b|0x[0-9a-f]{6,}| object at |\bassert",
)


@dataclass(frozen=True)
class Refused:
    """A refusal as it arrived."""

    status: str
    reason: str
    message: str
    metadata: dict[str, str]
    violations: list[tuple[str, str]]
    retry_after: float | None

    @property
    def fields(self) -> list[str]:
        return [field for field, _ in self.violations]

    @property
    def total(self) -> int:
        return int(self.metadata.get("violations_total", "0"))


def read_refusal(error: grpc.RpcError) -> Refused:
    """Check a refusal against the contract and return it."""
    call: Any = error  # a grpc.Call, too: the stubs know no class that is both
    status = call.code().name
    trailers = list(call.trailing_metadata() or ())
    assert sum(len(key) + len(value) + 32 for key, value in trailers) < MAX_TRAILERS
    packed = [value for key, value in trailers if key == "grpc-status-details-bin"]
    assert packed, f"no details with {status}: {call.details()}"
    rich = status_pb2.Status.FromString(packed[0])
    assert rich.code == call.code().value[0]
    reason, metadata, violations, retry = "", dict[str, str](), list[tuple[str, str]](), None
    for detail in rich.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        delay = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            assert info.domain == "signalexchange"
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            violations = [(each.field, each.description) for each in bad.field_violations]
        elif detail.Unpack(delay):
            retry = delay.retry_delay.seconds + delay.retry_delay.nanos / 1e9
    assert f"ERROR_REASON_{reason}" in ErrorReason.keys(), f"unlisted reason {reason!r}"  # noqa: SIM118
    assert STATUS[reason] == status
    assert len(violations) <= MAX_VIOLATIONS
    text = call.details() or ""
    for each in (text, *metadata.values(), *(part for pair in violations for part in pair)):
        assert not INTERNAL.search(each), each
    return Refused(status, reason, text, metadata, violations, retry)


def status_of(error: grpc.RpcError) -> str:
    """Name of the gRPC status of a failed call, with or without details of ours."""
    call: Any = error
    return str(call.code().name)


def has_details(error: grpc.RpcError) -> bool:
    """Whether the peer's own refusal came with the status, or gRPC made it up."""
    call: Any = error
    return any(key == "grpc-status-details-bin" for key, _ in call.trailing_metadata() or ())


def outcome(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a call answers, or the Refused that came instead."""
    try:
        return call(*arguments, **options)
    except grpc.RpcError as error:
        return read_refusal(error)


def refused(call: Callable[..., Any], *arguments: Any, **options: Any) -> Refused:
    """Make a call that must be refused; fails where it is answered."""
    answer = outcome(call, *arguments, **options)
    assert isinstance(answer, Refused), f"answered: {type(answer).__name__}"
    return answer


class Caller:
    """One connection under one certificate, or none where the paths are None."""

    def __init__(
        self,
        target: str,
        *,
        certificate: Path | None,
        key: Path | None,
        ca: Path,
        server_name: str | None = None,
    ) -> None:
        credentials = grpc.ssl_channel_credentials(
            ca.read_bytes(),
            key.read_bytes() if key else None,
            certificate.read_bytes() if certificate else None,
        )
        options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
        if server_name is not None:
            options.append(("grpc.ssl_target_name_override", server_name))
        self.channel = grpc.secure_channel(target, credentials, options)
        self.signals = SignalServiceStub(self.channel)
        self.log = TransparencyServiceStub(self.channel)
        self.membership = MembershipServiceStub(self.channel)
        self.outcomes = OutcomeServiceStub(self.channel)
        self.matches = MatchServiceStub(self.channel)
        self.notices = NoticeServiceStub(self.channel)
        self.cases = CaseServiceStub(self.channel)
        self.disclosures = DisclosureServiceStub(self.channel)

    def raw(self, method: str, data: bytes, timeout: float = DEADLINE, *, patiently: bool = False) -> bytes:
        """Call a unary method with these bytes, whatever they are; `patiently`, wait for a connection."""
        channel: Any = self.channel
        answer: bytes = channel.unary_unary(method)(data, timeout=timeout, wait_for_ready=patiently)
        return answer

    def raw_stream(self, method: str, data: bytes, timeout: float = DEADLINE) -> Any:
        """Call a streaming method with these bytes; an iterator of bytes that can be cancelled."""
        channel: Any = self.channel
        return channel.unary_stream(method)(data, timeout=timeout)

    def close(self) -> None:
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
