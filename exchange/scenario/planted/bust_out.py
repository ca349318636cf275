"""Bust-out: after a long quiet time three lines or more are drawn to the limit within five days.

Each lender sees its own line alone. The shops are ordinary ones that sell what can be sold again. Splitting:
each line in several purchases. Waiting: over six to seven days. Mixing: the quiet time was less quiet.
"""

from exchange.scenario.calendar import DAY, START
from exchange.scenario.people import Person
from exchange.scenario.planted.plot import Plot, holds_lines
from exchange.scenario.town import Weighted

VARIANTS = ("plain", "splitting", "waiting", "mixing", "devices")
_RESOLD = ("electronics", "jewellery", "appliances")


def plant(plot: Plot) -> None:
    """One person, in the last third of the time."""
    chance, town = plot.chance, plot.town
    payer = plot.person("payer", holds_lines(3, 2_000))
    sold = [m for m in town.merchants if m.trade.name in _RESOLD and not m.sham]
    shops = Weighted(sold, [merchant.draw for merchant in sold])
    online = [merchant for merchant in sold if merchant.platform] or sold
    length = chance.uniform(6, 7) if plot.variant == "waiting" else chance.uniform(2, 4.5)
    first = plot.start(length, earliest=town.calendar.days * 0.6)
    for place, line in enumerate(payer.lines.values()):
        line.kept, line.owed = True, 0.0
        total = line.limit * chance.uniform(0.95, 0.995)
        parts = chance.randint(1, 2) if plot.variant != "splitting" else 1
        begin = first + length * DAY * (place + chance.uniform(0.05, 0.75)) / len(payer.lines)
        for number in range(parts):
            time = plot.awake(int(begin + number * chance.uniform(0.02, 0.1) * length * DAY))
            merchant = chance.choice(online) if line.lender == town.institutions.shop else shops.draw(chance)
            platform = merchant.platform and (not merchant.counter or line.lender == town.institutions.shop)
            plot.buy(time, payer, merchant, total / parts, line, platform=platform)
    _quiet_history(plot, payer, first)


def _quiet_history(plot: Plot, payer: Person, until: int) -> None:
    """A little use of some lines before, repaid in full; none in the last ten days, or of late too."""
    chance, town = plot.chance, plot.town
    book = town.book("daily shopping")
    shops = [merchant for merchant in town.merchants if merchant.counter and merchant.trade.ticket < 100]
    for line in payer.lines.values():
        if line.lender == town.institutions.shop:
            continue
        busy = plot.variant == "mixing"
        for _ in range(chance.randint(2, 5) if busy else chance.randint(0, 1)):
            day = chance.randrange(max(1, (until - START) // DAY - (4 if busy else 14)))
            amount, time = chance.uniform(20, 150), START + day * DAY + 50_000
            book.buy(time, payer, chance.choice(shops), amount, line, payer.devices[0], False)
            source = payer.accounts[0]
            book.repay(time + 3 * DAY, line, amount, source, town.houses[line.lender])
