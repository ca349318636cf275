"""Watching: the fate of the member's own signals, corrections, news of subscribed subjects, and matches.

Invariants: an event counts as handled when the reader asks for the next one, and only then is its resume
token kept, so that a crash repeats an event and never loses one; broken streams are resumed with growing,
jittered pauses; a gap is never silent: where the hub no longer has the events in between, `ResumeTooOldError`
says so.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from signalexchange.connection import WATCH, Connection, Method, Request
from signalexchange.errors import ExchangeError, RefusedError
from signalexchange.journal import Journal, SignalNote
from signalexchange.v1.case_service_pb2 import WatchCasesResponse
from signalexchange.v1.disclosure_service_pb2 import WatchDisclosuresResponse
from signalexchange.v1.identifier_pb2 import SubjectToken
from signalexchange.v1.match_service_pb2 import WatchMatchesResponse
from signalexchange.v1.signal_service_pb2 import SignalChange, WatchSignalsRequest, WatchSignalsResponse

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
PASSING = frozenset(
    {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED", "UNKNOWN", "ABORTED"}
)


class ResumeTooOldError(ExchangeError):
    """Events were missed for good: look up again what matters, then watch from now on."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event; `resume_token` resumes after it.

    `note` is what the journal has on a signal of the member's own, `references` the member's own references
    behind a subscribed subject; `correction` is the log's entry of a change of another's signal that the
    member was shown, None for other events.
    """

    resume_token: bytes
    signal_id: bytes
    change: SignalChange.ValueType
    own: bool
    subject: SubjectToken | None
    note: SignalNote | None
    references: tuple[str, ...]
    correction: int | None


Answer = TypeVar(
    "Answer", WatchSignalsResponse, WatchMatchesResponse, WatchCasesResponse, WatchDisclosuresResponse
)


async def watch(
    hub: Connection, journal: Journal, origin: str, *, from_now: bool = False
) -> AsyncGenerator[WatchEvent, None]:
    """Yield events for ever, from where the last watch of this journal stopped, or `from_now` on.

    Raises ResumeTooOldError, and RefusedError for what time doesn't mend, such as SUSPENDED.
    """
    name = state_name(origin)
    request = WatchSignalsRequest
    async with aclosing(resumed(hub, WATCH, request, journal, name, from_now=from_now)) as answers:
        async for answer in answers:
            if answer.signal_id:
                yield await asyncio.to_thread(_event, journal, answer)


async def resumed(
    hub: Connection,
    method: "Method[Request, Answer]",
    request: Callable[..., Request],
    journal: Journal,
    name: str,
    *,
    from_now: bool,
) -> AsyncGenerator[Answer, None]:
    """A stream's messages for ever; the journal keeps under `name` where it stands.

    `request` makes the request from a `resume_token`. Raises as `watch` does.
    """
    kept = None if from_now else await asyncio.to_thread(journal.state, name)
    token = kept or b""
    pause = FIRST_PAUSE
    while True:
        try:
            async with aclosing(hub.stream(method, request(resume_token=token))) as answers:
                async for answer in answers:
                    pause = FIRST_PAUSE
                    yield answer
                    token = answer.resume_token
                    await asyncio.to_thread(journal.set_state, name, token)
        except RefusedError as error:
            if error.reason == "RESUME_TOO_OLD":
                raise ResumeTooOldError(
                    "events were missed and are no longer kept; look up what matters, then watch from now on"
                ) from error
            renewed = error.reason == "CERTIFICATE_INVALID" and await hub.reload()
            if not renewed and (error.status not in PASSING or error.reason == "QUOTA_EXCEEDED"):
                raise
            if error.retry_after is not None:
                pause = max(pause, error.retry_after)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        pause = min(LONGEST_PAUSE, 2 * pause)


def state_name(origin: str) -> str:
    """The name under which the journal keeps the resume token of a log's events."""
    return f"resume {origin}"


def _event(journal: Journal, answer: WatchSignalsResponse) -> WatchEvent:
    subject = answer.subject if answer.HasField("subject") else None
    return WatchEvent(
        answer.resume_token,
        answer.signal_id,
        answer.change,
        answer.own,
        subject,
        journal.signal(answer.signal_id) if answer.own else None,
        tuple(journal.references(subject.value)) if subject is not None else (),
        answer.correction if answer.HasField("correction") else None,
    )
