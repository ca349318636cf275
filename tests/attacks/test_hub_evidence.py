"""Members who conspire or frame: groups count, not members; links frame nobody; one accuser is not enough."""

import os
from collections.abc import Iterator

import pytest
from signalexchange.v1.signal_pb2 import EvidenceGrade, Signal
from signalexchange.v1.signal_service_pb2 import Action, SubjectRisk

from exchange.provision import FOUNDERS, Deployment, PartySpec, Plan
from tests.support.hub import running_hub
from tests.support.members import caller, look_up, pen, signal, subject

SUBSIDIARY = "bank-branch"
"""Of the same controlling group as bank-north."""
MOST = 200
"""Signals that a member may have on one subject, by the default rulebook."""
PURPOSES = ("transaction-screening", "merchant-onboarding", "credit-decision", "investigation")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    parties = (*FOUNDERS, PartySpec(SUBSIDIARY, "bank", "north-holding"))
    plan = Plan(types=("card",), parties=parties)
    with running_hub(tmp_path_factory.mktemp("evidence"), plan) as running:
        yield running


def publish(deployment: Deployment, member: str, *signals: Signal) -> None:
    with caller(deployment, member) as one:
        one.signals.PublishSignals(pen(deployment, member).batch(signals), timeout=10)


def damning(token: bytes) -> Signal:
    """As strong as one signal can be."""
    grade = EvidenceGrade.EVIDENCE_GRADE_CONFIRMED
    return signal(token, code="mule-account", grade=grade, confidence=100)


def risk(deployment: Deployment, member: str, token: bytes, purpose: str = PURPOSES[0]) -> SubjectRisk | None:
    with caller(deployment, member) as one:
        answer = one.signals.LookUpSubjects(look_up([token], purpose=purpose), timeout=10)
    return answer.subjects[0] if answer.subjects else None


def test_a_group_counts_once_however_many_of_its_members_report(deployment: Deployment) -> None:
    token = os.urandom(32)
    publish(deployment, "bank-north", damning(token))
    alone = risk(deployment, "bank-south", token)
    publish(deployment, SUBSIDIARY, damning(token))
    both = risk(deployment, "bank-south", token)
    assert alone is not None
    assert both is not None
    assert alone.groups == both.groups == 1
    publish(deployment, "pay-lotus", damning(token))
    joined = risk(deployment, "bank-south", token)
    assert joined is not None
    assert joined.groups == 2
    assert joined.score > both.score


@pytest.mark.parametrize("purpose", PURPOSES)
def test_one_group_alone_has_nobody_restricted(deployment: Deployment, purpose: str) -> None:
    """No single accuser: as many of its strongest signals as it may publish advise no more than that."""
    token = os.urandom(32)
    publish(deployment, "bank-north", *(damning(token) for _ in range(MOST)))
    publish(deployment, SUBSIDIARY, *(damning(token) for _ in range(MOST)))
    found = risk(deployment, "bank-south", token, purpose)
    assert found is not None
    assert found.groups == 1
    assert found.advice in (Action.ACTION_ALLOW, Action.ACTION_AUTHENTICATE)


def test_a_weak_second_voice_does_not_carry_the_first_beyond_authentication(deployment: Deployment) -> None:
    """Without the first group's evidence the second's advises little: so does both together."""
    token = os.urandom(32)
    publish(deployment, "bank-north", *(damning(token) for _ in range(100)))
    weak = signal(token, grade=EvidenceGrade.EVIDENCE_GRADE_SUSPECTED, confidence=1)
    publish(deployment, "pay-lotus", weak)
    found = risk(deployment, "bank-south", token, "investigation")
    assert found is not None
    assert found.advice in (Action.ACTION_ALLOW, Action.ACTION_AUTHENTICATE)


def test_a_subsidiary_is_not_told_its_own_groups_reports(deployment: Deployment) -> None:
    token = os.urandom(32)
    publish(deployment, "bank-north", damning(token))
    assert risk(deployment, SUBSIDIARY, token) is None
    assert risk(deployment, "bank-south", token) is not None


def test_a_link_frames_nobody_with_anothers_evidence(deployment: Deployment) -> None:
    """A member ties an innocent's token to one that others accuse: the accusation does not travel."""
    accused, innocent = os.urandom(32), os.urandom(32)
    publish(deployment, "bank-south", damning(accused))
    tie = signal(
        innocent,
        code="same-subject",
        links=[subject(accused)],
        grade=EvidenceGrade.EVIDENCE_GRADE_CONFIRMED,
        amount_band=0,
    )
    publish(deployment, "bank-north", tie)
    for asking in ("pay-lotus", "shop-river", "bank-north"):
        assert risk(deployment, asking, innocent) is None
    own = damning(accused)
    publish(deployment, "bank-north", own)
    # Its own evidence does travel over its own link, as that of one group.
    found = risk(deployment, "pay-lotus", innocent)
    assert found is not None
    assert found.groups == 1
    assert found.advice in (Action.ACTION_ALLOW, Action.ACTION_AUTHENTICATE)


def test_no_answer_advises_a_sanction_without_a_person(deployment: Deployment) -> None:
    token = os.urandom(32)
    for member in ("bank-north", "pay-lotus"):
        publish(deployment, member, *(damning(token) for _ in range(20)))
    for purpose in PURPOSES:
        found = risk(deployment, "bank-south", token, purpose)
        assert found is not None
        assert found.human_review or found.advice < Action.ACTION_RESTRICT
