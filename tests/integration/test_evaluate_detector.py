"""The detectors' evaluation end to end on little data, on a real exchange."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet
import pytest
from signalexchange.detector.trial import Settings
from signalexchange.errors import MalformedError

from exchange.evaluation.detection.plan import WAYS, Plan
from exchange.evaluation.detection.run import run
from exchange.replay.generator import Size, generate
from exchange.replay.transactions import DAY

SIZE = Size(customers=140, terminals=60, days=42, compromised_a_day=0.6, leaked_a_day=0.2)
PLAN = Plan(
    evaluated=12,
    window=7,
    starts=(0, 5),
    learning=0,
    settings=Settings(held_out=4 * DAY, every=20 * DAY, frauds=5, rounds=20, leaf_rows=20),
    cards=5,
)


def test_four_members_on_a_real_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    run(tmp_path / "report", None, SIZE, PLAN)
    report = json.loads((tmp_path / "report" / "detector.json").read_text())
    (data,) = report["data"]
    assert data["exchange"]["signals"] > 50
    assert 0 < data["exchange"]["hits"] < data["exchange"]["asked"]
    assert [window["to"] for window in data["windows"]] == ["2026-02-10", "2026-02-15"]
    for way in WAYS:
        assert 0.5 < data["mean"][way]["roc_auc"] <= 1
        assert 0 < data["mean"][way]["average_precision"] <= 1
        assert set(data["mean"][way]["scenarios"]) == {"2", "3"}
    assert data["models"]["exchange"]["took_over"] >= 1
    assert "precision, 5 cards a day" in capsys.readouterr().out
    # Neither keys nor payments of anybody are left behind, nor a process that names them.
    assert not list(scratch.iterdir())
    commands = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    assert not any(str(scratch).encode() in command for command in commands)


def test_too_few_days_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.parquet"
    pyarrow.parquet.write_table(generate(1, Size(customers=10, terminals=5, days=5)), path)
    with pytest.raises(
        MalformedError, match=r"short\.parquet: column TX_DATETIME spans 5 days; there must be 59"
    ):
        run(tmp_path / "report", path)


@pytest.mark.parametrize("library", ["lightgbm", "pyarrow"])
def test_it_says_what_to_install(library: str) -> None:
    script = (
        f"import sys; sys.modules[{library!r}] = None; "
        "from exchange.cli import main; main(['evaluate-detector'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: the evaluation needs {library}: install partner-signal-exchange with its extra [demo]\n"
    )


LEARNING = """
import sys
import time
from pathlib import Path
import numpy as np
from rich.console import Console
from signalexchange.detector.trial import Settings
from exchange.evaluation.detection.evaluating import decided
from exchange.evaluation.detection.plan import ROW, Plan
from exchange.evaluation.detection.watching import Watched
from exchange.replay.books import keep, read_payments
from exchange.replay.generator import START, Size, generate
from exchange.replay.transactions import DAY

folder = Path(sys.argv[1])
keep(generate(1, Size(customers=60, terminals=20, days=40, compromised_a_day=0.5)), folder / "books.parquet")
payments = list(read_payments(folder / "books.parquet"))
rows = np.random.default_rng(1).normal(size=(len(payments), len(ROW)))
Watched.of(payments, rows.astype(np.float32)).write(folder / "rows.npz")
plan = Plan(evaluated=10, learning=0, settings=Settings(held_out=4 * DAY, frauds=2, rounds=5_000))
decided([folder / "rows.npz"], folder / "books.parquet", plan, START, 40, Console())
"""


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def test_an_interruption_ends_every_process_that_learns(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-c", LEARNING, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"learning and deciding")
        learning = children(process.pid)
        assert learning
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) != 0
        # multiprocessing's own tracker of resources ends a moment after those it serves.
        last = time.monotonic() + 30
        while any(Path(f"/proc/{pid}").exists() for pid in learning):
            assert time.monotonic() < last
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()
