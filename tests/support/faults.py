"""Processes that tests kill and starve: a hub or custodian whose disk fails on command.

Invariants: every process started is ended by its own id; a disk fault is there only between `Disk.fail` and
`Disk.heal`; what a process writes to standard error is kept for the test to read.
"""

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from exchange.cli import main

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["__main__", "exchange.cli"])
SHIM = Path(__file__).parents[1] / "faults" / "shim.c"


def compile_shim(folder: Path) -> Path:
    """The library that makes a disk fail, compiled into `folder`."""
    library = folder / "shim.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-D_LARGEFILE64_SOURCE", "-o", library, SHIM, "-ldl"], check=True
    )
    return library


def has_compiler() -> bool:
    return shutil.which("cc") is not None


class Disk:
    """The disk under `folder` as a process started with `environment` sees it."""

    def __init__(self, scratch: Path, folder: Path) -> None:
        self._control = scratch / "fault"
        self._count = scratch / "failures"
        self.environment = {
            "LD_PRELOAD": str(compile_shim(scratch)),
            "FAULT_CONTROL": str(self._control),
            "FAULT_FOLDER": str(folder.resolve()),
            "FAULT_COUNT": str(self._count),
        }
        self.heal()

    def fail(self, how: str) -> None:
        """Fail from now on: "nospace", "nosync" or "readonly"."""
        # Written beside and renamed, so that the process never reads half a word.
        draft = self._control.with_suffix(".new")
        draft.write_text(how)
        draft.replace(self._control)

    def heal(self) -> None:
        self.fail("")

    @property
    def failures(self) -> int:
        """How many system calls were failed so far."""
        return self._count.stat().st_size if self._count.exists() else 0


def _run(arguments: list[str], log: Path) -> None:
    """`exchange-hub` with these arguments, in a process just forked: standard streams go to the log."""
    null, out = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((null, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    main(arguments)


class Server:
    """An `exchange-hub` process that listens on a port; started and ended as often as a test likes.

    It is forked from a process that has imported everything, which takes a quarter of a second instead of
    more than one; with an environment of its own it is a fresh interpreter.
    """

    def __init__(self, arguments: Sequence[str], port: int, log: Path) -> None:
        self._arguments = list(arguments)
        self._port = port
        self.log = log
        self._process: ForkServerProcess | subprocess.Popen[bytes] | None = None

    def spawn(self, environment: Mapping[str, str] | None = None) -> None:
        """Start it and return at once."""
        assert self._process is None
        if environment is None:
            process = _FORKED.Process(target=_run, args=(self._arguments, self.log))
            process.start()
            self._process = process
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "exchange.cli", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
            )

    def start(self, environment: Mapping[str, str] | None = None, seconds: float = 30.0) -> None:
        """Start it and return once it listens."""
        self.spawn(environment)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.running, f"ended with {self.wait()}:\n{self.text()[-3000:]}"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(f"not listening after {seconds} s:\n{self.text()[-3000:]}")

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self, seconds: float = 30.0) -> int:
        """Wait for its end; the exit code. Raises TimeoutError."""
        process = self._process
        assert process is not None
        if isinstance(process, subprocess.Popen):
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired as error:
                raise TimeoutError from error
        else:
            process.join(seconds)
            if process.exitcode is None:
                raise TimeoutError
            code = process.exitcode
            process.close()
        self._process = None
        return code

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        """End it however it is."""
        if self._process is not None:
            self.kill()

    @property
    def running(self) -> bool:
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll() is None
        return self._process is not None and self._process.is_alive()

    def text(self) -> str:
        """All it has said."""
        return self.log.read_text("utf-8", errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """Its log's lines; fails on a line that is not JSON."""
        return [json.loads(line) for line in self.text().splitlines()]
