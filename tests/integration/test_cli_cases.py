"""The commands of officers: the ladder, two officers, an appeal, errors that say what to do."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from signalexchange.v1.signal_pb2 import EVIDENCE_GRADE_CORROBORATED

from exchange.replay.running import set_clock
from tests.support.commands import Run, run
from tests.support.sdk import World, draft, luhn, world

pytestmark = pytest.mark.asyncio(loop_scope="module")
NORTH = "bank-north"
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


async def opened(exchange: World, number: int) -> str:
    """A case by hand about card `number`; the card comes over standard input."""
    who = ("--type", "card", "--identifier", "-", "--reference", f"loan-{number}")
    answer = await cases(exchange, "open", *who, *WHY, "--json", stdin=luhn(number) + "\n")
    assert luhn(number) not in answer.out
    found: str = answer.json["case_id"]
    return found


async def shown(exchange: World, case: str) -> dict[str, Any]:
    found: dict[str, Any] = (await cases(exchange, "show", case, "--json")).json
    return found


async def test_the_ladder_with_two_officers_and_an_appeal(exchange: World, tmp_path: Path) -> None:
    north = await exchange.client(NORTH)
    now = int(exchange.deployment.clock.read_text())
    report = draft(1, now=now, grade=EVIDENCE_GRADE_CORROBORATED)
    signal = (await north.publish([report])).signal_ids[0].hex()
    case = await opened(exchange, 1)
    asked = await cases(exchange, "explain", case, "--days", "6", "--language", "en")
    assert asked.code == 0, asked.err
    assert "advice-explain" in asked.err
    assert "may come next" in asked.err

    early = await cases(exchange, "restrict", case, "--evidence", f"signal:{signal}")
    assert early.code == 1
    assert "ask for an explanation first: signalexchange cases explain" in early.err
    bare = await cases(exchange, "intercept", case)
    assert bare.code != 0
    assert "evidence" in bare.err

    letter = tmp_path / "letter.txt"
    letter.write_text("the goods came late", "utf-8")
    assert (await cases(exchange, "explanation", "received", case, "--file", str(letter))).code == 0
    judged = await cases(
        exchange, "explanation", "unsatisfactory", case, "--evidence", "note:no such order", officer=2
    )
    assert judged.code == 0, judged.err
    restricted = await cases(exchange, "restrict", case, "--evidence", f"signal:{signal}", "--json")
    assert restricted.json["measure"] == "restrict"

    assert (await cases(exchange, "explain", case)).code == 0
    later(exchange, 7)
    frozen = await cases(exchange, "freeze", case, "--evidence", f"signal:{signal}")
    assert frozen.code == 0, frozen.err
    assert f"cases approve {case} freeze" in frozen.err
    own = await cases(exchange, "approve", case, "freeze")
    assert own.code == 1
    assert "let an officer sign who took no part" in own.err
    wrong = await cases(exchange, "approve", case, "restrict", officer=2)
    assert wrong.code == 2
    assert "look at the case again" in wrong.err
    approved = await cases(exchange, "approve", case, "freeze", "--json", officer=2)
    assert approved.json["measure"] == "freeze"

    listed = await cases(exchange, "list", "--unfinished")
    line = next(line.split("\t") for line in listed.out.splitlines() if line.startswith(case))
    assert line[2] == "freeze"
    assert line[-1] == "case-1, loan-1"

    appealed = await cases(exchange, "appeal", "received", case, "--text", "I was abroad", "--signal", signal)
    assert appealed.code == 0, appealed.err
    involved = await cases(exchange, "appeal", "grant", case, officer=2)
    assert involved.code == 1
    granted = await cases(exchange, "appeal", "grant", case, officer=3)
    assert granted.code == 0, granted.err
    found = await shown(exchange, case)
    assert (found["measure"], found["appeal"], found["disputed"]) == ("allow", "granted", False)
    assert [each["officer"] for each in found["steps"]][-1] == "officer-3"
    assert {each["text"] for each in found["records"]} == {
        "the goods came late",
        "no such order",
        "I was abroad",
    }
    table = await cases(exchange, "show", case)
    assert "officer-3\tdecide-appeal\tcash-out-suspected\t-\tgranted" in table.out

    closed = await cases(exchange, "close", case, "--outcome", "inconclusive")
    assert closed.code == 0, closed.err
    again = await cases(exchange, "close", case, "--outcome", "inconclusive")
    assert again.code == 1
    assert (await cases(exchange, "finish", case)).out == "nothing was left to do\n"


async def test_a_confirmed_measure_is_published_and_withdrawn_when_lifted(exchange: World) -> None:
    case = await opened(exchange, 2)
    assert (await cases(exchange, "explain", case)).code == 0
    later(exchange, 7)
    kept = await cases(exchange, "restrict", case, "--evidence", "note:statement of 3 May")
    assert kept.code == 0, kept.err
    closed = await cases(exchange, "close", case, "--outcome", "confirmed")
    assert "sanction published" in closed.out, closed.err
    lifted = await cases(exchange, "lift", case, officer=2)
    assert "own signals withdrawn" in lifted.out, lifted.err
    erased = await cases(exchange, "erase", case)
    assert erased.code == 0, erased.err
    gone = await cases(exchange, "show", case)
    assert gone.code == 1


async def test_wrong_input_is_refused_with_what_to_do(exchange: World) -> None:
    case = await opened(exchange, 3)
    for arguments, why in (
        (("lift", "xyz"), "a case id must be 32 hexadecimal digits"),
        (("restrict", case, "--evidence", "letter.pdf"), "signal:ID, match:ID, look-up:INDEX"),
        (("explanation", "received", case), "--text or --file"),
        (("open", *WHY), "give --match"),
        (("open", "--type", "card", "--subject", "nobody", *WHY), "64 hexadecimal digits"),
        (("open", "--identifier", luhn(3), *WHY), "--identifier needs --type"),
    ):
        answer = await cases(exchange, *arguments)
        assert answer.code == 2, answer.err
        assert why in answer.err
    nameless = await run(exchange, NORTH, "cases", "lift", case)
    assert nameless.code == 2
    assert "say which officer signs: officer-1, officer-2, officer-3" in nameless.err
    nothing = await cases(exchange, "lift", case)
    assert nothing.code == 1
