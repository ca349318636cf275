"""The tree agrees with RFC 9162's recursive definition, and only true proofs verify."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange import merkle
from signalexchange.errors import ExchangeError, VerificationError

LEAVES = [merkle.leaf_hash(index.to_bytes(2, "big")) for index in range(300)]
PUBLISHED = Path(__file__).parents[3] / "shared/data/merkle-proof-vectors.json"


def definition(hashes: list[bytes]) -> bytes:
    """MTH as RFC 9162, 2.1.1 writes it down."""
    if not hashes:
        return merkle.EMPTY_ROOT
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return merkle.node_hash(definition(hashes[:split]), definition(hashes[split:]))


def inclusion(index: int, size: int) -> list[bytes]:
    return [merkle.range_hash(LEAVES, lo, hi) for lo, hi in merkle.inclusion_ranges(index, size)]


def consistency(old: int, new: int) -> list[bytes]:
    return [merkle.range_hash(LEAVES, lo, hi) for lo, hi in merkle.consistency_ranges(old, new)]


sizes = st.integers(1, 300)


def test_root_and_frontier_follow_the_definition() -> None:
    frontier = merkle.Frontier()
    assert frontier.root() == merkle.root([]) == merkle.EMPTY_ROOT
    for size in range(1, 301):
        frontier.append(LEAVES[size - 1])
        assert frontier.size == size
        if size < 40 or size > 250:
            assert frontier.root() == merkle.root(LEAVES[:size]) == definition(LEAVES[:size])


def test_frontier_is_restored_from_its_nodes_and_copies_are_independent() -> None:
    frontier = merkle.Frontier()
    for leaf in LEAVES[:77]:
        frontier.append(leaf)
    restored = merkle.Frontier(77, frontier.nodes)
    copy = frontier.copy()
    restored.append(LEAVES[77])
    assert frontier.root() == copy.root() == merkle.root(LEAVES[:77])
    assert restored.root() == merkle.root(LEAVES[:78])
    with pytest.raises(VerificationError):
        merkle.Frontier(77, frontier.nodes[1:])


@given(sizes, st.data())
def test_every_inclusion_proof_verifies(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    merkle.verify_inclusion(index, size, LEAVES[index], inclusion(index, size), merkle.root(LEAVES[:size]))


@given(sizes, st.data())
def test_every_consistency_proof_verifies(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    roots = merkle.root(LEAVES[:old]), merkle.root(LEAVES[:new])
    merkle.verify_consistency(old, new, consistency(old, new), *roots)


def mutate(data: st.DataObject, proof: list[bytes]) -> list[bytes]:
    how = data.draw(st.sampled_from(["flip", "drop", "repeat", "swap", "cut"] if proof else ["repeat"]))
    if how == "repeat":
        return [*proof, proof[-1] if proof else bytes(32)]
    place = data.draw(st.integers(0, len(proof) - 1))
    if how == "flip":
        bit = data.draw(st.integers(0, 255))
        flipped = int.from_bytes(proof[place], "big") ^ (1 << bit)
        return [*proof[:place], flipped.to_bytes(32, "big"), *proof[place + 1 :]]
    if how == "drop":
        return proof[:place] + proof[place + 1 :]
    if how == "cut":
        return [*proof[:place], proof[place][:31], *proof[place + 1 :]]
    return [*proof[1:], proof[0]] if len(proof) > 1 else []


@given(sizes, st.data())
def test_no_mutated_inclusion_proof_verifies(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = mutate(data, inclusion(index, size))
    with pytest.raises(VerificationError):
        merkle.verify_inclusion(index, size, LEAVES[index], proof, merkle.root(LEAVES[:size]))


@given(sizes, st.data())
def test_an_inclusion_proof_is_of_one_leaf_at_one_index(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, 299).filter(lambda value: value != index))
    root = merkle.root(LEAVES[:size])
    with pytest.raises(VerificationError):
        merkle.verify_inclusion(index, size, LEAVES[other], inclusion(index, size), root)
    with pytest.raises(VerificationError):
        merkle.verify_inclusion(other, size, LEAVES[index], inclusion(index, size), root)


@given(sizes, st.data())
def test_no_mutated_consistency_proof_verifies(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    roots = merkle.root(LEAVES[:old]), merkle.root(LEAVES[:new])
    with pytest.raises(VerificationError):
        merkle.verify_consistency(old, new, mutate(data, consistency(old, new)), *roots)


@given(sizes, st.data())
def test_no_rewritten_tree_is_consistent(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    changed = data.draw(st.integers(0, old - 1))
    rewritten = [*LEAVES[:changed], merkle.leaf_hash(b"other"), *LEAVES[changed + 1 : new]]
    proof = [merkle.range_hash(rewritten, lo, hi) for lo, hi in merkle.consistency_ranges(old, new)]
    with pytest.raises(VerificationError):
        merkle.verify_consistency(old, new, proof, merkle.root(LEAVES[:old]), merkle.root(rewritten))


@given(sizes, st.data())
def test_ranges_of_a_proof_fold_from_complete_subtrees(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    ranges = merkle.inclusion_ranges(old - 1, new) + merkle.consistency_ranges(old, new) + [(0, new)]
    for lo, hi in ranges:
        parts = merkle.decompose(lo, hi)
        assert parts[0][1] << parts[0][0] == lo
        hashes = [merkle.range_hash(LEAVES, n << level, (n + 1) << level) for level, n in parts]
        assert merkle.fold(hashes) == merkle.range_hash(LEAVES, lo, hi)


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 5), (6, 5), (-1, 5), (1, 2**63)])
def test_sizes_that_prove_nothing_are_refused(old: int, new: int) -> None:
    with pytest.raises(VerificationError):
        merkle.consistency_ranges(old, new)
    with pytest.raises(VerificationError):
        merkle.verify_consistency(old, new, [], merkle.EMPTY_ROOT, merkle.EMPTY_ROOT)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 5), (0, 2**63)])
def test_indices_outside_the_tree_are_refused(index: int, size: int) -> None:
    with pytest.raises(VerificationError):
        merkle.inclusion_ranges(index, size)
    with pytest.raises(VerificationError):
        merkle.verify_inclusion(index, size, LEAVES[0], [], LEAVES[0])


@pytest.mark.parametrize(("lo", "hi"), [(0, 0), (3, 2), (-1, 2), (0, 301)])
def test_ranges_outside_the_tree_are_refused(lo: int, hi: int) -> None:
    with pytest.raises(VerificationError):
        merkle.range_hash(LEAVES, lo, hi)


@given(st.integers(0, 2**64), st.integers(0, 2**64), st.lists(st.binary(max_size=33), max_size=70))
def test_random_proofs_raise_our_errors_only(index: int, size: int, proof: list[bytes]) -> None:
    with pytest.raises(ExchangeError):
        merkle.verify_inclusion(index, size, bytes(32), proof, bytes(32))
    with pytest.raises(ExchangeError):
        merkle.verify_consistency(index, size, proof, bytes(32), bytes.fromhex("01" * 32))


def decoded(value: str | None) -> bytes:
    return base64.b64decode(value or "")


@pytest.mark.skipif(not PUBLISHED.exists(), reason="published proof vectors are not at hand")
def test_published_vectors() -> None:
    vectors = json.loads(PUBLISHED.read_text())
    for case in vectors["inclusion"]:
        proof = [decoded(value) for value in case["proof"] or []]
        arguments = (
            case["leafIdx"],
            case["treeSize"],
            decoded(case["leafHash"]),
            proof,
            decoded(case["root"]),
        )
        if case["wantErr"]:
            with pytest.raises(VerificationError):
                merkle.verify_inclusion(*arguments)
        else:
            merkle.verify_inclusion(*arguments)
    for case in vectors["consistency"]:
        proof = [decoded(value) for value in case["proof"] or []]
        roots = decoded(case["root1"]), decoded(case["root2"])
        if case["wantErr"]:
            with pytest.raises(VerificationError):
                merkle.verify_consistency(case["size1"], case["size2"], proof, *roots)
        else:
            merkle.verify_consistency(case["size1"], case["size2"], proof, *roots)
