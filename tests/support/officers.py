"""Officers at the command `signalexchange`, in a thread of the test's own process: there are many commands to
a case or a disclosure, and a process each would take most of the test's time."""

import asyncio

from click.testing import CliRunner
from signalexchange.cli import main

from tests.support.commands import Run
from tests.support.sdk import World


async def run(world: World, party: str, *arguments: str, stdin: str = "") -> Run:
    """Run the command as the party; one at a time, since standard output is the process's own."""
    line = ["--config", str(world.config_path(party)), *arguments]
    result = await asyncio.wait_for(asyncio.to_thread(CliRunner().invoke, main, line, stdin), 60)
    return Run(result.exit_code, result.stdout, result.stderr)
