"""Posteriors from tallies: no group moves another's alone, praises itself, or weighs more than its share."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.patterns import Prior

from exchange.domain.reliability import NEUTRAL, NO_OUTCOMES, Posterior, Reliability, Tally

PRIOR = Prior(confirmed=8, refuted=2, per_group=10)
GROUPS = ["north", "south", "lotus", "river", "cloud"]

counts = st.integers(0, 40)
tallies = st.lists(
    st.builds(
        Tally,
        issuer=st.sampled_from([*GROUPS, ""]),
        code=st.sampled_from(["mule-account", "card-leaked", "funds-loop", ""]),
        reporter=st.sampled_from(GROUPS),
        confirmed=counts,
        refuted=counts,
    ),
    max_size=12,
)


def reliability(*given_tallies: Tally) -> Reliability:
    """Where every party is a group of its own."""
    return Reliability(PRIOR, lambda member: member, given_tallies)


def posterior(**verdicts: tuple[int, int]) -> Posterior:
    made = Posterior(PRIOR, "north")
    for group, (confirmed, refuted) in verdicts.items():
        made.add(group, confirmed, refuted)
    return made


@given(tallies)
def test_one_group_moves_nobody_but_itself(items: list[Tally]) -> None:
    alone = [item._replace(reporter="south") for item in items]
    factors = reliability(*alone).factors
    assert set(factors.groups) <= {"south"}
    assert all(factor < NEUTRAL for factor in factors.groups.values())
    assert not factors.codes


@given(tallies)
def test_no_self_praise(items: list[Tally]) -> None:
    own = [item._replace(issuer=item.reporter, refuted=0) for item in items]
    known = reliability(*own)
    assert known.factors is NO_OUTCOMES
    assert not known.reporters


@given(tallies)
def test_a_groups_own_outcomes_never_raise_its_own_reliability(items: list[Tally]) -> None:
    """Whatever others say: with its own verdicts on itself its factor is at most what it is without."""
    others = [item for item in items if item.reporter != item.issuer]
    with_own, without = reliability(*items), reliability(*others)
    for group in GROUPS:
        assert with_own.trust(group) <= without.trust(group)


@given(tallies, st.sampled_from(GROUPS))
def test_without_a_group_is_as_if_it_had_said_nothing(items: list[Tally], group: str) -> None:
    silent = reliability(*[item for item in items if item.reporter != group])
    assert reliability(*items).without(group) == silent.factors


@given(tallies)
def test_a_factor_is_no_further_from_its_prior_than_any_one_group_leaves_it(items: list[Tally]) -> None:
    """Others' part: measured from where the owner's own word puts it."""
    known = reliability(*items)
    for group in GROUPS:
        everybody = known.of_group(group)
        others = [name for name in everybody.groups if name != group]
        alone = Posterior(PRIOR, group)
        if group in everybody.groups:
            alone.add(group, *everybody._verdicts[group])
        base = alone.factor()
        for left in others:
            rest = Posterior(PRIOR, group)
            for name in everybody.groups:
                if name != left:
                    rest.add(name, *everybody._verdicts[name])
            confirmed, refuted = rest.counts
            plain = rest._ratio(confirmed, refuted)
            assert min(base, plain) <= everybody.factor() <= max(base, plain)


@given(tallies)
def test_order_and_parts_do_not_matter(items: list[Tally]) -> None:
    whole = reliability(*items)
    parts = reliability()
    for item in reversed(items):
        parts = parts.plus([item])
    assert parts.factors == whole.factors
    assert parts.reporters == whole.reporters
    assert reliability(*whole.tallies).factors == whole.factors


@given(counts, counts, counts, counts)
def test_more_refutations_never_raise_a_factor(a: int, b: int, c: int, d: int) -> None:
    before = posterior(south=(a, b), lotus=(c, d)).factor()
    assert posterior(south=(a, b + 1), lotus=(c, d)).factor() <= before
    assert posterior(south=(a + 1, b), lotus=(c, d)).factor() >= before


def test_counts_prior_mean_and_factor() -> None:
    known = posterior(south=(0, 4), lotus=(0, 6), river=(2, 0))
    assert known.counts == (2, 10)
    assert known.mean == 1000 * 10 // 22
    # Without lotus 10 : 6, the nearest to 8 : 2.
    assert known.factor() == 1000 * 10 * 10 // (16 * 8)
    assert posterior(south=(0, 4), river=(5, 0)).factor() == NEUTRAL  # they disagree
    assert posterior(south=(0, 4)).factor() == NEUTRAL
    assert posterior(north=(0, 4)).factor() == 1000 * 8 * 10 // (14 * 8)  # its own word against itself


def test_a_group_weighs_at_most_its_share() -> None:
    few, many = posterior(south=(0, 10), lotus=(0, 10)), posterior(south=(0, 9999), lotus=(0, 10))
    assert few.factor() == many.factor()
    assert posterior(south=(300, 900)).counts == (2, 8)


@pytest.mark.parametrize("order", list(permutations(["south", "lotus", "river"])))
def test_who_is_shut_out_has_no_say(order: tuple[str, ...]) -> None:
    items = [Tally("north", "mule-account", reporter, 0, 5) for reporter in order]
    known = Reliability(PRIOR, lambda member: None if member == "river" else member, items)
    assert known.reporters == {"south", "lotus"}
    assert known.of_group("north").counts == (0, 10)
    assert {tally.reporter for tally in known.tallies} == set(order)  # for when it is reinstated


def test_a_verdict_on_a_match_counts_for_pattern_and_issuers() -> None:
    items = [
        Tally(issuer, code, reporter, 3, 0)
        for reporter in ("south", "lotus")
        for issuer, code in (("", "funds-loop"), ("north", ""))
    ]
    known = reliability(*items)
    assert known.factors.groups.keys() == {"north"}
    assert known.factors.codes.keys() == {"funds-loop"}
