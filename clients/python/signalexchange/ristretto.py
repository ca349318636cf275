"""The group ristretto255 (RFC 9496) over libsodium, with the checks libsodium leaves out.

Invariants: every point that leaves `check_point` is canonical and not the identity; every scalar that leaves
`check_scalar` is in [1, L). libsodium itself accepts the identity and scalars of L and more. Points are
32-byte encodings, scalars 32-byte little-endian integers. Arithmetic on scalars is libsodium's, in constant
time, because they are key shares and blinds. Every call into libsodium releases the GIL.
"""

import ctypes
import hashlib
from collections.abc import Sequence

import pysodium

from signalexchange.errors import MalformedError, VerificationError

POINT_SIZE = 32
SCALAR_SIZE = 32
ORDER = 2**252 + 27742317777372353535851937790883648493
IDENTITY = bytes(POINT_SIZE)
GENERATOR = bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76")

_sodium = pysodium.sodium
_SHA512_BLOCK = hashlib.sha512(bytes(128))  # expand_message_xmd starts every hash with a block of zeros


def check_point(encoding: bytes) -> bytes:
    """Return `encoding` if it is a canonical point other than the identity (RFC 9496, 4.3.1).

    Raises MalformedError.
    """
    if len(encoding) != POINT_SIZE:
        raise MalformedError("a point is 32 bytes")
    if encoding == IDENTITY:
        raise MalformedError("the identity is not allowed as a point")
    if not pysodium.crypto_core_ristretto255_is_valid_point(encoding):
        raise MalformedError("not a canonical ristretto255 encoding")
    return encoding


def check_scalar(encoding: bytes) -> bytes:
    """Return `encoding` if it is a scalar in [1, L), little-endian. Raises MalformedError."""
    if len(encoding) != SCALAR_SIZE:
        raise MalformedError("a scalar is 32 bytes")
    if not 0 < int.from_bytes(encoding, "little") < ORDER:
        raise MalformedError("a scalar is not in [1, L)")
    return encoding


def _check_sizes(*encodings: bytes) -> None:
    # libsodium reads 32 bytes wherever it is pointed to.
    for encoding in encodings:
        if len(encoding) != 32:
            raise MalformedError("points and scalars are 32 bytes")


def multiply(scalar: bytes, point: bytes) -> bytes:
    """scalar × point. Raises VerificationError when the product is the identity or `point` is no point."""
    _check_sizes(scalar, point)
    product = ctypes.create_string_buffer(POINT_SIZE)
    if _sodium.crypto_scalarmult_ristretto255(product, scalar, point) != 0:
        raise VerificationError("a product of scalar and point is the identity")
    return product.raw


def multiply_base(scalar: bytes) -> bytes:
    """scalar × generator. Raises VerificationError for the scalar zero."""
    _check_sizes(scalar)
    product = ctypes.create_string_buffer(POINT_SIZE)
    if _sodium.crypto_scalarmult_ristretto255_base(product, scalar) != 0:
        raise VerificationError("a product of scalar and generator is the identity")
    return product.raw


def add(first: bytes, second: bytes) -> bytes:
    """first + second; either may be the identity, and so may the sum. Raises MalformedError."""
    _check_sizes(first, second)
    total = ctypes.create_string_buffer(POINT_SIZE)
    if _sodium.crypto_core_ristretto255_add(total, first, second) != 0:
        raise MalformedError("not a canonical ristretto255 encoding")
    return total.raw


def multiply_and_sum(scalars: Sequence[bytes], points: Sequence[bytes]) -> bytes:
    """Σ scalarᵢ × pointᵢ, the identity for none; both lists are of one length.

    Raises VerificationError when a product is the identity.
    """
    total = ctypes.create_string_buffer(POINT_SIZE)  # zeros are the identity
    product = ctypes.create_string_buffer(POINT_SIZE)
    scalarmult, add_points = (
        _sodium.crypto_scalarmult_ristretto255,
        _sodium.crypto_core_ristretto255_add,
    )
    for scalar, point in zip(scalars, points, strict=True):
        _check_sizes(scalar, point)
        if scalarmult(product, scalar, point) != 0 or add_points(total, total, product) != 0:
            raise VerificationError("a product of scalar and point is the identity")
    return total.raw


def random_scalar() -> bytes:
    """A uniform scalar in [1, L)."""
    return bytes(pysodium.crypto_core_ristretto255_scalar_random())


def scalar_add(first: bytes, second: bytes) -> bytes:
    """first + second mod L."""
    return bytes(pysodium.crypto_core_ristretto255_scalar_add(first, second))


def scalar_subtract(first: bytes, second: bytes) -> bytes:
    """first − second mod L."""
    return bytes(pysodium.crypto_core_ristretto255_scalar_sub(first, second))


def scalar_multiply(first: bytes, second: bytes) -> bytes:
    """first × second mod L."""
    return bytes(pysodium.crypto_core_ristretto255_scalar_mul(first, second))


def scalar_invert(scalar: bytes) -> bytes:
    """scalar⁻¹ mod L; the scalar is in [1, L)."""
    return bytes(pysodium.crypto_core_ristretto255_scalar_invert(scalar))


def scalar_from_int(value: int) -> bytes:
    """`value` mod L as a scalar; for public numbers only, since Python's integers are not constant-time."""
    return (value % ORDER).to_bytes(SCALAR_SIZE, "little")


def expand_message_xmd(message: bytes, dst: bytes, length: int) -> bytes:
    """RFC 9380, 5.3.1, with SHA-512. `dst` has 1 to 255 bytes, `length` is 1 to 16,320 bytes.

    Raises MalformedError outside these bounds.
    """
    if not 1 <= len(dst) <= 255 or not 1 <= length <= 255 * 64:
        raise MalformedError("domain separation tag or output length out of range")
    dst_prime = dst + bytes([len(dst)])
    state = _SHA512_BLOCK.copy()
    state.update(b"".join((message, length.to_bytes(2, "big"), b"\0", dst_prime)))
    first = state.digest()
    block = hashlib.sha512(first + b"\x01" + dst_prime).digest()
    output = block
    for number in range(2, -(-length // 64) + 1):
        mixed = bytes(a ^ b for a, b in zip(first, block, strict=True))
        block = hashlib.sha512(mixed + bytes([number]) + dst_prime).digest()
        output += block
    return output[:length]


def hash_to_group(message: bytes, dst: bytes) -> bytes:
    """A point from bytes (RFC 9380, appendix B; RFC 9497, 4.1). Raises MalformedError for the identity."""
    point = bytes(pysodium.crypto_core_ristretto255_from_hash(expand_message_xmd(message, dst, 64)))
    if point == IDENTITY:
        raise MalformedError("the input maps to the identity")
    return point


def hash_to_scalar(message: bytes, dst: bytes) -> bytes:
    """A scalar from bytes: 64 uniform bytes, little-endian, mod L (RFC 9497, 4.1)."""
    return bytes(pysodium.crypto_core_ristretto255_scalar_reduce(expand_message_xmd(message, dst, 64)))
