"""Funds loop: a credit purchase at a sham merchant comes back to the payer over accounts, less a fee.

Plain: merchant → 0 to 3 intermediate accounts → payer, all within 24 hours of the purchase. Waiting: 30 to 60
hours. "network" is the one large case: four shops and the orders of a real case scaled to the town.
"""

from math import log

from exchange.scenario.calendar import DAY, HOUR, START
from exchange.scenario.merchants import Merchant
from exchange.scenario.people import Account, Person
from exchange.scenario.planted.plot import Plot, holds_lines

VARIANTS = ("plain", "splitting", "waiting", "mixing", "devices")

ORDERS_A_DAY, MEAN_ORDER, SHOPS = 625, 1_880.0, 4
"""The real case: four shops, about 625 orders a day in all, 1,880 yuan on average."""
NETWORK_SCALE = 1 / 375_000
"""Each inhabitant of the town stands for so much of the real case: 3,000 people give 5 orders a day."""
_NETWORK_DAYS, _SPREAD = 12, 0.47


def plant(plot: Plot) -> None:
    """A payer, a sham merchant and its accomplices; two to four loops."""
    chance = plot.chance
    payer = plot.person("payer", holds_lines(1, 2_500, besides=plot.town.institutions.shop))
    operator = plot.person("operator") if chance.random() < 0.5 else None
    merchant = plot.merchant(operator, platform=chance.random() < 0.3)
    mules = [plot.person("mule") for _ in range(chance.choice((0, 1, 1, 2)))]
    time = plot.start(12)
    for number in range(chance.randint(2, 4)):
        middle = mules if number == 0 else chance.sample(mules, chance.randint(0, len(mules)))
        if operator and chance.random() < 0.5:
            middle = [operator, *middle]
        loop(plot, payer, merchant, middle, time, plot.amount())
        time = plot.awake(time + int(chance.uniform(1.2, 4) * DAY))


def loop(
    plot: Plot, payer: Person, merchant: Merchant, middle: list[Person], time: int, amount: float
) -> None:
    """One purchase and its way back; where it can be, no bank holds both ends and the card as well."""
    chance = plot.chance
    target = plot.account(payer, other_than=merchant.account.bank)
    line = plot.line_for_loop(payer, merchant.platform, merchant.account, target)
    if line is None:
        return
    amount = min(amount, plot.room(line))
    platform = merchant.platform and (line.lender == plot.town.institutions.shop or chance.random() < 0.5)
    last = plot.buy(time, payer, merchant, amount, line, platform=platform)[-1]
    stops: list[Account] = [merchant.account]
    for person in middle:
        stops.append(plot.account(person, other_than=stops[-1].bank if chance.random() < 0.6 else None))
    if plot.variant == "waiting":
        end = plot.later(time, 30, 60)
    else:
        end = plot.later(time, min(20, 3 + 3 * len(stops)), 22.5)
    plot.send_along([*stops, target], amount, max(last.time + 600, plot.later(time, 0.2, 2)), end, plot.fee())


def plant_network(plot: Plot) -> None:
    """Four shops run by two people, and payers who come again and again over twelve days."""
    chance, calendar = plot.chance, plot.town.calendar
    orders_a_day = ORDERS_A_DAY * NETWORK_SCALE * len(plot.town.people)
    days = min(_NETWORK_DAYS, calendar.days - 6)
    operators = [plot.person("operator") for _ in range(2)]
    shops = [plot.merchant(operators[n % 2], platform=n % 2 == 0) for n in range(SHOPS)]
    orders = max(SHOPS, round(orders_a_day * days))
    fits = holds_lines(2, 4_000, besides=plot.town.institutions.shop)
    payers = [plot.person("payer", fits) for _ in range(max(3, orders // 6))]
    first = chance.randrange(2, max(3, calendar.days - days - 3))
    plot.case.notes["scale"] = f"{orders_a_day:.2f} of {ORDERS_A_DAY} orders a day"
    for number in range(orders):
        day = first + number * days // orders
        time = START + day * DAY + int(chance.triangular(9, 23, 15) * HOUR)
        amount = min(max(300.0, chance.lognormvariate(log(MEAN_ORDER) - _SPREAD**2 / 2, _SPREAD)), 6_000.0)
        middle = [chance.choice(operators)] if chance.random() < 0.4 else []
        loop(plot, payers[number % len(payers)], chance.choice(shops), middle, time, amount)
