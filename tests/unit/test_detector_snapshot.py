"""A snapshot is whole or refused, whatever happened to its file."""

import os
import secrets
import tempfile
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.detector import snapshot
from signalexchange.detector.snapshot import newest_snapshot, read_snapshot, write_snapshot
from signalexchange.errors import ConfigError, ExchangeError, MalformedError, VerificationError

SECRET = bytes(range(32))
RECORDS: list[Any] = [["now", 7], ["windows", ["customer", "c" * 500]], ["learner", {"rows": "x" * 3_000}]]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "CHUNK", 1_000)


def read(folder: Path, secret: bytes = SECRET) -> list[Any]:
    found = read_snapshot(folder, secret)
    assert found is not None
    return list(found[1])


def chunks(data: bytes) -> Iterator[bytes]:
    while data:
        size = 16 + int.from_bytes(data[:4], "big")
        yield data[:size]
        data = data[size:]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = write_snapshot(tmp_path, SECRET, 5, RECORDS)
    assert len(list(chunks(path.read_bytes()))) == 4
    return path


def test_what_was_written_comes_back_and_nobody_else_may_read_it(path: Path) -> None:
    assert (path.name, path.stat().st_mode & 0o777) == ("snapshot-0000000000000005", 0o600)
    assert read(path.parent) == RECORDS
    assert newest_snapshot(path.parent) == 5
    assert b"customer" not in path.read_bytes()


@given(st.lists(st.integers(0, 2_500), max_size=8), st.integers(1, 3))
def test_lines_of_any_length_come_back_whatever_the_chunks(lengths: list[int], records: int) -> None:
    made = [["x" * length] * records for length in lengths]
    with tempfile.TemporaryDirectory() as folder:
        write_snapshot(Path(folder), SECRET, 0, made)
        assert read(Path(folder)) == made


def test_of_none_there_is_none(tmp_path: Path) -> None:
    assert read_snapshot(tmp_path, SECRET) is None
    assert newest_snapshot(tmp_path) == -1


def test_the_newest_counts_and_the_older_go(path: Path) -> None:
    write_snapshot(path.parent, SECRET, 12, [1])
    assert [each.name for each in path.parent.iterdir()] == ["snapshot-0000000000000012"]
    assert read(path.parent) == [1]


def test_every_cut_is_refused(path: Path) -> None:
    data = path.read_bytes()
    edges = set()
    position = 0
    for chunk in chunks(data):
        edges |= {position + offset for offset in (0, 1, 4, 10, 16, 17, len(chunk) - 1)}
        position += len(chunk)
    for size in sorted(edges):
        path.write_bytes(data[:size])
        with pytest.raises(VerificationError):
            read(path.parent)


def test_every_altered_byte_is_refused(path: Path) -> None:
    data = path.read_bytes()
    for position in range(0, len(data), 3):
        altered = bytearray(data)
        altered[position] ^= 1 << position % 8
        path.write_bytes(bytes(altered))
        with pytest.raises(VerificationError):
            read(path.parent)


def test_a_length_that_was_made_huge_takes_no_memory(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[:4] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(data))
    tracemalloc.start()
    try:
        with pytest.raises(VerificationError):
            read(path.parent)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_reordered_doubled_and_left_out_chunks_are_refused(path: Path) -> None:
    a, b, c, d = chunks(path.read_bytes())
    for other in (
        [b, a, c, d],
        [a, c, b, d],
        [a, b, d],
        [b, c, d],
        [a, b, c, d, d],
        [a, a, b, c, d],
        [d],
        [a],
    ):
        path.write_bytes(b"".join(other))
        with pytest.raises(VerificationError):
            read(path.parent)


def test_chunks_of_another_snapshot_are_refused(path: Path, tmp_path: Path) -> None:
    a, *_ = chunks(path.read_bytes())
    later = write_snapshot(tmp_path, SECRET, 6, RECORDS)
    later.write_bytes(a + b"".join(list(chunks(later.read_bytes()))[1:]))
    with pytest.raises(VerificationError):
        read(tmp_path)


def test_renamed_to_another_batch_it_is_refused(path: Path) -> None:
    path.rename(path.with_name("snapshot-0000000000000006"))
    with pytest.raises(VerificationError):
        read(path.parent)


def test_with_another_key_it_is_refused(path: Path) -> None:
    with pytest.raises(VerificationError, match="another key"):
        read(path.parent, secrets.token_bytes(32))


@pytest.mark.parametrize("content", [b"", b"\0", b"\0\0\0\1" + bytes(12), os.urandom(999)])
def test_what_is_no_snapshot_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "snapshot-0000000000000001").write_bytes(content)
    with pytest.raises(VerificationError):
        read(tmp_path)


def test_what_no_snapshot_holds_is_refused_though_the_key_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = zlib.compress
    for packed in (b"not packed", real(b"x" * 2_000), real(b"half a line"), real(b"no JSON\n")):
        monkeypatch.setattr(zlib, "compress", lambda data, level, packed=packed: packed)
        write_snapshot(tmp_path, SECRET, 1, [1])
        monkeypatch.setattr(zlib, "compress", real)
        with pytest.raises(MalformedError):
            read(tmp_path)


def test_a_disk_that_refuses_leaves_the_one_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        write_snapshot(path.parent, SECRET, 9, RECORDS)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert read(path.parent) == RECORDS


def test_a_record_that_fails_leaves_the_one_before(path: Path) -> None:
    def records() -> Iterator[Any]:
        yield RECORDS[2]
        raise MalformedError("no more")

    with pytest.raises(MalformedError):
        write_snapshot(path.parent, SECRET, 9, records())
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_snapshot_nobody_may_read_is_refused_with_its_name(path: Path) -> None:
    path.unlink()
    path.mkdir()
    with pytest.raises(ExchangeError, match=path.name):
        read(path.parent)
