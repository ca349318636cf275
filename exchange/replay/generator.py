"""Card transactions of our own making, for when no file is given.

Invariants: the same seed gives the same table, of the form `transactions.load` returns; nothing of it is
taken from real people. Customers live in towns and pay at the terminals near them; a compromised terminal
(scenario 2) turns most payments made there over four weeks into frauds, a leaked card (scenario 3) some of
its dearer payments over two.
"""

import bisect
import datetime
import math
import random
from dataclasses import dataclass

import pyarrow as pa

from exchange.replay.transactions import DAY, SCENARIO, SCHEMA, Table

START = int(datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC).timestamp())
COMPROMISED_DAYS = 28
LEAKED_DAYS = 14
_TOWNS = 6
_REACH = 30  # a customer pays at that many of the nearest terminals


@dataclass(frozen=True)
class Size:
    """How much to generate; the defaults give about 140,000 transactions."""

    customers: int = 1_000
    terminals: int = 1_200
    days: int = 70
    payments_a_day: float = 2.0
    compromised_a_day: float = 0.5
    leaked_a_day: float = 0.5


@dataclass(frozen=True)
class _Customer:
    rate: float
    mean_amount: float
    terminals: list[int]
    weights: list[float]  # cumulative


def generate(seed: int, size: Size | None = None) -> Table:
    """A table of `size.days` days from START on, which depends on `seed` and `size` alone."""
    size = size or Size()
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose; nothing secret comes of it
    towns = [(chance.uniform(0, 100), chance.uniform(0, 100)) for _ in range(_TOWNS)]
    terminals = [_near(chance, towns) for _ in range(size.terminals)]
    customers = [_customer(chance, towns, terminals, size) for _ in range(size.customers)]
    compromised = _spells(chance, size.terminals, size.days, size.compromised_a_day, COMPROMISED_DAYS)
    leaked = _spells(chance, size.customers, size.days, size.leaked_a_day, LEAKED_DAYS)

    rows = []
    for day in range(size.days):
        for number, customer in enumerate(customers):
            for _ in range(_poisson(chance, customer.rate)):
                second = min(DAY - 1, max(0, int(chance.gauss(14, 4) * 3600)))
                terminal = customer.terminals[
                    bisect.bisect(customer.weights, chance.random() * customer.weights[-1])
                ]
                amount = customer.mean_amount * chance.lognormvariate(0, 0.5)
                scenario = 0
                if day in compromised.get(terminal, ()) and chance.random() < 0.8:
                    scenario = 2
                elif day in leaked.get(number, ()) and chance.random() < 0.3:
                    scenario, amount = 3, amount * 4
                rows.append((START + day * DAY + second, number, terminal, round(amount, 2), scenario))
    rows.sort(key=lambda row: row[0])
    times, numbers, places, amounts, scenarios = zip(*rows, strict=True)
    columns = {
        "TRANSACTION_ID": range(len(rows)),
        "TX_DATETIME": times,
        "CUSTOMER_ID": numbers,
        "TERMINAL_ID": places,
        "TX_AMOUNT": amounts,
        "TX_FRAUD": [int(scenario > 0) for scenario in scenarios],
        SCENARIO: scenarios,
    }
    return pa.table({name: pa.array(columns[name], type=kind) for name, kind in SCHEMA.items()})


def _near(chance: random.Random, towns: list[tuple[float, float]]) -> tuple[float, float]:
    x, y = chance.choice(towns)
    return chance.gauss(x, 6), chance.gauss(y, 6)


def _customer(
    chance: random.Random, towns: list[tuple[float, float]], terminals: list[tuple[float, float]], size: Size
) -> _Customer:
    home = _near(chance, towns)
    by_distance = sorted(range(len(terminals)), key=lambda place: math.dist(home, terminals[place]))
    near = by_distance[:_REACH]
    weights, total = [], 0.0
    for place in near:
        total += 1 / (1 + math.dist(home, terminals[place]))
        weights.append(total)
    rate = chance.gammavariate(4, size.payments_a_day / 4)
    return _Customer(rate, chance.lognormvariate(5, 0.6), near, weights)


def _spells(
    chance: random.Random, population: int, days: int, a_day: float, length: int
) -> dict[int, set[int]]:
    """Days on which each of a population is compromised: spells of `length` days, `a_day` new ones a day."""
    spells: dict[int, set[int]] = {}
    for first in range(days):
        for _ in range(_poisson(chance, a_day)):
            spells.setdefault(chance.randrange(population), set()).update(range(first, first + length))
    return spells


def _poisson(chance: random.Random, mean: float) -> int:
    """A Poisson variate by multiplying uniforms (Knuth), which is fast for the small means here."""
    limit, product, count = math.exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count
