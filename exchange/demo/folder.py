"""The demo's own folder: made fresh, and never anybody else's.

Invariants: a folder that holds anything is emptied only if an earlier demo left its marker there; the marker
is locked while a demo uses the folder, so that two can't empty it under each other.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from signalexchange.errors import ConfigError

MARKER = ".exchange-hub-demo"
_TEXT = "Made by `exchange-hub demo`, which empties this folder when it runs again.\n"


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """An empty folder, marked and locked for as long as the context lasts; its absolute path.

    Raises ConfigError where the folder holds something that no demo made, or a demo is using it.
    """
    folder = folder.absolute()
    marker = folder / MARKER
    if folder.exists():
        if not folder.is_dir():
            raise ConfigError(f"{folder}: not a folder")
        if not marker.is_file() and any(folder.iterdir()):
            raise ConfigError(f"{folder}: not made by the demo, so it is left alone; choose another --folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(marker, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigError(f"{folder}: can't be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{folder}: a demo is running there") from None
        os.ftruncate(lock, 0)
        os.write(lock, _TEXT.encode())
        for path in folder.iterdir():
            if path.name == MARKER:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        yield folder
    finally:
        os.close(lock)
