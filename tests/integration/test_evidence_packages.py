"""Evidence packages of a running exchange: signals, a match and a case, built by a member and checked."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from signalexchange.client import ExchangeClient
from signalexchange.credentials import load_hpke_key, load_signing_key
from signalexchange.disclosure_client import Officer
from signalexchange.errors import ConfigError, MalformedError, RefusedError, VerificationError
from signalexchange.package import read_package
from signalexchange.package_build import Selection, build_package
from signalexchange.package_verify import verify_package
from signalexchange.release import release
from signalexchange.signals import SignalDraft, Subject
from signalexchange.v1 import disclosure_service_pb2 as pb
from signalexchange.v1.outcome_service_pb2 import VERDICT_REFUTED, Outcome
from signalexchange.v1.signal_pb2 import EVIDENCE_GRADE_SUSPECTED
from signalexchange.v1.signal_service_pb2 import ACTION_AUTHENTICATE

from tests.support.cases import Desk, action, opening
from tests.support.sdk import CARD, MERCHANT, World, draft, luhn, world

LENDER, BANK, POLICE = "pay-lotus", "bank-north", "police-one"
SHOP_CODE = "91350100M000100Y43"


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as found:
        yield found


def leg(code: str, number: int, *, back: bool = False) -> SignalDraft:
    card, shop = Subject(CARD, luhn(number)), Subject(MERCHANT, SHOP_CODE)
    at = int(time.time()) - (28 if back else 30) * 3600
    return replace(
        draft(number),
        code=code,
        subject=shop if back else card,
        counterparty=card if back else shop,
        grade=EVIDENCE_GRADE_SUSPECTED,
        first_seen=at,
        last_seen=at,
        amount=Decimal("4600") if back else Decimal("5000"),
        reference=f"purchase-{number}",
    )


def officer(exchange: World, party: str, key_id: str = "officer-1") -> Officer:
    return Officer(key_id, load_signing_key(exchange.config(party).officers[key_id]))


async def asked(exchange: World, police: ExchangeClient, member: str) -> bytes:
    now = int(time.time())
    (request,) = await police.disclosures.request(
        [member],
        instrument=pb.INSTRUMENT_COURT_ORDER,
        reference="2026-17",
        issued_at=now,
        deadline=now + 86_400,
        scope=b"one loop",
        officer=officer(exchange, POLICE),
    )
    return request.request_id


async def test_signals_a_match_and_a_case_travel_to_the_authority_and_verify_there(exchange: World) -> None:
    lender, bank, police = [await exchange.client(party) for party in (LENDER, BANK, POLICE)]
    await lender.publish([leg("credit-purchase", 1), draft(2)])
    await bank.publish([leg("pass-through", 1, back=True)])
    await exchange.running.hub._exchange.matching.settled()
    (match,) = [each async for each in lender.matches.all()]
    desk = Desk(exchange.deployment, LENDER)
    await desk.take(exchange.running, opening(match.subjects[0].token, match_id=match.match_id))
    await desk.take(exchange.running, action(ACTION_AUTHENTICATE))
    (wrong,) = lender.journal.signals_of("case-2")
    await lender.report_outcomes([Outcome(signal_id=wrong.signal_id, verdict=VERDICT_REFUTED)])

    request_id = await asked(exchange, police, LENDER)
    keys = {"hpke-1": lambda: load_hpke_key(exchange.config(LENDER).hpke["hpke-1"])}
    assert await lender.disclosures.scope(request_id, keys) == b"one loop"
    disclosure, _ = await lender.disclosures.get(request_id)
    genesis = exchange.deployment.genesis.read_bytes()
    selection = Selection(
        signals=[*match.signal_ids, wrong.signal_id],
        matches=[match.match_id],
        cases=[desk.case_id],
        references=True,
    )
    package = await build_package(lender, genesis, disclosure, selection)
    roster = await lender.roster.roster()
    whole, reason = pb.DISCLOSURE_DECISION_RELEASED_WHOLE, pb.DISCLOSURE_REASON_UNSPECIFIED
    file = release(roster, disclosure.request.statement, package, whole, reason, lender.now())
    for key_id in ("officer-1", "officer-2"):
        signer = officer(exchange, LENDER, key_id)
        file = file.sign(roster, signer.key_id, signer.sign, lender.now())
    await lender.disclosures.decide(file.request_to_hub(roster, lender.now()))

    own = {"hpke-1": lambda: load_hpke_key(exchange.config(POLICE).hpke["hpke-1"])}
    received, opened = await police.disclosures.fetch(request_id, own)
    assert opened == package
    report = verify_package(opened, genesis, received.request.statement)
    assert (report.problems, report.not_checked) == ([], [])
    assert report.checked["signals"] == 2
    assert (report.checked["matches"], report.checked["cases"]) == (1, 1)
    page = report.page.decode()
    shown = await lender.matches.get(match.match_id)  # less sure by now: the lender was wrong once
    for text in ("funds_loop", "authenticate", "purchase-1", "REFUTED", f"{shown.confidence} / 1000"):
        assert text in page
    for text in (BANK, luhn(1), SHOP_CODE):
        assert text not in page
    _, parts = read_package(package)
    assert not any(
        BANK.encode() in data for name, data in parts.items() if name.startswith(("sig", "mat", "cas"))
    )
    await police.disclosures.acknowledge(received, officer(exchange, POLICE, "officer-2"))
    ended, scope = await police.disclosures.get(request_id)
    assert (ended.state, scope) == (pb.DISCLOSURE_STATE_RECEIVED, b"")


async def test_what_the_member_does_not_have_is_not_made_up(exchange: World) -> None:
    lender, bank, police = [await exchange.client(party) for party in (LENDER, BANK, POLICE)]
    await lender.publish([draft(1)])
    await bank.publish([draft(1)])
    disclosure, _ = await lender.disclosures.get(await asked(exchange, police, LENDER))
    genesis = exchange.deployment.genesis.read_bytes()
    (theirs,) = bank.journal.signals_of("case-1")
    for selection in (Selection(signals=[theirs.signal_id]), Selection(cases=[bytes(16)])):
        with pytest.raises(ConfigError):
            await build_package(lender, genesis, disclosure, selection)
    with pytest.raises(MalformedError):
        await build_package(lender, genesis, disclosure, Selection(attachments={"STR.pdf": b""}))


async def test_both_sides_watch_where_they_left_off(exchange: World) -> None:
    lender, police = await exchange.client(LENDER), await exchange.client(POLICE)
    async with aclosing(lender.disclosures.watch(from_now=True)) as stream:
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.3)
        request_id = await asked(exchange, police, LENDER)
        news = await asyncio.wait_for(first, 10)
        assert news.disclosure.state == pb.DISCLOSURE_STATE_REQUESTED
        second = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.3)  # the first one is handled: its token is kept
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
    await police.disclosures.withdraw(request_id, officer(exchange, POLICE))
    async with aclosing(lender.disclosures.watch()) as stream:
        later = await asyncio.wait_for(anext(stream), 10)
    assert later.disclosure.state == pb.DISCLOSURE_STATE_WITHDRAWN
    assert [each.state async for each in police.disclosures.all()] == [pb.DISCLOSURE_STATE_WITHDRAWN]
    assert [each async for each in police.disclosures.all(unfinished=True)] == []


async def test_a_client_signs_with_its_own_officers_and_opens_with_its_own_keys(exchange: World) -> None:
    lender, police = await exchange.client(LENDER), await exchange.client(POLICE)
    request_id = await asked(exchange, police, LENDER)
    with pytest.raises(ConfigError):
        await police.disclosures.withdraw(request_id, Officer("officer-9", officer(exchange, POLICE).sign))
    with pytest.raises(ConfigError):
        await lender.disclosures.scope(request_id, {})
    with pytest.raises(VerificationError):
        await lender.disclosures.scope(
            request_id, {"hpke-1": lambda: load_hpke_key(exchange.config(BANK).hpke["hpke-1"])}
        )
    with pytest.raises(RefusedError) as wrong:
        await police.disclosures.withdraw(request_id, Officer("officer-2", officer(exchange, POLICE).sign))
    assert wrong.value.reason == "SIGNATURE_INVALID"
