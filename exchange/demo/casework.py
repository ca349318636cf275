"""What officers do once the replay is over: one match through due process, another to evidence packages.

Invariant: the matches are those that members were told of, and they differ.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from exchange.demo import inquiry
from exchange.demo.due_process import DueProcess
from exchange.demo.inquiry import Inquiry
from exchange.demo.proceedings import Proceedings
from exchange.provision import Deployment
from exchange.replay.processes import Crew


class Casework:
    """Officers of members and of an authority."""

    def __init__(
        self,
        crew: Crew,
        deployment: Deployment,
        folder: Path,
        console: Console,
        told: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """`folder` is made for what is released; `told` is what each member was told of matches."""
        self._crew = crew
        self._deployment = deployment
        self._folder = folder
        self._console = console
        self._told = told

    async def proceed(self, now: int) -> Proceedings | None:
        """Carry a match through due process, in the days after `now` (Unix seconds, the replay's clock)."""
        self._console.print("carrying a match through due process")
        async with DueProcess(self._deployment, self._console, now) as officers:
            return await officers.carry(self._told)

    async def disclose(self, carried: Proceedings | None) -> Inquiry | None:
        """Have law enforcement ask about another match than the one carried through."""
        self._console.print("asking members about a match under a legal instrument")
        subject = await inquiry.choose(self._told, carried.match_id if carried else "", self._deployment)
        if subject is None:
            return None
        matches = self._told[subject.members[0]]["matches"]
        # The scope names people as an authority would: what is sealed must not be found at the hub.
        named = next(each["named"] for each in matches if each["id"] == subject.match_id)
        officers = inquiry.Officers(self._crew, self._deployment, self._folder, self._console)
        return await officers.inquire(subject, f"signals about {', '.join(named)}")
