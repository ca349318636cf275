"""TLS credentials and signing keys from files.

Invariants: a private key that its group or others may read is refused; a certificate is used only with the
key it was issued for, so that a half-finished renewal is never picked up.
"""

import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519

from signalexchange.errors import ConfigError

# Signs a message with Ed25519 (RFC 8032): 64 bytes. A key file gives one, and so does an HSM's client.
Sign = Callable[[bytes], bytes]


def read_file(path: Path, what: str) -> bytes:
    """The file's bytes; raises ConfigError naming `what` and the path."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: can't read the {what}: {error.strerror}") from error


def read_private(path: Path, what: str) -> bytes:
    """A secret's bytes; raises ConfigError where the file is missing or others than its owner may read it."""
    data = read_file(path, what)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path}: the {what} may be read by others than its owner; run: chmod 600 {path}")
    return data


def load_private_key(path: Path) -> ed25519.Ed25519PrivateKey:
    """An Ed25519 private key in PKCS #8 PEM (RFC 8410); raises ConfigError."""
    key = _load_pem(path, "signing key")
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConfigError(f"{path}: the signing key must be an Ed25519 key")
    return key


def load_hpke_key(path: Path) -> x25519.X25519PrivateKey:
    """An X25519 private key in PKCS #8 PEM (RFC 8410), which opens what is sealed to a party (RFC 9180);
    raises ConfigError."""
    key = _load_pem(path, "HPKE key")
    if not isinstance(key, x25519.X25519PrivateKey):
        raise ConfigError(f"{path}: the HPKE key must be an X25519 key")
    return key


def _load_pem(path: Path, what: str) -> object:
    try:
        return serialization.load_pem_private_key(read_private(path, what), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: not an unencrypted private key in PEM") from error


def load_signing_key(path: Path) -> Sign:
    """The signing function of `load_private_key`'s key; raises ConfigError."""
    return load_private_key(path).sign


@dataclass(frozen=True)
class TlsFiles:
    """Paths of one party's certificate chain, private key and trusted authority, all PEM."""

    certificate: Path
    key: Path
    ca: Path

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Modification time and size of each file: changes when one is replaced. Raises ConfigError."""
        try:
            found = [path.stat() for path in (self.certificate, self.key, self.ca)]
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}") from error
        return tuple((each.st_mtime_ns, each.st_size) for each in found)

    def load(self) -> grpc.ChannelCredentials:
        """Credentials for mutual TLS; raises ConfigError where files are unreadable or don't belong
        together.
        """
        certificate = read_file(self.certificate, "certificate")
        key = read_private(self.key, "private key")
        ca = read_file(self.ca, "authority's certificate")
        leaf = self._parse(self.certificate, certificate)
        self._parse(self.ca, ca)
        try:
            public = serialization.load_pem_private_key(key, password=None).public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"{self.key}: not an unencrypted private key in PEM") from error
        if leaf.public_key() != public:
            raise ConfigError(f"{self.key}: not the key of the certificate in {self.certificate}")
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def expires_at(self) -> int:
        """When the certificate expires: Unix seconds. Raises ConfigError."""
        leaf = self._parse(self.certificate, read_file(self.certificate, "certificate"))
        return int(leaf.not_valid_after_utc.timestamp())

    def spiffe_id(self) -> str:
        """The one URI name of the certificate (SPIFFE X509-SVID, section 2). Raises ConfigError."""
        leaf = self._parse(self.certificate, read_file(self.certificate, "certificate"))
        try:
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        except (x509.ExtensionNotFound, ValueError):
            uris = []
        if len(uris) != 1:
            raise ConfigError(
                f"{self.certificate}: the certificate has not exactly one URI name, a SPIFFE id"
            )
        return uris[0]

    @staticmethod
    def _parse(path: Path, data: bytes) -> x509.Certificate:
        try:
            return x509.load_pem_x509_certificate(data)
        except ValueError as error:
            raise ConfigError(f"{path}: not a certificate in PEM") from error
