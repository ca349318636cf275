"""The decision on one transaction: what is to be done, how sure, and why.

Invariants: the strictest of what rules, model and exchange ask for decides; the same input gives the same
decision; whatever was missing (no model yet, no answer in time) stands in it; a reason never holds a raw
value. From "hold" on a person decides: the detector restricts nobody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple

from signalexchange.detector.model import Model
from signalexchange.detector.reasons import explain
from signalexchange.detector.rules import Hit
from signalexchange.detector.settings import Thresholds
from signalexchange.detector.transactions import Transaction
from signalexchange.v1.signal_service_pb2 import (
    ACTION_ALLOW,
    ACTION_AUTHENTICATE,
    ContributionBucket,
    SubjectRisk,
)

Action = Literal["proceed", "authenticate", "hold"]
STRICTNESS: Final[tuple[Action, ...]] = ("proceed", "authenticate", "hold")

Shared = Literal["answered", "nothing", "late", "unreachable", "off"]
"""Whether the exchange answered: all that was asked; there was nothing to ask about; not within the budget;
not at all; it is not asked. With "late" and "unreachable" the decision is the local one."""

Source = Literal["rule", "model", "exchange"]


class Answered(NamedTuple):
    """What the exchange said of a transaction's subjects: None where nothing is known; and whether all of it
    came in time."""

    risks: Mapping[str, SubjectRisk | None]
    shared: Shared


@dataclass(frozen=True, slots=True)
class Because:
    """One reason: who says it, its code (a rule's name, a model's reason code, an indicator code or a
    pattern), and what it means."""

    source: Source
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided on transaction `id` of event time `time` (Unix seconds).

    `review`: a person should look at it, whatever the action. `score`: permille; the model's calibrated
    probability, or without a model the highest score of rules and exchange. `model`: its version, 0 for none.
    `rules`: version of the rule file.
    """

    id: str
    time: int
    action: Action
    review: bool
    score: int
    reasons: tuple[Because, ...]
    model: int
    rules: int
    shared: Shared

    @property
    def matters(self) -> bool:
        """Whether anything is to be done."""
        return self.review or self.action != "proceed"

    def document(self) -> dict[str, Any]:
        """As plain data that JSON holds, in the order of the fields."""
        return {
            "id": self.id,
            "time": self.time,
            "action": self.action,
            "review": self.review,
            "score": self.score,
            "reasons": [asdict(reason) for reason in self.reasons],
            "model": self.model,
            "rules": self.rules,
            "shared": self.shared,
        }


def decide(
    t: Transaction,
    row: Sequence[float],
    hits: Sequence[Hit],
    answered: Answered,
    *,
    model: Model | None,
    probability: float,
    rules: int,
    thresholds: Thresholds,
) -> Decision:
    """The decision. `row` is what the model saw, `probability` what it made of it (ignored without one)."""
    wanted: set[Action] = {"proceed"}
    review = False
    reasons = [Because("rule", hit.name, hit.reason) for hit in sorted(hits, key=lambda hit: -hit.score)]
    for hit in hits:
        if hit.action == "review":
            review = True
        else:
            wanted.add(hit.action)
    score = max((hit.score for hit in hits), default=0)
    if model is not None:
        score = min(1000, int(probability * 1000))
        if score >= thresholds.authenticate:
            wanted.add("hold" if score >= thresholds.hold else "authenticate")
    for subject, risk in answered.risks.items():
        if risk is None:
            continue
        if model is None:
            score = max(score, risk.score)
        review |= risk.human_review
        if risk.advice > ACTION_ALLOW:
            wanted.add("authenticate" if risk.advice == ACTION_AUTHENTICATE else "hold")
            reasons += _of_exchange(subject, risk)
    action = max(wanted, key=STRICTNESS.index)
    if model is not None and (review or action != "proceed"):
        reasons += [Because("model", each.code, each.text) for each in explain(model, row)]
    return Decision(
        t.id,
        t.time,
        action,
        review,
        score,
        tuple(reasons),
        model.version if model is not None else 0,
        rules,
        answered.shared,
    )


def _of_exchange(subject: str, risk: SubjectRisk) -> list[Because]:
    groups = "one other group" if risk.groups == 1 else f"{risk.groups} other groups"
    dispute = ", disputed" if risk.disputed else ""
    return [
        Because(
            "exchange",
            reason.code,
            f"the {subject}, by {groups}{dispute}; {_bucket(reason.contribution)} part of its score",
        )
        for reason in risk.reasons
    ]


def _bucket(value: int) -> str:
    try:
        return ContributionBucket.Name(value).removeprefix("CONTRIBUTION_BUCKET_").lower()  # type: ignore[arg-type]
    except ValueError:
        return "unknown"
