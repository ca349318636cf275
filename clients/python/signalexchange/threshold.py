"""Shamir sharing of a token key t of n, Feldman's commitments to it, and combination at zero.

Invariants: the joint key is never put together outside `deal`; a share that passes `verify_share` lies on the
committed polynomial of degree t − 1; `combine` takes exactly t partial evaluations of distinct indices in [1,
255] and of one generation. Sources: Shamir 1979; Feldman 1987.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from signalexchange.errors import MalformedError, VerificationError
from signalexchange.ristretto import (
    ORDER,
    add,
    check_point,
    check_scalar,
    multiply,
    multiply_and_sum,
    multiply_base,
    random_scalar,
    scalar_add,
    scalar_from_int,
    scalar_multiply,
)

MAX_INDEX = 255


@dataclass(frozen=True)
class Dealing:
    """What a dealer hands out: each share to its custodian alone, the rest to everybody."""

    public_key: bytes
    commitments: tuple[bytes, ...]
    public_shares: dict[int, bytes]
    shares: dict[int, bytes] = field(repr=False)


@dataclass(frozen=True)
class Partial:
    """One custodian's evaluation of a batch: share index, key generation, elements in order."""

    index: int
    generation: int
    elements: Sequence[bytes]


def deal(threshold: int, indices: Sequence[int], secret: bytes | None = None) -> Dealing:
    """Share a key so that any `threshold` (2 or more) of the custodians at `indices` can evaluate under it.

    `secret` is the joint key (a scalar in [1, L)); a fresh one is drawn unless a test vector needs another.
    Raises MalformedError for indices or a threshold out of range.
    """
    check_indices(indices)
    if not 2 <= threshold <= len(indices):
        raise MalformedError("a threshold is at least 2 and at most the number of custodians")
    constant = random_scalar() if secret is None else check_scalar(secret)
    while True:
        coefficients = [constant, *(random_scalar() for _ in range(threshold - 1))]
        shares = {index: _evaluate(coefficients, index) for index in indices}
        if all(any(share) for share in shares.values()):  # a share of zero has no public share
            break
    commitments = tuple(multiply_base(coefficient) for coefficient in coefficients)
    public_shares = {index: multiply_base(share) for index, share in shares.items()}
    return Dealing(commitments[0], commitments, public_shares, shares)


def _evaluate(coefficients: Sequence[bytes], index: int) -> bytes:
    x, value = scalar_from_int(index), scalar_from_int(0)
    for coefficient in reversed(coefficients):
        value = scalar_add(scalar_multiply(value, x), coefficient)
    return value


def check_indices(indices: Sequence[int]) -> None:
    """Check that indices are distinct and in [1, 255]: at 0 lies the key. Raises MalformedError."""
    if any(not 1 <= index <= MAX_INDEX for index in indices):
        raise MalformedError("a share index is 1 to 255")
    if len(set(indices)) != len(indices):
        raise MalformedError("a share index occurs twice")


def public_share(commitments: Sequence[bytes], index: int) -> bytes:
    """The public share of `index` that follows from the commitments: Σ indexʲ × commitmentⱼ."""
    check_indices([index])
    total, power = commitments[0], 1
    for commitment in commitments[1:]:
        power = power * index % ORDER
        total = add(total, multiply(scalar_from_int(power), commitment))
    return total


def verify_share(index: int, share: bytes, commitments: Sequence[bytes]) -> None:
    """Check a custodian's share against the commitments. Raises MalformedError or VerificationError."""
    for commitment in commitments:
        check_point(commitment)
    if not hmac.compare_digest(multiply_base(check_scalar(share)), public_share(commitments, index)):
        raise VerificationError(f"the share of index {index} does not match the commitments")


def verify_public_shares(
    public_key: bytes, commitments: Sequence[bytes], public_shares: Mapping[int, bytes], threshold: int
) -> None:
    """Check that all public shares lie on one polynomial of degree t − 1 with the public key at zero.

    Raises MalformedError for bad encodings or indices, VerificationError for what does not match.
    """
    check_indices(list(public_shares))
    if not 2 <= threshold <= len(public_shares):
        raise VerificationError("a threshold is at least 2 and at most the number of custodians")
    if len(commitments) != threshold:
        raise VerificationError("the number of commitments is not the threshold")
    for point in (public_key, *commitments, *public_shares.values()):
        check_point(point)
    if commitments[0] != public_key:
        raise VerificationError("the public key is not the commitment to the constant term")
    for index, point in public_shares.items():
        if public_share(commitments, index) != point:
            raise VerificationError(f"the public share of index {index} does not match the commitments")


def lagrange_at_zero(indices: Sequence[int]) -> dict[int, bytes]:
    """The Lagrange coefficient of every index for the value at zero, mod L. Raises MalformedError."""
    check_indices(indices)
    coefficients = {}
    for i in indices:
        numerator = denominator = 1
        for j in indices:
            if j != i:
                numerator = numerator * j % ORDER
                denominator = denominator * (j - i) % ORDER
        coefficients[i] = scalar_from_int(numerator * pow(denominator, -1, ORDER))
    return coefficients


def combine(
    partials: Sequence[Partial], threshold: int, factors: Sequence[bytes] | None = None
) -> list[bytes]:
    """Combine the partial evaluations of exactly `threshold` custodians: factorⱼ × key × elementⱼ for each j.

    `factors` are scalars in [1, L), usually the inverses of the blinds, so that unblinding costs nothing
    more. Raises MalformedError or VerificationError for anything mixed, missing or malformed.
    """
    if len(partials) != threshold:
        raise VerificationError("the number of partial evaluations is not the threshold")
    if len({partial.generation for partial in partials}) != 1:
        raise VerificationError("partial evaluations of different key generations")
    size = len(partials[0].elements)
    if any(len(partial.elements) != size for partial in partials) or (
        factors is not None and len(factors) != size
    ):
        raise VerificationError("partial evaluations of different length")
    for partial in partials:
        for element in partial.elements:
            check_point(element)
    coefficients = list(lagrange_at_zero([partial.index for partial in partials]).values())
    combined = []
    for number, elements in enumerate(zip(*(partial.elements for partial in partials), strict=True)):
        scalars = (
            coefficients
            if factors is None
            else [scalar_multiply(coefficient, factors[number]) for coefficient in coefficients]
        )
        combined.append(check_point(multiply_and_sum(scalars, elements)))
    return combined
