"""Money pooled by people who trust each other: savings clubs, and trips that one of them organises.

Invariants: whoever collects pays out within two days nearly all that came in, without keeping a fee.
"""

import random

from exchange.scenario.calendar import DAY, HOUR, START
from exchange.scenario.movements import Book
from exchange.scenario.people import Account, Person
from exchange.scenario.town import Town


def pool(town: Town) -> None:
    """The clubs, of which one person in some thirty is a member, and the trips."""
    chance = town.stream("pools")
    free = [person for person in town.people if not person.planted]
    for _ in range(max(1, len(town.people) // 400)):
        _club(town, chance, chance.sample(free, chance.randint(7, 13)))
    for _ in range(max(1, len(town.people) // 400)):
        _trip(town, chance, chance.sample(free, chance.randint(6, 14)))


def _club(town: Town, chance: random.Random, members: list[Person]) -> None:
    """Each month every member pays the same sum to the holder; the pot goes to one or two in turn."""
    paid, pot = town.book("savings club: shares"), town.book("savings club: pot")
    holder, share = members[0], 100 * chance.randint(3, 20)
    account = holder.accounts[0]
    for day in range(chance.randrange(2, 14), town.calendar.days - 3, 30):
        _collect(chance, paid, day, members[1:], account, share)
        turn = chance.sample(members[1:], chance.randint(1, 2))
        for member in turn:
            time = START + (day + 1) * DAY + int(chance.uniform(9, 20) * HOUR)
            pot.send(time, account, member.accounts[-1], share * (len(members) - 1) / len(turn))


def _trip(town: Town, chance: random.Random, party: list[Person]) -> None:
    """The organiser collects, pays an agency by transfer, and gives back what is left over."""
    paid, settled, rest = town.book("trip: shares"), town.book("trip: agency"), town.book("trip: left over")
    account, share = party[0].accounts[0], 100 * chance.randint(4, 15)
    agencies = [m for m in town.merchants if m.trade.name in ("travel", "services") and not m.sham]
    day = chance.randrange(town.calendar.days - 5)
    _collect(chance, paid, day, party[1:], account, share)
    spent = chance.uniform(0.55, 0.95)
    time = START + (day + 1) * DAY + int(chance.uniform(9, 18) * HOUR)
    settled.send(time, account, chance.choice(agencies).account, share * len(party) * spent)
    for person in party[1:]:
        later = time + int(chance.uniform(1, 40) * HOUR)
        rest.send(later, account, person.accounts[0], share * (1 - spent))


def _collect(
    chance: random.Random, book: Book, day: int, members: list[Person], account: Account, share: float
) -> None:
    for member in members:
        time = START + day * DAY + int(chance.uniform(8, 23) * HOUR)
        book.send(time, chance.choice(member.accounts), account, share)
