"""The hub's life: what it refuses to start with, what it reads anew, how certificates and streams end."""

import asyncio
import datetime
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from signalexchange.errors import ConfigError
from signalexchange.v1.signal_service_pb2 import WatchSignalsRequest
from signalexchange.v1.transparency_service_pb2 import GetCheckpointRequest

from exchange import pki
from exchange.provision import Deployment, Plan, provision
from tests.support.exchange import Connection, deploy, refused, serving
from tests.support.members import CARD, DAY, look_up

NORTH = "bank-north"


def edit(deployment: Deployment, old: str, new: str) -> None:
    text = deployment.hub_config.read_text()
    assert old in text
    deployment.hub_config.write_text(text.replace(old, new))


def _unknown_key(deployment: Deployment) -> None:
    edit(deployment, "[tls]", "surprise = 1\n[tls]")


def _replay_without_clock(deployment: Deployment) -> None:
    edit(deployment, 'origin = "exchange.test/signals"', 'origin = "exchange.test/signals/replay"')


def _no_manifest(deployment: Deployment) -> None:
    deployment.manifest.unlink()


def _manifest_of_others(deployment: Deployment) -> None:
    other = provision(deployment.folder.parent / "other", Plan(types=("card",)))
    shutil.copy(other.manifest, deployment.manifest)


def _wrong_rulebook(deployment: Deployment) -> None:
    deployment.rulebook.write_text(deployment.rulebook.read_text().replace('"version": 1', '"version": 2'))


def _another_log_key(deployment: Deployment) -> None:
    (deployment.folder / "hub" / "log.key").unlink()
    pki.write_signing_key(deployment.folder / "hub" / "log.key")


def _garbled_genesis(deployment: Deployment) -> None:
    deployment.genesis.write_bytes(deployment.genesis.read_bytes().replace(b"bank-south", b"bank-saeth"))


def _another_origin(deployment: Deployment) -> None:
    edit(deployment, 'origin = "exchange.test/signals"', 'origin = "exchange.test/other"')


def _foreign_tls_key(deployment: Deployment) -> None:
    shutil.copy(deployment.folder / "parties" / NORTH / "tls.key", deployment.folder / "hub" / "tls.key")


def _garbled_tls(deployment: Deployment) -> None:
    (deployment.folder / "hub" / "tls.pem").write_text("nothing")


def _no_authority(deployment: Deployment) -> None:
    (deployment.hub_config.parent / "ca.pem").unlink()


def _file_for_data(deployment: Deployment) -> None:
    (deployment.hub_config.parent / "data").write_text("")


@pytest.mark.parametrize(
    ("break_it", "names"),
    [
        (_unknown_key, "surprise"),
        (_replay_without_clock, "replay"),
        (_no_manifest, "manifest"),
        (_manifest_of_others, "manifest"),
        (_wrong_rulebook, "rulebook"),
        (_another_log_key, "log.key"),
        (_garbled_genesis, "genesis"),
        (_another_origin, "origin"),
        (_foreign_tls_key, "^tls.key: .*tls.key: not the key"),
        (_garbled_tls, "^tls.certificate: .*tls.pem: "),
        (_no_authority, "^tls.ca: .*ca.pem: "),
        (_file_for_data, "^data_dir: .*data: "),
    ],
)
async def test_a_hub_that_can_not_be_right_does_not_start(
    tmp_path: Path, break_it: Callable[[Deployment], None], names: str
) -> None:
    deployment = deploy(tmp_path)
    break_it(deployment)
    with pytest.raises(ConfigError, match=names):
        async with serving(deployment):
            pass


async def test_a_database_of_another_log_is_refused(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    async with serving(deployment):
        pass
    other = provision(tmp_path / "other", Plan(types=("card", "merchant")))
    shutil.copytree(deployment.hub_config.parent / "data", other.hub_config.parent / "data")
    with pytest.raises(ConfigError, match="genesis"):
        async with serving(other):
            pass


async def test_two_hubs_never_share_a_database(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    async with serving(deployment):
        with pytest.raises(ConfigError, match=r"^data_dir: .* in use"):
            async with serving(deployment):
                pass


async def test_a_new_manifest_is_read_on_demand_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    start = 1_500_000_000
    epochs = {1: (start, start + 9 * DAY), 2: (start + DAY, start + 10 * DAY)}
    deployment = deploy(tmp_path, clock=start, epochs=epochs)
    request, later = (look_up([os.urandom(32)], type_=CARD, epoch=epoch) for epoch in (1, 2))
    async with serving(deployment) as hub:
        await hub[NORTH].signals.LookUpSubjects(request)
        assert (await refused(hub[NORTH].signals.LookUpSubjects(later))).reason == "EPOCH_NOT_VALID"
        deployment.clock.write_text(str(start + 2 * DAY))
        await hub[NORTH].signals.LookUpSubjects(later)
        note = deployment.manifest.read_bytes()
        deployment.manifest.write_bytes(note[:-9])
        hub.hub.reload()
        await hub[NORTH].signals.LookUpSubjects(later)
        deployment.manifest.write_bytes(note)
        hub.hub.reload()
        await asyncio.sleep(0.05)  # lines are written at the end of a turn of the loop
        assert [event["event"] for event in hub.events() if "manifest" in event["event"]] == [
            "manifest-refused",
            "manifest-read",
        ]
        # An older version is signed as well, but what replaced it stays.
        exchange = hub.hub._exchange
        exchange.manifest = newer = exchange.manifest.model_copy(
            update={"version": exchange.manifest.version + 1}
        )
        hub.hub.reload()
        await asyncio.sleep(0.05)
        assert hub.events()[-1]["event"] == "manifest-refused"
        assert exchange.manifest is newer


async def test_a_certificate_that_ends_ends_its_calls_and_streams(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    files = deployment.authority.issue(
        tmp_path / "brief",
        "spiffe://exchange.test/party/bank-north",
        valid_for=datetime.timedelta(minutes=5, seconds=3),
    )
    async with serving(deployment) as hub:
        credentials = grpc.ssl_channel_credentials(
            files.ca.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes()
        )
        async with grpc.aio.secure_channel(f"127.0.0.1:{hub.hub.port}", credentials) as channel:
            north = Connection.over(channel)
            watch = north.signals.WatchSignals(WatchSignalsRequest())
            await watch.read()
            assert (await refused(asyncio.wait_for(watch.read(), 10))).reason == "CERTIFICATE_INVALID"
            refusal = await refused(north.log.GetCheckpoint(GetCheckpointRequest()))
            assert refusal.reason == "CERTIFICATE_INVALID"


async def test_a_renewed_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    deployment = deploy(tmp_path)
    home = deployment.folder / "hub"
    async with serving(deployment) as hub:
        await hub[NORTH].log.GetCheckpoint(GetCheckpointRequest())
        fresh = pki.Authority.create(tmp_path / "authority")
        files = fresh.issue(tmp_path / "new", "spiffe://exchange.test/hub", server=True)
        for path in (files.key, files.certificate):
            shutil.copy(path, home / path.name)
        # Half a renewal, or one of another authority for its callers, must not shut the door.
        os.truncate(home / "tls.key", 10)
        await hub.connect(NORTH).log.GetCheckpoint(GetCheckpointRequest())
        shutil.copy(files.key, home / "tls.key")
        with pytest.raises(grpc.aio.AioRpcError):
            await hub.connect(NORTH).log.GetCheckpoint(GetCheckpointRequest(), timeout=5)
        # The connection that was open stays.
        await hub[NORTH].log.GetCheckpoint(GetCheckpointRequest())


async def test_a_recorder_keeps_every_request_of_a_replay(tmp_path: Path) -> None:
    deployment = deploy(tmp_path, clock=1_500_000_000, record=True)
    token = os.urandom(32)
    async with serving(deployment) as hub:
        await hub[NORTH].signals.LookUpSubjects(look_up([token]))
    recorded = (deployment.folder / "recorder" / "requests").read_bytes()
    assert recorded.startswith(b"/signalexchange.v1.SignalService/LookUpSubjects\n")
    assert token in recorded
