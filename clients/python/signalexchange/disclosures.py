"""What officers sign about disclosures to law enforcement, and what is sealed from one side to the other.

Invariants: each statement is signed under a label of its own, over the bytes carried, and names the log's
origin; a decision names the request by digest and is good only with the signatures of two officers, both over
the same bytes; scope and package are sealed to a roster key with an info that names the request, both parties
and the key, so that what was made for one request opens for no other; a package counts only if it is the one
whose digest, before sealing, both officers signed.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from signalexchange import hpke
from signalexchange.envelope import ID_SIZE, MAX_NAME, check_size, parse_message, verify_signature
from signalexchange.errors import MalformedError, VerificationError
from signalexchange.roster import OfficerKey
from signalexchange.v1.disclosure_service_pb2 import (
    DISCLOSURE_DECISION_REFUSED,
    DISCLOSURE_DECISION_RELEASED_WHOLE,
    DisclosureDecision,
    DisclosureDecisionStatement,
    DisclosureReason,
    DisclosureReceiptStatement,
    DisclosureRequestStatement,
    DisclosureWithdrawalStatement,
    Instrument,
    OfficerSignature,
    SignedDecision,
    SignedRequest,
)

DIGEST_SIZE = 32
OFFICERS = 2
"""How many sign a decision."""
MAX_REFERENCE = 200
MAX_SCOPE = 32_768 - 4
"""Bytes of a scope, before it is sealed."""
MAX_SEALED_SCOPE = 32_768 + hpke.OVERHEAD
MAX_TIME = 2**53

Sign = Callable[[bytes], bytes]
Statement = (
    DisclosureRequestStatement
    | DisclosureDecisionStatement
    | DisclosureReceiptStatement
    | DisclosureWithdrawalStatement
)
AnyStatement = TypeVar(
    "AnyStatement",
    DisclosureRequestStatement,
    DisclosureDecisionStatement,
    DisclosureReceiptStatement,
    DisclosureWithdrawalStatement,
)

_LABELS: dict[type[Statement], bytes] = {
    DisclosureRequestStatement: b"signalexchange/disclosure-request/v1\0",
    DisclosureDecisionStatement: b"signalexchange/disclosure-decision/v1\0",
    DisclosureReceiptStatement: b"signalexchange/disclosure-receipt/v1\0",
    DisclosureWithdrawalStatement: b"signalexchange/disclosure-withdrawal/v1\0",
}


def sign_statement(statement: Statement, sign: Sign) -> tuple[bytes, bytes]:
    """The statement's bytes and an officer's signature over them. Raises MalformedError."""
    _check(statement)
    encoded = statement.SerializeToString(deterministic=True)
    return encoded, sign(_LABELS[type(statement)] + encoded)


def parse_statement(kind: type[AnyStatement], statement: bytes) -> AnyStatement:
    """Parse a statement strictly, no signature checked; raises MalformedError, naming the field."""
    parsed = parse_message(kind, statement)
    if parsed.SerializeToString(deterministic=True) != statement:
        # Of a field that stands twice only the last is read: nobody could tell what was signed.
        raise MalformedError(f"{kind.__name__} with unknown fields, or not in its only form")
    _check(parsed)
    return parsed


def open_statement(
    kind: type[AnyStatement], statement: bytes, signature: bytes, public_key: bytes
) -> AnyStatement:
    """Parse a statement and verify one officer's signature. Raises MalformedError or VerificationError."""
    parsed = parse_statement(kind, statement)
    verify_signature(public_key, signature, _LABELS[kind] + statement, "the officer's signature")
    return parsed


def sign_request(statement: DisclosureRequestStatement, sign: Sign) -> SignedRequest:
    """A request as an officer of the requester signs it. Raises MalformedError."""
    encoded, signature = sign_statement(statement, sign)
    return SignedRequest(statement=encoded, signature=signature)


def decision_bytes(statement: DisclosureDecisionStatement) -> bytes:
    """What both officers sign. Raises MalformedError."""
    _check(statement)
    return statement.SerializeToString(deterministic=True)


def sign_decision(statement: bytes, key_id: str, sign: Sign) -> OfficerSignature:
    """One officer's signature over a decision's bytes. Raises MalformedError."""
    parse_statement(DisclosureDecisionStatement, statement)
    signature = sign(_LABELS[DisclosureDecisionStatement] + statement)
    return OfficerSignature(key_id=key_id, signature=signature)


def open_decision(
    decision: SignedDecision, officer_key: Callable[[str], OfficerKey | None]
) -> DisclosureDecisionStatement:
    """Parse a decision and verify that two officers of the member signed it; `officer_key` finds the member's
    valid key of an id.

    Raises MalformedError or VerificationError; `NotIndependentError` where both signatures are one officer's.
    """
    parsed = parse_statement(DisclosureDecisionStatement, decision.statement)
    if len(decision.signatures) != OFFICERS:
        raise MalformedError(f"a decision has {OFFICERS} signatures")
    officers = set()
    for each in decision.signatures:
        key = officer_key(each.key_id)
        if key is None:
            raise VerificationError("the member has no valid officer's key of that id")
        message = _LABELS[DisclosureDecisionStatement] + decision.statement
        verify_signature(key.public_key, each.signature, message, "the officer's signature")
        officers.add(key.officer)
    if len(officers) != OFFICERS:
        raise NotIndependentError("both signatures are one officer's")
    return parsed


class NotIndependentError(VerificationError):
    """One officer signed where two are needed."""


def seal_scope(scope: bytes, public_key: bytes, statement: DisclosureRequestStatement) -> bytes:
    """Seal 1 to 32,764 bytes of scope to the member's key of `scope_key_id`; all of the statement but the
    digest is set. Raises MalformedError."""
    if not 1 <= len(scope) <= MAX_SCOPE:
        raise MalformedError(f"a scope has 1 to {MAX_SCOPE:,} bytes")
    return hpke.seal(public_key, scope, _scope_info(statement))


def open_scope(sealed: bytes, key: X25519PrivateKey, statement: DisclosureRequestStatement) -> bytes:
    """Open the scope of a request. Raises MalformedError, VerificationError also for another's scope."""
    if sha256(sealed).digest() != statement.scope_digest:
        raise VerificationError("the scope is not the one that the requester signed")
    return hpke.open_sealed(key, sealed, _scope_info(statement))


def seal_package(package: bytes, public_key: bytes, request: bytes) -> bytes:
    """Seal a package, at most 4,194,300 bytes, to the requester's key that the request's statement names.

    Raises MalformedError.
    """
    return hpke.seal(public_key, package, _package_info(request))


def open_package(
    sealed: bytes, key: X25519PrivateKey, request: bytes, decision: DisclosureDecisionStatement
) -> bytes:
    """Open the package of a decision on a request, given by its statement's bytes.

    Raises MalformedError, and VerificationError for a package of another request, or one that is not what the
    two officers signed.
    """
    if sha256(request).digest() != decision.request_digest:
        raise VerificationError("the decision is on another request")
    if sha256(sealed).digest() != decision.package_digest:
        raise VerificationError("the package is not the one that the officers signed")
    package = hpke.open_sealed(key, sealed, _package_info(request))
    if sha256(package).digest() != decision.contents_digest:
        raise VerificationError("the package holds something else than what the officers signed")
    return package


def _scope_info(statement: DisclosureRequestStatement) -> bytes:
    return hpke.info(
        "signalexchange/disclosure-scope/v1",
        statement.origin.encode(),
        statement.request_id,
        statement.requester.encode(),
        statement.package_key_id.encode(),
        statement.member.encode(),
        statement.scope_key_id.encode(),
    )


def _package_info(request: bytes) -> bytes:
    statement = parse_statement(DisclosureRequestStatement, request)
    return hpke.info(
        "signalexchange/disclosure-package/v1",
        statement.origin.encode(),
        sha256(request).digest(),
        statement.member.encode(),
        statement.requester.encode(),
        statement.package_key_id.encode(),
    )


def _check(statement: Statement) -> None:
    _name("origin", statement.origin)
    check_size("request_id", statement.request_id, ID_SIZE)
    if isinstance(statement, DisclosureDecisionStatement):
        _check_decision(statement)
        return
    _name("requester", statement.requester)
    _name("key_id", statement.key_id)
    if isinstance(statement, DisclosureRequestStatement):
        _check_request(statement)
    elif isinstance(statement, DisclosureReceiptStatement):
        check_size("decision_digest", statement.decision_digest, DIGEST_SIZE)
        check_size("package_digest", statement.package_digest, DIGEST_SIZE)


def _check_request(statement: DisclosureRequestStatement) -> None:
    check_size("inquiry_id", statement.inquiry_id, ID_SIZE)
    _name("member", statement.member)
    if statement.instrument not in Instrument.values() or not statement.instrument:
        raise MalformedError("instrument is not known")
    reference = statement.reference
    if not 1 <= len(reference) <= MAX_REFERENCE or not reference.strip() or not reference.isprintable():
        raise MalformedError(f"reference has not 1 to {MAX_REFERENCE} printable characters")
    if not 0 < statement.issued_at < MAX_TIME:
        raise MalformedError("issued_at is no time")
    if not 0 < statement.deadline < MAX_TIME:
        raise MalformedError("deadline is no time")
    check_size("scope_digest", statement.scope_digest, DIGEST_SIZE)
    _name("scope_key_id", statement.scope_key_id)
    _name("package_key_id", statement.package_key_id)


def _check_decision(statement: DisclosureDecisionStatement) -> None:
    _name("member", statement.member)
    check_size("request_digest", statement.request_digest, DIGEST_SIZE)
    if statement.decision not in DisclosureDecision.values() or not statement.decision:
        raise MalformedError("decision is not known")
    whole = statement.decision == DISCLOSURE_DECISION_RELEASED_WHOLE
    if statement.reason not in DisclosureReason.values() or bool(statement.reason) == whole:
        raise MalformedError("reason is given where something is held back, and only there")
    released = statement.decision != DISCLOSURE_DECISION_REFUSED
    check_size("package_digest", statement.package_digest, DIGEST_SIZE if released else 0)
    check_size("contents_digest", statement.contents_digest, DIGEST_SIZE if released else 0)
    if released:
        _name("package_key_id", statement.package_key_id)
    elif statement.package_key_id:
        raise MalformedError("package_key_id is of a package that there is not")


def _name(field: str, value: str) -> None:
    if not 1 <= len(value) <= MAX_NAME:
        raise MalformedError(f"{field} has not 1 to {MAX_NAME} characters")
