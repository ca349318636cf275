"""The additive model, version "additive-2": evidence about one subject → score, band and advice.

log-odds = prior + Σ over groups min(group cap, Σ over the group's signals weight(code, grade) · confidence
· decay · reliability) + min(group cap, Σ over patterns of the strongest match · confidence · reliability);
decay halves a weight every half-life of its code, counted from when the fact was last seen; reliability is
the product of the issuer's and the code's factor, 1 without outcomes. Everything is integer arithmetic
(milli-nats, permille and a table of powers of two, 16 fractional bits), `now` is the entry's time, so anyone
with the same evidence, outcomes and rulebook recomputes the same answer.

Invariants: more evidence never lowers the score; an echo adds nothing. No single accuser: for every group i,
advice(all) ≤ max(AUTHENTICATE, uncapped advice without i's signals, its part in matches and its outcomes); so
a lone group never gets past AUTHENTICATE. Nor does what is disputed, while it is. An action needs evidence of
its grade (rulebook, `advice_grades`), and needs it without any one group too.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence, Set
from decimal import Context, Decimal
from types import MappingProxyType
from typing import Final, NamedTuple

from signalexchange.notices import advice_code
from signalexchange.rulebook import Model, Purpose, Rulebook
from signalexchange.v1.signal_pb2 import EVIDENCE_GRADE_CORROBORATED

# Constants of the module: looking an enum's name up through its type costs more than scoring a signal.
from signalexchange.v1.signal_service_pb2 import (
    ACTION_AUTHENTICATE,
    ACTION_RESTRICT,
    CONTRIBUTION_BUCKET_MAJOR,
    CONTRIBUTION_BUCKET_MINOR,
    CONTRIBUTION_BUCKET_MODERATE,
    RISK_BAND_ELEVATED,
    RISK_BAND_HIGH,
    RISK_BAND_LOW,
    RISK_BAND_SEVERE,
    Action,
    ContributionBucket,
    RiskBand,
    RiskReason,
    SubjectRisk,
)

from exchange.domain.reliability import NEUTRAL, NO_OUTCOMES, Factors, Reliability

DAY: Final = 86_400
MAX_REASONS: Final = 8
_STEPS: Final = 64


class Evidence(NamedTuple):
    """One signal as the model sees it. `confidence` 0–100, `last_seen` in Unix seconds, `grade` and `tlp`
    as enums. `echo` says that its group had been shown a hit on the subject before, `disputed` that another
    group refuted it and the issuer has yet to answer."""

    group: str
    code: str
    confidence: int
    grade: int
    tlp: int
    last_seen: int
    echo: bool = False
    disputed: bool = False


class Matched(NamedTuple):
    """One match as the model sees it, what the caller's group reported left out.

    `confidence` is in permille; `groups` tell of it; `without` says what the confidence would be without each
    group that matters to it, 0 where the match wouldn't stand; `last_seen` and `tlp` as of Evidence; `grade`
    is an EvidenceGrade, `grades` what it would be without groups where it would be another.
    """

    pattern: str
    confidence: int
    groups: Sequence[str]
    without: Mapping[str, int]
    tlp: int
    last_seen: int
    disputed: bool = False
    grade: int = EVIDENCE_GRADE_CORROBORATED
    grades: Mapping[str, int] = MappingProxyType({})


def _root(value: int, degree: int) -> int:
    """⌊value^(1/degree)⌋."""
    low, high = 0, 1 << (value.bit_length() // degree + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**degree <= value else (low, middle)
    return low


# ⌊2^16 · 2^(−k/64)⌋, exactly.
_DECAY: Final = tuple(_root((1 << (16 * _STEPS)) >> k, _STEPS) for k in range(_STEPS))

# Log-odds, in milli-nats rounded up, from which the probability is at least p permille, p = 1 … 999.
_LOGIT: Final = tuple(
    int(
        (
            Context(prec=20).divide(Decimal(p), Decimal(1000 - p)).ln(Context(prec=20)) * 1000
        ).to_integral_value("ROUND_CEILING")
    )
    for p in range(1, 1000)
)


def decay(age: int, half_life: int) -> int:
    """2^(−age/half_life) in 1/65536, both in seconds; ages below zero count as zero."""
    steps = max(0, age) * _STEPS // half_life
    return _DECAY[steps % _STEPS] >> (steps // _STEPS)


def permille(log_odds: int) -> int:
    """Probability, 0 to 999 permille, of log-odds in milli-nats."""
    return bisect_right(_LOGIT, log_odds)


def band(score: int, model: Model) -> RiskBand.ValueType:
    """Band of a score."""
    limits = model.bands
    if score >= limits.severe:
        return RISK_BAND_SEVERE
    if score >= limits.high:
        return RISK_BAND_HIGH
    return RISK_BAND_ELEVATED if score >= limits.elevated else RISK_BAND_LOW


def uncapped_advice(
    group_weights: Iterable[int],
    model: Model,
    table: Sequence[Action.ValueType],
    highest: Action.ValueType,
    matched: int = 0,
) -> Action.ValueType:
    """What a table advises by band, at most `highest`, on the weights of some groups and of matches
    (milli-nats, before the cap each), however few groups they are."""
    return min(table[band(permille(_log_odds(group_weights, matched, model)), model)], highest)


def best_grade(grades: Mapping[str, int], matches: Sequence[Matched], without: str | None = None) -> int:
    """The best grade of evidence, by group, and of matches, as it is without one group; 0 for none."""
    best = 0
    for group, grade in grades.items():
        if grade > best and group != without:
            best = grade
    for match in matches:
        if without is None:
            best = max(best, match.grade)
        elif match.without.get(without, match.confidence):
            best = max(best, match.grades.get(without, match.grade))
    return best


def _log_odds(group_weights: Iterable[int], matched: int, model: Model) -> int:
    cap = model.group_cap
    total = model.prior + min(matched, cap)
    for weight in group_weights:
        total += weight if weight < cap else cap
    return total


_Said = dict[tuple[str, str], int]
"""Weights, before reliability, by group and code."""


def _signals(said: _Said, factors: Factors, without: str | None) -> tuple[dict[str, int], dict[str, int]]:
    """What the signals of all groups but one weigh, by group and by code."""
    groups: dict[str, int] = {}
    codes: dict[str, int] = {}
    for (group, code), weight in said.items():
        if group == without:
            continue
        if factors is not NO_OUTCOMES:
            weight = weight * factors.of(group, code) // NEUTRAL**2
        if weight:
            groups[group] = groups.get(group, 0) + weight
            codes[code] = codes.get(code, 0) + weight
    return groups, codes


def _patterns(
    matches: Sequence[Matched], model: Model, factors: Factors, without: str | None
) -> dict[str, int]:
    """What the strongest match of each pattern weighs, as it is without one group."""
    patterns: dict[str, int] = {}
    for match in matches:
        confidence = match.confidence if without is None else match.without.get(without, match.confidence)
        weight = model.match * confidence * factors.codes.get(match.pattern, NEUTRAL) // NEUTRAL**2
        if weight > patterns.get(match.pattern, 0):
            patterns[match.pattern] = weight
    return patterns


def assess(
    token: bytes,
    evidence: Iterable[Evidence],
    rulebook: Rulebook,
    purpose: Purpose,
    now: int,
    reliability: Reliability | None = None,
    matches: Sequence[Matched] = (),
    kind: str = "",
) -> SubjectRisk | None:
    """The answer about one subject to a kind of member; None where no evidence weighs anything (any more).

    `evidence` is what the caller may see: other groups' active signals of codes the purpose shows; `matches`
    likewise, of patterns the purpose shows. Without `reliability` there are no outcomes.
    """
    model = rulebook.model
    said: _Said = {}
    grades: dict[str, int] = {}
    handling = 0
    last_seen = 0
    disputed = False
    for item in evidence:
        rule = rulebook.code(item.code)
        if rule is None or item.echo:
            continue  # a later rulebook dropped the code; or a rumour
        factor = decay(now - item.last_seen, rule.half_life_days * DAY)
        weight = rule.weights.of(item.grade) * item.confidence * factor // (100 << 16)
        if weight == 0:
            continue
        key = (item.group, item.code)
        said[key] = said.get(key, 0) + weight
        if item.grade > grades.get(item.group, 0):
            grades[item.group] = item.grade
        disputed |= item.disputed
        handling = max(handling, item.tlp)
        last_seen = max(last_seen, item.last_seen)
    factors = NO_OUTCOMES if reliability is None else reliability.factors
    weights, reasons = _signals(said, factors, None)
    groups: Set[str] = weights.keys()
    matched = 0
    if matches:
        patterns = _patterns(matches, model, factors, None)
        matched = sum(patterns.values())
        reasons |= patterns
        for match in matches:
            groups = groups | set(match.groups)
            disputed |= match.disputed
            handling = max(handling, match.tlp)
            last_seen = max(last_seen, match.last_seen)
    if not reasons:
        return None
    score = permille(_log_odds(weights.values(), matched, model))
    in_band = band(score, model)
    advice = purpose.advice_for(kind).by_band[in_band]
    if advice > ACTION_AUTHENTICATE:
        if disputed:
            advice = ACTION_AUTHENTICATE
        else:
            advice = min(advice, rulebook.advice_grades.highest[best_grade(grades, matches)])
            advice = _without_any_one(advice, said, grades, matches, rulebook, purpose, kind, reliability)
    return SubjectRisk(
        token=token,
        score=score,
        band=in_band,
        reasons=_reasons(reasons),
        groups=len(groups),
        freshness_days=max(0, now - last_seen) // DAY,
        advice=advice,
        human_review=advice >= ACTION_RESTRICT,
        notice_code=advice_code(advice),
        handling=handling,  # type: ignore[arg-type]  # the number of a Tlp
        disputed=disputed,
    )


def _without_any_one(
    advice: Action.ValueType,
    said: _Said,
    grades: Mapping[str, int],
    matches: Sequence[Matched],
    rulebook: Rulebook,
    purpose: Purpose,
    kind: str,
    reliability: Reliability | None,
) -> Action.ValueType:
    """The advice as far as it stands without any one group's signals, part in matches and outcomes."""
    accusers = {group for group, _ in said}.union(*[match.without for match in matches])
    if reliability is not None:
        accusers |= reliability.reporters
    factors, model = NO_OUTCOMES, rulebook.model
    table, highest = purpose.advice_for(kind).by_band, rulebook.advice_grades.highest
    for group in accusers:
        if reliability is not None:
            factors = reliability.without(group)
        weights, _ = _signals(said, factors, group)
        matched = sum(_patterns(matches, model, factors, group).values())
        at_most = highest[best_grade(grades, matches, group)]
        left = uncapped_advice(weights.values(), model, table, at_most, matched)
        advice = min(advice, max(ACTION_AUTHENTICATE, left))
    return advice


def _reasons(by_code: dict[str, int]) -> list[RiskReason]:
    if len(by_code) == 1:
        (code,) = by_code
        return [RiskReason(code=code, contribution=CONTRIBUTION_BUCKET_MAJOR)]
    total = sum(by_code.values())
    ordered = sorted(by_code.items(), key=lambda item: (-item[1], item[0]))
    return [
        RiskReason(code=code, contribution=_bucket(weight, total)) for code, weight in ordered[:MAX_REASONS]
    ]


def _bucket(weight: int, total: int) -> ContributionBucket.ValueType:
    if 2 * weight >= total:
        return CONTRIBUTION_BUCKET_MAJOR
    if 4 * weight >= total:
        return CONTRIBUTION_BUCKET_MODERATE
    return CONTRIBUTION_BUCKET_MINOR
