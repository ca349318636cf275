"""Who is at the other end: the SPIFFE identity of the peer's certificate.

Invariants: an identity comes from exactly one URI SAN of SPIFFE form (SPIFFE X.509-SVID, section 2), never
from the subject or a DNS name; a certificate past its end identifies nobody, even on a connection opened
before. The chain itself was checked by TLS against the configured authority.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from signalexchange.v1.error_reason_pb2 import ErrorReason

from exchange.domain.refusal import Refusal

# SPIFFE-ID, section 2: lower-case trust domain, path segments of letters, digits, dots, dashes and
# underscores.
_SPIFFE: Final = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+")
_MAX_CACHED: Final = 4096


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """A peer: its SPIFFE id and when its certificate ends (Unix seconds)."""

    spiffe_id: str
    not_after: float


class Identities:
    """Reads identities from gRPC auth contexts; remembers parsed certificates by their PEM text."""

    def __init__(self) -> None:
        self._known: dict[bytes, PeerIdentity | str] = {}

    def of(self, auth_context: Mapping[str, Sequence[bytes]]) -> PeerIdentity:
        """Identity of the peer. Raises Refusal CERTIFICATE_INVALID."""
        pems = auth_context.get("x509_pem_cert", ())
        if len(pems) != 1:
            raise _invalid("no client certificate")
        found = self._known.get(pems[0])
        if found is None:
            found = _parse(pems[0])
            if len(self._known) >= _MAX_CACHED:
                self._known.clear()
            self._known[pems[0]] = found
        if isinstance(found, str):
            raise _invalid(found)
        if found.not_after <= time.time():
            raise _invalid("the certificate has expired")
        return found


def _invalid(message: str) -> Refusal:
    return Refusal(ErrorReason.ERROR_REASON_CERTIFICATE_INVALID, message)


def _parse(pem: bytes) -> PeerIdentity | str:
    """The identity, or what is wrong with the certificate."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except (ValueError, x509.ExtensionNotFound):
        return "the certificate has no readable subject alternative name"
    if not isinstance(names, x509.SubjectAlternativeName):
        return "the certificate has no readable subject alternative name"
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1 or len(uris[0]) > 2048 or not _SPIFFE.fullmatch(uris[0]):
        return "the certificate must carry exactly one SPIFFE URI"
    return PeerIdentity(uris[0], certificate.not_valid_after_utc.timestamp())
