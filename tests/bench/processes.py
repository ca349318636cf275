"""Processes beside the benchmark: started from an argument list, ended by their own handle."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.bench.echo import METHOD

__all__ = ["METHOD", "echo_server"]


@asynccontextmanager
async def echo_server(tls: Path, answer_size: int) -> AsyncIterator[str]:
    """The echo as a process of its own; gives its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.echo", str(tls), str(answer_size), stdout=PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        yield f"127.0.0.1:{port}"
    finally:
        await end(process)


async def end(process: Process) -> None:
    """Terminate a process and wait for it."""
    if process.returncode is None:
        process.terminate()
    await process.wait()
