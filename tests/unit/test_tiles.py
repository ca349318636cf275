"""Static tiles and entry bundles are laid out as c2sp.org/tlog-tiles says."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange import merkle, tiles
from signalexchange.errors import ExchangeError, MalformedError, VerificationError
from signalexchange.tiles import Tile, TileBuilder, TileFolder


def leaf(index: int) -> bytes:
    return b"leaf %d" % index


def build(size: int) -> list[Tile]:
    builder = TileBuilder()
    full = [tile for index in range(size) for tile in builder.push(merkle.leaf_hash(leaf(index)))]
    return full + builder.partials()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (tiles.tile_path(0, 0), "tile/0/000"),
        (tiles.tile_path(0, 1234067), "tile/0/x001/x234/067"),
        (tiles.tile_path(2, 1000, 17), "tile/2/x001/000.p/17"),
        (tiles.tile_path(63, 999, 1), "tile/63/999.p/1"),
        (tiles.entries_path(1234067), "tile/entries/x001/x234/067"),
        (tiles.entries_path(273, 112), "tile/entries/273.p/112"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert path == expected


@pytest.mark.parametrize(
    ("level", "n", "width"), [(-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)]
)
def test_paths_out_of_range_are_refused(level: int, n: int, width: int) -> None:
    with pytest.raises(MalformedError):
        tiles.tile_path(level, n, width)


def test_the_specification_s_example_of_70000() -> None:
    paths = [tile.path for tile in build(70_000)]
    assert sum(path.startswith("tile/0/") and ".p/" not in path for path in paths) == 273
    assert [path for path in paths if ".p/" in path] == [
        "tile/0/273.p/112",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    ]
    assert [path for path in paths if path.startswith("tile/1/") and ".p/" not in path] == ["tile/1/000"]


def test_a_full_tile_starts_the_level_above() -> None:
    assert [tile.path for tile in build(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert build(256)[1].data == merkle.root([merkle.leaf_hash(leaf(index)) for index in range(256)])


@given(st.lists(st.binary(max_size=70), min_size=1, max_size=256))
def test_bundles_round_trip(entries: list[bytes]) -> None:
    assert tiles.decode_entries(tiles.encode_entries(entries)) == entries


@given(st.binary(max_size=200))
def test_random_bundles_raise_our_errors_only(data: bytes) -> None:
    with contextlib.suppress(ExchangeError):
        assert tiles.encode_entries(tiles.decode_entries(data)) == data


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\2a", b"\0\1a\0", b"\0\0" * 257])
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        tiles.decode_entries(data)


@pytest.mark.parametrize("entries", [[], [b""] * 257, [bytes(65_536)]])
def test_what_no_bundle_can_hold_is_refused(entries: list[bytes]) -> None:
    with pytest.raises(MalformedError):
        tiles.encode_entries(entries)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@settings(max_examples=10)
@given(st.lists(st.sampled_from([0, 1, 5, 200, 256, 300, 1000]), max_size=6))
def test_a_folder_grown_in_steps_is_the_folder_written_at_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int]
) -> None:
    grown, at_once = tmp_path_factory.mktemp("grown"), tmp_path_factory.mktemp("once")
    size = 0
    for step in steps:
        folder = TileFolder(grown)
        assert folder.size == size
        folder.append(leaf(index) for index in range(size, size + step))
        size += step
    TileFolder(at_once).append(leaf(index) for index in range(size))
    assert content(grown) == content(at_once)
    assert list(tiles.read_leaves(grown, size)) == [leaf(index) for index in range(size)]
    for tile in build(size):
        tiles.check_tile(grown, tile)


def test_a_part_of_the_leaves_is_read(tmp_path: Path) -> None:
    TileFolder(tmp_path).append(leaf(index) for index in range(600))
    for start, stop in ((0, 1), (255, 257), (300, 599), (512, 600), (5, 5)):
        wanted = [leaf(index) for index in range(start, stop)]
        assert list(tiles.read_leaves(tmp_path, stop, start)) == wanted
    with pytest.raises(MalformedError):
        list(tiles.read_leaves(tmp_path, 601))


def test_writing_cut_off_at_any_file_is_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fails at each file of the second step in turn: what is left is a shorter log, and grows on."""
    whole = tmp_path / "whole"
    TileFolder(whole).append(leaf(index) for index in range(600))
    rename = Path.replace
    for survivors in range(8):
        folder = tmp_path / str(survivors)
        TileFolder(folder).append(leaf(index) for index in range(100))
        renamed: list[Path] = []

        def failing(source: Path, target: Path, renamed: list[Path] = renamed, last: int = survivors) -> Path:
            if len(renamed) == last:
                raise OSError("disk full")
            renamed.append(target)
            return rename(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", failing)
            with contextlib.suppress(OSError):
                TileFolder(folder).append(leaf(index) for index in range(100, 600))
        again = TileFolder(folder)
        assert list(tiles.read_leaves(folder, again.size)) == [leaf(index) for index in range(again.size)]
        again.append(leaf(index) for index in range(again.size, 600))
        assert again.size == 600
        written = {name: data for name, data in content(folder).items() if not name.endswith(".new")}
        assert written == content(whole)


def test_missing_and_changed_tiles_are_told_apart(tmp_path: Path) -> None:
    TileFolder(tmp_path).append(leaf(index) for index in range(300))
    first, _, partial, *_ = build(300)[0], *build(300)
    (tmp_path / first.path).write_bytes(bytes(len(first.data)))
    with pytest.raises(VerificationError):
        tiles.check_tile(tmp_path, first)
    (tmp_path / partial.path).unlink()
    with pytest.raises(MalformedError):
        tiles.check_tile(tmp_path, partial)
    with pytest.raises(MalformedError):
        tiles.read_tile(tmp_path, 0, 0, 5)


def test_a_bundle_with_fewer_entries_than_its_name_says_is_refused(tmp_path: Path) -> None:
    TileFolder(tmp_path).append(leaf(index) for index in range(10))
    (tmp_path / tiles.entries_path(0, 10)).write_bytes(tiles.encode_entries([b"x"]))
    with pytest.raises(MalformedError):
        list(tiles.read_leaves(tmp_path, 10))
