"""`signalexchange detect` in processes of its own: fed, interrupted, killed, given bad input."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from signalexchange.detector.transactions import Transaction
from signalexchange.sealed_store import create_key

from tests.support import detector_stream as made
from tests.support.detect import Bench, summary

WAITING = "lateness = 300\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def bare(decisions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without their numbers, which are of one journal."""
    return [{key: value for key, value in each.items() if key != "number"} for each in decisions]


def ids(decisions: list[dict[str, Any]]) -> list[str]:
    return [each["id"] for each in decisions]


def whole(bench: Bench, rows: list[Transaction]) -> list[dict[str, Any]]:
    """What the output file holds, which is each row's decision once, with numbers that grow."""
    decisions = bench.decided()
    assert sorted(ids(decisions)) == sorted(row.id for row in rows)
    numbers = [each["number"] for each in decisions]
    assert numbers == sorted(set(numbers))
    return decisions


def labels(rows: list[Transaction]) -> list[dict[str, Any]]:
    """Of every seventh: hours later, seconds later, and some that were corrected."""
    found: list[dict[str, Any]] = []
    for number, row in enumerate(rows[::7]):
        found.append(
            {"id": row.id, "fraud": number % 3 != 0, "at": row.time + (5, 3_600, 40_000)[number % 3]}
        )
        if number % 5 == 0:
            found.append({"id": row.id, "fraud": number % 3 == 0, "at": row.time + 50_000})
    return found


def test_killed_at_any_moment_it_decides_once_and_as_if_it_had_never_been(tmp_path: Path) -> None:
    rows = made.stream(1_500, every=120)
    draw = random.Random(11)  # noqa: S311 - when to kill
    quiet, killed = Bench(tmp_path / "quiet"), Bench(tmp_path / "killed")
    for bench in (quiet, killed):
        bench.settings(WAITING)
        bench.rows(rows)
        made.write_rows(bench.folder / "labels.jsonl", labels(rows))
    quiet.run("rows.jsonl", "--labels", "labels.jsonl")
    kills = 0
    for _ in range(6):
        process = killed.start("rows.jsonl", "--labels", "labels.jsonl")
        before = killed.output.stat().st_size if killed.output.exists() else 0
        goal = before + draw.randrange(60_000)
        while process.running and (not killed.output.exists() or killed.output.stat().st_size <= goal):
            time.sleep(0.002)
        time.sleep(draw.random() * 0.05)
        if process.running:
            process.signal(signal.SIGKILL)
            kills += 1
        process.close()
    assert kills >= 3
    with killed.output.open("ab") as file:
        file.write(b'{"number":99')  # and the last line was torn
    killed.run("rows.jsonl", "--labels", "labels.jsonl")
    assert bare(whole(killed, rows)) == bare(whole(quiet, rows))
    assert any(
        reason["code"] == "customer-with-fraud" for each in killed.decided() for reason in each["reasons"]
    )


def test_a_file_that_grew_is_read_on_and_one_that_changed_is_refused(bench: Bench) -> None:
    rows = made.stream(700)
    bench.rows(rows[:300])
    bench.run("rows.jsonl")
    assert len(whole(bench, rows[:300])) == 300
    bench.rows(rows)
    done = bench.run("rows.jsonl")
    assert len(whole(bench, rows)) == 700
    assert summary(done)["decided in this run"] == "400"
    other = [*rows[:699], replace(rows[699], amount=rows[699].amount + 1)]
    for changed in (other, rows[:500]):
        bench.rows(changed)
        refused = bench.run("rows.jsonl", code=2)
        assert "700 of its rows were taken before and are others now" in refused.err
    assert len(bench.decided()) == 700


def test_a_torn_last_line_of_a_growing_file_holds_back_nothing_before_it(bench: Bench) -> None:
    rows = made.stream(20)
    path = bench.rows(rows)
    text = path.read_text()
    path.write_text(text[:-30])
    torn = bench.run("rows.jsonl", code=2)
    assert "rows.jsonl, row 20" in torn.err
    assert len(whole(bench, rows[:19])) == 19
    path.write_text(text)
    bench.run("rows.jsonl")
    whole(bench, rows)


def test_several_files_follow_each_other_in_one_run(bench: Bench) -> None:
    rows = made.stream(60)
    bench.rows(rows[:30], "a.jsonl")
    header = list(made.cells(rows[0]) | {"merchant": 1, "payee": 1, "device": 1, "card": 1})
    lines = [",".join(header)]
    lines += [",".join(str(made.cells(row).get(name, "")) for name in header) for row in rows[30:]]
    (bench.folder / "b.csv").write_text("\n".join(lines) + "\n")
    bench.run("a.jsonl", "b.csv")
    assert ids(whole(bench, rows)) == [row.id for row in rows]


def test_standard_input_is_decided_while_it_stays_open(bench: Bench) -> None:
    now = int(time.time())
    with bench.live() as (process, lines):
        for number in range(3):
            lines.write(made.line({"id": f"t-{number}", "time": now, "customer": "c", "amount": 12}))
            process.until(lambda process, number=number: f'"t-{number}"' in process.out)  # type: ignore[misc]
        assert process.running
        for arguments in (("decision", "t-1"), ("models",)):
            assert bench.command(*arguments, "--state", bench.state).wait() == 0
        refused = bench.command("models", "--rollback", "--state", bench.state)
        assert (refused.wait(), "another detector runs on this state" in refused.err) == (2, True)
        lines.write(made.line({"id": "t-1", "fraud": True}) + made.line({"id": "t-9", "fraud": True}))
        process.until(lambda process: "not taken" in process.err)
        assert (
            "standard input, row 5, column id: a label of a transaction that was not decided" in process.err
        )
        lines.write(made.line({"id": "t-2", "fraud": True, "at": now + 10**8}))
        process.until(lambda process: "row 6, column at: a label from the future" in process.err)
        lines.close()
        assert process.wait() == 0
    assert [json.loads(each)["id"] for each in process.out.splitlines()] == ["t-0", "t-1", "t-2"]
    decision = bench.command("decision", "t-1", "--state", bench.state)
    assert decision.wait() == 0
    assert json.loads(decision.out)["fraud"] is True


def test_in_a_quiet_stream_nothing_is_held_back_longer_than_lateness(bench: Bench) -> None:
    bench.settings("lateness = 2\n")
    with bench.live() as (process, lines):
        lines.write(made.line({"id": "t", "time": int(time.time()), "customer": "c", "amount": 12}))
        process.until(lambda process: '"t"' in process.out)
        assert process.running


def test_a_label_of_a_transaction_that_still_waits_is_kept_through_a_crash(bench: Bench) -> None:
    bench.settings("lateness = 3600\n")
    rows = bench.folder / "rows"
    rows.write_text(
        made.line({"id": "t", "time": made.START, "customer": "c", "amount": 12})
        + made.line({"id": "t", "fraud": True})
    )
    with bench.live("--replay") as (process, lines):
        lines.write(rows.read_text())
        lines.write(made.line({"id": "no", "fraud": True}))
        process.until(lambda process: "not taken" in process.err)
        process.signal(signal.SIGKILL)
    assert bench.decided() == []
    bench.run("--replay")
    decision = bench.command("decision", "t", "--state", bench.state)
    assert decision.wait() == 0
    found = json.loads(decision.out)
    assert (found["fraud"], found["labelled_at"]) == (True, made.START)
    assert "fraud" not in bench.decided()[0]


def test_a_replay_of_the_past_goes_by_its_own_time(bench: Bench) -> None:
    rows = made.stream(300, every=5_000)
    path = bench.rows(rows, "stream")
    bench.run("--replay", stdin=path)
    assert ids(whole(bench, rows)) == [row.id for row in rows]
    behind = bench.run(stdin=bench.rows([replace(rows[0], id="old")], "late"))
    assert "standard input, row 1, column time: late:" in behind.err
    assert summary(behind)["not taken: late"] == "1"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_in_order_and_goes_on_later(bench: Bench, number: signal.Signals) -> None:
    rows = made.stream(40)
    with bench.live("--replay") as (process, lines):
        lines.write("".join(map(made.line, rows[:30])))
        process.until(lambda process: '"t-29"' in process.out)
        process.signal(number)
        assert process.wait() == 130
        assert "stopped; run it again to go on" in process.err
        assert "Traceback" not in process.err
    assert list(bench.state.glob("snapshot-*"))
    bench.run("--replay", stdin=bench.rows(rows[20:], "stream"))
    assert ids(whole(bench, rows)) == [row.id for row in rows]


def test_interrupted_in_a_file_it_goes_on_where_it_was(bench: Bench) -> None:
    rows = made.stream(2_500)
    bench.rows(rows)
    process = bench.start("rows.jsonl")
    process.until(lambda _: bench.output.exists() and bench.output.stat().st_size > 0)
    process.signal(signal.SIGINT)
    assert process.wait() == 130, process.err
    process.close()
    assert 0 < len(bench.decided()) < 2_500
    bench.run("rows.jsonl")
    whole(bench, rows)


def test_an_id_given_again_is_decided_once_and_refused_with_other_content(bench: Bench) -> None:
    rows = made.stream(10, every=3_600)
    bench.run(bench.rows(rows, "a.jsonl").name)
    # After a restart, in the first hours; and again after days, in the same batch and in a later one.
    days = [replace(row, id=f"d-{row.id}", time=row.time + 3 * 86_400) for row in rows]
    more = [replace(days[0], id="last", time=days[-1].time + 3 * 86_400)]
    other = replace(days[0], amount=days[0].amount + 1, time=more[0].time)
    again = bench.run(
        bench.rows([rows[3], replace(rows[3], amount=7), *days, *more, days[0], other], "b.jsonl").name
    )
    assert len(whole(bench, [*rows, *days, *more])) == 21
    counted = summary(again)
    assert (counted["sent again, decided once"], counted["not taken: id used for another"]) == ("2", "2")
    assert "b.jsonl, row 2, column id: used for another transaction already" in again.err
    assert "b.jsonl, row 15, column id: used for another transaction already" in again.err
    later = bench.run(bench.rows([rows[0], replace(rows[0], time=more[0].time), days[0]], "c.jsonl").name)
    counted = summary(later)
    assert (counted["sent again, decided once"], counted["not taken: id used for another"]) == ("4", "3")
    assert summary(later)["decided in this run"] == "0"


GOOD = {"id": "t-1", "time": made.START, "customer": "c", "amount": 12}
BAD: list[tuple[str, str]] = [
    (json.dumps({k: v for k, v in GOOD.items() if k != "amount"}), "column amount is missing|amount"),
    (json.dumps(GOOD | {"amount": "much"}), "column amount: not a number"),
    (json.dumps(GOOD | {"amount": -3}), "column amount: below 0"),
    (json.dumps(GOOD | {"amount": 0}), "column amount: must be above 0"),
    (json.dumps(GOOD | {"amount": 1.234}), "column amount: more than two decimals"),
    (json.dumps(GOOD | {"currency": "XTS"}), "column currency: not CNY"),
    (json.dumps(GOOD | {"time": "noon"}), "column time: neither Unix seconds nor"),
    (json.dumps(GOOD | {"time": made.START + 30 * 86_400}), "column time: .* ahead of the newest before it"),
    (json.dumps(GOOD | {"time": made.START - 86_400}), "column time: late: 86400 s behind"),
    (json.dumps(GOOD | {"id": "x" * 129}), "column id: longer than 128"),
    (json.dumps(GOOD | {"id": "\ud800"}), "column id: not a valid text"),
    (json.dumps(GOOD | {"kind": "gift"}), "column kind: must be one of"),
    (json.dumps(GOOD | {"amout": 3}), "amout"),
    ("{not json", "not JSON"),
    ("[1]", "not a JSON object"),
    ("\udcff", "not UTF-8"),
    ("[" * 100_000, "not JSON"),
    ("9" * 2_000_000, "longer than 1048576 bytes"),
    (json.dumps({"id": "never", "fraud": True}), "column id: a label of a transaction that was not decided"),
    (json.dumps({"id": "t-0", "fraud": "perhaps"}), "column fraud: must be one of"),
    (json.dumps({"id": "t-0", "fraud": True, "at": made.START - 1}), "column at: a label from before"),
    (json.dumps({"fraud": True}), "id"),
    (json.dumps(GOOD | {"id": "t-0", "amount": 13}), "column id: used for another transaction already"),
]


def test_each_bad_row_is_counted_and_shown_with_its_number_and_the_stream_goes_on(bench: Bench) -> None:
    first, last = GOOD | {"id": "t-0"}, GOOD | {"id": "last", "time": made.START + 1}
    lines = [json.dumps(first), *(line for line, _ in BAD), "", json.dumps(last)]
    path = bench.folder / "stream"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape") + b"\n")
    done = bench.run("--replay", stdin=path)
    assert ids(bench.decided()) == ["t-0", "last"]
    shown = [line for line in done.err.splitlines() if "not taken" in line]
    for number, ((_, why), line) in enumerate(zip(BAD[:20], shown, strict=False), 2):
        assert f"standard input, row {number}" in line, line
        assert re.search(why, line), (why, line)
    assert "more, which the table at the end counts" in shown[20]
    counted = summary(done)
    expected = {
        "not taken: unreadable rows": 18,
        "not taken: late": 1,
        "not taken: clock ahead": 1,
        "not taken: id used for another": 1,
        "not taken: labels without a decision": 2,
        "labels": 0,
    }
    assert {name: int(counted[name]) for name in expected} == expected
    assert sum(expected.values()) == len(BAD)
    assert "never" not in done.err
    assert "Traceback" not in done.err


def test_told_to_stop_at_a_bad_row_it_takes_up_again_at_that_row(bench: Bench) -> None:
    bench.settings('lateness = 0\non_rejected = "stop"\n')
    rows: list[Any] = [*made.stream(30)]
    bad = {**made.cells(rows[12]), "amount": -1}
    bench.rows([*rows[:12], bad, *rows[13:]])
    for _ in range(2):
        stopped = bench.run("rows.jsonl", code=1)
        assert "row 13, column amount: below 0; the settings say on_rejected = stop" in stopped.err
        assert ids(whole(bench, rows[:12])) == [row.id for row in rows[:12]]
    assert "t-11" in bench.output.read_text()
    bench.rows(rows)
    bench.run("rows.jsonl")
    whole(bench, rows)


def test_a_table_without_its_columns_or_of_no_known_form_is_refused_whole(bench: Bench) -> None:
    (bench.folder / "a.csv").write_text("id,time,customer\nt,1750000000,c\n")
    assert "amount" in bench.run("a.csv", code=2).err
    (bench.folder / "a.txt").write_text("x")
    assert "unknown suffix" in bench.run("a.txt", code=2).err
    assert "no such file" in bench.run("none.csv", code=2).err


def test_what_can_not_be_read_or_written_at_all_is_said_in_a_line(bench: Bench) -> None:
    bench.rows(made.stream(2))
    os.mkfifo(bench.output)
    refused = bench.run("rows.jsonl", code=2)
    assert "output.jsonl: can't write decisions: File or stream is not seekable" in refused.err
    bench.output.unlink()
    (bench.folder / "rows.jsonl").rename(bench.folder / os.fsdecode(b"rows\xff.jsonl"))
    assert "name it in UTF-8" in bench.run(os.fsdecode(b"rows\xff.jsonl"), code=2).err
    command = '"$0" -c "from signalexchange.cli import main; main()" detect --state state '
    for stream, why in (
        ("<&-", "there is no standard input"),
        ("0> written", "standard input can't be read"),
    ):
        done = subprocess.run(
            ["/bin/bash", "-c", command + stream, sys.executable],
            cwd=bench.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, why in done.stderr, "Traceback" in done.stderr) == (2, True, False), (
            done.stderr
        )


def test_a_wrong_rule_file_is_refused_with_line_and_reason(bench: Bench) -> None:
    bench.settings('rules = "own.toml"\n')
    (bench.folder / "own.toml").write_text(
        'version = 1\n[[rule]]\nname = "a-rule"\nwhen = "customer.cuont.10m > 3"\nscore = 1\n'
        'action = "hold"\nreason = "x"\n'
    )
    refused = bench.run("--replay", code=2)
    assert "own.toml: line 4: rule a-rule: when: unknown name (near: customer.count.10m" in refused.err
    bench.settings(
        '[exchange]\nsubjects = { card = "card" }\n[[publish]]\nwhen = "rule:no-such"\ncode = "x"\n'
        'subject = "card"\ngrade = "suspected"\nconfidence = 1\nvalid_days = 1\n'
    )
    bench.environment["SIGNALEXCHANGE_CONFIG"] = str(bench.folder / "none.toml")
    assert "none.toml" in bench.run("--replay", code=2).err


def test_the_key_may_lie_elsewhere(bench: Bench) -> None:
    settings = bench.settings('key = "own.key"\n')
    bench.rows(made.stream(3))
    assert "own.key" in bench.run("rows.jsonl", code=2).err
    create_key(bench.folder / "own.key")
    bench.run("rows.jsonl")
    assert not (bench.state / "key").exists()
    asked = ("decision", made.stream(1)[0].id, "--state", bench.state)
    found = bench.command(*asked, "--settings", settings)
    assert (found.wait(), json.loads(found.out)["rules"]) == (0, 1)
    lost = bench.command(*asked)
    assert (lost.wait(), "key: can't read the key" in lost.err) == (2, True), lost.err


def test_labels_are_taken_once_in_their_time_and_those_given_late_too(bench: Bench) -> None:
    rows = made.stream(300, every=600)
    bench.rows(rows)
    bench.run("rows.jsonl")
    path = made.write_rows(
        bench.folder / "labels.jsonl",
        [
            {"id": rows[0].id, "fraud": 1, "at": rows[5].time},
            {"id": rows[0].id, "fraud": 0, "at": rows[9].time},
            {"id": rows[1].id, "fraud": 1, "at": rows[9].time + 10**7},
            {"id": rows[2].id, "fraud": 1, "at": rows[9].time},
            {"id": rows[2].id, "fraud": 0, "at": rows[9].time},
            {"id": rows[3].id, "fraud": 1, "at": None},
            {"id": rows[4].id, "fraud": "yes?", "at": rows[9].time},
        ],
    )
    for number, taken in enumerate(("5", "5")):
        done = bench.run("rows.jsonl", "--labels", path.name)
        assert summary(done)["labels"] == taken, number
        assert "labels.jsonl, row 7, column fraud" in done.err
    for place, fraud in enumerate((False, True, False, True)):
        decision = bench.command("decision", rows[place].id, "--state", bench.state)
        assert decision.wait() == 0
        assert json.loads(decision.out)["fraud"] is fraud


def test_a_reader_that_goes_away_loses_nothing(bench: Bench) -> None:
    rows = made.stream(600)
    bench.rows(rows)
    command = [sys.executable, "-c", "from signalexchange.cli import main; main()", "detect", "rows.jsonl"]
    command += ["--json", "--state", "state", "--output", "output.jsonl", "--settings", "detector.toml"]
    process = subprocess.Popen(
        command, cwd=bench.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert json.loads(process.stdout.readline())["id"] == "t-0"
        process.stdout.close()
        assert process.wait(60) != 0
        assert b"Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    bench.run("rows.jsonl")
    whole(bench, rows)


def test_an_output_file_of_something_else_is_left_alone(bench: Bench) -> None:
    rows = made.stream(5)
    bench.rows(rows)
    bench.run("rows.jsonl")
    ours = bench.output.read_text()
    other = (
        json.dumps({"number": bench.decided()[2]["number"], "id": "of-another"}, separators=(",", ":")) + "\n"
    )
    beyond = other.replace('"number":', '"number":9')
    for text in ("a letter", "a letter\n", '{"number":"x","id":"y"}\n', "[1]\n", other, beyond, other + ours):
        bench.output.write_text(text)
        code = 0 if text.endswith(ours) else 2
        refused = bench.run("--replay", code=code)
        assert bench.output.read_text() == text
        if code:
            assert "output.jsonl" in refused.err


def test_decision_and_models_say_what_there_is(bench: Bench) -> None:
    for arguments in (("decision", "t-1"), ("models",)):
        none = bench.command(*arguments, "--state", bench.state)
        assert (none.wait(), "no detector's state" in none.err) == (2, True)
    bench.rows(made.stream(3))
    bench.run("rows.jsonl")
    unknown = bench.command("decision", "t-77", "--state", bench.state)
    assert (unknown.wait(), "no decision on a transaction of that id" in unknown.err) == (2, True)
    for more in ((), ("--rollback",)):
        none = bench.command("models", "--state", bench.state, *more)
        assert (none.wait(), "rules decide alone" in none.err) == (0, True)
    bench.run("rows.jsonl")


def test_without_the_learning_library_it_says_what_to_install(bench: Bench) -> None:
    blocked = (
        "import sys; sys.modules['lightgbm'] = None\n"
        "from signalexchange.cli import main\nmain(['detect', '--state', 'state'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocked], cwd=bench.folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "pip install 'signalexchange[detector]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
