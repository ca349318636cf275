"""How well scores tell frauds from the rest, and how sure it is that one model does better than another.

Invariants: equal scores are one threshold, so no order of rows flatters a model; the same input gives the
same answer.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from signalexchange.detector.model import Calibration

RESAMPLES: Final = 200
SEED: Final = 20_180_401

Flags = NDArray[np.bool_]
Scores = NDArray[np.float64]


class Ranking:
    """Rows of known outcome in the order of their scores, highest first."""

    def __init__(self, frauds: Flags, scores: Scores) -> None:
        self._order = np.argsort(-scores, kind="stable")
        ranked = scores[self._order]
        self._frauds = frauds[self._order].astype(np.float64)
        self._thresholds = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)

    def average_precision(self, weights: Scores | None = None) -> float:
        """Precision at each threshold, averaged over the frauds found there; 0 where there is no fraud.

        Rows count as often as their weight says, once without. The mean of precision by recall steps, without
        interpolation (Davis and Goadrich 2006, "The Relationship Between Precision-Recall and ROC Curves").
        """
        given = np.ones(len(self._order)) if weights is None else weights[self._order]
        found = np.cumsum(given * self._frauds)[self._thresholds]
        looked_at = np.cumsum(given)[self._thresholds]
        if found[-1] <= 0:
            return 0.0
        steps = np.diff(found, prepend=0.0)
        return float(np.sum(steps * (found / np.maximum(looked_at, 1e-12))) / found[-1])


@dataclass(frozen=True)
class Comparison:
    """Average precision of a new model and of what it is held against, and the gain it surely has.

    `sure_gain`: what the gain exceeds in 19 of 20 resamples of the rows. It takes rows as independent; frauds
    of one card are not quite, so the margin asked for comes on top of it.
    """

    new: float
    old: float
    sure_gain: float


def compare(frauds: Flags, new: Scores, old: Scores) -> Comparison:
    """Hold scores against others of the same rows, at least one row. One score for all is chance.

    The average precision of chance is the share of frauds. Poisson bootstrap: each row
    counts as often as a Poisson number of mean 1 says (Hanley and MacGibbon 2006).
    """
    ranking = Ranking(frauds, new)
    reference = Ranking(frauds, old)
    draw = np.random.default_rng(SEED)
    gains = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        weights = draw.poisson(1.0, len(frauds)).astype(np.float64)
        gains[index] = ranking.average_precision(weights) - reference.average_precision(weights)
    return Comparison(
        ranking.average_precision(), reference.average_precision(), float(np.quantile(gains, 0.05))
    )


def calibrate(frauds: Flags, scores: Scores) -> Calibration | None:
    """Platt's scaling of scores in log-odds, with his smoothed targets; None where it does not rise.

    At least one fraud and one that is none. A slope that does not rise means that the scores say nothing of
    these rows, or the opposite.
    """
    positives = float(frauds.sum())
    negatives = len(frauds) - positives
    target = np.where(frauds, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(parameters: Scores) -> tuple[float, Scores]:
        odds = parameters[0] * scores + parameters[1]
        slack = 1 / (1 + np.exp(-np.clip(odds, -500, 500))) - target
        value = np.mean(np.logaddexp(0, odds) - target * odds)
        return float(value), np.array([np.mean(slack * scores), np.mean(slack)])

    start = np.array([1.0, 0.0])
    slope, offset = (float(value) for value in minimize(loss, start, jac=True, method="BFGS").x)
    if not (0 < slope <= 1e6 and abs(offset) <= 1e6):
        return None
    return Calibration(slope=slope, offset=offset)
