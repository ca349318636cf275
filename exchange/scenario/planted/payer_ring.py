"""Payer ring: three to seven payers behind one device, delivery address or contact phone buy at one merchant.

The ring's members are split over the lenders, so that mostly none has three of them: a device is shared by
those of provider and shop, a drop address by those of the shop, the operator's number is the contact of those
who hold cards; where both ties are used, one member has a card and uses the device too. What comes back is
cash, which nobody sees.
"""

from exchange.scenario.calendar import DAY
from exchange.scenario.merchants import Merchant
from exchange.scenario.people import Person
from exchange.scenario.planted.plot import Plot, holds_lines

VARIANTS = ("plain", "splitting", "waiting", "mixing", "devices")


def plant(plot: Plot) -> None:
    """The ring buys over four days (waiting: twelve), each member two or three times."""
    chance, houses = plot.chance, plot.town.institutions
    tie = chance.choice(("device", "phone", "both", "both"))
    count = {"device": chance.randint(3, 4), "phone": chance.randint(3, 4), "both": chance.randint(4, 7)}[tie]
    banks = chance.sample(houses.banks, 2)
    order = {
        "device": [houses.provider, houses.shop] * 2,
        "phone": banks * 2,
        "both": [houses.provider, banks[0], houses.shop, banks[1], houses.shop, banks[0], houses.provider],
    }[tie][:count]
    operator = plot.person("operator") if tie != "device" or chance.random() < 0.5 else None
    merchant = plot.merchant(operator, platform=True)
    devices = [operator.devices[-1]] if operator and chance.random() < 0.5 else []
    devices += [plot.town.identifiers.device() for _ in range(3 if plot.variant == "devices" else 1)]
    devices = devices if plot.variant == "devices" else devices[:1]
    drop = plot.town.identifiers.address(f"district {merchant.district + 1} freight yard")
    drop = drop if chance.random() < 0.6 else ""
    length = 12 if plot.variant == "waiting" else 4
    first = plot.start(length + 1)
    members: list[tuple[Person, str]] = []
    for place, lender in enumerate(order):
        bridge = tie == "both" and place == 1
        lenders = [lender, houses.provider] if bridge else [lender]
        person = plot.person("payer", holds_lines(1, 3_000, lenders))
        members += [(person, each) for each in lenders]
    taken = 0.0
    for person, lender in members:
        if lender in banks:
            person.bank_phone = merchant.operator_phone
        taken += _purchases(plot, person, lender, merchant, devices, drop, first, length)
    if operator is not None:
        plot.draw_cash(merchant, operator, taken, plot.later(first, length * 12, length * 24))
    plot.case.notes["tie"] = tie


def _purchases(
    plot: Plot,
    person: Person,
    lender: str,
    merchant: Merchant,
    devices: list[str],
    drop: str,
    first: int,
    length: float,
) -> float:
    """Two or three purchases, as long as the line lasts; what they come to."""
    line, chance, taken = person.lines[lender], plot.chance, 0.0
    for _ in range(chance.randint(2, 3)):
        amount = min(plot.amount(), plot.room(line))
        if amount < 400:
            break
        time = plot.awake(first + int(chance.uniform(0, length) * DAY))
        plot.buy(time, person, merchant, amount, line, chance.choice(devices), drop)
        taken += amount
    return taken
