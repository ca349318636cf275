"""A stream in the order of its times: nothing goes back, nothing is twice, nothing is lost unsaid."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.detector.order import Ahead, Counts, Due, Late, Order, Reused
from signalexchange.detector.transactions import Rejected, Transaction
from signalexchange.errors import ConfigError, MalformedError

# Few ids, amounts and times, so that duplicates, reused ids and ties are common.
OFFERS = st.builds(
    lambda number, time, amount: Transaction(f"t{number}", time, "c", amount, place=f"row {number}"),
    st.integers(0, 15),
    st.integers(0, 60),
    st.integers(1, 2),
)
STEPS = st.lists(
    st.tuples(st.just("offer"), OFFERS, st.none() | st.integers(0, 60))
    | st.tuples(st.just("advance"), st.integers(0, 60), st.none())
    | st.just(("flush", None, None)),
    max_size=60,
)
SETTINGS = st.tuples(
    st.integers(0, 10), st.integers(0, 30), st.integers(10, 40), st.integers(1, 6) | st.just(1_000)
)


def transaction(id_: str, time: int, amount: int = 1) -> Transaction:
    return Transaction(id_, time, "c", amount, place=f"row of {id_}")


def ids(released: Iterable[Due]) -> list[str]:
    return [each.transaction.id for each in released]


def take(order: Order, step: tuple[str, Any, int | None]) -> tuple[list[Due], str]:
    """What a step released, and why it was refused."""
    does, what, now = step
    try:
        if does == "offer":
            return order.offer(what, now), ""
        return (order.advance(what) if does == "advance" else order.flush()), ""
    except Rejected as error:
        return [], f"{type(error).__name__}: {error}"


def through_json(order: Order, *settings: int) -> Order:
    restored = Order(*settings)
    restored.restore(json.loads(json.dumps(order.state())))
    return restored


@given(st.data(), st.integers(1, 20), st.lists(st.integers(0, 200), max_size=40))
def test_within_the_lateness_the_order_of_arrival_decides_nothing(
    data: st.DataObject, lateness: int, times: list[int]
) -> None:
    sent = [transaction(f"t{number}", time) for number, time in enumerate(times)]
    delays = data.draw(st.lists(st.integers(0, lateness - 1), min_size=len(sent), max_size=len(sent)))
    ties = data.draw(st.permutations(range(len(sent))))
    arrival = sorted(range(len(sent)), key=lambda n: (sent[n].time + delays[n], ties[n]))
    order = Order(lateness, 1_000)
    released = [each for n in arrival for each in order.offer(sent[n])] + order.flush()
    assert released == [Due(each.time, each) for each in sorted(sent, key=lambda each: (each.time, each.id))]
    assert order.counts == Counts(offered=len(sent), released=len(sent))


@given(SETTINGS, STEPS, st.integers(0, 10))
def test_nothing_goes_back_is_twice_or_is_lost_unsaid(
    settings: tuple[int, int, int, int], steps: list[tuple[str, Any, int | None]], grace: int
) -> None:
    order = Order(*settings, grace=grace)
    released: list[Due] = []
    refused: Counter[str] = Counter()
    for step in steps:
        before = order.counts.duplicates
        given_out, why = take(order, step)
        released += given_out
        if why:
            refused[why.partition(":")[0]] += 1
        elif step[0] == "offer" and order.counts.duplicates > before:
            assert not given_out
        counts = order.counts
        assert counts.offered == (
            counts.released + len(order) + counts.late + counts.ahead + counts.duplicates + counts.reused
        )
        state = order.state()
        assert len(state["held"]) == len(order)
        assert len(state["held"]) + len(state["ids"]) <= settings[3]
    assert [each.at for each in released] == sorted(each.at for each in released)
    assert all(each.transaction.time >= each.at - grace for each in released)
    transactions = [each.transaction for each in released]
    assert len(set(transactions)) == len(released) == order.counts.released
    assert refused == Counter(
        {"Late": order.counts.late, "Ahead": order.counts.ahead, "Reused": order.counts.reused}
    )
    offered = Counter(step[1] for step in steps if step[0] == "offer")
    assert Counter(transactions) <= offered


@given(SETTINGS, STEPS, st.integers(0, 60))
def test_a_restored_order_goes_on_the_same(
    settings: tuple[int, int, int, int], steps: list[tuple[str, Any, int | None]], at: int
) -> None:
    order = Order(*settings)
    for step in steps[:at]:
        take(order, step)
    restored = through_json(order, *settings)
    for step in steps[at:]:
        assert take(restored, step) == take(order, step)
    assert restored.state() == order.state()


def test_one_is_released_once_the_lateness_has_passed() -> None:
    order = Order(60, 3_600)
    assert order.offer(transaction("b", 100)) == []
    assert order.offer(transaction("a", 41)) == []
    assert ids(order.offer(transaction("c", 101))) == ["a"]
    assert ids(order.offer(transaction("d", 160))) == ["b"]
    assert len(order) == 2
    assert ids(order.flush()) == ["c", "d"]


def test_without_lateness_each_is_released_as_it_comes() -> None:
    order = Order(0, 3_600)
    assert [ids(order.offer(transaction(id_, time))) for id_, time in (("b", 5), ("a", 5), ("c", 6))] == [
        ["b"], ["a"], ["c"],
    ]  # fmt: skip


def test_what_is_older_than_what_was_released_is_late() -> None:
    order = Order(60, 3_600)
    order.offer(transaction("a", 100))
    order.offer(transaction("b", 170))
    with pytest.raises(Late, match=r"^row of c, column time: late: 1 s behind .* 60 s are allowed"):
        order.offer(transaction("c", 99))
    assert ids(order.offer(transaction("d", 100))) == ["d"]
    assert order.counts == Counts(offered=4, released=2, late=1)


def test_a_clock_that_jumps_is_refused_and_moves_nothing() -> None:
    order = Order(0, 3_600)
    order.offer(transaction("a", 1_000))
    with pytest.raises(
        Ahead, match=r"^row of b, column time: 3601 s ahead of the newest .* 3600 s are allowed"
    ):
        order.offer(transaction("b", 4_601))
    assert ids(order.offer(transaction("c", 1_001))) == ["c"]
    assert order.offer(transaction("b", 4_601), now=4_000) == [Due(4_000, transaction("b", 4_601))]
    assert ids(order.offer(transaction("e", 7_600))) == ["e"]
    with pytest.raises(Ahead, match="ahead of now"):
        order.offer(transaction("d", 9_000), now=4_000)


def test_a_fast_clock_makes_nobody_else_late() -> None:
    order = Order(60, 3_600)
    order.offer(transaction("a", 1_000), now=1_000)
    fast = transaction("fast", 4_000)
    assert order.offer(fast, now=1_001) == []
    assert order.offer(transaction("b", 1_001), now=1_002) == []
    assert order.advance(1_100) == [
        Due(1_000, transaction("a", 1_000)),
        Due(1_001, transaction("b", 1_001)),
        Due(1_001, fast),
    ]


def test_one_that_comes_behind_others_within_the_grace_counts_as_of_the_last() -> None:
    order = Order(0, 3_600, grace=30)
    order.offer(transaction("a", 1_000))
    behind = transaction("b", 970)
    assert order.offer(behind) == [Due(1_000, behind)]
    assert order.offer(behind) == []
    with pytest.raises(Late, match="31 s behind what was decided; 30 s are allowed"):
        order.offer(transaction("c", 969))
    assert order.counts == Counts(offered=4, released=2, behind=1, duplicates=1, late=1)


def test_time_that_passes_releases_what_a_quiet_stream_holds() -> None:
    order = Order(60, 3_600)
    order.offer(transaction("a", 1_000), now=1_000)
    assert order.advance(1_059) == []
    assert ids(order.advance(1_060)) == ["a"]
    assert order.advance(5) == []


@pytest.mark.parametrize("released", [False, True])
def test_the_same_again_is_dropped_and_another_of_its_id_refused(released: bool) -> None:
    order = Order(10, 3_600)
    order.offer(transaction("a", 100))
    if released:
        assert ids(order.flush()) == ["a"]
        order = through_json(order, 10, 3_600)
    assert order.offer(replace(transaction("a", 100), place="another file, row 9")) == []
    other = replace(transaction("a", 100, amount=777), place="file, row 9")
    with pytest.raises(Reused, match=r"^file, row 9, column id: used for another transaction already$"):
        order.offer(other)
    assert order.counts == Counts(offered=3, released=int(released), duplicates=1, reused=1)


@pytest.mark.parametrize(
    "change",
    [
        {"time": 101}, {"customer": "d"}, {"kind": 2}, {"merchant": "m"}, {"payee": "m"}, {"device": "m"},
        {"card": "m"}, {"credit": True}, {"limit": 5},
    ],
)  # fmt: skip
def test_every_part_of_the_content_counts(change: dict[str, Any]) -> None:
    order = Order(0, 3_600)
    order.offer(transaction("a", 100))
    with pytest.raises(Reused):
        order.offer(replace(transaction("a", 100), **change))


def test_an_id_is_remembered_for_the_stated_time() -> None:
    order = Order(0, 3_600, remember=100)
    order.offer(transaction("a", 1_000))
    order.offer(transaction("b", 1_100))
    with pytest.raises(Reused):
        order.offer(transaction("a", 1_101))
    order.offer(transaction("c", 1_101))
    assert ids(order.offer(transaction("a", 1_101))) == ["a"]
    with pytest.raises(Late):
        order.offer(transaction("a0", 1_000))


def test_a_flood_of_one_second_stays_within_the_bound_and_is_counted() -> None:
    order = Order(60, 3_600, capacity=3)
    released: list[Due] = []
    refused = 0
    for number in range(10):
        try:
            released += order.offer(transaction(f"t{number}", 1_000))
        except Late:
            refused += 1
        assert len(order) + len(order.state()["ids"]) <= 3
    assert ids(released) == ["t0"]
    assert (refused, len(order)) == (6, 3)
    assert order.counts == Counts(offered=10, released=1, early=1, late=6)
    with pytest.raises(Late):
        order.offer(transaction("t0", 1_000))


@pytest.mark.parametrize("settings", [(-1, 0, 0, 1), (0, -1, 0, 1), (10, 0, 9, 1), (0, 0, 0, 0)])
def test_settings_out_of_range_are_refused(settings: tuple[int, int, int, int]) -> None:
    with pytest.raises(ConfigError):
        Order(*settings)


@given(
    st.sampled_from(["newest", "last", "forgotten", "held", "ids", "counts"]),
    st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers() | st.text(), max_size=3)
    | st.dictionaries(st.text(), st.integers(), max_size=2),
)  # fmt: skip
def test_any_other_state_is_restored_or_malformed_and_then_changes_nothing(name: str, value: object) -> None:
    order = Order(10, 3_600)
    for number in range(4):
        order.offer(transaction(f"t{number}", 100 + 5 * number))
    state = {**order.state(), name: value}
    other = Order(10, 3_600)
    try:
        other.restore(state)
    except MalformedError:
        assert other.state() == Order(10, 3_600).state()
    else:
        take(other, ("offer", transaction("z", 3_000), None))


@pytest.mark.parametrize("state", [None, [], {}, "state", {"newest": 1}])
def test_what_is_no_state_is_malformed(state: object) -> None:
    with pytest.raises(MalformedError):
        Order(1, 1).restore(state)


def test_the_order_in_which_a_state_lists_what_is_held_decides_nothing() -> None:
    order = Order(10, 3_600)
    for number in range(5):
        order.offer(transaction(f"t{number}", 100 + number))
    state = order.state()
    order.restore({**state, "held": state["held"][::-1]})
    assert ids(order.flush()) == ["t0", "t1", "t2", "t3", "t4"]


def test_a_state_that_lost_a_transaction_is_malformed() -> None:
    order = Order(10, 3_600)
    order.offer(transaction("a", 100))
    with pytest.raises(MalformedError, match="don't add up"):
        Order(10, 3_600).restore({**order.state(), "held": []})
