"""The additive model, version "additive-1": evidence about one subject → score, band and advice.

log-odds = prior + Σ over groups min(group cap, Σ over the group's signals weight(code, grade) · confidence
· decay), where decay halves a weight every half-life of its code, counted from when the fact was last seen.
Everything is integer arithmetic (milli-nats and a table of powers of two, 16 fractional bits), `now` is the
entry's time, so anyone with the same evidence and rulebook recomputes the same answer.

Invariants: more evidence never lowers the score. No single accuser: for every group i, advice(all evidence)
≤ max(AUTHENTICATE, uncapped advice(all evidence without i's)); so a lone group never gets past
AUTHENTICATE, and of two groups each must carry the advice alone.
"""

from bisect import bisect_right
from collections.abc import Iterable
from decimal import Context, Decimal
from typing import Final, NamedTuple

from signalexchange.notices import advice_notice
from signalexchange.rulebook import Model, Purpose, Rulebook

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

DAY: Final = 86_400
MAX_REASONS: Final = 8
_STEPS: Final = 64


class Evidence(NamedTuple):
    """One signal as the model sees it. `confidence` 0–100, `last_seen` in Unix seconds, `grade` and `tlp`
    as enums."""

    group: str
    code: str
    confidence: int
    grade: int
    tlp: int
    last_seen: int


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


def uncapped_advice(group_weights: Iterable[int], model: Model, purpose: Purpose) -> Action.ValueType:
    """What the weights of some groups (milli-nats, before the cap a group) advise, however few they are."""
    return purpose.advice.by_band[band(permille(_log_odds(group_weights, model)), model)]


def _log_odds(group_weights: Iterable[int], model: Model) -> int:
    cap = model.group_cap
    total = model.prior
    for weight in group_weights:
        total += weight if weight < cap else cap
    return total


def assess(
    token: bytes, evidence: Iterable[Evidence], rulebook: Rulebook, purpose: Purpose, now: int
) -> SubjectRisk | None:
    """The answer about one subject; None where no evidence weighs anything (any more).

    `evidence` is what the caller may see: other groups' active signals of codes the purpose shows.
    """
    model = rulebook.model
    by_group: dict[str, int] = {}
    by_code: dict[str, int] = {}
    handling = 0
    last_seen = 0
    for item in evidence:
        rule = rulebook.code(item.code)
        if rule is None:
            continue  # a later rulebook dropped the code
        factor = decay(now - item.last_seen, rule.half_life_days * DAY)
        weight = rule.weights.of(item.grade) * item.confidence * factor // (100 << 16)
        if weight == 0:
            continue
        by_group[item.group] = by_group.get(item.group, 0) + weight
        by_code[item.code] = by_code.get(item.code, 0) + weight
        handling = max(handling, item.tlp)
        last_seen = max(last_seen, item.last_seen)
    if not by_group:
        return None
    weights = list(by_group.values())
    score = permille(_log_odds(weights, model))
    in_band = band(score, model)
    advice = purpose.advice.by_band[in_band]
    if advice > ACTION_AUTHENTICATE:
        # Leaving out the heaviest group leaves the least, so it stands for every group.
        weights.remove(max(weights))
        advice = min(advice, max(ACTION_AUTHENTICATE, uncapped_advice(weights, model, purpose)))
    return SubjectRisk(
        token=token,
        score=score,
        band=in_band,
        reasons=_reasons(by_code),
        groups=len(by_group),
        freshness_days=max(0, now - last_seen) // DAY,
        advice=advice,
        human_review=advice >= ACTION_RESTRICT,
        notice_code=advice_notice(advice).code,
        handling=handling,  # type: ignore[arg-type]  # the number of a Tlp
    )


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
