"""Learning from a member's own labels: a model is made as they come, and takes over only when it is better.

Invariants: nothing later than `now` is used, neither a transaction nor a label; a version takes over only
where its trial (signalexchange.detector.trial) found it better; the versions before are kept, and after
`rollback` nothing takes over that is judged by what happened before it. No clock, no files.

Of the transactions that are `delay` old or older, the last `held_out` seconds judge, the `held_out` before
them calibrate, and what is before those, `period` back, trains. A transaction of that age that no label calls
a fraud counts as genuine, as members hear of frauds alone; a label that comes later counts from the next
version on.

    learner = Learner(FEATURES, Settings(), read_versions(folder, FEATURES))
    learner.decided(ids, times, rows); learner.label(id, fraud, at)
    if learner.due(now):
        outcome = learner.learn(now)

or, where the stream must not wait, `trial = learner.trial(now)`, `trial.run()` in another thread meanwhile,
and `learner.conclude(outcome, trial)`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signalexchange.detector.drift import Drift, drift_of
from signalexchange.detector.model import FEATURE_NAME, MAX_FEATURES, MAX_NAME, Model
from signalexchange.detector.rows import Rows
from signalexchange.detector.trial import DAY, Outcome, Part, Settings, Trial
from signalexchange.detector.versions import KEPT
from signalexchange.errors import ConfigError, MalformedError


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

    def decided(self, transaction_ids: Sequence[str], times: Sequence[int], rows: ArrayLike) -> int:
        """Keep transactions and the features they were decided by; NaN is one that was not known.

        How many were kept: not those that are kept already, nor those that are not of the share that is.
        Raises MalformedError, and keeps none.
        """
        return self._rows.add(transaction_ids, times, rows)

    def label(self, transaction_id: str, fraud: bool, at: int) -> bool:
        """Take a label that came at `at`; a later one corrects it. False: the transaction is not kept."""
        return self._rows.label(transaction_id, fraud, at)

    def due(self, now: int) -> bool:
        """Whether the last trial is `every` seconds ago."""
        return now - self._tried_at >= self.settings.every

    def began(self, now: int) -> int:
        """Note that a trial begins, forget what is too old to be learned from; the time it learns from on."""
        plan = self.settings
        self._tried_at = now
        start = now - plan.delay - 2 * plan.held_out - plan.period
        self._rows.forget(start)
        return start

    def trial(self, now: int) -> Trial:
        """What to make the next version from, as of `now`."""
        plan = self.settings
        start = self.began(now)
        end = now - plan.delay
        judge, calibrate_from = end - plan.held_out, end - 2 * plan.held_out

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
        if outcome.model is None or not outcome.better:
            return False
        if trial.current is not self.current or trial.now < self._judge_from:
            return False
        self._versions = [*self._versions, outcome.model][-KEPT:]
        self.numbered(outcome.model.version)
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
            self.dropped(now)
        return self.current

    def numbered(self, version: int) -> None:
        """Note that a version of that number was made: no other will have it."""
        self._made = max(self._made, version)

    def dropped(self, now: int) -> None:
        """Note that a version was dropped at `now`."""
        self._judge_from = now

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
