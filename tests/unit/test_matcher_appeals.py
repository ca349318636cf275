"""What is advised about matches while somebody objects to what they stand on."""

import pytest
from signalexchange.v1.signal_service_pb2 import ACTION_AUTHENTICATE

from exchange.domain.matching.finding import Pattern
from tests.support.members import DAY
from tests.support.schemes import SCHEMES, Town

FOUR = (("bank", "a"), ("lender", "b"), ("other-bank", "c"), ("shop", "d"))


def believed(pattern: Pattern) -> Town:
    """Four groups that tell of three instances."""
    town = Town()
    for day in range(3):
        town.tell(FOUR[day:] + FOUR[:day], SCHEMES[pattern](at=24.0 * day))
    return town


@pytest.mark.parametrize("pattern", SCHEMES, ids=lambda pattern: pattern.name)
def test_a_match_with_disputed_evidence_advises_nothing_above_authenticate(pattern: Pattern) -> None:
    town = believed(pattern)
    (match,) = town.standing(pattern)
    assert town.strongest() > ACTION_AUTHENTICATE
    place, until = match.places[0], town.now + 10 * DAY
    changes = town.matcher.dispute([place], until)
    assert match.match_id in changes.told
    assert max(town.advice(match).values()) <= ACTION_AUTHENTICATE
    # Nobody's confirmation answers an appeal.
    for _, group in FOUR:
        town.judge(match, group, 1)
    assert max(town.advice(match).values()) <= ACTION_AUTHENTICATE
    assert max(town.advice(match, now=until).values()) > ACTION_AUTHENTICATE
    assert match.match_id in town.matcher.dispute([place], 0).told
    assert max(town.advice(match).values()) > ACTION_AUTHENTICATE
    assert not town.matcher.appealed


def test_evidence_of_another_match_disputes_nothing_here() -> None:
    town = believed(Pattern.FUNDS_LOOP)
    (match,) = town.standing(Pattern.FUNDS_LOOP)
    before = town.advice(match)
    assert not town.matcher.dispute([max(match.places) + 1_000], town.now + DAY)
    assert town.advice(match) == before
