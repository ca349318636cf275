"""The life of matches: found, joined, judged, withdrawn, forgotten."""

import pytest
from signalexchange.v1.signal_service_pb2 import ACTION_AUTHENTICATE, ACTION_INTERCEPT

from exchange.domain.matching.finding import Pattern
from exchange.domain.matching.match import MAX_EVIDENCE, MAX_INSTANCES, MatchStatus, Verdict
from exchange.domain.matching.observation import Role
from tests.support.matching import (
    DAY,
    HOUR,
    START,
    Shelf,
    loop,
    new_matcher,
    said,
    standing,
    strongest,
    token,
)

NOW = START + DAY


def test_two_groups_make_a_match_and_one_makes_none() -> None:
    matcher = new_matcher()
    assert not matcher.observe(loop(1, "aa"), NOW)
    changes = matcher.observe(loop(11, "ab", payer="phone 2"), NOW)
    (match,) = standing(matcher)
    assert changes.told == {match.match_id}
    assert match.pattern == Pattern.FUNDS_LOOP
    assert match.groups == {"a", "b"}
    assert match.members == {"a-bank", "b-bank"}
    assert match.places == [11, 12]
    assert {subject.token for subject in match.subjects} == {token("phone 2"), token("merchant m")}
    assert matcher.of(token("phone 2")) == [match]
    assert matcher.of(token("phone 1")) == []


def test_one_group_is_enough_where_one_is_asked() -> None:
    matcher = new_matcher(min_groups=1)
    matcher.observe(loop(1, "aa"), NOW)
    assert len(standing(matcher)) == 1


def test_a_finding_joins_the_match_of_its_merchant() -> None:
    matcher = new_matcher()
    for at in range(8):
        matcher.observe(loop(10 * at + 1, payer=f"phone {at}"), NOW)
    (match,) = standing(matcher)
    assert len(match.instances) == 8
    matcher.observe(loop(101, merchant="merchant n"), NOW)
    assert len(standing(matcher)) == 2


def test_a_finding_again_adds_evidence_to_its_instance() -> None:
    matcher = new_matcher()
    matcher.observe(loop(1), NOW)
    more = said(9, "c", Role.TRANSFER, "merchant m", "phone 1", band=79, at=3 * HOUR)
    changes = matcher.observe([more], NOW)
    (match,) = standing(matcher)
    (instance,) = match.instances.values()
    assert match.groups == instance.groups == {"a", "b", "c"}
    assert changes.told == {match.match_id}
    assert not matcher.observe([more], NOW)


def test_more_confidence_with_groups_and_instances() -> None:
    matcher = new_matcher()
    matcher.observe(loop(1), NOW)
    (match,) = standing(matcher)
    alone = matcher.confidence(match)
    matcher.observe(loop(11, payer="phone 2"), NOW)
    twice = matcher.confidence(match)
    matcher.observe(loop(21, "bc", payer="phone 3"), NOW)
    assert alone.permille < twice.permille < matcher.confidence(match).permille
    assert [name for name, _ in alone.parts] == ["pattern", "groups", "repetition", "rarity", "reliability"]


def test_an_echo_makes_no_second_group() -> None:
    matcher = new_matcher()
    assert not matcher.observe(loop(1, echo="b"), NOW)
    third = said(9, "c", Role.TRANSFER, "merchant m", "phone 1", band=79, at=3 * HOUR)
    matcher.observe([third], NOW)
    (match,) = standing(matcher)
    assert match.groups == {"a", "c"}


def test_withdrawn_evidence_takes_its_instance_with_it() -> None:
    matcher, shelf = new_matcher(), Shelf()
    shelf.store(matcher.observe([*loop(1), *loop(11, payer="phone 2")], NOW))
    changes = matcher.withdraw([11], NOW)
    shelf.store(changes)
    (match,) = standing(matcher)
    assert [item.key for item in match.instances.values()] == [key for _, key in shelf.instances]
    assert changes.told == {match.match_id}
    assert token("phone 2") not in b"".join(row.body for row in shelf.instances.values())
    shelf.store(matcher.withdraw([2], NOW))
    assert match.status == MatchStatus.EXPIRED
    assert not shelf.instances


def test_an_instance_that_stands_by_other_evidence_is_kept() -> None:
    matcher = new_matcher()
    more = said(9, "c", Role.TRANSFER, "merchant m", "phone 1", band=79, at=3 * HOUR)
    matcher.observe([*loop(1), more], NOW)
    matcher.withdraw([2], NOW)
    (match,) = standing(matcher)
    assert match.groups == {"a", "c"}
    assert match.places == [1, 9]


def test_a_withdrawn_leg_cant_be_put_up_again() -> None:
    matcher, shelf = new_matcher(), Shelf()
    shelf.store(matcher.observe(loop(1), NOW))
    shelf.store(matcher.withdraw([2], NOW))
    assert not matcher.observe([loop(11)[1]], NOW)
    again = shelf.restore(new_matcher(), [loop(1)[0]])
    assert not again.observe([loop(11)[1]], NOW)
    other = loop(21)[1]._replace(group="c")
    assert matcher.observe([other], NOW).told


def test_a_suspended_member_is_gone_and_comes_back() -> None:
    matcher = new_matcher()
    matcher.observe(loop(1), NOW)
    assert not matcher.withdraw([2], NOW, spend=False).spent
    assert not standing(matcher)
    assert matcher.observe([loop(1)[1]], NOW).told


def test_a_withdrawn_link_takes_what_it_joined() -> None:
    matcher = new_matcher()
    pay = said(1, "a", Role.PAYMENT, "phone 1", "merchant m")
    back = said(2, "b", Role.TRANSFER, "merchant m", "iban 1", band=79, at=3 * HOUR)
    link = said(3, "b", Role.LINK, "phone 1", links=["iban 1"])
    matcher.observe([pay, back, link], NOW)
    (match,) = standing(matcher)
    matcher.withdraw([3], NOW)
    assert match.status == MatchStatus.EXPIRED


def test_evidence_leaves_with_the_window_and_the_match_is_forgotten() -> None:
    matcher, shelf = new_matcher(), Shelf()
    shelf.store(matcher.observe(loop(1), NOW))
    (match,) = standing(matcher)
    later = NOW + 50 * DAY
    shelf.store(matcher.advance(later))
    assert match.status == MatchStatus.EXPIRED
    assert not matcher.observe(loop(11), later)
    changes = matcher.advance(later + 50 * DAY)
    shelf.store(changes)
    assert changes.forgotten == {match.number}
    assert not matcher.matches
    assert not shelf.matches


# --- verdicts


def test_a_refutation_removes_only_what_its_group_told() -> None:
    matcher = new_matcher()
    matcher.observe([*loop(1, "ab"), *loop(11, "bc", payer="phone 2")], NOW)
    (match,) = standing(matcher)
    changes = matcher.judge(match.match_id, "a", Verdict.REFUTED, NOW)
    assert match.stands
    assert match.groups == {"b", "c"}
    assert token("phone 1") not in {subject.token for subject in match.subjects}
    assert changes.told == {match.match_id}
    matcher.judge(match.match_id, "b", Verdict.REFUTED, NOW)
    assert match.status == MatchStatus.REFUTED
    assert not matcher.of(token("phone 2"))


def test_what_was_refuted_doesnt_come_back_on_the_same_evidence() -> None:
    matcher, shelf = new_matcher(), Shelf()
    shelf.store(matcher.observe(loop(1), NOW))
    (match,) = standing(matcher)
    shelf.store(matcher.judge(match.match_id, "b", Verdict.REFUTED, NOW))
    for again in (matcher, shelf.restore(new_matcher(), loop(1))):
        # Nor on more of what the refuting group says itself.
        more = said(21, "b", Role.TRANSFER, "merchant m", "phone 1", band=79, at=4 * HOUR)
        assert not again.observe([more], NOW).told
        # Somebody else's word is news.
        other = said(22, "c", Role.TRANSFER, "merchant m", "phone 1", band=79, at=3 * HOUR)
        assert again.observe([other], NOW).told
        (new,) = standing(again)
        assert new.number != match.number
        assert new.groups >= {"a", "c"}


def test_a_foreign_refutation_disputes_for_a_while() -> None:
    matcher = new_matcher()
    matcher.observe([*loop(1, "ab"), *loop(11, "bc"), *loop(21, "ca")], NOW)
    (match,) = standing(matcher)
    name = token("merchant m")
    assert strongest(matcher, name, NOW) == {Pattern.FUNDS_LOOP: ACTION_INTERCEPT}
    assert matcher.judge(match.match_id, "z", Verdict.REFUTED, NOW).matches
    assert match.places == [1, 2, 11, 12, 21, 22]
    assert strongest(matcher, name, NOW) == {Pattern.FUNDS_LOOP: ACTION_AUTHENTICATE}
    assert strongest(matcher, name, NOW + 14 * DAY) == {Pattern.FUNDS_LOOP: ACTION_INTERCEPT}
    matcher.judge(match.match_id, "a", Verdict.CONFIRMED, NOW)
    # One answer alone would be one group's word.
    assert strongest(matcher, name, NOW) == {Pattern.FUNDS_LOOP: ACTION_AUTHENTICATE}
    matcher.judge(match.match_id, "b", Verdict.CONFIRMED, NOW)
    matcher.judge(match.match_id, "c", Verdict.CONFIRMED, NOW)
    assert strongest(matcher, name, NOW) == {Pattern.FUNDS_LOOP: ACTION_INTERCEPT}
    assert match.status == MatchStatus.CONFIRMED


@pytest.mark.parametrize(("group", "groups"), [("z", 2), ("a", 1)])
def test_nobody_confirms_what_is_foreign_or_its_word_alone(group: str, groups: int) -> None:
    matcher = new_matcher(min_groups=groups)
    matcher.observe(loop(1, "ab" if groups == 2 else "aa"), NOW)
    (match,) = standing(matcher)
    matcher.judge(match.match_id, group, Verdict.CONFIRMED, NOW)
    assert match.status == MatchStatus.OPEN
    assert match.verdicts[group].verdict == Verdict.CONFIRMED


def test_an_inconclusive_verdict_is_kept_and_a_repeated_one_changes_nothing() -> None:
    matcher = new_matcher()
    matcher.observe(loop(1), NOW)
    (match,) = standing(matcher)
    changes = matcher.judge(match.match_id, "a", Verdict.INCONCLUSIVE, NOW)
    assert changes.matches
    assert not changes.told
    assert not matcher.judge(match.match_id, "a", Verdict.INCONCLUSIVE, NOW + 1)


# --- advice


def test_two_groups_never_get_past_authenticate() -> None:
    matcher = new_matcher()
    for at in range(20):
        matcher.observe(loop(10 * at + 1, payer=f"phone {at}"), NOW)
    assert strongest(matcher, token("merchant m"), NOW) == {Pattern.FUNDS_LOOP: ACTION_AUTHENTICATE}


def test_a_bystander_named_by_one_group_isnt_accused_with_the_rest() -> None:
    matcher = new_matcher()
    matcher.observe([*loop(1, "ab"), *loop(11, "bc"), *loop(21, "ca")], NOW)
    matcher.observe([said(31, "c", Role.PAYMENT, "phone 9", "merchant m")], NOW)
    matcher.observe([said(32, "b", Role.TRANSFER, "merchant m", "phone 9", band=79, at=HOUR)], NOW)
    assert strongest(matcher, token("merchant m"), NOW) == {Pattern.FUNDS_LOOP: ACTION_INTERCEPT}
    assert strongest(matcher, token("phone 9"), NOW) == {Pattern.FUNDS_LOOP: ACTION_AUTHENTICATE}


@pytest.mark.parametrize(("linking", "advice"), [("yz", ACTION_AUTHENTICATE), ("xyz", ACTION_INTERCEPT)])
def test_an_identity_must_stand_without_any_one_groups_link(linking: str, advice: int) -> None:
    matcher = new_matcher()
    rows = [said(at, group, Role.LINK, "phone 1", links=["iban 1"]) for at, group in enumerate(linking)]
    for at, lender in enumerate("abc"):
        rows.append(said(10 + at, lender, Role.PAYMENT, "phone 1", "merchant m"))
        rows.append(said(20 + at, lender, Role.TRANSFER, "merchant m", "iban 1", band=79, at=HOUR))
    matcher.observe(rows, NOW)
    assert strongest(matcher, token("phone 1"), NOW)[Pattern.FUNDS_LOOP] == advice


# --- bounds


def test_no_group_crowds_out_anothers_evidence() -> None:
    matcher = new_matcher()
    matcher.observe(loop(1), NOW)
    (match,) = standing(matcher)
    flood = []
    for at in range(3 * MAX_EVIDENCE):
        # One's own accounts between, so that no pair has too many legs.
        account = f"iban {at}"
        flood.append(said(100 + 2 * at, "c", Role.TRANSFER, "merchant m", account, band=79, at=HOUR))
        flood.append(said(101 + 2 * at, "c", Role.TRANSFER, account, "phone 1", band=78, at=2 * HOUR))
    for at in range(0, len(flood), 50):
        matcher.observe(flood[at : at + 50], NOW)
    for instance in match.instances.values():
        assert len(instance.evidence) <= MAX_EVIDENCE
        assert {"a", "b"} <= instance.groups


def test_advice_follows_a_link_that_is_gone() -> None:
    matcher = new_matcher()
    rows = [said(at, group, Role.LINK, "phone 1", links=["iban 1"]) for at, group in enumerate("xyz")]
    for at, lender in enumerate("abc"):
        rows.append(said(10 + at, lender, Role.PAYMENT, "phone 1", "merchant m"))
        rows.append(said(20 + at, lender, Role.TRANSFER, "merchant m", "iban 1", band=79, at=HOUR))
    matcher.observe(rows, NOW)
    assert strongest(matcher, token("phone 1"), NOW)[Pattern.FUNDS_LOOP] == ACTION_INTERCEPT
    matcher.withdraw([0], NOW)
    assert strongest(matcher, token("phone 1"), NOW)[Pattern.FUNDS_LOOP] == ACTION_AUTHENTICATE
    matcher.withdraw([1], NOW)
    assert not matcher.of(token("phone 1"))


def test_a_match_outgrows_no_bound() -> None:
    matcher, shelf = new_matcher(), Shelf()
    for at in range(0, MAX_INSTANCES + 2, 50):
        payers = range(at, at + 50)
        shelf.store(matcher.observe([row for n in payers for row in loop(10 * n, payer=f"phone {n}")], NOW))
    (match,) = standing(matcher)
    assert len(match.instances) == len(shelf.instances) <= MAX_INSTANCES
    assert matcher.of(token(f"phone {MAX_INSTANCES}")) == [match]
    assert not matcher.of(token("phone 0"))
