"""The one place that knows what time it is.

Invariants: everything that is decided, signed or stored uses a Clock's `now`; a replay clock exists only
where a configuration says `[replay]`. Certificates, deadlines and rate limits belong to real connections:
they use the system's time even during a replay.
"""

import time
from pathlib import Path
from typing import Protocol

from signalexchange.errors import ConfigError


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> int:
        """Unix seconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        """Unix seconds."""
        return int(time.time())


class ReplayClock:
    """A clock read from a file that holds Unix seconds in decimal and is replaced (renamed over) to move it.

    A file that is missing or not a number leaves the clock where it was; at construction it is a ConfigError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._now = -1
        self._read()
        if self._now < 0:
            raise ConfigError(f"{path}: the replay clock's file must hold Unix seconds in decimal")

    def now(self) -> int:
        """Unix seconds, as the file says."""
        self._read()
        return self._now

    def _read(self) -> None:
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp == self._stamp:
                return
            text = self._path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return
        if text.isdigit() and len(text) <= 12:
            self._now = int(text)
            self._stamp = stamp
