"""Signed notes (c2sp.org/signed-note): text with Ed25519 signature lines.

Invariants: a note is UTF-8 without control characters but newline, at most 1 MiB and 64 signatures; its text
ends with a newline and is divided from the signatures by the last empty line; a signature belongs to a key by
name *and* key id. Unknown signatures are ignored, a known one that fails rejects the note, and without a
known one that holds no text is returned.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from signalexchange.errors import MalformedError, VerificationError

MAX_NOTE_SIZE = 1 << 20
MAX_SIGNATURES = 64
ED25519 = 0x01
PUBLIC_KEY_SIZE = 32
SIGNATURE_SIZE = 64


class SignatureLine(NamedTuple):
    """One signature line, not yet verified."""

    name: str
    key_id: bytes
    signature: bytes


class Note(NamedTuple):
    """A verified text and the names of the known keys that signed it, in the order of their lines."""

    text: str
    signers: tuple[str, ...]


class NoteVerifier(Protocol):
    """A key that verifies signature lines of its name and key id."""

    @property
    def name(self) -> str:
        """Key name."""

    @property
    def key_id(self) -> bytes:
        """Key id, 4 bytes."""

    def verify(self, text: bytes, signature: bytes) -> None:
        """Raise VerificationError unless `signature` (the line's bytes after the key id) is over `text`."""


class NoteSigner(Protocol):
    """A key that makes signature lines."""

    @property
    def verifier(self) -> NoteVerifier:
        """The public half."""

    def sign_text(self, text: bytes) -> bytes:
        """Return the line's bytes after the key id."""


@dataclass(frozen=True)
class Verifier:
    """An Ed25519 key (signature type 0x01); `key_id` follows from name and key.

    Raises MalformedError for a name that is empty or holds a space or "+", or a key that has not 32 bytes.
    """

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.public_key) != PUBLIC_KEY_SIZE:
            raise MalformedError(f"an Ed25519 public key has 32 bytes, not {len(self.public_key)}")

    @cached_property
    def key_id(self) -> bytes:
        """First 4 bytes of SHA-256(name ‖ newline ‖ 0x01 ‖ public key)."""
        return key_id(self.name, ED25519, self.public_key)

    @classmethod
    def parse(cls, vkey: str) -> "Verifier":
        """Read a verifier key `name+hex id+base64(0x01 ‖ key)`; raises MalformedError."""
        name, public_key = parse_vkey(vkey, ED25519)
        return cls(name, public_key)

    @property
    def vkey(self) -> str:
        """The verifier key as text."""
        return format_vkey(self.name, ED25519, self.public_key)

    def verify(self, text: bytes, signature: bytes) -> None:
        """Raise VerificationError unless `signature`, 64 bytes, is this key's over `text` (RFC 8032)."""
        verify_ed25519(self.public_key, signature, text, f"signature of {self.name}")


@dataclass(frozen=True)
class Signer:
    """An Ed25519 key that signs; `sign` may reach into an HSM."""

    name: str
    public_key: bytes
    sign: Callable[[bytes], bytes]

    @classmethod
    def from_private_key(cls, name: str, private_key: Ed25519PrivateKey) -> "Signer":
        """A signer over a private key in memory."""
        return cls(name, private_key.public_key().public_bytes_raw(), private_key.sign)

    @cached_property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, self.public_key)

    def sign_text(self, text: bytes) -> bytes:
        """Sign the note's text; raises VerificationError unless `sign` returns 64 bytes.

        That they verify under `public_key` is not checked: a log signs every commit, and verifying costs
        three times as much as signing.
        """
        signature = self.sign(text)
        if len(signature) != SIGNATURE_SIZE:
            raise VerificationError(f"the key of {self.name} made no Ed25519 signature")
        return signature


def sign_note(text: str, signers: Iterable[NoteSigner]) -> bytes:
    """Sign `text`, which ends with a newline; raises MalformedError for a text that no note can carry."""
    return _assemble(_encode_text(text), [], signers)


def add_signatures(note: bytes, signers: Iterable[NoteSigner]) -> bytes:
    """Add signature lines to a note; a line of the same key is replaced. Existing lines are not verified."""
    text, lines = split_note(note)
    return _assemble(text.encode(), lines, signers)


def open_note(note: bytes, verifiers: Iterable[NoteVerifier]) -> Note:
    """Verify a note against known keys and return its text and who of them signed, each once.

    Raises MalformedError for bytes that are no note, VerificationError when a known key's signature fails or
    none is there.
    """
    text, lines = split_note(note)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    encoded = text.encode()
    signers: dict[tuple[str, bytes], str] = {}
    for line in lines:
        verifier = known.get((line.name, line.key_id))
        if verifier is not None:
            verifier.verify(encoded, line.signature)
            signers[line.name, line.key_id] = line.name
    if not signers:
        raise VerificationError("the note has no signature of a known key")
    return Note(text, tuple(signers.values()))


def split_note(note: bytes) -> tuple[str, list[SignatureLine]]:
    """Divide a note into text and signature lines without verifying; raises MalformedError."""
    if len(note) > MAX_NOTE_SIZE:
        raise MalformedError(f"a note has at most {MAX_NOTE_SIZE} bytes")
    try:
        decoded = note.decode()
    except UnicodeDecodeError:
        raise MalformedError("a note is UTF-8") from None
    _check_controls(note)
    end = decoded.rfind("\n\n")
    if end < 0 or not decoded.endswith("\n"):
        raise MalformedError(
            "a note has a text, an empty line and signature lines, each ending with a newline"
        )
    rows = decoded[end + 2 : -1].split("\n")
    if len(rows) > MAX_SIGNATURES:
        raise MalformedError(f"a note has at most {MAX_SIGNATURES} signatures")
    return decoded[: end + 1], [_parse_line(row) for row in rows]


def verify_ed25519(public_key: bytes, signature: bytes, message: bytes, what: str) -> None:
    """Raise VerificationError, naming `what`, unless `signature` is over `message` (RFC 8032)."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise VerificationError(f"{what} does not verify") from None


def check_key_name(name: str) -> None:
    """Raise MalformedError unless `name` may name a key: not empty, no Unicode space, no "+", no control."""
    if not name or any(character.isspace() or character == "+" or character < " " for character in name):
        raise MalformedError("a key name is not empty and holds neither space nor plus")
    _encode(name)


def key_id(name: str, signature_type: int, public_key: bytes) -> bytes:
    """Key id: first 4 bytes of SHA-256(name ‖ newline ‖ signature type ‖ public key)."""
    return sha256(name.encode() + b"\n" + bytes((signature_type,)) + public_key).digest()[:4]


def format_vkey(name: str, signature_type: int, public_key: bytes) -> str:
    """Verifier key as text: name+hex(key id)+base64(signature type ‖ public key)."""
    material = base64.b64encode(bytes((signature_type,)) + public_key).decode()
    return f"{name}+{key_id(name, signature_type, public_key).hex()}+{material}"


def parse_vkey(vkey: str, signature_type: int) -> tuple[str, bytes]:
    """Name and 32-byte Ed25519 key of a verifier key of one signature type; raises MalformedError."""
    parts = vkey.split("+", 2)
    if len(parts) != 3:
        raise MalformedError("a verifier key is name+id+key")
    name, hexadecimal, encoded = parts
    check_key_name(name)
    material = decode_base64(encoded, "verifier key")
    if len(material) != 1 + PUBLIC_KEY_SIZE or material[0] != signature_type:
        raise MalformedError(f"verifier key of {name} is not of signature type {signature_type:#04x}")
    if key_id(name, signature_type, material[1:]).hex() != hexadecimal:
        raise MalformedError(f"verifier key of {name} has an id of another key")
    return name, material[1:]


def decode_base64(text: str, what: str) -> bytes:
    """Decode canonical standard base64 (RFC 4648, section 4); raises MalformedError naming `what`."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise MalformedError(f"{what} is not base64") from None
    # Unused bits must be zero, or one signature had several spellings.
    if base64.b64encode(data).decode() != text:
        raise MalformedError(f"{what} is not canonical base64")
    return data


def _parse_line(row: str) -> SignatureLine:
    dash, _, rest = row.partition(" ")
    name, _, encoded = rest.partition(" ")
    if dash != "—":
        raise MalformedError("a signature line starts with an em dash")
    check_key_name(name)
    data = decode_base64(encoded, "signature line")
    if len(data) < 5:
        raise MalformedError("a signature line holds a key id and a signature")
    return SignatureLine(name, data[:4], data[4:])


def _assemble(text: bytes, lines: Sequence[SignatureLine], signers: Iterable[NoteSigner]) -> bytes:
    signed = {(line.name, line.key_id): line.signature for line in lines}
    for signer in signers:
        verifier = signer.verifier
        signed[verifier.name, verifier.key_id] = signer.sign_text(text)
    if not 1 <= len(signed) <= MAX_SIGNATURES:
        raise MalformedError(f"a note has 1 to {MAX_SIGNATURES} signatures")
    rows = [
        f"— {name} {base64.b64encode(identifier + signature).decode()}\n"
        for (name, identifier), signature in signed.items()
    ]
    note = text + b"\n" + "".join(rows).encode()
    if len(note) > MAX_NOTE_SIZE:
        raise MalformedError(f"a note has at most {MAX_NOTE_SIZE} bytes")
    return note


def _encode_text(text: str) -> bytes:
    encoded = _encode(text)
    if not encoded.endswith(b"\n"):
        raise MalformedError("a note's text ends with a newline")
    _check_controls(encoded)
    return encoded


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise MalformedError("a note is UTF-8") from None


_CONTROLS = bytes(byte for byte in range(0x20) if byte != 0x0A)


def _check_controls(data: bytes) -> None:
    if len(data.translate(None, _CONTROLS)) != len(data):
        raise MalformedError("a note holds no control character but newline")
