"""Numbered migrations: `migrations/0001_….sql` and so on, each applied once, in a transaction.

Invariants: the database's `user_version` is the number of the last one applied; a script that has been
released never changes.
"""

from importlib.resources import files
from pathlib import Path

import aiosqlite
from signalexchange.errors import ConfigError


async def migrate(write: aiosqlite.Connection, path: Path) -> None:
    """Apply the numbered migrations that are missing, each in a transaction. Raises ConfigError on a newer
    database."""
    scripts = sorted(
        (
            file
            for file in files("exchange.storage").joinpath("migrations").iterdir()
            if file.name.endswith(".sql")
        ),
        key=lambda file: file.name,
    )
    ((version,),) = await write.execute_fetchall("PRAGMA user_version")
    if version > len(scripts):
        raise ConfigError(f"{path}: written by a newer version of the hub")
    for number, script in enumerate(scripts[version:], start=version + 1):
        await write.executescript(
            f"BEGIN IMMEDIATE; {script.read_text('utf-8')}; PRAGMA user_version = {number}; COMMIT;"
        )
