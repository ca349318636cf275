"""Counters of matches are on the log and come out again; changed ones are named, older entries pass."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from signalexchange.entries import make_leaf
from signalexchange.v1.log_entry_pb2 import ENTRY_TYPE_MATCH, MatchEntry

from exchange.provision import Deployment
from exchange.storage.archive import open_archive
from exchange.usecases.replay.report import ReplayReport, What
from tests.support.exchange import serving
from tests.support.hub import hub_data, hub_database
from tests.support.replays import live, replayed, settlement, tampered


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    deployment = settlement(tmp_path_factory.mktemp("counters"))

    async def run() -> None:
        async with serving(deployment, replays=False) as hub:
            await live(hub)

    asyncio.run(run())
    return deployment


def matches(deployment: Deployment) -> dict[int, MatchEntry]:
    with open_archive(hub_data(deployment)) as archive:
        return {
            entry.idx: MatchEntry.FromString(entry.payload)
            for entry in archive.entries()
            if entry.type == ENTRY_TYPE_MATCH
        }


def rewritten(deployment: Deployment, folder: Path, index: int, entry: MatchEntry) -> ReplayReport:
    """What a replay finds where the hub had logged another entry there."""
    payload, opening = entry.SerializeToString(), bytes(32)
    database = sqlite3.connect(hub_database(deployment))
    row = database.execute("SELECT header, header_opening FROM entries WHERE idx = ?", (index,)).fetchone()
    database.close()
    leaf = make_leaf(row[0], row[1], payload, opening)
    change = "UPDATE entries SET payload = ?, payload_opening = ?, leaf = ? WHERE idx = ?"
    return tampered(deployment, folder, change, payload, opening, leaf, index)


def test_counters_are_on_the_log_and_come_out_again(lived: Deployment) -> None:
    logged = matches(lived)
    assert all(entry.HasField("volume") and entry.HasField("gain") for entry in logged.values())
    first = logged[min(logged)]
    assert 0 < first.volume.low < first.volume.high
    assert first.gain.low <= first.gain.high < first.volume.high
    found = replayed(hub_data(lived))
    assert found.ok
    assert found.reproduced[What.MATCHES] == len(logged)


@pytest.mark.parametrize(("name", "side"), [("volume", "low"), ("volume", "high"), ("gain", "high")])
def test_a_changed_counter_is_named(lived: Deployment, tmp_path: Path, name: str, side: str) -> None:
    index, entry = next(iter(matches(lived).items()))
    counter = getattr(entry, name)
    setattr(counter, side, getattr(counter, side) + (1 if side == "high" else -1))
    found = rewritten(lived, tmp_path / "copy", index, entry)
    assert [(each.what, each.entry) for each in found.differences] == [(What.MATCHES, index)]
    assert name in found.differences[0].says


def test_a_match_logged_before_there_were_counters_passes(lived: Deployment, tmp_path: Path) -> None:
    index, entry = next(iter(matches(lived).items()))
    entry.ClearField("volume")
    entry.ClearField("gain")
    assert rewritten(lived, tmp_path / "copy", index, entry).ok
