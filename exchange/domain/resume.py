"""Resume tokens and page tokens: positions in streams and lists that only the hub can read.

Invariants: a token is AES-256-GCM (NIST SP 800-38D) over the position, 8 bytes big-endian, under a key of
this database, bound to the member and to its use by the associated data: 12 random bytes, then ciphertext
and tag, 36 bytes. It tells nobody how many events there are, and nobody can make one, use another's, or use
one of another stream or list. A position that is a look-up token takes 32 bytes.
"""

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from signalexchange.v1.error_reason_pb2 import ErrorReason

from exchange.domain.refusal import Refusal

_NONCE: Final = 12
_TAG: Final = 16
SIGNALS: Final = b"signalexchange/resume/v1\0"
"""Use: the events of signals."""
MATCH_EVENTS: Final = b"signalexchange/resume-matches/v1\0"
MATCH_PAGES: Final = b"signalexchange/page-matches/v1\0"
CASE_EVENTS: Final = b"signalexchange/resume-cases/v1\0"
CASE_PAGES: Final = b"signalexchange/page-cases/v1\0"
DISCLOSURE_EVENTS: Final = b"signalexchange/resume-disclosures/v1\0"
DISCLOSURE_PAGES: Final = b"signalexchange/page-disclosures/v1\0"
SET_ASIDE_PAGES: Final = b"signalexchange/page-set-aside/v1\0"


class ResumeTokens:
    """Makes and opens tokens of one use under a 32-byte key; a position has `size` bytes."""

    def __init__(self, key: bytes, use: bytes = SIGNALS, size: int = 8) -> None:
        self._cipher = AESGCM(key)
        self._use = use
        self._size = size

    def seal(self, member: str, position: int) -> bytes:
        """The member's token of a position."""
        nonce = os.urandom(_NONCE)
        plain = position.to_bytes(self._size, "big")
        return nonce + self._cipher.encrypt(nonce, plain, self._use + member.encode())

    def open(self, member: str, token: bytes) -> int:
        """The position of a token. Raises Refusal RESUME_INVALID."""
        if len(token) == _NONCE + self._size + _TAG:
            try:
                sealed = self._cipher.decrypt(token[:_NONCE], token[_NONCE:], self._use + member.encode())
                return int.from_bytes(sealed, "big")
            except InvalidTag:
                pass
        raise Refusal(
            ErrorReason.ERROR_REASON_RESUME_INVALID,
            "the token was not issued by this hub to this member for this use",
        )
