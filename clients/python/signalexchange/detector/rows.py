"""Decided transactions that a model learns from: their features, and the labels that came for them since.

Invariants: bounded memory; a label counts from when it came, never before; what is kept is an even share of
all transactions, frauds or not, whatever their features, so that nothing learned of it is one-sided.

Memory: capacity × (4 bytes a feature + about 250 bytes for times, label and id), twice that for a moment
while rows are forgotten. When full, those rows are forgotten whose id falls into one half by CRC-32, and from
then on only ids of the other half are kept; the share doubles again once three quarters stand empty.
"""

import base64
import binascii
import zlib
from collections.abc import Sequence
from itertools import compress
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signalexchange.detector.model import MAX_FEATURES, Floats, checked_rows
from signalexchange.errors import MalformedError

UNLABELLED: Final = -1
MAX_TEXT: Final = 128
MAX_TIME: Final = 2**53
_ALL: Final = 2**32

Flags = NDArray[np.bool_]


class Rows:
    """Transactions in the order they were added, at most `capacity` (16 to 10^8) of `width` features each."""

    def __init__(self, width: int, capacity: int) -> None:
        self._width = width
        self._capacity = capacity
        self._limit = _ALL
        self._ids: list[str] = []
        self._places: dict[str, int] = {}
        self._features = np.empty((0, width), np.float32)
        self._times = np.empty(0, np.int64)
        self._labels = np.empty(0, np.int8)
        self._labelled_at = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def share(self) -> float:
        """Share of all transactions that is kept, 0 to 1."""
        return self._limit / _ALL

    def add(self, transaction_ids: Sequence[str], times: Sequence[int], rows: ArrayLike) -> int:
        """Keep transactions, but those that are not of the share that is kept, or were added before; how many
        were kept.

        Raises MalformedError, and keeps none, for features that are not `width` numbers a row, or an id or
        time out of bounds.
        """
        if not all(1 <= len(each) <= MAX_TEXT for each in transaction_ids) or not all(
            0 <= time < MAX_TIME for time in times
        ):
            raise MalformedError("a row must have an id of 1 to 128 characters and a time in Unix seconds")
        if not transaction_ids:
            return 0
        given = checked_rows(rows, self._width)
        return sum(map(self._add, transaction_ids, times, given))

    def _add(self, transaction_id: str, time: int, row: Floats) -> bool:
        if transaction_id in self._places or not self._kept(transaction_id):
            return False
        if len(self) >= self._capacity:
            self._halve()
            if not self._kept(transaction_id):
                return False
        place = len(self)
        if place == len(self._times):
            self._grow()
        self._features[place] = row
        self._times[place] = time
        self._labels[place] = UNLABELLED
        self._labelled_at[place] = 0
        self._ids.append(transaction_id)
        self._places[transaction_id] = place
        return True

    def label(self, transaction_id: str, fraud: bool, at: int) -> bool:
        """Take a label that came at `at`, in place of an earlier one. False where the row is not kept."""
        place = self._places.get(transaction_id)
        if place is None:
            return False
        if self._labels[place] == UNLABELLED or at >= self._labelled_at[place]:
            self._labels[place] = fraud
            self._labelled_at[place] = at
        return True

    def between(self, start: int, end: int, now: int) -> tuple[Floats, Flags]:
        """Features of the rows with start ≤ time < end, and whether each was known as fraud by `now`."""
        count = len(self)
        times = self._times[:count]
        chosen = np.flatnonzero((times >= start) & (times < end))
        known = self._labelled_at[chosen] <= now
        return self._features[chosen], (self._labels[chosen] == 1) & known

    def forget(self, before: int) -> None:
        """Forget the rows with a time before that."""
        self._keep(self._times[: len(self)] >= before)
        if len(self) < self._capacity // 4 and self._limit < _ALL:
            self._limit *= 2

    def state(self) -> dict[str, Any]:
        """All of it as plain data that JSON can hold; arrays as base64 of little-endian numbers."""
        count = len(self)
        return {
            "limit": self._limit,
            "ids": list(self._ids),
            "features": _packed(self._features[:count], "<f4"),
            "times": _packed(self._times[:count], "<i8"),
            "labels": _packed(self._labels[:count], "<i1"),
            "labelled_at": _packed(self._labelled_at[:count], "<i8"),
        }

    @classmethod
    def restore(cls, state: object, width: int, capacity: int) -> "Rows":
        """Rows from a `state()`; raises MalformedError where it is none, or of another number of features."""
        if not 1 <= width <= MAX_FEATURES or not isinstance(state, dict):
            raise MalformedError("rows: not a state")
        rows = cls(width, capacity)
        ids, limit = state.get("ids"), state.get("limit")
        if not isinstance(ids, list) or not all(isinstance(i, str) and 1 <= len(i) <= MAX_TEXT for i in ids):
            raise MalformedError("rows: ids are not a list of ids")
        if type(limit) is not int or limit not in {2**power for power in range(33)}:
            raise MalformedError("rows: limit is not a share")
        count = len(ids)
        rows._limit, rows._ids = limit, list(ids)
        rows._places = {key: place for place, key in enumerate(ids)}
        features = _unpacked(state.get("features"), "<f4", count * width).astype(np.float32)
        rows._features = features.reshape(count, width)
        rows._times = _unpacked(state.get("times"), "<i8", count).astype(np.int64)
        rows._labels = _unpacked(state.get("labels"), "<i1", count).astype(np.int8)
        rows._labelled_at = _unpacked(state.get("labelled_at"), "<i8", count).astype(np.int64)
        if (
            len(rows._places) != count
            or np.isinf(features).any()
            or not np.isin(rows._labels, (UNLABELLED, 0, 1)).all()
            or not ((rows._times >= 0) & (rows._times < MAX_TIME)).all()
        ):
            raise MalformedError("rows: a row that can't be")
        if count > capacity:  # it was higher then
            rows._halve()
        return rows

    def _kept(self, transaction_id: str) -> bool:
        return zlib.crc32(transaction_id.encode("utf-8", "surrogatepass")) < self._limit

    def _halve(self) -> None:
        while len(self) >= self._capacity and self._limit > 1:
            self._limit //= 2
            self._keep(np.fromiter(map(self._kept, self._ids), np.bool_, len(self)))

    def _grow(self) -> None:
        room = min(self._capacity, max(1024, 2 * len(self._times))) - len(self._times)
        self._features = np.concatenate([self._features, np.empty((room, self._width), np.float32)])
        self._times = np.concatenate([self._times, np.empty(room, np.int64)])
        self._labels = np.concatenate([self._labels, np.empty(room, np.int8)])
        self._labelled_at = np.concatenate([self._labelled_at, np.empty(room, np.int64)])

    def _keep(self, kept: Flags) -> None:
        if kept.all():
            return
        count = len(self)
        self._features = self._features[:count][kept]
        self._times = self._times[:count][kept]
        self._labels = self._labels[:count][kept]
        self._labelled_at = self._labelled_at[:count][kept]
        self._ids = list(compress(self._ids, kept.tolist()))
        self._places = {key: place for place, key in enumerate(self._ids)}


def _packed(numbers: NDArray[Any], kind: str) -> str:
    return base64.b64encode(numbers.astype(kind).tobytes()).decode()


def _unpacked(text: object, kind: str, count: int) -> NDArray[Any]:
    if not isinstance(text, str):
        raise MalformedError("rows: an array that is not base64")
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise MalformedError("rows: an array that is not base64") from None
    if len(data) != count * np.dtype(kind).itemsize:
        raise MalformedError("rows: an array of another length")
    return np.frombuffer(data, kind)
