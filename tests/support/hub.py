"""The hub of a deployment as a process of its own, and what a test reads of its folder."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from signalexchange.envelope import parse_statement
from signalexchange.roster import RosterChain
from signalexchange.v1.log_entry_pb2 import BatchEntry, EntryType

from exchange.provision import Deployment, Plan, provision
from tests.support.faults import Server
from tests.support.members import caller
from tests.support.mirror import Mirror


def hub_server(deployment: Deployment, log: Path) -> Server:
    """The hub, not yet started; it writes to `log`."""
    arguments = ["serve", str(deployment.hub_config)]
    return Server(arguments, deployment.hub_port, log)


def custodian_server(deployment: Deployment, custodian: str, log: Path) -> Server:
    """A custodian, not yet started."""
    config = str(deployment.custodian_config(custodian))
    arguments = ["custodian", "serve", config]
    return Server(arguments, deployment.custodian_ports[custodian], log)


def hub_data(deployment: Deployment) -> Path:
    """The hub's data folder."""
    table = tomllib.loads(deployment.hub_config.read_text("utf-8"))
    return deployment.hub_config.parent / str(table["data_dir"])


def hub_database(deployment: Deployment) -> Path:
    return hub_data(deployment) / "exchange.db"


def new_mirror(deployment: Deployment) -> Mirror:
    """An empty copy of the deployment's log."""
    roster = RosterChain.start(deployment.genesis.read_bytes()).current
    return Mirror(roster.log_verifier, roster.origin)


def logged_batches(deployment: Deployment, mirror: Mirror) -> dict[bytes, list[int]]:
    """Batch id → indices of its entries, after reading on to the log's end."""
    found: dict[bytes, list[int]] = {}
    with caller(deployment, "audit-one") as auditor:
        mirror.extend(auditor.log)
        for entry in mirror.opened(auditor.log, mirror.of_type(EntryType.ENTRY_TYPE_BATCH)):
            statement = parse_statement(BatchEntry.FromString(entry.payload).statement)
            found.setdefault(statement.batch_id, []).append(entry.index)
    return found


@contextmanager
def running_hub(folder: Path, plan: Plan) -> Iterator[Deployment]:
    """A deployment in `folder` with its hub running; hub.log is beside it."""
    deployment = provision(folder / "deployment", plan)
    server = hub_server(deployment, folder / "hub.log")
    try:
        server.start()
        yield deployment
    finally:
        server.close()
