"""The hub's configuration: one TOML file.

Invariants: unknown keys are refused; relative paths count from the file's own folder; every error names
file and key and no value. A replay clock and a recorder of requests exist only where the file has a
[replay] section.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from signalexchange.errors import ConfigError


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    context: dict[str, Path] = info.context or {}
    return context["folder"] / path.expanduser()


File = Annotated[Path, AfterValidator(_from_folder)]
Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+:[0-9]{1,5}$|^\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}$")]


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(Section):
    """The hub's certificate, its private key, and the authority of its callers; PEM files."""

    certificate: File
    key: File
    ca: File


class LogKey(Section):
    """The Ed25519 private key (PKCS #8 PEM) that signs checkpoints."""

    key: File


class Trust(Section):
    """The genesis roster note, the trust anchor; read at the first start and compared at every other."""

    genesis: File


class MetricsAddress(Section):
    """Where Prometheus metrics are served: host:port of a local address."""

    listen: Address


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
    metrics: MetricsAddress | None = None
    replay: Replay | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.replay is not None) != self.origin.endswith("/replay"):
            raise ValueError('origin ends with "/replay" if there is a [replay] section, and only then')
        return self


def load_config(path: Path) -> HubConfig:
    """Read and check the hub's TOML file. Raises ConfigError that names every bad key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: can't read the configuration: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from None
    try:
        return HubConfig.model_validate(table, context={"folder": path.absolute().parent})
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(problems)) from None


def split_address(address: str) -> tuple[str, int]:
    """Host and port of an Address."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
