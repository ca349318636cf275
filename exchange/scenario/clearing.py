"""Clearing: the movements put in time order, with every line's balance kept.

Invariants: no line is ever drawn beyond its limit, and honest life leaves what a case will draw; an honest
purchase that a line has no room for is paid from the account; a repayment never exceeds what is owed; what
falls after the calendar's end has not happened.
"""

from exchange.scenario.movements import Movement, Purchase, Refund, Repayment
from exchange.scenario.people import Line
from exchange.scenario.town import Town


def clear(town: Town) -> list[Movement]:
    """The movements that happened, by time."""
    _open(town)
    town.movements.sort(key=lambda each: (each.time, each.rank))
    cleared: list[Movement] = []
    for each in town.movements:
        if each.time >= town.calendar.end:
            break
        if isinstance(each, Purchase) and isinstance(each.method, Line):
            _draw(each, each.method)
        elif isinstance(each, Refund) and each.to_payer and isinstance(each.purchase.method, Line):
            line = each.purchase.method
            line.owed = max(0.0, line.owed - each.amount)
        elif isinstance(each, Repayment):
            each.amount = each.amount or round(each.line.owed * each.share, 2)
            if each.amount < 1:
                continue
            each.line.owed = max(0.0, each.line.owed - each.amount)
        cleared.append(each)
    return cleared


def _open(town: Town) -> None:
    """What everybody owes on the first day; kept lines have their balance from the case."""
    chance = town.stream("opening balances")
    for person in town.people:
        for line in person.lines.values():
            balance = line.limit * chance.choice((0.0, 0.0, chance.uniform(0, 0.4)))
            if not line.kept and not line.owed:
                line.owed = max(0.0, min(balance, line.limit - line.planned))


def _draw(bought: Purchase, line: Line) -> None:
    if bought.case:
        line.planned -= bought.amount
    elif line.owed + bought.amount + line.planned > line.limit:
        bought.method = bought.payer.accounts[0]
        return
    line.owed += bought.amount
