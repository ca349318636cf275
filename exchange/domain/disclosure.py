"""A disclosure to law enforcement: where it stands, by which step it goes on, and what is stored of it.

Invariants: a request is decided once, before its deadline, or withdrawn, or expires; a released package is
received once, within `KEPT` seconds of its release, or withdrawn, or expires; what has ended never goes on;
a step that comes too late is refused whether or not the expiry has been recorded. Times are Unix seconds.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from signalexchange.v1.disclosure_service_pb2 import (
    DISCLOSURE_STATE_EXPIRED,
    DISCLOSURE_STATE_RECEIVED,
    DISCLOSURE_STATE_REFUSED,
    DISCLOSURE_STATE_RELEASED,
    DISCLOSURE_STATE_REQUESTED,
    DISCLOSURE_STATE_WITHDRAWN,
)
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.log_entry_pb2 import (
    ENTRY_TYPE_DISCLOSURE_DECISION,
    ENTRY_TYPE_DISCLOSURE_EXPIRY,
    ENTRY_TYPE_DISCLOSURE_FETCH,
    ENTRY_TYPE_DISCLOSURE_RECEIPT,
    ENTRY_TYPE_DISCLOSURE_WITHDRAWAL,
)

from exchange.domain.refusal import Refusal

DAY: Final = 86_400
LONGEST: Final = 90 * DAY
"""Seconds from now that a deadline may lie ahead."""
KEPT: Final = 30 * DAY
"""Seconds that a released package waits to be received."""
MAX_OPEN: Final = 1_000
"""Requests of one authority that may be undecided, or unreceived, at a time."""


class Standing(NamedTuple):
    """A DisclosureState, and when it expires; `due` is 0 once it has ended."""

    state: int
    due: int


def requested(deadline: int) -> Standing:
    """Where a new request stands."""
    return Standing(DISCLOSURE_STATE_REQUESTED, deadline)


def seen(standing: Standing, now: int) -> Standing:
    """Where it stands at `now`: an expiry holds from its moment on, recorded or not."""
    if standing.due and standing.due <= now:
        return Standing(DISCLOSURE_STATE_EXPIRED, 0)
    return standing


def take(standing: Standing, step: int, now: int, *, released: bool = False) -> Standing:
    """Where it stands after a step, an EntryType; `released` is a decision's.

    Raises Refusal DISCLOSURE_CONFLICT for a step that can't be taken.
    """
    before = seen(standing, now)
    waits, released_before = (
        before.state == DISCLOSURE_STATE_REQUESTED,
        before.state == DISCLOSURE_STATE_RELEASED,
    )
    if step == ENTRY_TYPE_DISCLOSURE_EXPIRY and before != standing:
        return before
    if step == ENTRY_TYPE_DISCLOSURE_DECISION and waits:
        return (
            Standing(DISCLOSURE_STATE_RELEASED, now + KEPT)
            if released
            else Standing(DISCLOSURE_STATE_REFUSED, 0)
        )
    if step == ENTRY_TYPE_DISCLOSURE_FETCH and released_before:
        return before
    if step == ENTRY_TYPE_DISCLOSURE_RECEIPT and released_before:
        return Standing(DISCLOSURE_STATE_RECEIVED, 0)
    if step == ENTRY_TYPE_DISCLOSURE_WITHDRAWAL and (waits or released_before):
        return Standing(DISCLOSURE_STATE_WITHDRAWN, 0)
    raise _conflict()


def _conflict() -> Refusal:
    return Refusal(
        ErrorReason.ERROR_REASON_DISCLOSURE_CONFLICT,
        "the disclosure is not at the point where this can be done; read it again",
    )


class DisclosureStep(NamedTuple):
    """A step as it is logged: an EntryType with its payload, in one entry of the requester's and one of the
    member's."""

    request_id: bytes
    type: int
    time: int
    payload: bytes
    requester_entry: int
    member_entry: int


class StoredDisclosure(NamedTuple):
    """A disclosure with its steps in their order; `number` grows with time."""

    number: int
    request_id: bytes
    requester: str
    member: str
    standing: Standing
    steps: tuple[DisclosureStep, ...]

    def step(self, type_: int) -> DisclosureStep | None:
        """The step of that EntryType, if it was taken."""
        return next((step for step in self.steps if step.type == type_), None)


class NewDisclosure(NamedTuple):
    """A request as it comes in; `scope` is sealed."""

    request_id: bytes
    requester: str
    member: str
    state: int
    due: int
    scope: bytes


class Move(NamedTuple):
    """A disclosure stands elsewhere now; with `due` 0 it has ended, and scope and package go."""

    state: int
    due: int
    package: bytes | None
    request_id: bytes


class DisclosureEvent(NamedTuple):
    """News of a disclosure for one party's watch."""

    member: str
    request_id: bytes
    time: int


class StoredDisclosureEvent(NamedTuple):
    """An event with its position in the one strictly growing order."""

    position: int
    event: DisclosureEvent


@dataclass(slots=True)
class DisclosureDelta:
    """What a transaction writes of disclosures."""

    opened: list[NewDisclosure] = field(default_factory=list)
    steps: list[DisclosureStep] = field(default_factory=list)
    moved: list[Move] = field(default_factory=list)
    events: list[DisclosureEvent] = field(default_factory=list)
    forgotten_events: int = 0
    """Events up to this position go."""
