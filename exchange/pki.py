"""A small certificate authority: the private keys and certificates of a deployment's mTLS.

Invariants: every certificate carries exactly one URI SAN, its SPIFFE id (SPIFFE X509-SVID, section 2); a
party's certificate is for client authentication only, so that it can't be used to pose as the hub; private
keys are written with mode 0600 and are never overwritten.
"""

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from signalexchange.credentials import TlsFiles

CURVE = ec.SECP256R1
CLOCK_SKEW = datetime.timedelta(minutes=5)


def write_private(path: Path, data: bytes) -> None:
    """Write a secret to a new file of mode 0600; raises FileExistsError rather than overwrite one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def write_signing_key(path: Path) -> ed25519.Ed25519PrivateKey:
    """Make an Ed25519 key and write it as PKCS #8 PEM (RFC 8410); raises FileExistsError."""
    key = ed25519.Ed25519PrivateKey.generate()
    write_private(path, _pem(key))
    return key


def write_hpke_key(path: Path) -> x25519.X25519PrivateKey:
    """Make an X25519 key and write it as PKCS #8 PEM (RFC 8410); raises FileExistsError."""
    key = x25519.X25519PrivateKey.generate()
    write_private(path, _pem(key))
    return key


def _pem(key: ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Authority:
    """A certificate authority kept in two files, `ca.pem` and `ca.key`, of one folder."""

    def __init__(self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.folder = folder
        self._certificate = certificate
        self._key = key

    @property
    def certificate_path(self) -> Path:
        """The authority's own certificate, which every peer trusts."""
        return self.folder / "ca.pem"

    @classmethod
    def create(cls, folder: Path, *, days: int = 3650) -> "Authority":
        """Make a new authority in `folder`, valid for `days`; raises FileExistsError where there is one."""
        key = ec.generate_private_key(CURVE())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "partner-signal exchange authority")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(folder / "ca.key", _pem(key))
        (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(folder, certificate, key)

    @classmethod
    def load(cls, folder: Path) -> "Authority":
        """Open the authority of `folder`; raises FileNotFoundError where there is none."""
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - `create` wrote it
        return cls(folder, x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes()), key)

    def issue(
        self,
        folder: Path,
        spiffe_id: str,
        *,
        server: bool = False,
        hosts: tuple[str, ...] = ("localhost", "127.0.0.1"),
        valid_for: datetime.timedelta = datetime.timedelta(days=365),
        not_before: datetime.datetime | None = None,
    ) -> TlsFiles:
        """Issue a certificate for `spiffe_id` into `folder` (tls.pem, tls.key, ca.pem).

        `server` adds server authentication and the `hosts` as DNS or IP names. `not_before` defaults to five
        minutes ago. Raises FileExistsError where the folder holds a key already.
        """
        key = ec.generate_private_key(CURVE())
        start = not_before or datetime.datetime.now(datetime.UTC) - CLOCK_SKEW
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(spiffe_id)]
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if server:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            names += [_host(host) for host in hosts]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, spiffe_id.rsplit("/", 1)[1])]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + valid_for)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        files = TlsFiles(folder / "tls.pem", folder / "tls.key", folder / "ca.pem")
        write_private(files.key, _pem(key))
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files.ca.write_bytes(self.certificate_path.read_bytes())
        return files


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
