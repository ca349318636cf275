"""Sealing to a party's roster key: HPKE (RFC 9180), base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
ChaCha20Poly1305, one message a context, no associated data.

Sealed form: enc (32) ‖ ciphertext and tag. Plaintext inside: length (4, big-endian) ‖ content ‖ zeros, its
size 1 KiB times a power of two, so that the sealed form tells the content's size in steps of two. The info
binds what is sealed to its place: a label, a zero byte, and each part behind its length (4, big-endian).
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from signalexchange.errors import MalformedError, VerificationError

OVERHEAD = 32 + 16
BLOCK = 1024
MAX_CONTENT = (4 << 20) - 4
"""Bytes of content at most."""
MAX_SEALED = (4 << 20) + OVERHEAD

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def info(label: str, *parts: bytes) -> bytes:
    """The info of RFC 9180, section 5.1, that names what is sealed, from whom and for whom."""
    return label.encode() + b"\0" + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def seal(public_key: bytes, content: bytes, context: bytes) -> bytes:
    """Seal 0 to 4,194,300 bytes to an X25519 public key of 32 bytes, under the `info` given as context.

    Raises MalformedError for content that is too long or a key that is none.
    """
    if len(content) > MAX_CONTENT:
        raise MalformedError(f"at most {MAX_CONTENT:,} bytes can be sealed")
    framed = len(content).to_bytes(4, "big") + content
    size = max(BLOCK, 1 << (len(framed) - 1).bit_length())
    try:
        key = X25519PublicKey.from_public_bytes(public_key)
        return _SUITE.encrypt(framed.ljust(size, b"\0"), key, context)
    except ValueError:
        raise MalformedError("not an X25519 public key that can be sealed to") from None


def open_sealed(private_key: X25519PrivateKey, sealed: bytes, context: bytes) -> bytes:
    """Open what `seal` made for this key and context.

    Raises MalformedError for bytes of another form, VerificationError for another key, another context or
    altered bytes.
    """
    size = len(sealed) - OVERHEAD
    if not BLOCK <= size <= MAX_SEALED - OVERHEAD or size & (size - 1):
        raise MalformedError("what is sealed has 1 KiB times a power of two, and 48 bytes")
    try:
        framed = _SUITE.decrypt(sealed, private_key, context)
    except (InvalidTag, ValueError):
        raise VerificationError("sealed to another key or for another purpose, or altered") from None
    length = int.from_bytes(framed[:4], "big")
    if length > len(framed) - 4 or max(BLOCK, 1 << (length + 3).bit_length()) != len(framed):
        raise MalformedError("what is sealed is padded wrongly")
    if framed.count(0, 4 + length) != len(framed) - 4 - length:
        raise MalformedError("what is sealed is padded wrongly")
    return framed[4 : 4 + length]
