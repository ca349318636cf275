"""`python -m tests.bench`: run the benchmarks, print a table, write var/bench/report.json."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from tests.bench import catalogue, measure, report
from tests.bench.world import World

ROOT = Path(__file__).resolve().parents[2]


@click.command()
@click.option(
    "--only", multiple=True, type=click.Choice(sorted(catalogue.BENCHMARKS)), help="Run just these."
)
@click.option("--quick", is_flag=True, help="Small stores, short runs: a look, not a measurement.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "var" / "bench",
    help="Where report.json goes, and the stores while they are measured.",
)
def main(only: Sequence[str], quick: bool, folder: Path) -> None:
    """Measure hub, custodian and client, each against a baseline taken in turns in the same run."""
    effort = measure.QUICK if quick else measure.FULL
    console = Console(width=160 if not Console().is_terminal else None)
    names = only or tuple(catalogue.BENCHMARKS)
    folder.mkdir(parents=True, exist_ok=True)
    # The stores are measured on the disk they will be judged by, which /tmp often isn't.
    work = Path(tempfile.mkdtemp(prefix="work-", dir=folder))
    try:
        results = asyncio.run(_run(names, effort, work, console))
    finally:
        shutil.rmtree(work)
    report.write(folder / "report.json", results)
    console.print(report.table(results))
    for result in results:
        if result.details:
            console.print(report.details(result))
    console.print(f"written: {folder / 'report.json'}")


async def _run(
    names: Sequence[str], effort: measure.Effort, work: Path, console: Console
) -> list[report.Result]:
    results = []
    async with World(work) as world:
        for name in names:
            started = time.perf_counter()
            with console.status(name):
                results += await catalogue.BENCHMARKS[name](world, effort)
            console.print(f"{name}: {time.perf_counter() - started:.0f} s")
    return results


if __name__ == "__main__":
    main()
