"""Counters of a match: ranges that hold the true amounts, thresholds that tell no more than the digits."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange.notices.law import packaged_law
from signalexchange.signals import amount_band
from signalexchange.v1.match_service_pb2 import (
    THRESHOLD_STANDING_BELOW,
    THRESHOLD_STANDING_MAY_HAVE_PASSED,
    MatchThreshold,
)
from signalexchange.v1.notice_service_pb2 import LegalCounter, LegalLevel

from exchange.domain.matching.counters import Counters, Range, counters, thresholds
from exchange.domain.matching.match import Match
from exchange.domain.matching.observation import Observation, Role
from tests.support.evidence import NOW, Batch, observations, run
from tests.support.matching import DAY, HOUR, loop, new_matcher, said, standing


def found(*rows: Observation) -> Match:
    (match,) = standing(run(new_matcher(), [Batch(rows)]))
    return match


def round_trip(sent: Decimal, back: Decimal, *, at: int = 0, place: int = 1) -> list[Observation]:
    return [
        said(place, "a", Role.PAYMENT, "phone 1", "merchant m", band=amount_band(sent), at=at),
        said(
            place + 1,
            "b",
            Role.TRANSFER,
            "merchant m",
            "phone 1",
            band=amount_band(back),
            at=at + 3 * HOUR,
        ),
    ]


amounts = st.integers(100_00, 50_000_000_00).map(lambda cents: Decimal(cents) / 100)


@settings(max_examples=60)
@given(st.lists(st.tuples(amounts, st.integers(75, 98)), min_size=1, max_size=4))
def test_the_ranges_hold_what_was_moved_and_what_was_kept(trips: list[tuple[Decimal, int]]) -> None:
    rows = []
    for number, (sent, share) in enumerate(trips):
        rows += round_trip(sent, sent * share / 100, at=number * 2 * DAY, place=1 + 2 * number)
    told = counters(found(*rows))
    volume = sum(sent for sent, _ in trips)
    gain = sum(sent * (100 - share) / 100 for sent, share in trips)
    assert told.volume.low <= volume <= told.volume.high
    assert told.gain.low <= gain <= told.gain.high
    assert told.volume.high <= told.volume.low * Decimal("1.11") + 20


def test_the_money_of_one_purchase_counts_once_whoever_tells_of_it() -> None:
    rows = loop(1, "ab")
    twice = said(3, "c", Role.PAYMENT, "phone 1", "merchant m")
    assert counters(found(*rows, twice)) == counters(found(*rows))


def test_where_nothing_is_seen_to_come_back_there_is_no_gain() -> None:
    rows = [
        said(
            1 + number,
            "ab"[number % 2],
            Role.LINE,
            "phone 1",
            band=100,
            at=number * HOUR,
            until=number * HOUR + HOUR,
        )
        for number in range(2)
    ]
    told = counters(found(*rows))
    assert told.gain == Range(0, 0)
    assert told.volume.low > 10_000


def test_of_a_match_without_evidence_nothing_is_told() -> None:
    matcher = run(new_matcher(), [Batch(tuple(loop(1, "ab")))])
    matcher.withdraw([1], NOW)
    assert [counters(match) for match in matcher.matches.values()] == [Counters(Range(0, 0), Range(0, 0))]


@settings(max_examples=40)
@given(observations)
def test_ranges_are_ranges(rows: list[Observation]) -> None:
    for match in standing(run(new_matcher(), [Batch(tuple(rows))])):
        told = counters(match)
        assert 0 <= told.volume.low <= told.volume.high
        assert 0 <= told.gain.low <= told.gain.high <= told.volume.high


# --- thresholds


def reached(volume: int, gain: int) -> set[tuple[str, str, str]]:
    return {
        (each.statute, name(LegalCounter, each.counter), name(LegalLevel, each.level))
        for each in thresholds(volume, gain)
        if each.standing == THRESHOLD_STANDING_MAY_HAVE_PASSED
    }


def name(enum: type[LegalCounter] | type[LegalLevel], value: int) -> str:
    return enum.Name(value).rpartition("_")[2].lower()  # type: ignore[arg-type]


CARD, PAYMENT = "credit-card-interpretation", "payment-settlement-interpretation"


@pytest.mark.parametrize(
    ("volume", "gain", "expected"),
    [
        (0, 0, set()),
        (6, 5, set()),
        (7, 0, {(CARD, "volume", "serious")}),
        (6, 6, {(PAYMENT, "gain", "serious")}),
    ],
)
def test_examples_of_thresholds(volume: int, gain: int, expected: set[tuple[str, str, str]]) -> None:
    found_ = reached(volume, gain)
    if volume == 7:
        # Up to 9,999,999: beyond both amounts of one statute and the lower of the other.
        expected = expected | {(CARD, "volume", "serious"), (PAYMENT, "volume", "serious")}
    assert expected <= found_
    assert bool(found_) == bool(expected)


@given(st.integers(0, 12), st.integers(0, 12))
def test_a_threshold_may_have_been_passed_exactly_where_the_digits_reach_it(volume: int, gain: int) -> None:
    digits = {"volume": volume, "gain": gain}
    expected = [
        (fact.id, each.counter, each.yuan, 10 ** digits[each.counter] - 1 >= each.yuan)
        for fact in packaged_law().facts
        for each in fact.thresholds
        if digits.get(each.counter)
    ]
    told = thresholds(volume, gain)
    assert [(each.statute, name(LegalCounter, each.counter)) for each in told] == [
        row[:2] for row in expected
    ]
    for each, (_, _, _, reaches) in zip(told, expected, strict=True):
        standing_ = THRESHOLD_STANDING_MAY_HAVE_PASSED if reaches else THRESHOLD_STANDING_BELOW
        assert each.standing == standing_


def test_what_the_hub_does_not_count_is_not_told() -> None:
    """Credit overdue and losses are the members' own."""
    assert {name(LegalCounter, each.counter) for each in thresholds(12, 12)} == {"volume", "gain"}
    assert all(isinstance(each, MatchThreshold) for each in thresholds(12, 12))
