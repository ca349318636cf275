"""Processes beside the benchmark, and the processor time they take; each is ended by its own handle."""

import asyncio
import os
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 60.0


@dataclass(frozen=True)
class Processor:
    """Processor seconds: of a process's main thread, which runs the event loop, and of all its others."""

    loop: float
    others: float

    @property
    def total(self) -> float:
        return self.loop + self.others

    def since(self, before: "Processor", calls: int) -> "Processor":
        """Seconds a call since an earlier reading."""
        return Processor((self.loop - before.loop) / calls, (self.others - before.others) / calls)


def processor(pid: int) -> Processor:
    """What a process has used so far (proc(5): utime and stime of each thread)."""
    loop = others = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        seconds = (int(fields[11]) + int(fields[12])) / _TICKS
        if int(task.name) == pid:
            loop += seconds
        else:
            others += seconds
    return Processor(loop, others)


class Process:
    """A Python module as a process of its own that listens on a port, started as often as one likes."""

    def __init__(self, arguments: Sequence[str], port: int, log: Path) -> None:
        self._arguments = arguments
        self._port = port
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start it and return once it listens."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *self._arguments,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )
        deadline = time.monotonic() + _PATIENCE
        while not self._listens():
            if self._process.returncode is not None or time.monotonic() > deadline:
                raise RuntimeError(f"did not come up:\n{self._log.read_text('utf-8')[-3000:]}")
            await asyncio.sleep(0.02)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        assert self._process is not None
        self._process.terminate()
        await asyncio.wait_for(self._process.wait(), _PATIENCE)

    async def close(self) -> None:
        """End it however it is."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@dataclass(frozen=True)
class Echo:
    """The echo: where it listens, and its process."""

    target: str
    pid: int


@asynccontextmanager
async def echo_server(tls: Path, answer_size: int) -> AsyncIterator[Echo]:
    """The echo as a process of its own, with the server certificate of the folder `tls`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.echo", str(tls), str(answer_size), stdout=PIPE
    )
    try:
        assert process.stdout is not None
        yield Echo(f"127.0.0.1:{int(await process.stdout.readline())}", process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
