"""The command `signalexchange` as members and auditors type it, against a running exchange or none."""

import asyncio
import csv
import json
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import pytest
import pytest_asyncio
from click.testing import CliRunner
from signalexchange.cli import main
from signalexchange.entry_payloads import parse_header
from signalexchange.v1.log_entry_pb2 import EntryType

from exchange.pki import Authority
from tests.support.commands import run
from tests.support.exchange import deploy
from tests.support.sdk import PURPOSE, World, luhn, world

online = pytest.mark.asyncio(loop_scope="module")
COLUMNS = ("subject_type", "subject", "code", "confidence", "grade", "first_seen", "last_seen", "valid_days",
           "amount", "reference", "detail")  # fmt: skip


def write_signals(path: Path, numbers: range, **changes: str) -> Path:
    now = int(time.time())
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for number in numbers:
            writer.writerow(
                {
                    "subject_type": "card",
                    "subject": luhn(number),
                    "code": "cash-out-suspected",
                    "confidence": "80",
                    "grade": "corroborated",
                    "first_seen": str(now - 7301),
                    "last_seen": str(now - 3701),
                    "valid_days": "30",
                    "amount": "1234.50",
                    "reference": f"case-{number}",
                    "detail": "asked for cash",
                    **changes,
                }
            )
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exchange(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("world")) as running:
        yield running


@online
async def test_publish_look_up_withdraw_and_verify(exchange: World, tmp_path: Path) -> None:
    signals = write_signals(tmp_path / "signals.csv", range(3))
    published = (await run(exchange, "bank-north", "publish", str(signals), "--json")).json
    assert published["signals"] == 3
    assert [batch["repeated"] for batch in published["batches"]] == [False]
    repeated = (await run(exchange, "bank-north", "publish", str(signals), "--json")).json
    assert repeated["batches"][0] == {**published["batches"][0], "repeated": True}

    asked = [luhn(0), luhn(77)]
    answer = (
        await run(exchange, "bank-south", "look-up", "card", *asked, "--purpose", PURPOSE, "--json")
    ).json
    assert [(each["value"], each["risk"] is not None) for each in answer] == [
        (asked[0], True),
        (asked[1], False),
    ]
    assert answer[0]["risk"]["reasons"] == [{"code": "cash-out-suspected", "contribution": "major"}]
    told = await run(exchange, "bank-south", "look-up", "card", *asked, "--purpose", PURPOSE)
    assert "nothing known" in told.out
    header, first = (line.split("\t") for line in told.out.splitlines()[:2])
    assert header[-1] == "log entry"
    assert int(first[-1]) > answer[0]["access_record"], "what `cases open --look-up` wants"
    assert "cash-out-suspected (major)" in told.out
    tokens = (
        await run(exchange, "bank-south", "tokenise", "card", "--file", "-", stdin=f"{asked[0]}\n\n")
    ).out.split()
    assert tokens == [answer[0]["token"]]
    by_token = await run(
        exchange, "bank-south", "look-up", "card", "--tokens", *tokens, "--purpose", PURPOSE, "--json"
    )
    assert by_token.json[0]["risk"] == answer[0]["risk"]

    refused = await run(exchange, "bank-south", "look-up", "card", asked[0], "--purpose", "curiosity")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("signalexchange: PURPOSE_NOT_ALLOWED: ")
    assert refused.err.count("\n") == 1

    (signal_id, *_) = published["batches"][0]["signals"]
    shown = (await run(exchange, "bank-north", "journal", "show", signal_id, "--json")).json
    assert shown["reference"] == "case-0"
    found = (await run(exchange, "bank-north", "journal", "find", "--token", tokens[0], "--json")).json
    assert [each["signal_id"] for each in found["signals"]] == [signal_id]

    evidence = tmp_path / "evidence"
    disclosed = await run(
        exchange, "bank-north", "log", "disclose", signal_id, "--into", str(evidence), "--json"
    )
    assert disclosed.json["index"] == published["batches"][0]["index"]
    withdrawn = await run(
        exchange, "bank-north", "withdraw", "--reference", "case-1", "--reason", "refuted", "--json"
    )
    assert withdrawn.json["signals"] == 1
    (order,) = withdrawn.json["orders"]
    assert len(order["signals"]) == 1
    assert order["signals"][0] in published["batches"][0]["signals"]

    fetched = (await run(exchange, "bank-north", "log", "fetch", str(evidence), "--json")).json
    assert fetched["receipts"] == 2
    anchor = ("--genesis", str(exchange.deployment.genesis))
    verified = CliRunner().invoke(main, ["log", "verify", str(evidence), *anchor, "--json"])
    assert verified.exit_code == 0, verified.output
    report = json.loads(verified.stdout)
    assert report["ok"]
    assert (report["size"], report["verified"]["receipts"], report["verified"]["disclosures"]) == (
        fetched["size"], 2, 1,
    )  # fmt: skip
    again = (await run(exchange, "bank-north", "log", "fetch", str(evidence), "--json")).json
    assert again["size"] == fetched["size"]


@online
async def test_an_auditor_opens_everything_and_finds_what_was_altered(
    exchange: World, tmp_path: Path
) -> None:
    await run(exchange, "shop-river", "publish", str(write_signals(tmp_path / "a.csv", range(100, 102))))
    evidence = tmp_path / "evidence"
    fetched = await run(exchange, "audit-one", "log", "fetch", str(evidence))
    assert fetched.code == 0, fetched.err
    anchor = ["--genesis", str(exchange.deployment.genesis)]
    verified = CliRunner().invoke(main, ["log", "verify", str(evidence), *anchor])
    assert verified.exit_code == 0, verified.output
    assert "verified: exchange.test/signals" in verified.stdout
    openings = evidence / "openings.jsonl"
    lines = openings.read_text().splitlines()
    found = [json.loads(line) for line in lines]
    (batch,) = (
        at
        for at, each in enumerate(found)
        if "payload" in each
        and parse_header(b64decode(each["header"])).type == EntryType.ENTRY_TYPE_BATCH
        and parse_header(b64decode(each["header"])).member == "shop-river"
    )
    opening = found[batch]
    payload = b64decode(opening["payload"])
    opening["payload"] = b64encode(payload[:-1] + bytes([payload[-1] ^ 1])).decode()
    lines[batch] = json.dumps(opening)
    openings.write_text("\n".join(lines) + "\n")
    altered = CliRunner().invoke(main, ["log", "verify", str(evidence), *anchor])
    assert altered.exit_code == 3
    assert "PROBLEM" in altered.stdout
    assert "NOT verified" in altered.stdout


@online
async def test_subscribe_and_watch(exchange: World, tmp_path: Path) -> None:
    watched = luhn(200)
    ends = (
        await run(exchange, "pay-lotus", "subscribe", "card", watched, "--purpose", PURPOSE, "--json")
    ).json
    assert ends["subscribed"] == 1
    watching = asyncio.ensure_future(
        run(exchange, "pay-lotus", "watch", "--from-now", "--count", "1", "--json")
    )
    signals = write_signals(tmp_path / "a.csv", range(200, 201))
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        number = 0
        # The watch begins some time after it was started: publish until it is told of something.
        while not watching.done():
            number += 1
            write_signals(signals, range(200, 201), reference=f"case-{number}")
            await run(exchange, "bank-north", "publish", str(signals))
    event = json.loads((await watching).out)
    assert (event["change"], event["own"], event["references"]) == ("recorded", False, [watched])
    ended = await run(exchange, "pay-lotus", "unsubscribe", "card", watched, "--json")
    assert ended.json == {"removed": 1}


@online
async def test_the_log_and_the_roster_are_shown_and_proved(exchange: World, tmp_path: Path) -> None:
    note = await run(exchange, "shop-river", "log", "checkpoint")
    assert note.out.startswith("exchange.test/signals\n")
    proof = tmp_path / "0.tlog-proof"
    proved = await run(exchange, "shop-river", "log", "prove", "0", "--output", str(proof), "--json")
    assert proved.json["index"] == 0
    assert proof.read_text().startswith("c2sp.org/tlog-proof@v1\nindex 0\n")
    beyond = await run(exchange, "shop-river", "log", "prove", "99999")
    assert beyond.code == 1
    assert "BEYOND_LOG" in beyond.err
    opened = (await run(exchange, "shop-river", "log", "open", "0", "--json")).json
    assert opened[0]["type"] == "roster"
    assert json.loads(opened[0]["payload"]["note"].split("\n\n")[0])["version"] == 1
    shown = (await run(exchange, "shop-river", "roster", "show", "--json")).json
    assert {party["id"] for party in shown["parties"]} >= {"bank-north", "shop-river"}
    verified = (await run(exchange, "shop-river", "roster", "verify", "--json")).json
    assert verified["versions"][0]["log_entry"] == 0


@online
async def test_a_folder_that_cannot_be_made_is_one_line(exchange: World) -> None:
    refused = await run(exchange, "shop-river", "log", "fetch", "/proc/nowhere")
    assert refused.code == 2
    assert refused.err.startswith("signalexchange: /proc/nowhere: ")
    assert refused.err.count("\n") == 1


@online
async def test_a_hub_of_another_authority_or_name_is_one_sentence(exchange: World, tmp_path: Path) -> None:
    path = exchange.config_path("shop-river")
    text = path.read_text()
    Authority.create(tmp_path / "other")
    target = "[hub]\ntarget = "
    for name, changed in (
        ("authority", text.replace('"ca.pem"', f'"{tmp_path / "other" / "ca.pem"}"')),
        ("name", text.replace(target, '[hub]\nserver_name = "hub.elsewhere"\ntarget = ')),
    ):
        wrong = path.with_name(f"wrong-{name}.toml")
        wrong.write_text(changed)
        refused = await run(exchange, "shop-river", "--config", str(wrong), "log", "checkpoint")
        assert refused.code == 4
        assert "the peer's certificate is not of the configured authority" in refused.err
        assert refused.err.count("\n") == 1, refused.err


@online
async def test_the_doctor_finds_all_well_and_names_what_is_not(exchange: World) -> None:
    well = await run(exchange, "bank-south", "doctor", "--json")
    assert {each["check"] for each in well.json if each["ok"]} >= {"hub", "log", "signing key", "journal"}
    assert sum(each["check"].startswith("custodian ") for each in well.json) == 3
    path = exchange.config_path("bank-south")
    text = path.read_text()
    port = exchange.network.ports["custodian-b"]
    lame = path.with_name("lame.toml")
    lame.write_text(text.replace(f"127.0.0.1:{port}", "127.0.0.1:1"))
    ill = await run(exchange, "bank-south", "--config", str(lame), "doctor", "--json")
    assert ill.code == 1
    assert [each["check"] for each in json.loads(ill.out) if not each["ok"]] == ["custodian custodian-b"]


@online
async def test_the_doctor_finds_too_few_custodians(exchange: World) -> None:
    path = exchange.config_path("bank-south")
    text = path.read_text()
    for name in ("custodian-b", "custodian-c"):
        text = text.replace(f"127.0.0.1:{exchange.network.ports[name]}", "127.0.0.1:1")
    lame = path.with_name("lamer.toml")
    lame.write_text(text)
    ill = await run(exchange, "bank-south", "--config", str(lame), "doctor", "--json")
    assert ill.code == 1
    bad = {each["check"]: each["found"] for each in json.loads(ill.out) if not each["ok"]}
    assert set(bad) == {"custodian custodian-b", "custodian custodian-c", "custodians"}
    assert bad["custodians"].startswith("1 of 3 answer, and a token takes 2")


@online
async def test_the_doctor_finds_another_partys_certificate(exchange: World) -> None:
    path = exchange.config_path("bank-north")
    text = path.read_text()
    for name in ("tls.pem", "tls.key"):
        text = text.replace(f'"{name}"', f'"../bank-south/{name}"')
    mixed = path.with_name("mixed.toml")
    mixed.write_text(text)
    ill = await run(exchange, "bank-north", "--config", str(mixed), "doctor", "--json")
    assert ill.code == 1
    bad = {each["check"]: each["found"] for each in json.loads(ill.out) if not each["ok"]}
    assert set(bad) == {"identity"}
    assert "that of bank-south, not bank-north's" in bad["identity"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A member's configuration with nobody at the other end."""
    return deploy(tmp_path_factory.mktemp("alone")).party_config("bank-north")


def invoke(config: Path, *arguments: str, **options: Any) -> Any:
    return CliRunner().invoke(main, ["--config", str(config), *arguments], **options)


def test_a_dry_run_shows_every_field_and_sends_nothing(alone: Path, tmp_path: Path) -> None:
    signals = write_signals(tmp_path / "a.csv", range(2))
    shown = invoke(alone, "publish", str(signals), "--dry-run", "--rows", "1")
    assert shown.exit_code == 0, shown.output
    lines = dict(line.split("\t", 1) for line in shown.stdout.splitlines() if "\t" in line)
    assert lines["amount"] == "1234.50 CNY\tband 75 of 255"
    assert lines["subject"].endswith("\tcard: a token of 32 bytes; the custodians were not asked")
    assert lines["reference"].endswith("\tstays here, in the encrypted journal")
    assert "2 signals in 1 batches; nothing was sent to the hub; custodians were not asked" in shown.stderr
    document = json.loads(invoke(alone, "publish", str(signals), "--dry-run", "--json").stdout)
    assert (document["sent"], document["custodians_asked"], len(document["rows"])) == (False, 0, 2)
    after = {each["field"]: each["after"] for each in document["rows"][1]["fields"]}
    for secret in (luhn(1), "case-1", "1234.50", "asked for cash"):
        assert not any(secret in text for text in after.values())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"subject": "4111111111111112"}, "row 1, column subject: not a valid card"),
        ({"confidence": "101"}, "row 1, confidence: must be 0 to 100"),
        ({"last_seen": "4000000000"}, "row 1, last_seen: in the future"),
        ({"code": "Nonsense!"}, "row 1, code: not an indicator code"),
    ],
)
def test_a_bad_row_is_named_before_anything_leaves(
    alone: Path, tmp_path: Path, changes: dict[str, str], expected: str
) -> None:
    signals = write_signals(tmp_path / "a.csv", range(1), **changes)
    refused = invoke(alone, "publish", str(signals), "--dry-run")
    assert refused.exit_code == 2
    assert expected in refused.stderr
    assert changes.get("subject", "4111111111111112") not in refused.stderr.replace(str(signals), "")


def test_all_bad_rows_are_counted_and_the_first_named(alone: Path, tmp_path: Path) -> None:
    signals = write_signals(tmp_path / "a.csv", range(30), subject="4111111111111112")
    rows = signals.read_text().splitlines()
    worse = write_signals(tmp_path / "b.csv", range(10), confidence="101").read_text().splitlines()
    signals.write_text("\n".join([*rows, *worse[1:]]) + "\n")
    refused = invoke(alone, "publish", str(signals), "--dry-run")
    assert refused.exit_code == 2
    assert "nothing was sent; faults: 40, the first 32 are: " in refused.stderr
    assert "row 1, column subject: not a valid card" in refused.stderr
    assert "row 32, confidence: must be 0 to 100" in refused.stderr
    assert "row 33" not in refused.stderr
    assert "4111111111111112" not in refused.stderr


def test_exit_codes_and_one_line_errors(alone: Path, tmp_path: Path) -> None:
    unreachable = invoke(alone, "look-up", "card", luhn(1), "--purpose", PURPOSE)
    assert unreachable.exit_code == 4
    assert "signalexchange doctor" in unreachable.stderr
    assert unreachable.stderr.count("\n") == 1
    missing = invoke(tmp_path / "none.toml", "doctor", "--json")
    assert missing.exit_code == 1
    assert "can't read the configuration" in missing.stdout
    assert invoke(tmp_path / "none.toml", "look-up", "card", "x", "--purpose", PURPOSE).exit_code == 2
    assert invoke(alone, "look-up", "card", luhn(1)).exit_code == 2
    assert invoke(alone, "look-up", "telephone", "1", "--purpose", PURPOSE).exit_code == 2
    assert invoke(alone, "tokenise", "card").exit_code == 2
    assert invoke(alone, "journal", "show", "abc").exit_code == 2
    assert invoke(alone, "withdraw", "--reason", "refuted").exit_code == 2
    assert invoke(alone, "withdraw", "--reference", "nobody", "--reason", "refuted").exit_code == 2
    (tmp_path / "empty").mkdir()
    unverified = invoke(alone, "log", "verify", str(tmp_path / "empty"))
    assert unverified.exit_code == 3


@pytest.mark.parametrize(
    "command",
    [("tokenise",), ("look-up", "--purpose", PURPOSE), ("subscribe", "--purpose", PURPOSE), ("unsubscribe",)],
)
def test_a_file_of_values_that_is_not_text_is_one_line(
    alone: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    values = tmp_path / "values"
    values.write_bytes(b"+8613800138000\n\xff\xfe\n")
    refused = invoke(alone, command[0], "phone", *command[1:], "--file", str(values))
    assert refused.exit_code == 2
    assert isinstance(refused.exception, SystemExit)
    assert refused.stderr.splitlines()[-1] == f"Error: --file {values}: not text in UTF-8"


def test_the_journal_without_a_hub(alone: Path) -> None:
    assert json.loads(invoke(alone, "journal", "list", "--json").stdout) == []
    assert json.loads(invoke(alone, "journal", "pending", "--json").stdout) == []
    nothing = json.loads(invoke(alone, "journal", "find", "--reference", "case-1", "--json").stdout)
    assert nothing == {"signals": [], "references": ["case-1"], "tokens": []}
    assert "no fork of exchange.test/signals was seen" in invoke(alone, "log", "fork").stdout
    other = alone.with_name("other.toml")
    other.write_text(alone.read_text().replace('"journal.key"', '"other.key"'))
    assert invoke(other, "journal", "init").exit_code == 0
    assert invoke(other, "journal", "init").exit_code == 2
    assert alone.with_name("other.key").stat().st_mode & 0o077 == 0
    assert invoke(other, "journal", "list").exit_code == 3


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize("path", commands(main), ids="-".join)
def test_every_command_explains_itself_and_its_options(path: tuple[str, ...]) -> None:
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    assert command.help
    assert len(command.help) > 25
    for parameter in command.params:
        assert isinstance(parameter, click.Argument) or parameter.help
    assert CliRunner().invoke(main, [*path, "--help"]).exit_code == 0
