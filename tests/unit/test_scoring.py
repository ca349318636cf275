"""The additive model: monotone, decaying, recomputable, and fair by construction."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.rulebook import Purpose, Rulebook, default_text
from signalexchange.v1.signal_service_pb2 import Action, ContributionBucket, RiskBand

from exchange.domain.scoring import DAY, Evidence, assess, decay, permille, uncapped_advice

RULEBOOK = Rulebook.parse(default_text())
NOW = 1_800_000_000
TOKEN = bytes(32)
CODES = [code.code for code in RULEBOOK.codes if not code.needs_links]

evidence = st.builds(
    Evidence,
    group=st.sampled_from(["north", "south", "lotus", "river"]),
    code=st.sampled_from(CODES),
    confidence=st.integers(0, 100),
    grade=st.integers(1, 3),
    tlp=st.integers(1, 4),
    last_seen=st.integers(0, 400).map(lambda days: NOW - days * DAY // 2),
)
cases = st.lists(evidence, max_size=40)
purposes = st.sampled_from(RULEBOOK.purposes)


def strong(group: str, code: str = "mule-account", confidence: int = 100) -> Evidence:
    return Evidence(group, code, confidence, 3, 3, NOW)


def screening() -> Purpose:
    purpose = RULEBOOK.purpose("investigation")
    assert purpose is not None
    return purpose


def uncapped(items: list[Evidence], purpose: Purpose) -> int:
    """Advice of the evidence as if any number of groups were enough, from the formula itself."""
    weights: dict[str, int] = {}
    for item in items:
        rule = RULEBOOK.code(item.code)
        assert rule is not None
        factor = decay(NOW - item.last_seen, rule.half_life_days * DAY)
        weight = rule.weights.of(item.grade) * item.confidence * factor // (100 << 16)
        weights[item.group] = weights.get(item.group, 0) + weight
    return uncapped_advice(weights.values(), RULEBOOK.model, purpose)


@given(cases, purposes)
def test_no_single_accuser(items: list[Evidence], purpose: Purpose) -> None:
    risk = assess(TOKEN, items, RULEBOOK, purpose, NOW)
    if risk is None:
        return
    for group in {item.group for item in items}:
        others = [item for item in items if item.group != group]
        assert risk.advice <= max(Action.ACTION_AUTHENTICATE, uncapped(others, purpose))


@given(st.lists(evidence.map(lambda item: item._replace(group="north")), max_size=60), purposes)
def test_a_lone_group_never_gets_past_authenticate(items: list[Evidence], purpose: Purpose) -> None:
    risk = assess(TOKEN, items, RULEBOOK, purpose, NOW)
    assert risk is None or (risk.advice <= Action.ACTION_AUTHENTICATE and not risk.human_review)


@given(cases, evidence, purposes)
def test_more_evidence_never_lowers_the_score(
    items: list[Evidence], more: Evidence, purpose: Purpose
) -> None:
    before = assess(TOKEN, items, RULEBOOK, purpose, NOW)
    after = assess(TOKEN, [*items, more], RULEBOOK, purpose, NOW)
    if before is not None:
        assert after is not None
        assert after.score >= before.score
        assert after.advice >= before.advice
        assert after.groups >= before.groups


@given(cases, purposes)
def test_order_does_not_matter(items: list[Evidence], purpose: Purpose) -> None:
    assert assess(TOKEN, items, RULEBOOK, purpose, NOW) == assess(TOKEN, items[::-1], RULEBOOK, purpose, NOW)


@given(cases, st.integers(0, 400), purposes)
def test_scores_fall_with_time(items: list[Evidence], days: int, purpose: Purpose) -> None:
    now = assess(TOKEN, items, RULEBOOK, purpose, NOW)
    later = assess(TOKEN, items, RULEBOOK, purpose, NOW + days * DAY)
    assert later is None or (now is not None and later.score <= now.score)


@given(st.integers(-20_000, 40_000))
def test_permille_is_the_logistic_function(log_odds: int) -> None:
    exact = 1000 / (1 + math.exp(-log_odds / 1000))
    assert abs(permille(log_odds) - exact) <= 1.5
    assert permille(log_odds) <= permille(log_odds + 1)


@given(st.integers(0, 10_000), st.integers(1, 3650))
def test_decay_is_a_power_of_two(days: int, half_life: int) -> None:
    exact = 2 ** (-days / half_life)
    assert abs(decay(days * DAY, half_life * DAY) / 65536 - exact) < 0.012


def test_decay_halves_and_never_rises() -> None:
    assert decay(0, DAY) == 65536
    assert decay(-5, DAY) == 65536
    assert decay(DAY, DAY) == 32768
    assert decay(40 * DAY, DAY) == 0
    assert all(a >= b for a, b in pairwise(decay(hour * 3600, DAY) for hour in range(400)))


def test_two_strong_groups_freeze_in_an_investigation_and_one_alone_does_not() -> None:
    one = [strong("north")] * 9
    risk = assess(TOKEN, one, RULEBOOK, screening(), NOW)
    assert risk is not None
    assert risk.advice == Action.ACTION_AUTHENTICATE
    both = [*one, *[strong("south")] * 9]
    risk = assess(TOKEN, both, RULEBOOK, screening(), NOW)
    assert risk is not None
    assert risk.groups == 2
    assert risk.band == RiskBand.RISK_BAND_SEVERE
    assert Action.ACTION_AUTHENTICATE < risk.advice < Action.ACTION_FREEZE
    risk = assess(TOKEN, [*both, *[strong("lotus")] * 9], RULEBOOK, screening(), NOW)
    assert risk is not None
    assert risk.advice == Action.ACTION_FREEZE
    assert risk.human_review
    assert risk.notice_code == "advice-freeze"


def test_more_signals_of_a_group_rank_higher_until_its_cap() -> None:
    scores = []
    for count in range(1, 4):
        risk = assess(
            TOKEN, [strong("north", "terminal-compromised", 50)] * count, RULEBOOK, screening(), NOW
        )
        assert risk is not None
        scores.append(risk.score)
    assert scores == sorted(set(scores))
    capped = [assess(TOKEN, [strong("north")] * count, RULEBOOK, screening(), NOW) for count in (50, 500)]
    assert capped[0] == capped[1]


def test_the_answer_names_reasons_freshness_and_strictest_handling() -> None:
    items = [
        Evidence("north", "mule-account", 100, 3, 2, NOW - 3 * DAY),
        Evidence("south", "terminal-compromised", 60, 1, 4, NOW - 2 * DAY - 1),
    ]
    risk = assess(TOKEN, items, RULEBOOK, screening(), NOW)
    assert risk is not None
    assert [reason.code for reason in risk.reasons] == ["mule-account", "terminal-compromised"]
    assert risk.reasons[0].contribution == ContributionBucket.CONTRIBUTION_BUCKET_MAJOR
    assert risk.reasons[1].contribution == ContributionBucket.CONTRIBUTION_BUCKET_MINOR
    assert risk.freshness_days == 2
    assert risk.handling == 4


@pytest.mark.parametrize("items", [[], [strong("north", "same-subject")], [strong("north", "no-such-code")]])
def test_what_weighs_nothing_is_no_hit(items: list[Evidence]) -> None:
    assert assess(TOKEN, items, RULEBOOK, screening(), NOW) is None
