"""Measures of the detectors' evaluation, by hand."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from signalexchange.detector.trial import Settings

from exchange.evaluation.detection import report
from exchange.evaluation.detection.evaluating import Evaluated, Window
from exchange.evaluation.detection.figures import (
    Figures,
    Found,
    Payments,
    figures,
    known_cards,
    look_into,
    roc_auc,
)
from exchange.evaluation.detection.plan import Plan, Way
from exchange.replay.transactions import DAY

HOUR = 3_600


def flags(*values: int) -> Any:
    return np.array(values, np.bool_)


def numbers(*values: float) -> Any:
    return np.array(values, np.float64)


@pytest.mark.parametrize(
    ("frauds", "scores", "area"),
    [
        ([1, 0], [2, 1], 1.0),
        ([0, 1], [2, 1], 0.0),
        ([1, 0, 0, 1], [4, 3, 2, 1], 0.5),
        # Of the pairs (3, 2), (3, 1), (2, 2), (2, 1), three are in order and one is a tie.
        ([1, 1, 0, 0], [3, 2, 2, 1], 0.875),
        ([1, 0, 0], [1, 1, 1], 0.5),
        ([0, 0], [1, 2], 0.5),
    ],
)
def test_roc_auc_is_the_share_of_pairs_in_order(frauds: list[int], scores: list[float], area: float) -> None:
    assert roc_auc(flags(*frauds), numbers(*scores)) == area


def test_a_card_is_looked_into_by_its_highest_payment() -> None:
    cards = np.array(["a", "b", "a", "c", "d"], np.str_)
    chosen, precision = look_into(cards, flags(1, 0, 0, 1, 0), numbers(0.1, 0.5, 0.9, 0.2, 0.3), 2)
    # The fraud of card a is another of its payments than the suspicious one.
    assert (chosen.tolist(), precision) == (["a", "b"], 0.5)


def test_outcomes_have_no_say_between_equal_scores() -> None:
    cards = np.array(["b", "a", "c"], np.str_)
    for frauds in (flags(1, 0, 0), flags(0, 1, 0), flags(0, 0, 1)):
        assert look_into(cards, frauds, numbers(1, 1, 1), 1)[0].tolist() == ["a"]


def test_fewer_cards_than_may_be_looked_into_count_as_looked_into_in_vain() -> None:
    assert look_into(np.array(["a"], np.str_), flags(1), numbers(1), 100)[1] == 0.01


def payments(*rows: tuple[float, str, int]) -> Payments:
    """Rows (time in days, card, scenario)."""
    return Payments(
        np.array([round(row[0] * DAY) for row in rows], np.int64),
        np.array([row[1] for row in rows], np.str_),
        np.array([row[2] > 0 for row in rows], np.bool_),
        np.array([row[2] for row in rows], np.int64),
    )


def test_a_card_is_known_from_when_its_outcome_came() -> None:
    given = payments((1, "early", 2), (3, "a", 2), (4, "genuine", 0), (4.5, "b", 1), (9, "late", 2))
    for day, known in ((9, []), (10, ["a"]), (11, ["a"]), (12, ["a", "b"]), (16, ["a", "b", "late"])):
        assert known_cards(given, day * DAY, 2 * DAY, 7 * DAY).tolist() == known


def test_figures_of_a_window() -> None:
    given = payments(
        (1.0, "k", 2),  # known from day 3 on
        (2.0, "z", 1),  # known from day 4 on
        (3.1, "a", 2), (3.2, "b", 0), (3.3, "k", 2), (3.4, "c", 0),
        (4.1, "b", 0), (4.2, "c", 3), (4.3, "a", 0),
        (5.5, "a", 1),
    )  # fmt: skip
    scores = numbers(0, 0, 0.9, 0.8, 1.0, 0.1, 0.7, 0.6, 0.2, 1.0)
    plan = Plan(settings=Settings(delay=2 * DAY), cards=1, known=2)
    found = figures(given, scores, 3 * DAY, 5 * DAY, plan)
    # In order: k (fraud), a (fraud), b, b, c (fraud), a, c.
    assert found.average_precision == pytest.approx((1 + 1 + 3 / 5) / 3)
    assert found.roc_auc == pytest.approx((4 + 4 + 2) / 12)
    # Without card k, known that morning: a (fraud), b, b, c (fraud), a, c.
    assert found.new_average_precision == pytest.approx((1 + 2 / 4) / 2)
    assert found.new_roc_auc == pytest.approx((4 + 2) / 8)
    # Card a on day 3 is right, card b on day 4 is not.
    assert found.card_precision == 0.5
    assert found.scenarios == {
        1: Found(0, 0.0, 0.0),
        2: Found(2, 1.0, 1.0),
        # Among b, b, a, c of genuine payments it comes third.
        3: Found(1, 1 / 3, 0.0),
    }


def test_windows_are_of_the_last_days_and_begin_when_the_plan_says() -> None:
    assert Plan().windows(122) == [(91 + start, 105 + start) for start in (0, 3, 7, 10, 14, 17)]


def evaluated(exchange: float, alone: float) -> Evaluated:
    def of(value: float) -> Figures:
        return Figures(value, value, value, value, value, {2: Found(5, value, value)})

    ways: dict[Way, Figures] = {
        "rules": of(0.1),
        "alone": of(alone),
        "exchange": of(exchange),
        "pooled": of(0.9),
    }
    windows = [Window(DAY * at, DAY * (at + 14), 1_000, 5, ways) for at in (0, 3)]
    counts = {"signals": 1, "asked": 2, "hits": 1}
    return Evaluated("a <file>", True, 10_000, 50, windows, counts, {"alone": (1, 2)}, 3.0)


def test_report_table_and_picture_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = report.document([evaluated(0.7523, 0.6)], Plan())
    assert document["data"][0]["mean"]["exchange"]["average_precision"] == 0.7523
    files = report.write(document, tmp_path)
    assert [path.name for path in files] == ["detector.json", "detector-1.svg"]
    drawn = [element.text for element in ET.parse(files[1]).iter()]  # noqa: S314 - our own
    assert {"Average precision, a <file>", "01-01 to 01-14", "0.752"} <= set(drawn)
    report.show(document, Console(width=80))
    shown = capsys.readouterr().out
    assert "0.752" in shown
    assert "…" not in shown
    assert "aim not met" not in shown


@pytest.mark.parametrize(("exchange", "alone", "missed"), [(0.72, 0.72, 2), (0.7, 0.6, 2), (0.6, 0.7, 4)])
def test_aims_that_were_missed_are_said(exchange: float, alone: float, missed: int) -> None:
    document = report.document([evaluated(exchange, alone)], Plan())
    assert len(report.unmet(document["data"][0])) == missed
