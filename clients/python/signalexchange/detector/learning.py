"""Learning from a member's own labels: a model is made as they come, and takes over only when it is better.

Invariants: nothing later than `now` is used, neither a transaction nor a label; trees, calibration and
judgement each have rows of their own, the judgement's the most recent; a version takes over only where it is
better on them by the margin and surely better at all; the versions before are kept, and after `rollback`
nothing takes over that is judged by what happened before it. The same rows give the same model. No clock, no
files.

Of the transactions that are `delay` old or older, the last `held_out` seconds judge, the `held_out` before
them calibrate, and what is before those, `period` back, trains. A transaction of that age that no label calls
a fraud counts as genuine, as members hear of frauds alone; a label that comes later counts from the next
version on.

    learner = Learner(FEATURES, Settings(), read_versions(folder, FEATURES))
    learner.decided(id, time, vector); learner.label(id, fraud, at)
    if learner.due(now): outcome = learner.learn(now)      # or trial = learner.trial(now), trial.run() in
                                                           # another thread, learner.conclude(outcome)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import ArrayLike, NDArray

from signalexchange.detector.drift import Drift, bins_of, drift_of
from signalexchange.detector.measures import Comparison, Flags, calibrate, compare
from signalexchange.detector.model import (
    FEATURE_NAME,
    FORMAT,
    MAX_FEATURES,
    MAX_NAME,
    Floats,
    Judgement,
    Model,
    ModelDocument,
    Period,
)
from signalexchange.detector.rows import Rows
from signalexchange.detector.trees import stored_part
from signalexchange.detector.versions import KEPT
from signalexchange.errors import ConfigError, MalformedError

DAY: Final = 86_400
SEED: Final = 1

PARAMETERS: Final[dict[str, Any]] = {
    "objective": "binary",
    "num_leaves": 31,
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
        before = None if self.current is None else self.current.scores(self.held_out.features)
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
                judgement=Judgement(
                    average_precision=found.new, before=None if self.current is None else found.old
                ),
                calibration=calibration,
                score_bins=bins_of(scores),
                feature_bins=[bins_of(column) for column in self.trained.features.T],
                trees=trees,
            )
        )
        better = found.new >= found.old + self.settings.margin and found.sure_gain > 0
        against = "chance" if self.current is None else f"version {self.current.version}"
        says = f"average precision {found.new:.3f}, {against} {found.old:.3f}, surely {found.sure_gain:+.3f}"
        return Outcome(better, f"{'better' if better else 'not better enough'}: {says}", model, found)


class Learner:
    """Keeps what was decided until its labels come, and the model versions made from it.

    `features` name what a vector holds, in order: those of the windows and whatever else is handed along (the
    exchange's score, flags, the rules' score). `rules` is the version of the rule file in force, for the
    record. Memory: `capacity` rows (signalexchange.detector.rows has the bound), as much again while a trial
    runs, and KEPT models. Used from one thread; raises ConfigError for features or versions that can't be.
    """

    def __init__(
        self,
        features: Sequence[str],
        settings: Settings | None = None,
        versions: Sequence[Model] = (),
        rules: int = 0,
    ) -> None:
        if not 1 <= len(set(features)) == len(features) <= MAX_FEATURES:
            raise ConfigError(f"not 1 to {MAX_FEATURES} features of different names")
        for name in features:
            if len(name) > MAX_NAME or not FEATURE_NAME.fullmatch(name):
                raise ConfigError(f"feature {name!r}: names are lowercase words with dots between them")
        if any(model.features != tuple(features) for model in versions):
            raise ConfigError("a model version of other features")
        self.features = tuple(features)
        self.settings = settings or Settings()
        self.rules = rules
        self._versions = list(versions)[-KEPT:]
        self._rows = Rows(len(features), self.settings.capacity)
        self._made = max((model.version for model in versions), default=0)
        self._tried_at = 0
        self._judge_from = 0

    @property
    def versions(self) -> tuple[Model, ...]:
        """The versions kept, oldest first; the last is in force."""
        return tuple(self._versions)

    @property
    def current(self) -> Model | None:
        """The version in force; None as long as there is none, and rules decide alone."""
        return self._versions[-1] if self._versions else None

    @property
    def rows(self) -> int:
        """How many transactions are kept."""
        return len(self._rows)

    @property
    def share(self) -> float:
        """Share of the transactions that is kept, 1 unless there are more than `capacity`."""
        return self._rows.share

    def probabilities(self, rows: ArrayLike) -> NDArray[np.float64] | None:
        """Probability of fraud of each row of features; None without a model. Raises MalformedError."""
        return None if self.current is None else self.current.probabilities(rows)

    def decided(self, transaction_id: str, time: int, vector: Sequence[float]) -> bool:
        """Keep a transaction and the features it was decided by; NaN is one that was not known.

        False where it is kept already or not of the share that is. Raises MalformedError.
        """
        return self._rows.add(transaction_id, time, vector)

    def label(self, transaction_id: str, fraud: bool, at: int) -> bool:
        """Take a label that came at `at`; a later one corrects it. False: the transaction is not kept."""
        return self._rows.label(transaction_id, fraud, at)

    def due(self, now: int) -> bool:
        """Whether the last trial is `every` seconds ago."""
        return now - self._tried_at >= self.settings.every

    def trial(self, now: int) -> Trial:
        """What to make the next version from, as of `now`; forgets what is too old to be learned from."""
        plan = self.settings
        self._tried_at = now
        end = now - plan.delay
        judge, calibrate_from = end - plan.held_out, end - 2 * plan.held_out
        start = calibrate_from - plan.period
        self._rows.forget(start)

        def part(since: int, until: int) -> Part:
            return Part(max(0, since), max(0, until), *self._rows.between(since, until, now))

        return Trial(
            plan,
            self.features,
            self.rules,
            self._made + 1,
            now,
            self.current,
            part(start, calibrate_from),
            part(calibrate_from, judge),
            part(max(judge, self._judge_from), end),
        )

    def conclude(self, outcome: Outcome, trial: Trial) -> bool:
        """Let a version take over that is better; True where it did.

        It does not where another version is in force by now than the one it was held against.
        """
        if outcome.model is None:
            return False
        self._made = max(self._made, outcome.model.version)
        if not outcome.better or trial.current is not self.current or trial.now < self._judge_from:
            return False
        self._versions = [*self._versions, outcome.model][-KEPT:]
        return True

    def learn(self, now: int) -> Outcome:
        """A trial from start to end, here and now: it blocks for seconds."""
        trial = self.trial(now)
        outcome = trial.run()
        self.conclude(outcome, trial)
        return outcome

    def rollback(self, now: int) -> Model | None:
        """Drop the version in force and go back to the one before; None where rules decide alone again.

        Whatever takes over next is judged by transactions from `now` on, so not before `delay` and as many
        days as bring enough frauds are over: or tomorrow's version would be the one that was dropped.
        """
        if self._versions:
            self._versions.pop()
            self._judge_from = now
        return self.current

    def drift(self, now: int) -> Drift | None:
        """Drift of the last 7 days from what the version in force was made from; labels play no part.

        A whole week, as weekdays differ. None without a model or with too few rows to tell.
        """
        if self.current is None:
            return None
        return drift_of(self.current, self._rows.between(now - 7 * DAY, now, now)[0])

    def state(self) -> dict[str, Any]:
        """What a restart needs beside the versions, as plain data that JSON can hold."""
        return {
            "features": list(self.features),
            "made": self._made,
            "tried_at": self._tried_at,
            "judge_from": self._judge_from,
            "rows": self._rows.state(),
        }

    def restore(self, state: object) -> None:
        """Take a `state()`; raises MalformedError and changes nothing where it is none of these features."""
        if not isinstance(state, dict) or state.get("features") != list(self.features):
            raise MalformedError("learner: not a state, or one of other features")
        numbers = [state.get(key) for key in ("made", "tried_at", "judge_from")]
        if not all(type(number) is int and 0 <= number < 2**53 for number in numbers):
            raise MalformedError("learner: a time or version that is not a number")
        self._rows = Rows.restore(state.get("rows"), len(self.features), self.settings.capacity)
        made, self._tried_at, self._judge_from = (int(number or 0) for number in numbers)
        self._made = max(made, self._made)


def _scores(booster: lightgbm.Booster, rows: Floats) -> NDArray[np.float64]:
    return np.asarray(booster.predict(rows, raw_score=True, num_threads=1), dtype=np.float64)
