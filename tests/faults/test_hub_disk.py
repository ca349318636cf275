"""A disk that is full, fails to sync or has become read-only: a clear error, and no half-written state.

The faults are injected into the real process by a library that fails its system calls (shim.c).
"""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from signalexchange.envelope import parse_statement
from signalexchange.v1.signal_pb2 import Signal
from signalexchange.v1.signal_service_pb2 import PublishSignalsRequest
from signalexchange.v1.transparency_service_pb2 import GetCheckpointRequest

from exchange.provision import Deployment, Plan, provision
from tests.support.caller import has_details, read_refusal, refused, status_of
from tests.support.faults import Disk, Server, has_compiler
from tests.support.hub import hub_data, hub_database, hub_server, logged_batches, new_mirror
from tests.support.members import caller, look_up, pen, signal

pytestmark = pytest.mark.skipif(
    not has_compiler(), reason="no C compiler (cc) to build the fault injector with"
)

STORAGE_LOST = 74
"""EX_IOERR of sysexits.h: the hub's exit code when its storage can't be trusted any more."""
MEMBER = "bank-north"
BATCH = 20


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return provision(tmp_path / "deployment", Plan(types=("card",)))


@pytest.fixture
def disk(deployment: Deployment, tmp_path: Path) -> Disk:
    return Disk(tmp_path, hub_data(deployment))


@pytest.fixture
def hub(deployment: Deployment, tmp_path: Path) -> Iterator[Server]:
    server = hub_server(deployment, tmp_path / "hub.log")
    yield server
    server.close()


class Story:
    """What a member published over the life of a test, and what was acknowledged."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._pen = pen(deployment, MEMBER)
        self.acknowledged: dict[bytes, int] = {}
        self.checkpoints: list[bytes] = []
        self.requests: dict[bytes, PublishSignalsRequest] = {}

    def write(self) -> PublishSignalsRequest:
        request = self._pen.batch([signal() for _ in range(BATCH)])
        self.requests[parse_statement(request.statement).batch_id] = request
        return request

    def publish(self, request: PublishSignalsRequest) -> bool:
        """Publish; whether it was a repetition."""
        with caller(self._deployment, MEMBER) as member:
            response = member.signals.PublishSignals(request, timeout=10)
        self.acknowledged[parse_statement(request.statement).batch_id] = response.receipt.index
        self.checkpoints.append(response.receipt.checkpoint)
        return bool(response.repeated_batch)

    def check(self) -> None:
        """Everything acknowledged is there once and whole; of the rest nothing is there, or all of it."""
        mirror = new_mirror(self._deployment)
        logged = logged_batches(self._deployment, mirror)
        assert all(len(indices) == 1 for indices in logged.values())
        assert {batch_id: logged[batch_id][0] for batch_id in self.acknowledged} == self.acknowledged
        for note in self.checkpoints:
            mirror.check(note)
        expected = sorted(
            Signal.FromString(each.signal).signal_id
            for batch_id in logged
            for each in self.requests[batch_id].signals
        )
        database = sqlite3.connect(f"file:{hub_database(self._deployment)}?mode=ro", uri=True)
        try:
            stored = [row[0] for row in database.execute("SELECT signal_id FROM signals ORDER BY signal_id")]
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        finally:
            database.close()
        assert stored == expected


@pytest.fixture
def story(deployment: Deployment) -> Story:
    return Story(deployment)


def _refused_or_gone(call: Callable[[], object]) -> None:
    """UNAVAILABLE, be it the hub's refusal or a hub that has gone already."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert status_of(caught.value) == "UNAVAILABLE"
    if has_details(caught.value):
        assert read_refusal(caught.value).reason == "UNAVAILABLE"


def test_a_full_disk_refuses_writes_and_the_hub_goes_on_once_there_is_room(
    deployment: Deployment, disk: Disk, hub: Server, story: Story
) -> None:
    hub.start(disk.environment)
    assert not story.publish(story.write())
    disk.fail("nospace")
    late = story.write()
    with caller(deployment, MEMBER) as member:
        refusal = refused(member.signals.PublishSignals, late, timeout=10)
        assert refusal.reason in ("UNAVAILABLE", "OVERLOADED")
        # Nobody is answered whose access record can't be kept.
        token = Signal.FromString(late.signals[0].signal).subject.value
        assert refused(member.signals.LookUpSubjects, look_up([token]), timeout=10).reason == refusal.reason
        member.log.GetCheckpoint(GetCheckpointRequest(), timeout=10)
    assert disk.failures
    assert hub.running
    assert any("storage" in line.get("event", "") for line in hub.events())
    disk.heal()
    assert not story.publish(late), "it was there although it had been refused"
    story.check()
    assert hub.stop() == 0
    hub.start()
    assert story.publish(late)
    story.check()


@pytest.mark.parametrize("fault", ["nosync", "readonly"])
def test_storage_that_fails_ends_the_hub_and_reopening_tells_what_holds(
    deployment: Deployment, disk: Disk, hub: Server, story: Story, fault: str
) -> None:
    hub.start(disk.environment)
    assert not story.publish(story.write())
    disk.fail(fault)
    late = story.write()
    with caller(deployment, MEMBER) as member:
        refusal = refused(member.signals.PublishSignals, late, timeout=10)
        assert refusal.reason == "UNAVAILABLE"
        # From here on nothing is acknowledged, as long as the hub still answers at all.
        _refused_or_gone(lambda: member.signals.PublishSignals(story.write(), timeout=10))
    assert hub.wait() == STORAGE_LOST
    assert disk.failures
    assert any("storage" in line.get("event", "") for line in hub.events())
    assert "Traceback" not in hub.text()
    disk.heal()
    hub.start()
    story.check()
    story.publish(late)
    story.publish(story.write())
    story.check()


@pytest.mark.parametrize(("fault", "says"), [("readonly", "ead-only"), ("nospace", "full|space")])
def test_a_folder_that_can_not_be_written_is_named_at_the_start(
    deployment: Deployment, disk: Disk, hub: Server, fault: str, says: str
) -> None:
    disk.fail(fault)
    hub.spawn(disk.environment)
    assert hub.wait() != 0
    text = hub.text()
    assert str(hub_data(deployment)) in text
    assert "Traceback" not in text
    disk.heal()
    hub.start()
