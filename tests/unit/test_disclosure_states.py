"""The states of a disclosure, whatever is tried in whatever order: nothing ends twice, nothing is skipped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.v1 import disclosure_service_pb2 as pb
from signalexchange.v1.log_entry_pb2 import EntryType

from exchange.domain.disclosure import KEPT, Standing, requested, seen, take
from exchange.domain.refusal import Refusal

START = 1_790_000_000
DEADLINE = START + 1_000
DECISION = EntryType.ENTRY_TYPE_DISCLOSURE_DECISION
FETCH = EntryType.ENTRY_TYPE_DISCLOSURE_FETCH
RECEIPT = EntryType.ENTRY_TYPE_DISCLOSURE_RECEIPT
WITHDRAWAL = EntryType.ENTRY_TYPE_DISCLOSURE_WITHDRAWAL
EXPIRY = EntryType.ENTRY_TYPE_DISCLOSURE_EXPIRY
ENDED = {
    pb.DISCLOSURE_STATE_REFUSED,
    pb.DISCLOSURE_STATE_RECEIVED,
    pb.DISCLOSURE_STATE_WITHDRAWN,
    pb.DISCLOSURE_STATE_EXPIRED,
}
steps = st.lists(
    st.tuples(
        st.sampled_from([DECISION, FETCH, RECEIPT, WITHDRAWAL, EXPIRY]),
        st.booleans(),
        st.sampled_from([0, 1, 500, 1_000, KEPT - 1, KEPT]),
    ),
    max_size=12,
)


@given(steps)
def test_every_path_keeps_the_rules(tried: list[tuple[int, bool, int]]) -> None:
    standing, now = requested(DEADLINE), START
    taken: list[int] = []
    for step, released, later in tried:
        now += later
        before = seen(standing, now)
        try:
            after = take(standing, step, now, released=released)
        except Refusal:
            continue
        assert standing.state not in ENDED, "what has ended never goes on"
        if step == EXPIRY:
            assert standing.due <= now
        else:
            assert before == standing, "a step that comes too late is refused"
        if step in (FETCH, RECEIPT):
            assert DECISION in taken
        if step in (DECISION, RECEIPT, WITHDRAWAL, EXPIRY):
            assert step not in taken
        if after.state in ENDED:
            assert after.due == 0
        else:
            assert after.due > now
        taken.append(step)
        standing = after
    assert (standing.due == 0) == (standing.state in ENDED)


@pytest.mark.parametrize("step", [DECISION, WITHDRAWAL])
def test_the_deadline_itself_is_too_late(step: int) -> None:
    take(requested(DEADLINE), step, DEADLINE - 1, released=True)
    with pytest.raises(Refusal) as refused:
        take(requested(DEADLINE), step, DEADLINE, released=True)
    assert refused.value.reason_name == "DISCLOSURE_CONFLICT"


def test_a_released_package_waits_as_long_as_it_should() -> None:
    released = take(requested(DEADLINE), DECISION, START, released=True)
    assert released == Standing(pb.DISCLOSURE_STATE_RELEASED, START + KEPT)
    assert take(released, FETCH, START + KEPT - 1) == released
    for step in (FETCH, RECEIPT, WITHDRAWAL):
        with pytest.raises(Refusal):
            take(released, step, START + KEPT)
    assert take(released, EXPIRY, START + KEPT).state == pb.DISCLOSURE_STATE_EXPIRED
    with pytest.raises(Refusal):
        take(released, EXPIRY, START + KEPT - 1)
