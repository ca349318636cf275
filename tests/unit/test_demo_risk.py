"""A member's view of terminal risk, with and without the exchange."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.rulebook import Rulebook, default_text

from exchange.demo.risk import CODE, CONFIDENCE, DAY, GRADE, MEMORY, TerminalRisk
from exchange.domain.scoring import Evidence, assess

RULEBOOK = Rulebook.parse(default_text())
PURPOSE = RULEBOOK.purpose("transaction-screening")
NOW = 1_000_000_000


def test_without_reports_there_is_no_risk() -> None:
    assert TerminalRisk(RULEBOOK).own_view("M", NOW) == 0.0


def test_a_report_fades_and_is_forgotten() -> None:
    risk = TerminalRisk(RULEBOOK)
    risk.report("M", NOW - 7 * DAY, NOW)
    views = [risk.own_view("M", NOW + days * DAY) for days in (0, 10, 27)]
    assert views == sorted(views, reverse=True)
    assert views[2] > 0
    assert risk.own_view("M", NOW + MEMORY) == 0.0


@given(st.lists(st.integers(0, 27), min_size=1, max_size=7))
def test_own_view_and_the_hubs_answer_weigh_the_same_evidence_alike(ages: list[int]) -> None:
    assert PURPOSE is not None
    risk = TerminalRisk(RULEBOOK)
    for age in ages:
        risk.report("M", NOW - age * DAY, NOW - age * DAY)
    evidence = [Evidence("g", CODE, CONFIDENCE, GRADE, 1, NOW - age * DAY) for age in ages]
    answer = assess(bytes(32), evidence, RULEBOOK, PURPOSE, NOW)
    assert answer is not None
    # the answer is cut off to a permille, which is coarse where odds are small
    assert risk.from_others(answer.score) == pytest.approx(risk.own_view("M", NOW), abs=0.06)


@given(st.integers(0, 998))
def test_a_higher_score_never_means_less_risk(score: int) -> None:
    risk = TerminalRisk(RULEBOOK)
    assert 0.0 <= risk.from_others(score) <= risk.from_others(score + 1)
