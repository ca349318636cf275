"""The demo's processes leave nothing behind and say what went wrong."""

import asyncio
import os
from pathlib import Path

import pytest

from exchange.replay.processes import Crew, ProcessDiedError

ECHO = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    if request["command"] == "die":
        print("about to die", file=sys.stderr, flush=True)
        sys.exit(7)
    print(json.dumps({"heard": request["command"], "x": request.get("x")}), flush=True)
"""
SLEEP = "import time; time.sleep(600)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_an_agent_answers_each_command(tmp_path: Path) -> None:
    async with Crew(tmp_path) as crew:
        agent = await crew.hire("echo", ["-c", ECHO])
        assert await agent.ask("one", x=1) == {"heard": "one", "x": 1}
        assert await agent.ask("two") == {"heard": "two", "x": None}


async def test_leaving_ends_every_process(tmp_path: Path) -> None:
    async with Crew(tmp_path) as crew:
        await crew.start("sleeper", ["-c", SLEEP])
        await crew.hire("echo", ["-c", ECHO])
        pids = list(crew.pids.values())
        assert all(map(alive, pids))
    assert not any(map(alive, pids))


async def test_an_error_ends_every_process_too(tmp_path: Path) -> None:
    pids: list[int] = []

    async def fail() -> None:
        async with Crew(tmp_path) as crew:
            await crew.start("sleeper", ["-c", SLEEP])
            pids.extend(crew.pids.values())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert pids
    assert not any(map(alive, pids))


async def test_a_process_that_ignores_the_polite_way_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.replay.processes._GRACE_SECONDS", 0.2)
    async with Crew(tmp_path) as crew:
        await crew.start("stubborn", ["-c", STUBBORN])
        while "ready" not in crew.log("stubborn").read_text():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.02)
        pids = list(crew.pids.values())
    assert not any(map(alive, pids))


async def test_an_agent_that_dies_is_named_with_its_last_words(tmp_path: Path) -> None:
    async with Crew(tmp_path) as crew:
        agent = await crew.hire("bank", ["-c", ECHO])
        with pytest.raises(ProcessDiedError, match=r"(?s)bank ended with exit code 7.*about to die"):
            await agent.ask("die")


async def test_a_death_ends_other_work(tmp_path: Path) -> None:
    async with Crew(tmp_path) as crew:
        await crew.start("hub", ["-c", "import sys; sys.exit('no disk')"])
        with pytest.raises(ProcessDiedError, match=r"(?s)hub ended with exit code 1.*no disk"):
            await crew.guard(asyncio.sleep(60))


async def test_a_process_that_was_stopped_has_not_died(tmp_path: Path) -> None:
    async with Crew(tmp_path) as crew:
        await crew.start("sleeper", ["-c", SLEEP])
        await crew.stop("sleeper")
        assert crew.pids == {}
        assert await crew.guard(asyncio.sleep(0.05, "done")) == "done"


async def test_a_finished_command_that_failed_is_named(tmp_path: Path) -> None:
    async with Crew(tmp_path) as crew:
        await crew.complete("good", ["-c", "pass"])
        with pytest.raises(ProcessDiedError, match=r"(?s)verify ended with exit code 1.*wrong root"):
            await crew.complete("verify", ["-c", "import sys; sys.exit('wrong root')"])
