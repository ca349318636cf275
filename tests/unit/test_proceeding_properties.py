"""Whatever officers try, in whatever order: the promises of the ladder hold after every step.

The rules are stated here a second time, over the history of accepted steps, not over the machine's state.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange.cases import STEP_NAMES, step_name
from signalexchange.rulebook import Cases
from signalexchange.v1.outcome_service_pb2 import (
    VERDICT_CONFIRMED,
    VERDICT_INCONCLUSIVE,
    VERDICT_REFUTED,
)
from signalexchange.v1.signal_service_pb2 import ACTION_ALLOW, ACTION_FREEZE, ACTION_RESTRICT

from exchange.domain.proceeding import Proceeding, Step, StepRefused
from tests.support.case_steps import (
    DAY,
    LEAST,
    MOST,
    RULES,
    Body,
    acknowledge,
    appeal,
    authenticate,
    close,
    decide,
    decide_appeal,
    explain,
    explained,
    freeze,
    intercept,
    judge,
    lift,
    opened,
    restrict,
    statement,
)

NEWCOMER = "newcomer"
TIMES = (LEAST, LEAST, LEAST + DAY, MOST, LEAST - 1, MOST + 1)
SELDOM = {"authenticate", "receive-appeal", "lift", "close", "acknowledge-notice"}
VERDICTS = (VERDICT_CONFIRMED, VERDICT_REFUTED, VERDICT_INCONCLUSIVE)


def rules(restrict_officers: int, intercept_officers: int, overdue: bool) -> Cases:
    """A rulebook's rules: who acts alone, and whether silence carries a step up."""
    document = RULES.model_dump()
    measures = document["measures"]
    measures["restrict"]["officers"] = restrict_officers
    measures["intercept"]["officers"] = intercept_officers
    if not overdue:
        measures["restrict"]["escalates_on"] = ("unsatisfactory",)
    return Cases.model_validate(document)


@dataclass
class Taken:
    """An accepted step and what was so around it."""

    name: str
    step: Step
    before: Proceeding
    after: Proceeding


class Intent(NamedTuple):
    """Seconds to wait; or what to try, in numbers that pick it."""

    wait: int
    likely: bool
    which: int
    variant: int
    officer: str


class Officers:
    """Four officers try what comes to mind while time passes; promises are checked after every attempt."""

    def __init__(self, cases: Cases) -> None:
        self.cases = cases
        self.now = 1_700_000_000
        self.proceeding = Proceeding()
        self.history: list[Taken] = []
        self.attempt(opened(), "a")

    def step(self, body: Body, officer: str) -> Step:
        message = statement(body, self.proceeding.steps, self.proceeding.head)
        return Step(message, sha256(message.SerializeToString()).digest(), officer, self.now)

    def accepts(self, body: Body, officer: str = NEWCOMER) -> bool:
        try:
            self.proceeding.apply(self.step(body, officer), self.cases)
        except StepRefused:
            return False
        return True

    def attempt(self, body: Body, officer: str) -> None:
        step, before = self.step(body, officer), self.proceeding
        try:
            self.proceeding = before.apply(step, self.cases)
        except StepRefused:
            return
        self.history.append(Taken(step_name(step.statement), step, before, self.proceeding))
        self.the_last_step_kept_the_rules()
        self.appeals_are_decided_by_others()

    def climb(self, steps: int) -> None:
        """Begin some way up the ladder, or after closing."""
        for measure in (restrict, freeze)[:steps]:
            self.attempt(explain(self.now + LEAST), "a")
            self.attempt(explained(), "a")
            self.attempt(judge(satisfactory=False), "a")
            self.attempt(measure(), "a")
            self.attempt(self.bodies("decide-proposal")[0], "b")
        if steps == 3:
            self.attempt(close(VERDICT_CONFIRMED), "a")

    def bodies(self, name: str) -> list[Body]:
        """The steps of this name that differ in what the rules look at."""
        proposal = self.proceeding.proposal
        digest = proposal.digest if proposal else bytes(32)
        return {
            "open": [opened()],
            "authenticate": [authenticate()],
            "explain": [explain(self.now + seconds) for seconds in TIMES],
            "intercept": [intercept()],
            "restrict": [restrict()],
            "freeze": [freeze()],
            "decide-proposal": [decide(digest), decide(digest, approved=False)],
            "receive-explanation": [explained()],
            "judge-explanation": [judge(satisfactory=False), judge(satisfactory=True)],
            "receive-appeal": [appeal()],
            "decide-appeal": [decide_appeal(granted=False), decide_appeal(granted=True)],
            "lift": [lift()],
            "close": [close(outcome) for outcome in VERDICTS],
            "acknowledge-notice": [acknowledge()],
        }[name]

    def carry_out(self, intent: Intent) -> None:
        """Wait, or try a step: mostly one of those that are said to be possible."""
        if intent.wait:
            self.now += intent.wait
            return
        names = list(STEP_NAMES)
        if intent.likely:
            names = [
                name
                for name in self.proceeding.next(self.now, self.cases)
                if name not in SELDOM or intent.variant % 3 == 2
            ]
        if names:
            bodies = self.bodies(names[intent.which % len(names)])
            self.attempt(bodies[intent.variant % len(bodies)], intent.officer)

    def check(self) -> None:
        self.lifting_is_always_possible_while_a_measure_is_in_force()
        self.next_is_what_would_be_accepted()

    def lifting_is_always_possible_while_a_measure_is_in_force(self) -> None:
        if self.proceeding.measure != ACTION_ALLOW:
            assert self.accepts(lift())

    def next_is_what_would_be_accepted(self) -> None:
        expected = [name for name in STEP_NAMES if any(map(self.accepts, self.bodies(name)))]
        assert list(self.proceeding.state(self.now, self.cases).next) == expected

    def the_last_step_kept_the_rules(self) -> None:
        """Told of the history alone, every time a measure is taken, proposed or approved."""
        last = self.history[-1]
        if last.name == "lift":
            assert last.after.measure == ACTION_ALLOW
        measure = last.after.measure
        if last.name in ("intercept", "restrict", "freeze"):
            measure = last.step.statement.action.action
            assert measure > last.before.measure
        elif measure <= last.before.measure:
            return
        names = [taken.name for taken in self.history[:-1]]
        assert "close" not in names
        assert names.count("receive-appeal") == names.count("decide-appeal")
        cleared = max((at for at, taken in enumerate(self.history) if clears(taken)), default=-1)
        assert cleared < 0 or "explain" in names[cleared:]
        if last.after.measure == measure:
            officers = {last.step.officer}
            if last.name == "decide-proposal":
                proposed = last.step.statement.decide_proposal.proposal
                officers |= {taken.step.officer for taken in self.history if taken.step.digest == proposed}
            assert len(officers) >= self.cases.measures.of(measure).officers
            assert len(officers) == 2 or measure != ACTION_FREEZE
        if measure == ACTION_FREEZE:
            assert last.before.measure == ACTION_RESTRICT
        if measure >= ACTION_RESTRICT:
            assert self.failure_since(names) in self.cases.measures.of(measure).escalates_on

    def failure_since(self, names: list[str]) -> str | None:
        """How the explanation asked for last failed, if it is later than the last use of one."""
        used = max((at for at, taken in enumerate(self.history[:-1]) if uses_up(taken)), default=-1)
        asked = max((at for at, name in enumerate(names) if name == "explain"), default=-1)
        if asked <= used:
            return None
        for taken in self.history[asked + 1 : -1]:
            if taken.name == "judge-explanation":
                return None if taken.step.statement.judge_explanation.satisfactory else "unsatisfactory"
        if "receive-explanation" in names[asked:]:
            return None
        explain_by = self.history[asked].step.statement.action.explain_by
        return "overdue" if self.now > explain_by else None

    def appeals_are_decided_by_others(self) -> None:
        if self.history[-1].name != "decide-appeal":
            return
        decider = self.history[-1].step.officer
        assert decider not in set(self.involved())
        assert self.history[-1].after.measure in (ACTION_ALLOW, self.history[-1].before.measure)

    def involved(self) -> Iterator[str]:
        for taken in self.history[:-1]:
            step = taken.step.statement.WhichOneof("step")
            approved = taken.step.statement.decide_proposal.approved
            if step in ("action", "judge_explanation") or approved:
                yield taken.step.officer


def uses_up(taken: Taken) -> bool:
    """Whether an explanation that failed carries nothing after this step."""
    if taken.name == "decide-appeal":
        return taken.step.statement.decide_appeal.granted
    return taken.after.measure > taken.before.measure and taken.after.measure >= ACTION_RESTRICT


def clears(taken: Taken) -> bool:
    """Whether the customer was found right."""
    statement = taken.step.statement
    return statement.judge_explanation.satisfactory or statement.decide_appeal.granted


intents = st.builds(
    Intent,
    wait=st.sampled_from((0, 0, 0, 0, 1, LEAST, LEAST + 1)),
    likely=st.sampled_from((True, True, True, False)),
    which=st.integers(0, 27),
    variant=st.integers(0, 9),
    officer=st.sampled_from("abcd"),
)


@settings(max_examples=150, deadline=None)
@given(
    st.builds(rules, st.sampled_from((1, 2)), st.sampled_from((1, 2)), st.booleans()),
    st.integers(0, 3),
    st.lists(intents, min_size=8, max_size=20),
)
def test_the_promises_hold_after_every_attempt(cases: Cases, climb: int, attempts: list[Intent]) -> None:
    officers = Officers(cases)
    officers.climb(climb)
    officers.check()
    for intent in attempts:
        officers.carry_out(intent)
        officers.check()
    again = Proceeding.of((taken.step for taken in officers.history), cases)
    assert again == officers.proceeding
    assert again.state(officers.now, cases) == officers.proceeding.state(officers.now, cases)
