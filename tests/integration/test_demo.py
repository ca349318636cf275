"""The demo end to end on a small file, in its own process as an operator would start it."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.csv
import pytest

from exchange.replay import generator
from exchange.replay.transactions import DAY

pytestmark = pytest.mark.timeout(300)
SIZE = generator.Size(customers=80, terminals=60, days=33, compromised_a_day=0.3, leaked_a_day=0.1)
PATIENCE = 120


@pytest.fixture(scope="module")
def transactions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "transactions.csv"
    pyarrow.csv.write_csv(generator.generate(11, SIZE), path)
    return path


def left_running(folder: Path) -> list[str]:
    """Command lines of processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def pid_of(folder: Path, what: str) -> int:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"exchange.cli {what}" in line and str(folder) in line:
            return int(path.parent.name)
    raise AssertionError(f"no process {what}")


@contextmanager
def demo(folder: Path, transactions: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = ["-m", "exchange.cli", "demo", "--folder", str(folder), "--transactions", str(transactions)]
    process = subprocess.Popen(
        [sys.executable, *command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)
        assert process.stdout is not None
        process.stdout.close()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Output up to and with the line that holds `text`."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} never came:\n{seen}")


def paste(command: list[str]) -> str:
    """Run a command as printed; its output."""
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_whole_job_on_a_file(tmp_path: Path, transactions: Path) -> None:
    folder = tmp_path / "demo"
    with demo(folder, transactions, "--keep") as process:
        output = read_until(process, "Ctrl-C ends it")
        commands = [shlex.split(line) for line in output.splitlines() if line.startswith("signalexchange ")]
        *typed, verify = commands
        lookups = [command for command in typed if "look-up" in command]
        assert {Path(command[2]).parent.name for command in lookups} == {
            "bank-north",
            "bank-south",
            "pay-lotus",
            "shop-river",
        }
        assert "terminal-compromised" in paste(lookups[0])
        cases = [paste(command) for command in typed if "cases" in command]
        assert sum("inconclusive" in answer for answer in cases) == 1
        assert "verified: exchange.test/demo/replay" in paste(verify)
        assert left_running(folder)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert left_running(folder) == []

    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    frauds = [row for row in generator.generate(11, SIZE).to_pylist() if row["TX_FRAUD"]]
    last = generator.START + (SIZE.days - 1) * DAY
    known = [f for f in frauds if int(f["TX_DATETIME"].timestamp()) + 7 * DAY <= last]
    assert found["members"] == 4
    assert found["signals_published"] == len(known)
    assert found["lookups"] == 4 * SIZE.days
    assert 0 < found["average_precision"]["own_view"] <= 1
    assert 0 < found["average_precision"]["with_exchange"] <= 1
    assert found["cases"]["appeal_paused"] is True
    assert found["cases"]["acknowledged"] == found["cases"]["corrections"] >= 2
    assert found["cases"]["lifted"] is True
    assert found["disclosure"]["package_verified"] is True
    assert found["disclosure"]["packages"] == 2
    assert found["log"]["verified"] is True
    # the roster, every look-up, every batch, and the control's refusal at least
    assert found["log"]["size"] >= 1 + found["lookups"] + 1
    assert found["raw_identifiers_found_at_hub"] == 0
    assert found["scan"]["control_found"] is True
    assert found["seconds"] > 0


def test_a_dead_hub_ends_the_demo_with_its_name(tmp_path: Path, transactions: Path) -> None:
    folder = tmp_path / "demo"
    with demo(folder, transactions) as process:
        read_until(process, "replaying")
        os.kill(pid_of(folder, "serve"), signal.SIGKILL)
        assert process.stdout is not None
        output = process.stdout.read()
        assert process.wait(PATIENCE) == 1
    assert "hub ended by SIGKILL" in output
    assert "| " in output
    assert left_running(folder) == []


def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path, transactions: Path) -> None:
    folder = tmp_path / "demo"
    with demo(folder, transactions) as process:
        read_until(process, "replaying")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert left_running(folder) == []
