"""A replay's processes: started, talked to, watched and ended.

Invariants: each process is the leader of its own group and writes what it has to say into its own log; none
outlives the crew, whatever ends the replay; processes are ended by their ids, politely first; a process that
ends by itself ends the replay with its name and the last lines of its log.
"""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

_INPUT_SECONDS = 3.0
_GRACE_SECONDS = 15.0
_LAST_LINES = 15
_LONGEST_LINE = 1 << 26
_LONGEST_REQUEST = 1 << 20

Result = TypeVar("Result")


class ProcessDiedError(Exception):
    """A process ended that should not have; the message has its name and the last lines of its log."""

    def __init__(self, name: str, code: int, log: Path) -> None:
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        lines = log.read_text("utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        last = "\n".join(f"  | {line}" for line in lines) or "  (its log is empty)"
        super().__init__(f"{name} ended {how}; the last lines of {log}:\n{last}")
        self.name = name


class Crew:
    """All processes of one replay. An asynchronous context manager: leaving it ends them all."""

    def __init__(self, logs: Path) -> None:
        """`logs` is an existing folder."""
        self._logs = logs
        self._running: dict[str, Process] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._died: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def log(self, name: str) -> Path:
        """Where a process of this name writes."""
        return self._logs / f"{name}.log"

    @property
    def pids(self) -> dict[str, int]:
        """The ids of the running processes by name."""
        return {name: process.pid for name, process in self._running.items()}

    async def start(self, name: str, arguments: Sequence[str]) -> None:
        """Start this Python with `arguments`; standard output and error go to the log."""
        with self.log(name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, stdin=DEVNULL, stdout=log, stderr=STDOUT, start_new_session=True
            )
        self._watch(name, process)

    async def hire(self, name: str, arguments: Sequence[str]) -> "Agent":
        """Start this Python with `arguments` as a process that is talked to over its standard streams."""
        with self.log(name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                start_new_session=True,
                limit=_LONGEST_LINE,
            )
        self._watch(name, process)
        return Agent(name, process, self._died)

    async def complete(self, name: str, arguments: Sequence[str], *, good: Sequence[int] = (0,)) -> bytes:
        """Run this Python with `arguments` to its end; what it wrote to standard output.

        Raises ProcessDiedError where its exit code is none of `good`.
        """
        with self.log(name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, stdin=DEVNULL, stdout=PIPE, stderr=log, start_new_session=True
            )
        self._running[name] = process
        output, _ = await process.communicate()
        self._running.pop(name, None)
        code = await process.wait()
        if code not in good:
            raise ProcessDiedError(name, code, self.log(name))
        return output

    async def guard(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do some work, given up with ProcessDiedError as soon as a process of the crew has ended."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait((task, self._died), return_when=asyncio.FIRST_COMPLETED)
            if self._died.done():
                self._died.result()
            return await task
        finally:
            task.cancel()

    async def stop(self, *names: str) -> None:
        """End these processes, together, and wait until they are gone."""
        for name in names:
            if name in self._watchers:
                self._watchers.pop(name).cancel()
        await asyncio.gather(*(_end(self._running[name]) for name in names))
        for name in names:
            # One that was waited for elsewhere may have gone from here in the meantime.
            self._running.pop(name, None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop(*self._running)
        finally:
            # Whoever is impatient and interrupts the polite way gets here.
            for process in self._running.values():
                _signal(process, signal.SIGKILL)
            if self._died.done():
                self._died.exception()  # whoever needed it has raised it
            else:
                self._died.cancel()

    def _watch(self, name: str, process: Process) -> None:
        async def wait() -> None:
            code = await process.wait()
            if not self._died.done():
                self._died.set_exception(ProcessDiedError(name, code, self.log(name)))

        self._running[name] = process
        self._watchers[name] = asyncio.create_task(wait())


class Agent:
    """A process that answers each line of JSON on its standard input with one on its standard output."""

    def __init__(self, name: str, process: Process, died: "asyncio.Future[None]") -> None:
        self.name = name
        self._process = process
        self._died = died

    async def ask(self, command: str, **arguments: Any) -> Mapping[str, Any]:
        """Send a command, return its answer; raises ProcessDiedError where one of the crew ends first."""
        assert self._process.stdin is not None  # noqa: S101 - it was started with pipes
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            # An end of the stream is an end of the process: its watcher knows the exit code.
            await asyncio.shield(self._died)
        reply: dict[str, Any] = json.loads(line)
        return reply


async def serve(answer: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]) -> None:
    """Be the other end of an Agent: answer each line of standard input on standard output, until it ends."""
    requests = asyncio.StreamReader(limit=_LONGEST_REQUEST)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(requests), sys.stdin
    )
    while line := await requests.readline():
        sys.stdout.write(json.dumps(await answer(json.loads(line))) + "\n")
        sys.stdout.flush()


async def _end(process: Process) -> None:
    """End a process and its group: by the end of its input, else SIGTERM, else, after a while, SIGKILL."""
    if process.stdin is not None:
        process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _INPUT_SECONDS)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            _signal(process, number)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _GRACE_SECONDS)


def _signal(process: Process, number: signal.Signals) -> None:
    # The group's id is the process's own, because it was started as the leader of a session.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
