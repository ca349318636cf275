"""What is evaluated, when, and with which settings.

Invariant: a detector decides on a transaction by what came before it; of outcomes, by those at least `delay`
old.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from signalexchange.detector.features import FEATURES, Parameters
from signalexchange.detector.settings import DetectorSettings, Exchange, Publish
from signalexchange.detector.shared import SHARED
from signalexchange.detector.trial import RULES_SCORE, Settings

from exchange.replay.transactions import DAY

Way = Literal["rules", "alone", "exchange", "pooled"]
WAYS: Final[dict[Way, str]] = {
    "rules": "packaged rules",
    "alone": "own data alone",
    "exchange": "with the exchange",
    "pooled": "pooled raw data",
}
"""Each way of deciding, and its name for people."""

OWN: Final[tuple[str, ...]] = (*FEATURES, RULES_SCORE)
"""What a model sees without the exchange."""
ROW: Final[tuple[str, ...]] = (*OWN, *SHARED)
"""What it sees with it."""
UTC: Final = Parameters(utc_offset=0)
"""For windows: times in transactions files are UTC."""


@dataclass(frozen=True)
class Plan:
    """Days count from a file's first, 0.

    The last `evaluated` days are evaluated, in windows of `window` days that begin on each of `starts` days
    after the first of them. Models are made from `learning` days before the first evaluated one on;
    `settings` say how. `cards` may be looked into a day. A card counts as known to be compromised from a
    fraud of `known` days before the window, or later, that was learned of by that morning.
    """

    evaluated: int = 31
    window: int = 14
    starts: tuple[int, ...] = (0, 3, 7, 10, 14, 17)
    learning: int = 21
    settings: Settings = field(default_factory=lambda: Settings(every=7 * DAY, capacity=2_000_000))
    cards: int = 100
    known: int = 14

    def first_evaluated(self, days: int) -> int:
        """The first evaluated day of `days`."""
        return days - self.evaluated

    def windows(self, days: int) -> list[tuple[int, int]]:
        """First day of each window, and the day after its last."""
        starts = (self.first_evaluated(days) + start for start in self.starts)
        return [(start, start + self.window) for start in starts]

    def least_days(self) -> int:
        """How many days there must be: to learn, and for outcomes to come, before the first is evaluated."""
        plan = self.settings
        return self.evaluated + (plan.delay + 2 * plan.held_out) // DAY + 7


MEMBER: Final = DetectorSettings(
    exchange=Exchange(subjects={"merchant": "merchant", "customer": "phone"}),
    publish=[
        Publish(
            when="fraud",
            code="terminal-compromised",
            subject="merchant",
            counterparty="customer",
            grade="confirmed",
            # That the payment was a fraud is certain; that the terminal is to blame, and not the card, isn't.
            confidence=50,
            valid_days=35,
        )
    ],
)
"""How each member takes part: it says of a terminal that a fraud went through it, for four weeks from when it
is known."""
