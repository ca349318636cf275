"""A yardstick for the exchange: how well mere counts of reports rank, each member's own and all in one pot.

Invariants: the same delay, memory and payments as in the replay, but no fading, no caps and no rounding; the
pot is what no member could have without handing over its customers' data. Computed from the file alone.
"""

from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from exchange.demo.books import COMPROMISED_TERMINAL
from exchange.demo.ranking import Ranking
from exchange.demo.risk import DELAY, MEMORY
from exchange.replay.transactions import DAY, ISSUERS, SCENARIO, Table

VIEWS = ("own_count", "pooled_count")


def plain_counts(table: Table, first: int, evaluated_from: int) -> dict[str, dict[str, Ranking]]:
    """Rankings by kind of fraud ("all" and, where the file says it, "scenario_2") for each of VIEWS.

    `first` is midnight of day 0 in Unix seconds; payments from day `evaluated_from` on are ranked by the
    number of reports on their terminal known that morning and not forgotten.
    """
    kinds = ("all", "scenario_2") if SCENARIO in table.column_names else ("all",)
    rankings = {kind: {view: Ranking() for view in VIEWS} for kind in kinds}
    reports: dict[int, list[int]] = defaultdict(lambda: [0] * ISSUERS)
    changes: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    frauds = table.filter(pc.equal(table["TX_FRAUD"], 1))
    times = frauds["TX_DATETIME"].cast(pa.int64()).to_pylist()
    places, people = frauds["TERMINAL_ID"].to_pylist(), frauds["CUSTOMER_ID"].to_pylist()
    for time, terminal, customer in zip(times, places, people, strict=True):
        known = -(-(time + DELAY - first) // DAY)
        changes[known].append((terminal, customer % ISSUERS, 1))
        changes[known + MEMORY // DAY].append((terminal, customer % ISSUERS, -1))
    previous = -1
    for day, terminal, issuer, *counted in _cells(table, first):
        for passed in range(previous + 1, day + 1):
            for place, reporter, change in changes.pop(passed, ()):
                reports[place][reporter] += change
        previous = day
        if day < evaluated_from:
            continue
        known_here = reports.get(terminal)
        own, pooled = (known_here[issuer], sum(known_here)) if known_here else (0, 0)
        payments, *positives = counted
        for kind, found in zip(kinds, positives, strict=False):
            rankings[kind]["own_count"].merge([(own, payments, found)])
            rankings[kind]["pooled_count"].merge([(pooled, payments, found)])
    return rankings


def _cells(table: Table, first: int) -> Iterator[tuple[int, ...]]:
    """Day, terminal, issuer; payments, frauds and those of scenario 2 among them; by day."""
    seconds = pc.subtract(table["TX_DATETIME"].cast(pa.int64()), first)
    scenario = table[SCENARIO] if SCENARIO in table.column_names else table["TX_FRAUD"]
    cells = (
        pa.table(
            {
                "day": pc.divide(seconds, DAY),
                "terminal": table["TERMINAL_ID"],
                "issuer": pc.bit_wise_and(table["CUSTOMER_ID"], ISSUERS - 1),
                "fraud": table["TX_FRAUD"],
                "second": pc.equal(scenario, COMPROMISED_TERMINAL).cast(pa.int64()),
            }
        )
        .group_by(["day", "terminal", "issuer"])
        .aggregate([("fraud", "count"), ("fraud", "sum"), ("second", "sum")])
        .sort_by("day")
    )
    names = ("day", "terminal", "issuer", "fraud_count", "fraud_sum", "second_sum")
    return zip(*(cells[name].to_pylist() for name in names), strict=True)
