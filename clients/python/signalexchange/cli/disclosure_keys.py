"""The keys that commands about disclosures use: officers' and those that open what is sealed to the party."""

import os
from functools import partial
from pathlib import Path

import click

from signalexchange.config import MemberConfig
from signalexchange.credentials import load_hpke_key, load_signing_key
from signalexchange.disclosure_client import HpkeKeys, Officer
from signalexchange.errors import ConfigError

officer_option = click.option(
    "--officer", required=True, metavar="KEYID", help="Which officer's key of the configuration signs."
)


def officer_of(config: MemberConfig, key_id: str) -> Officer:
    """The officer of a configured key. Raises ConfigError."""
    if key_id not in config.officers:
        known = ", ".join(sorted(config.officers)) or "none"
        raise ConfigError(f"[officers] of the configuration has no key {key_id!r}; it has {known}")
    return Officer(key_id, load_signing_key(config.officers[key_id]))


def hpke_keys(config: MemberConfig) -> HpkeKeys:
    """What loads the configured HPKE keys, by their ids."""
    return {key_id: partial(load_hpke_key, path) for key_id, path in config.hpke.items()}


def write_secret(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and readable by its owner alone."""
    draft = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    draft.replace(path)
