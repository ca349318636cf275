"""Rate limits: a token bucket per member and kind of work.

Invariants: over any stretch of t seconds at most burst + rate·t is spent; a refused request spends nothing.
Time is passed in, in seconds of a clock that never goes back.
"""


class TokenBucket:
    """A bucket of `burst` tokens that refills by `rate` a second; both above zero. It starts full."""

    __slots__ = ("_at", "_burst", "_level", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at = now

    def take(self, cost: float, now: float) -> float:
        """Take `cost` tokens (at most a full bucket is ever asked) and return 0.0, or take nothing and
        return the seconds until they would be there."""
        cost = min(cost, self._burst)
        if now > self._at:
            self._level = min(self._burst, self._level + (now - self._at) * self._rate)
            self._at = now
        if cost <= self._level:
            self._level -= cost
            return 0.0
        return (cost - self._level) / self._rate
