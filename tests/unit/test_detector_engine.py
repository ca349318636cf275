"""The engine is a function of its events: a snapshot and the batches after it are all a crash may leave."""

import json
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange.detector.engine import (
    FLUSH,
    LABEL,
    OFFER,
    ROLLBACK,
    TAKEOVER,
    TICK,
    TRIAL,
    WAIT,
    Engine,
    Event,
    Made,
    Released,
)
from signalexchange.detector.settings import DetectorSettings
from signalexchange.detector.shared import SHARED
from signalexchange.detector.transactions import Rejected, Transaction
from signalexchange.errors import MalformedError
from signalexchange.flows import Kind

from tests.support import detector_stream as made

T0 = made.START
SETTINGS = DetectorSettings.model_validate({"lateness": 60, "ahead": 300, "gap": 3600})
IDS = [f"t-{number}" for number in range(12)]


@st.composite
def offered(draw: st.DrawFn) -> Transaction:
    """Few ids and names, so that they meet again, with the same content and with another."""
    number = draw(st.integers(0, len(IDS) - 1))
    return Transaction(
        id=IDS[number],
        time=T0 + number * 40 + draw(st.sampled_from((0, 0, 0, 7, 86_400))),
        customer=f"c-{number % 3}",
        amount=100 * (number + 1),
        kind=draw(st.sampled_from((Kind.PURCHASE, Kind.TRANSFER))),
        merchant=f"m-{number % 2}",
        payee="c-1",
        device="d",
        card=f"k-{number % 2}",
        credit=True,
        place="file, row 3",
    )


times = st.integers(T0, T0 + 1_000)
events = st.one_of(
    st.tuples(offered(), st.none() | times).map(lambda given: [OFFER, given[0].values(), given[1]]),
    times.map(lambda now: [TICK, now]),
    st.just([FLUSH]),
    st.tuples(offered(), st.booleans(), st.integers(0, 500), st.booleans()).map(
        lambda given: [LABEL, given[0].values(), given[1], given[0].time + given[2], given[3]]
    ),
    st.tuples(st.sampled_from(IDS), st.booleans(), st.none() | times).map(
        lambda given: [WAIT, *given, "labels, row 1"]
    ),
    times.map(lambda now: [TRIAL, now]),
    st.integers(1, 9).map(lambda version: [TAKEOVER, version]),
    times.map(lambda now: [ROLLBACK, now]),
)
batches = st.lists(st.lists(events, max_size=8), min_size=1, max_size=8)


def judged(released: Sequence[Released]) -> list[Made]:
    """Something made of each vector, as rules and exchange would, some of it unknown."""
    return [
        Made(
            "hold" if one.transaction.amount > 500 else "proceed",
            one.transaction.amount % 300 == 0,
            "late" if one.transaction.amount % 200 == 0 else "answered",
            [
                one.transaction.amount / 1000,
                *(None if each % 2 else 0.25 * each for each in range(len(SHARED))),
            ],
        )
        for one in released
    ]


def run(engine: Engine, batch: Sequence[Event]) -> tuple[list[Released], list[Made]]:
    """Take a batch as the detector does."""
    released: list[Released] = []
    for event in batch:
        try:
            released += engine.take(event)
        except Rejected:
            continue
    decisions = judged(released)
    rows = [
        [*one.vector, *(np.nan if each is None else each for each in decision.added)]
        for one, decision in zip(released, decisions, strict=True)
    ]
    engine.decided(released, np.array(rows, dtype=np.float32), decisions)
    engine.sources["file"] = [len(batch), "digest"]
    return released, decisions


def plain(value: Any) -> Any:
    """As it comes back from a file."""
    return json.loads(json.dumps(value, allow_nan=False))


def state_of(engine: Engine) -> list[Any]:
    return [plain(record) for record in engine.state()]


@settings(max_examples=150)
@given(batches, st.data())
def test_a_snapshot_and_the_batches_behind_it_give_the_state_back(
    given_batches: list[list[Event]], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(given_batches)), label="snapshot behind batch")
    engine = Engine(SETTINGS)
    snapshot = state_of(engine) if at == 0 else []
    stored = []
    for number, batch in enumerate(given_batches, 1):
        released, decisions = run(engine, plain(batch))
        stored.append((plain(batch), [Made(*each) for each in plain(decisions)], released))
        if number == at:
            snapshot = state_of(engine)
    again = Engine(SETTINGS)
    again.restore(plain(snapshot))
    assert state_of(again) == snapshot
    for batch, decisions, _ in stored[at:]:
        again.replay(batch, decisions)
        again.sources["file"] = [len(batch), "digest"]
    assert state_of(again) == state_of(engine)
    # Whatever comes next is the same for both.
    last = [OFFER, Transaction("last", T0 + 900, "c-1", 700, payee="c-2", device="d").values(), T0 + 5_000]
    following = [(one.transaction, one.vector) for one in run(engine, [last, [FLUSH]])[0]]
    assert [(one.transaction, one.vector) for one in run(again, [last, [FLUSH]])[0]] == following


@given(batches)
def test_a_transaction_is_released_at_most_once_and_time_never_goes_back(
    given_batches: list[list[Event]],
) -> None:
    engine = Engine(SETTINGS)
    released = [one.transaction for batch in given_batches for one in run(engine, batch)[0]]
    distinct = {(each.id, each.time, each.kind) for each in released}
    assert len(distinct) == len(released)
    latest = accumulate((each.time for each in released), max)
    assert all(each.time >= last - SETTINGS.grace for each, last in zip(released, latest, strict=True))
    assert sum(engine.counts[f"action.{name}"] for name in ("proceed", "hold")) == len(released)


def test_a_label_of_what_is_held_back_counts_once_it_is_decided_and_not_before() -> None:
    engine = Engine(SETTINGS)
    fraud = Transaction("t", T0, "c", 500, merchant="m")
    assert engine.take([OFFER, fraud.values(), None]) == []
    engine.take([WAIT, "t", True, T0 + 30, "labels, row 1"])
    assert engine.counts["label.fraud"] == 0
    released = engine.take([FLUSH])
    names = list(released[0].vector)
    (label,) = engine.decided(
        released, np.zeros((1, len(names) + 1 + len(SHARED)), np.float32), judged(released)
    )
    assert (label.transaction.id, label.fraud, label.at) == ("t", True, T0 + 30)
    assert engine.waiting == {}
    assert engine.counts["label.fraud"] == 1
    rows = engine.learner.state()["rows"]
    assert rows["ids"] == ["t"]
    _, known = engine.learner._rows.between(T0, T0 + 1, T0 + 30)
    _, before = engine.learner._rows.between(T0, T0 + 1, T0 + 29)
    assert (known.tolist(), before.tolist()) == ([True], [False])


def test_a_label_from_before_what_it_waited_for_is_counted_and_left_out() -> None:
    engine = Engine(SETTINGS)
    engine.take([OFFER, Transaction("t", T0, "c", 500).values(), None])
    engine.take([WAIT, "t", True, T0 - 1, "labels, row 1"])
    run(engine, [[FLUSH]])
    assert (engine.counts["label.early"], engine.counts["label.fraud"]) == (1, 0)


def test_retimed_it_goes_on_with_what_it_held_under_the_new_bounds() -> None:
    engine = Engine(SETTINGS)
    first, second = (Transaction(f"t-{n}", T0 + n, "c", 500) for n in (0, 100))
    assert engine.take([OFFER, first.values(), None]) == []
    engine.retime(DetectorSettings.model_validate({"lateness": 0}))
    released = engine.take([OFFER, second.values(), None])
    assert [one.transaction.id for one in released] == ["t-0", "t-100"]
    counts = engine.order.counts
    assert (counts.offered, counts.released) == (2, 2)


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state[1:],
        lambda state: [["something", 1], *state],
        lambda state: [each for each in state if each[0] != "learner"],
        lambda state: [each for each in state if each[0] != "waiting"],
        lambda state: [["now", "noon"], *state[1:]],
        lambda state: [["counts", {"a": "b"}] if each[0] == "counts" else each for each in state],
        lambda state: [["sources", {"a": [1]}] if each[0] == "sources" else each for each in state],
        lambda state: [["waiting", {"a": [1, 2, 3]}] if each[0] == "waiting" else each for each in state],
        lambda state: [["order", None] if each[0] == "order" else each for each in state],
        lambda state: [["windows", ["now", -1]] if each[0] == "windows" else each for each in state],
        lambda state: [[], *state],
        lambda state: ["now", *state],
        lambda state: [{"now": 1}],
    ],
)
def test_a_damaged_state_is_refused_with_an_error_of_the_sdk(damage: Any) -> None:
    engine = Engine(SETTINGS)
    run(engine, [[OFFER, each.values(), None] for each in made.stream(30)])
    with pytest.raises(MalformedError):
        Engine(SETTINGS).restore(damage(state_of(engine)))


@pytest.mark.parametrize(
    "event",
    [["label"], ["offer", [1], None], ["tick"], ["wait", "t", 1, None, ""], ["dance", 3], ["flush", 1]],
)
def test_an_event_of_no_known_form_is_refused(event: Event) -> None:
    with pytest.raises(MalformedError):
        Engine(SETTINGS).replay([event], [])


def test_a_replay_of_other_decisions_is_refused() -> None:
    event = [OFFER, Transaction("t", T0, "c", 500).values(), None]
    with pytest.raises(MalformedError, match="another number of decisions"):
        Engine(made.settings()).replay([event], [])
