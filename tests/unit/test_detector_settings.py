"""The detector's settings file: what is refused, and that the error names file and key."""

from pathlib import Path

import pytest
from signalexchange.detector.settings import DetectorSettings, load_detector_settings
from signalexchange.detector.trial import Settings as LearnerSettings
from signalexchange.errors import ConfigError

WHOLE = """
rules = "own.toml"
currency = "EUR"
zone = "Asia/Shanghai"
lateness = 5
on_rejected = "stop"
[columns]
id = "reference"
[windows]
large_minimum = 2000
[learning]
every_hours = 1
[thresholds]
hold = 900
[exchange]
subjects = { merchant = "merchant", customer = "phone" }
budget_ms = 20
[[publish]]
when = "rule:credit-burst"
code = "cash-out-suspected"
subject = "customer"
counterparty = "merchant"
grade = "suspected"
confidence = 60
valid_days = 30
"""


def load(folder: Path, text: str) -> DetectorSettings:
    path = folder / "detector.toml"
    path.write_text(text)
    return load_detector_settings(path)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    loaded = load(tmp_path, WHOLE)
    assert loaded.rules == tmp_path / "own.toml"
    assert loaded.windows.parameters().large_minimum == 200_000
    assert loaded.exchange is not None
    assert list(loaded.exchange.types) == ["customer", "merchant"]
    assert loaded.publish[0].rule == "credit-burst"
    assert loaded.shape()["order"] == [5, 60, 300, 259_200]


def test_an_empty_file_is_the_defaults_and_those_of_learning_are_the_learners(tmp_path: Path) -> None:
    assert load(tmp_path, "") == DetectorSettings()
    assert DetectorSettings().learning.learner() == LearnerSettings()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("latenes = 3", "latenes"),
        ("lateness = -1", "lateness"),
        ("lateness = 86401", "lateness"),
        ("lateness = 1.5", "lateness"),
        ("lateness = true", "lateness"),
        ('on_rejected = "drop"', "on_rejected"),
        ('zone = "Asia/Atlantis"', "zone: .*Asia/Shanghai"),
        ('zone = "../../etc/passwd"', "zone"),
        ('currency = ""', "currency"),
        ('[columns]\nidd = "id"', "columns: .*idd.*known are amount, card"),
        ("[windows]\nlarge_factor = 0", "windows.large_factor"),
        ("[windows]\nlarge = 1", "windows.large"),
        ("[learning]\ncapacity = 10", "learning.capacity"),
        ("[thresholds]\nauthenticate = 900", "thresholds: .*above hold"),
        ("[thresholds]\nhold = 1001", "thresholds.hold"),
        ("[exchange]\n", "exchange.subjects"),
        ("[exchange]\nsubjects = {}", "exchange.subjects"),
        ('[exchange]\nsubjects = { customer = "shoe-size" }', "exchange.subjects: .*one of account"),
        ('[exchange]\nsubjects = { limit = "card" }', "exchange.subjects.limit"),
        ('[exchange]\nsubjects = { card = "card" }\nbudget_ms = 0', "exchange.budget_ms"),
        (WHOLE.replace('customer = "phone"', 'card = "card"'), "publish 1: .*gives customer no type"),
        (WHOLE.replace('merchant = "merchant", ', ""), "publish 1: .*gives merchant no type"),
        (WHOLE.replace("rule:credit-burst", "sometimes"), "publish.0.when"),
        (WHOLE.replace("rule:credit-burst", "rule:"), "publish.0.when"),
        (WHOLE.replace('grade = "suspected"', 'grade = "sure"'), "publish.0.grade"),
        (WHOLE.replace("confidence = 60", "confidence = 101"), "publish.0.confidence"),
        (WHOLE.replace("valid_days = 30", ""), "publish.0.valid_days"),
        ("flows = true", "flows: .*gives customer no type"),
        ("lateness = ", "not a TOML file"),
    ],
)
def test_what_is_wrong_is_refused_with_file_and_key(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)detector\.toml.*{named}"):
        load(tmp_path, text)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_detector_settings(tmp_path / "none.toml")
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\0")
    with pytest.raises(ConfigError, match=r"binary\.toml"):
        load_detector_settings(path)
