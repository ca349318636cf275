"""Token buckets never let more through than burst + rate · time."""

from hypothesis import given
from hypothesis import strategies as st

from exchange.domain.limits import TokenBucket

STEPS = st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=60)


@given(STEPS, st.integers(1, 100), st.integers(50, 200))
def test_no_more_than_burst_and_rate_allow(steps: list[tuple[float, int]], rate: int, burst: int) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now, spent = 0.0, 0
    for pause, cost in steps:
        now += pause
        if bucket.take(cost, now) == 0.0:
            spent += cost
        assert spent <= burst + rate * now + 1e-6


@given(STEPS, st.integers(1, 100))
def test_waiting_as_long_as_told_is_enough(steps: list[tuple[float, int]], rate: int) -> None:
    bucket = TokenBucket(rate, 50, 0.0)
    now = 0.0
    for pause, cost in steps:
        now += pause
        wait = bucket.take(cost, now)
        if wait:
            now += wait + 1e-6
            assert bucket.take(cost, now) == 0.0


def test_a_clock_that_stands_still_gives_nothing_back() -> None:
    bucket = TokenBucket(1, 10, 5.0)
    assert bucket.take(10, 5.0) == 0.0
    assert bucket.take(1, 5.0) > 0
    assert bucket.take(1, 4.0) > 0
