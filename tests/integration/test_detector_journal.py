"""What the detector keeps: through crashes, full disks, other settings, and against a second process."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange.detector import detector as detector_module
from signalexchange.detector.arrivals import Arrival, Label
from signalexchange.detector.detector import Detector, StoppedError, Told
from signalexchange.detector.engine import WAIT
from signalexchange.detector.journal import BATCH, DECISION, DetectorJournal
from signalexchange.detector.settings import DetectorSettings
from signalexchange.detector.snapshot import newest_snapshot
from signalexchange.detector.transactions import Rejected, Transaction
from signalexchange.errors import ConfigError, MalformedError, VerificationError
from signalexchange.sealed_store import JournalError

from tests.support import detector_stream as made
from tests.support.detect import Bench, summary
from tests.support.faults import Disk, has_compiler

T0 = made.START
SETTINGS = made.settings()


class Opened:
    """A detector on a folder; `crash` leaves the folder as a dead process would."""

    def __init__(self, folder: Path, settings: DetectorSettings = SETTINGS) -> None:
        self.journal = DetectorJournal(folder)
        try:
            self.detector = Detector.open(settings, self.journal)
        except BaseException:
            self.journal.close()
            raise

    async def feed(self, arrivals: Sequence[Arrival], size: int = 100) -> list[Told]:
        told = []
        for start in range(0, len(arrivals), size):
            told += (await self.detector.take(arrivals[start : start + size]))[0]
        await self.detector.learned()
        return told

    def state(self) -> list[Any]:
        return [json.loads(json.dumps(record)) for record in self.detector.engine.state()]

    def crash(self) -> None:
        self.journal.close()

    async def end(self) -> None:
        await self.detector.close()
        self.journal.close()


def stored(folder: Path, kind: int) -> int:
    database = sqlite3.connect(folder / "journal.db")
    try:
        return int(database.execute("SELECT count(*) FROM record WHERE kind = ?", (kind,)).fetchone()[0])
    finally:
        database.close()


def change(folder: Path, statement: str) -> None:
    database = sqlite3.connect(folder / "journal.db")
    try:
        database.execute(statement)
        database.commit()
    finally:
        database.close()


async def fed(folder: Path, count: int = 250, *, crash: bool = False) -> list[Told]:
    opened = Opened(folder)
    told = await opened.feed(made.stream(count))
    if crash:
        opened.crash()
    else:
        await opened.end()
    return told


labelled = st.tuples(st.integers(0, 29), st.booleans(), st.none() | st.integers(0, 400))


@settings(max_examples=25)
@given(
    batches=st.lists(st.lists(st.integers(0, 29) | labelled, max_size=8), min_size=1, max_size=6),
    lateness=st.sampled_from((0, 200)),
    snapshots=st.sets(st.integers(0, 5)),
)
async def test_after_a_crash_at_any_batch_the_state_is_what_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[Any]],
    lateness: int,
    snapshots: set[int],
) -> None:
    folder = tmp_path_factory.mktemp("state")
    chosen = made.settings(lateness=lateness)
    rows = made.stream(30)
    opened = Opened(folder, chosen)
    whole = Opened(tmp_path_factory.mktemp("whole"), chosen)
    numbers: list[int] = []
    for number, batch in enumerate(batches):
        arrivals: list[Arrival] = []
        for each in batch:
            if isinstance(each, int):
                arrivals.append(rows[each])
            else:
                index, fraud, later = each
                at = None if later is None else rows[index].time + later
                arrivals.append(Label(rows[index].id, fraud, at, "labels, row 1"))
        told, rejected = await opened.detector.take(arrivals)
        same_told, same_rejected = await whole.detector.take(arrivals)
        assert [each[1:] for each in told] == [each[1:] for each in same_told]
        assert list(map(str, rejected)) == list(map(str, same_rejected))
        numbers += [each.number for each in told]
        await opened.detector.learned()
        await whole.detector.learned()
        before = opened.state()
        if number in snapshots:
            await opened.end()
        else:
            opened.crash()
        opened = Opened(folder, chosen)
        assert opened.state() == before == whole.state()
    last = await opened.detector.finish()
    assert [each[1:] for each in last] == [each[1:] for each in await whole.detector.finish()]
    numbers += [each.number for each in last]
    assert numbers == sorted(set(numbers))
    for one in (opened, whole):
        await one.end()


async def test_a_label_counts_for_the_very_next_transaction_whatever_the_batches(tmp_path: Path) -> None:
    rows = [
        Transaction(f"t-{number}", T0 + number * 100, "c", 1_000 if number < 12 else 900_000, merchant="m")
        for number in range(14)
    ]
    arrivals: list[Arrival] = [*rows[:12], Label("t-3", True, T0 + 1_150), *rows[12:]]
    outcomes = []
    for size in (1, 5, 12, 14, 100):
        opened = Opened(tmp_path / str(size))
        told = await opened.feed(arrivals, size)
        outcomes.append([each.decision for each in told])
        assert [each.transaction.id for each in told] == [row.id for row in rows]
        await opened.end()
    codes = {reason.code for reason in outcomes[0][12].reasons}
    assert "customer-with-fraud" in codes
    assert all(each == outcomes[0] for each in outcomes)


async def test_a_second_detector_on_the_same_state_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with DetectorJournal(bench.state):
        refused = bench.run("--replay", code=2)
        assert "another detector runs on this state" in refused.err
        with pytest.raises(ConfigError, match="another detector"):
            DetectorJournal(bench.state)
    bench.run("--replay")


async def test_a_wrong_missing_or_damaged_key_is_refused(tmp_path: Path) -> None:
    await fed(tmp_path, 5)
    key = tmp_path / "key"
    text = key.read_text()
    key.write_text("00" * 32)
    with pytest.raises(VerificationError, match="another key"):
        DetectorJournal(tmp_path)
    key.write_text("no key")
    with pytest.raises(ConfigError, match="64 hexadecimal"):
        DetectorJournal(tmp_path)
    key.unlink()
    with pytest.raises(ConfigError, match="key of the journal beside it is missing"):
        DetectorJournal(tmp_path)
    elsewhere = tmp_path.parent / f"{tmp_path.name}-key"
    elsewhere.write_text(text)
    elsewhere.chmod(0o600)
    with DetectorJournal(tmp_path, elsewhere) as journal:
        assert journal.decision("t-1") is not None
    assert not key.exists()


async def test_a_missing_or_altered_batch_is_refused(tmp_path: Path) -> None:
    await fed(tmp_path / "a", crash=True)
    assert stored(tmp_path / "a", BATCH) == 3
    change(
        tmp_path / "a",
        "DELETE FROM record WHERE position ="
        " (SELECT position FROM record WHERE kind = 1 ORDER BY position LIMIT 1 OFFSET 1)",
    )
    with pytest.raises(MalformedError, match="a batch of the journal is missing"):
        Opened(tmp_path / "a")
    await fed(tmp_path / "b", crash=True)
    change(tmp_path / "b", "UPDATE record SET content = zeroblob(80) WHERE kind = 1")
    with pytest.raises(VerificationError):
        Opened(tmp_path / "b")


async def test_closed_in_order_no_batch_is_kept_but_every_decision(tmp_path: Path) -> None:
    told = await fed(tmp_path)
    assert (stored(tmp_path, BATCH), stored(tmp_path, DECISION)) == (0, 250)
    opened = Opened(tmp_path)
    for number, transaction, decision in told:
        found = opened.journal.decision(transaction.id)
        assert found == (number, transaction, decision.document())
    assert opened.journal.decision("t-250") is None
    assert [each.number for each in opened.journal.decisions(told[99].number)] == [
        each.number for each in told[100:]
    ]
    await opened.end()


async def test_decisions_are_forgotten_after_their_days_and_their_labels_are_refused(tmp_path: Path) -> None:
    opened = Opened(tmp_path, made.settings(keep_days=2))
    rows = made.stream(60, every=7_200)
    await opened.feed(rows, 10)
    later = replace(rows[-1], id="later", time=rows[-1].time + 2 * 86_400)
    await opened.feed([later])
    _, rejected = await opened.detector.take(
        [Label("t-0", True, later.time), Label("t-59", True, later.time)]
    )
    assert [each.why for each in rejected] == [
        "a label of a transaction that was not decided, or is forgotten"
    ]
    assert opened.journal.decision("t-0") is None
    assert stored(tmp_path, DECISION) < 40
    found = opened.journal.decision("t-59")
    assert found is not None
    assert found.document["fraud"] is True
    await opened.end()


async def test_a_snapshot_is_made_by_another_process_while_the_stream_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector_module, "SNAPSHOT_EVERY", 200)
    opened = Opened(tmp_path)
    rows = made.stream(1_000)
    await opened.feed(rows[:300])
    assert newest_snapshot(tmp_path) == -1
    number, kept = 300, stored(tmp_path, BATCH)
    async with asyncio.timeout(60):
        while True:
            await opened.detector.take(rows[number : number + 2])
            number += 2
            if stored(tmp_path, BATCH) < kept:
                break
            kept = stored(tmp_path, BATCH)
            await asyncio.sleep(0.05)
    monkeypatch.setattr(detector_module, "SNAPSHOT_EVERY", 10**9)
    assert newest_snapshot(tmp_path) > 0
    await opened.feed(rows[number : number + 10])
    before = opened.state()
    await opened.detector.close()
    opened.crash()
    again = Opened(tmp_path)
    assert again.state() == before
    await again.end()


async def test_a_snapshot_that_fails_is_said_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector_module, "SNAPSHOT_EVERY", 50)
    said: list[str] = []
    with DetectorJournal(tmp_path / "state") as journal:
        detector = Detector.open(SETTINGS, journal, say=said.append)
        journal.key_path = tmp_path / "no-key"
        rows = made.stream(400)
        async with asyncio.timeout(60):
            for row in rows:
                await detector.take([row])
                if said:
                    break
                await asyncio.sleep(0.05)
        assert "a snapshot failed with exit code 1" in said[0]
        monkeypatch.setattr(detector_module, "SNAPSHOT_EVERY", 10**9)
        await detector.close()


async def test_other_windows_are_refused_and_another_lateness_goes_on(tmp_path: Path) -> None:
    opened = Opened(tmp_path, made.settings(lateness=3_600))
    assert await opened.feed(made.stream(30)) == []
    opened.crash()
    with pytest.raises(ConfigError, match=r"other \[windows\] settings: put .*large_factor"):
        Opened(tmp_path, made.settings(lateness=3_600, windows={"large_factor": 4}))
    again = Opened(tmp_path)
    row = replace(made.stream(31)[30], id="last")
    told = await again.feed([row])
    assert len(told) == 31
    again.crash()
    third = Opened(tmp_path)
    assert len(third.detector.engine.order) == 0
    assert third.state() == again.state()
    await third.end()


async def test_a_lower_capacity_of_the_learner_forgets_instead_of_refusing(tmp_path: Path) -> None:
    opened = Opened(tmp_path, made.settings(learning={"capacity": 2_000}))
    await opened.feed(made.stream(1_500), 300)
    await opened.end()
    again = Opened(tmp_path, made.settings(learning={"capacity": 1_000}))
    assert 300 < again.detector.engine.learner.rows <= 1_000
    await again.end()


async def test_what_can_not_be_made_durable_is_not_told_and_ends_the_detector(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    rows = made.stream(30)
    await opened.feed(rows[:10], 5)
    change(
        tmp_path,
        "CREATE TRIGGER full BEFORE INSERT ON record BEGIN SELECT RAISE(ABORT, 'no room'); END",
    )
    with pytest.raises(JournalError):
        await opened.detector.take(rows[10:20])
    change(tmp_path, "DROP TRIGGER full")
    with pytest.raises(JournalError, match="started anew"):
        await opened.detector.take(rows[20:])
    await opened.end()
    assert newest_snapshot(tmp_path) == -1
    again = Opened(tmp_path)
    assert len(await again.feed(rows)) == 20
    await again.end()


async def test_a_row_that_stops_the_run_comes_with_what_was_decided_before_it(tmp_path: Path) -> None:
    opened = Opened(tmp_path, made.settings(on_rejected="stop"))
    rows = made.stream(5)
    with pytest.raises(StoppedError, match="row 4: no") as caught:
        await opened.detector.take([*rows[:3], Rejected("file, row 4", "", "no"), *rows[3:]])
    assert [each.transaction.id for each in caught.value.told] == ["t-0", "t-1", "t-2"]
    assert [each.transaction.id for each in await opened.feed(rows)] == ["t-3", "t-4"]
    await opened.end()


async def test_labels_wait_are_corrected_and_never_go_back(tmp_path: Path) -> None:
    opened = Opened(tmp_path, made.settings(lateness=1_000))
    first = Transaction("t", T0, "c", 100)
    await opened.feed([first, Label("t", True, T0 + 5)])
    assert opened.detector.engine.waiting == {"t": (True, T0 + 5, "")}
    opened.crash()
    opened = Opened(tmp_path, made.settings(lateness=1_000))
    assert opened.detector.engine.waiting == {"t": (True, T0 + 5, "")}
    await opened.feed([Transaction("u", T0 + 2_000, "c", 100)])

    def known() -> tuple[Any, Any]:
        found = opened.journal.decision("t")
        assert found is not None
        return found.document.get("fraud"), found.document.get("labelled_at")

    assert known() == (True, T0 + 5)
    for label, now in (
        (Label("t", False, T0 + 9), (False, T0 + 9)),
        (Label("t", True, T0 + 5), (False, T0 + 9)),
        (Label("t", False, T0 + 9), (False, T0 + 9)),
        (Label("t", True, T0 + 9), (True, T0 + 9)),
    ):
        await opened.feed([label])
        assert known() == now
    counts = opened.detector.engine.counts
    assert (counts["label.fraud"], counts["label.genuine"], counts["label.again"]) == (2, 1, 2)
    assert WAIT not in dict(counts)
    await opened.end()


@pytest.mark.skipif(not has_compiler(), reason="no C compiler (cc) to build the fault injector with")
@pytest.mark.parametrize("how", ["nospace", "readonly"])
def test_on_a_full_disk_nothing_more_is_told_and_once_there_is_room_it_goes_on(
    tmp_path: Path, how: str
) -> None:
    state = tmp_path / "state"
    disk = Disk(tmp_path, state)
    rows = made.stream(40)
    command = [sys.executable, "-c", "from signalexchange.cli import main; main()", "detect", "--replay"]
    settings = tmp_path / "detector.toml"
    settings.write_text("lateness = 0\n")
    command += ["--json", "--state", str(state), "--settings", str(settings)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **disk.environment},
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(map(made.line, rows[:20])))
        process.stdin.flush()
        told = [json.loads(process.stdout.readline())["id"] for _ in range(20)]
        disk.fail(how)
        process.stdin.write("".join(map(made.line, rows[20:])))
        process.stdin.flush()
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert disk.failures
    assert (told, out) == ([row.id for row in rows[:20]], "")
    assert process.returncode == 1
    assert "the journal can't be used" in err
    assert "Traceback" not in err
    disk.heal()
    bench = Bench(tmp_path)
    done = bench.run("--replay", stdin=bench.rows(rows, "stream"))
    assert summary(done)["decided in this run"] == "20"
    assert [each["id"] for each in bench.decided()] == [row.id for row in rows]


def test_a_model_takes_over_is_listed_and_can_be_dropped(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    learning = "delay_days = 0\nheld_out_days = 3\nperiod_days = 28\nevery_hours = 200\nfrauds = 5\n"
    bench.settings(f"lateness = 0\n[thresholds]\nauthenticate = 990\nhold = 1000\n[learning]\n{learning}")
    rows, labels = [], []
    for number, row in enumerate(made.stream(1_500, every=1_152)):
        fraud = number % 9 == 0
        rows.append(replace(row, amount=(400_000 if fraud else 2_000) + number, credit=False))
        if fraud:
            labels.append({"id": row.id, "fraud": 1, "at": row.time + 3_600})
    cut = 1_400
    bench.rows(rows[:cut])
    made.write_rows(tmp_path / "labels.jsonl", labels)
    done = bench.run("rows.jsonl", "--labels", "labels.jsonl")
    assert "model version 1 takes over" in done.err
    before = bench.decided()
    assert (before[0]["model"], before[-1]["model"]) == (0, 1)

    def listed(*arguments: str) -> list[list[str]]:
        process = bench.command(
            "models", "--state", bench.state, "--settings", tmp_path / "detector.toml", *arguments
        )
        assert process.wait() == 0, process.err
        return [line.split("\t") for line in process.out.splitlines()[1:]]

    assert [row[0] for row in listed()] == ["1"]
    assert listed("--rollback") == []
    assert listed("--rollback") == []
    bench.rows(rows)
    bench.run("rows.jsonl", "--labels", "labels.jsonl")
    after = bench.decided()[cut:]
    assert len(after) == 100
    assert {each["model"] for each in after} == {0}


def test_a_snapshot_beside_the_stream_survives_an_interrupt_from_the_keyboard(tmp_path: Path) -> None:
    """Ctrl-C goes to the whole group of processes; what makes a snapshot must not die of it with a trace."""
    launch = (
        "import signalexchange.detector.detector as d; d.SNAPSHOT_EVERY = 100\n"
        "from signalexchange.cli import main; main()"
    )
    rows = made.write_rows(tmp_path / "rows.jsonl", made.stream(900))
    process = subprocess.Popen(
        [sys.executable, "-c", launch, "detect", "--replay", "--json", "--state", str(tmp_path / "state")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(rows.read_text())
        process.stdin.flush()
        for _ in range(600):
            process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert newest_snapshot(tmp_path / "state") > 0
