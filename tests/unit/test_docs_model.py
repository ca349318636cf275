"""The scoring model of docs/protocol.md (12.1), computed anew from its text, equals the hub's."""

import math
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from signalexchange.rulebook import ACTIONS, GRADES, Purpose, Rulebook, default_text

from exchange.domain.reliability import Posterior, Reliability, Tally
from exchange.domain.scoring import DAY, Evidence, Matched, assess

NOW = 2_000_000_000
LOGITS = [math.ceil(1000 * (Decimal(p) / (1000 - p)).ln()) for p in range(1, 1000)]
RULEBOOK = Rulebook.parse(default_text())

groups, grades, confidences = st.integers(0, 3), st.integers(1, 3), st.integers(0, 100)
ages = st.integers(-DAY, 400 * DAY)


@given(
    st.lists(st.tuples(groups, grades, confidences, ages), min_size=1, max_size=12),
    st.sampled_from(RULEBOOK.purposes),
    st.sampled_from(["bank", "ecommerce", "payment_provider"]),
)
def test_the_model_computes_what_the_protocol_says(
    signals: list[tuple[int, int, int, int]], purpose: Purpose, kind: str
) -> None:
    model = RULEBOOK.model
    code = RULEBOOK.code(purpose.codes[0])
    assert code is not None
    by_group = [0, 0, 0, 0]
    best = [0, 0, 0, 0]
    for group, grade, confidence, age in signals:
        steps = max(0, age) * 64 // (code.half_life_days * DAY)
        decay = int(Decimal(2) ** 16 * Decimal(2) ** (Decimal(-(steps % 64)) / 64)) >> steps // 64
        weight = code.weights.of(grade) * confidence * decay // (100 << 16)
        by_group[group] += weight
        best[group] = max(best[group], grade if weight else 0)
    odds = model.prior + sum(min(weight, model.group_cap) for weight in by_group)
    evidence = [
        Evidence(str(group), code.code, confidence, grade, 1, NOW - age)
        for group, grade, confidence, age in signals
    ]
    risk = assess(bytes(32), evidence, RULEBOOK, purpose, NOW, kind=kind)
    if risk is None:
        assert not any(by_group)
    else:
        assert risk.score == sum(logit <= odds for logit in LOGITS)
        assert risk.groups == sum(weight > 0 for weight in by_group)
        assert risk.advice == advised(by_group, best, purpose, kind)


def advised(by_group: list[int], best: list[int], purpose: Purpose, kind: str) -> int:
    """Advice as section 12.1 has it, of signals alone."""

    def lines(left: list[int]) -> int:
        odds = RULEBOOK.model.prior + sum(min(by_group[at], RULEBOOK.model.group_cap) for at in left)
        score = sum(logit <= odds for logit in LOGITS)
        bands = RULEBOOK.model.bands
        table = purpose.advice_by_kind.get(kind, purpose.advice)  # type: ignore[call-overload]
        if score >= bands.severe:
            name = table.severe
        elif score >= bands.high:
            name = table.high
        else:
            name = table.elevated if score >= bands.elevated else table.low
        grade = max([best[at] for at in left], default=0)
        needed = RULEBOOK.advice_grades.model_dump()
        allowed = [each for each in ACTIONS if GRADES[needed.get(each, "suspected")] <= max(grade, 1)]
        if grade == 0:
            allowed = ["allow", "authenticate"]
        return min(ACTIONS[name], max(ACTIONS[each] for each in allowed))

    everybody = [0, 1, 2, 3]
    advice = lines(everybody)
    for group in everybody:
        left = lines([at for at in everybody if at != group])
        advice = min(advice, max(ACTIONS["authenticate"], left))
    return advice


verdicts = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]), st.tuples(st.integers(0, 25), st.integers(0, 25)), max_size=4
)
PRIOR = RULEBOOK.matching.reliability


def posterior(owner: str | None, given_verdicts: dict[str, tuple[int, int]]) -> Posterior:
    made = Posterior(PRIOR, owner)
    for group, (confirmed, refuted) in given_verdicts.items():
        made.add(group, confirmed, refuted)
    return made


@given(st.sampled_from(["a", None]), verdicts)
def test_a_factor_is_what_the_protocol_says(
    owner: str | None, given_verdicts: dict[str, tuple[int, int]]
) -> None:
    def capped(confirmed: int, refuted: int) -> tuple[int, int]:
        if confirmed + refuted <= PRIOR.per_group:
            return confirmed, refuted
        scaled = confirmed * PRIOR.per_group // (confirmed + refuted)
        return scaled, PRIOR.per_group - scaled

    def ratio(groups: list[str]) -> int:
        c = sum(counted[group][0] for group in groups)
        r = sum(counted[group][1] for group in groups)
        return (
            1000
            * (PRIOR.confirmed + c)
            * (PRIOR.confirmed + PRIOR.refuted)
            // ((PRIOR.confirmed + c + PRIOR.refuted + r) * PRIOR.confirmed)
        )

    counted = {group: capped(*each) for group, each in given_verdicts.items()}
    others = [group for group in counted if group != owner]
    alone = ratio([group for group in counted if group == owner])
    left = [ratio([each for each in counted if each != group]) for group in others]
    if not left or (min(left) <= alone <= max(left)):
        expected = alone
    else:
        expected = min(left, key=lambda each: abs(each - alone))
    assert posterior(owner, given_verdicts).factor() == expected


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 3), max_size=3),
    st.lists(st.tuples(st.sampled_from(["funds-loop", "payer-ring"]), st.integers(0, 1000)), max_size=3),
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", ""]),
            st.sampled_from(["mule-account", "funds-loop", ""]),
            st.sampled_from("cde"),
            st.integers(0, 12),
            st.integers(0, 12),
        ),
        max_size=6,
    ),
)
def test_reliability_and_matches_count_as_the_protocol_says(
    said: dict[str, int], matches: list[tuple[str, int]], reported: list[tuple[str, str, str, int, int]]
) -> None:
    purpose, model, code = RULEBOOK.purposes[0], RULEBOOK.model, RULEBOOK.code("mule-account")
    assert code is not None
    known = Reliability(PRIOR, lambda member: member, [Tally(*row) for row in reported])
    evidence = [
        Evidence(group, code.code, 100, 3, 1, NOW) for group, count in said.items() for _ in range(count)
    ]
    found = [Matched(pattern, sure, ("x", "y"), {}, 1, NOW) for pattern, sure in matches]

    def factor(posteriors: dict[str, int], name: str) -> int:
        return posteriors.get(name, 1000)

    groups, codes = dict(known.factors.groups), dict(known.factors.codes)
    odds = model.prior
    for group, count in said.items():
        counted = (
            count * code.weights.confirmed * factor(groups, group) * factor(codes, code.code) // 1_000_000
        )
        odds += min(model.group_cap, counted)
    strongest: dict[str, int] = {}
    for pattern, sure in matches:
        weight = model.match * sure * factor(codes, pattern) // 1_000_000
        strongest[pattern] = max(strongest.get(pattern, 0), weight)
    odds += min(model.group_cap, sum(strongest.values()))
    risk = assess(bytes(32), evidence, RULEBOOK, purpose, NOW, known, found)
    if risk is None:
        assert odds == model.prior
    else:
        assert risk.score == sum(logit <= odds for logit in LOGITS)
