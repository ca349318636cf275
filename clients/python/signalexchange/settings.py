"""How every process of the project reads its configuration: one TOML file, checked whole at the start.

Invariants: unknown keys are refused; relative paths count from the file's own folder; an error names the file
and every bad key, and no value, for what was meant for one key may be a secret put at another.
"""

import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from signalexchange.credentials import TlsFiles
from signalexchange.errors import ConfigError


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    context: dict[str, Path] = info.context or {}
    return context["folder"] / path.expanduser()


File = Annotated[Path, AfterValidator(_from_folder)]
"""A path, counted from the configuration's folder."""
Text = Annotated[str, Field(min_length=1)]
"""Text that is not empty."""


def _port_exists(address: str) -> str:
    if split_address(address)[1] > 65535:
        raise ValueError("a port is at most 65535")
    return address


def _port_can_be_called(address: str) -> str:
    if split_address(address)[1] == 0:
        raise ValueError("the port to call is 1 to 65535")
    return address


Address = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9.-]+:[0-9]{1,5}$|^\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}$"),
    AfterValidator(_port_exists),
]
"""host:port to listen at; port 0 picks one."""
Target = Annotated[Address, AfterValidator(_port_can_be_called)]
"""host:port to call."""


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(Section):
    """A process's certificate, its private key, and the authority of its peers; PEM files."""

    certificate: File
    key: File
    ca: File

    @property
    def files(self) -> TlsFiles:
        """The same three paths, as what loads them."""
        return TlsFiles(self.certificate, self.key, self.ca)


def _on_this_machine(address: str) -> str:
    host, _ = split_address(address)
    try:
        local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise ValueError("metrics are served on this machine only: localhost, 127.0.0.0/8 or [::1]")
    return address


class Metrics(Section):
    """Where Prometheus metrics are served: host:port of a loopback address: nobody is authenticated."""

    listen: Annotated[Address, AfterValidator(_on_this_machine)]


Config = TypeVar("Config", bound=Section)


def read_settings(path: Path, kind: type[Config]) -> Config:
    """Read and check a TOML file; raises ConfigError with the file and each bad key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: can't read the configuration: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from None
    try:
        return kind.model_validate(table, context={"folder": path.absolute().parent})
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(problems)) from None


def split_address(address: str) -> tuple[str, int]:
    """Host and port of an Address."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
