"""How well a score ranks frauds before other transactions: average precision, exactly, ties and all.

Invariants: transactions of equal score are one group, so their order in the input can't matter; rankings
merge by adding their histograms, so that a member reports counts a score and no transaction.
"""

from collections.abc import Iterable


class Ranking:
    """A histogram: for each score, how many transactions had it and how many of them were frauds."""

    def __init__(self) -> None:
        self._counts: dict[float, list[int]] = {}

    def add(self, score: float, fraud: bool, *, times: int = 1) -> None:
        """Count `times` transactions of one score."""
        count = self._counts.setdefault(score, [0, 0])
        count[0] += times
        count[1] += fraud * times

    def merge(self, rows: Iterable[tuple[float, int, int]]) -> None:
        """Add rows (score, transactions, frauds among them), as `rows` gives them."""
        for score, transactions, frauds in rows:
            count = self._counts.setdefault(score, [0, 0])
            count[0] += transactions
            count[1] += frauds

    def rows(self) -> list[tuple[float, int, int]]:
        """Rows (score, transactions, frauds among them), the highest score first."""
        return [(score, all_, frauds) for score, (all_, frauds) in sorted(self._counts.items(), reverse=True)]

    @property
    def transactions(self) -> int:
        """How many transactions were counted."""
        return sum(transactions for transactions, _ in self._counts.values())

    @property
    def frauds(self) -> int:
        """How many of them were frauds."""
        return sum(frauds for _, frauds in self._counts.values())

    def average_precision(self) -> float | None:
        """Σ (R_k − R_{k−1}) · P_k over the distinct scores, highest first; None without a single fraud.

        R and P are recall and precision of "this score or more": the definition of scikit-learn's
        `average_precision_score`, without interpolation.
        """
        total = self.frauds
        if total == 0:
            return None
        seen = found = 0
        result = 0.0
        for _, transactions, frauds in self.rows():
            seen += transactions
            found += frauds
            result += frauds / total * (found / seen)
        return result
