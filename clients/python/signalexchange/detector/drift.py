"""Drift: how far what a model sees now is from what it was made from.

Invariant: noticed from numbers alone, without labels, so weeks before they come.

Population stability index of two distributions over the same bins: Σ (p − q) · ln(p ÷ q). Up to 0.10 nothing
changed to speak of, from 0.25 on much did (Siddiqi 2006, "Credit Risk Scorecards"). With ten bins and
MIN_ROWS rows chance alone makes it about 0.01 (Yurdakul and Naranjo 2020, "Statistical properties of the
population stability index").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from signalexchange.detector.model import Bins, Floats, Model

SLIGHT: Final = 0.10
LARGE: Final = 0.25
MIN_ROWS: Final = 1_000
MAX_ROWS: Final = 20_000
"""That drift is worked out from; of more rows as many are taken, evenly."""
SAID: Final = 5
"""Of what drifted, as many are said, the farthest first."""
_BINS: Final = 10


@dataclass(frozen=True)
class Drift:
    """The index of the score, and of each feature from SLIGHT on, largest first; worked out of `rows`."""

    rows: int
    score: float
    features: tuple[tuple[str, float], ...]

    @property
    def noticed(self) -> bool:
        """Whether the score or a feature drifted by LARGE or more."""
        return self.score >= LARGE or any(index >= LARGE for _, index in self.features)

    def text(self) -> str:
        """What to say of it, in one line."""
        parts = [f"{name} {index:.2f}" for name, index in self.features if index >= LARGE]
        if self.score >= LARGE:
            parts.insert(0, f"score {self.score:.2f}")
        if not parts:
            return f"no drift (score {self.score:.2f})"
        more = f", and {len(parts) - SAID} more" if len(parts) > SAID else ""
        return "drift (population stability index): " + ", ".join(parts[:SAID]) + more


def bins_of(values: NDArray[Any]) -> Bins:
    """Ten bins of about as many values each (fewer where many are equal), and how many are in each."""
    known = values[~np.isnan(values)].astype(np.float64)
    edges: list[float] = []
    if len(known):
        marks = np.quantile(known, np.arange(1, _BINS) / _BINS, method="inverted_cdf")
        edges = [float(edge) for edge in np.unique(marks)]
    return Bins(edges=edges, rows=_counts(values, edges))


def stability(reference: Bins, values: NDArray[Any]) -> float:
    """Population stability index of values against a distribution; half a row is added to each bin."""
    before = np.asarray(reference.rows, dtype=np.float64) + 0.5
    now = np.asarray(_counts(values, reference.edges), dtype=np.float64) + 0.5
    p, q = now / now.sum(), before / before.sum()
    return float(np.sum((p - q) * np.log(p / q)))


def drift_of(model: Model, rows: Floats) -> Drift | None:
    """Drift of rows of the model's features since it was made; None with fewer than MIN_ROWS."""
    if len(rows) < MIN_ROWS:
        return None
    if len(rows) > MAX_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, MAX_ROWS).astype(np.int64)]
    document = model.document
    found = [
        (name, stability(bins, rows[:, column]))
        for column, (name, bins) in enumerate(zip(document.features, document.feature_bins, strict=True))
    ]
    slight = sorted((pair for pair in found if pair[1] >= SLIGHT), key=lambda pair: (-pair[1], pair[0]))
    return Drift(len(rows), stability(document.score_bins, model.scores(rows)), tuple(slight))


def _counts(values: NDArray[Any], edges: Sequence[float]) -> list[int]:
    known = values[~np.isnan(values)].astype(np.float64)
    bins = np.searchsorted(np.asarray(edges, dtype=np.float64), known, side="left")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    return [*(int(count) for count in counts), len(values) - len(known)]
