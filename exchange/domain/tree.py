"""The log's Merkle tree as the hub holds it: a frontier for the root, and the unfilled tiles at the right
edge.

Tiles are those of C2SP tlog-tiles: 256 hashes of level 8·L of the tree, complete ones only; what has not
filled its tile yet is the edge, at most 255 hashes a level. Invariants: a Tree that has been handed out is
never changed: the writer appends to a copy and swaps it in after COMMIT; edge and stored tiles together
give every complete subtree's hash.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from signalexchange import merkle

TILE: Final = 256


class Tile(NamedTuple):
    """A complete tile: 256 hashes of 32 bytes, concatenated."""

    level: int
    n: int
    hashes: bytes


TileKey = tuple[int, int]
"""(level, n) of a tile."""


class Tree:
    """A tree of `size` leaves."""

    __slots__ = ("_edge", "_frontier")

    def __init__(self, frontier: merkle.Frontier, edge: list[list[bytes]]) -> None:
        self._frontier = frontier
        self._edge = edge

    @classmethod
    def restore(cls, size: int, edge: list[list[bytes]], tiles: Mapping[TileKey, bytes]) -> "Tree":
        """The tree of `size` from its edge and the tiles that `needed([(0, size)])` names."""
        tree = cls(merkle.Frontier(), edge)
        if size:
            nodes = [tree._subtree(level, n, tiles, size) for level, n in merkle.decompose(0, size)]
            tree._frontier = merkle.Frontier(size, nodes)
        return tree

    @property
    def size(self) -> int:
        """How many leaves."""
        return self._frontier.size

    def root(self) -> bytes:
        """The root hash."""
        return self._frontier.root()

    def copy(self) -> "Tree":
        """An independent tree with the same leaves."""
        return Tree(self._frontier.copy(), [row.copy() for row in self._edge])

    def append(self, leaf_hash: bytes) -> list[Tile]:
        """Add a leaf; returns the tiles it filled."""
        self._frontier.append(leaf_hash)
        filled: list[Tile] = []
        node, level = leaf_hash, 0
        while True:
            if level == len(self._edge):
                self._edge.append([])
            row = self._edge[level]
            row.append(node)
            if len(row) < TILE:
                return filled
            n = (self._frontier.size >> (8 * (level + 1))) - 1
            filled.append(Tile(level, n, b"".join(row)))
            node = merkle.root(row)
            self._edge[level] = []
            level += 1

    def needed(self, ranges: Iterable[tuple[int, int]], size: int | None = None) -> set[TileKey]:
        """Stored tiles it takes to hash ranges of leaves, as `merkle.inclusion_ranges` names them."""
        size = self.size if size is None else size
        keys = set()
        for lo, hi in ranges:
            for level, n in merkle.decompose(lo, hi):
                key = (level // 8, (n << (level % 8)) // TILE)
                if (key[1] + 1) * TILE <= size >> (8 * key[0]):
                    keys.add(key)
        return keys

    def hashes(self, ranges: Sequence[tuple[int, int]], tiles: Mapping[TileKey, bytes]) -> list[bytes]:
        """Hashes of the ranges, from the edge and the tiles that `needed` named."""
        return [
            merkle.fold([self._subtree(level, n, tiles, self.size) for level, n in merkle.decompose(lo, hi)])
            for lo, hi in ranges
        ]

    def _subtree(self, level: int, n: int, tiles: Mapping[TileKey, bytes], size: int) -> bytes:
        """Hash of the complete subtree over leaves [n·2^level, (n+1)·2^level)."""
        tile_level, width = level // 8, 1 << (level % 8)
        tile, offset = divmod(n * width, TILE)
        if (tile + 1) * TILE <= size >> (8 * tile_level):
            stored = tiles[(tile_level, tile)]
            row = [stored[32 * i : 32 * i + 32] for i in range(offset, offset + width)]
        else:
            row = self._edge[tile_level][offset : offset + width]
        return merkle.root(row)
