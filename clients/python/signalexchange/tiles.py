"""A log as static files (c2sp.org/tlog-tiles): hash tiles of 256 and entry bundles of 256.

Invariants: full tiles and bundles never change once written; a partial one is replaced by a wider one and
deleted after that; every file is written under another name, synced and renamed, and a bundle only after the
full tiles it implies, so that a folder cut off at any moment is a shorter log and can be carried on. One
process writes.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from signalexchange.errors import MalformedError, VerificationError
from signalexchange.merkle import HASH_SIZE, leaf_hash, root

TILE_WIDTH = 256
MAX_LEVEL = 63
MAX_ENTRY_SIZE = 0xFFFF


class Tile(NamedTuple):
    """Hashes `n`·256 to `n`·256 + width − 1 of level `level`, 32 bytes each, concatenated."""

    level: int
    n: int
    data: bytes

    @property
    def path(self) -> str:
        """Path below the log's prefix."""
        return tile_path(self.level, self.n, len(self.data) // HASH_SIZE)


def tile_path(level: int, n: int, width: int = TILE_WIDTH) -> str:
    """Path of a hash tile: tile/<L>/<N>[.p/<W>]; raises MalformedError for numbers out of range."""
    if not 0 <= level <= MAX_LEVEL:
        raise MalformedError(f"no tile level {level}")
    return f"tile/{level}/{_number(n, width)}"


def entries_path(n: int, width: int = TILE_WIDTH) -> str:
    """Path of an entry bundle: tile/entries/<N>[.p/<W>]; raises MalformedError for numbers out of range."""
    return f"tile/entries/{_number(n, width)}"


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """A bundle of 1 to 256 entries, each behind its length as big-endian uint16; raises MalformedError."""
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise MalformedError(f"a bundle has 1 to {TILE_WIDTH} entries")
    if any(len(entry) > MAX_ENTRY_SIZE for entry in entries):
        raise MalformedError(f"an entry has at most {MAX_ENTRY_SIZE} bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_entries(data: bytes) -> list[bytes]:
    """The entries of a bundle; raises MalformedError for one cut short, empty or of more than 256."""
    entries = []
    place = 0
    while place < len(data):
        end = place + 2 + int.from_bytes(data[place : place + 2], "big")
        if place + 2 > len(data) or end > len(data):
            raise MalformedError("an entry bundle is cut short")
        entries.append(data[place + 2 : end])
        place = end
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise MalformedError(f"a bundle has 1 to {TILE_WIDTH} entries")
    return entries


class TileBuilder:
    """Tiles of a growing tree: `push` yields each tile as it fills, `partials` those still open.

    Holds at most 255 hashes a level. `edge` is what `partials` held of a tree of `size` leaves.
    """

    def __init__(self, size: int = 0, edge: Sequence[Sequence[bytes]] = ()) -> None:
        self.size = size
        self._edge = [list(level) for level in edge]

    def push(self, hash_of_leaf: bytes) -> Iterator[Tile]:
        """Add the next leaf by its hash; all that is yielded must be consumed."""
        self.size += 1
        level, node, covered = 0, hash_of_leaf, self.size
        while True:
            if level == len(self._edge):
                self._edge.append([])
            hashes = self._edge[level]
            hashes.append(node)
            if len(hashes) < TILE_WIDTH:
                return
            covered //= TILE_WIDTH
            yield Tile(level, covered - 1, b"".join(hashes))
            node = root(hashes)
            hashes.clear()
            level += 1

    def partials(self) -> list[Tile]:
        """The open tiles, lowest level first; empty ones are left out."""
        tiles, covered = [], self.size
        for level, hashes in enumerate(self._edge):
            covered //= TILE_WIDTH
            if hashes:
                tiles.append(Tile(level, covered, b"".join(hashes)))
        return tiles


class TileFolder:
    """A folder that holds a log's leaves as bundles and its tree as tiles, and grows by appending.

    Raises MalformedError when files that should be there are missing or can't be read as what they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.size = stored_size(folder)
        whole = self.size // TILE_WIDTH
        self._bundle = (
            list(read_leaves(folder, self.size, whole * TILE_WIDTH)) if self.size % TILE_WIDTH else []
        )
        edge = [[leaf_hash(leaf) for leaf in self._bundle]]
        level = 0
        while whole:
            first = whole // TILE_WIDTH * TILE_WIDTH
            edge.append([root(read_tile(folder, level, n)) for n in range(first, whole)])
            whole //= TILE_WIDTH
            level += 1
        self._builder = TileBuilder(self.size, edge)

    def append(self, leaves: Iterable[bytes]) -> None:
        """Write further leaves, with every tile they fill and the partial ones at the end."""
        filled: list[Tile] = []
        for leaf in leaves:
            self._bundle.append(leaf)
            for tile in self._builder.push(leaf_hash(leaf)):
                write_file(self.folder / tile.path, tile.data)
                filled.append(tile)
            if len(self._bundle) == TILE_WIDTH:
                bundle = self.folder / entries_path(self.size // TILE_WIDTH)
                write_file(bundle, encode_entries(self._bundle))
                self.size = self._builder.size
                self._bundle.clear()
                _drop_partials(bundle)
                for tile in filled:
                    _drop_partials(self.folder / tile.path)
                filled.clear()
        self._write_partials()

    def _write_partials(self) -> None:
        written = []
        for tile in self._builder.partials():
            path = self.folder / tile.path
            write_file(path, tile.data)
            written.append((self.folder / tile_path(tile.level, tile.n), path))
        if self._bundle:
            number = self._builder.size // TILE_WIDTH
            path = self.folder / entries_path(number, len(self._bundle))
            write_file(path, encode_entries(self._bundle))
            written.append((self.folder / entries_path(number), path))
        self.size = self._builder.size
        for whole, partial in written:
            _drop_partials(whole, partial)


def stored_size(folder: Path) -> int:
    """How many leaves the bundles of a folder hold; 0 for a folder without any."""
    number = 0
    while (folder / entries_path(number)).is_file():
        number += 1
    return number * TILE_WIDTH + max(map(_width, _partials(folder / entries_path(number))), default=0)


def read_leaves(folder: Path, stop: int, start: int = 0) -> Iterator[bytes]:
    """Leaves `start` to `stop` − 1 in order, read bundle by bundle; raises MalformedError where one is
    missing.
    """
    for number in range(start // TILE_WIDTH, -(-stop // TILE_WIDTH)):
        first = number * TILE_WIDTH
        wanted = min(stop - first, TILE_WIDTH)
        path = folder / entries_path(number)
        if not path.is_file():
            # A tree that ends inside a bundle may be read from any partial one wide enough.
            path = min(
                (partial for partial in _partials(path) if _width(partial) >= wanted),
                key=_width,
                default=path,
            )
        entries = decode_entries(read_file(path))
        if len(entries) < wanted:
            raise MalformedError(f"{path.name}: fewer entries than its name says")
        yield from entries[max(start - first, 0) : wanted]


def read_tile(folder: Path, level: int, n: int, width: int = TILE_WIDTH) -> list[bytes]:
    """The hashes of one tile; raises MalformedError when it is missing or of another width."""
    path = tile_path(level, n, width)
    data = read_file(folder / path)
    if len(data) != width * HASH_SIZE:
        raise MalformedError(f"{path}: a tile of {width} hashes has {width * HASH_SIZE} bytes")
    return [data[place : place + HASH_SIZE] for place in range(0, len(data), HASH_SIZE)]


def check_tile(folder: Path, tile: Tile) -> None:
    """Raise VerificationError when the folder's tile differs, MalformedError when it is missing."""
    if read_file(folder / tile.path) != tile.data:
        raise VerificationError(f"{tile.path} differs from the leaves")


def read_file(path: Path) -> bytes:
    """The content of a file; raises MalformedError when it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise MalformedError(f"{path.name}: {error.strerror}") from None


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: under another name first, synced, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _number(n: int, width: int) -> str:
    if n < 0 or not 1 <= width <= TILE_WIDTH:
        raise MalformedError(f"no tile {n} of width {width}")
    digits = str(n)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[place : place + 3] for place in range(0, len(digits), 3)]
    path = "/".join((*(f"x{part}" for part in parts[:-1]), parts[-1]))
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def _partials(whole: Path) -> list[Path]:
    folder = _partials_folder(whole)
    return [path for path in folder.iterdir() if _width(path)] if folder.is_dir() else []


def _partials_folder(whole: Path) -> Path:
    return whole.with_name(f"{whole.name}.p")


def _width(partial: Path) -> int:
    """Width of a partial file by its name, 0 for a file of another name."""
    name = partial.name
    if not (name.isascii() and name.isdecimal() and len(name) <= 3 and not name.startswith("0")):
        return 0
    return int(name) if int(name) < TILE_WIDTH else 0


def _drop_partials(whole: Path, keep: Path | None = None) -> None:
    if keep is None:
        if _partials_folder(whole).is_dir():
            shutil.rmtree(_partials_folder(whole))
        return
    for path in _partials(whole):
        if path != keep:
            path.unlink()
