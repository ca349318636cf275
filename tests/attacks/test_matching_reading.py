"""A member that plants legs around another's purchase to read its amount and time out of the answers.

What it learns is whether one of a stated number of guesses fits: no more, however it withdraws and plants
again, and never by what it is shown of a match.
"""

from collections.abc import Callable, Iterable
from typing import Final

import pytest

from exchange.domain.matching.finding import Pattern
from exchange.domain.matching.match import Match
from exchange.domain.matching.observation import Role
from tests.support.schemes import (
    BAND,
    DAY,
    HOUR,
    RULEBOOK,
    Leg,
    Reporter,
    Town,
    account,
    bought,
    iban,
    paid_out,
    sent,
    shop,
)

CURIOUS: Final[Reporter] = ("curious", "curious-group")
SISTER: Final[Reporter] = ("curious-sister", "curious-group")
LENDER: Final[Reporter] = ("lender", "b")
BANKS: Final[tuple[Reporter, ...]] = (("bank", "c"), ("other-bank", "d"))
HYPOTHESES: Final = RULEBOOK.matching.legs_per_pair_and_day


def guess(band: int, at: float = 5.0) -> Leg:
    """Money of that band back from the merchant to the payer."""
    return paid_out("sham", "payer", band=band, at=at)


def answers(town: Town) -> list[Match]:
    """Matches that the curious member is shown."""
    return [match for match in town.matches() if match.reported]


def secret(band: int, at: float = 1.0) -> Town:
    """A town where the lender has reported a purchase."""
    town = Town()
    town.say(LENDER, bought("payer", "sham", band=band, at=at))
    return town


def hits(town: Town, guesses: Iterable[Leg], *, take_back: bool = False) -> list[int]:
    """Which guesses, planted one after the other, brought an answer that wasn't there before."""
    found = []
    for number, each in enumerate(guesses):
        before = len(answers(town))
        planted = town.say((CURIOUS, SISTER)[number % 2], each)
        if len(answers(town)) > before:
            found.append(number)
        if take_back:
            town.withdraw(planted)
    return found


def test_some_guess_fits() -> None:
    """Without this the rest of the file would show nothing."""
    assert hits(secret(BAND), [guess(BAND - 1)]) == [0]


@pytest.mark.parametrize("wrong", range(HYPOTHESES + 3))
@pytest.mark.parametrize("take_back", [False, True], ids=["kept", "withdrawn"])
def test_after_the_stated_number_of_guesses_a_pair_and_day_none_is_answered(
    take_back: bool, wrong: int
) -> None:
    """The last guess is right. The others are far too large, so that no sum of them fits either."""
    guesses = [guess(200 + number, at=5 + number / 12) for number in range(wrong)]
    found = hits(secret(BAND), [*guesses, guess(BAND - 1, at=7)], take_back=take_back)
    allowed = 1 if take_back else HYPOTHESES
    assert found == ([wrong] if wrong < allowed else [])


@pytest.mark.parametrize("take_back", [False, True], ids=["kept", "withdrawn"])
def test_only_the_stated_number_of_times_a_pair_and_day_is_answered(take_back: bool) -> None:
    """The same by time: money that came back before the purchase doesn't fit."""
    slots = [n / 12 for n in range(12 * 12)]
    town = secret(BAND, at=slots[-1])
    assert not hits(town, [guess(BAND - 1, at) for at in slots], take_back=take_back)


def test_a_withdrawn_guess_is_spent_for_the_day_and_the_whole_group() -> None:
    town = secret(BAND)
    for member in (CURIOUS, SISTER):
        town.withdraw(town.say(member, guess(40)))
    assert not hits(town, [guess(BAND - 1), guess(BAND - 1, at=7), guess(BAND - 2)])
    town.matcher.advance(town.now + DAY)
    town.now += DAY
    assert not hits(town, [guess(BAND - 1)])


def test_of_guesses_planted_at_once_nobody_is_told_which_fits() -> None:
    """A batch of guesses that reach from half to all of it: whatever the purchase was, the answer is one."""
    shown = []
    for band in (BAND - 6, BAND, BAND + 4):
        town = secret(band)
        town.hear([town.make(CURIOUS, guess(BAND + 6 - 3 * n)) for n in range(HYPOTHESES)])
        (match,) = answers(town)
        shown.append(town.view(match, CURIOUS))
    assert shown[0] == shown[1] == shown[2]


def test_what_is_shown_of_a_hit_is_the_same_for_every_amount_and_time_that_fits() -> None:
    shown = []
    for band, at in ((BAND, 1.0), (BAND + 1, 1.0), (BAND + 2, 4.0), (BAND, 0.25)):
        town = secret(band, at)
        assert hits(town, [guess(BAND - 1)])
        (match,) = answers(town)
        shown.append(town.view(match, CURIOUS))
    assert all(each == shown[0] for each in shown)
    assert (shown[0].days, shown[0].total_digits) == (0, 0)


@pytest.mark.parametrize("band", [20, BAND - 1, BAND, BAND + 20, 200])
@pytest.mark.parametrize("at", [-20.0, 0.5, 5.0, 30.0])
def test_a_members_own_legs_move_neither_days_nor_digits(band: int, at: float) -> None:
    """Of a match that stands without it: neither its own legs around it nor what it says of others."""
    town = Town()
    town.tell(
        (LENDER, *BANKS),
        [
            bought("payer", "sham"),
            paid_out("sham", "agent", band=BAND - 1, at=2),
            sent("agent", "payer", band=BAND - 1, at=4),
        ],
    )
    (match,) = town.matches(Pattern.FUNDS_LOOP)
    before = town.view(match, CURIOUS)
    assert before.days == 1
    planted = [
        town.say(CURIOUS, leg)
        for leg in (
            guess(band, at),
            bought("payer", "sham", band=band, at=at),
            paid_out("sham", "agent", band=band, at=at),
            sent("agent", "payer", band=band, at=at),
            bought("payer", "other sham", band=band, at=at),
        )
    ]
    moved = {(town.view(match, CURIOUS).days, town.view(match, CURIOUS).total_digits)}
    for each in planted:
        town.withdraw(each)
        moved.add((town.view(match, CURIOUS).days, town.view(match, CURIOUS).total_digits))
    assert moved == {(before.days, before.total_digits)}


@pytest.mark.parametrize("band", [BAND, BAND + 1, BAND + 24])
@pytest.mark.parametrize("at", [-20.0, -0.5, 0.5])
def test_nor_do_legs_planted_before_the_others_came(band: int, at: float) -> None:
    """Of a total of others that doesn't grow by its own purchases, and days that don't by its own dates."""
    seen = []
    for planted in (False, True):
        town = Town()
        if planted:
            town.say(CURIOUS, bought("payer", "sham", band=band, at=at))
            town.say(CURIOUS, sent("agent", "payer", band=band, at=5))
        town.tell(
            (LENDER, *BANKS),
            [
                bought("payer", "sham"),
                paid_out("sham", "agent", band=BAND - 1, at=2),
                sent("agent", "payer", band=BAND - 1, at=4),
            ],
        )
        (match,) = town.matches(Pattern.FUNDS_LOOP)
        view = town.view(match, CURIOUS)
        seen.append((view.days, view.total_digits))
    assert seen[0] == seen[1]


def test_nothing_shown_tells_a_band_a_slot_or_a_reporter() -> None:
    """Two towns alike but for amounts within a decade, times within a day, and who reported what."""
    shown = []
    for offset, banks in ((0, BANKS), (3, BANKS[::-1])):
        town = Town()
        town.tell(
            (LENDER, *banks),
            [
                bought("payer", "sham", band=BAND - offset, at=offset),
                paid_out("sham", "agent", band=BAND - 1 - offset, at=2 + offset),
                sent("agent", "payer", band=BAND - 1 - offset, at=4 + offset),
            ],
        )
        (match,) = town.matches(Pattern.FUNDS_LOOP)
        shown.append(town.view(match, CURIOUS))
    assert shown[0] == shown[1]
    assert HOUR * 24 == DAY
    assert shown[0].found_on % DAY == 0
    assert not shown[0].signal_ids


def over_an_account(number: int, band: int) -> list[Leg]:
    """Over an account between merchant and payer, another for each guess."""
    return [
        paid_out("sham", f"x{number}", band=band, at=2 + number / 100),
        sent(f"x{number}", "payer", band=band, at=3 + number / 100),
    ]


def from_an_account(number: int, band: int) -> list[Leg]:
    """From an account that is said to be the merchant's, another for each guess."""
    return [Leg(Role.TRANSFER, iban(f"x{number}"), account("payer"), (shop("sham"),), band, 3 + number / 100)]


def to_an_account(number: int, band: int) -> list[Leg]:
    """To an account that is said to be the payer's, another for each guess."""
    return [
        paid_out("sham", f"x{number}", band=band, at=3 + number / 100),
        Leg(Role.LINK, account(f"x{number}"), links=(account("payer"),)),
    ]


WAYS: Final = (over_an_account, from_an_account, to_an_account)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("take_back", [False, True], ids=["kept", "withdrawn"])
def test_a_guess_by_another_way_is_a_guess_about_the_same_pair(
    way: Callable[[int, int], list[Leg]], take_back: bool
) -> None:
    town = secret(BAND)
    for number in range(HYPOTHESES):
        planted = [town.say(CURIOUS, leg) for leg in way(number, 200 + number)]
        if take_back:
            town.withdraw(*planted)
    for leg in way(HYPOTHESES, BAND - 1):
        town.say(SISTER, leg)
    assert not answers(town)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_each_of_those_ways_leads_to_an_answer(way: Callable[[int, int], list[Leg]]) -> None:
    town = secret(BAND)
    for leg in way(0, BAND - 1):
        town.say(CURIOUS, leg)
    assert answers(town)


def from_and_to_accounts(number: int, band: int) -> list[Leg]:
    """Between accounts that are said to be the merchant's and the payer's, others for each guess."""
    return [
        Leg(
            Role.TRANSFER, iban(f"y{number}"), account(f"x{number}"), (shop("sham"),), band, 3 + number / 100
        ),
        Leg(Role.LINK, account(f"x{number}"), links=(account("payer"),)),
    ]


def over_two_accounts(number: int, band: int) -> list[Leg]:
    """Over an account of its own for each guess to one that pays the payer but once."""
    return [
        paid_out("sham", f"y{number}", band=band, at=2 + number / 100),
        sent(f"y{number}", "x", band=band, at=3 + number / 100),
    ]


@pytest.mark.parametrize("way", [over_an_account, over_two_accounts, from_and_to_accounts])
@pytest.mark.parametrize("take_back", [False, True], ids=["kept", "withdrawn"])
def test_no_way_leads_past_the_number_of_guesses(
    way: Callable[[int, int], list[Leg]], take_back: bool
) -> None:
    """An upward scan: the guess that fits is one of many, and none but the first few are answered."""
    for right in (0, HYPOTHESES, 3 * HYPOTHESES):
        town = secret(BAND)
        town.say(CURIOUS, sent("x", "payer", band=BAND - 1, at=9))
        for number in range(right):
            planted = [town.say(CURIOUS, leg) for leg in way(number, 200 + number)]
            if take_back:
                town.withdraw(*reversed(planted))
        for leg in way(right, BAND - 1):
            town.say(SISTER, leg)
        assert bool(answers(town)) is (right == 0)


@pytest.mark.parametrize("over", [over_an_account, over_two_accounts])
def test_guesses_are_not_hidden_behind_later_transfers(over: Callable[[int, int], list[Leg]]) -> None:
    """Only the latest of many transfers to somebody are looked at: who sends so many isn't heard."""
    town = secret(BAND)
    town.say(CURIOUS, sent("x", "payer", band=BAND - 1, at=9))
    sink = "payer" if over is over_an_account else "x"
    for number in range(4 * RULEBOOK.matching.fan):
        for leg in over(number, 200 + number % 40):
            town.say(CURIOUS, leg)
        town.say(SISTER, sent(f"dummy{number}", sink, band=200, at=4 + number / 30))
    for leg in over(999, BAND - 1):
        town.say(SISTER, leg._replace(at=leg.at - 5))
    assert not answers(town)


def test_a_link_that_was_taken_back_is_a_guess_all_the_same() -> None:
    """The transfers stay, and another account at a time is said to be the payer's."""
    guesses = 3 * HYPOTHESES
    town = secret(BAND)
    for number in range(guesses):
        town.say(CURIOUS, paid_out("sham", f"x{number}", band=BAND - 1 if number == guesses - 1 else 200))
    for number in range(guesses):
        link = town.say(SISTER, Leg(Role.LINK, account(f"x{number}"), links=(account("payer"),)))
        assert not answers(town)
        town.withdraw(link)


@pytest.mark.parametrize("others", [1, 5])
def test_a_merchants_bank_is_heard_of_each_payer_whomever_else_the_merchant_pays(others: int) -> None:
    """Sixty payers of one merchant on one day, over few accounts: each is found."""
    town = Town()
    for number in range(60):
        town.say(LENDER, bought(f"payer{number}", "sham", at=number / 6))
        town.say(BANKS[0], paid_out("sham", f"payer{number}", band=BAND - 1, at=11 + number / 12))
    for number in range(others):
        agent = f"agent{number}"
        town.say(LENDER, bought(f"late{number}", "sham", at=17))
        town.say(BANKS[0], paid_out("sham", agent, band=BAND - 1, at=18))
        town.say(BANKS[0], sent(agent, f"late{number}", band=BAND - 2, at=19))
        for other in range(40):
            town.say(BANKS[0], sent(f"other{other}", agent, band=BAND - other, at=18 + other / 12))
    (match,) = town.matches(Pattern.FUNDS_LOOP)
    payers = {subject.token for subject in match.subjects}
    wanted = [f"payer{number}" for number in range(60)] + [f"late{number}" for number in range(others)]
    assert {account(name)[0] for name in wanted} <= payers
