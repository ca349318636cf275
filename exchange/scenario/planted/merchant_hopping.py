"""Merchant hopping: the same few payers buy on credit at each of several sham merchants within days.

Each payer takes the lender least used so far, by that payer and at that merchant, so that no lender sees the
block. What comes back is cash, which nobody sees.
"""

from collections import Counter

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
    merchants = [plot.merchant(operator if n == 0 else None, platform=True) for n in range(count)]
    length = 7.0 if plot.variant == "waiting" else 3.0
    first = plot.start(length + 1)
    used: Counter[object] = Counter()
    left_out = {payer: chance.choice(merchants) if chance.random() < 0.25 else None for payer in payers}
    taken, last = 0.0, first
    for stop, merchant in enumerate(merchants):
        for payer in payers:
            lines = plot.lines(payer, shop=True)
            if not lines or merchant is left_out[payer]:
                continue
            line = min(lines, key=lambda each: (used[each], used[merchant, each.lender], used[each.lender]))
            used.update((line, (merchant, line.lender), line.lender))
            amount = min(plot.amount(), plot.room(line))
            day = length * (stop + chance.uniform(0.1, 0.9)) / count
            bought = plot.buy(plot.awake(first + int(day * DAY)), payer, merchant, amount, line)
            if merchant is merchants[0]:
                taken, last = taken + amount, max(last, bought[-1].time)
    plot.draw_cash(merchants[0], operator, taken, last)
