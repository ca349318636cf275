"""Trying the exchange out on made-up data: `demo`, `scenario`, `evaluate`, `evaluate-detector`."""

import sys
from pathlib import Path

import click
from signalexchange.errors import ConfigError
from signalexchange.roster import MEMBER_KINDS

from exchange import provision
from exchange.cli.common import FILE, NEW, plain_errors
from exchange.demo.run import DemoOptions
from exchange.demo.run import run as run_demo
from exchange.scenario.city import Size
from exchange.scenario.command import run as run_scenario


@click.command()
@click.option("--folder", type=NEW, default=Path("var/demo"), show_default=True, help="Where it happens.")
@click.option("--transactions", type=FILE, help="CSV or Parquet to replay; without it seeded data is made.")
@click.option("--keep", is_flag=True, help="Leave the exchange up at the end and print commands to try.")
@plain_errors
def demo(folder: Path, transactions: Path | None, keep: bool) -> None:
    """Run the exchange end to end: custodians, hub, four members, an auditor, on a replay clock."""
    sys.exit(run_demo(DemoOptions(folder=folder, transactions=transactions, keep=keep)))


_SIZE = Size()


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same city.")
@click.option("--folder", type=NEW, required=True, help="Gets a folder a member, and truth.json.")
@click.option("--people", type=int, default=_SIZE.people, show_default=True)
@click.option("--merchants", type=int, default=_SIZE.merchants, show_default=True)
@click.option("--days", type=int, default=_SIZE.days, show_default=True)
@plain_errors
def scenario(seed: int, folder: Path, people: int, merchants: int, days: int) -> None:
    """Make a city with honest life and planted cash-out, as the four members of a trial see it.

    Each member's folder gets flows.parquet, which holds what that member knows and nothing else, and
    shared.csv, the institutions' own accounts (publish-flows flows.parquet --shared shared.csv); truth.json
    says who is who and who took part in which case. docs/scenario.md describes the world.
    """
    members = {party.id: party.kind for party in provision.FOUNDERS if party.kind in MEMBER_KINDS}
    run_scenario(seed, folder, Size(people=people, merchants=merchants, days=days), members)


@click.command()
@click.option("--folder", type=NEW, default=Path("var/evaluate"), show_default=True, help="Gets the report.")
@click.option("--cities", type=click.IntRange(1, 100), default=10, show_default=True)
@click.option(
    "--seed", "seeds", type=int, multiple=True, help="Evaluate this city instead of fresh ones; repeat."
)
@click.option("--people", type=int, default=1_400, show_default=True, help="In each city.")
@click.option("--merchants", type=int, default=130, show_default=True, help="In each city.")
@plain_errors
def evaluate(folder: Path, cities: int, seeds: tuple[int, ...], people: int, merchants: int) -> None:
    """Look for planted actors in cities that nobody set a parameter on, and report precision and recall.

    With the exchange, by each member alone with its own data and the same rules, and on all raw data
    together. The fresh cities' seeds follow from the rulebook and the sources of gate, rules and
    generator, so that a change of any of them draws others. docs/evaluation.md says what is counted.
    """
    try:
        from exchange.evaluation.run import run
    except ImportError as error:
        raise ConfigError(
            f"the evaluation needs {error.name}: install partner-signal-exchange with its extra [demo]"
        ) from None
    run(folder, cities, seeds, Size(people=people, merchants=merchants))


@click.command("evaluate-detector")
@click.option("--folder", type=NEW, default=Path("var/evaluate"), show_default=True, help="Gets the report.")
@click.option("--transactions", type=FILE, help="CSV or Parquet to evaluate on, besides data of its own.")
@plain_errors
def evaluate_detector(folder: Path, transactions: Path | None) -> None:
    """Measure what members' detectors catch: rules, own data alone, with the exchange, pooled raw data.

    Four members replay the transactions day by day on a real exchange, outcomes seven days late, and learn
    as they would at work. docs/detector-evaluation.md says what is counted.
    """
    try:
        from exchange.evaluation.detection.run import run
        from exchange.replay.processes import ProcessDiedError
    except ImportError as error:
        raise ConfigError(
            f"the evaluation needs {error.name}: install partner-signal-exchange with its extra [demo]"
        ) from None
    try:
        run(folder, transactions)
    except ProcessDiedError as error:
        raise click.ClickException(str(error)) from None
