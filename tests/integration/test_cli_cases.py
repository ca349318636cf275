"""The commands of officers: the ladder, two officers, an appeal, errors that say what to do."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from signalexchange.client import ExchangeClient
from signalexchange.notices.rendering import render
from signalexchange.officers import Grounds
from signalexchange.v1.identifier_pb2 import SubjectToken
from signalexchange.v1.log_entry_pb2 import CorrectionEntry
from signalexchange.v1.signal_pb2 import EVIDENCE_GRADE_CORROBORATED, WITHDRAWAL_REASON_RESOLVED
from signalexchange.v1.signal_service_pb2 import ACTION_EXPLAIN

from exchange.replay.running import set_clock
from tests.support.commands import Run
from tests.support.officers import run
from tests.support.sdk import CARD, PURPOSE, World, draft, luhn, world

pytestmark = pytest.mark.asyncio(loop_scope="module")
NORTH, SOUTH = "bank-north", "bank-south"
DAY = 86_400
WHY = ("--reason", "cash-out-suspected")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exchange(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    start = int(time.time())
    epochs = {1: (start - DAY, start + 900 * DAY)}
    async with world(tmp_path_factory.mktemp("cases"), clock=start, epochs=epochs) as running:
        yield running


def later(exchange: World, days: float) -> None:
    clock = exchange.deployment.clock
    set_clock(clock, int(clock.read_text()) + int(days * DAY))


async def cases(exchange: World, *arguments: str, officer: int = 1, stdin: str = "") -> Run:
    signs = () if arguments[0] in ("list", "show", "watch", "finish") else ("--officer", f"officer-{officer}")
    return await run(exchange, NORTH, "cases", *arguments, *signs, stdin=stdin)


async def by_hand(client: ExchangeClient, number: int, *, explained: bool = True) -> bytes:
    """A case about card `number` in which the customer explained in vain."""
    (token,) = await client.tokens(CARD, [luhn(number)])
    subject = SubjectToken(type=CARD, epoch=token.epoch, value=token.value)
    case_id = (await client.cases.open(subject, Grounds("officer-1", "cash-out-suspected"))).case.case_id
    if explained:
        await ask(client, case_id)
        await client.cases.receive_explanation(case_id, b"the goods came late", Grounds("officer-1"))
        await client.cases.judge_explanation(case_id, False, Grounds("officer-1"))
    return case_id


async def ask(client: ExchangeClient, case_id: bytes) -> None:
    """Ask for an explanation."""
    by = client.now() + 6 * DAY
    values = {"contact": "95588", "institution": "North Bank", "reference": "case-1"}
    values |= {"merchant": "a shop", "amount": "5000"}
    notice = render("advice-explain", "en", {**values, "deadline": by})
    await client.cases.act(case_id, ACTION_EXPLAIN, Grounds("officer-1"), notice=notice, explain_by=by)


async def test_a_case_is_opened_explained_and_shown(exchange: World, tmp_path: Path) -> None:
    who = ("--type", "card", "--identifier", "-", "--reference", "loan-1")
    opened = await cases(exchange, "open", *who, *WHY, "--json", stdin=luhn(1) + "\n")
    assert luhn(1) not in opened.out
    case = opened.json["case_id"]
    untold = tmp_path / "untold.html"
    restrict = ("restrict", case, "--evidence", "note:none", "--value", "contact=95588")
    early = await cases(exchange, *restrict, "--html", str(untold))
    assert early.code == 1
    assert not untold.exists(), "a letter tells of a measure that was refused"
    assert "95588" not in (await cases(exchange, *restrict)).err
    lost = await cases(exchange, *restrict, "--html", str(tmp_path / "nowhere" / "letter.html"))
    assert (lost.code, "no step was taken" in lost.err) == (2, True)
    assert "ask for an explanation first: signalexchange cases explain" in early.err
    assert "部分功能受到限制" not in early.err, "nobody gets the notice of what was refused"
    brief = await cases(exchange, "explain", case, "--days", "1")
    assert (brief.code, "the rulebook grants 5 to 30 days" in brief.err) == (2, True)
    bare = await cases(exchange, "explain", case)
    assert bare.code == 2
    assert "give amount, contact, merchant with --value NAME=VALUE" in bare.err
    values = [f"--value={each}" for each in ("contact=95588", "merchant=三江商行", "amount=5000")]
    asked = await cases(exchange, "explain", case, "--days", "6", *values, "--language", "en")
    assert asked.code == 0, asked.err
    assert "merchant “三江商行”, 5,000 yuan" in asked.err
    assert (
        "may come next: authenticate, explain, intercept, explanation received, appeal received" in asked.err
    )
    page = tmp_path / "notice.html"
    given = await cases(exchange, "notice", case, "--acknowledged", "--json")
    assert given.json["code"] == "advice-explain"
    assert "三江商行" in given.json["text"]
    letter = tmp_path / "letter.txt"
    letter.write_text("the goods came late", "utf-8")
    assert (await cases(exchange, "explanation", "received", case, "--file", str(letter))).code == 0
    note = ("--evidence", "note:no such order")
    judged = await cases(exchange, "explanation", "unsatisfactory", case, *note, officer=2)
    assert judged.code == 0, judged.err
    await opened_as_it_was_signed(exchange, judged)
    told = await cases(
        exchange, "notice", case, "--html", str(page), "--value", "contact=95588", "--value", "reference=<b>"
    )
    assert told.code == 0, told.err
    assert "step-explanation-unsatisfactory" in told.out
    assert "&lt;b&gt;" in page.read_text("utf-8")
    shown = await cases(exchange, "show", case)
    assert "officer-2\tjudge-explanation\tcash-out-suspected\trecord:" in shown.out
    assert "\tunsatisfactory" in shown.out
    assert "references\tloan-1" in shown.out
    assert "notice\tstep-explanation-unsatisfactory" in shown.out
    kept = [line.split("\t") for line in shown.out.splitlines() if line.count("\t") == 2]
    assert [line[2] for line in kept[-2:]] == ["the goods came late", "no such order"]
    assert "none" not in [line[2] for line in kept]


async def opened_as_it_was_signed(exchange: World, judged: Run) -> None:
    """An auditor reads the step in words, a "no" too."""
    index = judged.out.split()[-1]
    audited = await run(exchange, "audit-one", "log", "open", index)
    lines = dict(line.split("\t") for line in audited.out.splitlines())
    assert (lines["statement.key_id"], lines["statement.reason"]) == ("officer-2", "cash-out-suspected")
    assert lines["statement.judge_explanation.satisfactory"] == "False"
    document = (await run(exchange, "audit-one", "log", "open", index, "--json")).json
    assert document[0]["payload"]["statement"]["judge_explanation"] == {"satisfactory": False}


async def test_two_officers_freeze_and_a_third_decides_the_appeal(exchange: World) -> None:
    north = await exchange.client(NORTH)
    report = draft(2, now=north.now(), grade=EVIDENCE_GRADE_CORROBORATED)
    signal = (await north.publish([report])).signal_ids[0].hex()
    case_id = await by_hand(north, 2)
    case = case_id.hex()
    why = ("--evidence", f"signal:{signal}", "--value", "contact=95588")
    restricted = await cases(exchange, "restrict", case, *why, "--json")
    assert restricted.json["measure"] == "restrict"
    await ask(north, case_id)
    later(exchange, 7)
    frozen = await cases(exchange, "freeze", case, *why)
    assert f"cases approve {case} freeze" in frozen.err
    untold = await cases(exchange, "notice", case, "--value", "contact=95588", "--json")
    assert untold.json["code"] == "step-explanation-overdue"
    own = await cases(exchange, "approve", case, "freeze")
    assert own.code == 1
    assert "let an officer sign who took no part" in own.err
    wrong = await cases(exchange, "approve", case, "restrict", officer=2)
    assert wrong.code == 2
    assert "look at the case again" in wrong.err
    approved = await cases(exchange, "approve", case, "freeze", "--json", officer=2)
    assert approved.json["measure"] == "freeze"
    told = await cases(exchange, "notice", case, "--json")
    assert told.json["code"] == "advice-freeze"
    listed = await cases(exchange, "list", "--unfinished")
    line = next(line.split("\t") for line in listed.out.splitlines() if line.startswith(case))
    assert (line[2], line[-1]) == ("freeze", "case-2")
    objection = ("--text", "I was abroad", "--signal", signal)
    assert (await cases(exchange, "appeal", "received", case, *objection)).code == 0
    assert (await cases(exchange, "appeal", "grant", case, officer=2)).code == 1
    granted = await cases(exchange, "appeal", "grant", case, "--json", officer=3)
    assert granted.json["measure"] == "allow"
    closed = await cases(exchange, "close", case, "--outcome", "inconclusive")
    assert closed.code == 0, closed.err
    again = await cases(exchange, "close", case, "--outcome", "inconclusive")
    assert again.code == 1


async def test_a_confirmed_measure_is_published_and_withdrawn_when_lifted(exchange: World) -> None:
    north = await exchange.client(NORTH)
    case = (await by_hand(north, 3)).hex()
    why = ("--evidence", "note:statement of 3 May", "--value", "contact=95588")
    assert (await cases(exchange, "restrict", case, *why)).code == 0
    closed = await cases(exchange, "close", case, "--outcome", "confirmed")
    assert "sanction published" in closed.out, closed.err
    assert (await cases(exchange, "finish", case)).out == "nothing was left to do\n"
    lifted = await cases(exchange, "lift", case, officer=2)
    assert "own signals withdrawn" in lifted.out, lifted.err
    erased = await cases(exchange, "erase", case)
    assert erased.code == 0, erased.err
    assert (await cases(exchange, "show", case)).code == 1


async def test_watches_print_what_is_new_and_acknowledge_corrections(exchange: World) -> None:
    north, south = await exchange.client(NORTH), await exchange.client(SOUTH)
    watching = asyncio.create_task(run(exchange, NORTH, "cases", "watch", "--from-now", "--count", "1"))
    await asyncio.sleep(1)
    case = (await by_hand(north, 5, explained=False)).hex()
    assert case in (await watching).out
    await south.subscribe(PURPOSE, await south.tokens(CARD, [luhn(6)]))
    watching = asyncio.create_task(
        run(exchange, SOUTH, "watch", "--from-now", "--count", "2", "--json"), name="corrections"
    )
    await asyncio.sleep(1)
    published = await north.publish([draft(6, now=north.now())])
    await north.withdraw(published.signal_ids, WITHDRAWAL_REASON_RESOLVED)
    new, gone = (json.loads(line) for line in (await watching).out.splitlines())
    assert (new["change"], new["correction"]) == ("recorded", None)
    assert gone["change"] == "withdrawn"
    (entry,) = await south.log.open_entries([gone["correction"]])
    assert CorrectionEntry.FromString(entry.payload).signal_id == published.signal_ids[0]
    assert south.journal.state(f"corrections {exchange.deployment.origin}") == b""


async def test_wrong_input_is_refused_with_what_to_do(exchange: World) -> None:
    case = (await by_hand(await exchange.client(NORTH), 4, explained=False)).hex()
    for arguments, why in (
        (("restrict", case, "--evidence", "letter.pdf"), "signal:ID, match:ID, look-up:INDEX"),
        (("open", *WHY), "give --match"),
        (("open", "--type", "card", "--subject", "nobody", *WHY), "64 hexadecimal digits"),
        (("open", "--identifier", luhn(4), *WHY), "--identifier needs --type"),
        (("restrict", case), "restrict rests on evidence"),
        (("lift", "xyz"), "a case id must be 32 hexadecimal digits"),
        (("explanation", "received", case), "--text or --file"),
    ):
        answer = await cases(exchange, *arguments)
        assert answer.code == 2, answer.err
        assert why in answer.err
    nameless = await run(exchange, NORTH, "cases", "lift", case)
    assert nameless.code == 2
    assert "say which officer signs: officer-1, officer-2, officer-3" in nameless.err
