"""A member's proceeding in a case: where its steps have brought it, and which step the rules allow next.

Invariants: the state is a fold of the steps and nothing else, the time of a step the hub's; a refused step
changes nothing. Restrict and freeze use up an explanation that failed, each its own. No measure rises while
an appeal is undecided or after closing, and any can be lifted at any time. Two officers freeze; another one
decides an appeal.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from signalexchange.cases import ACTION_NAMES, STEP_NAMES, step_name
from signalexchange.outcomes import VERDICTS
from signalexchange.rulebook import Cases
from signalexchange.v1.case_service_pb2 import (
    APPEAL_GRANTED,
    APPEAL_PENDING,
    APPEAL_REJECTED,
    APPEAL_UNSPECIFIED,
    CASE_ORIGIN_UNSPECIFIED,
    EXPLANATION_OVERDUE,
    EXPLANATION_RECEIVED,
    EXPLANATION_REQUESTED,
    EXPLANATION_SATISFACTORY,
    EXPLANATION_UNSATISFACTORY,
    EXPLANATION_UNSPECIFIED,
    AcknowledgeNotice,
    Appeal,
    CaseOrigin,
    CaseStatement,
    Close,
    DecideAppeal,
    DecideProposal,
    Explanation,
    JudgeExplanation,
    Lift,
    OpenCase,
    ProceedingState,
    ReceiveAppeal,
    ReceiveExplanation,
    TakeAction,
)
from signalexchange.v1.identifier_pb2 import SubjectToken
from signalexchange.v1.outcome_service_pb2 import VERDICT_CONFIRMED, VERDICT_UNSPECIFIED, Verdict
from signalexchange.v1.signal_service_pb2 import (
    ACTION_ALLOW,
    ACTION_EXPLAIN,
    ACTION_INTERCEPT,
    ACTION_UNSPECIFIED,
    Action,
)

DAY: Final = 86_400
MAX_STEPS: Final = 500
"""From so many steps on only those are taken that lead to the end."""


class StepRefused(Exception):  # noqa: N818 - the rules' answer, not a defect
    """A step that the rules don't allow now: `why` is a stable name, `independent` says that the officer is
    not, and that another one must do it."""

    def __init__(self, why: str, message: str, independent: bool = False) -> None:
        super().__init__(message)
        self.why = why
        self.message = message
        self.independent = independent


class OutOfTurn(Exception):  # noqa: N818 - two officers at once are no defect
    """A step that doesn't follow the last one: another was taken in between."""


class Step(NamedTuple):
    """A step as it was taken: its parsed statement, SHA-256 of the statement's bytes, the officer's name and
    the hub's time (Unix seconds)."""

    statement: CaseStatement
    digest: bytes
    officer: str
    time: int


class Proposal(NamedTuple):
    """An action that awaits a second officer: its statement's SHA-256, and who proposed it."""

    action: Action.ValueType
    digest: bytes
    officer: str


class Deadline(NamedTuple):
    """What is due, "explanation" or "appeal", and until when: Unix seconds."""

    what: str
    due: int


@dataclass(frozen=True)
class Proceeding:
    """Where a proceeding stands; without arguments: nowhere yet.

    `measure` is the one in force (ACTION_ALLOW for none; requests to authenticate or explain are no
    measures). `explanation` doesn't know the time: EXPLANATION_REQUESTED stands for overdue ones too.
    """

    steps: int = 0
    head: bytes = b""
    subject: SubjectToken | None = None
    origin: CaseOrigin.ValueType = CASE_ORIGIN_UNSPECIFIED
    match_id: bytes = b""
    measure: Action.ValueType = ACTION_ALLOW
    proposal: Proposal | None = None
    explanation: Explanation.ValueType = EXPLANATION_UNSPECIFIED
    explain_by: int = 0
    cleared: bool = False
    """The customer was found right; nothing goes up until an explanation asked for after that fails."""
    appeal: Appeal.ValueType = APPEAL_UNSPECIFIED
    decide_by: int = 0
    objected: tuple[bytes, ...] = ()
    """The signals that the last appeal names."""
    heard: bool = False
    """What was done so far has been appealed against: one appeal each action."""
    involved: frozenset[str] = frozenset()
    """Officers who can't decide an appeal."""
    outcome: Verdict.ValueType = VERDICT_UNSPECIFIED
    closed_at: int = 0
    ended_at: int = 0
    """When it was closed, or the last measure or appeal ended after that: terms count from here."""

    @classmethod
    def of(cls, steps: Iterable[Step], rules: Cases) -> "Proceeding":
        """Fold steps in order. Raises OutOfTurn or StepRefused."""
        proceeding = cls()
        for step in steps:
            proceeding = proceeding.apply(step, rules)
        return proceeding

    def apply(self, step: Step, rules: Cases) -> "Proceeding":
        """What the step makes of it. Raises OutOfTurn or StepRefused."""
        statement = step.statement
        if (statement.sequence, statement.previous) != (self.steps, self.head):
            raise OutOfTurn(f"the proceeding's next step is {self.steps}")
        if (self.steps == 0) != statement.HasField("open"):
            raise StepRefused(
                "not-open" if self.steps == 0 else "open", "a proceeding is opened first, and once"
            )
        after = _STEPS[step_name(statement)](self, step, rules)
        return replace(after, steps=self.steps + 1, head=step.digest)

    def state(self, now: int, rules: Cases) -> ProceedingState:
        """Where it stands at `now` (Unix seconds)."""
        waits_appeal = self.appeal == APPEAL_PENDING
        return ProceedingState(
            measure=self.measure,
            proposed=self.proposal.action if self.proposal else ACTION_UNSPECIFIED,
            proposal=self.proposal.digest if self.proposal else b"",
            explanation=EXPLANATION_OVERDUE if self._overdue(now) else self.explanation,
            explain_by=self.explain_by if self.explanation == EXPLANATION_REQUESTED else 0,
            appeal=self.appeal,
            decide_by=self.decide_by if waits_appeal else 0,
            outcome=self.outcome,
            closed_at=self.closed_at,
            expires_at=self.expires_at(rules),
            next=self.next(now, rules),
        )

    def next(self, now: int, rules: Cases) -> list[str]:
        """Names of the steps that an officer who took no part could take at `now`."""
        allowed: list[str] = []
        for statement in self._candidates(now, rules):
            name = step_name(statement)
            if name in allowed:
                continue
            statement.sequence, statement.previous = self.steps, self.head
            try:
                self.apply(Step(statement, b"", "", now), rules)
            except StepRefused:
                continue
            allowed.append(name)
        return sorted(allowed, key=STEP_NAMES.index)

    def _candidates(self, now: int, rules: Cases) -> Iterator[CaseStatement]:
        yield CaseStatement(open=OpenCase())
        latest = now + rules.explanation_days_most * DAY
        for action in ACTION_NAMES:
            by = latest if action == ACTION_EXPLAIN else 0
            yield CaseStatement(action=TakeAction(action=Action.ValueType(action), explain_by=by))
        if self.proposal is not None:
            for approved in (False, True):
                decided = DecideProposal(proposal=self.proposal.digest, approved=approved)
                yield CaseStatement(decide_proposal=decided)
        yield CaseStatement(receive_explanation=ReceiveExplanation())
        yield CaseStatement(judge_explanation=JudgeExplanation())
        yield CaseStatement(receive_appeal=ReceiveAppeal())
        yield CaseStatement(decide_appeal=DecideAppeal())
        yield CaseStatement(lift=Lift())
        for outcome in VERDICTS:
            yield CaseStatement(close=Close(outcome=outcome))
        yield CaseStatement(acknowledge_notice=AcknowledgeNotice())

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not closed."""
        return self.steps > 0 and not self.outcome

    @property
    def is_settled(self) -> bool:
        """Whether it is closed, no measure stands and no appeal waits: then its content may go."""
        return bool(self.outcome) and self.measure == ACTION_ALLOW and not self.appeal_pending

    def expires_at(self, rules: Cases) -> int:
        """When its content goes, Unix seconds; 0 before it is settled."""
        return self.ended_at + rules.retention_days * DAY if self.is_settled else 0

    @property
    def appeal_pending(self) -> bool:
        """Whether an appeal is undecided."""
        return self.appeal == APPEAL_PENDING

    @property
    def deadlines(self) -> tuple[Deadline, ...]:
        """What is waited for, whether its time has passed or not."""
        waited = []
        if self.is_open and self.explanation == EXPLANATION_REQUESTED:
            waited.append(Deadline("explanation", self.explain_by))
        if self.appeal_pending:
            waited.append(Deadline("appeal", self.decide_by))
        return tuple(waited)

    def _overdue(self, now: int) -> bool:
        return self.explanation == EXPLANATION_REQUESTED and now > self.explain_by

    def _failed(self, now: int) -> str | None:
        """How the explanation failed, as rulebooks name it."""
        if self._overdue(now):
            return "overdue"
        return "unsatisfactory" if self.explanation == EXPLANATION_UNSATISFACTORY else None

    # What each step does; every method has a StepRefused for each rule it knows.

    def _opened(self, step: Step, rules: Cases) -> "Proceeding":
        opened = step.statement.open
        return replace(self, subject=opened.subject, origin=opened.origin, match_id=opened.match_id)

    def _asked(self, step: Step, rules: Cases) -> "Proceeding":
        """Authenticate or explain: asked of the customer, at any time while open."""
        self._must_be_open()
        self._must_have_room()
        taken = step.statement.action
        asked = replace(self, heard=False, involved=self.involved | {step.officer})
        if taken.action != ACTION_EXPLAIN:
            return asked
        if self.explanation == EXPLANATION_RECEIVED:
            raise StepRefused("explanation-to-judge", "an explanation was received and is to be judged first")
        least, most = rules.explanation_days * DAY, rules.explanation_days_most * DAY
        if not step.time + least <= taken.explain_by <= step.time + most:
            raise StepRefused("explanation-time", "the time to explain is not what the rulebook grants")
        if self.explanation == EXPLANATION_REQUESTED and step.time <= self.explain_by > taken.explain_by:
            raise StepRefused("explanation-time", "the customer was given more time already")
        return replace(
            asked,
            explanation=EXPLANATION_REQUESTED,
            explain_by=taken.explain_by,
            cleared=self.cleared and self._failed(step.time) is None,
        )

    def _acted(self, step: Step, rules: Cases) -> "Proceeding":
        """Intercept, restrict or freeze: taken, or proposed where it needs two officers."""
        self._must_have_room()
        action = step.statement.action.action
        taken = self._raised(action, step.time, rules)
        if self.proposal is not None:
            raise StepRefused("proposal-pending", "another action awaits a second officer")
        involved = self.involved | {step.officer}
        if rules.measures.of(action).officers == 2:
            return replace(self, proposal=Proposal(action, step.digest, step.officer), involved=involved)
        return replace(taken, involved=involved)

    def _raised(self, action: Action.ValueType, now: int, rules: Cases) -> "Proceeding":
        """With this measure in force."""
        self._must_be_open()
        if self.appeal_pending:
            raise StepRefused("appeal-pending", "an appeal is undecided: nothing goes up")
        if action <= self.measure:
            raise StepRefused("in-force", "a measure as severe is in force")
        failed = self._failed(now)
        if action == ACTION_INTERCEPT:
            if self.cleared and failed is None:
                raise StepRefused("customer-cleared", "the customer was found right and nothing failed since")
            return replace(self, measure=action, heard=False)
        if failed not in rules.measures.of(action).escalates_on:
            raise StepRefused(
                "explanation-needed", "no explanation failed, or not as it must for this action"
            )
        if action == Action.ACTION_FREEZE and self.measure != Action.ACTION_RESTRICT:
            raise StepRefused("restriction-needed", "only what is restricted is frozen")
        return replace(
            self,
            measure=action,
            heard=False,
            explanation=EXPLANATION_UNSPECIFIED,
            explain_by=0,
            cleared=False,
        )

    def _proposal_decided(self, step: Step, rules: Cases) -> "Proceeding":
        decided = step.statement.decide_proposal
        if self.proposal is None:
            raise StepRefused("no-proposal", "no action awaits a second officer")
        if decided.proposal != self.proposal.digest:
            raise StepRefused("other-proposal", "another action awaits a second officer")
        if step.officer == self.proposal.officer:
            raise StepRefused("same-officer", "who proposed it is not the second officer", independent=True)
        if not decided.approved:
            return replace(self, proposal=None)
        # All rules once more: an explanation or an appeal may have come in since.
        raised = self._raised(self.proposal.action, step.time, rules)
        return replace(raised, proposal=None, involved=self.involved | {step.officer})

    def _explained(self, step: Step, rules: Cases) -> "Proceeding":
        self._must_be_open()
        self._must_have_room()
        if self.explanation != EXPLANATION_REQUESTED:
            raise StepRefused("none-asked", "no explanation is waited for")
        return replace(self, explanation=EXPLANATION_RECEIVED, explain_by=0)

    def _judged(self, step: Step, rules: Cases) -> "Proceeding":
        self._must_be_open()
        if self.explanation != EXPLANATION_RECEIVED:
            raise StepRefused("none-received", "there is no explanation to judge")
        satisfactory = step.statement.judge_explanation.satisfactory
        return replace(
            self,
            explanation=EXPLANATION_SATISFACTORY if satisfactory else EXPLANATION_UNSATISFACTORY,
            cleared=satisfactory,
            involved=self.involved | {step.officer},
        )

    def _appealed(self, step: Step, rules: Cases) -> "Proceeding":
        self._must_have_room()
        if self.appeal_pending:
            raise StepRefused("appeal-pending", "an appeal is undecided already")
        if not self.is_open and self.measure == ACTION_ALLOW:
            raise StepRefused("closed", "the proceeding is closed and no measure stands")
        if self.heard:
            raise StepRefused("appeal-decided", "what was done so far has been appealed against and decided")
        return replace(
            self,
            appeal=APPEAL_PENDING,
            decide_by=step.time + rules.appeal_days * DAY,
            objected=tuple(step.statement.receive_appeal.signal_ids),
            heard=True,
        )

    def _appeal_decided(self, step: Step, rules: Cases) -> "Proceeding":
        if not self.appeal_pending:
            raise StepRefused("no-appeal", "there is no appeal to decide")
        if step.officer in self.involved:
            raise StepRefused("officer-involved", "who took part doesn't decide the appeal", independent=True)
        ended_at = step.time if self.outcome else 0
        if not step.statement.decide_appeal.granted:
            return replace(self, appeal=APPEAL_REJECTED, ended_at=ended_at)
        return replace(
            self,
            ended_at=ended_at,
            appeal=APPEAL_GRANTED,
            measure=ACTION_ALLOW,
            proposal=None,
            explanation=EXPLANATION_UNSPECIFIED,
            explain_by=0,
            cleared=True,
        )

    def _lifted(self, step: Step, rules: Cases) -> "Proceeding":
        if self.measure == ACTION_ALLOW and self.proposal is None:
            raise StepRefused("nothing-to-lift", "neither is a measure in force nor one proposed")
        ended_at = step.time if self.outcome else 0
        return replace(self, measure=ACTION_ALLOW, proposal=None, ended_at=ended_at)

    def _closed(self, step: Step, rules: Cases) -> "Proceeding":
        self._must_be_open()
        outcome = step.statement.close.outcome
        if self.proposal is not None:
            raise StepRefused("proposal-pending", "an action awaits a second officer")
        if self.appeal_pending:
            raise StepRefused("appeal-pending", "an appeal is undecided")
        if self.explanation == EXPLANATION_RECEIVED:
            raise StepRefused("explanation-to-judge", "an explanation was received and is to be judged first")
        if self.explanation == EXPLANATION_REQUESTED and not self._overdue(step.time):
            raise StepRefused("explanation-pending", "the customer still has time to explain")
        if outcome != VERDICT_CONFIRMED and self.measure != ACTION_ALLOW:
            raise StepRefused("measure-in-force", "only what is confirmed leaves a measure standing")
        return replace(self, outcome=outcome, closed_at=step.time, ended_at=step.time)

    def _acknowledged(self, step: Step, rules: Cases) -> "Proceeding":
        self._must_have_room()
        return self

    def _must_be_open(self) -> None:
        if not self.is_open:
            raise StepRefused("closed", "the proceeding is closed")

    def _must_have_room(self) -> None:
        if self.steps >= MAX_STEPS:
            raise StepRefused("too-many-steps", f"a proceeding has {MAX_STEPS} steps, and what ends it")


_STEPS: Final[dict[str, Callable[[Proceeding, Step, Cases], Proceeding]]] = {
    "open": Proceeding._opened,
    "authenticate": Proceeding._asked,
    "explain": Proceeding._asked,
    "intercept": Proceeding._acted,
    "restrict": Proceeding._acted,
    "freeze": Proceeding._acted,
    "decide-proposal": Proceeding._proposal_decided,
    "receive-explanation": Proceeding._explained,
    "judge-explanation": Proceeding._judged,
    "receive-appeal": Proceeding._appealed,
    "decide-appeal": Proceeding._appeal_decided,
    "lift": Proceeding._lifted,
    "close": Proceeding._closed,
    "acknowledge-notice": Proceeding._acknowledged,
}
