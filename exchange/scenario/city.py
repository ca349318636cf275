"""A city: one call from a seed to every member's view and the truth apart from it.

Invariants: the same seed, size and members give the same city, to the byte; a member's view is in time order;
the truth is in no view.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from signalexchange.errors import ConfigError

from exchange.scenario import clearing, truth
from exchange.scenario.honest import business, friends, pools, repaying, shopping
from exchange.scenario.members import MEMBERS
from exchange.scenario.planted import plan
from exchange.scenario.town import Town
from exchange.scenario.truth import Truth
from exchange.scenario.views import Row, Views

MIN_PEOPLE, MIN_MERCHANTS, MIN_DAYS = 400, 40, 30


@dataclass(frozen=True)
class Size:
    """How much to make; the defaults give about 140,000 rows over four members.

    `planted` is the share of people that cases may take, 0 to 0.2; a small city may exceed it, as it has one
    plain case of each typology and the network.
    """

    people: int = 3_000
    merchants: int = 260
    days: int = 45
    planted: float = 0.04

    def __post_init__(self) -> None:
        if self.people < MIN_PEOPLE or self.merchants < MIN_MERCHANTS or self.days < MIN_DAYS:
            raise ConfigError(
                f"a scenario has at least {MIN_PEOPLE} people, {MIN_MERCHANTS} merchants and {MIN_DAYS} days"
            )
        if self.people < 4 * self.merchants or self.people > 100_000 or not 0 <= self.planted <= 0.2:
            raise ConfigError(
                "a scenario has at most 100000 people, four or more a merchant, at most 0.2 of them planted"
            )


@dataclass(frozen=True)
class City:
    """`views`: rows by member id. `shared`: the institutions' own accounts, each "type:value", which every
    member knows. `habits`: how many rows of each (member, habit or typology)."""

    seed: int
    size: Size
    views: Mapping[str, Sequence[Row]]
    shared: Sequence[str]
    truth: Truth
    habits: Mapping[tuple[str, str], int]


def generate(seed: int, size: Size | None = None, members: Mapping[str, str] = MEMBERS) -> City:
    """A city of that size. `members` maps member ids to their kinds: two banks, a provider, a shop.

    Raises ConfigError for members that don't make a city, or too few people for the cases.
    """
    size = size or Size()
    town = Town(seed, size.people, size.merchants, size.days, members)
    cases = plan.plant(town, size.planted)
    shopping.shop(town)
    repaying.repay(town)
    friends.share(town)
    pools.pool(town)
    business.trade(town)
    business.settle(town)
    movements = clearing.clear(town)
    views = Views(town)
    views.write(movements)
    shared = [f"iban:{house.account.iban}" for house in town.houses.values()]
    return City(seed, size, views.rows, shared, truth.tell(town, cases, movements, views.cases), views.habits)
