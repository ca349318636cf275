"""Model files are taken whole or refused, before LightGBM sees them; reasons come from what features add."""

import hashlib
import json
import re
import stat
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signalexchange.detector.features import FEATURES as WINDOWS
from signalexchange.detector.learning import Learner
from signalexchange.detector.model import Model, read_model, write_model
from signalexchange.detector.reasons import CODES, PREFIXES, code_of, explain
from signalexchange.detector.trees import check_trees, stored_part
from signalexchange.detector.trial import DAY, RULES_SCORE
from signalexchange.detector.versions import KEPT, LIST, read_versions, write_versions
from signalexchange.errors import ConfigError, ExchangeError, MalformedError, VerificationError

from tests.support.detector_learning import FEATURES, QUICK, after, feed, learner, rows


@cache
def versions() -> tuple[Model, ...]:
    made = learner()
    feed(made, rows(49))
    made.learn(after(49))
    feed(made, rows(41, first=49, cause=1))
    made.learn(after(90))
    assert len(made.versions) == 2
    return made.versions


def model() -> Model:
    return versions()[0]


def test_a_file_reads_back_as_the_same_model_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = write_model(model(), tmp_path)
    assert path.name == f"model-000001-{hashlib.sha256(path.read_bytes()).hexdigest()}.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    read = read_model(path, FEATURES)
    assert read == model()
    given_rows = [row.vector for row in rows(3, first=70)]
    assert np.array_equal(read.probabilities(given_rows), model().probabilities(given_rows))
    assert np.array_equal(read.probabilities(given_rows[:1]), model().probabilities(given_rows)[:1])


def test_a_file_that_was_altered_renamed_or_made_from_other_features_is_refused(tmp_path: Path) -> None:
    path = write_model(model(), tmp_path)
    content = path.read_bytes()
    for altered in (content[:-1], content + b" ", content.replace(b'"rules": 0', b'"rules": 1'), b""):
        path.write_bytes(altered)
        with pytest.raises(VerificationError):
            read_model(path, FEATURES)
    path.write_bytes(content)
    with pytest.raises(VerificationError, match="version"):
        read_model(path.rename(tmp_path / path.name.replace("000001", "000002")), FEATURES)
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(MalformedError, match="name"):
        read_model(tmp_path / "model.json", FEATURES)
    path.write_bytes(content)
    for features in (FEATURES[:-1], FEATURES[::-1], (*FEATURES, "flag")):
        with pytest.raises(MalformedError, match="other features"):
            read_model(path, features)
    path.unlink()
    with pytest.raises(ConfigError):
        read_model(path, FEATURES)
    with pytest.raises(ConfigError):
        write_model(model(), tmp_path / "missing")


def changed(**changes: Any) -> bytes:
    document = model().document.model_dump(mode="json") | changes
    return (json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()


def test_the_unchanged_document_is_a_model() -> None:
    assert Model.parse(changed()) == model()


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"version": 0},
        {"extra": 1},
        {"made_at": -1},
        {"features": list(FEATURES[:-1])},
        {"features": [*FEATURES[:-1], FEATURES[0]]},
        {"features": [*FEATURES[:-1], "New Line\n"]},
        {"features": [*FEATURES[:-1], "another"]},
        {"feature_bins": []},
        {"calibration": {"slope": -1.0, "offset": 0.0}},
        {"calibration": {"slope": 1.0, "offset": float("nan")}},
        {"score_bins": {"edges": [1.0, 1.0], "rows": [1, 1, 1, 1]}},
        {"score_bins": {"edges": [1.0], "rows": [1]}},
        {"score_bins": {"edges": [float("inf")], "rows": [1, 1, 1]}},
        {"judgement": {"average_precision": 1.5, "before": 0.1}},
        {"trees": ""},
        {"trees": None},
    ],
)
def test_a_document_that_does_not_agree_with_itself_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        Model.parse(changed(**changes))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Model.parse(data)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_model_with_some_bytes_changed_is_refused_or_a_model(data: st.DataObject) -> None:
    content = bytearray(changed())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = Model.parse(bytes(content))
    except ExchangeError:
        return
    assert np.isfinite(found.probabilities(np.zeros((1, 4)))).all()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_trees_with_a_word_changed_never_break_lightgbm(data: st.DataObject) -> None:
    """Sizes are set right again, or hardly a change would reach the checks behind them."""
    head, *trees = re.split(r"\n\n(?=Tree=)", model().document.trees.removesuffix("\n\n\nend of trees\n"))
    trees = [tree.rstrip("\n") for tree in trees]
    index = data.draw(st.integers(0, len(trees) - 1))
    lines = trees[index].split("\n")
    line = data.draw(st.integers(0, len(lines) - 1))
    key, _, text = lines[line].partition("=")
    words = text.split(" ")
    place = data.draw(st.integers(0, len(words) - 1))
    words[place] = data.draw(
        st.sampled_from(
            ["", "0", "1", "-1", "2", "-2", "-99", "99", "2147483648", "1e999", "nan", "x", "7 7"]
        )
    )
    lines[line] = f"{key}={' '.join(words)}"
    trees[index] = "\n".join(lines)
    sizes = " ".join(str(len(tree) + 3) for tree in trees)
    head = re.sub("tree_sizes=.*", f"tree_sizes={sizes}", head)
    text = "\n\n".join([head, "\n\n\n".join(trees)]) + "\n\n\nend of trees\n"
    try:
        check_trees(text, FEATURES)
    except MalformedError:
        return
    booster = lightgbm.Booster(model_str=text)
    row = np.zeros((1, len(FEATURES)), np.float32)
    booster.predict(row, num_threads=1)
    booster.predict(row, pred_contrib=True, num_threads=1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version=v4", "version=v3"),
        ("num_class=1", "num_class=2"),
        ("binary sigmoid:1", "regression"),
        ("max_feature_idx=3", "max_feature_idx=900"),
        (" customer.hour", " customer.minute"),
        ("feature_infos=[", "feature_infos=0:"),
        ("feature_infos=[", "feature_infos=none ["),
        ("tree_sizes=", "tree_sizes=9"),
        ("Tree=1\n", "Tree=2\n"),
        ("num_leaves=", "num_leaves=9"),
        ("num_cat=0", "num_cat=1"),
        ("is_linear=0", "is_linear=1"),
        ("end of trees\n", ""),
        ("Tree=0\n", "Tree=0\n\n\n\n"),
        ("left_child=1", "left_child=0"),
        ("decision_type=2", "decision_type=1"),
        ("leaf_value=", "leaf_value=é"),
    ],
)
def test_trees_that_lightgbm_would_misread_are_refused(old: str, new: str) -> None:
    text = model().document.trees
    assert old in text
    assert check_trees(text, FEATURES) == QUICK.rounds
    with pytest.raises(MalformedError):
        check_trees(text.replace(old, new, 1), FEATURES)
    with pytest.raises(MalformedError, match="cut short"):
        stored_part(text[:-1])


@pytest.mark.parametrize(
    "rows", [[[1.0] * 3], [1.0] * 4, [["a"] * 4], [[1.0] * 4, [1.0]], [[1e40] * 4], None]
)
def test_rows_of_another_form_are_refused(rows: Any) -> None:
    for judge in (model().scores, model().probabilities, model().contributions):
        with pytest.raises(MalformedError):
            judge(rows)


def test_what_features_add_is_the_score() -> None:
    given_rows = [row.vector for row in rows(2, first=70)]
    added = model().contributions(given_rows)
    assert added.shape == (len(given_rows), 5)
    assert added.sum(axis=1) == pytest.approx(model().scores(given_rows))
    assert model().contributions(np.empty((0, 4))).shape == (0, 5)
    assert model().scores(np.empty((0, 4))).shape == (0,)


def test_reasons_name_what_spoke_for_fraud_strongest_first() -> None:
    (first, *others) = explain(model(), (3.0, 0.0, 0.0, 0.0))
    assert (first.code, first.text) == ("large_burst", CODES["large_burst"])
    assert all(first.log_odds >= other.log_odds >= 0 for other in others)
    assert "large_burst" not in {reason.code for reason in explain(model(), (-3.0, 0.0, 0.0, 0.0))}
    assert explain(versions()[1], (0.0, 3.0, 0.0, 0.0))[0].code == "merchant_frauds"
    with pytest.raises(MalformedError):
        explain(model(), (1.0,))


def test_features_have_the_code_of_their_longest_prefix() -> None:
    assert code_of("merchant.risk.28d") == "merchant_frauds"
    assert code_of("merchant.count.1h") == "merchant_activity"
    assert code_of("customer.credit_large.sum.10m") == "credit_burst"
    assert code_of("shared.score") == "shared_signals"
    assert code_of("customer.largest") == "other"
    assert code_of("unheard.of") == "other"
    assert set(PREFIXES.values()) | {"other"} == set(CODES)


def test_every_feature_of_the_windows_has_a_code_and_may_be_learned_from() -> None:
    assert not [name for name in WINDOWS if code_of(name) == "other"]
    assert Learner((*WINDOWS, RULES_SCORE)).features[:-1] == WINDOWS


def test_a_folder_keeps_the_versions_and_drops_the_oldest(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    assert read_versions(folder, FEATURES) == ()
    write_versions(folder, versions())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / LIST).stat().st_mode) == 0o600
    assert read_versions(folder, FEATURES) == versions()
    again = Learner(FEATURES, QUICK, read_versions(folder, FEATURES))
    assert again.rollback(after(90)) == versions()[0]
    write_versions(folder, again.versions)
    assert read_versions(folder, FEATURES) == versions()[:1]
    assert sorted(path.name for path in folder.iterdir()) == [versions()[0].name, LIST]


def test_more_versions_than_are_kept_leave_the_newest() -> None:
    many = [*versions()] * KEPT
    assert Learner(FEATURES, QUICK, many).versions == tuple(many[-KEPT:])


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff", b'{"format": 1, "models": ["../x"]}\n', b"[" * 5_000]
)
def test_a_list_of_versions_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LIST).write_bytes(content)
    with pytest.raises(MalformedError):
        read_versions(tmp_path, FEATURES)


def test_a_version_that_is_missing_or_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    write_versions(tmp_path, versions())
    (tmp_path / versions()[1].name).unlink()
    with pytest.raises(ConfigError):
        read_versions(tmp_path, FEATURES)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError):
        write_versions(tmp_path / "file", versions())
    with pytest.raises(ConfigError):
        read_versions(tmp_path / "file", FEATURES)


def test_an_interrupted_change_of_versions_leaves_those_before(tmp_path: Path) -> None:
    write_versions(tmp_path, versions()[:1])
    write_model(versions()[1], tmp_path)  # written, but the list did not follow
    assert read_versions(tmp_path, FEATURES) == versions()[:1]
    write_versions(tmp_path, versions()[:1])
    assert not (tmp_path / versions()[1].name).exists()


def test_a_version_says_what_made_it() -> None:
    document = model().document
    assert document.made_at == after(49)
    assert document.trained.end - document.trained.start == QUICK.period
    assert document.held_out.end - document.held_out.start == 7 * DAY
    assert 0 < document.held_out.frauds < document.held_out.rows


def test_a_split_between_known_and_unknown_is_learned_and_kept(tmp_path: Path) -> None:
    """What the exchange doesn't answer is NaN; LightGBM then writes thresholds of inf."""
    made = learner()
    given_rows = [
        replace(row, vector=(*row.vector[:3], float("nan") if row.fraud else row.vector[3]))
        for row in rows(49)
    ]
    feed(made, given_rows)
    assert made.learn(after(49)).better
    kept = made.versions[0]
    assert re.search(r"^threshold=(.* )?inf( |$)", kept.document.trees, re.MULTILINE)
    read = read_model(write_model(kept, tmp_path), FEATURES)
    told = read.probabilities([(0.0, 0.0, 0.0, float("nan")), (0.0, 0.0, 0.0, 0.0)])
    assert told[0] > 0.8 > 0.2 > told[1]
    assert np.array_equal(
        read.probabilities([row.vector for row in given_rows[:99]]),
        kept.probabilities([row.vector for row in given_rows[:99]]),
    )
