"""What holds of matches whatever is said: fairness, replay, withdrawal."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange.rulebook import AdviceTable
from signalexchange.v1.signal_service_pb2 import ACTION_AUTHENTICATE

from exchange.domain.matching.advice import advise, grade
from exchange.domain.matching.match import Match, Verdict
from exchange.domain.matching.matcher import Matcher
from exchange.domain.matching.observation import Observation
from exchange.domain.scoring import band
from tests.support.evidence import (
    GROUPS,
    NOW,
    Batch,
    Step,
    Withdrawal,
    ask_again,
    found_again,
    histories,
    judged,
    observations,
    run,
    take,
    without,
)
from tests.support.matching import DAY, RULEBOOK, Shelf, new_matcher, standing

Advice = dict[tuple[int, bytes], int]
STRICT = RULEBOOK.model_copy(
    update={
        "match_advice": AdviceTable(low="allow", elevated="explain", high="restrict", severe="freeze"),
    }
)
"""Under which every action is advised of a match, so that its grade matters."""


def advice(matcher: Matcher, now: int = NOW) -> Advice:
    """The strongest advice by pattern and subject."""
    found: Advice = {}
    for match in standing(matcher):
        for subject in match.subjects:
            key = (match.pattern, subject.token)
            found[key] = max(found.get(key, 0), advise(matcher, match, subject.token, STRICT, now))
    return found


def uncapped(matcher: Matcher) -> Advice:
    """The same before the rule that no group may carry it alone."""
    found: Advice = {}
    for match in standing(matcher):
        given = min(
            STRICT.match_advice.by_band[band(matcher.confidence(match).permille, STRICT.model)],
            STRICT.advice_grades.highest[grade(match, match.groups)],
        )
        for subject in match.subjects:
            key = (match.pattern, subject.token)
            found[key] = max(found.get(key, 0), given)
    return found


def exceeding(given: Advice, left: Advice) -> Advice:
    return {
        key: action for key, action in given.items() if action > max(ACTION_AUTHENTICATE, left.get(key, 0))
    }


@settings(max_examples=25)
@given(judged)
def test_no_single_accuser(steps: list[Step]) -> None:
    given = advice(run(new_matcher(), steps))
    if max(given.values(), default=0) > ACTION_AUTHENTICATE:
        for group in [*GROUPS, "y", "z"]:
            others = without(steps, group)
            left = uncapped(ask_again(run(new_matcher(), others), others))
            assert not exceeding(given, left), group


@settings(max_examples=25)
@given(observations, st.lists(st.integers(1, 40), max_size=6))
def test_no_single_accuser_in_what_is_left(rows: list[Observation], withdrawn: list[int]) -> None:
    matcher = run(new_matcher(), [Batch(tuple(rows)), Withdrawal(tuple(withdrawn))])
    given = advice(matcher)
    left = [row for row in rows if row.place in matcher.graph]
    if max(given.values(), default=0) > ACTION_AUTHENTICATE:
        for group in GROUPS:
            others = run(new_matcher(), [Batch(tuple(row for row in left if row.group != group))])
            assert not exceeding(given, uncapped(others)), group


@settings(max_examples=25)
@given(observations)
def test_no_rumour(rows: list[Observation]) -> None:
    given = advice(run(new_matcher(), [Batch(tuple(rows))]))
    sound = run(new_matcher(), [Batch(tuple(row for row in rows if not row.echo))])
    assert not exceeding(given, uncapped(sound))


@settings(max_examples=25)
@given(observations, st.sampled_from([*GROUPS, "z"]))
def test_no_veto(rows: list[Observation], refuting: str) -> None:
    matcher = run(new_matcher(), [Batch(tuple(rows))])
    before = {key: item for match in standing(matcher) for key, item in match.instances.items()}
    given = advice(matcher)
    ids = [match.match_id for match in standing(matcher)]
    for match_id in ids:
        matcher.judge(match_id, refuting, Verdict.REFUTED, NOW)
    after = {key: item for match in standing(matcher) for key, item in match.instances.items()}
    # What the group didn't tell of stands as it did,
    for key, item in before.items():
        if refuting not in {told.seen.group for told in item.evidence.values()}:
            assert after[key] == item
    # what the rules still find without what it told stands,
    assert before.keys() & {finding.key for finding in found_again(matcher, rows)} <= after.keys()
    # and where it said nothing, advice is as before once nobody disputes it any more.
    if refuting not in {row.group for row in rows}:
        assert advice(matcher, NOW + RULEBOOK.matching.dispute_days * DAY) == given
        assert max(advice(matcher).values(), default=0) <= ACTION_AUTHENTICATE


@settings(max_examples=25)
@given(observations, st.sampled_from([*GROUPS, "z"]))
def test_no_self_praise(rows: list[Observation], group: str) -> None:
    matcher = run(new_matcher(), [Batch(tuple(rows))])
    before = advice(matcher)
    for match in standing(matcher):
        matcher.judge(match.match_id, group, Verdict.CONFIRMED, NOW)
    assert advice(matcher) == before


@settings(max_examples=25)
@given(histories, st.integers(0, 30))
def test_reading_back_changes_nothing(steps: list[Step], cut: int) -> None:
    straight, shelf = new_matcher(), Shelf()
    stored: dict[int, Observation] = {}
    for step in steps[:cut]:
        keep(stored, step)
        for changes in take(straight, step):
            shelf.store(changes)
    again = shelf.restore(new_matcher(made=straight.ledger.next - 1), stored.values())
    assert summary(again) == summary(straight)
    for step in steps[cut:]:
        assert take(again, step) == take(straight, step)
    assert summary(again) == summary(straight)


@settings(max_examples=25)
@given(histories)
def test_nothing_is_left_when_all_is_withdrawn(steps: list[Step]) -> None:
    matcher, shelf = new_matcher(), Shelf()
    for step in [*steps, Withdrawal(tuple(range(200)))]:
        for changes in take(matcher, step):
            shelf.store(changes)
    assert not standing(matcher)
    assert not shelf.instances
    assert not len(matcher.graph)
    assert not any(match.settled for match in matcher.matches.values())
    shelf.store(matcher.advance(NOW + 100 * DAY))
    assert not matcher.matches
    assert not shelf.matches


@settings(max_examples=25)
@given(observations, st.integers(0, 2**32))
def test_the_order_within_a_batch_doesnt_matter(rows: list[Observation], seed: int) -> None:
    shuffled = random.Random(seed).sample(rows, len(rows))  # noqa: S311
    one, other = run(new_matcher(), [Batch(tuple(rows))]), run(new_matcher(), [Batch(tuple(shuffled))])
    assert summary(one) == summary(other)


def keep(stored: dict[int, Observation], step: Step) -> None:
    if isinstance(step, Batch):
        stored.update((row.place, row) for row in step.rows)
    elif isinstance(step, Withdrawal):
        for place in step.places:
            stored.pop(place, None)


def summary(matcher: Matcher) -> list[Match]:
    return sorted(matcher.matches.values(), key=lambda match: match.number)
