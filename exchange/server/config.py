"""The hub's configuration: one TOML file.

Invariants: a replay clock and a recorder of requests exist only where the file has a [replay] section, and
then the log's origin says so.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator
from signalexchange.settings import Address, File, Metrics, Section, Tls, read_settings


class LogKey(Section):
    """The Ed25519 private key (PKCS #8 PEM) that signs checkpoints."""

    key: File


class Trust(Section):
    """The genesis roster note, the trust anchor; read at the first start and compared at every other."""

    genesis: File


class Replay(Section):
    """A replay: `clock` is a file of Unix seconds in decimal; `record` one to which every request is
    appended."""

    clock: File
    record: File | None = None


class HubConfig(Section):
    """Everything the hub's file says.

    listen: host:port (port 0 picks one). data_dir: the database's folder. origin: the log's name, as on the
    roster; a replay's ends with "/replay". rulebook: the one the genesis roster names. manifest: the
    co-signed key manifest, read again on SIGHUP. reflection: serve the gRPC reflection service.
    """

    listen: Address
    data_dir: File
    origin: Annotated[str, Field(min_length=1, max_length=255)]
    rulebook: File
    manifest: File
    reflection: bool = False
    tls: Tls
    log: LogKey
    roster: Trust
    metrics: Metrics | None = None
    replay: Replay | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.replay is not None) != self.origin.endswith("/replay"):
            raise ValueError('origin ends with "/replay" if there is a [replay] section, and only then')
        return self


def load_config(path: Path) -> HubConfig:
    """Read and check the hub's TOML file. Raises ConfigError that names every bad key."""
    return read_settings(path, HubConfig)
