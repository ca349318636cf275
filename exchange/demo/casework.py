"""What officers do about matches: one is carried through due process, another comes to evidence packages.

Invariants: it begins on the morning after the city's last day, while its matches are fresh, and goes on from
morning to morning; the matches are those that members were told of, and they differ.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from exchange.demo import inquiry
from exchange.demo.due_process import DueProcess
from exchange.demo.inquiry import Inquiry
from exchange.demo.proceedings import Proceedings
from exchange.provision import Deployment
from exchange.replay.processes import Agent, Crew
from exchange.replay.running import set_clock


class Casework:
    """Officers of members and of an authority. An asynchronous context manager. Times are Unix seconds."""

    def __init__(
        self,
        crew: Crew,
        deployment: Deployment,
        folder: Path,
        console: Console,
        agents: Sequence[Agent],
        first: int,
    ) -> None:
        """`folder` is made for what is released; it begins on the morning of `first`."""
        self._crew = crew
        self._deployment = deployment
        self._folder = folder
        self._console = console
        self._agents = agents
        self._due = DueProcess(deployment, console, first)
        self._work: AsyncGenerator[int, None] | None = None
        self._wanted: int | None = first
        self._stack = AsyncExitStack()
        self.inquiry: Inquiry | None = None
        """What came of law enforcement's asking; None where there was no match to ask about."""

    @property
    def proceedings(self) -> Proceedings | None:
        """What came of due process; None where no match called for it."""
        return self._due.proceedings

    async def __aenter__(self) -> "Casework":
        await self._stack.enter_async_context(self._due)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._work is not None:
            await self._work.aclose()
        await self._stack.aclose()

    async def morning(self, now: int) -> None:
        """Do what is due by now, which is what the replay's clock says."""
        while self._wanted is not None and self._wanted <= now:
            self._due.now = now
            if self._work is None:
                await self._begin()
            else:
                self._wanted = await anext(self._work, None)

    async def finish(self, now: int) -> None:
        """Do what is left in the days after `now`, and move the replay's clock with it."""
        while self._wanted is not None:
            now = max(now, self._wanted)
            set_clock(self._deployment.clock, now)
            await self.morning(now)

    async def _begin(self) -> None:
        answers = await asyncio.gather(*(agent.ask("matches") for agent in self._agents))
        told: dict[str, Any] = {agent.name: each for agent, each in zip(self._agents, answers, strict=True)}
        self._console.print("carrying a match through due process, step by step in the days to come")
        self._work = self._due.carry(told)
        self._wanted = await anext(self._work, None)
        self._console.print("asking members about another match under a legal instrument")
        subject = await inquiry.choose(told, self._due.match_id, self._deployment)
        if subject is not None:
            matches = told[subject.members[0]]["matches"]
            # The scope names people as an authority would: what is sealed must not be found at the hub.
            named = next(each["named"] for each in matches if each["id"] == subject.match_id)
            officers = inquiry.Officers(self._crew, self._deployment, self._folder, self._console)
            self.inquiry = await officers.inquire(subject, f"signals about {', '.join(named)}")
