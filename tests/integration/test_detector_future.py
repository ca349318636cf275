"""No decision, and no row to learn from, depends on what comes after it: here the future is made another."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from signalexchange.detector.arrivals import Arrival, Label, by_time, merged
from signalexchange.detector.decisions import Decision
from signalexchange.detector.detector import Detector
from signalexchange.detector.journal import DetectorJournal
from signalexchange.detector.transactions import Transaction

from tests.support import detector_stream as made

LATENESS = 600
ROWS = made.stream(120, every=400)
CHOSEN = made.settings(lateness=LATENESS)


def labelled(rows: Sequence[Transaction], draw: random.Random) -> list[Label]:
    """Of a third of them; none arrives before its transaction did."""
    return [
        Label(row.id, draw.random() < 0.8, row.time + draw.choice((LATENESS, LATENESS + 50, 3_000, 20_000)))
        for row in draw.sample(rows, len(rows) // 3)
    ]


async def decided(
    folder: Path, rows: Sequence[Transaction], labels: Sequence[Label], size: int, draw: random.Random
) -> dict[str, tuple[Decision, list[float]]]:
    """Each decision and the row it was made from; transactions arrive in some disorder."""
    arriving = sorted(rows, key=lambda row: (row.time + draw.randrange(LATENESS), row.id))
    waiting = by_time(labels)
    arrivals: list[Arrival] = [*merged(arriving, waiting), *reversed(waiting)]
    with DetectorJournal(folder) as journal:
        detector = Detector.open(CHOSEN, journal)
        told = []
        for start in range(0, len(arrivals), size):
            told += (await detector.take(arrivals[start : start + size]))[0]
        told += await detector.finish()
        kept = detector.engine.learner.state()["rows"]
        features = detector.engine.learner._rows._features[: len(kept["ids"])]
        await detector.close()
    assert len(told) == len(rows)
    decisions = {each.transaction.id: each.decision for each in told}
    return {id_: (decisions[id_], row.tolist()) for id_, row in zip(kept["ids"], features, strict=True)}


def altered(row: Transaction, until: int, draw: random.Random) -> Transaction:
    """Another transaction of the same id, somewhere behind `until`."""
    other = draw.choice(ROWS)
    time = until + 1 + draw.randrange(60_000)
    return replace(other, id=row.id, time=time, amount=draw.randrange(1, 10**7))


@settings(max_examples=6, phases=(Phase.explicit, Phase.generate))
@given(cut=st.integers(5, len(ROWS) - 5), size=st.integers(1, 60), seed=st.integers(0, 2**32))
async def test_whatever_comes_later_changes_no_decision_before_it(
    tmp_path_factory: pytest.TempPathFactory, cut: int, size: int, seed: int
) -> None:
    draw = random.Random(seed)  # noqa: S311 - made-up streams
    labels = labelled(ROWS, draw)
    until = ROWS[cut].time
    past = [row for row in ROWS if row.time <= until]
    future = [altered(row, until, draw) for row in ROWS if row.time > until and draw.random() < 0.8]
    known = [label for label in labels if label.at is not None and label.at <= until]
    times = {row.id: row.time for row in (*past, *future)}
    later = [
        Label(each.id, not each.fraud, max(until + 1, times[each.id]) + draw.randrange(10_000))
        for each in labels
        if each.id in times and each not in known
    ]
    one = await decided(tmp_path_factory.mktemp("one"), ROWS, labels, 25, random.Random(seed))  # noqa: S311
    other = await decided(tmp_path_factory.mktemp("other"), [*past, *future], [*known, *later], size, draw)
    for row in past:
        decision, features = one[row.id]
        assert other[row.id][0] == decision
        np.testing.assert_array_equal(other[row.id][1], features)
