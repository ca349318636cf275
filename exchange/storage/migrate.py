"""Numbered migrations: `migrations/0001_….sql` and so on, each applied once, in a transaction.

Invariants: the database's `user_version` is the number of the last one applied; a script that has been
released never changes.
"""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import aiosqlite
from signalexchange.errors import ConfigError


def newest() -> int:
    """Number of the last migration."""
    return len(_scripts())


def _scripts() -> list[Traversable]:
    folder = files("exchange.storage").joinpath("migrations")
    scripts = [file for file in folder.iterdir() if file.name.endswith(".sql")]
    return sorted(scripts, key=lambda file: file.name)


async def migrate(write: aiosqlite.Connection, path: Path) -> None:
    """Apply the numbered migrations that are missing, each in a transaction. Raises ConfigError on a newer
    database."""
    scripts = _scripts()
    ((version,),) = await write.execute_fetchall("PRAGMA user_version")
    if version > len(scripts):
        raise ConfigError(f"{path}: written by a newer version of the hub")
    for number, script in enumerate(scripts[version:], start=version + 1):
        await write.executescript(
            f"BEGIN IMMEDIATE; {script.read_text('utf-8')}; PRAGMA user_version = {number}; COMMIT;"
        )
