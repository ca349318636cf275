"""The detector's windows: exact against a plain recomputation, blind to the future, bounded, restorable."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange.detector.counters import Outlay, Pair, Sums
from signalexchange.detector.crowd import Till
from signalexchange.detector.customer import Card
from signalexchange.detector.features import DAY, FEATURES, HOUR, MEANINGS, MONTH, WEEK, Parameters
from signalexchange.detector.registry import Registry
from signalexchange.detector.transactions import Rejected, Transaction
from signalexchange.detector.windows import Windows
from signalexchange.errors import ConfigError, MalformedError
from signalexchange.flows import Kind

from tests.support.detector_windows import Naive, Outcome

START = 1_700_000_000
EDGES = [60, 600, HOUR, DAY, 3 * DAY, WEEK, 28 * DAY, MONTH]
GAPS = st.one_of(
    st.sampled_from([0, 0, 1, 30, 59, *EDGES, *(edge - 1 for edge in EDGES), *(edge + 1 for edge in EDGES)]),
    st.integers(0, HOUR),
    st.integers(0, 3 * DAY),
)
AMOUNTS = st.one_of(st.integers(1, 500), st.integers(50_000, 700_000), st.sampled_from([100_000, 10**14]))
PEOPLE = ["ann", "bob", "cy"]


@dataclass(frozen=True)
class Step:
    """A transaction `gap` seconds after the one before, and outcomes of earlier ones given after it."""

    gap: int
    transaction: Transaction
    labels: tuple[tuple[int, bool, int], ...]
    """How many transactions back, fraud, and seconds from the last transaction taken to its arrival."""


TRANSACTIONS = st.builds(
    Transaction,
    id=st.just("1"),
    time=st.just(0),
    customer=st.sampled_from(PEOPLE),
    amount=AMOUNTS,
    kind=st.sampled_from([Kind.PURCHASE, Kind.PURCHASE, Kind.TRANSFER, Kind.REFUND, Kind.REPAYMENT]),
    merchant=st.sampled_from(["", "m1", "m2", "m3"]),
    payee=st.sampled_from(["", "ann", "bob", "p1", "p2"]),
    device=st.sampled_from(["", "d1", "d2"]),
    card=st.sampled_from(["", "c1", "c2"]),
    credit=st.booleans(),
    limit=st.sampled_from([0, 0, 1_000_000, 5_000_000]),
)
LABELS = st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.integers(-DAY, 8 * DAY)), max_size=2).map(
    tuple
)
STEPS = st.lists(st.builds(Step, GAPS, TRANSACTIONS, LABELS), min_size=1, max_size=60)


def run(windows: Windows, steps: Sequence[Step], naive: Naive | None = None) -> list[list[float]]:
    """The vectors of steps from the start; with `naive`, each is compared with its recomputation."""
    now, taken, vectors = START, [], []
    for step in steps:
        now += step.gap
        t = replace(step.transaction, time=now)
        vector = windows.update(t)
        vectors.append(vector)
        taken.append(t)
        if naive is not None:
            assert dict(zip(FEATURES, vector, strict=True)) == naive.update(t)
        for back, fraud, delay in step.labels:
            labelled = taken[max(len(taken) - 1 - back, 0)]
            arrived = max(now + delay, labelled.time)
            windows.label(labelled, fraud, arrived)
            if naive is not None:
                naive.outcomes.append(Outcome(labelled, fraud, max(arrived, now)))
    return vectors


def restored(windows: Windows) -> Windows:
    other = Windows(windows.parameters)
    other.restore(json.loads(json.dumps(list(windows.state()))))
    return other


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from([Parameters(), Parameters(2, 100, -5 * HOUR)]))
def test_every_vector_is_that_of_a_recomputation(steps: list[Step], parameters: Parameters) -> None:
    run(Windows(parameters), steps, Naive(parameters))


def random_steps(seed: int, number: int, gap: int) -> list[Step]:
    """Long enough to cut logs, which takes more than 32 events that no window sees any more."""
    chance = random.Random(seed)  # noqa: S311
    return [
        Step(
            chance.choice([0, 1, gap, chance.randrange(2 * gap)]),
            Transaction(
                "1", 0, chance.choice(PEOPLE[:2]), chance.randrange(1, 400_000),
                kind=chance.choice(list(Kind)), merchant=chance.choice(["m1", "m2"]),
                payee=chance.choice(["ann", "p1"]), device=chance.choice(["d1", "d2"]), card="c1",
                credit=chance.random() < 0.5, limit=chance.choice([0, 1_000_000]),
            ),
            ((chance.randrange(5), chance.random() < 0.3, chance.randrange(DAY)),),
        )
        for _ in range(number)
    ]  # fmt: skip


@pytest.mark.parametrize("gap", [HOUR, 6 * HOUR, 2 * DAY])
def test_cutting_logs_changes_nothing(gap: int) -> None:
    run(Windows(), random_steps(gap, 500, gap), Naive(Parameters()))


@settings(max_examples=60, deadline=None)
@given(STEPS, STEPS, STEPS)
def test_nothing_later_changes_a_vector(past: list[Step], one: list[Step], other: list[Step]) -> None:
    known = len(past)
    assert run(Windows(), [*past, *one])[:known] == run(Windows(), [*past, *other])[:known]
    shuffled = random.Random(known).sample(one, len(one))  # noqa: S311
    assert run(Windows(), [*past, *one])[:known] == run(Windows(), [*past, *shuffled])[:known]


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 60), st.booleans(), st.integers(1, 10 * DAY))
def test_an_outcome_from_after_t_changes_no_vector_at_t(
    steps: list[Step], place: int, fraud: bool, delay: int
) -> None:
    without = run(Windows(), steps)
    place %= len(steps)
    labelled, now = Windows(), START
    for number, step in enumerate(steps):
        now += step.gap
        if number == place:
            arrives = now + delay
    more = replace(steps[place], labels=(*steps[place].labels, (0, fraud, delay)))
    now = START
    with_ = run(labelled, [*steps[:place], more, *steps[place + 1 :]])
    for step, before, after in zip(steps, without, with_, strict=True):
        now += step.gap
        if now < arrives:
            assert before == after


@settings(max_examples=80, deadline=None)
@given(STEPS, st.integers(0, 60))
def test_restoring_at_any_point_changes_nothing(steps: list[Step], point: int) -> None:
    whole = Windows()
    now = START
    parts = Windows()
    for number, step in enumerate(steps):
        if number == point:
            parts = restored(parts)
        now += step.gap
        t = replace(step.transaction, time=now)
        assert parts.update(t) == whole.update(t)
        for _, fraud, delay in step.labels:
            for windows in (parts, whole):
                windows.label(t, fraud, now + abs(delay))
    assert list(parts.state()) == list(whole.state())


@pytest.mark.parametrize("gap", [HOUR, 6 * HOUR, 2 * DAY])
def test_restoring_long_logs_changes_nothing(gap: int) -> None:
    steps = random_steps(gap + 1, 400, gap)
    whole, parts, now = Windows(), Windows(), START
    for number, step in enumerate(steps):
        now += step.gap
        t = replace(step.transaction, time=now)
        assert parts.update(t) == whole.update(t)
        if number % 40 == 0:
            parts = restored(parts)


def purchase(time: int, customer: str = "ann", amount: int = 1_000, **more: Any) -> Transaction:
    return Transaction("1", time, customer, amount, merchant=more.pop("merchant", "m"), **more)


def named(windows: Windows, t: Transaction) -> dict[str, float]:
    return dict(zip(FEATURES, windows.update(t), strict=True))


def test_a_burst_of_large_credit_purchases_is_seen() -> None:
    windows = Windows()
    for day in range(10):
        windows.update(purchase(START + day * DAY, amount=20_000))
    burst = START + 10 * DAY
    for minute in range(3):
        windows.update(purchase(burst + 60 * minute, amount=500_000, credit=True, merchant=f"m{minute}"))
    seen = named(windows, purchase(burst + 180, amount=600_000, credit=True, merchant="m9"))
    assert seen["transaction.large"] == 1
    assert seen["customer.credit_large.count.10m"] == 3
    assert seen["customer.credit_large.sum.1h"] == 15_000
    assert seen["customer.new_merchant"] == 1


def test_sums_stay_exact_beyond_64_bits() -> None:
    outlay, till, sums, amount = Outlay(0), Till("m"), Sums(DAY), 10**18
    pair = outlay.merchants["m"] = Pair("m", is_payee=False)
    for number in range(100):
        now = START + number * HOUR
        outlay.tally(now)
        till.advance(now)
        outlay.add(now, amount, pair)
        till.add(now, "ann", amount)
        sums.add(now, amount)
    assert outlay.tally(now)[-3:] == (24 * amount, 100 * amount, 100 * amount)
    assert till.sum(now, 3 * DAY) == 72 * amount
    assert till.tally(now)[4:8] == tuple(hours * amount / 100 for hours in (1, 24, 100, 100))
    assert sums.within(now, DAY) == (24, 24 * amount)
    again = Outlay.restore(0, outlay.state(), now)
    assert again.tally(now + HOUR) == outlay.tally(now + HOUR)


def test_the_silent_are_forgotten_and_logs_are_cut() -> None:
    windows = Windows()
    for number in range(1_000):
        who = f"c{number}"
        windows.update(purchase(START + number, who, merchant=f"m{number}", device=who, card=who))
        windows.update(replace(purchase(START + number, who, payee=f"p{number}"), kind=Kind.TRANSFER))
    assert set(windows.sizes().values()) == {1_000}
    for number in range(3_000):
        t = purchase(START + MONTH + 1_000 + number * HOUR, "x", device="x", card="x")
        windows.update(t)
        windows.update(replace(t, kind=Kind.TRANSFER, payee="p"))
    assert set(windows.sizes().values()) == {1}
    assert all(len(json.dumps(record)) < 60_000 for record in windows.state())
    till = windows._merchants.get("m")
    assert till is not None
    assert len(till.times) == len(till.keys) == len(till.sums) - 1 <= 2 * 720 + 64


def test_the_silent_are_forgotten_soon() -> None:
    chance = random.Random(3)  # noqa: S311
    keep, now = 800, 0
    registry: Registry[Card] = Registry(Card, keep)
    last: dict[str, int] = {}
    for _ in range(20_000):
        now += chance.choice([0, 0, 0, 1, 1, 5, chance.randrange(100)])
        key = f"c{chance.randrange(60) if chance.random() < 0.5 else chance.randrange(3_000)}"
        known = registry.touch(key, now)
        assert (known.key, known.last) == (key, now)
        last[key] = now
        registry.forget(now, 32)
        held = {each.key for each in registry.heard(now)}
        assert len(held) <= len(registry)
        if now % 7 == 0:
            assert held == {name for name, moment in last.items() if moment > now - keep}
            assert len(registry) <= sum(moment > now - keep * 3 // 2 for moment in last.values())
    for _ in range(4_000):
        now += 1
        registry.touch("c", now)
        registry.forget(now, 32)
    assert len(registry) == 1


def test_forgotten_outcomes_and_pairs_take_no_memory() -> None:
    windows = Windows()
    for number in range(2_000):
        t = purchase(START + number * HOUR, merchant=f"m{number}", device=f"d{number}")
        windows.update(t)
        windows.label(t, True, t.time + DAY)
    ann = windows._customers.get("ann")
    assert ann is not None
    assert len(ann._spent.merchants) <= 720
    known = [record for name, record in windows.state() if name == "label"]
    assert len(known) <= 28 * 24 + 24 + 2


def test_a_transaction_that_goes_back_in_time_is_refused_and_counts_nothing() -> None:
    windows = Windows()
    windows.update(purchase(START))
    before = list(windows.state())
    for time in (START - 1, -1, 2**62 + 1):
        with pytest.raises(Rejected, match="out of order"):
            windows.update(purchase(time, place="f.csv, row 7"))
    assert list(windows.state()) == before


def test_an_outcome_from_before_its_transaction_is_refused() -> None:
    windows = Windows()
    windows.update(purchase(START))
    with pytest.raises(Rejected, match=r"row 7.*outcome"):
        windows.label(purchase(START, place="f.csv, row 7"), True, START - 1)


def test_an_outcome_counts_from_its_arrival() -> None:
    windows = Windows()
    windows.update(purchase(START))
    windows.label(purchase(START), True, START + 7 * DAY)
    windows.label(purchase(START), False, START + 7 * DAY)
    assert named(windows, purchase(START + 7 * DAY - 1))["merchant.frauds.28d"] == 0
    seen = named(windows, purchase(START + 7 * DAY))
    assert (seen["merchant.frauds.1d"], seen["customer.frauds.28d"]) == (1, 1)
    assert seen["merchant.risk.28d"] == 1 / 3
    seen = named(windows, purchase(START + 8 * DAY))
    assert (seen["merchant.frauds.1d"], seen["merchant.frauds.7d"]) == (0, 1)


def test_every_feature_has_its_own_name_and_meaning() -> None:
    assert tuple(MEANINGS) == FEATURES
    assert all(MEANINGS.values())
    assert len(Windows().update(purchase(START))) == len(FEATURES)


@pytest.mark.parametrize("bounds", [{"large_factor": 0}, {"large_minimum": 0}, {"utc_offset": DAY}])
def test_parameters_out_of_bounds_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Parameters(**bounds)


def stored() -> list[Any]:
    windows = Windows()
    for step in random_steps(5, 60, HOUR):
        t = replace(step.transaction, time=START)
        windows.update(t)
        windows.label(t, True, START + DAY)
    windows.update(purchase(START + DAY))
    windows.label(purchase(START + DAY), True, START + 2 * DAY)
    return json.loads(json.dumps(list(windows.state())))  # type: ignore[no-any-return]


def test_a_spoilt_state_is_refused_and_changes_nothing() -> None:
    records = stored()
    windows = Windows()
    windows.update(purchase(START))
    before = list(windows.state())
    names = {name for name, _ in records}
    assert names == {"now", "customer", "merchant", "payee", "device", "card", "label"}
    for number, (name, state) in enumerate(records):
        for spoilt in (
            None,
            [name],
            [name, None],
            ["other", state],
            [name, [1]],
            [name, {}],
            [name, "text"],
            7,
        ):
            with pytest.raises(MalformedError):
                windows.restore([*records[:number], spoilt, *records[number + 1 :]])
    for number, (name, state) in enumerate(records[1:], 1):
        if isinstance(state, list):
            for place in range(len(state)):
                changed = [*state[:place], object(), *state[place + 1 :]]
                with pytest.raises(MalformedError):
                    windows.restore([*records[:number], [name, changed], *records[number + 1 :]])
    assert list(windows.state()) == before


def test_stored_times_that_go_back_are_refused() -> None:
    windows = Windows()
    windows.update(purchase(START))
    windows.update(purchase(START + 5))
    text = json.dumps(list(windows.state()))
    with pytest.raises(MalformedError):
        Windows().restore(json.loads(text.replace(f"[{START}, {START + 5}]", f"[{START + 5}, {START}]")))
    with pytest.raises(MalformedError):
        Windows().restore([["now", START], *json.loads(text)[1:]])
