"""The detector against a real exchange: what others say, what is published, a hub that stands still or is
away."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from signalexchange.config import load_config
from signalexchange.detector.arrivals import Label
from signalexchange.flows import Kind
from signalexchange.v1.signal_pb2 import EVIDENCE_GRADE_CONFIRMED

from exchange.provision import Deployment
from tests.support import custodians, exchange
from tests.support.detector_member import TYPES, Member, account, bought, codes, known, settings, shop, until
from tests.support.faults import Server
from tests.support.hub import hub_server
from tests.support.sdk import CARD, MERCHANT, World, draft, luhn, world

online = pytest.mark.asyncio(loop_scope="module")
FRAUD = {
    "when": "fraud", "code": "card-leaked", "subject": "card", "grade": "confirmed", "confidence": 90,
    "valid_days": 30,
}  # fmt: skip
RULE = FRAUD | {"when": "rule:line-at-once", "code": "cash-out-suspected", "subject": "merchant"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("world"), types=TYPES) as found:
        yield found


def calls(world: World, method: str) -> int:
    """How often the hub was called, by its own log."""
    return sum(event.get("method", "").endswith(method) for event in world.running.events())


def on_credit(number: int, **changes: Any) -> Any:
    """A purchase that hits the packaged rule "line-at-once"."""
    return bought(number, **{"amount": 900_000, "credit": True, "limit": 1_000_000, **changes})


@online
async def test_what_other_members_say_leads_to_more_care_with_their_reasons(
    running: World, tmp_path: Path
) -> None:
    for party in ("pay-lotus", "bank-south"):
        client = await running.client(party)
        said: dict[str, Any] = {"code": "card-leaked", "grade": EVIDENCE_GRADE_CONFIRMED, "confidence": 100}
        await client.publish([draft(1, **said), draft(1, **said | {"code": "cash-out-suspected"})])
    member = await Member.open(running.config("bank-north"), tmp_path, settings())
    told = await member.take(bought(1), bought(2))
    assert [each.decision.shared for each in told] == ["answered", "answered"]
    assert [each.decision.action for each in told][1] == "proceed"
    assert told[0].decision.action in ("authenticate", "hold")
    assert told[0].decision.score > 0
    assert codes(told, "exchange") == [{"card-leaked", "cash-out-suspected"}, set()]
    assert "the card, by 2 other groups" in told[0].decision.reasons[-1].text
    assert not any(luhn(1) in each.text for each in told[0].decision.reasons)
    await member.close()


@online
async def test_an_answer_is_used_while_it_is_fresh_and_a_batch_is_one_question_a_type(
    running: World, tmp_path: Path
) -> None:
    member = await Member.open(running.config("bank-north"), tmp_path, settings())
    before = calls(running, "LookUpSubjects")
    await member.take(*(bought(number) for number in range(100, 120)))
    assert calls(running, "LookUpSubjects") == before + 3  # cards, merchants, accounts
    told = await member.take(*(bought(number, id=f"again-{number}") for number in range(100, 120)))
    assert calls(running, "LookUpSubjects") == before + 3
    assert {each.decision.shared for each in told} == {"answered"}
    assert (member.asker.counts["asked"], member.asker.counts["remembered"]) == (60, 60)
    # An hour later they are not fresh any more.
    member.client._clock = lambda: int(time.time()) + 3_601
    await member.take(bought(100, id="later"))
    assert calls(running, "LookUpSubjects") == before + 6
    await member.close()


@online
async def test_what_is_no_identifier_is_counted_and_holds_up_nothing(running: World, tmp_path: Path) -> None:
    member = await Member.open(running.config("bank-north"), tmp_path, settings())
    told = await member.take(
        bought(3, card="no card"), bought(4, card="no card"), bought(5, customer="x", card="", merchant="")
    )
    assert [each.decision.shared for each in told] == ["answered", "answered", "nothing"]
    assert member.asker.counts["no_identifier"] == 3
    await member.close()


@online
async def test_a_fraud_is_published_once_and_taken_back_when_it_was_none(
    running: World, tmp_path: Path
) -> None:
    chosen = settings(publish=[FRAUD])
    member = await Member.open(running.config("bank-north"), tmp_path, chosen, sending=True)
    before = calls(running, "PublishSignals")
    await member.take(bought(10), bought(11))
    await member.sent()
    assert calls(running, "PublishSignals") == before
    await member.take(Label("t-10", True, None))
    await member.take(Label("t-10", True, None))
    await member.sent()
    assert calls(running, "PublishSignals") == before + 1
    assert await known(running, "bank-south", CARD, luhn(11)) is None
    risk = await known(running, "bank-south", CARD, luhn(10))
    assert risk is not None
    assert [reason.code for reason in risk.reasons] == ["card-leaked"]
    await member.take(Label("t-10", False, int(time.time()) + 1))
    await member.sent()
    assert member.sender is not None
    assert dict(member.sender.counts) == {"published": 1, "taken_back": 1}
    assert await known(running, "bank-south", CARD, luhn(10)) is None
    await member.close()


@online
async def test_a_rule_that_hits_is_published(running: World, tmp_path: Path) -> None:
    chosen = settings(publish=[RULE])
    member = await Member.open(running.config("bank-north"), tmp_path, chosen, sending=True)
    told = await member.take(on_credit(20), bought(21))
    assert codes(told, "rule") == [{"line-at-once"}, set()]
    await member.sent()
    assert await known(running, "bank-south", MERCHANT, shop(21)) is None
    risk = await known(running, "bank-south", MERCHANT, shop(20))
    assert risk is not None
    assert [reason.code for reason in risk.reasons] == ["cash-out-suspected"]
    await member.close()


@online
async def test_what_the_rulebook_does_not_allow_is_left_out_and_counted(
    running: World, tmp_path: Path
) -> None:
    wrong = [
        FRAUD | {"code": "logistics-mismatch"},  # not for banks
        FRAUD | {"code": "account-takeover"},  # not of cards
        FRAUD | {"code": "no-such-code"},
        FRAUD | {"valid_days": 365},
        FRAUD,
    ]
    member = await Member.open(running.config("bank-north"), tmp_path, settings(publish=wrong), sending=True)
    await member.take(bought(30), Label("t-30", True, None))
    await member.sent()
    assert member.sender is not None
    assert dict(member.sender.counts) == {"published": 1, "left_out": 4}
    assert len(member.sender.left_out) == 4
    assert any(each.startswith("no-such-code") for each in member.sender.left_out)
    await member.close()


@online
async def test_what_a_crash_kept_from_being_sent_is_sent_once(running: World, tmp_path: Path) -> None:
    chosen = settings(publish=[FRAUD])
    config = running.config("bank-north")
    away = config.model_copy(update={"hub": config.hub.model_copy(update={"target": "127.0.0.1:9"})})
    member = await Member.open(away, tmp_path, chosen, sending=True)
    await member.take(bought(40), Label("t-40", True, None))
    assert member.sender is not None
    await until(lambda: member.sender is not None and member.sender.problem)
    await member.crash()
    before = calls(running, "PublishSignals")
    member = await Member.open(config, tmp_path, chosen, sending=True)
    await member.sent()
    assert calls(running, "PublishSignals") == before + 1
    await member.crash()
    # Sent, and the process died before it knew.
    member = await Member.open(away, tmp_path, chosen, sending=True)
    await member.take(bought(41), Label("t-41", True, None))
    ((_, item),) = member.journal.outbox()
    await member.crash()
    member = await Member.open(config, tmp_path, chosen)
    sender = (await Member.open(config, tmp_path / "other", chosen, sending=True)).sender
    assert sender is not None
    await sender._send(item)
    await member.crash()
    member = await Member.open(config, tmp_path, chosen, sending=True)
    await member.sent()
    assert [len(member.client.journal.signals_of(f"transaction t-{n}")) for n in (40, 41)] == [1, 1]
    for number in (40, 41):
        risk = await known(running, "bank-south", CARD, luhn(number))
        assert risk is not None
    await sender.close()
    await member.close()


@online
async def test_movements_that_pass_the_gate_are_published(running: World, tmp_path: Path) -> None:
    chosen = settings(flows=True)
    member = await Member.open(running.config("bank-north"), tmp_path, chosen, sending=True)
    now = int(time.time())

    def sent(number: int, payer: int, payee: int, amount: int, at: int) -> Any:
        return bought(
            number, kind=Kind.TRANSFER, customer=account(payer), payee=account(payee), merchant="", card="",
            amount=amount * 100, time=at,
        )  # fmt: skip

    await member.take(sent(50, 1, 2, 5_000, now - 7_200), bought(53, amount=1_000))
    await member.crash()
    # The gate knows after a restart what it knew, though a transaction comes a little behind another.
    member = await Member.open(running.config("bank-north"), tmp_path, chosen, sending=True)
    told = await member.take(sent(52, 8, 9, 3, now), sent(51, 2, 3, 4_600, now - 30))
    assert [each.transaction.id for each in told] == ["t-52", "t-51"]
    await member.sent()
    assert member.sender is not None
    assert not member.sender.left_out
    published = {note.reference for note in member.client.journal.signals()}
    assert {"transaction t-50", "transaction t-51"} <= published
    assert not {"transaction t-52", "transaction t-53"} & published
    await member.close()


async def test_without_a_hub_it_decides_at_once_and_says_so(deployment: Deployment, tmp_path: Path) -> None:
    config = load_config(deployment.party_config("bank-north"))
    away = config.model_copy(update={"hub": config.hub.model_copy(update={"target": "127.0.0.1:9"})})
    member = await Member.open(away, tmp_path, settings(exchange={"budget_ms": 2_000}))
    started = time.monotonic()
    shared = []
    for number in range(20):
        shared += [each.decision.shared for each in await member.take(bought(60 + number))]
    assert time.monotonic() - started < 10
    assert set(shared) <= {"late", "unreachable"}
    assert shared[-1] == "unreachable"
    counts = member.detector.engine.counts
    assert counts["shared.late"] + counts["shared.unreachable"] == 20
    assert member.asker.problem
    await member.close()


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return exchange.deploy(tmp_path, types=TYPES)


@pytest.fixture
def hub(deployment: Deployment, tmp_path: Path) -> Iterator[Server]:
    server = hub_server(deployment, tmp_path / "hub.log")
    server.start()
    yield server
    server.close()


async def test_a_hub_that_stands_still_delays_nobody_beyond_the_budget(
    deployment: Deployment, hub: Server, tmp_path: Path
) -> None:
    async with custodians.network(deployment) as network:
        stand_in: Any = SimpleNamespace(hub=SimpleNamespace(port=deployment.hub_port))
        config = World(deployment, stand_in, network).config("bank-north")
        member = await Member.open(config, tmp_path / "state", settings(exchange={"budget_ms": 300}))
        async with asyncio.timeout(30):
            number = 70
            while (await member.take(bought(number)))[0].decision.shared != "answered":
                number += 1
        hub.signal(signal.SIGSTOP)
        try:
            told, slowest = [], 0.0
            for number in range(170, 176):
                started = time.monotonic()
                told += await member.take(bought(number))
                slowest = max(slowest, time.monotonic() - started)
            assert {each.decision.shared for each in told} == {"late"}
            assert all(each.decision.action == "proceed" for each in told)
            assert slowest < 2.0
            assert member.detector.engine.counts["shared.late"] >= 6
        finally:
            hub.signal(signal.SIGCONT)
        await until(lambda: not member.asker._asked)
        asked = member.asker.counts["asked"]
        (again,) = await member.take(bought(170, id="again"))
        assert again.decision.shared == "answered"
        assert member.asker.counts["asked"] == asked
        await member.close()
