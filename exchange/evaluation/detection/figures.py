"""What scores are worth: how well they rank payments, and what who looks into a few cards a day finds.

Invariants: equal scores are one threshold; of a day's cards those known to be compromised are left out where
it says so, by what was known that morning.

Measures as in Le Borgne et al., "Reproducible Machine Learning for Credit Card Fraud Detection - Practical
Handbook" (2022), chapter 4: areas under curves, and card precision top-k.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from signalexchange.detector.measures import Flags, Ranking, Scores

from exchange.evaluation.detection.plan import Plan
from exchange.replay.transactions import DAY


@dataclass(frozen=True)
class Payments:
    """Payments in order of time, of all members: time in Unix seconds, card (its holder), outcome."""

    times: NDArray[np.int64]
    cards: NDArray[np.str_]
    frauds: Flags
    scenarios: NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """A kind of fraud: how many payments; average precision against all that is genuine; the share of its
    cards that are found, of each day's cards not known to be compromised."""

    frauds: int
    average_precision: float
    found: float


@dataclass(frozen=True)
class Figures:
    """Of one way of deciding in one window: of all payments, and (`new_…`) of those of cards not known to be
    compromised; precision of the cards looked into; each kind of fraud by its number, where known."""

    roc_auc: float
    average_precision: float
    new_roc_auc: float
    new_average_precision: float
    card_precision: float
    scenarios: dict[int, Found]


def roc_auc(frauds: Flags, scores: Scores) -> float:
    """Probability that a fraud has a higher score than what is none, ties half; 0.5 without either."""
    values, where = np.unique(scores, return_inverse=True)
    positive = np.bincount(where[frauds], minlength=len(values)).astype(np.float64)
    negative = np.bincount(where[~frauds], minlength=len(values)).astype(np.float64)
    pairs = positive.sum() * negative.sum()
    if not pairs:
        return 0.5
    below = np.cumsum(negative) - negative
    return float(np.sum(positive * (below + negative / 2)) / pairs)


def known_cards(payments: Payments, day: int, since: int, delay: int) -> NDArray[np.str_]:
    """Cards with a fraud from `since` on that was known, `delay` seconds late, on the morning of `day`.

    Both in Unix seconds, `day` a midnight.
    """
    start, end = np.searchsorted(payments.times, since), np.searchsorted(payments.times, day - delay, "right")
    return np.unique(payments.cards[start:end][payments.frauds[start:end]])


def figures(payments: Payments, scores: Scores, start: int, end: int, plan: Plan) -> Figures:
    """Of payments from `start` to before `end` (midnights, Unix seconds) by their scores."""
    new = np.zeros(len(scores), np.bool_)
    precisions: list[float] = []
    kinds = sorted(set(payments.scenarios.tolist()) - {0})
    hit, there = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0)
    for day in range(start, end, DAY):
        today = np.flatnonzero((payments.times >= day) & (payments.times < day + DAY))
        known = known_cards(payments, day, start - plan.known * DAY, plan.settings.delay)
        today = today[~np.isin(payments.cards[today], known)]
        new[today] = True
        cards = payments.cards[today]
        chosen, precision = look_into(cards, payments.frauds[today], scores[today], plan.cards)
        precisions.append(precision)
        for kind in kinds:
            wanted = np.unique(cards[payments.scenarios[today] == kind])
            there[kind] += len(wanted)
            hit[kind] += int(np.isin(wanted, chosen).sum())
    inside = (payments.times >= start) & (payments.times < end)
    frauds = payments.frauds

    def precision_of(rows: Flags) -> float:
        return Ranking(frauds[rows], scores[rows]).average_precision() if rows.any() else 0.0

    return Figures(
        roc_auc(frauds[inside], scores[inside]),
        precision_of(inside),
        roc_auc(frauds[new], scores[new]),
        precision_of(new),
        float(np.mean(precisions)),
        {
            kind: Found(
                int((inside & (payments.scenarios == kind)).sum()),
                precision_of(inside & (~frauds | (payments.scenarios == kind))),
                hit[kind] / there[kind] if there[kind] else 0.0,
            )
            for kind in kinds
        },
    )


def look_into(
    cards: NDArray[np.str_], frauds: Flags, scores: Scores, count: int
) -> tuple[NDArray[np.str_], float]:
    """The `count` cards with the highest scores of a day, and which share of `count` has a fraud that day.

    A card's score is the highest of its payments. Among equal scores the card that comes first by name is
    taken: no outcome has a say.
    """
    names, which = np.unique(cards, return_inverse=True)
    highest = np.full(len(names), -np.inf)
    np.maximum.at(highest, which, scores)
    compromised = np.zeros(len(names), np.bool_)
    np.logical_or.at(compromised, which, frauds)
    chosen = np.argsort(-highest, kind="stable")[:count]
    return names[chosen], float(compromised[chosen].sum()) / count
