"""Members' detectors on a real exchange: custodians, hub and four members, on a replay's clock.

Invariants: the clock only moves forward; on each morning every member has published what it knows before any
member asks; no process outlives the replay.
"""

import asyncio
from pathlib import Path

import pyarrow.compute as pc
from rich.console import Console

from exchange.evaluation.detection.plan import Plan
from exchange.progress import Steps
from exchange.provision import Plan as DeploymentPlan
from exchange.provision import provision
from exchange.replay.books import keep
from exchange.replay.processes import Crew
from exchange.replay.running import budget, set_clock, start_exchange
from exchange.replay.transactions import DAY, Table, days_of, issued_by


async def exchanged(
    table: Table, folder: Path, plan: Plan, console: Console
) -> tuple[list[Path], dict[str, int]]:
    """The members' files of rows (`Watched`), made in `folder`, and what they did, added up.

    Raises ProcessDiedError where a process ends, ExchangeError.
    """
    first, days = days_of(table)
    logs = folder / "logs"
    logs.mkdir()
    deployment = await asyncio.to_thread(
        provision,
        folder / "exchange",
        DeploymentPlan(
            origin="exchange.test/evaluation",
            types=("merchant", "phone"),
            epochs={1: (first - DAY, first + (days + 1) * DAY)},
            budgets={
                "merchant": budget(pc.count_distinct(table["TERMINAL_ID"]).as_py()),
                "phone": budget(pc.count_distinct(table["CUSTOMER_ID"]).as_py()),
            },
            clock=first,
        ),
    )
    rows = []
    async with Crew(logs) as crew:
        await crew.guard(start_exchange(crew, deployment, logs))
        agents = []
        for issuer, member in enumerate(deployment.members):
            config = deployment.party_config(member.id)
            books = config.parent / "books.parquet"
            rows.append(config.parent / "rows.npz")
            keep(issued_by(table, issuer), books)
            own = (config, books, first, plan.settings.delay, rows[-1])
            agents.append(
                await crew.hire(member.id, ["-m", "exchange.evaluation.detection.member", *map(str, own)])
            )

        async def replay() -> list[dict[str, int]]:
            with Steps(console, "on a real exchange", days, "days") as steps:
                for day in range(days):
                    now = first + day * DAY
                    set_clock(deployment.clock, now)
                    await asyncio.gather(*(agent.ask("publish", now=now) for agent in agents))
                    await asyncio.gather(*(agent.ask("watch", day=day) for agent in agents))
                    steps.step("published, asked, watched")
            return [dict(await agent.ask("finish")) for agent in agents]

        counts = await crew.guard(replay())
    return rows, {name: sum(each.get(name, 0) for each in counts) for name in ("signals", "asked", "hits")}
