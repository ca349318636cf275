"""The key manifest: which token keys are in force, signed by every custodian of the roster.

Invariants of a manifest that `open_manifest` returns: every custodian signed it; every key's public shares
lie on one polynomial of degree t − 1 with the key at zero; a (type, epoch) has one generation; the windows of
a type start and end in the order of its epochs and at most two are valid at a time; no key is used twice.
Shares of a generation that is not listed are worthless: clients verify proofs against the listed public
shares alone.
"""

from functools import cached_property
from itertools import pairwise
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from signalexchange.documents import Document, Record, UnixTime
from signalexchange.errors import MalformedError, VerificationError
from signalexchange.note import Verifier, open_note, split_note
from signalexchange.roster import Roster, TypeName, identifier_type
from signalexchange.threshold import verify_public_shares
from signalexchange.tokens import MAX_EPOCH

MAX_KEYS = 512


def _from_hex(value: object) -> object:
    if not isinstance(value, str):
        return value
    if len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise ValueError("not 64 lower-case hexadecimal digits")
    return bytes.fromhex(value)


Hex32 = Annotated[
    bytes,
    BeforeValidator(_from_hex),
    Field(min_length=32, max_length=32),
    PlainSerializer(lambda value: value.hex(), return_type=str, when_used="json"),
]
"""32 bytes (a point or a scalar), in the document as lower-case hex."""

Epoch = Annotated[int, Field(strict=True, ge=0, le=MAX_EPOCH)]
Generation = Annotated[int, Field(strict=True, ge=1, le=MAX_EPOCH)]
ShareIndex = Annotated[str, Field(strict=True, pattern=r"^[1-9][0-9]{0,2}$")]


class TokenKey(Record):
    """The public side of the key of one (type, epoch), valid from `valid_from` until before `valid_until`."""

    type: TypeName
    epoch: Epoch
    generation: Generation
    valid_from: UnixTime
    valid_until: UnixTime
    public_key: Hex32
    commitments: tuple[Hex32, ...]
    public_shares: dict[ShareIndex, Hex32]

    @property
    def type_value(self) -> int:
        """The IdentifierType."""
        return identifier_type(self.type)

    @cached_property
    def shares(self) -> dict[int, bytes]:
        """The public share of each share index."""
        return {int(index): point for index, point in self.public_shares.items()}

    def valid_at(self, now: int) -> bool:
        """Whether the key may be used at `now` (Unix seconds)."""
        return self.valid_from <= now < self.valid_until

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.valid_from >= self.valid_until:
            raise ValueError("valid_from is not before valid_until")
        return self


class KeyManifest(Document):
    """One version of the manifest; a new version replaces the one before."""

    version: Annotated[int, Field(strict=True, ge=1, le=2**31)]
    origin: Annotated[str, Field(strict=True, min_length=1, max_length=255)]
    threshold: Annotated[int, Field(strict=True, ge=2, le=255)]
    keys: Annotated[tuple[TokenKey, ...], Field(max_length=MAX_KEYS)]

    def key(self, type: int, epoch: int) -> TokenKey | None:  # noqa: A002 - the contract's name
        """The key of an IdentifierType and epoch, valid at present or not."""
        return self._by_epoch.get((type, epoch))

    def epochs(self, type: int, now: int) -> list[int]:  # noqa: A002 - the contract's name
        """The epochs of an IdentifierType valid at `now` (Unix seconds), at most two, newest last."""
        return sorted(key.epoch for key in self.keys if key.type_value == type and key.valid_at(now))

    @cached_property
    def _by_epoch(self) -> dict[tuple[int, int], TokenKey]:
        return {(key.type_value, key.epoch): key for key in self.keys}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self._by_epoch) != len(self.keys):
            raise ValueError("the same type and epoch stands twice")
        if len({key.public_key for key in self.keys}) != len(self.keys):
            raise ValueError("the same public key stands twice")
        for name in {key.type for key in self.keys}:
            keys = sorted((key for key in self.keys if key.type == name), key=lambda key: key.epoch)
            for older, newer in pairwise(keys):
                if older.valid_from >= newer.valid_from or older.valid_until >= newer.valid_until:
                    raise ValueError(f"the windows of {name} are not in the order of its epochs")
            if any(sum(other.valid_at(key.valid_from) for other in keys) > 2 for key in keys):
                raise ValueError(f"more than two epochs of {name} are valid at a time")
        return self


def check_manifest(manifest: KeyManifest, roster: Roster) -> None:
    """Check a manifest against the roster and all its public shares against their commitments.

    Raises MalformedError for what is no point, VerificationError for what does not match.
    """
    if manifest.origin != roster.origin:
        raise VerificationError("the manifest is of another origin than the roster")
    if manifest.threshold != roster.threshold:
        raise VerificationError("the manifest has another threshold than the roster")
    indices = {custodian.index for custodian in roster.custodians}
    for key in manifest.keys:
        try:
            if key.shares.keys() != indices:
                raise VerificationError("the public shares are not those of the roster's custodians")
            verify_public_shares(key.public_key, key.commitments, key.shares, manifest.threshold)
        except MalformedError as error:
            raise MalformedError(f"{key.type}, epoch {key.epoch}: {error}") from None
        except VerificationError as error:
            raise VerificationError(f"{key.type}, epoch {key.epoch}: {error}") from None


def open_manifest(note: bytes, roster: Roster) -> KeyManifest:
    """The manifest of a note (C2SP signed-note) that every custodian of the roster has signed.

    Raises MalformedError for bytes that are no manifest, VerificationError for a missing signature and for
    whatever `check_manifest` refuses.
    """
    for custodian in roster.custodians:
        try:
            open_note(note, [Verifier.parse(custodian.key)])
        except VerificationError as error:
            raise VerificationError(
                f"the manifest is not signed by custodian {custodian.id}: {error}"
            ) from None
    manifest = KeyManifest.parse(split_note(note)[0])
    check_manifest(manifest, roster)
    return manifest
