"""Resume tokens: positions of the event stream that only the hub can read.

Invariants: a token is AES-256-GCM (NIST SP 800-38D) over the position, 8 bytes big-endian, under a key of
this database, bound to the member and to this use by the associated data: 12 random bytes, then ciphertext
and tag, 36 bytes. It tells nobody how many events there are, and nobody can make one or use another's.
"""

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from signalexchange.v1.error_reason_pb2 import ErrorReason

from exchange.domain.refusal import Refusal

_NONCE: Final = 12
_SIZE: Final = _NONCE + 8 + 16
_LABEL: Final = b"signalexchange/resume/v1\0"


class ResumeTokens:
    """Makes and opens resume tokens under a 32-byte key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, member: str, position: int) -> bytes:
        """The member's token of a position."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, position.to_bytes(8, "big"), _LABEL + member.encode())

    def open(self, member: str, token: bytes) -> int:
        """The position of a token. Raises Refusal RESUME_INVALID."""
        if len(token) == _SIZE:
            try:
                sealed = self._cipher.decrypt(token[:_NONCE], token[_NONCE:], _LABEL + member.encode())
                return int.from_bytes(sealed, "big")
            except InvalidTag:
                pass
        raise Refusal(
            ErrorReason.ERROR_REASON_RESUME_INVALID,
            "the resume token was not issued by this hub to this member",
        )
