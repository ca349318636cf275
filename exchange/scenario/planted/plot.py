"""One case as it is being planted: who plays in it, and what they can do.

Invariants: nobody plays in two cases; who plays lives on, at a lower rate unless the variant is "mixing"; no
planted purchase draws more on a line than its limit leaves, counting all that the case draws.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from signalexchange.errors import ConfigError

from exchange.scenario.calendar import DAY, HOUR, MINUTE, START
from exchange.scenario.merchants import Merchant
from exchange.scenario.movements import Book, Purchase, Wallet
from exchange.scenario.people import Account, Line, Person
from exchange.scenario.town import Town

_USUAL_TRADES = (
    "electronics",
    "electronics",
    "services",
    "jewellery",
    "home",
    "cosmetics",
    "travel",
    "wholesale",
)


@dataclass
class Case:
    """What is true about one case. `actors` are entity ids with their roles."""

    id: str
    typology: str
    variant: str
    actors: list[tuple[str, str]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)


class Plot:
    """One case, its cast and its book."""

    def __init__(self, town: Town, case: Case, chance: random.Random) -> None:
        self.town, self.case, self.chance = town, case, chance
        self.book: Book = town.book(case.typology, case.id)
        self.people = 0

    @property
    def variant(self) -> str:
        """The variant, one of those the typology knows."""
        return self.case.variant

    def start(self, length: float, earliest: float = 2) -> int:
        """A moment in opening hours such that `length` days more fit into the calendar."""
        last = max(earliest, self.town.calendar.days - length - 3)
        day = int(self.chance.uniform(earliest, last))
        return START + day * DAY + int(self.chance.uniform(9, 20) * HOUR)

    def later(self, time: int, least: float, most: float) -> int:
        """`least` to `most` hours later."""
        return time + int(self.chance.uniform(least, most) * HOUR)

    def awake(self, time: int) -> int:
        """That time, or the next morning where people sleep."""
        hour = (time - START) % DAY / HOUR
        return time if 7 <= hour < 24 else time + int((7.5 - hour + self.chance.random()) * HOUR)

    # Who plays

    def person(self, role: str, fits: Callable[[Person], bool] = lambda person: True) -> Person:
        """Somebody who fits, plays in nothing yet and owns no business."""
        fitting = [
            person for person in self.town.people if not person.planted and not person.owner and fits(person)
        ]
        if not fitting:
            raise ConfigError(
                f"too few people for the cases: nobody is left to be {role} of {self.case.typology}"
            )
        person = self.chance.choice(fitting)
        person.planted = True
        if self.variant != "mixing":
            person.rate *= 0.4
        self.people += 1
        self.case.actors.append((person.id, role))
        return person

    def merchant(self, operator: Person | None, platform: bool = False) -> Merchant:
        """A sham merchant; without an operator of the town a straw man's SIM is on its papers."""
        bank = self.chance.choice(self.town.institutions.banks)
        merchant = self.town.open_sham(self.chance.choice(_USUAL_TRADES), operator, bank, self.chance)
        merchant.platform, merchant.counter = platform, True
        if self.variant == "mixing":
            merchant.draw *= self.chance.uniform(3, 8)
        self.case.actors.append((merchant.id, "merchant"))
        return merchant

    # What they do

    def room(self, line: Line) -> float:
        """How much of a line is left for this case."""
        return 0.92 * line.limit - line.planned

    def lines(self, person: Person, shop: bool) -> list[Line]:
        """Lines with room for 500 yuan, the shop's among them or not."""
        kept_out = None if shop else self.town.institutions.shop
        return [line for line in person.lines.values() if self.room(line) >= 500 and line.lender != kept_out]

    def line_for_loop(self, person: Person, shop: bool, source: Account, target: Account) -> Line | None:
        """A line to draw; six times in seven no bank holds both ends of the way back and the card too."""
        lines = self.lines(person, shop)
        if source.bank == target.bank and self.chance.random() < 0.85:
            lines = [line for line in lines if line.lender != source.bank] or lines
        return self.chance.choice(lines) if lines else None

    def device(self, person: Person) -> str:
        """What somebody orders from; in the variant "devices" it is never the same one twice."""
        if self.variant == "devices":
            person.devices.append(self.town.identifiers.device())
        return person.devices[-1]

    def buy(
        self,
        time: int,
        person: Person,
        merchant: Merchant,
        amount: float,
        line: Line,
        device: str | None = None,
        address: str = "",
        platform: bool | None = None,
    ) -> list[Purchase]:
        """A sham purchase on credit; "splitting" makes several of it within hours."""
        if platform is None:
            platform = merchant.platform and line.lender == self.town.institutions.shop
        parts = self.parts(amount)
        purchases = []
        for part in parts:
            purchases.append(
                self.book.buy(
                    time, person, merchant, part, line, device or self.device(person), platform, address
                )
            )
            time += self.chance.randrange(3 * MINUTE, 50 * MINUTE)
        return purchases

    def parts(self, amount: float) -> list[float]:
        """The whole amount; in the variant "splitting" two to four parts of unequal size."""
        if self.variant != "splitting":
            return [amount]
        weights = [
            self.chance.uniform(0.6, 1.6) for _ in range(self.chance.randint(2, 3 if amount < 3_000 else 4))
        ]
        return [round(amount * weight / sum(weights), 2) for weight in weights]

    def send_along(
        self, stops: Sequence[Account | Wallet], amount: float, start: int, end: int, fee: float
    ) -> None:
        """Hand money from stop to stop between two times; the stops keep `fee` of it in all, unequally.

        Each hop is later than all of the one before; each part of a split payment goes its own way in time.
        """
        hops = len(stops) - 1
        cuts = [self.chance.uniform(0.3, 1.0) for _ in range(hops)]
        weights = [self.chance.uniform(0.5, 1.5) for _ in range(hops)]
        time = float(start)
        for number, (source, target) in enumerate(pairwise(stops)):
            span = (end - start) * weights[number] / sum(weights)
            amount *= (1 - fee) ** (cuts[number] / sum(cuts))
            parts = self.parts(amount)
            for place, part in enumerate(parts):
                share = (place + self.chance.uniform(0.3, 0.95)) / len(parts)
                part = part if self.chance.random() < 0.3 else round(part)
                self.book.send(int(time + span * share), source, target, part)
            time += span

    def draw_cash(self, merchant: Merchant, operator: Person, taken: float, time: int) -> None:
        """The operator takes most of what came in, at once or in two days, to hand it out as cash."""
        shares = self.chance.choice(((0.9,), (0.5, 0.42)))
        for share in shares:
            time = self.later(time, 2, 22)
            self.book.send(time, merchant.account, self.account(operator), round(taken * share, -1))

    def account(self, person: Person, other_than: str | None = None) -> Account:
        """An account of somebody, where it can be at another bank than that."""
        fit = [account for account in person.accounts if account.bank != other_than]
        return self.chance.choice(fit or person.accounts)

    def fee(self) -> float:
        """What cashing out costs in all: 3 to 15 %, mostly 5 to 10."""
        return self.chance.triangular(0.03, 0.15, 0.075)

    def amount(self) -> float:
        """What is cashed out at once: a mean of about 1,880 yuan, many amounts just below a round one."""
        amount = min(self.chance.lognormvariate(7.35, 0.6), 15_000.0)
        return max(600.0, round(amount, -2) - self.chance.choice((0, 0, 1, 2, 10, 12)))


def holds_lines(
    count: int, limit: float, lenders: Sequence[str] = (), besides: str | None = None
) -> Callable[[Person], bool]:
    """Whether somebody has so many lines of that limit or more, not at `besides`, and at all of `lenders`."""

    def fits(person: Person) -> bool:
        large = [line.lender for line in person.lines.values() if line.limit >= limit]
        good = [lender for lender in large if lender != besides]
        return len(good) >= count and all(lender in good for lender in lenders)

    return fits
