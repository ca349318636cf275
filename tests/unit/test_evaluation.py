"""Which cities are evaluated, how actors are counted, and the picture of it."""

import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from exchange.evaluation.actors import Named, Score, best_at_precision, recall, score
from exchange.evaluation.picture import bars
from exchange.evaluation.seeds import TUNING, fresh

ENTITIES = st.frozensets(st.sampled_from("abcdefgh"), max_size=4)
NAMED = st.lists(
    st.builds(Named, st.sampled_from(["funds-loop", "payer-ring"]), st.integers(1, 5), ENTITIES), max_size=8
)


def test_seeds_are_drawn_anew_and_none_was_tuned_on() -> None:
    seeds = fresh(50)
    assert len(set(seeds)) == 50
    assert not set(seeds) & set(TUNING)
    assert fresh(10) == seeds[:10]


def test_an_actor_counts_once_and_a_stranger_is_a_false_accusation() -> None:
    planted = frozenset("abcd")
    named = [Named("funds-loop", 900, frozenset("ab")), Named("payer-ring", 600, frozenset("bx"))]
    found = score(planted, named)
    assert found == Score(found=2, planted=4, named=3)
    assert (found.recall, found.precision) == (0.5, 2 / 3)
    assert recall(frozenset("cd"), named) == Score(0, 2, 0)
    assert recall(frozenset("a"), named) == Score(1, 1, 1)


def test_nothing_planted_and_nothing_named_is_faultless() -> None:
    assert (score(frozenset(), []).recall, score(frozenset(), []).precision) == (1.0, 1.0)


@given(planted=ENTITIES, named=NAMED)
def test_hindsight_keeps_the_precision_and_finds_no_more_than_all(
    planted: frozenset[str], named: list[Named]
) -> None:
    best = best_at_precision(planted, named, 0.95).score
    assert best.precision >= 0.95
    assert best.found <= score(planted, named).found
    if score(planted, named).precision >= 0.95:
        assert best.found == score(planted, named).found


def test_the_picture_is_well_formed_and_escapes_what_it_is_given() -> None:
    drawn = ET.fromstring(bars("a < b", ["x & y"], {"<row>": [0.25], "all": [1.0]}))  # noqa: S314 - our own
    texts = [element.text for element in drawn.iter() if element.text]
    assert {"a < b", "x & y", "<row>", "0.250", "1.000"} <= set(texts)
