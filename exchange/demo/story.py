"""The main job from beginning to end: provision, start, replay day by day, verify, search, report.

Invariants: the replay's clock only moves forward; on each morning every member has published what it knows
before any member asks; the log is verified by a process of its own, from files; what is reported is what the
members, the auditor and the search found, whether good or bad.
"""

import asyncio
import datetime
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet
from rich.console import Console
from signalexchange.entry_payloads import parse_header
from signalexchange.errors import MalformedError
from signalexchange.evidence import Opening, read_openings
from signalexchange.roster import RosterChain
from signalexchange.v1.log_entry_pb2 import EntryType

from exchange.demo import report, scan
from exchange.demo.casework import Casework
from exchange.demo.cashout import Cashout, Matching, MatchLog, compared, comparison, draw
from exchange.demo.caught import Caught
from exchange.demo.inquiry import Inquiry
from exchange.demo.proceedings import Proceedings
from exchange.demo.ranking import Ranking
from exchange.demo.reference import plain_counts
from exchange.demo.run import DemoOptions
from exchange.demo.trying import commands, short
from exchange.progress import Steps
from exchange.provision import Deployment, Plan, provision
from exchange.replay import books
from exchange.replay.generator import generate
from exchange.replay.identities import CONTROL_PHONE, merchant_of, phone_of
from exchange.replay.processes import Agent, Crew
from exchange.replay.running import HUB_COMMAND, PARTY_COMMAND, budget, set_clock, start_exchange
from exchange.replay.transactions import DAY, Table, days_of, issued_by, load

EVALUATED_FROM = 28
"""The first day (0 is the file's first) whose payments are ranked: reports on 28 days lie before it."""
AUDITOR = "audit-one"


class Story:
    """One run in a fresh folder."""

    def __init__(
        self, options: DemoOptions, folder: Path, table: Table, console: Console, started: float
    ) -> None:
        """`table` is what `transactions` returned; `started` is the monotonic time the run began at."""
        self._started = started
        self._options = options
        self._folder = folder
        self._table = table
        self._console = console
        self._first, self._days = days_of(table)
        self._stages: dict[str, float] = {}
        self._logs = folder / "logs"
        self._evidence = folder / "evidence"
        self._comparison = folder / "comparison"
        self._deployment: Deployment
        self._cashout: Cashout

    @staticmethod
    def transactions(options: DemoOptions, console: Console) -> Table:
        """The transactions to replay, from the file or generated; raises MalformedError for a bad file."""
        if options.transactions is None:
            console.print("making transactions of four institutions' customers")
            return generate(options.seed)
        console.print(f"reading {options.transactions}", markup=False)
        table = load(options.transactions)
        days = days_of(table)[1]
        if days <= EVALUATED_FROM:
            raise MalformedError(
                f"{options.transactions}: column TX_DATETIME spans {days} days; payments are ranked after "
                f"{EVALUATED_FROM}, so there must be more"
            )
        return table

    async def tell(self) -> bool:
        """Run it all; whether everything was as it must be. Raises ProcessDiedError, OSError."""
        self._logs.mkdir()
        with self._stage("provision"):
            self._provision()
        async with Crew(self._logs) as crew:
            outcome, examples = await crew.guard(self._with(crew))
            if self._options.keep:
                await self._stay_up(crew, examples)
        return not outcome.failures()

    async def _with(self, crew: Crew) -> tuple[report.Outcome, list[list[str]]]:
        """From the start of the processes to the summary; also merchants each member could ask about."""
        with self._stage("start"):
            agents = await self._start(crew)
        # It needs no network, and takes about as long as the replay.
        comparing = asyncio.create_task(
            crew.complete("comparison", [*HUB_COMMAND, *comparison(self._comparison)])
        )
        try:
            folder, begins = self._folder / "disclosure", self._first + (self._cashout.days - 1) * DAY
            async with Casework(crew, self._deployment, folder, self._console, agents, begins) as officers:
                with self._stage("replay"):
                    await self._replay(agents, officers)
            return await self._account(crew, agents, officers, comparing)
        finally:
            comparing.cancel()
            await asyncio.gather(comparing, return_exceptions=True)

    async def _account(
        self, crew: Crew, agents: Sequence[Agent], officers: Casework, comparing: "asyncio.Task[bytes]"
    ) -> tuple[report.Outcome, list[list[str]]]:
        """What came of the replay: asked, audited, searched, compared, reported."""
        deployment = self._deployment
        await agents[0].ask("control", value=CONTROL_PHONE)
        told = await asyncio.gather(*(agent.ask("matches") for agent in agents))
        summaries = [await agent.ask("summary", evidence=str(self._evidence)) for agent in agents]
        with self._stage("audit"):
            await crew.complete("auditor-fetch", self._auditor("fetch", self._evidence))
            matches = MatchLog(self._evidence)
            proceedings = officers.proceedings and officers.proceedings.on(self._evidence)
            drawn = await self._draw(agents, told, matches)
            await crew.stop(*(agent.name for agent in agents))
            if not self._options.keep:
                await crew.stop("hub", *deployment.custodian_ports)
            # Exit code 3 says "not verified", which is for the report to tell.
            verified = json.loads(
                await crew.complete("auditor-verify", self._auditor("verify", *self._proof), good=(0, 3))
            )
        with self._stage("search"):
            findings, raw = await self._search(crew)
        self._console.print("comparing with each member alone and with all raw data together")
        with self._stage("compare"):
            await comparing
            matching = self._cashout.outcome(told, matches, compared(self._comparison))
        outcome = self._outcome(summaries, verified, findings, raw, matching, proceedings, officers.inquiry)
        outcome.write(self._folder / "report.json")
        report.show(
            outcome,
            self._console,
            places={
                "report": short(self._folder / "report.json"),
                "a match, drawn": short(drawn) if drawn else "there was none",
                "evidence": short(self._evidence),
                "logs": short(self._logs),
            }
            | ({} if self._options.keep else {"next": "--keep leaves it up and prints commands to try"}),
        )
        return outcome, [summary["examples"] for summary in summaries]

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._stages[name] = time.monotonic() - started

    def _provision(self) -> None:
        """Keys, certificates, roster and token keys of everybody, and each member's own books."""
        end = self._first + self._days * DAY
        self._console.print("making a city with cash-out planted in it")
        self._cashout = Cashout(self._first)
        counts = {kind: len(values) for kind, values in self._cashout.identifiers().items()}
        counts["merchant"] += pc.count_distinct(self._table["TERMINAL_ID"]).as_py()
        counts["phone"] += pc.count_distinct(self._table["CUSTOMER_ID"]).as_py()
        self._deployment = provision(
            self._folder / "exchange",
            Plan(
                origin="exchange.test/demo",
                types=tuple(sorted(counts)),
                # Valid past today too, so that commands typed in afterwards find an epoch by the real clock.
                epochs={1: (self._first - DAY, max(end, int(time.time())) + 90 * DAY)},
                budgets={kind: budget(count) for kind, count in counts.items()},
                clock=self._first,
                record=True,
            ),
        )
        if self._options.transactions is None:
            pyarrow.parquet.write_table(self._table, self._folder / "transactions.parquet")
        for issuer, member in enumerate(self._deployment.members):
            books.keep(issued_by(self._table, issuer), self._books(member.id))
            self._cashout.keep(member.id, self._own(member.id))

    def _books(self, member: str) -> Path:
        return self._own(member) / "books.parquet"

    def _own(self, member: str) -> Path:
        return self._deployment.party_config(member).parent

    async def _start(self, crew: Crew) -> list[Agent]:
        """Custodians and hub, then the members."""
        deployment = self._deployment
        self._console.print(
            f"starting {len(deployment.custodian_ports)} custodians, the hub and "
            f"{len(deployment.members)} members in {short(self._folder)}",
            markup=False,
        )
        await start_exchange(crew, deployment, self._logs)
        agents = [
            await crew.hire(
                member.id,
                [
                    *("-m", "exchange.demo.agent"),
                    str(deployment.party_config(member.id)),
                    str(self._books(member.id)),
                    str(self._own(member.id)),
                    *(str(self._first), str(EVALUATED_FROM)),
                ],
            )
            for member in deployment.members
        ]
        await asyncio.gather(*(agent.ask("start") for agent in agents))
        return agents

    async def _replay(self, agents: Sequence[Agent], officers: Casework) -> None:
        """Each morning: the clock moves, frauds known by now and yesterday's flows that stand out are
        published, the day's terminals asked for, and officers do what is due."""
        signals = lookups = 0
        days = max(self._days, self._cashout.days)
        with Steps(self._console, "replaying", days, "days") as steps:
            for day in range(days):
                now = self._first + day * DAY
                set_clock(self._deployment.clock, now)
                for answer in await asyncio.gather(*(agent.ask("flows", now=now) for agent in agents)):
                    signals += answer["signals"]
                if day < self._days:  # the city may have more days than the transactions
                    for answer in await asyncio.gather(*(agent.ask("publish", now=now) for agent in agents)):
                        signals += answer["signals"]
                    for answer in await asyncio.gather(
                        *(agent.ask("screen", now=now, day=day) for agent in agents)
                    ):
                        lookups += answer["lookups"]
                    watched = await asyncio.gather(
                        *(agent.ask("watch", now=now, day=day) for agent in agents)
                    )
                    for agent, answer in zip(agents, watched, strict=True):
                        for line in answer["lines"]:
                            self._console.print(f"  {agent.name:11} {line}", markup=False, soft_wrap=True)
                await officers.morning(now)
                steps.step(f"{signals:,} signals, {lookups:,} look-ups")
        await officers.finish(now)

    @property
    def _proof(self) -> tuple[str | Path, ...]:
        """What `log verify` takes: the files to check, and the trust anchor."""
        return self._evidence, "--genesis", self._deployment.genesis, "--complete", "--json"

    def _auditor(self, *arguments: str | Path) -> list[str]:
        config = self._deployment.party_config(AUDITOR)
        return [*PARTY_COMMAND, "--config", str(config), "log", *map(str, arguments)]

    async def _draw(
        self, agents: Sequence[Agent], told: Sequence[Mapping[str, Any]], matches: MatchLog
    ) -> Path | None:
        """Have the most telling match opened to the auditor by those who reported it, and draw it."""
        chosen = self._cashout.most_telling(told, matches)
        if chosen is None:
            return None
        places = matches.places(chosen)
        answers = await asyncio.gather(*(agent.ask("disclose", places=places) for agent in agents))
        roster = RosterChain.start(self._deployment.genesis.read_bytes()).current
        hops = [matches.hop(signal, roster) for answer in answers for signal in answer["signals"]]
        match = next(each for summary in told for each in summary["matches"] if each["id"] == chosen)
        path = self._folder / "match.html"
        path.write_text(draw(match, hops), "utf-8")
        return path

    async def _search(self, crew: Crew) -> tuple[scan.Findings, int]:
        """Look for every raw identifier, and the control, in all the hub has or has ever decoded."""
        identifiers = [merchant_of(number) for number in pc.unique(self._table["TERMINAL_ID"]).to_pylist()]
        identifiers += [phone_of(number) for number in pc.unique(self._table["CUSTOMER_ID"]).to_pylist()]
        identifiers += sorted(set().union(*self._cashout.identifiers().values()))
        self._console.print(f"searching the hub's files for {len(identifiers):,} raw identifiers")
        places = (self._deployment.hub_config.parent, crew.log("hub"), self._recorder)
        findings = await asyncio.to_thread(
            scan.search, scan.files_below(*places), [*identifiers, CONTROL_PHONE]
        )
        return findings, len(identifiers)

    @property
    def _recorder(self) -> Path:
        return self._deployment.folder / "recorder"

    def _outcome(
        self,
        summaries: Sequence[Mapping[str, Any]],
        verified: Mapping[str, Any],
        findings: scan.Findings,
        raw: int,
        matching: Matching,
        proceedings: Proceedings | None,
        disclosed: Inquiry | None,
    ) -> report.Outcome:
        control = {path for path, _ in findings.found.get(CONTROL_PHONE, ())}
        recorded = {path for path in control if path.is_relative_to(self._recorder)}
        # The control belongs into the recorder's file alone; anywhere else it is a leak like any other.
        leaked = (findings.found.keys() - {CONTROL_PHONE}) | (
            {CONTROL_PHONE} if control - recorded else set()
        )
        kinds = ["all", *(["scenario_2"] if summaries[0]["has_scenarios"] else [])]
        rankings: dict[str, dict[str, Ranking]] = {}
        for kind in kinds:
            for view in report.VIEWS:
                merged = rankings.setdefault(kind, {}).setdefault(view, Ranking())
                for summary in summaries:
                    merged.merge(summary["rankings"][kind][view])
        source = self._options.transactions
        return report.Outcome(
            source=str(source) if source else f"generated transactions (seed {self._options.seed})",
            first_day=datetime.datetime.fromtimestamp(self._first, datetime.UTC).date().isoformat(),
            days=self._days,
            evaluated_from_day=EVALUATED_FROM,
            members=[
                report.MemberOutcome(spec.id, spec.kind, spec.group, **summary["counts"])
                for spec, summary in zip(self._deployment.members, summaries, strict=True)
            ],
            rankings=rankings,
            yardstick=plain_counts(self._table, self._first, EVALUATED_FROM),
            matching=matching,
            caught=Caught.of(
                {
                    spec.id: summary["detector"]
                    for spec, summary in zip(self._deployment.members, summaries, strict=True)
                }
            ),
            proceedings=proceedings,
            inquiry=disclosed,
            log_size=verified["size"],
            log_verified=verified["complete"] and verified["verified"]["payloads"] == verified["size"],
            log_entries=_entries(self._evidence),
            scan=findings,
            raw_identifiers=raw,
            raw_identifiers_found=len(leaked),
            control_found=bool(recorded),
            notes=report.notes(with_scenarios="scenario_2" in rankings),
            stages=self._stages,
            seconds=time.monotonic() - self._started,
        )

    async def _stay_up(self, crew: Crew, merchants: Sequence[Sequence[str]]) -> None:
        """Print commands to paste, then wait until interrupted."""
        examples = dict(zip((member.id for member in self._deployment.members), merchants, strict=True))
        commands(self._console, self._deployment, examples, self._proof[:-1])
        with suppress(asyncio.CancelledError):
            await crew.guard(asyncio.Event().wait())


def _entries(evidence: Path) -> Counter[str]:
    """How many entries of the log are of each type."""
    indices = {
        opening.index: parse_header(opening.header).type
        for _, opening in read_openings(evidence)
        if isinstance(opening, Opening)
    }
    return Counter(
        EntryType.Name(type_).removeprefix("ENTRY_TYPE_").lower().replace("_", "-")
        for type_ in indices.values()
    )
