"""Processes beside the benchmark, and the processor time they take; each is ended by its own handle."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.faults import Server

_TICKS = os.sysconf("SC_CLK_TCK")


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


class Measured(Server):
    """A server whose process can be looked at."""

    def __init__(self, arguments: Sequence[str], port: int, log: Path) -> None:
        super().__init__(["-m", *arguments], port, log)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid


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
