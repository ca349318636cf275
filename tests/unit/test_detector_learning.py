"""What a learner takes over, what it refuses, and what it says of drift."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.detector.drift import MIN_ROWS
from signalexchange.detector.learning import Learner
from signalexchange.detector.measures import Ranking, compare
from signalexchange.detector.trial import DAY, RULES_SCORE, Settings
from signalexchange.errors import ConfigError, MalformedError

from tests.support.detector_learning import FEATURES, QUICK, after, feed, learner, relabelled, rows


def taught(days: int = 49, settings: Settings = QUICK) -> Learner:
    made = learner(settings)
    feed(made, rows(days))
    assert made.learn(after(days)).better
    return made


def test_without_labels_there_is_no_model_and_rules_decide_alone() -> None:
    made = learner()
    assert made.current is None
    assert made.probabilities([[0.0] * 4]) is None
    assert made.drift(after(0)) is None
    feed(made, rows(10))
    outcome = made.learn(after(10))
    assert not outcome.better
    assert "too few labels" in outcome.reason
    assert made.current is None


def test_the_first_version_takes_over_where_it_beats_chance_and_is_calibrated() -> None:
    made = taught()
    assert made.current is not None
    document = made.current.document
    assert document.version == 1
    share = document.held_out.frauds / document.held_out.rows
    assert document.judgement.before == pytest.approx(share), "held against chance"
    assert (
        document.trained.end == document.calibrated.start < document.held_out.start == document.calibrated.end
    )
    assert document.held_out.end == after(42)
    fresh = list(rows(20, first=60))
    found = made.probabilities([row.vector for row in fresh])
    assert found is not None
    assert np.mean([row.fraud for row in fresh]) == pytest.approx(float(found.mean()), abs=0.02)
    likely = found > 0.5
    assert np.mean([row.fraud for row, high in zip(fresh, likely, strict=True) if high]) > 0.5


def test_the_same_rows_give_the_same_model_however_they_came() -> None:
    first, second = taught(), learner()
    given_rows = list(rows(49))
    for row in given_rows:
        second.decided([row.id], [row.time], [row.vector])
    for row in reversed(given_rows):
        assert second.label(row.id, row.fraud, row.time + 7 * DAY)
    second.learn(after(49))
    assert first.current is not None
    assert second.current is not None
    assert first.current.digest == second.current.digest


def test_a_version_takes_over_only_when_better_and_the_one_before_is_kept() -> None:
    made = taught()
    before = made.current
    feed(made, rows(1, first=49))
    outcome = made.learn(after(50))
    assert not outcome.better
    assert outcome.reason.startswith("not better enough")
    assert made.current is before

    feed(made, rows(40, first=50, cause=1))  # fraud has another cause from here on
    outcome = made.learn(after(90))
    assert outcome.better
    assert outcome.comparison is not None
    assert outcome.comparison.new > outcome.comparison.old + QUICK.margin
    assert made.versions == (before, outcome.model)
    assert outcome.model is not None
    assert outcome.model.document.judgement.before == outcome.comparison.old


def test_before_there_is_a_model_the_rules_are_what_must_be_beaten() -> None:
    names = (*FEATURES[:3], RULES_SCORE)
    for good_rules in (True, False):
        made = Learner(names, QUICK)
        for row in rows(49):
            score = float("nan") if not good_rules else 900.0 if row.fraud else 100.0
            made.decided([row.id], [row.time], [(*row.vector[:3], score)])
            made.label(row.id, row.fraud, row.time + 7 * DAY)
        outcome = made.learn(after(49))
        assert outcome.better is not good_rules
        assert ", rules " in outcome.reason


def test_a_trial_runs_in_another_thread_while_transactions_go_on() -> None:
    made, alone = taught(), taught()
    for one in (made, alone):
        feed(one, rows(41, first=49, cause=1))
    trial = made.trial(after(90))
    more = list(rows(9, first=90, cause=1))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(trial.run)
        while not running.done() and more:
            row = more.pop()
            made.decided([row.id], [row.time], [row.vector])
            made.label(row.id, row.fraud, row.time)
            assert made.probabilities([row.vector]) is not None
        outcome = running.result()
    assert made.conclude(outcome, trial)
    alone.learn(after(90))
    assert made.current is not None
    assert alone.current is not None
    assert made.current.digest == alone.current.digest


def test_a_margin_that_is_not_reached_keeps_the_version_in_force() -> None:
    made = learner(replace(QUICK, margin=0.95))
    feed(made, rows(49))
    outcome = made.learn(after(49))
    assert outcome.comparison is not None
    assert outcome.comparison.sure_gain > 0
    assert not outcome.better
    assert made.current is None


def test_a_label_is_used_only_from_when_it_came() -> None:
    made, early = learner(), learner()
    given_rows = list(rows(49))
    feed(made, given_rows, late=30 * DAY)
    for row in given_rows:
        early.decided([row.id], [row.time], [row.vector])
        if row.time + 30 * DAY <= after(49):
            early.label(row.id, row.fraud, row.time + 30 * DAY)
    trial, same = made.trial(after(49)), early.trial(after(49))
    for part, other in ((trial.trained, same.trained), (trial.held_out, same.held_out)):
        assert np.array_equal(part.frauds, other.frauds)
    assert not trial.held_out.frauds.any()
    assert made.trial(after(72)).held_out.frauds.sum() == sum(  # they all came by then, and count
        row.fraud for row in given_rows if after(58) <= row.time < after(65)
    )
    feed(made, rows(16, first=49), late=7 * DAY)
    assert made.trial(after(72)).held_out.frauds.any()


def test_the_future_changes_nothing() -> None:
    first, second = taught(), learner()
    feed(second, rows(49))
    feed(second, rows(20, first=49, seed=9, cause=2))
    second.learn(after(49))
    assert first.current is not None
    assert second.current is not None
    assert first.current.digest == second.current.digest


def test_a_later_label_corrects_an_earlier_one() -> None:
    made = learner()
    made.decided(["a"], [after(0)], [(0.0,) * 4])
    assert made.label("a", True, after(8))
    assert made.label("a", False, after(20))
    assert made.label("a", True, after(8)), "a repetition of the earlier one comes too late"
    assert not made.trial(after(28)).calibrated.frauds.any()
    assert not made.label("unknown", True, after(8))


def test_going_back_takes_the_version_before_and_holds_until_newer_transactions_judge() -> None:
    made = taught()
    first = made.current
    feed(made, rows(41, first=49, cause=1))
    assert made.learn(after(90)).better
    assert made.rollback(after(90)) is first
    assert made.versions == (first,)
    feed(made, rows(24, first=90, cause=1))
    outcome = made.learn(after(91))
    assert not outcome.better
    assert made.current is first
    outcome = made.learn(after(111))
    assert outcome.better
    assert outcome.model is not None
    assert outcome.model.version > 2, "the number of the version that was dropped isn't used again"
    assert outcome.model.document.held_out.start >= after(90)


def test_going_back_from_the_first_version_leaves_rules_alone() -> None:
    made = taught()
    assert made.rollback(after(49)) is None
    assert made.probabilities([[0.0] * 4]) is None
    assert made.rollback(after(49)) is None


def test_a_trial_that_was_overtaken_by_going_back_does_not_take_over() -> None:
    made = taught()
    feed(made, rows(41, first=49, cause=1))
    trial = made.trial(after(90))
    outcome = trial.run()
    assert outcome.better
    made.rollback(after(90))
    assert not made.conclude(outcome, trial)
    assert made.current is None


@pytest.mark.parametrize("fraud", [True, False])
def test_labels_of_one_kind_take_nothing_over(fraud: bool) -> None:
    made = taught()
    before = made.current
    feed(made, relabelled(rows(41, first=49), fraud))
    assert not made.learn(after(90)).better
    assert made.current is before


def test_labels_without_sense_take_nothing_over() -> None:
    made = taught()
    before = made.current
    draw = np.random.default_rng(5)
    feed(made, (replace(row, fraud=bool(draw.random() < 0.1)) for row in rows(41, first=49)))
    assert not made.learn(after(90)).better
    assert made.current is before


def test_labels_without_sense_seldom_beat_chance() -> None:
    """Surely better is better in 19 of 20 resamples: luck passes now and then, in 4 of 40 other draws."""
    lucky = 0
    for seed in range(6):
        draw = np.random.default_rng(seed)
        none = learner()
        feed(none, (replace(row, fraud=bool(draw.random() < 0.1)) for row in rows(49)))
        lucky += none.learn(after(49)).better
    assert lucky <= 1


def test_flipped_labels_in_what_trains_are_found_out_by_what_judges() -> None:
    made = taught()
    before = made.current
    flood = [replace(row, fraud=not row.fraud) for row in rows(27, first=49)]
    feed(made, [*flood, *rows(14, first=76)])
    assert not made.learn(after(90)).better
    assert made.current is before


def test_features_that_are_always_the_same_or_never_known_are_no_trouble() -> None:
    for value in (0.0, float("nan")):
        made = learner()
        feed(made, (replace(row, vector=(value,) * 4) for row in rows(49)))
        outcome = made.learn(after(49))
        assert not outcome.better
        assert made.current is None


def test_drift_is_noticed_where_there_is_some_and_not_where_there_is_none() -> None:
    made = taught()
    feed(made, rows(14, first=49, a_day=400))
    calm = made.drift(after(63))
    assert calm is not None
    assert calm.rows >= MIN_ROWS
    assert not calm.noticed
    assert "no drift" in calm.text()

    moved = (
        replace(row, vector=(row.vector[0] + 1.5, *row.vector[1:])) for row in rows(7, first=63, a_day=400)
    )
    feed(made, moved)
    found = made.drift(after(70))
    assert found is not None
    assert found.noticed
    assert found.features[0][0] == FEATURES[0]
    assert found.score > 0.25
    assert found.text().startswith("drift (population stability index): score")
    assert FEATURES[0] in found.text()

    silent = (replace(row, vector=(*row.vector[:3], float("nan"))) for row in rows(7, first=70, a_day=400))
    feed(made, silent)  # the exchange is not heard any more
    found = made.drift(after(77))
    assert found is not None
    assert found.noticed
    assert [name for name, _ in found.features] == [FEATURES[3]]
    assert made.drift(after(200)) is None, "too few rows to tell"


def test_memory_is_bounded_and_what_is_kept_stays_an_even_share() -> None:
    made = learner(replace(QUICK, capacity=1_000))
    given_rows = list(rows(30, a_day=300))
    feed(made, given_rows)
    assert made.rows <= 1_000
    assert made.share == 1 / 16
    kept = [row for row in given_rows if made.label(row.id, row.fraud, row.time + 7 * DAY)]
    assert len(kept) == made.rows
    assert np.mean([row.time < after(15) for row in kept]) == pytest.approx(0.5, abs=0.1)
    made.trial(after(300))
    assert made.rows == 0
    assert made.share == 1 / 8


def test_a_state_restores_to_the_same_model() -> None:
    made = learner()
    feed(made, rows(40))
    state = json.loads(json.dumps(made.state()))
    again = learner()
    again.restore(state)
    for one in (made, again):
        feed(one, rows(9, first=40))
        one.learn(after(49))
    assert made.current is not None
    assert again.current is not None
    assert made.current.digest == again.current.digest
    assert not again.due(after(49))
    assert again.due(after(50))


def broken_states() -> list[Any]:
    made = learner(replace(QUICK, capacity=1_000))
    feed(made, rows(1, a_day=20))
    state = made.state()
    kept: dict[str, Any] = state["rows"]
    return [
        None,
        [],
        {},
        state | {"features": ["other"]},
        state | {"made": "1"},
        state | {"tried_at": -1},
        state | {"judge_from": True},
        state | {"rows": 7},
        *(
            state | {"rows": kept | change}
            for change in (
                {"ids": None},
                {"ids": kept["ids"][1:]},
                {"ids": [*kept["ids"][1:], kept["ids"][1]]},
                {"ids": ["", *kept["ids"][1:]]},
                {"limit": 3},
                {"limit": "x"},
                {"times": "*"},
                {"times": "é"},
                {"times": kept["times"][4:]},
                {"labels": 5},
                {"labels": kept["labels"].replace("A", "f")},
                {"features": ""},
            )
        ),
    ]


@pytest.mark.parametrize("state", broken_states())
def test_a_state_that_is_none_is_refused(state: Any) -> None:
    made = learner()
    feed(made, rows(1))
    with pytest.raises(MalformedError):
        made.restore(state)
    assert made.rows == 120


@pytest.mark.parametrize(
    "vector",
    [(1.0,), (1.0,) * 5, (1.0, 2.0, 3.0, "x"), (1.0, 2.0, 3.0, float("inf")), (1.0, 2.0, 3.0, 1e300), None],
)
def test_a_vector_that_is_none_is_refused(vector: Any) -> None:
    made = learner()
    with pytest.raises(MalformedError):
        made.decided(["a"], [after(0)], [vector])
    assert made.rows == 0


@pytest.mark.parametrize(("key", "time"), [("", 1), ("x" * 129, 1), ("a", -1), ("a", 2**60)])
def test_a_row_out_of_bounds_is_refused(key: str, time: int) -> None:
    with pytest.raises(MalformedError):
        learner().decided([key], [time], [(0.0,) * 4])


def test_a_transaction_is_kept_once() -> None:
    made = learner()
    assert made.decided(["a"], [after(0)], [(0.0,) * 4])
    assert not made.decided(["a"], [after(0)], [(0.0,) * 4])
    assert made.rows == 1


@pytest.mark.parametrize(
    "features", [[], ["a", "a"], ["Large"], ["a b"], ["a\nb"], ["é"], ["a."], ["x" * 101]]
)
def test_features_that_can_not_be_are_refused(features: list[str]) -> None:
    with pytest.raises(ConfigError):
        Learner(features)


def test_settings_out_of_bounds_and_versions_of_other_features_are_refused() -> None:
    with pytest.raises(ConfigError, match="margin"):
        Settings(margin=2)
    with pytest.raises(ConfigError, match="held_out"):
        Settings(held_out=1)
    with pytest.raises(ConfigError, match="other features"):
        Learner(["customer.hour"], versions=taught().versions)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30))
def test_average_precision_is_the_sum_over_thresholds(outcomes: list[tuple[bool, int]]) -> None:
    total = sum(fraud for fraud, _ in outcomes)
    expected, found_before = 0.0, 0
    for threshold in sorted({score for _, score in outcomes}, reverse=True):
        above = [fraud for fraud, score in outcomes if score >= threshold]
        expected += (sum(above) - found_before) / max(total, 1) * sum(above) / len(above)
        found_before = sum(above)
    frauds = np.array([fraud for fraud, _ in outcomes])
    ranking = Ranking(frauds, np.array([float(score) for _, score in outcomes]))
    assert ranking.average_precision() == pytest.approx(expected)
    doubled = ranking.average_precision(np.full(len(outcomes), 2.0))
    assert doubled == pytest.approx(expected), "weights that are all the same change nothing"


def test_a_gain_by_chance_is_seldom_sure_and_a_real_one_is() -> None:
    draw = np.random.default_rng(3)
    sure = 0
    for _ in range(40):
        frauds = draw.random(400) < 0.1
        scores = draw.normal(size=400)
        sure += compare(frauds, scores, scores + draw.normal(size=400) / 10).sure_gain > 0
        assert compare(frauds, scores + 2 * frauds, scores).sure_gain > 0
    assert sure <= 6
