"""A trial of a new model version: what it is made from, how, and what it is worth.

Invariants: trees, calibration and judgement each have rows of their own, the judgement's the most recent; a
version is better where its average precision is, by the margin asked for, and surely is at all; the same rows
give the same model: one thread, fixed seeds.

What it is held against is the version in force; before there is one, the rules: the feature RULES_SCORE,
where there is such a feature, else chance.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from signalexchange.detector.drift import bins_of
from signalexchange.detector.measures import Comparison, Flags, calibrate, compare
from signalexchange.detector.model import FORMAT, Floats, Judgement, Model, ModelDocument, Period
from signalexchange.detector.trees import stored_part
from signalexchange.errors import ConfigError

DAY: Final = 86_400
SEED: Final = 1
RULES_SCORE: Final = "rules.score"
"""Name of the feature that holds the rules' own score, permille; NaN counts as 0."""

PARAMETERS: Final[dict[str, Any]] = {
    "objective": "binary",
    "num_leaves": 15,
    # Thresholds lie between bins of equally many rows. With the usual 255 the highest holds 0.4 % of all
    # amounts, as much as there are frauds, and nothing tells a large amount from a very large one.
    "max_bin": 4095,
    "learning_rate": 0.05,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "seed": SEED,
    "deterministic": True,
    "force_col_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}


@dataclass(frozen=True)
class Settings:
    """How a learner learns; times in seconds. Raises ConfigError outside of the bounds.

    `delay` (0 to 90 days): how late labels are. `held_out` (1 to 90 days) and `period` (1 to 365 days): see
    the module. `every` (1 minute to 90 days): between versions. `margin` (0 to 1): of average precision, by
    which a version must be better. `frauds` (1 to 10^6): as many, and as many genuine, must be among the rows
    that judge and that calibrate, and three times as many among those that train. `rounds` (1 to 5,000) trees
    of leaves with `leaf_rows` (1 to 10^6) rows or more. `capacity` (1,000 to 10^8): rows that are kept.
    """

    delay: int = 7 * DAY
    held_out: int = 7 * DAY
    period: int = 56 * DAY
    every: int = DAY
    margin: float = 0.01
    frauds: int = 20
    rounds: int = 300
    leaf_rows: int = 50
    capacity: int = 500_000

    def __post_init__(self) -> None:
        for name, low, high in (
            ("delay", 0, 90 * DAY),
            ("held_out", DAY, 90 * DAY),
            ("period", DAY, 365 * DAY),
            ("every", 60, 90 * DAY),
            ("margin", 0, 1),
            ("frauds", 1, 10**6),
            ("rounds", 1, 5_000),
            ("leaf_rows", 1, 10**6),
            ("capacity", 1_000, 10**8),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} must be {low} to {high}")


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: the version that was made, if one was, what it was worth, and the reason.

    `better`: whether it may take over; `Learner.conclude` says whether it did.
    """

    better: bool
    reason: str
    model: Model | None = field(default=None, repr=False)
    comparison: Comparison | None = None


@dataclass(frozen=True)
class Part:
    """Rows of a period: their features, and which were frauds."""

    start: int
    end: int
    features: Floats = field(repr=False)
    frauds: Flags = field(repr=False)

    def period(self) -> Period:
        """The same without the rows."""
        return Period(start=self.start, end=self.end, rows=len(self.frauds), frauds=int(self.frauds.sum()))

    def lacks(self, least: int) -> bool:
        """Whether there are fewer frauds, or fewer that are none, than that."""
        frauds = int(self.frauds.sum())
        return min(frauds, len(self.frauds) - frauds) < least


@dataclass(frozen=True)
class Trial:
    """All that a new version is made from, apart from the learner: `run` takes seconds, in any thread."""

    settings: Settings
    features: tuple[str, ...]
    rules: int
    version: int
    now: int
    current: Model | None
    trained: Part
    calibrated: Part
    held_out: Part

    def run(self) -> Outcome:
        """Train, calibrate and judge a version. Raises nothing for whatever labels came."""
        least = self.settings.frauds
        for name, part, needed in (
            ("train", self.trained, 3 * least),
            ("calibrate", self.calibrated, least),
            ("judge", self.held_out, least),
        ):
            if part.lacks(needed):
                return Outcome(False, f"too few labels to {name} by: {needed} of each kind are needed")
        data = lightgbm.Dataset(
            self.trained.features,
            self.trained.frauds.astype(np.float32),
            feature_name=list(self.features),
            params={"verbosity": -1},
        )
        parameters = PARAMETERS | {"min_data_in_leaf": self.settings.leaf_rows}
        booster = lightgbm.train(parameters, data, self.settings.rounds)
        trees = stored_part(booster.model_to_string())
        if "num_leaves=1\n" in trees:
            return Outcome(False, "nothing tells these frauds from the rest")
        scores = _scores(booster, self.calibrated.features)
        calibration = calibrate(self.calibrated.frauds, scores)
        if calibration is None:
            return Outcome(False, "its scores say nothing of the rows that calibrate")
        against, before = self._reference()
        found = compare(self.held_out.frauds, _scores(booster, self.held_out.features), before)
        model = Model.of(
            ModelDocument(
                format=FORMAT,
                version=self.version,
                made_at=self.now,
                rules=self.rules,
                features=list(self.features),
                trained=self.trained.period(),
                calibrated=self.calibrated.period(),
                held_out=self.held_out.period(),
                judgement=Judgement(average_precision=found.new, before=found.old),
                calibration=calibration,
                score_bins=bins_of(scores),
                feature_bins=[bins_of(column) for column in self.trained.features.T],
                trees=trees,
            )
        )
        better = found.new >= found.old + self.settings.margin and found.sure_gain > 0
        says = f"average precision {found.new:.3f}, {against} {found.old:.3f}, surely {found.sure_gain:+.3f}"
        return Outcome(better, f"{'better' if better else 'not better enough'}: {says}", model, found)

    def _reference(self) -> tuple[str, NDArray[np.float64]]:
        """Name and scores of what decides now, on the rows that judge."""
        if self.current is not None:
            return f"version {self.current.version}", self.current.scores(self.held_out.features)
        if RULES_SCORE in self.features:
            column = self.held_out.features[:, self.features.index(RULES_SCORE)]
            return "rules", np.nan_to_num(column.astype(np.float64))
        return "chance", np.zeros(len(self.held_out.frauds))


def _scores(booster: lightgbm.Booster, rows: Floats) -> NDArray[np.float64]:
    return np.asarray(booster.predict(rows, raw_score=True, num_threads=1), dtype=np.float64)
