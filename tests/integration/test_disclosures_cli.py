"""Officers at the command line: an inquiry to two members, a package signed by two, verified, assembled."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from signalexchange.package import read_package
from signalexchange.release import release
from signalexchange.v1.disclosure_service_pb2 import (
    DISCLOSURE_DECISION_RELEASED_WHOLE,
    DISCLOSURE_REASON_UNSPECIFIED,
)
from signalexchange.v1.signal_pb2 import WithdrawalReason

from tests.support.cases import officer_sign
from tests.support.commands import Run
from tests.support.officers import run
from tests.support.sdk import World, draft, luhn, world

POLICE, NORTH, SOUTH = "police-one", "bank-north", "bank-south"
REFERENCE = "京公(经)调证字〔2026〕17号"


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as found:
        yield found


def good(result: Run) -> Run:
    assert result.code == 0, result.err
    return result


async def request(exchange: World, *members: str) -> list[dict[str, str]]:
    arguments = ["--instrument", "investigation-order", "--reference", REFERENCE, "--deadline", "10"]
    scope = ["--scope-text", "signals about card 4111 1100 0000 0018", "--officer", "officer-1", "--json"]
    result = await run(exchange, POLICE, "disclosures", "request", *members, *arguments, *scope)
    found: list[dict[str, str]] = result.json
    return found


async def test_a_package_from_request_to_index(exchange: World, tmp_path: Path) -> None:
    north = await exchange.client(NORTH)
    published = await north.publish([draft(1), draft(2), draft(3)])
    await north.withdraw([published.signal_ids[1]], WithdrawalReason.WITHDRAWAL_REASON_REFUTED)
    asked = await request(exchange, NORTH, SOUTH)
    assert [each["member"] for each in asked] == [NORTH, SOUTH]
    assert asked[0]["inquiry"] == asked[1]["inquiry"]
    again = await request(exchange, NORTH, SOUTH)
    assert [each["request"] for each in again] == [each["request"] for each in asked]

    first, second = (each["request"] for each in asked)
    decision, refusal = tmp_path / "decision.json", tmp_path / "refusal.json"
    scope = good(await run(exchange, NORTH, "disclosures", "open-scope", first))
    assert "4111 1100 0000 0018" in scope.out
    listed = (await run(exchange, NORTH, "disclosures", "list", "--unfinished", "--json")).json
    assert [(each["request"], each["reference"], each["state"]) for each in listed] == [
        (first, REFERENCE, "requested")
    ]
    note = tmp_path / "note.txt"
    note.write_text("statement of the branch manager")
    arguments = ["--subject", f"card:{luhn(1)}", "--reference", "case-2", "--attach", str(note)]
    prepared = await run(
        exchange, NORTH, "disclosures", "prepare", first, *arguments, "--with-records",
        "--part", "not-held", "--out", str(decision), "--json",
    )  # fmt: skip
    names = [part["name"] for part in prepared.json["parts"]]
    assert [name for name in names if name.startswith("signals/")] == [
        "signals/0001.json",
        "signals/0002.json",
    ]
    assert decision.stat().st_mode & 0o077 == 0

    early = await run(exchange, NORTH, "disclosures", "submit", str(decision))
    assert early.code == 2
    signing = ["disclosures", "sign", str(decision), "--officer"]
    good(await run(exchange, NORTH, *signing, "officer-1"))
    twice = await run(exchange, NORTH, *signing, "officer-1")
    assert twice.code == 1
    assert "another officer must sign" in twice.err
    shown = (await run(exchange, NORTH, *signing, "officer-3", "--json")).json
    assert shown["signed_by"] == ["officer-1", "officer-3"]
    good(await run(exchange, NORTH, "disclosures", "submit", str(decision)))

    good(
        await run(
            exchange, SOUTH, "disclosures", "refuse", second, "--reason", "not-held", "--out", str(refusal)
        )
    )
    for officer in ("officer-1", "officer-2"):
        good(await run(exchange, SOUTH, "disclosures", "sign", str(refusal), "--officer", officer))
    good(await run(exchange, SOUTH, "disclosures", "submit", str(refusal)))

    folder = tmp_path / "inquiry"
    assembling = ["disclosures", "assemble", asked[0]["inquiry"], "--out", str(folder), "--json"]
    rows = (await run(exchange, POLICE, *assembling, "--officer", "officer-2")).json
    assert [(row["member"], row["state"], row["verified"]) for row in rows] == [
        (NORTH, "received", "yes"),
        (SOUTH, "refused", ""),
    ]
    package = folder / rows[0]["package"]
    assert (await run(exchange, POLICE, *assembling)).json[0]["verified"] == "yes"
    index = (folder / "index.html").read_text("utf-8")
    assert NORTH in index
    assert SOUTH in index

    genesis = ["--genesis", str(exchange.deployment.genesis)]
    page = tmp_path / "page.html"
    checked = await run(
        exchange, POLICE, "evidence", "verify", str(package), *genesis, "--page", str(page), "--json"
    )
    assert checked.json["ok"]
    assert checked.json["checked"]["signals"] == 2
    _, parts = read_package(package.read_bytes())
    assert page.read_bytes() == parts["report.html"]
    html = parts["report.html"].decode()
    assert html.count("WITHDRAWN") == 1
    assert luhn(1) in html, "the record was released"
    assert parts["attachments/note.txt"] == note.read_bytes()

    data = bytearray(package.read_bytes())
    data[len(data) // 2] ^= 1
    package.write_bytes(data)
    broken = await run(exchange, POLICE, "evidence", "verify", str(package), *genesis)
    assert broken.code == 3
    final = (await run(exchange, POLICE, "disclosures", "show", first, "--json")).json
    assert (final["state"], final["decision"], final["reason"]) == ("received", "released_part", "not_held")
    assert len(final["entries"]) == 4


async def test_errors_say_what_to_do(exchange: World, tmp_path: Path) -> None:
    north = await exchange.client(NORTH)
    await north.publish([draft(1)])
    beginning = asyncio.ensure_future(anext(north.disclosures.watch(from_now=True)))
    await asyncio.sleep(0.3)
    (asked,) = await request(exchange, NORTH)
    await asyncio.wait_for(beginning, 10)
    told = good(await run(exchange, NORTH, "disclosures", "watch", "--count", "1", "--json"))
    assert json.loads(told.out)["request"] == asked["request"]
    id_, out = asked["request"], str(tmp_path / "decision.json")
    suspicious = tmp_path / "SAR_2026.txt"
    suspicious.write_text("x")
    worded = tmp_path / "notes.txt"
    worded.write_text("我行已提交可疑交易报告")
    prepare = ["disclosures", "prepare", id_, "--reference", "case-1", "--out", out]
    results = [
        await run(exchange, NORTH, *prepare, "--attach", str(suspicious)),
        await run(exchange, NORTH, *prepare, "--attach", str(worded)),
        await run(exchange, NORTH, "disclosures", "prepare", id_, "--out", out),
        await run(exchange, NORTH, "disclosures", "prepare", id_, "--reference", "none", "--out", out),
        await run(exchange, NORTH, "disclosures", "withdraw", id_, "--officer", "officer-9"),
        await run(exchange, SOUTH, "disclosures", "show", id_),
        await run(exchange, POLICE, "disclosures", "fetch", id_, "--out", out),
    ]
    expected = [
        (3, "report of suspicious transactions"),
        (3, "report of suspicious transactions"),
        (2, "refuse --reason not-held"),
        (2, "no signal under the reference"),
        (2, "officer-1, officer-2, officer-3"),
        (1, "DISCLOSURE_UNKNOWN"),
        (1, "DISCLOSURE_CONFLICT"),
    ]
    for result, (code, text) in zip(results, expected, strict=True):
        assert result.code == code, result.err
        assert text in result.err
    assert "decision.json" not in {path.name for path in tmp_path.iterdir()}  # noqa: ASYNC240
    good(await run(exchange, POLICE, "disclosures", "withdraw", id_, "--officer", "officer-1"))
    late = await run(exchange, NORTH, *prepare)
    assert late.code == 2
    (anew,) = await request(exchange, NORTH)
    assert anew["request"] != id_, "one that has ended is asked anew"


async def test_what_one_member_sent_keeps_no_other_s_from_being_assembled(
    exchange: World, tmp_path: Path
) -> None:
    asked = {each["member"]: each for each in await request(exchange, NORTH, SOUTH)}
    # North's officers sign what their software would not let them sign.
    north, id_ = await exchange.client(NORTH), bytes.fromhex(asked[NORTH]["request"])
    disclosure, _ = await north.disclosures.get(id_)
    roster, whole = await north.roster.roster(), DISCLOSURE_DECISION_RELEASED_WHOLE
    statement = disclosure.request.statement
    decided = release(roster, statement, b"no package", whole, DISCLOSURE_REASON_UNSPECIFIED, north.now())
    for key in ("officer-1", "officer-2"):
        decided = decided.sign(roster, key, officer_sign(exchange.deployment, NORTH, key), north.now())
    await north.disclosures.decide(decided.request_to_hub(roster, north.now()))
    path, id_south = str(tmp_path / "decision.json"), asked[SOUTH]["request"]
    await (await exchange.client(SOUTH)).publish([draft(1)])
    what = ["--subject", f"card:{luhn(1)}", "--out", path]
    good(await run(exchange, SOUTH, "disclosures", "prepare", id_south, *what))
    for key in ("officer-1", "officer-2"):
        good(await run(exchange, SOUTH, "disclosures", "sign", path, "--officer", key))
    good(await run(exchange, SOUTH, "disclosures", "submit", path))
    folder = tmp_path / "inquiry"
    assembling = ["disclosures", "assemble", asked[NORTH]["inquiry"], "--out", str(folder), "--json"]
    for _ in range(2):
        result = await run(exchange, POLICE, *assembling, "--officer", "officer-1")
        assert result.code == 3
        rows = {row["member"]: row for row in json.loads(result.out)}
        assert rows[NORTH]["verified"].startswith("NO: ")
        assert (rows[NORTH]["state"], rows[SOUTH]["state"]) == ("released", "received")
        assert rows[SOUTH]["verified"] == "yes"
        assert SOUTH in (folder / "index.html").read_text("utf-8")
