"""What the journal keeps of a case: steps until their fate is known, what officers wrote, and until when."""

from hashlib import sha256
from pathlib import Path

import pytest
from signalexchange.journal import Journal, Kind, Record
from signalexchange.sealed_store import create_key

CASE, OTHER = b"c" * 16, b"o" * 16
SECRET = b"the customer of counter 12 says the shop never shipped"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    create_key(tmp_path / "journal.key")
    return tmp_path / "journal.db", tmp_path / "journal.key"


def test_a_step_is_pending_with_what_it_commits_to_until_it_is_acknowledged(files: tuple[Path, Path]) -> None:
    record = Record(CASE, "explanation", b"s" * 32, SECRET)
    with Journal(*files) as journal:
        journal.prepare_step(b"1" * 16, b"first", CASE, [record])
        journal.prepare_step(b"2" * 16, b"of another case", OTHER)
    with Journal(*files) as journal:
        assert [sent.request for sent in journal.pending()] == [b"first", b"of another case"]
        (step,) = journal.steps(CASE)
        assert (step.kind, step.state) == (Kind.STEP, "prepared")
        journal.acknowledge(step, 9, b"checkpoint")
        assert [each.state for each in journal.steps(CASE)] == ["acknowledged"]
        assert journal.records(CASE) == [record]
        assert journal.records(OTHER) == []
    assert record.commitment == sha256(b"s" * 32 + SECRET).digest()


def test_a_step_that_is_refused_leaves_nothing_that_was_written_for_it(files: tuple[Path, Path]) -> None:
    with Journal(*files) as journal:
        journal.prepare_step(b"1" * 16, b"first", CASE, [Record(CASE, "appeal", b"s" * 32, SECRET)])
        refused = journal.prepare_step(b"2" * 16, b"2", CASE, [Record(CASE, "notice", b"t" * 32, SECRET)])
        journal.refuse(refused, "CASE_CONFLICT")
        assert [each.what for each in journal.records(CASE)] == ["appeal"]
        assert [each.state for each in journal.steps(CASE)] == ["prepared", "refused"]
        assert [each.request for each in journal.pending()] == [b"first"]


def test_what_is_kept_of_a_case_can_be_forgotten(files: tuple[Path, Path]) -> None:
    with Journal(*files) as journal:
        journal.prepare_step(b"1" * 16, b"first", CASE, [Record(CASE, "appeal", b"s" * 32, SECRET)])
        journal.prepare_step(b"2" * 16, b"other", OTHER, [Record(OTHER, "appeal", b"t" * 32, SECRET)])
        assert journal.forget_case(CASE) == 2
        assert (journal.steps(CASE), journal.records(CASE)) == ([], [])
        assert len(journal.steps(OTHER)) == len(journal.records(OTHER)) == 1
        assert journal.forget_case(CASE) == 0


def test_the_file_tells_nothing_of_what_was_written(files: tuple[Path, Path]) -> None:
    with Journal(*files) as journal:
        journal.prepare_step(b"1" * 16, b"first", CASE, [Record(CASE, "note", b"s" * 32, SECRET)])
    for path in files[0].parent.glob("journal.db*"):
        assert SECRET not in path.read_bytes()
        assert CASE not in path.read_bytes()
