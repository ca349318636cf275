"""What a group's verdict does to an active signal: nothing, dispute it, answer for it, or end it.

Invariants: nobody but the issuer's group ends a signal; each group disputes a signal once; any verdict of the
issuer's group given after a dispute answers it.
"""

from enum import Enum, auto

from signalexchange.v1.outcome_service_pb2 import VERDICT_REFUTED, Verdict


class Effect(Enum):
    """What becomes of the signal."""

    NONE = auto()
    REFUTED = auto()
    """Its issuer's group takes it back: it counts no more."""
    UPHELD = auto()
    """The disputes so far are answered."""
    DISPUTED = auto()
    """Advice is capped until it is answered or a deadline passes."""


def effect(verdict: Verdict.ValueType, *, own: bool, is_new: bool, disputed: bool) -> Effect:
    """Effect of a verdict on an active signal: `own` says that it is the issuer's group's, `is_new` that the
    group hadn't given it before, `disputed` that a dispute has yet to be answered, lapsed or not."""
    if own and verdict == VERDICT_REFUTED:
        return Effect.REFUTED if is_new else Effect.NONE
    if own:
        return Effect.UPHELD if disputed else Effect.NONE
    return Effect.DISPUTED if verdict == VERDICT_REFUTED and is_new else Effect.NONE
