"""The custodian's configuration: one TOML file.

Invariant: a replay clock exists only where the file has a [replay] section.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from signalexchange.settings import Address, File, Metrics, Section, Text, Tls, read_settings


class Replay(Section):
    """The file that holds the time of a replay: Unix seconds in decimal."""

    clock: File


class CustodianConfig(Section):
    """Everything a custodian's file says.

    custodian: its id on the roster. listen: host:port (port 0 picks one). data_dir: where the budgets are
    kept. roster: folder of the roster's notes, 0001.note being the trust anchor. manifest: the co-signed key
    manifest. shares: the share files of all ceremonies whose keys it still lists.
    """

    custodian: Text
    listen: Address
    data_dir: File
    roster: File
    manifest: File
    shares: Annotated[tuple[File, ...], Field(min_length=1)]
    tls: Tls
    metrics: Metrics | None = None
    replay: Replay | None = None


def load_config(path: Path) -> CustodianConfig:
    """Read and check a custodian's TOML file. Raises ConfigError that names every bad key."""
    return read_settings(path, CustodianConfig)
