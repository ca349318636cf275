"""The town before anything happens in it: who is there, and the ways of choosing among them.

Invariants: each part of the world draws from a random stream of its own, so that a change in one leaves the
others as they were; the same seed gives the same town.
"""

import bisect
import random
from collections.abc import Mapping, Sequence
from itertools import accumulate, count
from typing import Generic, TypeVar

from exchange.scenario.calendar import Calendar
from exchange.scenario.identifiers import Identifiers
from exchange.scenario.members import Institutions
from exchange.scenario.merchants import TRADES, House, Merchant, found, houses, settle_down
from exchange.scenario.movements import Book, Method, Movement, Wallet
from exchange.scenario.people import Person, populate

Item = TypeVar("Item")


class Weighted(Generic[Item]):
    """Draws from items by weight."""

    def __init__(self, items: Sequence[Item], weights: Sequence[float]) -> None:
        self._items, self._sums = items, list(accumulate(weights))

    def draw(self, chance: random.Random) -> Item:
        """One item."""
        place = bisect.bisect(self._sums, chance.random() * self._sums[-1])
        return self._items[min(place, len(self._items) - 1)]


class Town:
    """People, merchants and houses, and the list that movements are written into."""

    def __init__(self, seed: int, people: int, merchants: int, days: int, members: Mapping[str, str]) -> None:
        self._seed = seed
        self.calendar = Calendar(days)
        self.institutions = Institutions.of(members)
        self.identifiers = Identifiers(self.stream("identifiers"))
        chance = self.stream("town")
        self.houses: dict[str, House] = houses(self.institutions, self.identifiers)
        self.people: list[Person] = populate(people, self.institutions, self.identifiers, chance)
        self.hotlines = [self.identifiers.phone() for _ in range(2)]
        self.merchants: list[Merchant] = settle_down(
            merchants, self.people, self.hotlines, self.institutions, self.identifiers, chance
        )
        self.movements: list[Movement] = []
        self._orders = count(1)

    def stream(self, part: str) -> random.Random:
        """The random stream of that part of the world."""
        return random.Random(f"{self._seed}/{part}")  # noqa: S311 - repeatable on purpose

    def book(self, habit: str, case: str = "") -> Book:
        """A book for a habit or a case."""
        return Book(self.movements, habit, case, orders=self._order)

    def _order(self) -> str:
        return f"o{next(self._orders):07d}"

    def open_sham(self, trade: str, owner: Person | None, bank: str, chance: random.Random) -> Merchant:
        """A merchant that exists to cash out. Few honest customers come, as to any small new shop."""
        id_ = f"s{sum(merchant.sham for merchant in self.merchants):04d}"
        merchant = found(id_, TRADES[trade], owner, bank, self.institutions, self.identifiers, chance)
        merchant.sham, merchant.draw = True, chance.uniform(0.3, 1.2)
        self.merchants.append(merchant)
        return merchant

    def method(self, person: Person, amount: float, platform: bool, chance: random.Random) -> Method:
        """How somebody pays in honest life: the dearer, the more often on credit."""
        if chance.random() < (0.4 if amount < 300 else 0.55 if amount < 1_500 else 0.7):
            weights = {
                line: {self.institutions.provider: 1.0, self.institutions.shop: 1.4 if platform else 0.0}.get(
                    line.lender, 0.6 if amount < 300 else 1.2
                )
                for line in person.lines.values()
                if not line.kept and line.limit > 1.1 * amount
            }
            if sum(weights.values()):
                return Weighted(list(weights), list(weights.values())).draw(chance)
        return Wallet(person) if chance.random() < 0.45 else chance.choice(person.accounts)
