"""Server credentials: mTLS from files, read again when they change.

Invariants: a client certificate is always required; a file that has become unreadable or unusable keeps the
credentials that worked, so a half-copied renewal doesn't shut the server; new handshakes use new files
without a restart.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from signalexchange.credentials import read_file, read_private
from signalexchange.errors import ConfigError

_KEYS = ("tls.certificate", "tls.key", "tls.ca")
Result = TypeVar("Result")


class TlsFiles:
    """Certificate chain, private key and client authority, each a PEM file; a ConfigError names the key."""

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
        stats = [_named(name, partial(_stat, path)) for name, path in zip(_KEYS, self._paths, strict=True)]
        return tuple((stat.st_mtime_ns, stat.st_ino) for stat in stats)

    def _load(self) -> grpc.ServerCertificateConfiguration:
        """Configuration of the present files; raises ConfigError unless they parse and belong together."""
        of_certificate, of_key, of_authority = self._paths
        certificate = _named("tls.certificate", lambda: read_file(of_certificate, "certificate"))
        key = _named("tls.key", lambda: read_private(of_key, "private key"))
        authority = _named("tls.ca", lambda: read_file(of_authority, "authority's certificate"))
        try:
            public = x509.load_pem_x509_certificate(certificate).public_key()
        except ValueError:
            raise ConfigError(f"tls.certificate: {of_certificate}: not a certificate in PEM") from None
        try:
            private = load_pem_private_key(key, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigError(f"tls.key: {of_key}: not an unencrypted private key in PEM") from None
        try:
            x509.load_pem_x509_certificates(authority)
        except ValueError:
            raise ConfigError(f"tls.ca: {of_authority}: not a certificate in PEM") from None
        if private.public_key() != public:
            raise ConfigError(f"tls.key: {of_key}: not the key of the certificate {of_certificate}")
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


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _named(key: str, read: Callable[[], Result]) -> Result:
    """What `read` reads; its ConfigError names the configuration's key."""
    try:
        return read()
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None
