"""The group and the function: RFC 9497, an independent implementation, and what must be refused."""

import hashlib
import os
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange import ristretto, voprf
from signalexchange.errors import MalformedError, VerificationError
from voprf import ristretto as independent

ORDER = ristretto.ORDER
scalars = st.integers(1, ORDER - 1).map(ristretto.scalar_from_int)
messages = st.binary(min_size=1, max_size=64)


def derived_key(seed: bytes, info: bytes) -> bytes:
    """DeriveKeyPair of RFC 9497, 3.2.1, which the independent implementation makes its keys with."""
    context = b"OPRFV1-\x01-ristretto255-SHA512"
    message = seed + len(info).to_bytes(2, "big") + info + b"\0"
    return ristretto.hash_to_scalar(message, b"DeriveKeyPair" + context)


def evaluate_locally(key: bytes, message: bytes) -> bytes:
    blind, element = voprf.blind(message)
    (evaluated,), _ = voprf.blind_evaluate(key, ristretto.multiply_base(key), [element])
    return voprf.finalize(message, ristretto.multiply(ristretto.scalar_invert(blind), evaluated))


def test_expand_message_xmd_of_several_blocks() -> None:
    # RFC 9380, appendix K.3 (SHA-512), message "abc", 128 bytes.
    output = ristretto.expand_message_xmd(b"abc", b"QUUX-V01-CS02-with-expander-SHA512-256", 128)
    assert output.hex().startswith(
        "7f1dddd13c08b543f2e2037b14cefb255b44c83cc397c1786d975653e36a6b11bdd7732d8b38adb4a0edc26a"
    )
    assert len(output) == 128


@pytest.mark.parametrize(("dst", "length"), [(b"", 64), (b"x" * 256, 64), (b"x", 0), (b"x", 16_321)])
def test_expand_message_refuses_what_is_out_of_bounds(dst: bytes, length: int) -> None:
    with pytest.raises(MalformedError):
        ristretto.expand_message_xmd(b"message", dst, length)


@pytest.mark.parametrize(
    "encoding",
    [
        ristretto.IDENTITY,
        b"",
        bytes(31),
        bytes(33),
        ristretto.GENERATOR + b"\0",
        b"\xff" * 32,
        # RFC 9496, appendix A.3: not canonical, negative, or not a square.
        bytes.fromhex("00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
        bytes.fromhex("f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        bytes.fromhex("0100000000000000000000000000000000000000000000000000000000000000"),
        bytes.fromhex("26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371"),
    ],
)
def test_points_that_are_refused(encoding: bytes) -> None:
    with pytest.raises(MalformedError):
        ristretto.check_point(encoding)


@pytest.mark.parametrize(
    "encoding",
    [bytes(32), b"\1" * 31, ORDER.to_bytes(32, "little"), (ORDER + 1).to_bytes(32, "little"), b"\xff" * 32],
)
def test_scalars_that_are_refused(encoding: bytes) -> None:
    with pytest.raises(MalformedError):
        ristretto.check_scalar(encoding)


SHORT: list[Callable[[], bytes]] = [
    lambda: ristretto.multiply(b"\1", ristretto.GENERATOR),
    lambda: ristretto.multiply(b"\1" * 32, ristretto.GENERATOR[:5]),
    lambda: ristretto.multiply_base(b""),
    lambda: ristretto.add(ristretto.GENERATOR, b"x"),
    lambda: ristretto.multiply_and_sum([b"\1" * 32], [b""]),
]


@pytest.mark.parametrize("call", SHORT)
def test_short_encodings_never_reach_libsodium(call: Callable[[], bytes]) -> None:
    with pytest.raises(MalformedError):
        call()


def test_identity_products_are_refused() -> None:
    with pytest.raises(VerificationError):
        ristretto.multiply(bytes(32), ristretto.GENERATOR)
    with pytest.raises(VerificationError):
        ristretto.multiply_base(bytes(32))
    with pytest.raises(VerificationError):
        ristretto.multiply_and_sum([b"\1" + bytes(31)], [ristretto.IDENTITY])
    assert ristretto.multiply_and_sum([], []) == ristretto.IDENTITY


@given(scalars, scalars)
@settings(max_examples=25, deadline=None)
def test_scalar_arithmetic_is_that_of_the_integers(first: bytes, second: bytes) -> None:
    a, b = int.from_bytes(first, "little"), int.from_bytes(second, "little")
    assert ristretto.scalar_add(first, second) == ristretto.scalar_from_int(a + b)
    assert ristretto.scalar_subtract(first, second) == ristretto.scalar_from_int(a - b)
    assert ristretto.scalar_multiply(first, second) == ristretto.scalar_from_int(a * b)
    assert ristretto.scalar_multiply(first, ristretto.scalar_invert(first)) == ristretto.scalar_from_int(1)
    assert ristretto.add(ristretto.multiply_base(first), ristretto.multiply_base(second)) == (
        ristretto.multiply_base(ristretto.scalar_add(first, second))
        if (a + b) % ORDER
        else ristretto.IDENTITY
    )


@given(messages, st.lists(scalars, min_size=2, max_size=2, unique=True))
@settings(max_examples=20, deadline=None)
def test_the_output_depends_on_key_and_input_not_on_the_blind(message: bytes, keys: list[bytes]) -> None:
    first, other = keys
    assert evaluate_locally(first, message) == evaluate_locally(first, message)
    assert evaluate_locally(first, message) != evaluate_locally(other, message)
    assert evaluate_locally(first, message) != evaluate_locally(first, message + b"x")


def test_outputs_equal_an_independent_implementation() -> None:
    seed, info = os.urandom(32), b"exchange"
    server = independent.Evaluator.from_seed(seed, info)
    key = derived_key(seed, info)
    assert server.public_key.serialize() == ristretto.multiply_base(key)
    for message in (b"x", b"+8613800138000", os.urandom(300)):
        assert evaluate_locally(key, message) == server.evaluate_known_input(message)


def test_an_independent_client_accepts_our_batched_proof() -> None:
    key = ristretto.random_scalar()
    public_key = ristretto.multiply_base(key)
    inputs = [b"one", b"two", b"three"]
    clients, blinded = zip(*(independent.Client.blind(message) for message in inputs), strict=True)
    elements = [each.serialize() for each in blinded]
    evaluated, proof = voprf.blind_evaluate(key, public_key, elements)
    output = independent.VerifiableBatchOutput.deserialize(proof + b"".join(evaluated))
    outputs = independent.Client.finalize_batch(
        clients, output, independent.PublicKey.deserialize(public_key)
    )
    assert outputs == [evaluate_locally(key, message) for message in inputs]


def test_we_accept_an_independent_evaluation() -> None:
    seed = os.urandom(32)
    server = independent.Evaluator(seed)
    public_key = server.public_key.serialize()
    _, element = voprf.blind(b"input")
    answer = server.evaluate(independent.BlindedInput.deserialize(element)).serialize()
    voprf.verify_proof(public_key, [element], [answer[64:]], answer[:64])


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_a_proof_holds_for_its_batch_alone(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 5))
    key = ristretto.random_scalar()
    public_key = ristretto.multiply_base(key)
    blinded = [voprf.blind(os.urandom(8))[1] for _ in range(size)]
    evaluated, proof = voprf.blind_evaluate(key, public_key, blinded)
    voprf.verify_proof(public_key, blinded, evaluated, proof)
    what = data.draw(st.sampled_from(["key", "element", "swap", "evaluated", "bit", "length"]))
    if what == "key":
        public_key = ristretto.multiply_base(ristretto.random_scalar())
    elif what == "element":
        blinded[data.draw(st.integers(0, size - 1))] = voprf.blind(b"other")[1]
    elif what == "evaluated":
        evaluated[data.draw(st.integers(0, size - 1))] = voprf.blind(b"other")[1]
    elif what == "swap":
        blinded, evaluated = [*blinded, blinded[0]], [evaluated[0], *evaluated]
        if size == 1:
            evaluated[0] = voprf.blind(b"other")[1]
    elif what == "bit":
        position = data.draw(st.integers(0, 511))
        altered = bytearray(proof)
        altered[position // 8] ^= 1 << position % 8
        proof = bytes(altered)
    else:
        proof = proof[: data.draw(st.integers(0, 63))]
    with pytest.raises((MalformedError, VerificationError)):
        voprf.verify_proof(public_key, blinded, evaluated, proof)


def test_chunks_prove_what_a_whole_batch_proves() -> None:
    key = ristretto.random_scalar()
    public_key = ristretto.multiply_base(key)
    blinded = [voprf.blind(os.urandom(8))[1] for _ in range(7)]
    seed, r = voprf.proof_seed(public_key), ristretto.random_scalar()
    parts = [voprf.evaluate_chunk(key, seed, start, blinded[start : start + 3]) for start in (0, 3, 6)]
    proof = voprf.prove(key, public_key, voprf.sum_points([m for _, m in parts]), r)
    assert ([e for part, _ in parts for e in part], proof) == voprf.blind_evaluate(
        key, public_key, blinded, r
    )


@pytest.mark.parametrize("size", [0, 1_001])
def test_batches_of_other_sizes_are_refused(size: int) -> None:
    elements = [ristretto.GENERATOR] * size
    key = ristretto.random_scalar()
    with pytest.raises(MalformedError):
        voprf.blind_evaluate(key, ristretto.multiply_base(key), elements)
    with pytest.raises(MalformedError):
        voprf.verify_proof(ristretto.GENERATOR, elements, elements, bytes(64))


@pytest.mark.parametrize("message", [b"", bytes(65_536)])
def test_inputs_of_other_sizes_are_refused(message: bytes) -> None:
    with pytest.raises(MalformedError):
        voprf.blind(message)


def test_proof_seed_is_the_rfcs() -> None:
    public_key = ristretto.GENERATOR
    dst = b"Seed-OPRFV1-\x01-ristretto255-SHA512"
    expected = hashlib.sha512(b"\0\x20" + public_key + len(dst).to_bytes(2, "big") + dst).digest()
    assert voprf.proof_seed(public_key) == expected
