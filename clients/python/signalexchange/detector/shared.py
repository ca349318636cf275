"""What the exchange says of a transaction's subjects, as features beside those of the windows.

Invariants: the order of SHARED is the order of `shared_features`; what was not asked, or not answered in
time, is NaN, and never taken for "nothing known", which is a score of 0.
"""

from collections.abc import Mapping
from typing import Final

from signalexchange.v1.signal_service_pb2 import SubjectRisk

NAN: Final = float("nan")
SUBJECTS: Final = ("customer", "merchant", "payee", "device", "card")
"""Fields of a transaction that the exchange can be asked about."""

SHARED_MEANINGS: Final[dict[str, str]] = {
    name: meaning
    for subject in SUBJECTS
    for name, meaning in (
        (
            f"shared.{subject}.score",
            f"the exchange's score of the {subject}, permille; 0 where nothing is known",
        ),
        (f"shared.{subject}.groups", f"independent groups that corroborate it for the {subject}"),
        (f"shared.{subject}.days", f"days since the {subject}'s latest fact; unknown where nothing is known"),
    )
}
"""Each feature's name and what it means."""
SHARED: Final[tuple[str, ...]] = tuple(SHARED_MEANINGS)
UNKNOWN: Final[tuple[float, ...]] = (NAN, NAN, NAN)
NOTHING: Final[tuple[float, ...]] = (0.0, 0.0, NAN)


def shared_features(answers: Mapping[str, SubjectRisk | None]) -> list[float]:
    """The features, from the answers by subject: None where others know nothing, no entry where there is no
    answer.
    """
    vector: list[float] = []
    for subject in SUBJECTS:
        if subject not in answers:
            vector += UNKNOWN
        elif (risk := answers[subject]) is None:
            vector += NOTHING
        else:
            vector += (risk.score, risk.groups, risk.freshness_days)
    return vector
