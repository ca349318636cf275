"""The command `signalexchange publish-flows` as members type it, against a running exchange."""

import asyncio
import csv
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner, Result
from signalexchange.cli import main

from tests.support.sdk import World, world

online = pytest.mark.asyncio(loop_scope="module")
NOW = int(time.time()) - 3 * 86_400
SHOP = "91350211M000100Y46"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exchange(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("world"), types=("phone", "account", "merchant")) as running:
        yield running


def phone(number: int) -> str:
    return f"+86138{number:08d}"


def account(number: int) -> str:
    return f"bank:{number:08d}"


def write(path: Path, *rows: dict[str, Any]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def transfers(*rows: tuple[int, int, int, int]) -> list[dict[str, Any]]:
    """Hour, payer, payee, amount."""
    return [
        {"time": NOW + hour * 3600, "payer": account(payer), "payee": account(payee), "amount": amount}
        for hour, payer, payee, amount in rows
    ]


HOP = transfers((1, 1, 2, 10_000), (3, 2, 3, 9_300), (4, 8, 9, 120))
ACCOUNTS = ("--type", "payer=account", "--type", "payee=account")


async def run(world: World, party: str, *arguments: str) -> tuple[int, str, str]:
    """Run the command as the party, in a process of its own: exit code and both outputs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "from signalexchange.cli import main; main()"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "SIGNALEXCHANGE_CONFIG": str(world.config_path(party))},
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@online
async def test_four_columns_are_enough_and_a_file_is_published_once(exchange: World, tmp_path: Path) -> None:
    path = write(tmp_path / "north.csv", *HOP)
    code, out, err = await run(exchange, "bank-north", "publish-flows", str(path), *ACCOUNTS, "--json")
    assert code == 0, err
    first = json.loads(out)
    assert (first["rows"], first["customers"], first["published_rows"]) == (3, 3, 2)
    assert first["signals"] == {"pass-through": 2}
    assert (first["left_out"], [each["repeated"] for each in first["batches"]]) == ([], [False])
    shuffled = write(tmp_path / "north.csv", *HOP)
    _, out, _ = await run(exchange, "bank-north", "publish-flows", str(shuffled), *ACCOUNTS, "--json")
    assert [each["repeated"] for each in json.loads(out)["batches"]] == [True]
    code, out, err = await run(exchange, "bank-south", "publish-flows", str(path), *ACCOUNTS)
    assert code == 0, err
    assert "rows published\t2 (66.67%)" in out
    assert "2 signals acknowledged in 1 batches" in err


@online
async def test_purchases_of_phones_at_merchants(exchange: World, tmp_path: Path) -> None:
    rows = [
        {"time": NOW + n, "payer": phone(n), "payee": SHOP, "amount": amount}
        for n, amount in enumerate((4_900, 35, 20, 12))
    ]
    path = write(tmp_path / "lotus.csv", *rows)
    types = ("--type", "payer=phone", "--type", "payee=merchant")
    code, out, err = await run(exchange, "pay-lotus", "publish-flows", str(path), *types, "--json")
    assert code == 0, err
    assert json.loads(out)["signals"] == {"credit-purchase": 1}


@online
async def test_what_many_share_is_published_as_shared(exchange: World, tmp_path: Path) -> None:
    path = write(tmp_path / "north.csv", *transfers((1, 31, 99, 9_000), (2, 99, 33, 8_500)))
    shared = write(tmp_path / "shared.csv", {"type": "account", "value": account(99)})
    options = (*ACCOUNTS, "--shared", str(shared))
    for member in ("bank-north", "bank-south"):
        code, out, err = await run(exchange, member, "publish-flows", str(path), *options, "--json")
        assert code == 0, err
        assert json.loads(out)["signals"] == {"shared-value": 1}
        assert json.loads(out)["published_rows"] == 0
    code, out, err = await run(exchange, "bank-north", "matches", "set-aside", "--json")
    assert code == 0, err
    assert [each["reason"] for each in json.loads(out)] == ["known-shared"]
    write(shared, {"type": "account", "value": ""})
    code, out, err = await run(exchange, "bank-north", "publish-flows", str(path), *options)
    assert (code, out) == (2, "")
    assert "shared.csv, row 1, column value" in err


@online
async def test_what_may_not_be_published_is_counted_and_said(exchange: World, tmp_path: Path) -> None:
    later = transfers((24 * 30, 4, 5, 10_000), (24 * 30 + 1, 5, 6, 9_000))
    path = write(tmp_path / "north.csv", *transfers((1, 11, 12, 9_000), (2, 12, 13, 8_500)), *later)
    code, out, err = await run(exchange, "bank-north", "publish-flows", str(path), *ACCOUNTS, "--json")
    assert code == 0, err
    assert json.loads(out)["left_out"] == [
        {"code": "pass-through", "field": "last_seen", "why": "in the future", "signals": 2}
    ]
    path = write(tmp_path / "shop.csv", *later)
    code, out, err = await run(exchange, "bank-north", "publish-flows", str(path), *ACCOUNTS)
    assert (code, out) == (2, "")
    assert "2 pass-through, last_seen: in the future" in err


async def test_a_replay_takes_old_flows(tmp_path: Path) -> None:
    clock = 1_500_000_000
    old = [{**row, "time": row["time"] - NOW + clock - 86_400} for row in HOP]
    path = write(tmp_path / "north.csv", *old)
    async with world(tmp_path / "world", types=("account",), clock=clock) as replay:
        code, out, err = await run(replay, "bank-north", "publish-flows", str(path), *ACCOUNTS, "--json")
    assert code == 0, err
    assert (json.loads(out)["signals"], json.loads(out)["left_out"]) == ({"pass-through": 2}, [])


def invoke(*arguments: object) -> Result:
    """Run what needs no exchange in this process."""
    return CliRunner().invoke(main, ["publish-flows", *map(str, arguments)])


def test_a_dry_run_needs_no_exchange(tmp_path: Path) -> None:
    path = write(tmp_path / "north.csv", *HOP[1:], *HOP[:1])
    ran = invoke(path, *ACCOUNTS, "--dry-run")
    assert ran.exit_code == 0
    assert "signals pass-through\t2" in ran.stdout
    ran = invoke(write(tmp_path / "dull.csv", HOP[2]), *ACCOUNTS, "--dry-run", "--json")
    assert (ran.exit_code, json.loads(ran.stdout)["sent"]) == (0, False)


def test_bad_rows_are_listed_and_nothing_is_sent(tmp_path: Path) -> None:
    bad = [{**HOP[0], "payee": account(1)}] * 40
    ran = invoke(write(tmp_path / "bad.csv", *HOP, *bad), *ACCOUNTS)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "nothing was sent; faults: 40, the first 32 are" in ran.stderr
    assert "row 4, column payee: is the payer: a flow to oneself moves nothing" in ran.stderr
    assert account(1) not in ran.stderr
    assert ran.stderr.count("a flow to oneself") == 32


@pytest.mark.parametrize(
    ("types", "why"),
    [
        (("--type", "payer=account"), "the type of payee is missing"),
        (("--type", "payer=device"), "TYPE one of"),
        (("--type", "amount=account"), "payer=TYPE or payee=TYPE"),
        ((*ACCOUNTS, "--type", "payer=iban"), "each once"),
    ],
)
def test_wrong_types_are_refused(tmp_path: Path, types: tuple[str, ...], why: str) -> None:
    ran = invoke(write(tmp_path / "north.csv", *HOP), *types)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert why in " ".join(ran.stderr.split())


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,payer,payee,amount\n")
    ran = invoke(tmp_path / "a.csv", *ACCOUNTS, "--dry-run")
    assert ran.exit_code == 2
    assert "holds no flows" in ran.stderr
