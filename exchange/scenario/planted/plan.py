"""Which cases a city gets, and that they stay few.

Invariants: every typology has a plain case, and one of each variant as long as the actors stay under their
share of the people; the order of the variants differs by seed, so that small cities get all in turn.
"""

from itertools import count

from exchange.scenario.planted import (
    bust_out,
    collecting,
    funds_loop,
    merchant_hopping,
    payer_ring,
    refund_loop,
    repay_respend,
)
from exchange.scenario.planted.plot import Case, Plot
from exchange.scenario.town import Town

TYPOLOGIES = {
    "funds-loop": funds_loop,
    "refund-loop": refund_loop,
    "payer-ring": payer_ring,
    "merchant-hopping": merchant_hopping,
    "repay-respend": repay_respend,
    "bust-out": bust_out,
    "collecting-account": collecting,
}
NETWORK = "network"
"""The variant of the funds loop that is one large case; there is one in every city."""


def plant(town: Town, share: float) -> list[Case]:
    """Plant cases until their actors are `share` of the people, at least a plain one of each typology.

    Raises ConfigError where the town has too few people even for those.
    """
    chance = town.stream("plan")
    variants = {name: list(module.VARIANTS) for name, module in TYPOLOGIES.items()}
    for names in variants.values():
        rest = names[1:]
        chance.shuffle(rest)
        names[1:] = rest
    cases: list[Case] = []
    people = _plant(town, cases, "funds-loop", NETWORK)
    for turn in count():
        for typology, names in variants.items():
            if turn and people >= share * len(town.people):
                return cases
            people += _plant(town, cases, typology, names[turn % len(names)])
    return cases


def _plant(town: Town, cases: list[Case], typology: str, variant: str) -> int:
    """Plant one case; how many people play in it."""
    case = Case(f"case-{len(cases) + 1:02d}", typology, variant)
    cases.append(case)
    plot = Plot(town, case, town.stream(case.id + typology + variant))
    if variant == NETWORK:
        funds_loop.plant_network(plot)
    else:
        TYPOLOGIES[typology].plant(plot)
    return plot.people
