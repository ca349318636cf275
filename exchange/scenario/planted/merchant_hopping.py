"""Merchant hopping: the same few payers buy on credit at each of several sham merchants within days.

Each payer takes another lender at each merchant, in turn, so that no lender sees the whole block. What comes
back is cash, which nobody sees.
"""

from exchange.scenario.calendar import DAY
from exchange.scenario.planted.plot import Plot, holds_lines

VARIANTS = ("plain", "splitting", "waiting", "mixing", "devices")


def plant(plot: Plot) -> None:
    """Four to seven payers at three to six merchants over three days (waiting: seven)."""
    chance = plot.chance
    payers = [
        plot.person("payer", holds_lines(3, 3_000)) for _ in range(chance.choice((4, 4, 4, 5, 5, 6, 7)))
    ]
    operator = plot.person("operator")
    count = chance.choice((3, 4, 4, 5, 6))
    merchants = [plot.merchant(operator if n == 0 else None, platform=n % 2 == 0) for n in range(count)]
    length = 7.0 if plot.variant == "waiting" else 3.0
    first = plot.start(length + 1)
    for place, payer in enumerate(payers):
        lines = list(payer.lines.values())
        for stop, merchant in enumerate(merchants):
            if chance.random() < 0.08:
                continue
            usable = [
                line for line in (lines[(place + stop + turn) % len(lines)] for turn in range(len(lines)))
                if plot.room(line) >= 500
                and (merchant.platform or line.lender != plot.town.institutions.shop)
            ]  # fmt: skip
            if usable:
                amount = min(plot.amount(), plot.room(usable[0]))
                day = length * (stop + chance.uniform(0.1, 0.9)) / count
                plot.buy(plot.awake(first + int(day * DAY)), payer, merchant, amount, usable[0])
