"""The Merkle tree of RFC 6962 / RFC 9162 section 2.1, over SHA-256.

Invariants: a leaf is hashed behind 0x00 and an inner node behind 0x01, so neither can pass for the other; the
left subtree of n leaves holds the largest power of two below n; everything here is pure and holds no tree in
memory but the at most 64 hashes of a `Frontier`. A proof is described by ranges of leaves first
(`inclusion_ranges`, `consistency_ranges`), so that whoever can hash a range, from memory, tiles or a
database, can prove.
"""

from collections.abc import Sequence
from hashlib import sha256

from signalexchange.errors import VerificationError

HASH_SIZE = 32
MAX_SIZE = 2**63 - 1
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf's data: SHA-256(0x00 ‖ data) (RFC 9162, 2.1.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 ‖ left ‖ right) (RFC 9162, 2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Root over leaf hashes in order; `EMPTY_ROOT` over none."""
    level = list(leaf_hashes)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        # An odd node at the end moves up unhashed, which is where the RFC's recursive split puts it.
        paired = [
            sha256(b"\x01" + left + right).digest()
            for left, right in zip(level[::2], level[1::2], strict=False)
        ]
        if len(level) & 1:
            paired.append(level[-1])
        level = paired
    return level[0]


def range_hash(leaf_hashes: Sequence[bytes], lo: int, hi: int) -> bytes:
    """Hash of the subtree over leaves [lo, hi), 0 ≤ lo < hi ≤ len(leaf_hashes)."""
    if not 0 <= lo < hi <= len(leaf_hashes):
        raise VerificationError(f"no leaves [{lo}, {hi}) in a tree of {len(leaf_hashes)}")
    return root(leaf_hashes[lo:hi])


def decompose(lo: int, hi: int) -> list[tuple[int, int]]:
    """Split [lo, hi) into complete, aligned subtrees (level, n), left to right.

    Each covers leaves [n·2^level, (n+1)·2^level). For a range of `inclusion_ranges`, `consistency_ranges` or
    a whole tree [0, size) the subtrees shrink from left to right, and `fold` of their hashes is the range's
    hash.
    """
    parts = []
    while lo < hi:
        level = (hi - lo).bit_length() - 1
        if lo:
            level = min(level, (lo & -lo).bit_length() - 1)
        parts.append((level, lo >> level))
        lo += 1 << level
    return parts


def fold(hashes: Sequence[bytes]) -> bytes:
    """Hash of a range from those of its subtrees as `decompose` orders them; `EMPTY_ROOT` of none."""
    if not hashes:
        return EMPTY_ROOT
    result = hashes[-1]
    for left in reversed(hashes[:-1]):
        result = sha256(b"\x01" + left + result).digest()
    return result


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Subtrees [lo, hi) whose hashes prove leaf `index` in a tree of `size` (RFC 9162, 2.1.3.1), in proof
    order.

    Raises VerificationError unless 0 ≤ index < size.
    """
    _check_size(size)
    if not 0 <= index < size:
        raise VerificationError(f"no leaf {index} in a tree of {size}")
    ranges = []
    lo, hi = 0, size
    while hi - lo > 1:
        middle = lo + _split(hi - lo)
        if index < middle:
            ranges.append((middle, hi))
            hi = middle
        else:
            ranges.append((lo, middle))
            lo = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """Subtrees [lo, hi) whose hashes prove that a tree of `new` extends one of `old` (RFC 9162, 2.1.4.1).

    In proof order. Raises VerificationError unless 1 ≤ old ≤ new: the empty tree proves nothing.
    """
    _check_size(new)
    if not 1 <= old <= new:
        raise VerificationError(f"no consistency proof from size {old} to {new}")
    ranges = []
    lo, hi = 0, new
    while old != hi:
        middle = lo + _split(hi - lo)
        if old <= middle:
            ranges.append((middle, hi))
            hi = middle
        else:
            ranges.append((lo, middle))
            lo = middle
    if lo:
        ranges.append((lo, hi))
    return ranges[::-1]


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash `leaf` is at `index` of the tree (size, root) (RFC 9162, 2.1.3.2).

    Raises VerificationError when the index is outside the tree, or the proof has the wrong length or result.
    """
    _check_size(size)
    if not 0 <= index < size:
        raise VerificationError(f"no leaf {index} in a tree of {size}")
    _check_hashes((leaf, root, *proof))
    node, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise VerificationError("inclusion proof is too long")
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            result = node_hash(result, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise VerificationError("inclusion proof is too short")
    if result != root:
        raise VerificationError("inclusion proof does not lead to the root")


def verify_consistency(
    old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check that the tree (new_size, new_root) extends (old_size, old_root) (RFC 9162, 2.1.4.2).

    Raises VerificationError unless 1 ≤ old_size ≤ new_size and the proof leads to both roots.
    """
    _check_size(new_size)
    if not 1 <= old_size <= new_size:
        raise VerificationError(f"no consistency proof from size {old_size} to {new_size}")
    if old_size == new_size:
        if proof:
            raise VerificationError("consistency proof is too long")
        if old_root != new_root:
            raise VerificationError("two roots of one tree size")
        return
    _check_hashes((old_root, new_root, *proof))
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise VerificationError("consistency proof is too short")
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old_result = new_result = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise VerificationError("consistency proof is too long")
        if node & 1 or node == last:
            old_result = node_hash(sibling, old_result)
            new_result = node_hash(sibling, new_result)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            new_result = node_hash(new_result, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise VerificationError("consistency proof is too short")
    if old_result != old_root:
        raise VerificationError("consistency proof does not lead to the old root")
    if new_result != new_root:
        raise VerificationError("consistency proof does not lead to the new root")


class Frontier:
    """The right edge of a growing tree: roots of its complete subtrees, largest first, one per set bit of
    `size`.

    Appending costs two hashes on average, a root at most 63. Raises VerificationError when `nodes` can't
    belong to a tree of `size`.
    """

    __slots__ = ("_nodes", "size")

    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        _check_size(size)
        _check_hashes(nodes)
        if len(nodes) != size.bit_count():
            raise VerificationError(f"a tree of {size} has {size.bit_count()} subtrees, not {len(nodes)}")
        self.size = size
        self._nodes = list(nodes)

    @property
    def nodes(self) -> tuple[bytes, ...]:
        """Hashes of the subtrees `decompose(0, size)` names, for `Frontier(size, nodes)`."""
        return tuple(self._nodes)

    def append(self, leaf_hash: bytes) -> None:
        """Add the next leaf by its hash."""
        node, size = leaf_hash, self.size
        while size & 1:
            node = sha256(b"\x01" + self._nodes.pop() + node).digest()
            size >>= 1
        self._nodes.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Root of the tree as it stands."""
        return fold(self._nodes)

    def copy(self) -> "Frontier":
        """An independent frontier of the same tree."""
        other = Frontier()
        other.size, other._nodes = self.size, self._nodes.copy()
        return other


def _split(size: int) -> int:
    """Size of the left subtree of `size` ≥ 2 leaves."""
    return 1 << ((size - 1).bit_length() - 1)


def _check_size(size: int) -> None:
    if not 0 <= size <= MAX_SIZE:
        raise VerificationError(f"tree size {size} is out of range")


def _check_hashes(hashes: Sequence[bytes]) -> None:
    if any(len(value) != HASH_SIZE for value in hashes):
        raise VerificationError("a hash of the tree has 32 bytes")
