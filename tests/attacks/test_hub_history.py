"""A hub that rewrites its history: refused at its own start, or found out by whoever kept a checkpoint.

The operator has the database and the log's key. An auditor kept a copy of leaves and checkpoints (Mirror).
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from signalexchange.errors import ExchangeError
from signalexchange.v1.log_entry_pb2 import EntryType

from exchange.provision import Deployment, Plan, provision
from tests.support.faults import Server
from tests.support.hub import hub_data, hub_database, hub_server, new_mirror
from tests.support.members import caller, look_up, pen, signal
from tests.support.mirror import Mirror

MEMBER = "bank-north"
BATCHES = 300
"""More than one complete tile of 256 leaves."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Deployment, Mirror]:
    """A stopped hub with some history, and the auditor's copy of it."""
    folder = tmp_path_factory.mktemp("history")
    deployment = provision(folder / "deployment", Plan(types=("card",)))
    server = hub_server(deployment, folder / "hub.log")
    server.start()
    try:
        with caller(deployment, MEMBER) as member, caller(deployment, "audit-one") as auditor:
            mine = pen(deployment, MEMBER)
            for _ in range(BATCHES):
                member.signals.PublishSignals(mine.batch([signal()]), timeout=10)
            mirror = new_mirror(deployment)
            mirror.extend(auditor.log)
        assert server.stop() == 0
    finally:
        server.close()
    return deployment, mirror


@pytest.fixture
def copy(template: tuple[Deployment, Mirror], tmp_path: Path) -> Iterator[tuple[Deployment, Server]]:
    """The same data folder again and again: restored before each test."""
    deployment, _ = template
    data, kept = hub_data(deployment), deployment.folder.parent / "kept"
    if not kept.exists():
        shutil.copytree(data, kept)
    shutil.rmtree(data)
    shutil.copytree(kept, data)
    server = hub_server(deployment, tmp_path / "hub.log")
    yield deployment, server
    server.close()


def change(deployment: Deployment, alter: Callable[[sqlite3.Connection], object]) -> None:
    database = sqlite3.connect(hub_database(deployment))
    with database:
        alter(database)
    database.close()


def _leaf(database: sqlite3.Connection, index: int) -> bytes:
    (leaf,) = database.execute("SELECT leaf FROM entries WHERE idx = ?", (index,)).fetchone()
    return bytes(leaf)


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def rewrite_old(database: sqlite3.Connection) -> None:
    database.execute("UPDATE entries SET leaf = ? WHERE idx = 5", (_flip(_leaf(database, 5), 40),))


def rewrite_new(database: sqlite3.Connection) -> None:
    last = BATCHES
    database.execute("UPDATE entries SET leaf = ? WHERE idx = ?", (_flip(_leaf(database, last), 40), last))


def swap(database: sqlite3.Connection) -> None:
    database.execute("UPDATE entries SET idx = -1 WHERE idx = 7")
    database.execute("UPDATE entries SET idx = 7 WHERE idx = 9")
    database.execute("UPDATE entries SET idx = 9 WHERE idx = -1")


def drop_last(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM entries WHERE idx = (SELECT max(idx) FROM entries)")


def drop_middle(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM entries WHERE idx = 11")


def drop_and_close_the_gap(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM entries WHERE idx = 11")
    for (index,) in database.execute("SELECT idx FROM entries WHERE idx > 11 ORDER BY idx").fetchall():
        database.execute("UPDATE entries SET idx = ? WHERE idx = ?", (index - 1, index))


def forge_tile(database: sqlite3.Connection) -> None:
    (hashes,) = database.execute("SELECT hashes FROM tiles WHERE level = 0 AND n = 0").fetchone()
    database.execute("UPDATE tiles SET hashes = ? WHERE level = 0 AND n = 0", (_flip(bytes(hashes), 100),))


def drop_tiles(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM tiles")


@pytest.mark.parametrize(
    "alter",
    [
        rewrite_old,
        rewrite_new,
        swap,
        drop_last,
        drop_middle,
        drop_and_close_the_gap,
        forge_tile,
        drop_tiles,
    ],
)
def test_a_changed_entry_is_found_out(
    template: tuple[Deployment, Mirror],
    copy: tuple[Deployment, Server],
    alter: Callable[[sqlite3.Connection], object],
) -> None:
    _, mirror = template
    deployment, server = copy
    change(deployment, alter)
    try:
        server.start()
    except AssertionError:
        # Refused at its own start: by a message, not by a defect.
        assert "Traceback" not in server.text(), server.text()
        return
    with pytest.raises((AssertionError, ExchangeError, grpc.RpcError)):
        audit(deployment, mirror)


def audit(deployment: Deployment, kept: Mirror) -> None:
    """What an auditor does with an older copy: the newest tree must extend it, leaf by leaf and by proof."""
    fresh = new_mirror(deployment)
    with caller(deployment, "audit-one") as auditor:
        checkpoint = fresh.extend(auditor.log)
        size = len(kept.leaves)
        assert checkpoint.size >= size
        assert fresh.leaves[:size] == kept.leaves
        assert fresh.roots[size] == kept.roots[size]
        fresh.prove_consistency(auditor.log, size, checkpoint.size)
        for index in range(0, size, 10):
            fresh.prove_inclusion(auditor.log, index, checkpoint.size)


def test_an_honest_restart_is_not_accused(
    template: tuple[Deployment, Mirror], copy: tuple[Deployment, Server]
) -> None:
    _, mirror = template
    deployment, server = copy
    server.start()
    audit(deployment, mirror)


def test_content_that_does_not_fit_its_commitment_is_found_out(
    template: tuple[Deployment, Mirror], copy: tuple[Deployment, Server]
) -> None:
    _, mirror = template
    deployment, server = copy
    batches = mirror.of_type(EntryType.ENTRY_TYPE_BATCH)
    one, other = batches[0], batches[1]

    def exchange_payloads(database: sqlite3.Connection) -> None:
        (payload,) = database.execute("SELECT payload FROM entries WHERE idx = ?", (one,)).fetchone()
        database.execute("UPDATE entries SET payload = ? WHERE idx = ?", (payload, other))

    change(deployment, exchange_payloads)
    server.start()
    with caller(deployment, "audit-one") as auditor, pytest.raises((ExchangeError, grpc.RpcError)):
        list(mirror.opened(auditor.log, [other]))


def test_a_restored_backup_is_found_out_as_soon_as_it_grows_another_way(
    template: tuple[Deployment, Mirror], copy: tuple[Deployment, Server]
) -> None:
    """A fork: the hub goes back to an older state, correctly signed, and goes on from there."""
    _, kept = template
    deployment, server = copy
    mirror = new_mirror(deployment)
    server.start()
    with caller(deployment, MEMBER) as member, caller(deployment, "audit-one") as auditor:
        mine = pen(deployment, MEMBER)
        for _ in range(3):
            member.signals.PublishSignals(mine.batch([signal()]), timeout=10)
        before = mirror.extend(auditor.log)
    server.kill()
    data = hub_data(deployment)
    shutil.rmtree(data)
    shutil.copytree(deployment.folder.parent / "kept", data)
    server.start()
    with caller(deployment, "audit-one") as auditor, pytest.raises(AssertionError, match="shrank"):
        mirror.extend(auditor.log)
    with caller(deployment, MEMBER) as member, caller(deployment, "audit-one") as auditor:
        for _ in range(5):
            member.signals.LookUpSubjects(look_up([os.urandom(32)]), timeout=10)
        fork = new_mirror(deployment)
        after = fork.extend(auditor.log)
        assert after.size > before.size
        fork.roots[before.size] = before.root  # what the auditor was shown for that size
        with pytest.raises(ExchangeError):
            fork.prove_consistency(auditor.log, before.size, after.size)
        with pytest.raises(AssertionError, match="another tree"):
            mirror.extend(auditor.log)
    assert len(kept.leaves) < before.size
