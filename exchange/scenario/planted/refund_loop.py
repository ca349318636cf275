"""Refund loop: an order is refunded within hours and nothing moves, yet the money comes from the merchant.

The platform is told of a refund; the lender's line sees none. Merchant or operator pays the payer by
transfer, less a fee, within a day of the refund. Waiting: 26 to 60 hours after it.
"""

from exchange.scenario.calendar import DAY
from exchange.scenario.movements import Logistics, Wallet
from exchange.scenario.planted.plot import Plot, holds_lines

VARIANTS = ("plain", "splitting", "waiting", "mixing", "devices")


def plant(plot: Plot) -> None:
    """One or two payers at one shop of the platform, two or three orders each."""
    chance, shop = plot.chance, plot.town.institutions.shop
    operator = plot.person("operator")
    merchant = plot.merchant(operator, platform=True)
    payers = [plot.person("payer", holds_lines(1, 3_000, besides=shop)) for _ in range(chance.randint(1, 2))]
    for payer in payers:
        time = plot.start(10)
        for _ in range(chance.randint(2, 3)):
            target = plot.account(payer, other_than=merchant.account.bank)
            line = plot.line_for_loop(payer, False, merchant.account, target)
            if line is None:
                break
            amount = min(plot.amount(), plot.room(line))
            orders = plot.buy(time, payer, merchant, amount, line, platform=True)
            refunded = 0
            for order in orders:
                moment = plot.later(order.time, 0.3, 5.6)
                logistics: Logistics = "empty" if chance.random() < 0.35 else "none"
                plot.book.refund(moment, order, order.amount, logistics, to_payer=False)
                refunded = max(refunded, moment)
            start = plot.later(refunded, 0.1, 2)
            end = plot.later(refunded, 26, 60) if plot.variant == "waiting" else plot.later(refunded, 3, 16)
            point = chance.random()
            if point < 0.5:
                plot.send_along([merchant.account, target], amount, start, end, plot.fee())
            elif point < 0.75:
                plot.send_along([plot.account(operator), target], amount, start, end, plot.fee())
            else:
                plot.send_along([Wallet(operator), Wallet(payer)], amount, start, end, plot.fee())
            time = plot.awake(time + int(chance.uniform(1.5, 4) * DAY))
