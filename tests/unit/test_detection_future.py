"""Nothing in a feature or a score is of the future: whatever comes after a time changes nothing up to it."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.detector.transactions import Transaction
from signalexchange.detector.trial import Settings
from signalexchange.detector.windows import Windows
from signalexchange.v1.signal_service_pb2 import SubjectRisk

from exchange.evaluation.detection.deciding import decide
from exchange.evaluation.detection.plan import OWN, ROW, Plan
from exchange.evaluation.detection.watching import Watched, Watcher
from exchange.replay.books import Payment, keep, read_payments
from exchange.replay.generator import START, Size, generate
from exchange.replay.transactions import DAY

DAYS = 24
DELAY = 2 * DAY
PLAN = Plan(
    evaluated=12,
    learning=0,
    settings=Settings(
        delay=DELAY,
        held_out=2 * DAY,
        period=20 * DAY,
        every=2 * DAY,
        margin=0,
        frauds=2,
        rounds=8,
        leaf_rows=5,
    ),
)
Answers = dict[tuple[int, str], SubjectRisk]


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory) -> list[Payment]:
    path = tmp_path_factory.mktemp("books") / "books.parquet"
    keep(
        generate(3, Size(customers=40, terminals=15, days=DAYS, compromised_a_day=0.7, leaked_a_day=0.4)),
        path,
    )
    return list(read_payments(path))


def answers_of(payments: Sequence[Payment], seed: int) -> Answers:
    """What an exchange might say, day by day."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    merchants = sorted({each.transaction.merchant for each in payments})
    return {
        (day, merchant): SubjectRisk(
            score=chance.randrange(1000), groups=chance.randrange(4), freshness_days=chance.randrange(30)
        )
        for day in range(DAYS)
        for merchant in merchants
        if chance.random() < 0.5
    }


def watched(payments: Sequence[Payment], answers: Answers) -> Watched:
    watcher = Watcher(DELAY)
    rows = np.empty((len(payments), len(ROW)), np.float32)
    for at, payment in enumerate(payments):
        day = (payment.transaction.time - START) // DAY
        rows[at] = watcher.row(payment, {"merchant": answers.get((day, payment.transaction.merchant))})
    return Watched.of(list(payments), rows)


def other_future(payments: Sequence[Payment], now: int, seed: int) -> list[Payment]:
    """The same up to `now`: payments until then, and outcomes that have come; anything else is another."""
    chance = random.Random(seed)  # noqa: S311
    past = [each for each in payments if each.transaction.time <= now]
    future = [each for each in payments if each.transaction.time > now and chance.random() < 0.8]
    past = [
        each
        if each.transaction.time + DELAY <= now
        else each._replace(fraud=chance.random() < 0.5, scenario=chance.randrange(4))
        for each in past
    ]
    merchants = [each.transaction.merchant for each in future]
    times = [each.transaction.time for each in future]
    chance.shuffle(merchants)
    changed = [
        Payment(
            replace(each.transaction, time=time, merchant=merchant, amount=chance.randrange(1, 10**6)),
            chance.random() < 0.5,
            0,
        )
        for each, merchant, time in zip(future, merchants, times, strict=True)
    ]
    return past + changed


@pytest.mark.parametrize(("hours", "seed"), [(12 * 24, 1), (15 * 24 + 7, 2), (17 * 24 + 13, 3), (20 * 24, 4)])
def test_another_future_changes_no_row_and_no_score(payments: list[Payment], hours: int, seed: int) -> None:
    now = START + hours * 3_600
    today = (now - START) // DAY
    told = answers_of(payments, 1)
    other = {key: value for key, value in told.items() if key[0] <= today} | {
        key: value for key, value in answers_of(payments, seed).items() if key[0] > today
    }
    real = watched(payments, told)
    changed = watched(other_future(payments, now, seed), other)
    past = int((real.times <= now).sum())
    assert np.array_equal(real.rows[:past], changed.rows[:past], equal_nan=True)
    assert not np.array_equal(real.frauds[past:], changed.frauds[past:])
    for features in (OWN, ROW):
        before = decide(real, features, PLAN, START, DAYS)
        after = decide(changed, features, PLAN, START, DAYS)
        assert np.array_equal(before.scores[:past], after.scores[:past], equal_nan=True)


def test_the_past_does_change_rows_and_models_are_made(payments: list[Payment]) -> None:
    """The test above would say nothing otherwise."""
    told = answers_of(payments, 1)
    real = watched(payments, told)
    flipped = watched([each._replace(fraud=not each.fraud) for each in payments], told)
    assert not np.array_equal(real.rows, flipped.rows, equal_nan=True)
    assert decide(real, ROW, PLAN, START, DAYS).models >= 1
    unasked = watched(payments, {})
    assert not np.array_equal(
        decide(real, ROW, PLAN, START, DAYS).scores,
        decide(unasked, ROW, PLAN, START, DAYS).scores,
        equal_nan=True,
    )
    assert np.array_equal(
        decide(real, OWN, PLAN, START, DAYS).scores,
        decide(unasked, OWN, PLAN, START, DAYS).scores,
        equal_nan=True,
    )


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 3 * DAY),  # after the one before
        st.sampled_from("ab"),
        st.sampled_from("xyz"),
        st.integers(1, 10**6),
        st.booleans(),
        st.integers(0, 20 * DAY),  # how late the outcome is
    ),
    min_size=2,
    max_size=30,
)


@given(events=EVENTS, cut=st.integers(0, 29), flips=st.randoms(use_true_random=False))
def test_windows_know_no_outcome_before_it_arrives(
    events: list[tuple[int, str, str, int, bool, int]], cut: int, flips: random.Random
) -> None:
    """Outcomes are handed over at once, with the time at which they count."""
    cut = min(cut, len(events) - 1)

    def vectors(other: bool) -> list[list[float]]:
        windows, time, made = Windows(), 0, []
        until = sum(event[0] for event in events[: cut + 1])
        for number, (after, customer, merchant, amount, fraud, late) in enumerate(events):
            time += after
            if other and number > cut:
                amount = flips.randrange(1, 10**6)
            t = Transaction(str(number), time, customer, amount, merchant=merchant)
            made.append(windows.update(t))
            if other and time + late > until:
                fraud = flips.random() < 0.5
            windows.label(t, fraud, time + late)
        return made[: cut + 1]

    assert vectors(False) == vectors(True)


def test_payments_of_nothing_are_left_out(tmp_path: Path) -> None:
    table = generate(1, Size(customers=10, terminals=5, days=3))
    amounts = table["TX_AMOUNT"].to_pylist()
    amounts[0] = 0.0
    at = table.column_names.index("TX_AMOUNT")
    keep(table.set_column(at, "TX_AMOUNT", [amounts]), tmp_path / "books.parquet")
    found = list(read_payments(tmp_path / "books.parquet"))
    assert [each.transaction.id for each in found] == [
        str(id_) for id_ in table["TRANSACTION_ID"].to_pylist()[1:]
    ]
