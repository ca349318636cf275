"""Advice by the asking member's kind and the grade of the evidence, over the wire; a replay knows both.

`serving` replays the log of each hub when it ends: scores and advice must come out again.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from signalexchange.rulebook import MemberKind
from signalexchange.v1.identifier_pb2 import IDENTIFIER_TYPE_MERCHANT
from signalexchange.v1.signal_pb2 import EvidenceGrade
from signalexchange.v1.signal_service_pb2 import Action, SubjectRisk

from exchange.provision import PartySpec
from tests.support.exchange import Running, deploy, serving
from tests.support.members import look_up, subject
from tests.support.outcomes import START, claim, publish

ACCUSERS = ("bank-a", "bank-b", "bank-c", "bank-d")
ASKING: dict[MemberKind, str] = {
    "bank": "bank-asking",
    "ecommerce": "shop-asking",
    "payment_provider": "pay-asking",
}
PARTIES = (
    *(PartySpec(name, "bank", f"{name}-group") for name in ACCUSERS),
    *(PartySpec(name, kind, f"{name}-group") for kind, name in ASKING.items()),
    PartySpec("operator", "operator", "exchange-operator"),
    PartySpec("audit-one", "auditor", "audit"),
)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(deploy(tmp_path, clock=START, parties=PARTIES)) as running:
        yield running


async def accuse(hub: Running, grade: EvidenceGrade.ValueType, times: int) -> bytes:
    """A merchant that four groups accuse of all they may."""
    shop = subject(type_=IDENTIFIER_TYPE_MERCHANT)
    for member in ACCUSERS:
        signals = [claim(subject=shop, grade=grade) for _ in range(times)]
        await publish(hub, member, *signals)
    return shop.value


async def asked(hub: Running, kind: MemberKind, token: bytes, purpose: str) -> SubjectRisk:
    request = look_up([token], purpose=purpose, type_=IDENTIFIER_TYPE_MERCHANT)
    answer = await hub[ASKING[kind]].signals.LookUpSubjects(request, timeout=10)
    (risk,) = answer.subjects
    assert isinstance(risk, SubjectRisk)
    return risk


async def test_each_kind_is_advised_what_it_can_do(hub: Running) -> None:
    token = await accuse(hub, EvidenceGrade.EVIDENCE_GRADE_CONFIRMED, 4)
    answers = {kind: await asked(hub, kind, token, "merchant-onboarding") for kind in ASKING}
    assert {kind: risk.advice for kind, risk in answers.items()} == {
        "bank": Action.ACTION_RESTRICT,
        "ecommerce": Action.ACTION_INTERCEPT,
        "payment_provider": Action.ACTION_RESTRICT,
    }
    assert len({(risk.score, risk.band, risk.groups) for risk in answers.values()}) == 1
    for risk in answers.values():
        assert risk.human_review == (risk.advice > Action.ACTION_INTERCEPT)
        assert risk.notice_code == f"advice-{Action.Name(risk.advice).removeprefix('ACTION_').lower()}"


@pytest.mark.parametrize(
    ("grade", "advice"),
    [
        (EvidenceGrade.EVIDENCE_GRADE_SUSPECTED, Action.ACTION_INTERCEPT),
        (EvidenceGrade.EVIDENCE_GRADE_CORROBORATED, Action.ACTION_RESTRICT),
        (EvidenceGrade.EVIDENCE_GRADE_CONFIRMED, Action.ACTION_FREEZE),
    ],
)
async def test_the_grade_of_the_evidence_bounds_the_action(
    hub: Running, grade: EvidenceGrade.ValueType, advice: Action.ValueType
) -> None:
    token = await accuse(hub, grade, 12)
    assert (await asked(hub, "bank", token, "investigation")).advice == advice
