"""The command `signalexchange`, run as a party in a process of its own."""

import asyncio
import json
import os
import sys
from typing import Any

from tests.support.sdk import World


class Run:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


async def run(world: World, party: str, *arguments: str, stdin: str = "") -> Run:
    """Run the command as the party, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "from signalexchange.cli import main; main()"),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "SIGNALEXCHANGE_CONFIG": str(world.config_path(party))},
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return Run(process.returncode, out.decode(), err.decode())
