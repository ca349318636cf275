"""Sealing of a signal's free-text detail: only who already holds the identifier can derive the key.

Sealed form, a multiple of 256 bytes and at most 4,352: version (1) ‖ key commitment (32) ‖ nonce (12) ‖
ChaCha20-Poly1305 ciphertext and tag. Plaintext inside: length (2, big-endian) ‖ detail ‖ zeros. Key and
commitment come from the token's sealing key by HKDF-SHA512 (RFC 5869) with an info that binds version, type,
epoch and signal id; the same bytes are the associated data. The commitment makes the AEAD key-committing: no
sealed form opens under two keys.
"""

import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from signalexchange.errors import MalformedError, VerificationError
from signalexchange.tokens import Token

VERSION = 1
MAX_DETAIL = 4_096
MAX_SEALED = 4_352
SIGNAL_ID_SIZE = 16

_BLOCK = 256
_COMMITMENT = 32
_NONCE = 12
_TAG = 16
_OVERHEAD = 1 + _COMMITMENT + _NONCE + _TAG


def seal(token: Token, signal_id: bytes, detail: bytes) -> bytes:
    """Seal 0 to 4,096 bytes of detail for the holders of the token's identifier.

    `signal_id` is the signal's 16 bytes. Raises MalformedError for a detail or id of another length.
    """
    if len(detail) > MAX_DETAIL:
        raise MalformedError("a detail has at most 4,096 bytes")
    key, commitment, context = _derive(token, signal_id)
    unpadded = _OVERHEAD + 2 + len(detail)
    padded = len(detail).to_bytes(2, "big") + detail + bytes(-unpadded % _BLOCK)
    nonce = secrets.token_bytes(_NONCE)
    return bytes([VERSION]) + commitment + nonce + ChaCha20Poly1305(key).encrypt(nonce, padded, context)


def open_sealed(token: Token, signal_id: bytes, sealed: bytes) -> bytes:
    """Open what `seal` made for this token and signal.

    Raises MalformedError for bytes of another form, VerificationError for another token, another signal or
    altered bytes.
    """
    if not 0 < len(sealed) <= MAX_SEALED or len(sealed) % _BLOCK != 0:
        raise MalformedError("a sealed detail is a multiple of 256 bytes, at most 4,352")
    if sealed[0] != VERSION:
        raise MalformedError("a sealed detail of an unknown version")
    key, commitment, context = _derive(token, signal_id)
    if not hmac.compare_digest(sealed[1 : 1 + _COMMITMENT], commitment):
        raise VerificationError("the detail was sealed for another token or another signal")
    nonce = sealed[1 + _COMMITMENT : 1 + _COMMITMENT + _NONCE]
    try:
        padded = ChaCha20Poly1305(key).decrypt(nonce, sealed[1 + _COMMITMENT + _NONCE :], context)
    except InvalidTag:
        raise VerificationError("the sealed detail was altered") from None
    length = int.from_bytes(padded[:2], "big")
    if length != len(padded) - 2 - (-(_OVERHEAD + 2 + length) % _BLOCK) or any(padded[2 + length :]):
        raise MalformedError("the sealed detail is padded wrongly")
    return padded[2 : 2 + length]


def _derive(token: Token, signal_id: bytes) -> tuple[bytes, bytes, bytes]:
    """Key, commitment and context (which is HKDF's info and the associated data) of one signal."""
    if len(signal_id) != SIGNAL_ID_SIZE:
        raise MalformedError("a signal id is 16 bytes")
    context = (
        b"signalexchange/sealing/v1\0"
        + token.type.to_bytes(2, "big")
        + token.epoch.to_bytes(4, "big")
        + signal_id
    )
    pseudorandom_key = hmac.digest(b"signalexchange/sealing/v1", token.sealing_key, hashlib.sha512)
    output = hmac.digest(pseudorandom_key, context + b"\x01", hashlib.sha512)
    return output[:32], output[32:], context
