"""The member's configuration: one TOML file.

Invariants: unknown keys are refused; relative paths count from the file's own folder; every error names the
file and the key. Which sections a party needs depends on what it does: an auditor needs neither a signing key
nor custodians.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from signalexchange.credentials import TlsFiles
from signalexchange.errors import ConfigError


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    context: dict[str, Path] = info.context or {}
    return context["folder"] / path.expanduser()


File = Annotated[Path, AfterValidator(_from_folder)]
Text = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Hub(_Section):
    """Where the hub listens (host:port) and, where the host is not in its certificate, the name that is."""

    target: Text
    server_name: Text | None = None


class Tls(_Section):
    """The party's certificate, its private key and the authority it trusts; PEM files."""

    certificate: File
    key: File
    ca: File

    @property
    def files(self) -> TlsFiles:
        """The same three paths, as what loads them."""
        return TlsFiles(self.certificate, self.key, self.ca)


class Signing(_Section):
    """Id of the signing key on the roster and its PKCS #8 PEM file."""

    key_id: Text
    key: File


class Trust(_Section):
    """The first roster version, a signed note: the trust anchor."""

    genesis: File


class JournalFiles(_Section):
    """The local journal's database and the file of its key (64 hexadecimal digits)."""

    path: File
    key: File


class TokenCacheFiles(_Section):
    """The token cache: how many tokens it holds; the encrypted file it is kept in, if any, and its key."""

    size: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    path: File | None = None
    key: File | None = None

    @model_validator(mode="after")
    def _path_needs_key(self) -> "TokenCacheFiles":
        if (self.path is None) != (self.key is None):
            raise ValueError("path and key come together: the cache's file is always encrypted")
        return self


class MemberConfig(_Section):
    """Everything a party's file says. `member` is its id on the roster; `custodians` maps id to host:port."""

    member: Text
    hub: Hub
    tls: Tls
    trust: Trust
    custodians: dict[Text, Text] = {}
    signing: Signing | None = None
    journal: JournalFiles | None = None
    token_cache: TokenCacheFiles = TokenCacheFiles()


def load_config(path: Path) -> MemberConfig:
    """Read and check a member's TOML file; raises ConfigError with a line for each bad key."""
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: can't read the configuration: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from error
    try:
        return MemberConfig.model_validate(table, context={"folder": path.absolute().parent})
    except ValidationError as error:
        # Values are left out on purpose: what was meant for one key may be a secret put at another.
        problems = [f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(problems)) from None
