"""Terminal risk as a member sees it: from its own reports alone, and with what the exchange answers.

Invariants: both views are log-odds of the hub's additive model (weights and half-life of the rulebook), so
that they differ in the evidence alone; a report counts for MEMORY from when it became known, here as at the
hub; the exchange's part is what the score in the hub's answer says, which leaves the member's own reports
out.
"""

import math

from signalexchange.rulebook import Rulebook
from signalexchange.v1.signal_pb2 import EVIDENCE_GRADE_CONFIRMED

DAY = 86_400
DELAY = 7 * DAY
"""How long after a payment it becomes known that it was a fraud."""
MEMORY = 28 * DAY
"""How long a report counts after it became known: the exchange's signals expire with it."""
CODE = "terminal-compromised"
GRADE = EVIDENCE_GRADE_CONFIRMED
# That the payment was a fraud is certain; that the terminal is to blame, and not the card, is not.
CONFIDENCE = 50


class TerminalRisk:
    """A member's reports on terminals, and the risk that follows from them. Times are Unix seconds."""

    def __init__(self, rulebook: Rulebook) -> None:
        """Raises ValueError where the rulebook has no rule for CODE."""
        rule = rulebook.code(CODE)
        if rule is None:
            raise ValueError(f"the rulebook has no code {CODE}")
        self._weight = rule.weights.of(GRADE) * CONFIDENCE / 100_000
        self._half_life = rule.half_life_days * DAY
        self._prior = rulebook.model.prior / 1000
        self._reports: dict[str, list[tuple[int, int]]] = {}

    def report(self, merchant: str, last_seen: int, known: int) -> None:
        """Count one fraud at a terminal, last seen and known at these times."""
        self._reports.setdefault(merchant, []).append((last_seen, known))

    def own_view(self, merchant: str, now: int) -> float:
        """Log-odds above the prior that the member's own reports add; 0.0 without any."""
        reports = self._reports.get(merchant)
        if not reports:
            return 0.0
        return math.fsum(
            self._weight * 2 ** (-(now - last_seen) / self._half_life)
            for last_seen, known in reports
            if now < known + MEMORY
        )

    def from_others(self, score: int) -> float:
        """Log-odds above the prior behind a score of 0 to 999 permille, cut off to a whole number."""
        odds = (score + 0.5) / (999.5 - score)
        return max(0.0, math.log(odds) - self._prior)
