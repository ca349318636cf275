"""Average precision against values worked out by hand, and what must hold of it for every input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.demo.ranking import Ranking

scored = st.lists(st.tuples(st.integers(-3, 3).map(float), st.booleans()), min_size=1, max_size=40)


def ranking(pairs: list[tuple[float, bool]]) -> Ranking:
    result = Ranking()
    for score, fraud in pairs:
        result.add(score, fraud)
    return result


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(3, True), (2, False), (1, False)], 1.0),
        ([(3, False), (2, False), (1, True)], 1 / 3),
        # hits at ranks 1 and 3: 1/2 · 1 + 1/2 · 2/3
        ([(4, True), (3, False), (2, True), (1, False)], 5 / 6),
        # all tied: the share of frauds
        ([(1, True), (1, False), (1, False), (1, False)], 0.25),
        # a tied group of three with one fraud, then one more: 1/2 · 1/3 + 1/2 · 2/4
        ([(2, False), (2, True), (2, False), (1, True)], 1 / 6 + 1 / 4),
        ([(1, False)], None),
    ],
)
def test_average_precision_by_hand(pairs: list[tuple[float, bool]], expected: float | None) -> None:
    found = ranking(pairs).average_precision()
    assert found is None if expected is None else found == pytest.approx(expected, abs=1e-12)


@given(scored, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(pairs: list[tuple[float, bool]], chance: object) -> None:
    mixed = list(pairs)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert ranking(pairs).average_precision() == ranking(mixed).average_precision()


@given(scored, scored)
def test_merged_rankings_equal_one_ranking(
    first: list[tuple[float, bool]], second: list[tuple[float, bool]]
) -> None:
    merged = ranking(first)
    merged.merge(ranking(second).rows())
    assert merged.rows() == ranking(first + second).rows()


@given(scored)
def test_only_the_order_of_the_scores_matters(pairs: list[tuple[float, bool]]) -> None:
    stretched = [(score * 7 + 2, fraud) for score, fraud in pairs]
    assert ranking(pairs).average_precision() == ranking(stretched).average_precision()


@given(scored)
def test_never_below_what_the_best_and_worst_order_allow(pairs: list[tuple[float, bool]]) -> None:
    value = ranking(pairs).average_precision()
    if value is not None:
        assert 0 < value <= 1
