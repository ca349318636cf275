"""A file of decisions, one JSON object a line, each decision once and in order.

Invariants: whatever a crash left of the file, `Output` brings it in line with the journal: a torn last line
goes, what is missing follows; numbers grow by every line. Mode 0600: ids are raw data.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from signalexchange.detector.detector import Told
from signalexchange.detector.journal import DetectorJournal
from signalexchange.errors import ConfigError

LABELS: Final = frozenset({"fraud", "labelled_at"})
"""What the journal keeps beside a decision once a label came, and no decision says."""
_TAIL: Final = 1 << 20
_BEGIN: Final = b'{"number":'
"""What a line begins with: a torn last line of anything else is not cut off, for it isn't ours."""


class Output:
    """The file of a journal's decisions."""

    def __init__(self, path: Path, journal: DetectorJournal) -> None:
        """Open or create it, and append what the journal has beyond its last line. Raises ConfigError."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"{path}: can't write decisions: {error.strerror}") from None
        self._path = path
        self._file = os.fdopen(descriptor, "r+b")
        try:
            last, id_ = self._repair(path)
            if last:
                same = next(journal.decisions(last - 1), None)
                if same is None or (same.number == last and same.transaction.id != id_):
                    raise ConfigError(f"{path}: has decisions of another detector's state; name another file")
            for decided in journal.decisions(last):
                document = decided.document
                self._append(decided.number, {key: document[key] for key in document if key not in LABELS})
            self._file.flush()
        except OSError as error:
            self._file.close()
            raise ConfigError(f"{path}: can't write decisions: {error.strerror}") from None
        except BaseException:
            self._file.close()
            raise

    def write(self, told: Sequence[Told]) -> None:
        """Append decisions. Raises ConfigError; what is not written then, the next `Output` appends."""
        try:
            for number, _, decision in told:
                self._append(number, decision.document())
            self._file.flush()
        except OSError as error:
            raise ConfigError(f"{self._path}: can't write decisions: {error.strerror}") from None

    def close(self) -> None:
        """Bring it to the disk and close it. Raises ConfigError."""
        try:
            with self._file:
                self._file.flush()
                with suppress(OSError):  # a pipe has no disk
                    os.fsync(self._file.fileno())
        except OSError as error:
            raise ConfigError(f"{self._path}: can't write decisions: {error.strerror}") from None

    def _append(self, number: int, document: dict[str, Any]) -> None:
        line = json.dumps({"number": number} | document, separators=(",", ":"), ensure_ascii=False)
        self._file.write(line.encode() + b"\n")

    def _repair(self, path: Path) -> tuple[int, str]:
        """Cut a torn last line off; number and id of the last whole one, 0 where there is none."""
        foreign = ConfigError(f"{path}: not a file of decisions; name another file")
        end = self._file.seek(0, os.SEEK_END)
        start = max(0, end - _TAIL)
        self._file.seek(start)
        tail = self._file.read()
        lines, _, torn = tail.rpartition(b"\n")
        if (start and not lines) or torn[: len(_BEGIN)] != _BEGIN[: len(torn)]:
            raise foreign
        number, id_ = 0, ""
        if lines:
            try:
                found = json.loads(lines.rpartition(b"\n")[2])
                number, id_ = found["number"], found["id"]
            except (ValueError, KeyError, TypeError, RecursionError):
                raise foreign from None
            if type(number) is not int or number < 1 or type(id_) is not str:
                raise foreign
        self._file.truncate(end - len(torn))
        self._file.seek(0, os.SEEK_END)
        return number, id_
