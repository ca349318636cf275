"""The tree in memory equals the RFC's, whatever its size, with tiles and edge alone."""

from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange import merkle

from exchange.domain.tree import TileKey, Tree

LEAVES = [merkle.leaf_hash(b"%d" % number) for number in range(2 * 65536 + 700)]


def grown(size: int) -> tuple[Tree, dict[TileKey, bytes]]:
    tree, tiles = Tree(merkle.Frontier(), []), dict[TileKey, bytes]()
    for leaf in LEAVES[:size]:
        tiles.update({(tile.level, tile.n): tile.hashes for tile in tree.append(leaf)})
    return tree, tiles


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1500))
def test_root_and_every_proof(size: int) -> None:
    tree, tiles = grown(size)
    assert tree.size == size
    assert tree.root() == merkle.root(LEAVES[:size])
    for index in {0, size // 2, size - 1} if size else ():
        ranges = merkle.inclusion_ranges(index, size)
        assert tree.needed(ranges) <= tiles.keys()
        merkle.verify_inclusion(index, size, LEAVES[index], tree.hashes(ranges, tiles), tree.root())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 1500), st.data())
def test_consistency_between_any_two_sizes_of_the_past(size: int, data: st.DataObject) -> None:
    tree, tiles = grown(size)
    new = data.draw(st.integers(1, size))
    old = data.draw(st.integers(1, new))
    proof = tree.hashes(merkle.consistency_ranges(old, new), tiles)
    merkle.verify_consistency(old, new, proof, merkle.root(LEAVES[:old]), merkle.root(LEAVES[:new]))


def test_a_proof_in_a_large_tree_takes_a_handful_of_tiles() -> None:
    tree, tiles = grown(len(LEAVES))
    assert {level for level, _ in tiles} == {0, 1}
    for index in (0, 65535, 65536, 131_072, len(LEAVES) - 1):
        ranges = merkle.inclusion_ranges(index, tree.size)
        assert len(tree.needed(ranges)) <= 6
        merkle.verify_inclusion(index, tree.size, LEAVES[index], tree.hashes(ranges, tiles), tree.root())


def test_a_copy_grows_alone() -> None:
    tree, _ = grown(300)
    copy = tree.copy()
    copy.append(LEAVES[300])
    assert (tree.size, copy.size) == (300, 301)
    assert tree.root() == merkle.root(LEAVES[:300])
