"""Server credentials: mTLS from files, read again when they change.

Invariants: a client certificate is always required; a file that has become unreadable or unusable keeps the
credentials that worked, so a half-copied renewal doesn't shut the server; new handshakes use new files
without a restart.
"""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from signalexchange.credentials import read_file, read_private
from signalexchange.errors import ConfigError


class TlsFiles:
    """Certificate chain, private key and client authority, each a PEM file."""

    def __init__(self, certificate: Path, key: Path, authority: Path) -> None:
        self._paths = (certificate, key, authority)
        self._stamp = self._stamps()
        self._initial = self._load()

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials that look at the files at each handshake."""
        # None from the fetcher means "no change" (gRPC's documentation); the stubs don't know it.
        fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._changed)
        return grpc.dynamic_ssl_server_credentials(self._initial, fetch, require_client_authentication=True)

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        try:
            stats = [path.stat() for path in self._paths]
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}") from None
        return tuple((stat.st_mtime_ns, stat.st_ino) for stat in stats)

    def _load(self) -> grpc.ServerCertificateConfiguration:
        """Configuration of the present files; raises ConfigError unless they parse and belong together."""
        certificate = read_file(self._paths[0], "certificate")
        key = read_private(self._paths[1], "private key")
        authority = read_file(self._paths[2], "authority's certificate")
        try:
            public = x509.load_pem_x509_certificate(certificate).public_key()
            private = load_pem_private_key(key, None)
            x509.load_pem_x509_certificates(authority)
        except (ValueError, TypeError):
            names = ", ".join(str(path) for path in self._paths)
            raise ConfigError(
                f"not PEM certificate, unencrypted private key and authority: {names}"
            ) from None
        if private.public_key() != public:
            raise ConfigError(f"{self._paths[1]}: not the key of the certificate {self._paths[0]}")
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """New configuration, or None where nothing changed or what is there can't be used (yet)."""
        try:
            stamp = self._stamps()
            if stamp == self._stamp:
                return None
            fresh = self._load()
        except ConfigError:
            return None
        self._stamp = stamp
        return fresh
