"""The verifiable oblivious pseudorandom function of RFC 9497, mode VOPRF (0x01), ristretto255-SHA512.

The batch is cut into chunks so that several threads can share it: `evaluate_chunk` and `weigh_chunk` do the
work that grows with the batch, `prove` and `verify` the rest once. `blind_evaluate` and `verify_proof` do a
whole batch in one thread. All points and scalars that come from outside must have passed
`ristretto.check_point` and `check_scalar`.
"""

import hashlib
import hmac
from collections.abc import Sequence

from signalexchange.errors import MalformedError, VerificationError
from signalexchange.ristretto import (
    IDENTITY,
    POINT_SIZE,
    SCALAR_SIZE,
    add,
    check_point,
    check_scalar,
    hash_to_group,
    hash_to_scalar,
    multiply,
    multiply_and_sum,
    multiply_base,
    random_scalar,
    scalar_multiply,
    scalar_subtract,
)

MAX_BATCH = 1_000
PROOF_SIZE = 2 * SCALAR_SIZE
OUTPUT_SIZE = 64

_CONTEXT = b"OPRFV1-\x01-ristretto255-SHA512"
_GROUP_DST = b"HashToGroup-" + _CONTEXT
_SCALAR_DST = b"HashToScalar-" + _CONTEXT
_SEED_DST = b"Seed-" + _CONTEXT
_POINT_PREFIX = POINT_SIZE.to_bytes(2, "big")


def _prefixed(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def blind(message: bytes, scalar: bytes | None = None) -> tuple[bytes, bytes]:
    """Blind an input of 1 to 65,535 bytes: (blind, blinded element) (RFC 9497, 3.3.1).

    `scalar` is the blind; a fresh random one is drawn unless a test vector needs another.
    Raises MalformedError for an input out of bounds.
    """
    if not 1 <= len(message) <= 0xFFFF:
        raise MalformedError("an input has 1 to 65,535 bytes")
    scalar = random_scalar() if scalar is None else check_scalar(scalar)
    return scalar, multiply(scalar, hash_to_group(message, _GROUP_DST))


def proof_seed(public_key: bytes) -> bytes:
    """The seed of a batch's weights, the same for every batch under one key (RFC 9497, 2.2.1)."""
    return hashlib.sha512(_prefixed(public_key) + _prefixed(_SEED_DST)).digest()


def _weights(seed: bytes, offset: int, blinded: Sequence[bytes], evaluated: Sequence[bytes]) -> list[bytes]:
    prefix = _prefixed(seed)
    return [
        hash_to_scalar(
            b"".join(
                (prefix, number.to_bytes(2, "big"), _POINT_PREFIX, c, _POINT_PREFIX, d, b"Composite"),
            ),
            _SCALAR_DST,
        )
        for number, (c, d) in enumerate(zip(blinded, evaluated, strict=True), offset)
    ]


def evaluate_chunk(
    key: bytes, seed: bytes, offset: int, blinded: Sequence[bytes]
) -> tuple[list[bytes], bytes]:
    """Evaluate the elements that stand at `offset` in their batch: (evaluated elements, their part of M).

    M is the weighted sum of ComputeCompositesFast (RFC 9497, 2.2.1). Cost: two multiplications an element.
    """
    evaluated = [multiply(key, element) for element in blinded]
    return evaluated, multiply_and_sum(_weights(seed, offset, blinded, evaluated), blinded)


def weigh_chunk(
    seed: bytes, offset: int, blinded: Sequence[bytes], evaluated: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """The verifier's parts of M and Z for the elements at `offset` (ComputeComposites, RFC 9497, 2.2.2)."""
    weights = _weights(seed, offset, blinded, evaluated)
    return multiply_and_sum(weights, blinded), multiply_and_sum(weights, evaluated)


def sum_points(points: Sequence[bytes]) -> bytes:
    """The sum of the chunks' parts."""
    total = IDENTITY
    for point in points:
        total = add(total, point)
    return total


def _challenge(public_key: bytes, m: bytes, z: bytes, t2: bytes, t3: bytes) -> bytes:
    return hash_to_scalar(
        b"".join(_prefixed(point) for point in (public_key, m, z, t2, t3)) + b"Challenge", _SCALAR_DST
    )


def prove(key: bytes, public_key: bytes, m: bytes, r: bytes | None = None) -> bytes:
    """The batched DLEQ proof c ‖ s over the weighted sum M (GenerateProof, RFC 9497, 2.2.1).

    `r` is drawn anew for every proof unless a test vector needs another: used twice it gives the key away.
    """
    r = random_scalar() if r is None else check_scalar(r)
    challenge = _challenge(public_key, m, multiply(key, m), multiply_base(r), multiply(r, m))
    return challenge + scalar_subtract(r, scalar_multiply(challenge, key))


def verify(public_key: bytes, m: bytes, z: bytes, proof: bytes) -> None:
    """Check a proof against the weighted sums M and Z (VerifyProof, RFC 9497, 2.2.2).

    Raises MalformedError for a proof of another form, VerificationError for one that does not hold.
    """
    if len(proof) != PROOF_SIZE:
        raise MalformedError("a proof is 64 bytes")
    challenge, response = check_scalar(proof[:SCALAR_SIZE]), check_scalar(proof[SCALAR_SIZE:])
    t2 = add(multiply_base(response), multiply(challenge, public_key))
    t3 = add(multiply(response, m), multiply(challenge, z))
    if not hmac.compare_digest(_challenge(public_key, m, z, t2, t3), challenge):
        raise VerificationError("the proof of the evaluation does not hold")


def blind_evaluate(
    key: bytes, public_key: bytes, blinded: Sequence[bytes], r: bytes | None = None
) -> tuple[list[bytes], bytes]:
    """Evaluate and prove a batch of 1 to 1,000 elements (RFC 9497, 3.3.2). Raises MalformedError."""
    _check_batch(len(blinded))
    evaluated, m = evaluate_chunk(
        key, proof_seed(public_key), 0, [check_point(element) for element in blinded]
    )
    return evaluated, prove(key, public_key, m, r)


def verify_proof(
    public_key: bytes, blinded: Sequence[bytes], evaluated: Sequence[bytes], proof: bytes
) -> None:
    """Check a batch's evaluation (RFC 9497, 2.2.2). Raises MalformedError or VerificationError."""
    _check_batch(len(blinded))
    if len(evaluated) != len(blinded):
        raise VerificationError("the number of evaluated elements is not the number of blinded ones")
    for element in evaluated:
        check_point(element)
    verify(public_key, *weigh_chunk(proof_seed(public_key), 0, blinded, evaluated), proof)


def finalize(message: bytes, unblinded: bytes) -> bytes:
    """The function's 64-byte output from the input and its unblinded evaluation (RFC 9497, 3.3.1)."""
    return hashlib.sha512(_prefixed(message) + _prefixed(unblinded) + b"Finalize").digest()


def _check_batch(size: int) -> None:
    if not 1 <= size <= MAX_BATCH:
        raise MalformedError("a batch has 1 to 1,000 elements")
