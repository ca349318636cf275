"""Repay and re-spend: a sum repays a full line, is drawn again at a sham merchant, and repays the next line.

Two to four cycles over two issuers or more, each drawn again within a day; one to two days to the next one.
Waiting: drawn again after 25 to 40 hours, two to three days to the next. The agent lends the sum at first.
"""

from exchange.scenario.calendar import DAY, HOUR
from exchange.scenario.merchants import Merchant
from exchange.scenario.people import Person
from exchange.scenario.planted.plot import Plot, holds_lines

VARIANTS = ("plain", "splitting", "waiting", "mixing", "devices")


def plant(plot: Plot) -> None:
    """One payer, at times two in turn, with an agent who owns the merchant or not."""
    chance = plot.chance
    agent = plot.person("agent")
    merchant = plot.merchant(agent if chance.random() < 0.5 else None, platform=chance.random() < 0.5)
    for _ in range(chance.choice((1, 1, 2))):
        _cycles(plot, agent, merchant)


def _cycles(plot: Plot, agent: Person, merchant: Merchant) -> None:
    chance, town = plot.chance, plot.town
    unused = None if merchant.platform else town.institutions.shop
    payer = plot.person("payer", holds_lines(2, 2_500, besides=unused))
    lines = [line for line in payer.lines.values() if line.limit >= 2_500 and line.lender != unused]
    chance.shuffle(lines)
    for line in lines:
        line.kept = plot.variant != "mixing"
        line.owed = line.limit * chance.uniform(0.9, 0.99)
    money = min(line.limit for line in lines) * chance.uniform(0.6, 0.85)
    time = plot.start(11)
    fund = plot.account(payer)
    plot.book.send(time, plot.account(agent), fund, money)
    for cycle in range(chance.randint(max(2, len(lines)), 4)):
        line = lines[cycle % len(lines)]
        time = plot.later(time, 0.3, 5)
        for part in plot.parts(money):
            plot.book.repay(time, line, part, fund, town.houses[line.lender])
            time += chance.randrange(300, 3_600)
        time = plot.later(time, 25, 40) if plot.variant == "waiting" else plot.later(time, 0.5, 15)
        money *= chance.uniform(0.97, 1.0)
        time = plot.buy(time, payer, merchant, money, line)[-1].time
        back, end = plot.later(time, 1, 6), plot.later(time, 8, 20)
        # The merchant's money goes to the agent, who keeps the fee and hands the payer the rest.
        money *= 1 - plot.fee() / 2
        plot.send_along([merchant.account, plot.account(agent), fund], money, back, end, 0.01)
        money *= 0.985
        time = plot.awake(
            time
            + int(
                (chance.uniform(2, 2.9) * DAY) if plot.variant == "waiting" else chance.uniform(22, 44) * HOUR
            )
        )
