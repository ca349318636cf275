"""A proceeding goes step by step: what the ladder demands, what stops it, and what is always possible."""

import re
from hashlib import sha256
from typing import Any

import pytest
from signalexchange.rulebook import Cases
from signalexchange.v1.case_service_pb2 import (
    APPEAL_GRANTED,
    APPEAL_PENDING,
    EXPLANATION_OVERDUE,
    EXPLANATION_REQUESTED,
    EXPLANATION_UNSPECIFIED,
)
from signalexchange.v1.outcome_service_pb2 import (
    VERDICT_CONFIRMED,
    VERDICT_INCONCLUSIVE,
    VERDICT_REFUTED,
)
from signalexchange.v1.signal_service_pb2 import (
    ACTION_ALLOW,
    ACTION_FREEZE,
    ACTION_INTERCEPT,
    ACTION_RESTRICT,
    ACTION_UNSPECIFIED,
)

from exchange.domain.proceeding import MAX_STEPS, Deadline, OutOfTurn, Proceeding, Step, StepRefused
from tests.support.case_steps import (
    DAY,
    LEAST,
    MATCH_ID,
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
from tests.support.pages import ROOT, table

START = 1_700_000_000


class Desk:
    """Takes steps at a time that passes only when told."""

    def __init__(self, rules: Cases = RULES) -> None:
        self.rules = rules
        self.now = START
        self.taken: list[Step] = []
        self.proceeding = Proceeding()

    def step(self, body: Body, officer: str = "ann", **changes: Any) -> Step:
        message = statement(body | changes, self.proceeding.steps, self.proceeding.head)
        return Step(message, sha256(message.SerializeToString()).digest(), officer, self.now)

    def take(self, body: Body, officer: str = "ann") -> bytes:
        step = self.step(body, officer)
        self.proceeding = self.proceeding.apply(step, self.rules)
        self.taken.append(step)
        return step.digest

    def refused(self, body: Body, officer: str = "ann") -> StepRefused:
        with pytest.raises(StepRefused) as caught:
            self.proceeding.apply(self.step(body, officer), self.rules)
        return caught.value

    def why(self, body: Body, officer: str = "ann") -> str:
        return self.refused(body, officer).why

    def later(self, seconds: int) -> None:
        self.now += seconds

    def ask(self) -> None:
        """Ask for an explanation."""
        self.take(explain(self.now + LEAST))

    def fail(self) -> None:
        """Ask for an explanation that doesn't come."""
        self.ask()
        self.later(LEAST + 1)

    def freeze(self) -> None:
        """All the way up."""
        self.fail()
        self.take(restrict())
        self.fail()
        self.take(decide(self.take(freeze(), "ann")), "bob")

    @property
    def next(self) -> list[str]:
        return list(self.proceeding.state(self.now, self.rules).next)


@pytest.fixture
def desk() -> Desk:
    started = Desk()
    started.take(opened())
    return started


def test_nothing_comes_before_opening_and_it_comes_once() -> None:
    desk = Desk()
    assert desk.next == ["open"]
    assert desk.why(authenticate()) == "not-open"
    desk.take(opened())
    assert desk.why(opened()) == "open"
    assert desk.proceeding.match_id == MATCH_ID
    assert "open" not in desk.next


def test_a_step_follows_the_last_one(desk: Desk) -> None:
    for changes in ({"sequence": 0}, {"sequence": 2}, {"previous": bytes(32)}):
        with pytest.raises(OutOfTurn):
            desk.proceeding.apply(desk.step(authenticate(), **changes), RULES)


def test_asking_is_no_measure(desk: Desk) -> None:
    desk.take(authenticate())
    desk.ask()
    state = desk.proceeding.state(desk.now, RULES)
    assert state.measure == ACTION_ALLOW
    assert (state.explanation, state.explain_by) == (EXPLANATION_REQUESTED, desk.now + LEAST)
    assert desk.why(lift()) == "nothing-to-lift"


def test_one_explanation_that_failed_carries_one_step_up(desk: Desk) -> None:
    assert desk.why(restrict()) == "explanation-needed"
    desk.ask()
    assert desk.why(restrict()) == "explanation-needed"
    desk.later(LEAST)
    assert desk.why(restrict()) == "explanation-needed"  # the last second is the customer's
    desk.later(1)
    assert desk.proceeding.state(desk.now, RULES).explanation == EXPLANATION_OVERDUE
    assert desk.why(freeze()) == "restriction-needed"
    desk.take(restrict())
    assert desk.proceeding.measure == ACTION_RESTRICT
    assert desk.proceeding.explanation == EXPLANATION_UNSPECIFIED
    assert desk.why(freeze()) == "explanation-needed"
    assert desk.why(explained()) == "none-asked"
    desk.fail()
    assert "freeze" in desk.next


def test_an_unsatisfactory_explanation_carries_a_step_and_a_satisfactory_one_bars_it(desk: Desk) -> None:
    desk.ask()
    desk.take(explained())
    assert desk.why(restrict()) == "explanation-needed"
    assert desk.why(explain(desk.now + LEAST)) == "explanation-to-judge"
    desk.take(judge(satisfactory=True))
    assert desk.why(restrict()) == "explanation-needed"
    assert desk.why(intercept()) == "customer-cleared"
    desk.ask()
    assert desk.why(intercept()) == "customer-cleared"
    desk.take(explained())
    desk.take(judge(satisfactory=False))
    assert desk.why(judge(satisfactory=True)) == "none-received"
    assert {"intercept", "restrict"} <= set(desk.next)


def test_a_late_explanation_is_received_until_it_is_used(desk: Desk) -> None:
    desk.fail()
    desk.take(explained())
    assert desk.why(restrict()) == "explanation-needed"
    desk.take(judge(satisfactory=False))
    desk.take(restrict())


def test_the_rulebook_says_which_failure_carries_an_action() -> None:
    measures = RULES.measures
    patient = measures.restrict.model_copy(update={"escalates_on": ("unsatisfactory",)})
    desk = Desk(RULES.model_copy(update={"measures": measures.model_copy(update={"restrict": patient})}))
    desk.take(opened())
    desk.fail()
    assert desk.why(restrict()) == "explanation-needed"
    desk.take(explained())
    desk.take(judge(satisfactory=False))
    desk.take(restrict())


def test_the_customer_gets_the_time_the_rulebook_grants(desk: Desk) -> None:
    assert desk.why(explain(desk.now + LEAST - 1)) == "explanation-time"
    assert desk.why(explain(desk.now + MOST + 1)) == "explanation-time"
    desk.take(explain(desk.now + MOST))
    desk.later(DAY)
    assert desk.why(explain(desk.now + LEAST)) == "explanation-time"  # what was given isn't taken back
    desk.take(explain(desk.now + MOST))


def test_two_officers_freeze(desk: Desk) -> None:
    desk.fail()
    desk.take(restrict())
    desk.fail()
    proposal = desk.take(freeze(), "ann")
    state = desk.proceeding.state(desk.now, RULES)
    assert (state.measure, state.proposed, state.proposal) == (ACTION_RESTRICT, ACTION_FREEZE, proposal)
    again = desk.refused(decide(proposal), "ann")
    assert (again.why, again.independent) == ("same-officer", True)
    assert desk.why(decide(bytes(32)), "bob") == "other-proposal"
    assert desk.why(freeze(), "bob") == "proposal-pending"
    assert desk.why(close(VERDICT_CONFIRMED)) == "proposal-pending"
    desk.take(decide(proposal), "bob")
    state = desk.proceeding.state(desk.now, RULES)
    assert (state.measure, state.proposed, state.proposal) == (ACTION_FREEZE, ACTION_UNSPECIFIED, b"")
    assert desk.why(decide(proposal), "cyd") == "no-proposal"
    assert [desk.why(body) for body in (freeze(), restrict(), intercept())] == ["in-force"] * 3


def test_a_proposal_refused_or_dropped_leaves_what_it_rested_on(desk: Desk) -> None:
    desk.fail()
    desk.take(restrict())
    desk.fail()
    desk.take(decide(desk.take(freeze()), approved=False), "bob")
    assert desk.proceeding.measure == ACTION_RESTRICT
    desk.take(freeze(), "bob")
    desk.take(lift())
    assert desk.proceeding.proposal is None
    assert desk.why(freeze()) == "restriction-needed"


def test_an_approval_is_judged_by_what_came_in_since(desk: Desk) -> None:
    desk.fail()
    desk.take(restrict())
    desk.fail()
    proposal = desk.take(freeze())
    desk.take(explained())
    assert desk.why(decide(proposal), "bob") == "explanation-needed"
    desk.take(judge(satisfactory=False), "bob")
    desk.take(appeal())
    assert desk.why(decide(proposal), "bob") == "appeal-pending"
    desk.take(decide_appeal(granted=False), "dan")
    desk.take(decide(proposal), "bob")
    assert desk.proceeding.measure == ACTION_FREEZE


def test_nothing_goes_up_during_an_appeal(desk: Desk) -> None:
    desk.fail()
    ids = [bytes(16), b"\1" * 16]
    desk.take(appeal(ids))
    state = desk.proceeding.state(desk.now, RULES)
    assert (state.appeal, state.decide_by) == (APPEAL_PENDING, desk.now + RULES.appeal_days * DAY)
    assert desk.proceeding.objected == tuple(ids)
    assert [desk.why(body) for body in (intercept(), restrict(), appeal())] == ["appeal-pending"] * 3
    assert desk.why(close(VERDICT_INCONCLUSIVE)) == "appeal-pending"
    desk.take(decide_appeal(granted=False), "dan")
    desk.take(restrict())


def test_who_took_part_does_not_decide_the_appeal(desk: Desk) -> None:
    desk.take(authenticate(), "eve")
    desk.ask()
    desk.take(explained(), "clerk")
    desk.take(judge(satisfactory=False), "jim")
    desk.take(restrict(), "ann")
    desk.fail()
    desk.take(decide(desk.take(freeze(), "pat")), "bob")
    desk.take(appeal(), "clerk")
    for officer in ("eve", "ann", "jim", "pat", "bob"):
        refused = desk.refused(decide_appeal(granted=True), officer)
        assert (refused.why, refused.independent) == ("officer-involved", True)
    desk.take(decide_appeal(granted=True), "clerk")
    state = desk.proceeding.state(desk.now, RULES)
    assert (state.measure, state.appeal, state.decide_by) == (ACTION_ALLOW, APPEAL_GRANTED, 0)


def test_a_granted_appeal_takes_away_what_measures_rested_on(desk: Desk) -> None:
    desk.fail()
    desk.take(intercept())
    desk.take(appeal())
    desk.take(decide_appeal(granted=True), "dan")
    assert desk.why(intercept()) == "customer-cleared"
    assert desk.why(restrict()) == "explanation-needed"
    desk.fail()
    desk.take(restrict())


def test_each_action_is_appealed_against_once(desk: Desk) -> None:
    desk.take(appeal())
    desk.take(decide_appeal(granted=False), "dan")
    assert desk.why(appeal()) == "appeal-decided"
    desk.take(intercept())
    desk.take(appeal())
    desk.take(decide_appeal(granted=False), "dan")
    desk.fail()
    desk.take(restrict())
    desk.take(appeal())


def test_closing_leaves_nothing_pending(desk: Desk) -> None:
    desk.ask()
    assert desk.why(close(VERDICT_CONFIRMED)) == "explanation-pending"
    desk.take(explained())
    assert desk.why(close(VERDICT_CONFIRMED)) == "explanation-to-judge"
    desk.take(judge(satisfactory=False))
    desk.take(restrict())
    for outcome in (VERDICT_REFUTED, VERDICT_INCONCLUSIVE):
        assert desk.why(close(outcome)) == "measure-in-force"
    desk.take(close(VERDICT_CONFIRMED))
    assert desk.proceeding.outcome == VERDICT_CONFIRMED
    assert desk.proceeding.closed_at == desk.now


def test_after_closing_the_customer_can_still_object_and_be_let_go(desk: Desk) -> None:
    desk.freeze()
    desk.take(close(VERDICT_CONFIRMED))
    assert desk.next == ["receive-appeal", "lift", "acknowledge-notice"]
    assert desk.proceeding.state(desk.now, RULES).expires_at == 0
    for body in (authenticate(), intercept(), explained(), judge(satisfactory=True), close(VERDICT_REFUTED)):
        assert desk.why(body) == "closed"
    desk.take(appeal())
    desk.take(lift())
    assert not desk.proceeding.is_settled  # the appeal waits all the same
    assert desk.next == ["decide-appeal", "acknowledge-notice"]
    desk.now += RULES.retention_days * DAY  # what outlasts the term begins it anew
    desk.take(decide_appeal(granted=True), "dan")
    decided_at = desk.now
    assert desk.why(appeal()) == "closed"
    desk.now += DAY
    desk.take(acknowledge())
    state = desk.proceeding.state(desk.now, RULES)
    assert state.expires_at == decided_at + RULES.retention_days * DAY
    assert state.closed_at < decided_at


def test_deadlines(desk: Desk) -> None:
    assert not desk.proceeding.deadlines
    desk.ask()
    explain_by = desk.now + LEAST
    desk.take(appeal())
    decide_by = desk.now + RULES.appeal_days * DAY
    assert desk.proceeding.deadlines == (Deadline("explanation", explain_by), Deadline("appeal", decide_by))
    desk.take(explained())
    desk.take(decide_appeal(granted=True), "dan")
    assert not desk.proceeding.deadlines


def test_a_proceeding_does_not_grow_for_ever(desk: Desk) -> None:
    desk.take(intercept())
    while desk.proceeding.steps < MAX_STEPS:
        desk.take(acknowledge())
    assert desk.next == ["lift", "close"]
    assert desk.why(appeal()) == "too-many-steps"
    desk.take(lift())
    desk.take(close(VERDICT_INCONCLUSIVE))
    assert desk.next == []


def test_the_state_is_the_fold_of_the_steps(desk: Desk) -> None:
    desk.freeze()
    assert Proceeding.of(desk.taken, RULES) == desk.proceeding
    assert desk.proceeding.measure == ACTION_FREEZE
    with pytest.raises(OutOfTurn):
        Proceeding.of(desk.taken[1:], RULES)
    assert Proceeding.of(desk.taken[:-1], RULES).measure == ACTION_RESTRICT
    assert ACTION_INTERCEPT not in {Proceeding.of(desk.taken[:n], RULES).measure for n in range(9)}


def test_refusals_are_documented() -> None:
    source = (ROOT / "exchange/domain/proceeding.py").read_text("utf-8")
    named = set(re.findall(r'StepRefused\(\s*"([a-z-]+)"', source))
    named |= {name for pair in re.findall(r'"([a-z-]+)" if .* else "([a-z-]+)"', source) for name in pair}
    assert {row[0].strip("`") for row in table("table: step refusals")} == named
