"""One member's flood: limited, logged in one line a minute, and nobody else's look-ups wait for it."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from signalexchange.rulebook import default_text
from signalexchange.v1.log_entry_pb2 import EntryType, RefusalEntry
from signalexchange.v1.signal_service_pb2 import UnsubscribeRequest, WatchSignalsRequest
from signalexchange.v1.signal_service_pb2_grpc import SignalServiceStub
from signalexchange.v1.transparency_service_pb2 import GetCheckpointRequest

from exchange.provision import Deployment, Plan
from tests.support.caller import Refused, outcome, refused, status_of
from tests.support.hub import new_mirror, running_hub
from tests.support.members import (
    CARD,
    caller,
    channel,
    look_up,
    pen,
    signal,
    signal_service,
    subject,
    subscribe,
)

if TYPE_CHECKING:
    from signalexchange.v1.signal_service_pb2_grpc import SignalServiceAsyncStub

START = 1_760_000_000 // 60 * 60
MINUTE = 60


def rulebook(**limits: object) -> str:
    """The packaged rulebook with other limits, in the canonical form."""
    document = json.loads(default_text())
    document["limits"] |= limits
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def logged(deployment: Deployment) -> Counter[tuple[str, str, str]]:
    """(member, method, reason) → refusals the log accounts for; under ("", "", "") how many entries do it."""
    mirror = new_mirror(deployment)
    counts: Counter[tuple[str, str, str]] = Counter()
    with caller(deployment, "audit-one") as auditor:
        mirror.extend(auditor.log)
        for entry in mirror.opened(auditor.log, mirror.of_type(EntryType.ENTRY_TYPE_REFUSAL)):
            refusal = RefusalEntry.FromString(entry.payload)
            header = mirror.headers[entry.index]
            assert header is not None
            counts[(header.member, refusal.method.rsplit("/", 1)[-1], refusal.reason)] += refusal.count
            counts[("", "", "")] += 1
    return counts


def tick(deployment: Deployment, now: int) -> None:
    """Move the replay's clock."""
    draft = deployment.clock.with_suffix(".new")
    draft.write_text(f"{now}\n", "ascii")
    draft.replace(deployment.clock)


def eventually(check: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_members_refusals_beyond_a_few_become_one_entry_a_minute(tmp_path: Path) -> None:
    allowed, flood = 5, 60
    plan = Plan(
        types=("card",),
        clock=START,
        rulebook=rulebook(refusals_per_minute=allowed),
        epochs={1: (START - 86_400, START + 86_400)},
    )
    with (
        running_hub(tmp_path, plan) as deployment,
        caller(deployment, "bank-north") as north,
        caller(deployment, "bank-south") as south,
    ):
        for _ in range(flood):
            request = look_up([os.urandom(32)], purpose="curiosity")
            assert refused(north.signals.LookUpSubjects, request, timeout=10).reason
        refused(south.signals.LookUpSubjects, look_up([os.urandom(32)], purpose=""), timeout=10)
        key = ("bank-north", "LookUpSubjects", "PURPOSE_NOT_ALLOWED")
        first = logged(deployment)
        assert 1 <= first[key] <= allowed + 1
        # Another member's refusal is not swallowed by the flood.
        assert first[("bank-south", "LookUpSubjects", "PURPOSE_REQUIRED")] == 1
        entries = first[("", "", "")]
        tick(deployment, START + MINUTE + 1)
        eventually(lambda: logged(deployment)[key] == flood)
        assert logged(deployment)[("", "", "")] == entries + 1


def test_beyond_its_rate_a_member_is_told_when_to_come_again(tmp_path: Path) -> None:
    plan = Plan(
        types=("card",),
        rulebook=rulebook(
            signals={"per_second": 1, "burst": 1000},
            look_ups={"per_second": 1, "burst": 1000},
            calls={"per_second": 5, "burst": 5},
        ),
    )
    with (
        running_hub(tmp_path, plan) as deployment,
        caller(deployment, "bank-north") as north,
        caller(deployment, "bank-south") as south,
    ):
        mine = pen(deployment, "bank-north")
        assert north.signals.PublishSignals(mine.batch([signal() for _ in range(990)]), timeout=20)
        late = mine.batch([signal() for _ in range(900)])
        refusal = refused(north.signals.PublishSignals, late, timeout=10)
        assert refusal.reason == "RATE_LIMITED"
        assert refusal.retry_after is not None
        assert 100 < refusal.retry_after <= 900
        # Buckets are apart: by member and by kind of work.
        assert north.signals.LookUpSubjects(look_up([os.urandom(32) for _ in range(990)]), timeout=10).receipt
        asked = look_up([os.urandom(32) for _ in range(100)])
        assert refused(north.signals.LookUpSubjects, asked, timeout=10).reason == "RATE_LIMITED"
        assert south.signals.LookUpSubjects(asked, timeout=10).receipt
        assert south.signals.PublishSignals(
            pen(deployment, "bank-south").batch([signal()]), timeout=10
        ).receipt
        outcomes = [outcome(south.log.GetCheckpoint, GetCheckpointRequest(), timeout=10) for _ in range(10)]
        refusals = [each for each in outcomes if isinstance(each, Refused)]
        assert 0 < len(refusals) < 10
        assert {each.reason for each in refusals} == {"RATE_LIMITED"}


def test_streams_and_subscriptions_are_bounded(tmp_path: Path) -> None:
    plan = Plan(types=("card",), rulebook=rulebook(streams=2, subscriptions=10))
    with running_hub(tmp_path, plan) as deployment, caller(deployment, "bank-north") as north:
        watches = [north.signals.WatchSignals(WatchSignalsRequest(), timeout=20) for _ in range(2)]
        for watch in watches:
            next(watch)
        one_more = north.signals.WatchSignals(WatchSignalsRequest(), timeout=10)
        assert refused(next, one_more).reason == "QUOTA_EXCEEDED"
        watches.pop().cancel()
        eventually(lambda: _opens(north.signals))
        tokens = [os.urandom(32) for _ in range(10)]
        north.signals.Subscribe(subscribe(tokens), timeout=10)
        north.signals.Subscribe(subscribe(tokens), timeout=10)
        extra = subscribe([os.urandom(32)])
        assert refused(north.signals.Subscribe, extra, timeout=10).reason == "QUOTA_EXCEEDED"
        ended = UnsubscribeRequest(type=CARD, epoch=1, tokens=sorted(tokens)[:1])
        assert north.signals.Unsubscribe(ended, timeout=10).removed == 1
        assert north.signals.Subscribe(extra, timeout=10).receipt
        watches[0].cancel()


def _opens(signals: SignalServiceStub) -> bool:
    watch = signals.WatchSignals(WatchSignalsRequest(), timeout=10)
    first = outcome(next, watch)
    watch.cancel()
    if isinstance(first, Refused):
        assert first.reason == "QUOTA_EXCEEDED"
        return False
    return True


FLOODERS = 40
FLOOD = 120
FLOOD_BATCH = 200
SLOWEST = 2.0
"""Seconds that the slowest look-up may take beside the flood, on a slow machine. Behind all the batches in
flight it would take longer."""


async def test_look_ups_are_answered_while_another_member_floods(tmp_path: Path) -> None:
    generous = {"per_second": 1_000_000, "burst": 1_000_000}
    with running_hub(tmp_path, Plan(types=("card",), rulebook=rulebook(signals=generous))) as deployment:
        mine = pen(deployment, "bank-north")
        batches = [mine.batch([signal() for _ in range(FLOOD_BATCH)]) for _ in range(FLOOD)]

        async def flood(stub: "SignalServiceAsyncStub") -> None:
            while batches:
                await stub.PublishSignals(batches.pop(), timeout=30)

        async with channel(deployment, "bank-north") as flooding, channel(deployment, "bank-south") as asking:
            south = signal_service(asking)
            await south.LookUpSubjects(look_up([os.urandom(32)]), timeout=30)
            tasks = [asyncio.create_task(flood(signal_service(flooding))) for _ in range(FLOODERS)]
            slowest = 0.0
            while batches:
                started = time.perf_counter()
                await south.LookUpSubjects(look_up([os.urandom(32)]), timeout=30)
                slowest = max(slowest, time.perf_counter() - started)
            await asyncio.gather(*tasks)
        assert 0.0 < slowest < SLOWEST


@pytest.mark.parametrize("size", [5_000_000, 20_000_000])
def test_a_request_beyond_any_message_is_refused_and_the_hub_goes_on(tmp_path: Path, size: int) -> None:
    with (
        running_hub(tmp_path, Plan(types=("card",))) as deployment,
        caller(deployment, "bank-north") as north,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            north.raw("/signalexchange.v1.SignalService/LookUpSubjects", b"\x0a" * size)
        assert status_of(caught.value) in ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
        assert north.log.GetCheckpoint(GetCheckpointRequest(), timeout=10).checkpoint


def test_what_a_member_says_of_one_subject_is_bounded(tmp_path: Path) -> None:
    plan = Plan(types=("card",), rulebook=rulebook(signals_per_subject=3, links_per_subject=4))
    with (
        running_hub(tmp_path, plan) as deployment,
        caller(deployment, "bank-north") as north,
        caller(deployment, "bank-south") as south,
    ):
        mine = pen(deployment, "bank-north")
        token = os.urandom(32)
        kept = [signal(token), signal(token)]
        assert north.signals.PublishSignals(mine.batch(kept), timeout=10)
        over = refused(
            north.signals.PublishSignals,
            mine.batch([signal(), signal(token), signal(token), signal(token)]),
            timeout=10,
        )
        assert over.reason == "QUOTA_EXCEEDED"
        assert [field for field, _ in over.violations] == ["signals[2].subject", "signals[3].subject"]
        # Nothing of the refused batch counts; another member has its own count; a withdrawn signal has none.
        assert north.signals.PublishSignals(mine.batch([signal(token)]), timeout=10)
        assert south.signals.PublishSignals(pen(deployment, "bank-south").batch([signal(token)]), timeout=10)
        assert refused(north.signals.PublishSignals, mine.batch([signal(token)]), timeout=10).violations
        north.signals.WithdrawSignals(mine.withdrawal([kept[0].signal_id]), timeout=10)
        assert north.signals.PublishSignals(mine.batch([signal(token)]), timeout=10)
        # Links: from whichever side, in one batch or in many.
        joined = os.urandom(32)
        for _ in range(4):
            assert north.signals.PublishSignals(mine.batch([signal(links=[subject(joined)])]), timeout=10)
        for batch in ([signal(links=[subject(joined)])], [signal(joined, links=[subject()])]):
            over = refused(north.signals.PublishSignals, mine.batch(batch), timeout=10)
            assert over.reason == "QUOTA_EXCEEDED"
            assert [field for field, _ in over.violations] == ["signals[0].subject"]
        over = refused(
            north.signals.PublishSignals,
            mine.batch([signal(links=[subject(token)]) for _ in range(50)]),
            timeout=10,
        )
        assert (len(over.violations), over.reason) == (32, "QUOTA_EXCEEDED")
