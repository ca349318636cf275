"""The scoring model of docs/protocol.md (12.1), computed anew from its text, equals the hub's."""

import math
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from signalexchange.rulebook import Rulebook, default_text

from exchange.domain.scoring import DAY, Evidence, assess

NOW = 2_000_000_000
LOGITS = [math.ceil(1000 * (Decimal(p) / (1000 - p)).ln()) for p in range(1, 1000)]
RULEBOOK = Rulebook.parse(default_text())

groups, grades, confidences = st.integers(0, 3), st.integers(1, 3), st.integers(0, 100)
ages = st.integers(-DAY, 400 * DAY)


@given(st.lists(st.tuples(groups, grades, confidences, ages), min_size=1, max_size=12))
def test_the_model_computes_what_the_protocol_says(signals: list[tuple[int, int, int, int]]) -> None:
    purpose, model = RULEBOOK.purposes[0], RULEBOOK.model
    code = RULEBOOK.code(purpose.codes[0])
    assert code is not None
    by_group = [0, 0, 0, 0]
    for group, grade, confidence, age in signals:
        steps = max(0, age) * 64 // (code.half_life_days * DAY)
        decay = int(Decimal(2) ** 16 * Decimal(2) ** (Decimal(-(steps % 64)) / 64)) >> steps // 64
        by_group[group] += code.weights.of(grade) * confidence * decay // (100 << 16)
    odds = model.prior + sum(min(weight, model.group_cap) for weight in by_group)
    evidence = [
        Evidence(str(group), code.code, confidence, grade, 1, NOW - age)
        for group, grade, confidence, age in signals
    ]
    risk = assess(bytes(32), evidence, RULEBOOK, purpose, NOW)
    if risk is None:
        assert not any(by_group)
    else:
        assert risk.score == sum(logit <= odds for logit in LOGITS)
        assert risk.groups == sum(weight > 0 for weight in by_group)
