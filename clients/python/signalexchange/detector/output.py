"""A file of decisions, one JSON object a line, each decision once and in order.

Invariants: whatever a crash left of the file, `Output` brings it in line with the journal: a torn last line
goes, what is missing follows; numbers grow by every line. Mode 0600: ids are raw data.
"""

import json
import os
from pathlib import Path
from typing import Any, Final

from signalexchange.detector.detector import Told
from signalexchange.detector.journal import DetectorJournal
from signalexchange.errors import ConfigError

_TAIL: Final = 1 << 20


class Output:
    """The file of a journal's decisions."""

    def __init__(self, path: Path, journal: DetectorJournal) -> None:
        """Open or create it, and append what the journal has beyond its last line. Raises ConfigError."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"{path}: can't write decisions: {error.strerror}") from None
        self._file = os.fdopen(descriptor, "r+b")
        try:
            last = self._repair(path)
            for decided in journal.decisions(last):
                self._append(decided.number, decided.document)
            self._file.flush()
        except BaseException:
            self._file.close()
            raise

    def write(self, told: list[Told]) -> None:
        """Append decisions. Raises OSError."""
        for number, _, decision in told:
            self._append(number, decision.document())
        self._file.flush()

    def close(self) -> None:
        """Bring it to the disk and close it."""
        os.fsync(self._file.fileno())
        self._file.close()

    def _append(self, number: int, document: dict[str, Any]) -> None:
        line = json.dumps({"number": number} | document, separators=(",", ":"), ensure_ascii=False)
        self._file.write(line.encode() + b"\n")

    def _repair(self, path: Path) -> int:
        """Cut a torn last line off; the number of the last whole one, 0 where there is none."""
        end = self._file.seek(0, os.SEEK_END)
        start = max(0, end - _TAIL)
        self._file.seek(start)
        tail = self._file.read()
        whole = tail.rfind(b"\n") + 1
        if start and not whole:
            raise ConfigError(f"{path}: not a file of decisions")
        self._file.truncate(start + whole)
        self._file.seek(0, os.SEEK_END)
        if not whole:
            return 0
        line = tail[:whole].rstrip(b"\n").rpartition(b"\n")[2]
        try:
            number = json.loads(line)["number"]
        except (ValueError, KeyError, TypeError):
            number = None
        if type(number) is not int:
            raise ConfigError(f"{path}: not a file of decisions")
        return number
