"""The journal: what it leads back to, what survives a crash, and that its file tells nothing."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange.errors import ConfigError, VerificationError
from signalexchange.journal import Journal, Kind, SignalNote
from signalexchange.sealed_store import JournalError, create_key

BATCH = b"b" * 16


def note(number: int, reference: str = "customer-4711", token: bytes = b"t" * 32) -> SignalNote:
    signal_id = number.to_bytes(16, "big")
    return SignalNote(
        signal_id, BATCH, "cash-out-suspected", reference, (token,), b'{"subject":"x"}', b"s" * 32
    )


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    create_key(tmp_path / "journal.key")
    return tmp_path / "journal.db", tmp_path / "journal.key"


def test_tokens_signals_and_references_lead_to_each_other(files: tuple[Path, Path]) -> None:
    with Journal(*files) as journal:
        journal.prepare(Kind.BATCH, BATCH, b"request", [note(1), note(2, "customer-9", b"u" * 32)])
        journal.remember({b"t" * 32: ["order-1", "customer-4711"], b"v" * 32: ["order-2"]})
    with Journal(*files) as journal:
        assert journal.signal((1).to_bytes(16, "big")) == note(1)
        assert journal.signal(b"?" * 16) is None
        assert journal.signals_about(b"t" * 32) == [note(1)]
        assert [each.signal_id[-1] for each in journal.signals_of("customer-9")] == [2]
        assert journal.references(b"t" * 32) == ["customer-4711", "order-1"]
        assert journal.references(b"v" * 32) == ["order-2"]
        assert journal.tokens("customer-4711") == [b"t" * 32]
        assert [each.signal_id[-1] for each in journal.signals()] == [1, 2]


def test_what_was_prepared_first_stays_until_refused(files: tuple[Path, Path]) -> None:
    with Journal(*files) as journal:
        first = journal.prepare(Kind.BATCH, BATCH, b"first", [note(1)])
        assert journal.prepare(Kind.BATCH, BATCH, b"second") == first
        journal.refuse(first, "CODE_NOT_ALLOWED")
        assert journal.pending() == []
        assert journal.signals_about(b"t" * 32) == [note(1)]
        journal.refuse(first, "CODE_NOT_ALLOWED", [note(1).signal_id])
        assert journal.signals_about(b"t" * 32) == []
        assert journal.signal(note(1).signal_id) is None
        again = journal.prepare(Kind.BATCH, BATCH, b"second")
        assert again.request == b"second"
        done = journal.acknowledge(again, 7, b"checkpoint")
        assert journal.prepare(Kind.BATCH, BATCH, b"third") == done
        assert list(journal.history(Kind.BATCH)) == [done]


def test_prepared_bytes_survive_a_killed_process(files: tuple[Path, Path]) -> None:
    script = (
        "import os, sys; from pathlib import Path; from signalexchange.journal import Journal, Kind\n"
        "journal = Journal(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "journal.prepare(Kind.BATCH, b'b' * 16, b'request bytes')\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, *map(str, files)], check=False)
    with Journal(*files) as journal:
        (waiting,) = journal.pending()
        assert (waiting.kind, waiting.id, waiting.request) == (Kind.BATCH, BATCH, b"request bytes")
        journal.acknowledge(waiting, 3, b"cp")
        assert journal.pending() == []


def test_the_file_tells_neither_reference_nor_token_nor_record(files: tuple[Path, Path]) -> None:
    journal = Journal(*files)
    journal.prepare(Kind.BATCH, BATCH, b"the request holds \x07" + b"t" * 32, [note(1)])
    journal.remember({b"t" * 32: ["customer-4711"]})
    journal.set_state("resume", b"opaque resume token")
    # While open, the WAL holds what the file does not yet.
    found = b"".join(
        path.read_bytes() for path in files[0].parent.iterdir() if path.name.startswith("journal.db")
    )
    assert len(found) > 1000
    secrets = [
        b"customer-4711",
        b"t" * 32,
        (b"t" * 32).hex().encode(),
        b"cash-out",
        b"opaque resume",
        b"subject",
    ]
    secrets += [b"resume", BATCH, BATCH.hex().encode(), (1).to_bytes(16, "big").hex().encode()]
    assert [secret for secret in secrets if secret in found] == []
    journal.close()


def test_another_key_or_an_altered_row_is_told_at_once(files: tuple[Path, Path], tmp_path: Path) -> None:
    with Journal(*files) as journal:
        journal.set_state("one", b"1")
        journal.set_state("two", b"2")
    create_key(tmp_path / "other.key")
    with pytest.raises(VerificationError):
        Journal(files[0], tmp_path / "other.key")
    with sqlite3.connect(files[0]) as db:
        db.execute(
            "UPDATE record SET content = (SELECT content FROM record WHERE position = 2) WHERE position = 3"
        )
    db.close()
    with Journal(*files) as journal:
        assert journal.state("one") == b"1"
        with pytest.raises(VerificationError):
            journal.state("two")


def test_unusable_files_are_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.key"):
        Journal(files[0], tmp_path / "none.key")
    with pytest.raises(ConfigError, match="can't write a key"):
        create_key(files[1])
    (tmp_path / "short.key").write_text("abcd")
    (tmp_path / "short.key").chmod(0o600)
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        Journal(files[0], tmp_path / "short.key")
    (tmp_path / "junk.db").write_bytes(os.urandom(4096))
    with pytest.raises(ConfigError, match=r"junk\.db"):
        Journal(tmp_path / "junk.db", files[1])


def test_a_full_disk_leaves_no_half_written_batch(files: tuple[Path, Path]) -> None:
    with Journal(*files) as journal:
        pages = journal._store._db.execute("PRAGMA page_count").fetchone()[0]
        journal._store._db.execute(f"PRAGMA max_page_count={pages + 1}")
        with pytest.raises(JournalError, match="full"):
            journal.prepare(Kind.BATCH, BATCH, b"x" * 100_000, [note(1)])
        assert journal.sent(Kind.BATCH, BATCH) is None
        assert journal.signal(note(1).signal_id) is None


def test_two_processes_share_a_journal(files: tuple[Path, Path]) -> None:
    with Journal(*files) as one, Journal(*files) as other:
        one.prepare(Kind.BATCH, BATCH, b"one")
        assert other.prepare(Kind.BATCH, BATCH, b"other").request == b"one"


def test_a_batch_id_can_not_be_guessed_from_the_rows(tmp_path: Path) -> None:
    ids = set()
    for name in ("one", "other"):
        create_key(tmp_path / name)
        with Journal(tmp_path / f"{name}.db", tmp_path / name) as journal:
            ids.add(journal.batch_id([b'{"subject":"phone:+8613812345678"}']))
    assert len(ids) == 2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=4), st.lists(st.binary(max_size=20), max_size=4))
def test_batch_ids_tell_lists_of_rows_apart(
    tmp_path_factory: pytest.TempPathFactory, one: list[bytes], other: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    create_key(folder / "key")
    with Journal(folder / "db", folder / "key") as journal:
        assert (journal.batch_id(one) == journal.batch_id(other)) == (one == other)


def test_a_journal_opened_twice_shares_its_file_with_another_process(files: tuple[Path, Path]) -> None:
    """Opening it again in one process must not end the locks that keep other processes from its WAL."""
    script = (
        "import sys; from pathlib import Path; from signalexchange.journal import Journal\n"
        "with Journal(Path(sys.argv[1]), Path(sys.argv[2])) as journal:\n"
        "    journal.set_state(sys.argv[3], b'there')"
    )
    with Journal(*files) as first, Journal(*files) as second:
        for round_ in range(3):
            first.set_state(f"first {round_}", b"here")
            command = [sys.executable, "-c", script, *map(str, files), f"other {round_}"]
            subprocess.run(command, check=True, timeout=60)
            second.set_state(f"second {round_}", b"here")
    with Journal(*files) as after:
        kept = [after.state(f"{who} {n}") for n in range(3) for who in ("first", "other", "second")]
    assert kept == [b"here", b"there", b"here"] * 3
