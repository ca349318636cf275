"""A match of the demo from a legal instrument to evidence packages: asked, released by two officers,
verified.

Invariants: every step is a command that an officer would type, in a process of its own; what is asked for and
what is released hold raw identifiers, and the search of the hub's files must find none; the packages are
verified from their files and the trust anchor alone.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from signalexchange.client import ExchangeClient
from signalexchange.config import load_config
from signalexchange.v1.match_service_pb2 import MATCH_STATUS_OPEN

from exchange.demo.desk import PATIENCE
from exchange.provision import Deployment
from exchange.replay.processes import Crew
from exchange.replay.running import PARTY_COMMAND

POLICE: Final = "police-one"
REFERENCE: Final = "京公(经)调证字〔2026〕17号"
_ASKED: Final = 2
_FIRST, _SECOND = "officer-1", "officer-2"


@dataclass(frozen=True)
class Inquiry:
    """What came of it."""

    pattern: str
    members: Sequence[str]
    signals: int
    """Signals in all packages, each with its signature and its place in the log checked."""
    matches: int
    verified: Sequence[str]
    """Members whose package verified offline."""
    problems: Sequence[str]

    @property
    def package_verified(self) -> bool:
        """Whether every member's package was received and verified, and holds signals at all."""
        return bool(self.signals) and list(self.verified) == list(self.members) and not self.problems

    def document(self) -> dict[str, Any]:
        """The part of `report.json`."""
        return {
            "pattern": self.pattern,
            "instrument": "investigation-order",
            "members_asked": list(self.members),
            "packages": len(self.verified),
            "signals": self.signals,
            "matches": self.matches,
            "package_verified": self.package_verified,
        }

    def failures(self) -> list[str]:
        """What must not be, in words."""
        if self.package_verified:
            return []
        return ["an evidence package did not verify: " + ("; ".join(self.problems[:3]) or "it never came")]

    def table(self) -> Table:
        """The same for people."""
        title = f"Disclosure: {POLICE} asks about a {self.pattern} match"
        table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0), show_header=False)
        for heading in ("", ""):
            table.add_column(heading, no_wrap=True)
        for member in self.members:
            how = "verified offline" if member in self.verified else "NOT VERIFIED"
            table.add_row(f"package of {member}", f"two officers signed; {how}")
        table.caption = (
            f"{self.signals} signals and {self.matches} matches with their signatures, openings and proofs."
        )
        table.caption_justify = "left"
        return table


@dataclass(frozen=True)
class Subject:
    """What is asked about: a match, and members who were told of it."""

    match_id: str
    pattern: str
    members: tuple[str, ...]


async def choose(
    told: Mapping[str, Mapping[str, Any]], other_than: str, deployment: Deployment
) -> Subject | None:
    """An open match with signals of two members' own, or of one's: a loop if there is one, and then the
    surest; not that of the id given."""
    found = {each["id"]: each for summary in told.values() for each in summary["matches"]}
    found.pop(other_than, None)
    order = sorted(
        found,
        key=lambda id_: (found[id_]["pattern"] == "funds loop", found[id_]["confidence"], id_),
        reverse=True,
    )
    chosen: Subject | None = None
    async with AsyncExitStack() as stack:
        clients = {}
        for member in told:
            config = load_config(deployment.party_config(member))
            clients[member] = await stack.enter_async_context(ExchangeClient.from_config(config))
        for id_ in order:
            members = [
                member
                for member, summary in told.items()
                if id_ in {each["id"] for each in summary["matches"]}
                if await _contributes(clients[member], id_)
            ]
            if len(members) > (len(chosen.members) if chosen else 0):
                chosen = Subject(id_, found[id_]["pattern"], tuple(members[:_ASKED]))
            if chosen is not None and len(chosen.members) == _ASKED:
                break
    return chosen


async def _contributes(client: ExchangeClient, match_id: str) -> bool:
    """Whether the match is open and stands on signals of the member's own."""
    match = await client.matches.get(bytes.fromhex(match_id), timeout=PATIENCE)
    return match.status == MATCH_STATUS_OPEN and bool(match.signal_ids)


class Officers:
    """Officers of an authority and of members, at the command line."""

    def __init__(self, crew: Crew, deployment: Deployment, folder: Path, console: Console) -> None:
        """`folder` is theirs; it is made."""
        self._crew = crew
        self._deployment = deployment
        self._folder = folder
        self._console = console

    async def inquire(self, subject: Subject, scope: str) -> Inquiry:
        """Ask the members, let each release what it has, receive and verify it. Raises ProcessDiedError."""
        self._folder.mkdir()
        by = ("--instrument", "investigation-order", "--reference", REFERENCE, "--deadline", "10")
        asked = await self._run(
            POLICE, "request", *subject.members, *by, "--scope-text", scope, "--officer", _FIRST, "--json"
        )
        self._say(POLICE, f"asks {' and '.join(subject.members)} under {REFERENCE}")
        await asyncio.gather(*(self._release(each["member"], each["request"], subject) for each in asked))
        received = self._folder / "received"
        rows = await self._run(
            POLICE,
            "assemble",
            asked[0]["inquiry"],
            "--out",
            received,
            "--officer",
            _SECOND,
            "--json",
            good=(0, 3),
        )
        self._say(POLICE, f"receives {len(rows)} packages, which are then gone from the hub")
        reports = {
            row["member"]: await self._verify(received / row["package"]) for row in rows if row["package"]
        }
        for member, report in reports.items():
            held = "verified offline" if report["ok"] else "NOT VERIFIED"
            self._say(
                POLICE, f"package of {member}: {report['checked'].get('signals', 0)} of its signals, {held}"
            )
        return Inquiry(
            pattern=subject.pattern,
            members=subject.members,
            signals=sum(report["checked"].get("signals", 0) for report in reports.values()),
            matches=sum(report["checked"].get("matches", 0) for report in reports.values()),
            verified=[member for member in subject.members if reports.get(member, {}).get("ok")],
            problems=[problem for report in reports.values() for problem in report["problems"]],
        )

    async def _release(self, member: str, request: str, subject: Subject) -> None:
        """A member's part: built, signed by two officers, sent."""
        file = self._folder / f"{member}.json"
        what = ("--match", subject.match_id, "--with-records", "--with-references")
        await self._run(member, "prepare", request, *what, "--out", file, "--json")
        for officer in (_FIRST, _SECOND):
            await self._run(member, "sign", file, "--officer", officer, "--json")
        await self._run(member, "submit", file, is_json=False)
        self._say(member, f"releases its signals in the match, signed by {_FIRST} and {_SECOND}, sealed")

    async def _verify(self, package: Path) -> dict[str, Any]:
        command = ("evidence", "verify", package, "--genesis", self._deployment.genesis, "--json")
        arguments = [*PARTY_COMMAND, *map(str, command)]
        output = await self._crew.complete("verify-package", arguments, good=(0, 3))
        found: dict[str, Any] = json.loads(output)
        return found

    async def _run(
        self,
        party: str,
        command: str,
        *arguments: str | Path,
        good: Sequence[int] = (0,),
        is_json: bool = True,
    ) -> Any:
        config = self._deployment.party_config(party)
        line = [*PARTY_COMMAND, "--config", str(config), "disclosures", command, *map(str, arguments)]
        output = await self._crew.complete(f"{party}-{command}", line, good=good)
        return json.loads(output) if is_json else None

    def _say(self, party: str, text: str) -> None:
        self._console.print(f"  {party:11} {text}", markup=False, soft_wrap=True)
