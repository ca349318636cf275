"""A bribed member that wants a gang forgotten: it refutes, adds false facts around the true ones, floods what
the gang shares, and says that it is everybody's. None of it takes away what others report."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import pytest
from _pytest.mark.structures import ParameterSet
from signalexchange.v1.signal_service_pb2 import ACTION_AUTHENTICATE

from exchange.domain.matching.finding import Pattern
from exchange.domain.matching.match import MatchStatus, Verdict
from exchange.domain.matching.observation import Role
from tests.support.schemes import (
    BAND,
    DAY,
    HOUR,
    NOBODY,
    RULEBOOK,
    SCHEMES,
    Leg,
    Reporter,
    Token,
    Town,
    account,
    bought,
    device,
    iban,
    national_id,
    paid_out,
    phone,
    sent,
    shop,
)

BRIBED: Final[Reporter] = ("bribed", "bribed-group")
SISTER: Final[Reporter] = ("bribed-sister", "bribed-group")
HONEST: Final[tuple[Reporter, ...]] = (("lender", "b"), ("bank", "c"), ("other-bank", "d"))
EACH_PATTERN: Final = pytest.mark.parametrize("pattern", SCHEMES, ids=lambda pattern: pattern.name)
Poison = Callable[[Sequence[Leg]], Iterator[Leg]]


def copied_small(legs: Sequence[Leg]) -> Iterator[Leg]:
    """The same moves of tiny sums."""
    return (leg._replace(band=20) for leg in legs)


def copied_large(legs: Sequence[Leg]) -> Iterator[Leg]:
    """The same moves of enormous sums."""
    return (leg._replace(band=180) for leg in legs)


def copied_a_little_off(legs: Sequence[Leg]) -> Iterator[Leg]:
    """The same moves of nearly the same sums, a little earlier."""
    return (leg._replace(band=leg.band - 3, at=leg.at - 0.5) for leg in legs)


def turned_round(legs: Sequence[Leg]) -> Iterator[Leg]:
    """Whoever was paid has paid."""
    for leg in legs:
        if leg.role == Role.TRANSFER:
            yield leg._replace(subject=leg.counterparty, counterparty=leg.subject, links=())


def large_sums_in(legs: Sequence[Leg]) -> Iterator[Leg]:
    """A stranger's fortune comes into every account."""
    return (
        Leg(Role.TRANSFER, account("stranger"), token, band=180, at=leg.at)
        for leg in legs
        for token in _accounts(leg)
    )


def large_sums_out(legs: Sequence[Leg]) -> Iterator[Leg]:
    """A fortune goes to a stranger from every account."""
    return (
        Leg(Role.TRANSFER, token, account("stranger"), band=180, at=leg.at)
        for leg in legs
        for token in _accounts(leg)
    )


def said_shared(legs: Sequence[Leg]) -> Iterator[Leg]:
    """All that they have is everybody's."""
    return (Leg(Role.SHARED, token) for token in _tokens(legs))


def said_to_be_others(legs: Sequence[Leg]) -> Iterator[Leg]:
    """Each of them is two other people."""
    for number, token in enumerate(_tokens(legs)):
        yield Leg(Role.LINK, token, NOBODY, (national_id(f"a{number}"),))
        yield Leg(Role.LINK, token, NOBODY, (national_id(f"b{number}"),))


def said_to_be_one(legs: Sequence[Leg]) -> Iterator[Leg]:
    """All of them are one."""
    first, *others = _tokens(legs)
    return (Leg(Role.LINK, token, NOBODY, (first,)) for token in others)


def said_to_be_firms(legs: Sequence[Leg]) -> Iterator[Leg]:
    """Each of them is a merchant."""
    return (Leg(Role.LINK, token, NOBODY, (shop(f"firm{n}"),)) for n, token in enumerate(_tokens(legs)))


def crowds(legs: Sequence[Leg]) -> Iterator[Leg]:
    """Everybody is everywhere they are, and has what they have."""
    for number, token in enumerate(_tokens(legs)):
        for n in range(30):
            who = phone(f"crowd{number}-{n}")
            yield Leg(Role.PAYMENT, who, token, (), band=50, at=n)
            yield Leg(Role.LINK, who, NOBODY, (token,))


POISONS: Final[tuple[Poison, ...]] = (
    copied_small,
    copied_large,
    copied_a_little_off,
    turned_round,
    large_sums_in,
    large_sums_out,
    said_shared,
    said_to_be_others,
    said_to_be_one,
    said_to_be_firms,
    crowds,
)


def _tokens(legs: Sequence[Leg]) -> list[Token]:
    found = {end for leg in legs for end in (leg.subject, leg.counterparty, *leg.links) if end != NOBODY}
    return sorted(found)


def _accounts(leg: Leg) -> list[Token]:
    return [end for end in (leg.subject, leg.counterparty) if end[1] in (account("")[1], iban("")[1])]


def gang(town: Town, pattern: Pattern) -> None:
    """What the others report of it."""
    town.tell(HONEST, SCHEMES[pattern]())


def cases() -> Iterator[ParameterSet]:
    for pattern in SCHEMES:
        for before in (True, False):
            for poison in POISONS:
                name = f"{pattern.name}-{'before' if before else 'after'}-{poison.__name__}"
                yield pytest.param(pattern, before, poison, id=name)


@pytest.mark.parametrize(("pattern", "before", "poison"), list(cases()))
def test_false_facts_of_one_group_hide_no_gang(pattern: Pattern, before: bool, poison: Poison) -> None:
    town = Town()
    if not before:
        gang(town, pattern)
    for leg in poison(SCHEMES[pattern]()):
        (town.know if before else town.say)(BRIBED, leg)
    if before:
        gang(town, pattern)
    assert town.standing(pattern)


@EACH_PATTERN
def test_a_group_that_reported_nothing_of_it_refutes_nothing(pattern: Pattern) -> None:
    town = Town()
    gang(town, pattern)
    (match,) = town.standing(pattern)
    before = set(match.instances)
    town.judge(match, BRIBED[1], Verdict.REFUTED)
    assert match.status == MatchStatus.OPEN
    assert set(match.instances) == before


@EACH_PATTERN
def test_whoever_adds_a_fact_and_takes_it_back_takes_away_no_more_than_that(pattern: Pattern) -> None:
    town = Town()
    gang(town, pattern)
    told = [town.say(BRIBED, leg._replace(at=leg.at + 0.1)) for leg in SCHEMES[pattern]()]
    (match,) = town.standing(pattern)
    town.judge(match, BRIBED[1], Verdict.REFUTED)
    assert match.stands
    town.withdraw(*told)
    assert town.standing(pattern)


@EACH_PATTERN
def test_a_dispute_ends_and_cannot_be_renewed(pattern: Pattern) -> None:
    """The bribed group changes its mind again and again: the hub would refuse the member, but a group may
    have several."""
    town = Town()
    four = (*HONEST, ("shop", "e"))
    for day in range(3):
        town.tell(four[day:] + four[:day], SCHEMES[pattern](at=24.0 * day))
    (match,) = town.standing(pattern)
    assert town.strongest() > ACTION_AUTHENTICATE
    town.judge(match, BRIBED[1], Verdict.REFUTED)
    first = town.now
    assert max(town.advice(match).values()) <= ACTION_AUTHENTICATE
    for _ in range(4):
        town.now += RULEBOOK.matching.dispute_days * DAY // 2
        town.judge(match, BRIBED[1], Verdict.INCONCLUSIVE)
        town.judge(match, BRIBED[1], Verdict.REFUTED)
    later = first + (RULEBOOK.matching.dispute_days + 1) * DAY
    assert max(town.advice(match, now=later).values()) > ACTION_AUTHENTICATE


@EACH_PATTERN
def test_those_who_told_answer_a_dispute(pattern: Pattern) -> None:
    town = Town()
    four = (*HONEST, ("shop", "e"))
    for day in range(3):
        town.tell(four[day:] + four[:day], SCHEMES[pattern](at=24.0 * day))
    (match,) = town.standing(pattern)
    town.judge(match, BRIBED[1], Verdict.REFUTED)
    for _, group in four:
        town.judge(match, group, Verdict.CONFIRMED)
    assert max(town.advice(match).values()) > ACTION_AUTHENTICATE


@pytest.mark.parametrize("payers", range(3, 13))
def test_a_flooded_device_still_joins_the_ring_behind_it(payers: int) -> None:
    """Up to the size at which the device would be set aside by what the others say."""
    town = Town()
    for n in range(50):
        town.know(BRIBED, Leg(Role.LINK, phone(f"crowd{n}"), NOBODY, (device("ring"),)))
    town.hear(
        [
            town.make(HONEST[n % 3], bought(f"payer{n}", "sham", links=(device("ring"),), at=n))
            for n in range(payers)
        ]
    )
    assert town.standing(Pattern.PAYER_RING)


@pytest.mark.parametrize("neighbours", [10, 50, 100, 150, 190])
def test_a_flooded_account_still_joins_the_loops_over_it(neighbours: int) -> None:
    town = Town()
    for n in range(500):
        town.know(BRIBED, sent(f"crowd{n}", "agent", at=1 + n % 48, band=50))
    for n in range(neighbours):
        town.know(HONEST[1], sent("agent", f"customer{n}", at=-24 - n, band=60))
    town.tell(
        HONEST,
        [
            bought("payer", "sham"),
            paid_out("sham", "agent", band=BAND - 1, at=2),
            sent("agent", "payer", band=BAND - 1, at=4),
        ],
    )
    assert town.standing(Pattern.FUNDS_LOOP)


def test_one_groups_word_that_a_value_is_shared_counts_for_nothing() -> None:
    town = Town()
    legs = SCHEMES[Pattern.PAYER_RING]()
    for token in _tokens(legs):
        for member in (BRIBED, SISTER):
            for hours in range(3):
                town.say(member, Leg(Role.SHARED, token, at=hours))
    gang(town, Pattern.PAYER_RING)
    assert town.standing(Pattern.PAYER_RING)
    assert not list(town.matcher.graph.all_set_aside())
    town.say(HONEST[0], Leg(Role.SHARED, device("ring"), at=HOUR / 3600))
    assert [each.token for each in town.matcher.graph.all_set_aside()] == [device("ring")[0]]
