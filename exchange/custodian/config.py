"""The custodian's configuration: one TOML file.

Invariants: unknown keys are refused; relative paths count from the file's own folder; every error names file
and key and no value. A replay clock exists only where the file has a [replay] section.
"""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo
from signalexchange.errors import ConfigError


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    context: dict[str, Path] = info.context or {}
    return context["folder"] / path.expanduser()


File = Annotated[Path, AfterValidator(_from_folder)]
Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+:[0-9]{1,5}$|^\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(_Section):
    """The custodian's certificate, its private key, and the authority of its callers; PEM files."""

    certificate: File
    key: File
    ca: File


class Metrics(_Section):
    """Where Prometheus metrics are served: host:port of a local address."""

    listen: Address


class Replay(_Section):
    """The file that holds the time of a replay: Unix seconds in decimal."""

    clock: File


class CustodianConfig(_Section):
    """Everything a custodian's file says.

    custodian: its id on the roster. listen: host:port (port 0 picks one). data_dir: where the budgets are
    kept. roster: folder of the roster's notes, 0001.note being the trust anchor. manifest: the co-signed key
    manifest. shares: the share files of all ceremonies whose keys it still lists.
    """

    custodian: Annotated[str, Field(min_length=1)]
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
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: can't read the configuration: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from None
    try:
        return CustodianConfig.model_validate(table, context={"folder": path.absolute().parent})
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(problems)) from None
