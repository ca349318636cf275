"""The additive model: monotone, decaying, recomputable, and fair by construction."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.rulebook import Purpose, Rulebook, default_text
from signalexchange.v1.signal_service_pb2 import Action, ContributionBucket, RiskBand

from exchange.domain.reliability import Reliability, Tally
from exchange.domain.scoring import DAY, Evidence, Matched, assess, decay, permille, uncapped_advice

RULEBOOK = Rulebook.parse(default_text())
NOW = 1_800_000_000
TOKEN = bytes(32)
CODES = [code.code for code in RULEBOOK.codes if not code.needs_links]

GROUPS = ["north", "south", "lotus", "river"]
PATTERNS = ["funds-loop", "payer-ring"]

evidence = st.builds(
    Evidence,
    group=st.sampled_from(GROUPS),
    code=st.sampled_from(CODES),
    confidence=st.integers(0, 100),
    grade=st.integers(1, 3),
    tlp=st.integers(1, 4),
    last_seen=st.integers(0, 400).map(lambda days: NOW - days * DAY // 2),
    echo=st.just(False),
    disputed=st.just(False),
)
cases = st.lists(evidence, max_size=16)
rumours = st.lists(
    st.builds(lambda item, echo: item._replace(echo=echo), evidence, st.booleans()), max_size=16
)
reported = st.lists(
    st.builds(
        Tally,
        issuer=st.sampled_from([*GROUPS, ""]),
        code=st.sampled_from([*CODES[:3], *PATTERNS, ""]),
        reporter=st.sampled_from([*GROUPS, "cloud"]),
        confirmed=st.integers(0, 12),
        refuted=st.integers(0, 12),
    ),
    max_size=6,
)


@st.composite
def matched(draw: st.DrawFn) -> Matched:
    """A match of two groups or more; without one of them it stands less surely, or not at all."""
    groups = draw(st.lists(st.sampled_from(GROUPS), min_size=2, max_size=4, unique=True))
    confidence = draw(st.integers(1, 1000))
    without = {group: draw(st.sampled_from([0, confidence // 2, confidence])) for group in groups}
    grade = draw(st.sampled_from([2, 3]))
    grades = {group: draw(st.integers(1, grade)) for group in draw(st.sets(st.sampled_from(groups)))}
    return Matched(
        draw(st.sampled_from(PATTERNS)), confidence, groups, without, 3, NOW, grade=grade, grades=grades
    )


found = st.lists(matched(), max_size=4)
purposes = st.sampled_from(RULEBOOK.purposes)
kinds = st.sampled_from(["", "bank", "ecommerce", "payment_provider"])


def strong(group: str, code: str = "mule-account", confidence: int = 100) -> Evidence:
    return Evidence(group, code, confidence, 3, 3, NOW)


def screening() -> Purpose:
    purpose = RULEBOOK.purpose("investigation")
    assert purpose is not None
    return purpose


def reliability(items: list[Tally]) -> Reliability:
    """Where every party is a group of its own."""
    return Reliability(RULEBOOK.matching.reliability, lambda member: member, items)


def uncapped(
    items: list[Evidence],
    matches: list[Matched],
    tallies: list[Tally],
    purpose: Purpose,
    without: str,
    kind: str = "",
) -> int:
    """Advice on all that others than one group said, as if any number of groups were enough, from the formula
    itself."""
    factors = reliability([tally for tally in tallies if tally.reporter != without]).factors
    said: dict[tuple[str, str], int] = {}
    for item in items:
        rule = RULEBOOK.code(item.code)
        assert rule is not None
        if item.group != without and not item.echo:
            factor = decay(NOW - item.last_seen, rule.half_life_days * DAY)
            weight = rule.weights.of(item.grade) * item.confidence * factor // (100 << 16)
            said[item.group, item.code] = said.get((item.group, item.code), 0) + weight
    weights = dict.fromkeys(GROUPS, 0)
    for (group, code), weight in said.items():
        weights[group] += (
            weight * factors.groups.get(group, 1000) * factors.codes.get(code, 1000) // 1_000_000
        )
    strongest = dict.fromkeys(PATTERNS, 0)
    for match in matches:
        confidence = match.without.get(without, match.confidence)
        weight = RULEBOOK.model.match * confidence * factors.codes.get(match.pattern, 1000) // 1_000_000
        strongest[match.pattern] = max(strongest[match.pattern], weight)
    heard = [item for item in items if item.group != without and not item.echo and _weighs(item)]
    standing = [match for match in matches if match.without.get(without, match.confidence)]
    grade = max(
        [
            *(item.grade for item in heard),
            *(match.grades.get(without, match.grade) for match in standing),
            0,
        ]
    )
    table, highest = purpose.advice_for(kind).by_band, RULEBOOK.advice_grades.highest[grade]
    return uncapped_advice(weights.values(), RULEBOOK.model, table, highest, sum(strongest.values()))


def _weighs(item: Evidence) -> bool:
    """Whether it adds anything at all."""
    rule = RULEBOOK.code(item.code)
    assert rule is not None
    factor = decay(NOW - item.last_seen, rule.half_life_days * DAY)
    return rule.weights.of(item.grade) * item.confidence * factor // (100 << 16) > 0


@given(rumours, found, reported, purposes, kinds)
def test_no_single_accuser(
    items: list[Evidence], matches: list[Matched], tallies: list[Tally], purpose: Purpose, kind: str
) -> None:
    """Neither by signals, their grade included, nor by its part in matches nor by what it reports of
    others."""
    risk = assess(TOKEN, items, RULEBOOK, purpose, NOW, reliability(tallies), matches, kind)
    if risk is None:
        return
    assert risk.human_review == (risk.advice > Action.ACTION_INTERCEPT)
    for group in (*GROUPS, "cloud"):
        left = uncapped(items, matches, tallies, purpose, group, kind)
        assert risk.advice <= max(Action.ACTION_AUTHENTICATE, left)


@given(rumours, found, purposes, kinds)
def test_no_action_without_evidence_of_its_grade(
    items: list[Evidence], matches: list[Matched], purpose: Purpose, kind: str
) -> None:
    """Nor on the word of one group that its evidence has it."""
    risk = assess(TOKEN, items, RULEBOOK, purpose, NOW, None, matches, kind)
    if risk is None or risk.advice <= Action.ACTION_AUTHENTICATE:
        return
    for group in (*GROUPS, ""):
        told = {item.grade for item in items if item.group != group and not item.echo}
        told |= {match.grades.get(group, match.grade) for match in matches}
        assert risk.advice <= RULEBOOK.advice_grades.highest[max(told)]


def test_a_kind_of_member_is_advised_what_it_can_do() -> None:
    purpose = RULEBOOK.purpose("merchant-onboarding")
    assert purpose is not None
    items = [strong(group) for group in ("north", "south", "lotus") for _ in range(9)]
    advised = {}
    for kind in ("bank", "ecommerce"):
        risk = assess(TOKEN, items, RULEBOOK, purpose, NOW, kind=kind)
        assert risk is not None
        advised[kind] = risk.advice, risk.human_review, risk.notice_code
    assert advised["bank"] == (Action.ACTION_RESTRICT, True, "advice-restrict")
    assert advised["ecommerce"] == (Action.ACTION_INTERCEPT, False, "advice-intercept")


def test_suspicions_alone_never_restrict_and_corroboration_never_freezes() -> None:
    highest = {1: Action.ACTION_INTERCEPT, 2: Action.ACTION_RESTRICT, 3: Action.ACTION_FREEZE}
    for grade, action in highest.items():
        groups = ("north", "south", "lotus", "river")
        items = [strong(group)._replace(grade=grade) for group in groups for _ in range(30)]
        risk = assess(TOKEN, items, RULEBOOK, screening(), NOW)
        assert risk is not None
        assert (risk.band, risk.advice) == (RiskBand.RISK_BAND_SEVERE, action)
    # One group's confirmation doesn't lift the rest.
    items = [strong(group)._replace(grade=2) for group in ("north", "south", "lotus") for _ in range(30)]
    risk = assess(TOKEN, [*items, strong("river")], RULEBOOK, screening(), NOW)
    assert risk is not None
    assert risk.advice == Action.ACTION_RESTRICT


@given(rumours, found, purposes)
def test_no_rumour(items: list[Evidence], matches: list[Matched], purpose: Purpose) -> None:
    heard = [item for item in items if not item.echo]
    assert assess(TOKEN, items, RULEBOOK, purpose, NOW, None, matches) == assess(
        TOKEN, heard, RULEBOOK, purpose, NOW, None, matches
    )


@given(cases, found, reported, purposes)
def test_no_veto_by_outcomes(
    items: list[Evidence], matches: list[Matched], tallies: list[Tally], purpose: Purpose
) -> None:
    """Whatever one group reports of others changes nothing of them, neither score nor advice."""
    alone = [tally._replace(reporter="cloud") for tally in tallies if tally.issuer != "cloud"]
    assert assess(TOKEN, items, RULEBOOK, purpose, NOW, reliability(alone), matches) == assess(
        TOKEN, items, RULEBOOK, purpose, NOW, None, matches
    )


@given(cases, reported, purposes)
def test_no_self_praise(items: list[Evidence], tallies: list[Tally], purpose: Purpose) -> None:
    """With its own verdicts on what it said itself nobody's word weighs more."""
    others = [tally for tally in tallies if tally.reporter != tally.issuer]
    own = [tally for tally in tallies if tally.reporter == tally.issuer and tally.reporter == "north"]
    said = [item for item in items if item.group == "north"]
    praised = assess(TOKEN, said, RULEBOOK, purpose, NOW, reliability([*_plain(others), *_plain(own)]))
    plain = assess(TOKEN, said, RULEBOOK, purpose, NOW, reliability(_plain(others)))
    assert praised is None or (plain is not None and praised.score <= plain.score)


def _plain(tallies: list[Tally]) -> list[Tally]:
    """Verdicts on issuers alone: what they say of codes is everybody's."""
    return [tally._replace(code="") for tally in tallies]


@given(cases, found, reported, purposes, st.integers(0, 15))
def test_what_is_disputed_carries_no_advice_and_keeps_its_score(
    items: list[Evidence], matches: list[Matched], tallies: list[Tally], purpose: Purpose, at: int
) -> None:
    known = reliability(tallies)
    before = assess(TOKEN, items, RULEBOOK, purpose, NOW, known, matches)
    disputed = [item._replace(disputed=place == at) for place, item in enumerate(items)]
    after = assess(TOKEN, disputed, RULEBOOK, purpose, NOW, known, matches)
    if before is None:
        assert after is None
        return
    assert after is not None
    assert (after.score, after.band, after.groups) == (before.score, before.band, before.groups)
    capped = min(before.advice, Action.ACTION_AUTHENTICATE) if after.disputed else before.advice
    assert after.advice == capped


@given(cases, purposes)
def test_two_groups_that_refute_an_issuer_lower_what_it_says(items: list[Evidence], purpose: Purpose) -> None:
    tallies = [Tally("north", "", reporter, 0, 10) for reporter in ("south", "lotus")]
    before = assess(TOKEN, items, RULEBOOK, purpose, NOW)
    after = assess(TOKEN, items, RULEBOOK, purpose, NOW, reliability(tallies))
    assert after is None or (before is not None and after.score <= before.score)


def test_a_match_adds_its_pattern_to_the_reasons_and_its_groups_once() -> None:
    loop = Matched("funds-loop", 1000, ("north", "south"), {"north": 0, "south": 0}, 3, NOW - 2 * DAY)
    risk = assess(TOKEN, [], RULEBOOK, screening(), NOW, None, [loop])
    assert risk is not None
    assert (risk.groups, risk.freshness_days, risk.handling) == (2, 2, 3)
    assert [reason.code for reason in risk.reasons] == ["funds-loop"]
    assert risk.score == permille(RULEBOOK.model.prior + RULEBOOK.model.match)
    assert risk.advice <= Action.ACTION_AUTHENTICATE  # without either group there is no match
    both = assess(TOKEN, [strong("north"), strong("lotus")], RULEBOOK, screening(), NOW, None, [loop, loop])
    assert both is not None
    assert both.groups == 3
    assert {reason.code for reason in both.reasons} == {"funds-loop", "mule-account"}


def test_a_match_of_three_groups_carries_advice_with_a_signal_of_a_fourth() -> None:
    groups = ("south", "lotus", "river")
    loop = Matched("funds-loop", 1000, groups, dict.fromkeys(groups, 900), 3, NOW)
    ring = loop._replace(pattern="payer-ring")
    risk = assess(TOKEN, [strong("north")], RULEBOOK, screening(), NOW, None, [loop, ring])
    assert risk is not None
    assert risk.advice > Action.ACTION_AUTHENTICATE


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


def test_who_vouches_for_accusers_is_an_accuser() -> None:
    """Two groups refute both accusers; that a third vouches for them doesn't raise the advice."""
    purpose = RULEBOOK.purpose("credit-decision")
    assert purpose is not None
    items = [strong(group, confidence=70) for group in ("north", "south") for _ in range(2)]
    refuted = [
        Tally(issuer, "mule-account", reporter, 0, 10)
        for issuer in ("north", "south")
        for reporter in ("lotus", "river")
    ]
    vouched = [Tally(issuer, "mule-account", "cloud", 10, 0) for issuer in ("north", "south")]
    without = assess(TOKEN, items, RULEBOOK, purpose, NOW, reliability(refuted))
    assert without is not None
    assert without.advice <= Action.ACTION_AUTHENTICATE
    risk = assess(TOKEN, items, RULEBOOK, purpose, NOW, reliability([*refuted, *vouched]))
    assert risk is not None
    assert risk.score > without.score
    assert risk.advice == Action.ACTION_AUTHENTICATE < uncapped(items, [], [*refuted, *vouched], purpose, "")
