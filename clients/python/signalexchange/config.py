"""The member's configuration: one TOML file.

Which sections a party needs depends on what it does: an auditor needs neither a signing key
nor custodians.
"""

import time
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from signalexchange.credentials import read_file
from signalexchange.errors import ConfigError
from signalexchange.settings import File, Section, Target, Text, Tls, read_settings


class Hub(Section):
    """Where the hub listens (host:port) and, where the host is not in its certificate, the name that is."""

    target: Target
    server_name: Text | None = None


class Signing(Section):
    """Id of the signing key on the roster and its PKCS #8 PEM file."""

    key_id: Text
    key: File


class Trust(Section):
    """The first roster version, a signed note: the trust anchor."""

    genesis: File


class JournalFiles(Section):
    """The local journal's database and the file of its key (64 hexadecimal digits)."""

    path: File
    key: File


class TokenCacheFiles(Section):
    """The token cache: how many tokens it holds; the encrypted file it is kept in, if any, and its key."""

    size: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    path: File | None = None
    key: File | None = None

    @model_validator(mode="after")
    def _path_needs_key(self) -> "TokenCacheFiles":
        if (self.path is None) != (self.key is None):
            raise ValueError("path and key come together: the cache's file is always encrypted")
        return self


class Replay(Section):
    """The file that holds the time of a replay: Unix seconds in decimal."""

    clock: File


class MemberConfig(Section):
    """Everything a party's file says.

    `member` is its id on the roster; `custodians` maps id to host:port; `officers` and `hpke` map ids of keys
    on the roster to PKCS #8 PEM files: Ed25519 keys of officers, and X25519 keys that open what is sealed to
    it.
    """

    member: Text
    hub: Hub
    tls: Tls
    trust: Trust
    custodians: dict[Text, Target] = Field(default_factory=dict)
    signing: Signing | None = None
    officers: dict[Text, File] = Field(default_factory=dict)
    hpke: dict[Text, File] = Field(default_factory=dict)
    journal: JournalFiles | None = None
    token_cache: TokenCacheFiles = TokenCacheFiles()
    replay: Replay | None = None

    def now(self) -> int:
        """Unix seconds: the machine's, or those of the replay's clock file. Raises ConfigError."""
        if self.replay is None:
            return int(time.time())
        text = read_file(self.replay.clock, "replay clock").strip()
        if not text.isdigit() or len(text) > 12:
            raise ConfigError(
                f"{self.replay.clock}: the replay clock's file must hold Unix seconds in decimal"
            )
        return int(text)


def load_config(path: Path) -> MemberConfig:
    """Read and check a member's TOML file; raises ConfigError with the file and each bad key."""
    return read_settings(path, MemberConfig)
