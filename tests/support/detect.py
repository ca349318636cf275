"""The command `signalexchange detect` as a process that tests feed, interrupt and kill.

Invariants: every process started is ended by its own id; it is forked from a process that has imported
everything, which takes a tenth of a second instead of more than one.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from signalexchange.cli import main

from tests.support import detector_stream as made

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(
    [
        "__main__",
        "exchange.cli",
        "signalexchange.cli.detect",
        "signalexchange.detector.publishing",
        "lightgbm",
    ]
)
SECONDS = 60.0


def _run(
    folder: str, arguments: list[str], streams: tuple[str, str, str], environment: dict[str, str]
) -> None:
    os.chdir(folder)
    flags = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_APPEND, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for target, (path, how) in enumerate(zip(streams, flags, strict=True)):
        os.dup2(os.open(path, how, 0o600), target)
    os.environ.update(environment)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(each, mode) for each, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    sys.argv = ["signalexchange", *arguments]
    main()


class Process:
    """A running command."""

    def __init__(
        self, scratch: Path, arguments: Sequence[str], stdin: Path, environment: dict[str, str]
    ) -> None:
        number = len(list(scratch.glob("*.out")))
        self._out, self._err = scratch / f"{number}.out", scratch / f"{number}.err"
        streams = (str(stdin), str(self._out), str(self._err))
        self._process: ForkServerProcess = _FORKED.Process(
            target=_run, args=(str(scratch), list(arguments), streams, environment)
        )
        self._out.touch()
        self._err.touch()
        self._process.start()

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for its end; the exit code."""
        self._process.join(SECONDS)
        assert self._process.exitcode is not None, "it does not end"
        return self._process.exitcode

    def until(self, seen: Callable[["Process"], bool]) -> None:
        """Wait until something is to be seen of it."""
        deadline = time.monotonic() + SECONDS
        while not seen(self):
            assert self.running, f"ended with {self.wait()}: {self.err}"
            assert time.monotonic() < deadline, f"nothing to be seen: {self.err}"
            time.sleep(0.01)

    def close(self) -> None:
        """End it however it is."""
        if self.running:
            self._process.kill()
        self._process.join()


class Bench:
    """A folder with a detector's state, output file and whatever inputs a test makes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.state = folder / "state"
        self.output = folder / "output.jsonl"
        self.environment: dict[str, str] = {}
        self.settings("lateness = 0\n")

    def settings(self, text: str) -> Path:
        path = self.folder / "detector.toml"
        path.write_text(text)
        return path

    def rows(self, rows: Sequence[Any], name: str = "rows.jsonl") -> Path:
        """A file of transactions."""
        return made.write_rows(self.folder / name, rows)

    def start(self, *arguments: str | Path, stdin: Path = Path(os.devnull)) -> Process:
        """`detect` with this state, these settings and this output file."""
        own = ("--state", self.state, "--output", self.output, "--settings", self.folder / "detector.toml")
        return self.command("detect", *arguments, *own, stdin=stdin)

    def command(self, *arguments: str | Path, stdin: Path = Path(os.devnull)) -> Process:
        return Process(self.folder, [str(each) for each in arguments], stdin, self.environment)

    def run(self, *arguments: str | Path, code: int = 0, stdin: Path = Path(os.devnull)) -> Process:
        """`detect` from start to end."""
        process = self.start(*arguments, stdin=stdin)
        try:
            assert process.wait() == code, process.err + process.out
        finally:
            process.close()
        return process

    @contextmanager
    def live(self, *arguments: str) -> Iterator[tuple[Process, Any]]:
        """`detect` on standard input, which stays open: the process, and the file to write to."""
        pipe = self.folder / "pipe"
        if not pipe.exists():
            os.mkfifo(pipe)
        process = self.start("--json", *arguments, stdin=pipe)
        try:
            with pipe.open("w", buffering=1) as lines:
                yield process, lines
        finally:
            process.close()

    def decided(self) -> list[dict[str, Any]]:
        """What the output file holds."""
        return made.read_lines(self.output)


def summary(process: Process) -> dict[str, str]:
    """The numbers at the end of a run without --json."""
    rows = [line.split("\t") for line in process.out.splitlines() if "\t" in line]
    return {row[0]: row[1] for row in rows if len(row) == 2}
