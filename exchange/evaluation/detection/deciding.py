"""Scores of payments as a detector gives them while it learns from outcomes as they come.

Invariants: a day's scores are of the model, or the rules, in force that morning, made of what was known by
then; a new model takes over only as `Learner` lets it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from signalexchange.detector.learning import Learner

from exchange.evaluation.detection.plan import OWN, ROW, Plan
from exchange.evaluation.detection.watching import Watched
from exchange.replay.transactions import DAY

Scores = NDArray[np.float64]
RULES = len(OWN) - 1
"""Column of the rules' score."""


@dataclass(frozen=True)
class Decided:
    """Probability of fraud of each payment, NaN before the first evaluated day; how many models took over of
    how many that were tried, and the last trial in words."""

    scores: Scores
    models: int
    trials: int
    last: str


def by_rules(watched: Watched) -> Scores:
    """The rules' scores, 0 to 1."""
    return watched.rows[:, RULES].astype(np.float64) / 1000


def decide(watched: Watched, features: Sequence[str], plan: Plan, first: int, days: int) -> Decided:
    """Decide payments of `days` days from `first` (midnight, Unix seconds) on by the first of ROW's columns,
    which `features` name. As long as there is no model, the rules decide.
    """
    if tuple(features) != ROW[: len(features)]:
        raise ValueError("not the first columns of a row")
    learner = Learner(features, plan.settings)
    rows = watched.rows[:, : len(features)]
    rules = by_rules(watched)
    ids = [str(each) for each in watched.ids.tolist()]
    times = watched.times.tolist()
    scores = np.full(len(ids), np.nan)
    evaluated = plan.first_evaluated(days)
    labelled = tried = taken = 0
    last = ""
    for day in range(days):
        now = first + day * DAY
        due = int(np.searchsorted(watched.times, now - plan.settings.delay, side="right"))
        for at in range(labelled, due):
            learner.label(ids[at], bool(watched.frauds[at]), times[at] + plan.settings.delay)
        labelled = due
        if day >= evaluated - plan.learning and learner.due(now):
            version = learner.current
            last = learner.learn(now).reason
            tried += 1
            taken += learner.current is not version
        start, end = np.searchsorted(watched.times, (now, now + DAY)).tolist()
        if start == end:
            continue
        if day >= evaluated:
            found = learner.probabilities(rows[start:end])
            scores[start:end] = rules[start:end] if found is None else found
        learner.decided(ids[start:end], times[start:end], rows[start:end])
    return Decided(scores, taken, tried, last)
