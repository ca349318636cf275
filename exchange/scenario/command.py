"""`exchange-hub scenario`: make a city, write it, and say what was made.

Invariants: importing this module needs none of the extra's libraries.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from signalexchange.errors import ConfigError

from exchange.scenario.city import City, Size, generate
from exchange.scenario.planted.plan import TYPOLOGIES


def run(seed: int, folder: Path, size: Size, members: Mapping[str, str]) -> None:
    """Make the city of that seed in `folder` and print tables of what it holds.

    Raises ConfigError for a size or members that make no city, or where pyarrow is missing.
    """
    try:
        from exchange.scenario import files
    except ImportError as error:
        raise ConfigError(
            f"a scenario needs {error.name}: install partner-signal-exchange with its extra [demo]"
        ) from None
    city = generate(seed, size, members)
    files.write(city, folder)
    console = Console(highlight=False)
    console.print(_rows(city))
    console.print(_cases(city))
    people = sum(entity.startswith("p") for entity in city.truth.actors())
    console.print(
        f"{people} of {size.people} people ({people / size.people:.1%}) play in "
        f"{len(city.truth.cases)} cases; seed {seed}, {size.days} days, in {folder}"
    )


def _rows(city: City) -> Table:
    table = Table("member", "rows", "of cases", "share", title="What each member sees", title_justify="left")
    for member, rows in city.views.items():
        planted = sum(len(case.rows.get(member, ())) for case in city.truth.cases)
        table.add_row(member, f"{len(rows):,}", f"{planted:,}", f"{planted / max(1, len(rows)):.2%}")
    return table


def _cases(city: City) -> Table:
    table = Table(
        "typology", "variants", "actors", "CNY on credit", title="What was planted", title_justify="left"
    )
    for typology in TYPOLOGIES:
        cases = [case for case in city.truth.cases if case.typology == typology]
        variants = Counter(case.variant for case in cases)
        table.add_row(
            typology,
            ", ".join(name if number == 1 else f"{name} ×{number}" for name, number in variants.items()),
            str(sum(len(case.actors) for case in cases)),
            f"{sum(case.total for case in cases):,.0f}",
        )
    return table
