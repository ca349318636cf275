"""Law enforcement and members at work on disclosures, without the SDK's client: what a test says is sent."""

import os
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from signalexchange.credentials import Sign, load_hpke_key, load_private_key
from signalexchange.disclosures import (
    decision_bytes,
    open_scope,
    seal_package,
    seal_scope,
    sign_decision,
    sign_request,
    sign_statement,
)
from signalexchange.roster import Roster, RosterChain
from signalexchange.v1.disclosure_service_pb2 import (
    DISCLOSURE_DECISION_REFUSED,
    DISCLOSURE_DECISION_RELEASED_WHOLE,
    DISCLOSURE_REASON_NOT_HELD,
    INSTRUMENT_INVESTIGATION_ORDER,
    AcknowledgePackageRequest,
    DecideDisclosureRequest,
    DisclosureDecision,
    DisclosureDecisionStatement,
    DisclosureReceiptStatement,
    DisclosureRequestStatement,
    DisclosureWithdrawalStatement,
    RequestDisclosureRequest,
    SignedDecision,
    WithdrawDisclosureRequest,
)

from exchange.provision import Deployment

POLICE, NORTH, SOUTH = "police-one", "bank-north", "bank-south"
HPKE_KEY = "hpke-1"
SCOPE = b"all signals about card 4111 1100 0000 0018 since 2026-01-01"
DAY = 86_400


def roster(deployment: Deployment) -> Roster:
    return RosterChain.start(deployment.genesis.read_bytes()).current


def officer(deployment: Deployment, party: str, number: int = 1) -> Sign:
    """What an officer of the party signs with."""
    return load_private_key(deployment.party_config(party).with_name(f"officer-{number}.key")).sign


def hpke_key(deployment: Deployment, party: str) -> X25519PrivateKey:
    return load_hpke_key(deployment.party_config(party).with_name("hpke.key"))


def public_hpke_key(deployment: Deployment, party: str) -> bytes:
    return hpke_key(deployment, party).public_key().public_bytes_raw()


def ask(
    deployment: Deployment,
    now: int,
    *,
    member: str = NORTH,
    scope: bytes = SCOPE,
    key_id: str = "officer-1",
    sign: Sign | None = None,
    **changes: Any,
) -> RequestDisclosureRequest:
    """A request to a member; `changes` replace fields of the statement."""
    fields: dict[str, Any] = {
        "origin": deployment.origin,
        "requester": POLICE,
        "key_id": key_id,
        "request_id": os.urandom(16),
        "inquiry_id": os.urandom(16),
        "member": member,
        "instrument": INSTRUMENT_INVESTIGATION_ORDER,
        "reference": "京公(经)调证字〔2026〕17号",
        "issued_at": now - DAY,
        "deadline": now + 10 * DAY,
        "scope_key_id": HPKE_KEY,
        "package_key_id": HPKE_KEY,
    }
    statement = DisclosureRequestStatement(**(fields | changes))
    sealed = seal_scope(scope, public_hpke_key(deployment, member), statement)
    if "scope_digest" not in changes:
        statement.scope_digest = sha256(sealed).digest()
    signed = sign_request(statement, sign or officer(deployment, statement.requester))
    return RequestDisclosureRequest(request=signed, scope=sealed)


def statement_of(request: RequestDisclosureRequest) -> DisclosureRequestStatement:
    return DisclosureRequestStatement.FromString(request.request.statement)


def decide(
    deployment: Deployment,
    request: RequestDisclosureRequest,
    contents: bytes | None = b"package",
    *,
    decision: DisclosureDecision.ValueType = DISCLOSURE_DECISION_RELEASED_WHOLE,
    officers: Sequence[tuple[str, Sign]] | None = None,
    **changes: Any,
) -> DecideDisclosureRequest:
    """A decision by two officers of the member asked; no `contents`: a refusal."""
    asked = statement_of(request)
    fields: dict[str, Any] = {
        "origin": deployment.origin,
        "member": asked.member,
        "request_id": asked.request_id,
        "request_digest": sha256(request.request.statement).digest(),
    }
    package = b""
    if contents is None:
        fields |= {"decision": DISCLOSURE_DECISION_REFUSED, "reason": DISCLOSURE_REASON_NOT_HELD}
    else:
        package = seal_package(contents, public_hpke_key(deployment, POLICE), request.request.statement)
        fields |= {
            "decision": decision,
            "package_digest": sha256(package).digest(),
            "contents_digest": sha256(contents).digest(),
            "package_key_id": HPKE_KEY,
        }
    encoded = decision_bytes(DisclosureDecisionStatement(**(fields | changes)))
    if officers is None:
        officers = [(f"officer-{n}", officer(deployment, asked.member, n)) for n in (1, 2)]
    signatures = [sign_decision(encoded, key_id, sign) for key_id, sign in officers]
    signed = SignedDecision(statement=encoded, signatures=signatures)
    return DecideDisclosureRequest(decision=signed, package=package)


def acknowledge(
    deployment: Deployment, request_id: bytes, decided: DecideDisclosureRequest, **changes: Any
) -> AcknowledgePackageRequest:
    fields: dict[str, Any] = {
        "origin": deployment.origin,
        "requester": POLICE,
        "key_id": "officer-2",
        "request_id": request_id,
        "decision_digest": sha256(decided.decision.statement).digest(),
        "package_digest": sha256(decided.package).digest(),
    }
    statement = DisclosureReceiptStatement(**(fields | changes))
    encoded, signature = sign_statement(statement, officer(deployment, POLICE, 2))
    return AcknowledgePackageRequest(statement=encoded, signature=signature)


def withdraw(deployment: Deployment, request_id: bytes, **changes: Any) -> WithdrawDisclosureRequest:
    fields: dict[str, Any] = {
        "origin": deployment.origin,
        "requester": POLICE,
        "key_id": "officer-1",
        "request_id": request_id,
    }
    statement = DisclosureWithdrawalStatement(**(fields | changes))
    encoded, signature = sign_statement(statement, officer(deployment, POLICE))
    return WithdrawDisclosureRequest(statement=encoded, signature=signature)


def scope_of(deployment: Deployment, request: RequestDisclosureRequest) -> bytes:
    asked = statement_of(request)
    return open_scope(request.scope, hpke_key(deployment, asked.member), asked)
