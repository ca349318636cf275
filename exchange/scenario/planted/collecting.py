"""Collecting accounts: fan-in and fan-out over an agent, or scattered over mules and gathered again.

Fan-in/fan-out: payers buy on credit at sham merchants, the merchants pay the agent at one bank, the agent
moves it to the own account at another and pays the payers from there, all within two days. Scatter–gather:
a merchant's takings go to several mules at different banks, who pass them to the agent, who pays the payers.
Waiting: 40 to 66 hours instead of 10 to 30.
"""

from exchange.scenario.calendar import DAY
from exchange.scenario.merchants import Merchant
from exchange.scenario.people import Account, Person
from exchange.scenario.planted.plot import Plot, holds_lines

VARIANTS = ("plain", "splitting", "waiting", "mixing", "devices")


def plant(plot: Plot) -> None:
    """Two or three rounds of the same people."""
    chance = plot.chance
    scatter = chance.random() < 0.5
    plot.case.notes["form"] = "scatter-gather" if scatter else "fan-in and fan-out"
    agent = plot.person("agent", lambda person: len(person.accounts) == 2)
    fits = holds_lines(1, 4_000, besides=plot.town.institutions.shop)
    payers = [plot.person("payer", fits) for _ in range(2 if scatter else chance.randint(3, 5))]
    merchants = [plot.merchant(None, platform=False) for _ in range(1 if scatter else chance.randint(2, 3))]
    mules = [plot.person("mule") for _ in range(chance.randint(3, 4) if scatter else 0)]
    time = plot.start(10)
    for _ in range(chance.randint(2, 3)):
        _round(plot, time, agent, payers, merchants, mules)
        time = plot.awake(time + int(chance.uniform(2.5, 4) * DAY))


def _round(
    plot: Plot,
    time: int,
    agent: Person,
    payers: list[Person],
    merchants: list[Merchant],
    mules: list[Person],
) -> None:
    chance = plot.chance
    collecting, paying = chance.sample(agent.accounts, 2)
    takings = dict.fromkeys(merchants, 0.0)
    owed: list[tuple[Person, float]] = []
    last = time
    for place, payer in enumerate(payers):
        lines = plot.lines(payer, shop=False)
        if not lines:
            continue
        line, merchant = chance.choice(lines), merchants[place % len(merchants)]
        amount = min(plot.amount() * 1.3, plot.room(line))
        bought = plot.buy(plot.awake(plot.later(time, 0, 4)), payer, merchant, amount, line)
        takings[merchant] += amount
        owed.append((payer, amount))
        last = max(last, bought[-1].time)
    if not owed:
        return
    span = chance.uniform(40, 62) if plot.variant == "waiting" else chance.uniform(8, 24)
    gathered, end = plot.later(last, 0.6 * span, 0.6 * span), plot.later(last, span, span)
    fee, total = plot.fee() / 2, sum(takings.values())
    if mules:
        _scatter(plot, merchants[0].account, mules, collecting, total, last + 600, gathered, fee)
    else:
        for merchant, amount in takings.items():
            if amount:
                plot.send_along([merchant.account, collecting], amount, last + 600, gathered, fee)
    plot.book.send(plot.later(gathered, 0.05, 0.5), collecting, paying, total * (1 - fee))
    for payer, amount in owed:
        stops = [paying, plot.account(payer)]
        plot.send_along(stops, amount * (1 - fee), plot.later(gathered, 0.6, 1), end, fee)


def _scatter(
    plot: Plot,
    source: Account,
    mules: list[Person],
    target: Account,
    total: float,
    start: int,
    end: int,
    fee: float,
) -> None:
    weights = [plot.chance.uniform(0.6, 1.5) for _ in mules]
    for mule, weight in zip(mules, weights, strict=True):
        account = plot.account(mule, other_than=target.bank if plot.chance.random() < 0.6 else None)
        plot.send_along([source, account, target], total * weight / sum(weights), start, end, fee)
