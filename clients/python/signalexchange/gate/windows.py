"""Sliding windows: what was seen lately, by key.

Invariants: times never fall; what is older than the span is gone, from everywhere, as time advances, so that
a window holds no more than its span's rows.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Window(Generic[K, V]):
    """Values of the last `span` seconds by key, oldest first."""

    def __init__(self, span: int) -> None:
        self._span = span
        self._queue: deque[tuple[int, K]] = deque()
        self._by_key: dict[K, deque[V]] = {}

    def __len__(self) -> int:
        return len(self._queue)

    def advance(self, now: int) -> None:
        """Forget what is older than the span at `now`, Unix seconds."""
        before = now - self._span
        while self._queue and self._queue[0][0] < before:
            _, key = self._queue.popleft()
            values = self._by_key[key]
            values.popleft()
            if not values:
                del self._by_key[key]

    def add(self, key: K, time: int, value: V) -> None:
        """Take a value in; `time` is no earlier than any before."""
        self._queue.append((time, key))
        self._by_key.setdefault(key, deque()).append(value)

    def get(self, key: K) -> Sequence[V]:
        """The key's values, oldest first."""
        return self._by_key.get(key, ())
