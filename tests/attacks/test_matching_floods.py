"""One member floods the matcher: an arriving signal costs no more after four floods than after one, and what
others report is found as if there were no flood.

Work is counted, never timed: lines of Python run and things that searches of the graph give back.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from _pytest.mark.structures import ParameterSet

from exchange.domain.matching.finding import Pattern
from exchange.domain.matching.graph import Graph
from exchange.domain.matching.observation import Role
from tests.support.schemes import (
    BAND,
    NOBODY,
    RULEBOOK,
    SCHEMES,
    Leg,
    Reporter,
    Token,
    Town,
    account,
    address,
    bought,
    device,
    iban,
    national_id,
    paid_out,
    phone,
    sent,
    shop,
)
from tests.support.work import lines_run

FLOODER: Final[Reporter] = ("flooder", "flooder-group")
HONEST: Final[tuple[Reporter, ...]] = (("lender", "b"), ("bank", "c"), ("other-bank", "d"))
FLOOD: Final = 1_000
STORED: Final = 40
"""Lines a leg takes to be stored may vary with the length of a list it is inserted into, as its logarithm."""


class CountingGraph(Graph):
    """A graph that counts what it gives back."""

    given = 0

    def _legs(self, *arguments: Any) -> Any:
        return self._counted(super()._legs(*arguments))

    def between(self, *arguments: Any) -> Any:
        return self._counted(super().between(*arguments))

    def values(self, *arguments: Any) -> Any:
        return self._counted(super().values(*arguments))

    def holders(self, *arguments: Any) -> Any:
        return self._counted(super().holders(*arguments))

    def _counted(self, found: Any) -> Any:
        self.given += len(found)
        return found


def town() -> tuple[Town, CountingGraph]:
    made = Town()
    graph = made.matcher.graph = CountingGraph(RULEBOOK.matching)
    return made, graph


Flood = Callable[[int], Iterator[Leg]]


def transfers_in(count: int) -> Iterator[Leg]:
    """Everybody sends the payer money."""
    return (sent(f"x{n}", "payer", at=n % 60, band=BAND - 1 - n % 3) for n in range(count))


def transfers_out(count: int) -> Iterator[Leg]:
    """The merchant's account and the payer's send everybody money."""
    for n in range(count // 2):
        yield paid_out("sham", f"x{n}", at=n % 60, band=BAND - 1)
        yield sent("payer", f"x{n}", at=n % 60, band=BAND - 1)


def purchases(count: int) -> Iterator[Leg]:
    """Everybody buys at the merchant, the payer everywhere."""
    for n in range(count // 2):
        yield bought(f"x{n}", "sham", at=n % 60)
        yield bought("payer", f"sham{n + 9}", at=n % 60)


def one_pair(count: int) -> Iterator[Leg]:
    """The payer buys at the merchant all day long, and gets its money back, for a month."""
    for n in range(count // 2):
        yield bought("payer", "sham", at=n % 720)
        yield paid_out("sham", "payer", at=n % 720 + 1, band=BAND - 1 - n % 30)


def chaff(count: int) -> Iterator[Leg]:
    """Accounts in layers, each sending to each of the next, that lead from the merchant to the payer and back
    again, all of it too little."""
    width = int((count / 4) ** 0.5) + 12
    for n in range(width):
        yield paid_out("sham", f"p{n}", at=1, band=40)
        yield sent(f"r{n}", "payer", at=4, band=40)
        yield sent("payer", f"p{n}", at=5, band=40)
        yield bought(f"r{n}", "sham", at=0, band=40)
    for source, sink, at in (("p", "q", 2), ("q", "r", 3), ("r", "p", 4)):
        for n in range(width):
            for m in range(width):
                yield sent(f"{source}{n}", f"{sink}{m}", at=at, band=40)


def strong_links(count: int) -> Iterator[Leg]:
    """The payer and the merchant have everybody's account and phone."""
    for n in range(count // 2):
        yield link(phone("payer"), account(f"x{n}"), national_id(f"x{n}"))
        yield link(shop("sham"), iban(f"x{n}"), phone(f"x{n}"))


def weak_links(count: int) -> Iterator[Leg]:
    """The payer has every device and address, and everybody has the payer's."""
    for n in range(count // 2):
        yield link(phone("payer"), device(f"x{n}"), address(f"x{n}"))
        yield link(phone(f"x{n}"), device("ring"), address("payer"))


def chained_links(count: int) -> Iterator[Leg]:
    """The payer's account is somebody's, whose phone is somebody else's, and so on."""
    for n in range(count // 2):
        yield link(account("payer" if n == 0 else f"x{n}"), phone(f"x{n}"))
        yield link(phone(f"x{n}"), account(f"x{n + 1}"))


def facts(count: int) -> Iterator[Leg]:
    """Lines, cycles and refunds of the payer without end."""
    for n in range(count // 3):
        yield Leg(Role.LINE, phone("payer"), at=n % 300, lasted=20)
        yield Leg(Role.CYCLE, phone("payer"), at=n % 300, lasted=4)
        yield Leg(Role.REFUND, phone("payer"), shop("sham"), at=n % 300, lasted=3)


def shared_values(count: int) -> Iterator[Leg]:
    """All that the payer and the merchant have is said to be shared, over and over."""
    values = (account("payer"), device("ring"), shop("sham"), phone("payer"))
    return (Leg(Role.SHARED, values[n % 4]) for n in range(count))


def link(one: Token, *others: Token) -> Leg:
    return Leg(Role.LINK, one, NOBODY, others)


FLOODS: Final[tuple[Flood, ...]] = (
    transfers_in,
    transfers_out,
    purchases,
    one_pair,
    chaff,
    strong_links,
    weak_links,
    chained_links,
    facts,
    shared_values,
)


def cost(flood: Flood, size: int, leg: Leg) -> int:
    """Work of one honest leg that arrives after a flood."""
    made, graph = town()
    for each in flood(size):
        graph.add(made.make(FLOODER, each))
    for scheme in SCHEMES.values():
        for at, each in enumerate(scheme()):
            graph.add(made.make(HONEST[at % 3], each))
    seen = made.make(HONEST[0], leg)
    graph.given = 0
    lines = lines_run(lambda: made.hear([seen]))
    return lines + graph.given


ARRIVING: Final = {
    "purchase": bought("payer", "sham", links=(account("payer"), device("ring")), at=0.5),
    "transfer": paid_out("sham", "payer", at=5, band=BAND - 1),
    "refund": Leg(Role.REFUND, phone("payer"), shop("sham"), (account("payer"),), at=1, lasted=3),
    "cycle": Leg(Role.CYCLE, phone("payer"), at=60, lasted=4, links=(national_id("payer"),)),
    "line": Leg(Role.LINE, phone("payer"), at=60, lasted=4, links=(national_id("payer"),)),
    "link": link(phone("payer"), account("payer"), national_id("payer"), device("ring")),
}


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
@pytest.mark.parametrize("arriving", ARRIVING)
def test_an_arrival_costs_no_more_after_a_flood_four_times_as_large(flood: Flood, arriving: str) -> None:
    small, large = (cost(flood, size, ARRIVING[arriving]) for size in (FLOOD, 4 * FLOOD))
    assert large <= small * 1.15 + STORED


def cases() -> Iterator[ParameterSet]:
    for pattern in SCHEMES:
        for flood in FLOODS:
            yield pytest.param(pattern, flood, id=f"{pattern.name}-{flood.__name__}")


@pytest.mark.parametrize(("pattern", "flood"), list(cases()))
def test_a_flood_hides_nothing_that_others_report(pattern: Pattern, flood: Flood) -> None:
    made, graph = town()
    for each in flood(FLOOD):
        graph.add(made.make(FLOODER, each))
    made.tell(HONEST, SCHEMES[pattern]())
    assert made.standing(pattern)
