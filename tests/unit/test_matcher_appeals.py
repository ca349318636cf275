"""What is advised about matches while somebody objects to what they stand on."""

import pytest
from signalexchange.v1.signal_pb2 import TLP_AMBER
from signalexchange.v1.signal_service_pb2 import ACTION_AUTHENTICATE

from exchange.domain.matching.advice import matched
from exchange.domain.matching.finding import Pattern
from exchange.domain.matching.match import Match
from tests.support.schemes import SCHEMES, Town

FOUR = (("bank", "a"), ("lender", "b"), ("other-bank", "c"), ("shop", "d"))
ALL = pytest.mark.parametrize("pattern", SCHEMES, ids=lambda pattern: pattern.name)


def believed(pattern: Pattern) -> tuple[Town, Match]:
    """Four groups that tell of three instances."""
    town = Town()
    for day in range(3):
        town.tell(FOUR[day:] + FOUR[:day], SCHEMES[pattern](at=24.0 * day))
    (match,) = town.standing(pattern)
    return town, match


@ALL
def test_no_advice_above_authenticate_rests_on_disputed_evidence(pattern: Pattern) -> None:
    town, match = believed(pattern)
    before = town.advice(match)
    assert max(before.values()) > ACTION_AUTHENTICATE
    changes = town.matcher.dispute(match.places, disputed=True)
    assert match.match_id in changes.told
    assert max(town.advice(match).values()) <= ACTION_AUTHENTICATE
    # It goes on being told, as disputed.
    subject = match.subjects[0].token
    told = matched(town.matcher, match, subject, "nobody", TLP_AMBER, town.now)
    assert told is not None
    assert told.disputed
    # Nobody's confirmation answers an appeal.
    for _, group in FOUR:
        town.judge(match, group, 1)
    assert max(town.advice(match).values()) <= ACTION_AUTHENTICATE
    assert match.match_id in town.matcher.dispute(match.places, disputed=False).told
    assert max(town.advice(match).values()) > ACTION_AUTHENTICATE
    assert not town.matcher.appealed


@ALL
def test_an_appeal_pauses_no_more_than_what_it_objects_to(pattern: Pattern) -> None:
    """Else one group could tell of a leg in a ring, object to it, and so keep everybody in the ring safe."""
    town, match = believed(pattern)
    before = town.advice(match)
    added = town.tell((("accomplice", "e"),), SCHEMES[pattern](at=72.0)[:1])
    town.matcher.dispute([seen.place for seen in added], disputed=True)
    after = town.advice(match)
    assert {token: after[token] for token in before} == before
