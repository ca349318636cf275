"""What a member sees of a match: its own, and of others nothing that it could read out by adding signals."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from signalexchange.notices import advice_code
from signalexchange.roster import RosterChain
from signalexchange.v1.identifier_pb2 import PartyKind
from signalexchange.v1.match_service_pb2 import MATCH_PART_MERCHANT, MATCH_PART_PAYER, MATCH_STATUS_OPEN
from signalexchange.v1.match_service_pb2 import Match as MatchMessage
from signalexchange.v1.signal_service_pb2 import ACTION_AUTHENTICATE, CONTRIBUTION_BUCKET_MAJOR

from exchange.domain.matching.counters import thresholds
from exchange.domain.matching.finding import Pattern
from exchange.domain.matching.matcher import Matcher
from exchange.domain.matching.observation import MERCHANT, Observation, Role
from exchange.domain.matching.view import Caller, view
from exchange.domain.membership import Membership
from tests.support import rosters
from tests.support.evidence import GROUPS, NOW, TOLD, Batch, observations, rows_of, run
from tests.support.matching import (
    DAY,
    HOUR,
    PHONE,
    RULEBOOK,
    START,
    loop,
    new_matcher,
    said,
    standing,
    token,
)


def membership(kinds: dict[str, str]) -> Membership:
    document = rosters.document()
    document["groups"] += [{**document["groups"][0], "id": group} for group in kinds]
    document["parties"] = [
        *(rosters.party(f"{group}-bank", kind, group) for group, kind in kinds.items()),
        *document["parties"][-2:],
    ]
    return Membership(RosterChain.start(rosters.signed(document)), RULEBOOK, (0,))


MEMBERS = membership({"a": "bank", "b": "bank", "c": "bank", "d": "ecommerce"})


def seen_by(matcher: Matcher, group: str, *submitted: bytes, now: int = NOW) -> list[MatchMessage]:
    caller = Caller(f"{group}-bank", group, dict.fromkeys(submitted, (PHONE, 7)).get)
    return [view(matcher, match, caller, MEMBERS, now) for match in standing(matcher)]


def test_a_member_sees_its_own_signals_and_subjects_and_no_more() -> None:
    matcher = run(new_matcher(), [Batch((*loop(1, "ab"), *loop(11, "cb", payer="phone 2", at=DAY)))])
    (match,) = seen_by(matcher, "b", token("phone 1"), token("phone 9"), now=START + 2 * DAY + 7)
    assert match.pattern == Pattern.FUNDS_LOOP.value
    assert match.status == MATCH_STATUS_OPEN
    assert match.signal_ids == [(2).to_bytes(16, "big"), (12).to_bytes(16, "big")]
    assert [subject.token.value for subject in match.subjects] == [token("phone 1")]
    (subject,) = match.subjects
    assert (subject.token.type, subject.token.epoch, subject.part) == (PHONE, 7, MATCH_PART_PAYER)
    assert subject.advice == match.advice == ACTION_AUTHENTICATE
    assert not match.human_review
    assert match.groups == 3
    assert match.found_on == NOW // DAY * DAY
    assert match.rules_version == "patterns-1"
    assert match.confidence == 952
    assert [factor.name for factor in match.factors] == ["pattern", "groups", "repetition", "rarity"]
    assert match.factors[0].contribution == CONTRIBUTION_BUCKET_MAJOR
    known = {bytes(match.match_id), *match.signal_ids, token("phone 1")}
    bare = match.SerializeToString()
    for hidden in (token("phone 2"), token("merchant m"), b"a-bank", b"c-bank"):
        assert hidden not in known
        assert hidden not in bare


def test_days_and_digits_are_of_others_facts_that_others_brought_in() -> None:
    matcher = run(new_matcher(), [Batch((*loop(1, "ab"), *loop(11, "cb", payer="phone 2", at=2 * DAY)))])
    # The bank's transfer closed both loops, so that it could have been made up for the lenders' figures.
    assert [(match.days, match.total_digits) for match in seen_by(matcher, "b")] == [(0, 0)]
    # A lender sees what it didn't close: the transfers, and the other lender's payment of 1.1^79.5 CNY.
    (match,) = seen_by(matcher, "a")
    assert (match.days, match.total_digits) == (3, 4)
    matcher.observe([said(21, "a", Role.TRANSFER, "merchant m", "phone 1", band=79, at=3 * HOUR)], NOW)
    assert [(match.days, match.total_digits) for match in seen_by(matcher, "b")] == [(1, 4)]


@pytest.mark.parametrize(("kind", "shown"), [("bank", [PartyKind.PARTY_KIND_BANK]), ("ecommerce", [])])
def test_kinds_need_three_groups_of_the_kind(kind: str, shown: list[int]) -> None:
    members = membership({"a": "bank", "b": "bank", "c": kind})
    matcher = run(new_matcher(), [Batch(tuple(loop(1, "ab")))])
    (match,) = standing(matcher)
    caller = Caller("a-bank", "a", lambda name: None)
    assert view(matcher, match, caller, members, NOW).kinds == shown


def test_all_legs_of_a_pair_and_day_are_shown_whichever_fitted() -> None:
    matcher = run(new_matcher(), [Batch((loop(1, "ab")[0],))])
    probes = [
        said(10 + n, "b", Role.TRANSFER, "merchant m", "phone 1", band=band, at=HOUR)
        for n, band in enumerate((40, 60, 79, 95))
    ]
    matcher.observe(probes, NOW)
    (match,) = seen_by(matcher, "b")
    assert list(match.signal_ids) == [probe.signal_id for probe in probes]


def test_a_merchants_part() -> None:
    matcher = run(new_matcher(), [Batch(tuple(loop(1, "ab")))])
    caller = Caller("a-bank", "a", {token("merchant m"): (MERCHANT, 1)}.get)
    (match,) = standing(matcher)
    assert [subject.part for subject in view(matcher, match, caller, MEMBERS, NOW).subjects] == [
        MATCH_PART_MERCHANT
    ]


@settings(max_examples=40)
@given(observations, st.lists(TOLD, min_size=1, max_size=4).map(rows_of), st.sampled_from(GROUPS))
def test_own_legs_dont_move_what_a_member_sees_of_others(
    rows: list[Observation], planted: list[Observation], group: str
) -> None:
    matcher = run(new_matcher(), [Batch(tuple(rows))])
    before = {match.match_id: figures(match) for match in seen_by(matcher, group)}
    known = {key: item.copy() for match in standing(matcher) for key, item in match.instances.items()}
    # Legs alone: a link may take down what it makes one person's.
    legs = [
        row._replace(place=1000 + row.place, group=group, member=f"{group}-bank", links=())
        for row in planted
        if row.role not in (Role.LINK, Role.SHARED)
    ]
    matcher.observe(legs, NOW)
    found = {key: item for match in standing(matcher) for key, item in match.instances.items()}
    # Not where legs merely had the rules look again, and see what they might have before.
    assume(all(key in known or max(item.evidence) > 1000 for key, item in found.items()))
    assume(
        not any(
            item.closer == group != found[key].evidence[place].closer
            for key, instance in known.items()
            if key in found
            for place, item in instance.evidence.items()
            if place in found[key].evidence
        )
    )
    after = {match.match_id: figures(match) for match in seen_by(matcher, group)}
    assert {match_id: after[match_id] for match_id in before} == before
    assert {after[match_id] for match_id in after.keys() - before.keys()} <= {(0, 0, 0, ())}


def figures(match: MatchMessage) -> tuple[int, int, int, tuple[int, ...]]:
    return match.days, match.total_digits, match.gain_digits, tuple(match.kinds)


@pytest.mark.parametrize("claims", [False, True])
def test_who_says_that_a_transfer_on_the_way_was_the_last_or_not_moves_no_gain(claims: bool) -> None:
    rows = [
        said(1, "a", Role.PAYMENT, "phone 1", "merchant m", band=100),
        said(2, "b", Role.TRANSFER, "merchant m", "iban 5", band=98, at=3 * HOUR),
        said(3, "c", Role.TRANSFER, "iban 5", "phone 1", band=98, at=5 * HOUR),
    ]
    planted = [
        said(11, "d", Role.TRANSFER, "merchant m", "iban 5", band=98, at=3 * HOUR),
        said(12, "d", Role.TRANSFER, "iban 5", "phone 1", band=97, at=6 * HOUR),
        said(13, "d", Role.TRANSFER, "phone 1", "iban 7", band=97, at=7 * HOUR),
    ]
    if claims:
        planted.append(said(14, "d", Role.LINK, "phone 1", links=["iban 5"]))
    matcher = run(new_matcher(), [Batch(tuple(rows))])
    before = [figures(match) for match in seen_by(matcher, "d")]
    assert before[0][2] == 4
    for leg in planted:
        matcher.observe([leg], NOW)
    assert [figures(match) for match in seen_by(matcher, "d")] == before


@settings(max_examples=40)
@given(observations, st.sampled_from(GROUPS))
def test_thresholds_and_notices_tell_nothing_that_the_rest_doesnt(
    rows: list[Observation], group: str
) -> None:
    for match in seen_by(run(new_matcher(), [Batch(tuple(rows))]), group):
        assert list(match.thresholds) == list(thresholds(match.total_digits, match.gain_digits))
        assert match.notice_code == advice_code(match.advice)


def test_the_gain_is_told_of_whole_round_trips_of_others() -> None:
    rows = [
        said(1, "a", Role.PAYMENT, "phone 1", "merchant m", band=100),
        said(2, "b", Role.TRANSFER, "merchant m", "phone 1", band=98, at=3 * HOUR),
        said(3, "a", Role.PAYMENT, "phone 1", "merchant m", band=100, at=5 * HOUR),
        said(4, "c", Role.TRANSFER, "merchant m", "phone 1", band=98, at=8 * HOUR),
    ]
    matcher = run(new_matcher(), [Batch((row,)) for row in rows])
    digits = {group: seen_by(matcher, group)[0].gain_digits for group in "abcd"}
    # Whoever told of nothing sees twice 1.1^99.5 − 1.1^97.5; the lender sees no purchase of others.
    assert digits["d"] == len(str(int(2 * (1.1**99.5 - 1.1**97.5)))) == 4
    assert digits["a"] == 0
