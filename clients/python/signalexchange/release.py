"""A member's decision on its way between two officers: a file that each signs on a machine of their own.

Invariants: it holds the package opened, so that the second officer sees what the first one releases, and
sealed, as it will leave; both officers sign the same bytes, which name the digests of both; it is secret and
never leaves the member. What the first officer might have sealed instead of what the file shows, the
requester's software refuses, since it opens to another digest than the one signed.
"""

from hashlib import sha256
from typing import Annotated, Literal

from pydantic import Field

from signalexchange.credentials import Sign
from signalexchange.disclosures import (
    OFFICERS,
    NotIndependentError,
    decision_bytes,
    open_decision,
    parse_statement,
    seal_package,
    sign_decision,
)
from signalexchange.documents import Base64, Document, Identifier, Record
from signalexchange.errors import ConfigError, VerificationError
from signalexchange.note import SIGNATURE_SIZE
from signalexchange.roster import Roster
from signalexchange.v1.disclosure_service_pb2 import (
    DISCLOSURE_DECISION_REFUSED,
    DecideDisclosureRequest,
    DisclosureDecision,
    DisclosureDecisionStatement,
    DisclosureReason,
    DisclosureRequestStatement,
    OfficerSignature,
    SignedDecision,
)


class Signed(Record):
    """One officer's signature."""

    key_id: Identifier
    signature: Annotated[Base64, Field(min_length=SIGNATURE_SIZE, max_length=SIGNATURE_SIZE)]


class DecisionFile(Document):
    """A decision on a request: the request's statement, what is signed, the package as it is and sealed (both
    empty for a refusal), and the signatures so far."""

    version: Literal[1]
    request: Base64
    statement: Base64
    contents: Base64
    package: Base64
    signatures: Annotated[tuple[Signed, ...], Field(max_length=OFFICERS)]

    @property
    def decision(self) -> DisclosureDecisionStatement:
        """What is signed. Raises MalformedError."""
        return parse_statement(DisclosureDecisionStatement, self.statement)

    def check(self) -> None:
        """Raise VerificationError unless the decision is on this request and about this package."""
        decision = self.decision
        refused = decision.decision == DISCLOSURE_DECISION_REFUSED
        digests = (decision.contents_digest, decision.package_digest)
        found = tuple(b"" if refused else sha256(data).digest() for data in (self.contents, self.package))
        if decision.request_digest != sha256(self.request).digest() or digests != found:
            raise VerificationError("the decision is not about what the file holds")
        if refused and (self.contents or self.package):
            raise VerificationError("a refusal releases nothing")

    def sign(self, roster: Roster, key_id: str, sign: Sign, now: int) -> "DecisionFile":
        """The file with one more officer's signature; `now` in Unix seconds.

        Raises ConfigError for a key that the roster doesn't give this member's officers, NotIndependentError
        for an officer who signed before, VerificationError for a file that doesn't hold together.
        """
        self.check()
        member = self.decision.member
        key = roster.officer_key(member, key_id, now)
        if key is None:
            raise ConfigError(f"the roster lists no officer's key {key_id!r} of {member} valid now")
        before = {
            known.officer
            for each in self.signatures
            if (known := roster.officer_key(member, each.key_id, now)) is not None
        }
        if key.officer in before:
            raise NotIndependentError(f"{key.officer} has signed already: another officer must sign")
        if len(self.signatures) >= OFFICERS:
            raise ConfigError("two officers have signed: submit it")
        signature = sign_decision(self.statement, key_id, sign)
        signed = Signed(key_id=key_id, signature=signature.signature)
        return self.model_copy(update={"signatures": (*self.signatures, signed)})

    def request_to_hub(self, roster: Roster, now: int) -> DecideDisclosureRequest:
        """What is sent, once two officers have signed. Raises VerificationError, MalformedError."""
        self.check()
        member = self.decision.member
        decision = SignedDecision(
            statement=self.statement,
            signatures=[
                OfficerSignature(key_id=each.key_id, signature=each.signature) for each in self.signatures
            ],
        )
        open_decision(decision, lambda key_id: roster.officer_key(member, key_id, now))
        return DecideDisclosureRequest(decision=decision, package=self.package)


def release(
    roster: Roster,
    request: bytes,
    contents: bytes,
    decision: DisclosureDecision.ValueType,
    reason: DisclosureReason.ValueType,
    now: int,
) -> DecisionFile:
    """A decision to release a package, unsigned; `request` is the request's statement. Raises ConfigError,
    MalformedError."""
    asked = parse_statement(DisclosureRequestStatement, request)
    party = roster.party(asked.requester)
    keys = () if party is None else party.hpke_keys
    key = next((key for key in keys if key.id == asked.package_key_id and key.valid_at(now)), None)
    if key is None:
        raise ConfigError(
            f"the roster has no HPKE key {asked.package_key_id!r} of {asked.requester} valid now"
        )
    package = seal_package(contents, key.public_key, request)
    statement = DisclosureDecisionStatement(
        origin=asked.origin,
        member=asked.member,
        request_id=asked.request_id,
        request_digest=sha256(request).digest(),
        decision=decision,
        reason=reason,
        package_digest=sha256(package).digest(),
        contents_digest=sha256(contents).digest(),
        package_key_id=key.id,
    )
    return _file(request, statement, contents, package)


def refuse_request(request: bytes, reason: DisclosureReason.ValueType) -> DecisionFile:
    """A decision to release nothing, unsigned; `request` is the request's statement. Raises
    MalformedError."""
    asked = parse_statement(DisclosureRequestStatement, request)
    statement = DisclosureDecisionStatement(
        origin=asked.origin,
        member=asked.member,
        request_id=asked.request_id,
        request_digest=sha256(request).digest(),
        decision=DISCLOSURE_DECISION_REFUSED,
        reason=reason,
    )
    return _file(request, statement, b"", b"")


def _file(
    request: bytes, statement: DisclosureDecisionStatement, contents: bytes, package: bytes
) -> DecisionFile:
    return DecisionFile(
        version=1,
        request=request,
        statement=decision_bytes(statement),
        contents=contents,
        package=package,
        signatures=(),
    )
