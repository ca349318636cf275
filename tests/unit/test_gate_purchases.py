"""Which purchases on credit pass the gate: each rule with a look-alike from honest life."""

from signalexchange.flows import Flow, in_order

from tests.support.flows import account, bought, device, offered, phone, places, sent, shop

WEEK = 8 * 24
"""Hours after which the gate knows merchants' trade."""


def trade(number: int, count: int = 30, until: float = WEEK) -> list[Flow]:
    """Everyday sales of a shop by other people over the first days."""
    return [
        bought(phone(9_000 + n), shop(number), 40, until * n / count, credit=n % 2 == 0) for n in range(count)
    ]


def passed(flows: list[Flow]) -> list[str]:
    return places(offered(flows), "credit-purchase")


def test_a_shop_without_other_trade_and_one_with_it() -> None:
    warm = bought(phone(1), shop(9), 20, 0)
    dear = bought(phone(2), shop(1), 1_800, WEEK)
    assert passed([warm, dear]) == [dear.place]
    assert passed([*trade(1), dear]) == []


def test_small_sums_never_pass() -> None:
    flows = [bought(phone(1), shop(1), 90, WEEK + 24 * n) for n in range(10)]
    assert passed(flows) == []


def test_a_split_sum_passes_whole_with_what_came_before_it_was_large() -> None:
    parts = [bought(phone(1), shop(1), 250, WEEK + n) for n in range(4)]
    assert passed([bought(phone(9), shop(9), 5, 0), *parts]) == sorted(part.place for part in parts)


def test_most_of_the_line_counts_and_little_of_it_does_not() -> None:
    few = [bought(phone(8_000 + n), shop(1), 40, n) for n in range(20)]
    large = bought(phone(1), shop(1), 7_000, WEEK, limit=10_000)
    usual = bought(phone(2), shop(1), 2_000, WEEK, limit=20_000)
    assert passed([*few, large, usual]) == [large.place]


def test_without_a_limit_the_payers_own_history_is_the_measure() -> None:
    few = [bought(phone(8_000 + n), shop(1), 40, n) for n in range(20)]
    spender = [bought(phone(1), shop(20 + n), 500, n) for n in range(6)]
    frugal = [bought(phone(2), shop(40 + n), 50, n) for n in range(6)]
    first, second = bought(phone(1), shop(1), 2_000, WEEK), bought(phone(2), shop(1), 2_000, WEEK)
    assert passed([*few, *spender, *frugal, first, second]) == [second.place]


def test_who_comes_again_within_days_is_published_with_the_first_time() -> None:
    some = trade(1, 5) + trade(2, 5)
    first, again = bought(phone(1), shop(1), 900, WEEK), bought(phone(1), shop(2), 900, WEEK + 40)
    assert passed([*some, first, again]) == sorted([first.place, again.place])
    later = bought(phone(1), shop(2), 900, WEEK + 24 * 20)
    assert passed(in_order([*some, first, *trade(2, 5, WEEK + 24 * 18), later])) == []
    shops = trade(1, 12) + trade(2, 12)
    assert passed([*shops, first, again]) == [], "most who buy twice on credit buy at such shops"


def test_many_buyers_make_a_shop_of_dear_things() -> None:
    buyers = [bought(phone(n), shop(1), 900, WEEK + 26 * n) for n in range(6)]
    warm = bought(phone(99), shop(9), 5, 0)
    assert passed([warm, *buyers]) == sorted(buyer.place for buyer in buyers[:2])


def test_three_buyers_behind_one_device_pass_at_any_shop_and_a_crowd_does_not() -> None:
    def at(count: int) -> list[Flow]:
        return [
            bought(phone(n), shop(1), 700, WEEK + n, device=device(1), limit=50_000) for n in range(count)
        ]

    busy = trade(1, 60)
    assert len(passed([*busy, *at(3)])) == 3
    assert passed([*busy, *at(2)]) == []
    assert len(passed([*busy, *at(40)])) <= 16


def test_money_that_comes_back_publishes_the_purchase_and_itself() -> None:
    busy = trade(1, 60)
    links = {"payer_links": (phone(1),)}
    buy = bought(account(1), shop(1), 2_000, WEEK, **links)
    back = sent(account(7), account(1), 1_850, WEEK + 5, payee_links=(phone(1),))
    drafts = offered([*busy, buy, back])
    assert places(drafts, "credit-purchase") == [buy.place]
    assert places(drafts, "pass-through") == [back.place]
    other = sent(account(7), account(1), 300, WEEK + 5, payee_links=(phone(1),))
    assert offered([*busy, buy, other]) == []
