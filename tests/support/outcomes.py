"""Members that report outcomes at a hub on a replay clock, and what they see of them."""

import asyncio
from typing import Any

from signalexchange.v1.outcome_service_pb2 import Verdict
from signalexchange.v1.signal_pb2 import EvidenceGrade, Signal
from signalexchange.v1.signal_service_pb2 import SubjectRisk, WatchSignalsRequest, WatchSignalsResponse

from tests.support.exchange import Running
from tests.support.members import look_up, signal, subscribe

START = 1_790_000_000
INVESTIGATION = "investigation"
CONFIRMED_GRADE = EvidenceGrade.EVIDENCE_GRADE_CONFIRMED


def at(hub: Running, seconds: int) -> None:
    """Set the replay clock so many seconds after the start."""
    config = hub.hub._config.replay
    assert config is not None
    config.clock.write_text(f"{START + seconds}\n")


def claim(token: bytes | None = None, **changes: Any) -> Signal:
    """A signal that carries advice to the end with two more of its kind."""
    return signal(
        token,
        now=START,
        **{"code": "cash-out-suspected", "confidence": 100, "grade": CONFIRMED_GRADE, **changes},
    )


async def publish(hub: Running, member: str, *signals: Signal) -> None:
    await hub[member].signals.PublishSignals(hub.pen(member).batch(signals), timeout=10)


async def follow(hub: Running, member: str, *tokens: bytes) -> None:
    await hub[member].signals.Subscribe(subscribe(tokens), timeout=10)


async def report(hub: Running, member: str, verdicts: dict[bytes, Verdict.ValueType], **options: Any) -> Any:
    return await hub[member].outcomes.ReportOutcomes(hub.pen(member).report(verdicts, **options), timeout=10)


async def ask(hub: Running, member: str, token: bytes) -> SubjectRisk | None:
    answer = await hub[member].signals.LookUpSubjects(look_up([token], purpose=INVESTIGATION), timeout=10)
    return answer.subjects[0] if answer.subjects else None


class Watch:
    """A member's stream of events that has begun."""

    def __init__(self, call: Any) -> None:
        self._call = call

    @classmethod
    async def begin(cls, hub: Running, member: str) -> "Watch":
        watch = cls(hub[member].signals.WatchSignals(WatchSignalsRequest()))
        await watch.next()
        return watch

    async def next(self) -> WatchSignalsResponse:
        event: WatchSignalsResponse = await asyncio.wait_for(self._call.read(), 10)
        return event

    async def quiet(self) -> bool:
        try:
            await asyncio.wait_for(self._call.read(), 0.2)
        except TimeoutError:
            return True
        return False
