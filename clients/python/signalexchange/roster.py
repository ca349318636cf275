"""The roster: who takes part, with which keys, signed by a quorum of governance keys. The root of trust.

Invariants: a roster is the canonical JSON text of a signed note; every version names its predecessor by hash
and is signed by the quorum of the *predecessor's* governance keys, a rotation of those keys included; the
first version is the trust anchor and signed by its own quorum. No public key, SPIFFE id or party id stands in
it twice; no controlling group holds as many custodian shares as open a token, and none of them is the
operator's. Nothing here reads a clock.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from signalexchange.documents import Base64, Document, Identifier, Record, Sha256Hex, SpiffeId, UnixTime
from signalexchange.errors import MalformedError, VerificationError
from signalexchange.note import NoteSigner, Verifier, open_note, sign_note, split_note
from signalexchange.v1.identifier_pb2 import IdentifierType, PartyKind

MAX_BUDGET = 10**10

_TYPES = {
    value.name.removeprefix("IDENTIFIER_TYPE_").lower(): value.number
    for value in IdentifierType.DESCRIPTOR.values
    if value.number
}
_TYPE_NAMES = {number: name for name, number in _TYPES.items()}
_KINDS = {
    value.name.removeprefix("PARTY_KIND_").lower(): value.number
    for value in PartyKind.DESCRIPTOR.values
    if value.number
}


def identifier_type(name: str) -> int:
    """IdentifierType of a name such as "phone"; raises MalformedError for an unknown one."""
    if name not in _TYPES:
        raise MalformedError(f"unknown identifier type {name!r}")
    return _TYPES[name]


def identifier_name(type_: int) -> str:
    """Name of an IdentifierType; raises MalformedError for an unknown or unspecified one."""
    if type_ not in _TYPE_NAMES:
        raise MalformedError(f"unknown identifier type {type_}")
    return _TYPE_NAMES[type_]


def kind_value(name: str) -> int:
    """PartyKind of a name such as "bank"; raises MalformedError for an unknown one."""
    if name not in _KINDS:
        raise MalformedError(f"unknown party kind {name!r}")
    return _KINDS[name]


def _check_vkey(vkey: str) -> str:
    try:
        Verifier.parse(vkey)
    except MalformedError as error:
        raise ValueError(str(error)) from None
    return vkey


def _check_type(name: str) -> str:
    if name not in _TYPES:
        raise ValueError("unknown identifier type")
    return name


Vkey = Annotated[str, Field(strict=True, max_length=1024), AfterValidator(_check_vkey)]
TypeName = Annotated[str, Field(strict=True), AfterValidator(_check_type)]
Amount = Annotated[int, Field(strict=True, ge=1, le=MAX_BUDGET)]
Count = Annotated[int, Field(strict=True, ge=1, le=1000)]
Kind = Literal["bank", "ecommerce", "payment_provider", "auditor", "operator", "law_enforcement"]
MEMBER_KINDS = frozenset({"bank", "ecommerce", "payment_provider"})


class PartyKey(Record):
    """A public key of a party, valid from `not_before` until before `not_after`."""

    id: Identifier
    public_key: Annotated[Base64, Field(min_length=32, max_length=32)]
    not_before: UnixTime
    not_after: UnixTime

    def valid_at(self, now: int) -> bool:
        """Whether it is valid at `now` (Unix seconds)."""
        return self.not_before <= now < self.not_after

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.not_before >= self.not_after:
            raise ValueError("not_before is not before not_after")
        return self


class OfficerKey(PartyKey):
    """A key of one officer; who holds several, as while one is renewed, is one officer all the same."""

    officer: Identifier


class Party(Record):
    """An institution, the operator, an auditor or a law-enforcement authority."""

    id: Identifier
    kind: Kind
    group: Identifier
    spiffe_id: SpiffeId
    signing_keys: tuple[PartyKey, ...]
    officer_keys: tuple[OfficerKey, ...]
    hpke_keys: tuple[PartyKey, ...]

    @property
    def kind_value(self) -> int:
        """The PartyKind."""
        return _KINDS[self.kind]

    @property
    def is_member(self) -> bool:
        """Whether the party publishes and looks up."""
        return self.kind in MEMBER_KINDS

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field in ("signing_keys", "officer_keys", "hpke_keys"):
            _check_unique(f"key id in {field}", (key.id for key in getattr(self, field)))
        if self.is_member and not self.signing_keys:
            raise ValueError("a member has at least one signing key")
        return self


class Budget(Record):
    """How many tokens of one type a group may compute."""

    per_day: Amount
    declared_customers: Amount


class Group(Record):
    """A controlling group: institutions that count as one."""

    id: Identifier
    budgets: dict[TypeName, Budget]


class Custodian(Record):
    """Holder of share `index` of the token keys."""

    index: Count
    id: Identifier
    group: Identifier
    spiffe_id: SpiffeId
    key: Vkey


class Governance(Record):
    """The keys that sign the next version, and how many of them it takes."""

    quorum: Count
    keys: tuple[Vkey, ...] = Field(min_length=1, max_length=64)

    @property
    def verifiers(self) -> tuple[Verifier, ...]:
        """The keys, parsed."""
        return tuple(Verifier.parse(vkey) for vkey in self.keys)

    @model_validator(mode="after")
    def _check(self) -> Self:
        # One key under two names would count twice towards the quorum.
        _check_unique("governance key", (verifier.public_key for verifier in self.verifiers))
        if self.quorum > len(self.keys):
            raise ValueError("quorum is larger than the number of keys")
        if self.quorum < 2 <= len(self.keys):
            raise ValueError("quorum is at least 2 where there is more than one key")
        return self


class Roster(Document):
    """One version of the roster; every rule that a single version can break is checked on construction."""

    version: Annotated[int, Field(strict=True, ge=1, le=2**31)]
    previous: Annotated[str, Field(strict=True, pattern=r"^([0-9a-f]{64})?$")]
    issued_at: UnixTime
    origin: Annotated[str, Field(strict=True, pattern=r"^[^\s+\x00-\x1f]{1,255}$")]
    log_key: Vkey
    hub_spiffe_id: SpiffeId
    rulebook_sha256: Sha256Hex
    governance: Governance
    groups: tuple[Group, ...]
    parties: tuple[Party, ...]
    custodians: tuple[Custodian, ...]
    threshold: Annotated[int, Field(strict=True, ge=2, le=1000)]
    reinstates: tuple[Identifier, ...]

    def party(self, party_id: str) -> Party | None:
        """The party of this id, if enrolled."""
        return self._by_id.get(party_id)

    def party_by_spiffe(self, spiffe_id: str) -> Party | None:
        """The party whose certificate carries this SPIFFE id, if enrolled."""
        return self._by_spiffe.get(spiffe_id)

    def group(self, group_id: str) -> Group | None:
        """The controlling group of this id."""
        return self._groups.get(group_id)

    def custodian(self, index: int) -> Custodian | None:
        """The custodian of this share index."""
        return self.custodians[index - 1] if 1 <= index <= len(self.custodians) else None

    def signing_key(self, party_id: str, key_id: str, now: int) -> bytes | None:
        """Public Ed25519 key of a party's signing key that is valid at `now` (Unix seconds), or None."""
        key = self._signing_keys.get((party_id, key_id))
        return key.public_key if key is not None and key.valid_at(now) else None

    def officer_key(self, party_id: str, key_id: str, now: int) -> OfficerKey | None:
        """A party's officer's key that is valid at `now` (Unix seconds), or None."""
        party = self.party(party_id)
        keys = () if party is None else party.officer_keys
        return next((key for key in keys if key.id == key_id and key.valid_at(now)), None)

    def hpke_key(self, party_id: str, now: int) -> PartyKey | None:
        """The X25519 key to seal to for a party at `now` (Unix seconds): of those valid the one that lasts
        longest; None where there is none."""
        party = self.party(party_id)
        keys = () if party is None else party.hpke_keys
        return max((key for key in keys if key.valid_at(now)), key=lambda key: key.not_after, default=None)

    @property
    def log_verifier(self) -> Verifier:
        """The key that signs the log's checkpoints."""
        return Verifier.parse(self.log_key)

    @cached_property
    def _by_id(self) -> dict[str, Party]:
        return {party.id: party for party in self.parties}

    @cached_property
    def _by_spiffe(self) -> dict[str, Party]:
        return {party.spiffe_id: party for party in self.parties}

    @cached_property
    def _groups(self) -> dict[str, Group]:
        return {group.id: group for group in self.groups}

    @cached_property
    def _signing_keys(self) -> dict[tuple[str, str], PartyKey]:
        return {(party.id, key.id): key for party in self.parties for key in party.signing_keys}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.version == 1) != (self.previous == ""):
            raise ValueError("previous is empty in version 1 and only there")
        holders: tuple[Party | Custodian, ...] = (*self.parties, *self.custodians)
        _check_unique("group id", (group.id for group in self.groups))
        _check_unique("party id", (party.id for party in self.parties))
        _check_unique("custodian id", (custodian.id for custodian in self.custodians))
        _check_unique("SPIFFE id", (self.hub_spiffe_id, *(holder.spiffe_id for holder in holders)))
        _check_unique("public key", self._public_keys())
        _check_unique("reinstated party", self.reinstates)
        if not self._by_id.keys() >= set(self.reinstates):
            raise ValueError("reinstates names a party that is not on the roster")
        if not self._groups.keys() >= {holder.group for holder in holders}:
            raise ValueError("a party or custodian is of a group that is not listed")
        self._check_custodians()
        return self

    def _check_custodians(self) -> None:
        if [custodian.index for custodian in self.custodians] != [*range(1, len(self.custodians) + 1)]:
            raise ValueError("custodians are listed by index, from 1 on without gaps")
        if self.threshold > len(self.custodians):
            raise ValueError("threshold is larger than the number of custodians")
        shares = Counter(custodian.group for custodian in self.custodians)
        if any(held >= self.threshold for held in shares.values()):
            raise ValueError("a controlling group holds as many custodian shares as the threshold")
        # Hub and custodian in one hand would link evaluations to stored tokens.
        if any(party.kind == "operator" and party.group in shares for party in self.parties):
            raise ValueError("the operator's group holds a custodian share")

    def _public_keys(self) -> Iterable[bytes]:
        yield self.log_verifier.public_key
        yield from (verifier.public_key for verifier in self.governance.verifiers)
        yield from (Verifier.parse(custodian.key).public_key for custodian in self.custodians)
        for party in self.parties:
            for key in (*party.signing_keys, *party.officer_keys, *party.hpke_keys):
                yield key.public_key


def sign_roster(roster: Roster, signers: Iterable[NoteSigner]) -> bytes:
    """The roster as a note signed by governance keys."""
    return sign_note(roster.text(), signers)


@dataclass(frozen=True)
class RosterChain:
    """The versions accepted so far, as (note, roster); never changed, extended into a new chain."""

    versions: tuple[tuple[bytes, Roster], ...]

    @property
    def current(self) -> Roster:
        """The newest version."""
        return self.versions[-1][1]

    @classmethod
    def start(cls, genesis_note: bytes) -> Self:
        """Begin at the trust anchor: version 1, signed by its own quorum.

        Raises MalformedError for a note that holds no roster, VerificationError for a wrong version or
        quorum.
        """
        roster = Roster.parse(split_note(genesis_note)[0])
        if roster.version != 1:
            raise VerificationError("version: the trust anchor is version 1")
        _check_quorum(genesis_note, roster.governance)
        return cls(((genesis_note, roster),))

    def extend(self, note: bytes) -> Self:
        """Append the next version.

        Raises MalformedError for a note that holds no roster, VerificationError, naming the field, when it
        does not follow the current version: quorum of its governance keys, version, previous hash, origin,
        time.
        """
        current = self.current
        _check_quorum(note, current.governance)
        roster = Roster.parse(split_note(note)[0])
        if roster.version != current.version + 1:
            raise VerificationError(f"version: {current.version + 1} is next, not {roster.version}")
        if roster.previous != sha256(current.text().encode()).hexdigest():
            raise VerificationError("previous: not the hash of the version before")
        if roster.origin != current.origin:
            raise VerificationError("origin: a roster never moves to another log")
        if roster.issued_at < current.issued_at:
            raise VerificationError("issued_at: before that of the version before")
        return type(self)((*self.versions, (note, roster)))


def _check_quorum(note: bytes, governance: Governance) -> None:
    signers = open_note(note, governance.verifiers).signers
    if len(signers) < governance.quorum:
        raise VerificationError(f"governance: {len(signers)} of {governance.quorum} signatures needed")


def _check_unique(what: str, values: Iterable[object]) -> None:
    seen = list(values)
    if len(set(seen)) != len(seen):
        raise ValueError(f"the same {what} stands twice")
