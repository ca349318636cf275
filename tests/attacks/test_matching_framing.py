"""A member that wants somebody innocent accused: alone, with its sister, with somebody's honest flow, or by
putting the innocent into a sound match. Nobody is ever accused on one group's word."""

from typing import Final

import pytest
from signalexchange.v1.signal_service_pb2 import ACTION_AUTHENTICATE

from exchange.domain.matching.finding import Pattern
from exchange.domain.matching.observation import Role
from tests.support.schemes import (
    DAY,
    NOBODY,
    SCHEMES,
    Leg,
    Reporter,
    Town,
    account,
    address,
    device,
    national_id,
    phone,
    shop,
)

ACCUSER: Final[Reporter] = ("accuser", "accusing-group")
SISTER: Final[Reporter] = ("accusers-sister", "accusing-group")
HONEST: Final[tuple[Reporter, ...]] = (
    ("lender", "b"),
    ("bank", "c"),
    ("other-bank", "d"),
    ("shop", "e"),
)
REPETITIONS: Final = 3
EACH_PATTERN: Final = pytest.mark.parametrize("pattern", SCHEMES, ids=lambda pattern: pattern.name)


def days_apart(pattern: Pattern, days: int) -> list[Leg]:
    return SCHEMES[pattern](at=24.0 * days)


def accuse(town: Town, pattern: Pattern) -> None:
    """All that the accuser and its sister can say of it, day after day."""
    for day in range(1, REPETITIONS):
        town.tell((ACCUSER, SISTER), days_apart(pattern, day))
    town.say(
        ACCUSER,
        Leg(
            Role.LINK,
            phone("payer"),
            NOBODY,
            (account("payer"), national_id("payer"), device("ring"), address("ring")),
        ),
    )


@EACH_PATTERN
def test_independent_groups_are_believed(pattern: Pattern) -> None:
    """What the accuser below imitates: without it, the rest of this file would show nothing."""
    town = Town()
    for day in range(REPETITIONS):
        town.tell(HONEST[day:] + HONEST[:day], days_apart(pattern, day))
    assert town.strongest() > ACTION_AUTHENTICATE


@EACH_PATTERN
def test_one_group_alone_makes_no_match_however_many_members_it_has(pattern: Pattern) -> None:
    town = Town()
    accuse(town, pattern)
    town.tell((ACCUSER, SISTER), SCHEMES[pattern]())
    assert not town.matches()


@EACH_PATTERN
@pytest.mark.parametrize("first", [True, False])
def test_around_one_honest_flow_an_accuser_gets_no_more_than_a_second_factor(
    pattern: Pattern, first: bool
) -> None:
    legs = SCHEMES[pattern]()
    for at in range(0, len(legs), max(1, len(legs) // 4)):
        leg, town = legs[at], Town()
        if first:
            town.say(HONEST[0], leg)
        town.tell((ACCUSER, SISTER), legs[:at] + legs[at + 1 :])
        accuse(town, pattern)
        if not first:
            town.say(HONEST[0], leg)
        assert town.strongest() <= ACTION_AUTHENTICATE


@EACH_PATTERN
def test_around_two_groups_honest_flows_an_accuser_gets_no_more_than_a_second_factor(
    pattern: Pattern,
) -> None:
    legs = SCHEMES[pattern]()
    for other in range(1, len(legs), max(1, len(legs) // 4)):
        town = Town()
        town.say(HONEST[0], legs[0])
        town.say(HONEST[1], legs[other])
        if town.matches():
            continue  # two groups who see a match are no accuser
        town.tell((ACCUSER, SISTER), [leg for at, leg in enumerate(legs) if at not in (0, other)])
        accuse(town, pattern)
        assert town.strongest() <= ACTION_AUTHENTICATE


@EACH_PATTERN
@pytest.mark.parametrize("linked", [account("payer"), national_id("payer")], ids=["account", "national id"])
def test_a_bystander_whom_one_group_puts_into_a_sound_match_is_not_accused(
    pattern: Pattern, linked: tuple[bytes, int]
) -> None:
    town = Town()
    for day in range(REPETITIONS):
        town.tell(HONEST[day:] + HONEST[:day], days_apart(pattern, day))
    bystander, own_account = phone("bystander"), account("bystander")
    honest = Leg(Role.PAYMENT, bystander, shop("honest"), (own_account,), at=1)
    town.say(HONEST[0], honest)
    town.say(ACCUSER, Leg(Role.LINK, bystander, NOBODY, (linked, own_account)))
    for day in range(REPETITIONS):
        for leg in days_apart(pattern, day):
            mine = leg._replace(
                subject=bystander if leg.subject == phone("payer") else leg.subject,
                counterparty=own_account if leg.counterparty == account("payer") else leg.counterparty,
                links=(own_account, linked) if leg.subject == phone("payer") else leg.links,
            )
            if mine != leg:
                town.say(ACCUSER, mine)
    innocent = {bystander[0], own_account[0]}
    for match in town.matches():
        for token, advice in town.advice(match).items():
            assert token not in innocent or advice <= ACTION_AUTHENTICATE


def test_a_refuted_accusation_cannot_be_made_again_by_the_same_evidence() -> None:
    town = Town()
    legs = SCHEMES[Pattern.FUNDS_LOOP]()
    told = [town.say(HONEST[0], legs[0]), *(town.say(ACCUSER, leg) for leg in legs[1:])]
    (match,) = town.matches()
    town.judge(match, HONEST[0][1], 2)
    assert not match.stands
    town.withdraw(told[1])
    for leg in legs[1:]:
        town.say(ACCUSER, leg)
        town.say(SISTER, leg._replace(at=leg.at + 0.1))
    assert not any(each.stands for each in town.matches())
    assert town.strongest(now=town.now + 10 * DAY) <= ACTION_AUTHENTICATE


@EACH_PATTERN
def test_who_repeats_what_it_was_shown_corroborates_nothing(pattern: Pattern) -> None:
    """An echo is what the hub calls a signal whose issuer's group was shown a hit on its subject."""
    town = Town()
    legs = SCHEMES[pattern]()
    town.tell(HONEST[:1], legs[:1])
    for leg in legs[1:]:
        town.say(ACCUSER, leg, echo=True)
    for leg in legs:
        town.say(SISTER, leg._replace(at=leg.at + 0.2), echo=True)
    assert not town.matches()


@EACH_PATTERN
def test_an_echo_raises_neither_groups_nor_advice(pattern: Pattern) -> None:
    town = Town()
    town.tell(HONEST[:2], SCHEMES[pattern]())
    if pattern == Pattern.BUST_OUT:
        town.say(HONEST[2], SCHEMES[pattern]()[0])
    (match,) = town.matches(pattern)
    before = match.groups, town.advice(match)
    for leg in SCHEMES[pattern]():
        town.say(ACCUSER, leg, echo=True)
    after = town.advice(match)
    assert match.groups == before[0]
    assert {token: after[token] for token in before[1]} == before[1]


def test_a_leg_beside_an_echo_counts_no_more_than_the_echo() -> None:
    """Who was shown the payer makes up the rest around that."""
    purchase, settlement, backflow = SCHEMES[Pattern.FUNDS_LOOP]()
    town = Town()
    town.say(HONEST[0], purchase)
    town.say(ACCUSER, settlement)
    town.say(ACCUSER, backflow, echo=True)
    assert not town.matches()
    # What others tell of it makes a match of theirs, in which it has no part.
    town.say(HONEST[1], settlement)
    (match,) = town.matches()
    assert match.groups == {group for _, group in HONEST[:2]}


@EACH_PATTERN
def test_nobody_silences_itself_or_others_by_an_echo(pattern: Pattern) -> None:
    """Repeating what one was shown takes nothing from a match, now or when it is looked at again."""
    town = Town()
    legs = SCHEMES[pattern]()
    town.tell(HONEST[:2], legs)
    (match,) = town.matches(pattern)
    groups, instances = match.groups, set(match.instances)
    for leg in legs:
        for reporter in HONEST[:2]:
            town.say(reporter, leg._replace(at=leg.at + 0.2), echo=True)
    for leg in legs:
        town.withdraw(town.say(ACCUSER, leg))
    assert (match.groups, set(match.instances)) == (groups, instances)
