"""The steps of a disclosure as parties ask for them: request, decision, fetching, receipt, withdrawal.

Invariants: as in `disclosures`; an officer's statement is in the caller's own name, for this hub, and signed
with a key that the roster gives that officer now; a decision has the signatures of two officers.
"""

from hashlib import sha256

from signalexchange.disclosures import (
    MAX_SEALED_SCOPE,
    AnyStatement,
    NotIndependentError,
    open_decision,
    open_statement,
    parse_statement,
)
from signalexchange.envelope import ID_SIZE
from signalexchange.errors import MalformedError, VerificationError
from signalexchange.hpke import MAX_SEALED, OVERHEAD
from signalexchange.roster import MEMBER_KINDS, OfficerKey, Party
from signalexchange.v1.disclosure_service_pb2 import (
    DISCLOSURE_DECISION_REFUSED,
    AcknowledgePackageRequest,
    AcknowledgePackageResponse,
    DecideDisclosureRequest,
    DecideDisclosureResponse,
    DisclosureDecisionStatement,
    DisclosureReceiptStatement,
    DisclosureRequestStatement,
    DisclosureWithdrawalStatement,
    FetchPackageRequest,
    FetchPackageResponse,
    RequestDisclosureRequest,
    RequestDisclosureResponse,
    SignedDecision,
    WithdrawDisclosureRequest,
    WithdrawDisclosureResponse,
)
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.log_entry_pb2 import (
    ENTRY_TYPE_DISCLOSURE_DECISION,
    ENTRY_TYPE_DISCLOSURE_FETCH,
    ENTRY_TYPE_DISCLOSURE_RECEIPT,
    ENTRY_TYPE_DISCLOSURE_REQUEST,
    ENTRY_TYPE_DISCLOSURE_WITHDRAWAL,
    DisclosureDecisionEntry,
    DisclosureFetchEntry,
    DisclosureReceiptEntry,
    DisclosureRequestEntry,
    DisclosureWithdrawalEntry,
)

from exchange.domain.disclosure import LONGEST, NewDisclosure, Standing, StoredDisclosure, requested, take
from exchange.domain.refusal import Refusal, invalid
from exchange.usecases.disclosures import TakeStep, own, unknown
from exchange.usecases.exchange import Exchange
from exchange.usecases.publish import check_signer

DAY = 86_400


async def request_disclosure(
    exchange: Exchange, party: Party, request: RequestDisclosureRequest
) -> RequestDisclosureResponse:
    """Take a request. Raises Refusal as the contract says."""
    signed, scope = request.request, request.scope
    statement = _parse(exchange, party, DisclosureRequestStatement, signed.statement, "request.statement")
    if not OVERHEAD < len(scope) <= MAX_SEALED_SCOPE or sha256(scope).digest() != statement.scope_digest:
        raise invalid("scope", "is not the sealed scope of the statement's digest")

    def check(known: StoredDisclosure | None, now: int) -> None:
        _check_officer(
            exchange, party, DisclosureRequestStatement, signed.statement, signed.signature, statement, now
        )
        _check_request(exchange, statement, now)

    payload = DisclosureRequestEntry(statement=signed.statement, signature=signed.signature)
    standing = requested(statement.deadline)
    new = NewDisclosure(statement.request_id, party.id, statement.member, *standing, scope)
    step = TakeStep(
        exchange,
        party,
        statement.request_id,
        ENTRY_TYPE_DISCLOSURE_REQUEST,
        payload.SerializeToString(),
        check,
        new=new,
    )
    taken = await exchange.writer.submit(step)
    return RequestDisclosureResponse(receipt=taken.receipt, repeated_request=taken.repeated)


async def decide_disclosure(
    exchange: Exchange, party: Party, request: DecideDisclosureRequest
) -> DecideDisclosureResponse:
    """Take a member's decision. Raises Refusal as the contract says."""
    signed, package = request.decision, request.package
    statement = _parse(exchange, party, DisclosureDecisionStatement, signed.statement, "decision.statement")
    released = statement.decision != DISCLOSURE_DECISION_REFUSED
    if not released and package:
        raise invalid("package", "must be empty where nothing is released")
    if released and not OVERHEAD < len(package) <= MAX_SEALED:
        raise invalid("package", f"must have {OVERHEAD + 1} to {MAX_SEALED:,} bytes")
    if released and sha256(package).digest() != statement.package_digest:
        raise invalid("package", "is not the one of the statement's digest")

    def check(known: StoredDisclosure | None, now: int) -> None:
        known = own(known, party)
        first = known.step(ENTRY_TYPE_DISCLOSURE_REQUEST)
        if first is None:
            raise unknown()
        asked = DisclosureRequestEntry.FromString(first.payload).statement
        if sha256(asked).digest() != statement.request_digest:
            raise invalid("decision.statement.request_digest", "is not that of the request")
        wanted = DisclosureRequestStatement.FromString(asked).package_key_id
        if released and statement.package_key_id != wanted:
            raise invalid("decision.statement.package_key_id", "is not the key that the request names")
        _check_officers(exchange, party, signed, now)

    payload = DisclosureDecisionEntry(statement=signed.statement, signatures=signed.signatures)
    step = TakeStep(
        exchange,
        party,
        statement.request_id,
        ENTRY_TYPE_DISCLOSURE_DECISION,
        payload.SerializeToString(),
        check,
        package=package if released else None,
    )
    taken = await exchange.writer.submit(step)
    return DecideDisclosureResponse(receipt=taken.receipt, repeated_decision=taken.repeated)


async def fetch_package(
    exchange: Exchange, party: Party, request: FetchPackageRequest
) -> FetchPackageResponse:
    """Hand out the sealed package; that it was fetched is on the log before. Raises Refusal as the contract
    says."""
    if len(request.request_id) != ID_SIZE:
        raise invalid("request_id", "must have 16 bytes")
    found = own(await exchange.store.disclosure(request.request_id), party)
    if found.requester != party.id:
        raise unknown()
    take(found.standing, ENTRY_TYPE_DISCLOSURE_FETCH, exchange.clock())
    decided = found.step(ENTRY_TYPE_DISCLOSURE_DECISION)
    if decided is None:
        raise unknown()
    entry = DisclosureDecisionEntry.FromString(decided.payload)
    digest = DisclosureDecisionStatement.FromString(entry.statement).package_digest
    if found.step(ENTRY_TYPE_DISCLOSURE_FETCH) is None:
        payload = DisclosureFetchEntry(request_id=request.request_id, package_digest=digest)
        step = TakeStep(
            exchange,
            party,
            request.request_id,
            ENTRY_TYPE_DISCLOSURE_FETCH,
            payload.SerializeToString(),
            lambda known, now: None,
        )
        await exchange.writer.submit(step)
    package = await exchange.store.sealed_package(request.request_id)
    if package is None:  # it ended meanwhile
        take(Standing(0, 0), ENTRY_TYPE_DISCLOSURE_FETCH, exchange.clock())
    return FetchPackageResponse(
        decision=SignedDecision(statement=entry.statement, signatures=entry.signatures),
        package=package or b"",
    )


async def acknowledge_package(
    exchange: Exchange, party: Party, request: AcknowledgePackageRequest
) -> AcknowledgePackageResponse:
    """Take a receipt and forget the package. Raises Refusal as the contract says."""
    statement = _parse(exchange, party, DisclosureReceiptStatement, request.statement, "statement")

    def check(known: StoredDisclosure | None, now: int) -> None:
        _check_officer(
            exchange, party, DisclosureReceiptStatement, request.statement, request.signature, statement, now
        )
        decided = own(known, party).step(ENTRY_TYPE_DISCLOSURE_DECISION)
        if decided is None:
            return  # its standing refuses it
        decision = DisclosureDecisionEntry.FromString(decided.payload).statement
        if sha256(decision).digest() != statement.decision_digest:
            raise invalid("statement.decision_digest", "is not that of the decision")
        if DisclosureDecisionStatement.FromString(decision).package_digest != statement.package_digest:
            raise invalid("statement.package_digest", "is not that of the package")

    payload = DisclosureReceiptEntry(statement=request.statement, signature=request.signature)
    step = TakeStep(
        exchange,
        party,
        statement.request_id,
        ENTRY_TYPE_DISCLOSURE_RECEIPT,
        payload.SerializeToString(),
        check,
    )
    taken = await exchange.writer.submit(step)
    return AcknowledgePackageResponse(receipt=taken.receipt, repeated_receipt=taken.repeated)


async def withdraw_disclosure(
    exchange: Exchange, party: Party, request: WithdrawDisclosureRequest
) -> WithdrawDisclosureResponse:
    """Take a request back. Raises Refusal as the contract says."""
    statement = _parse(exchange, party, DisclosureWithdrawalStatement, request.statement, "statement")

    def check(known: StoredDisclosure | None, now: int) -> None:
        _check_officer(
            exchange,
            party,
            DisclosureWithdrawalStatement,
            request.statement,
            request.signature,
            statement,
            now,
        )

    payload = DisclosureWithdrawalEntry(statement=request.statement, signature=request.signature)
    step = TakeStep(
        exchange,
        party,
        statement.request_id,
        ENTRY_TYPE_DISCLOSURE_WITHDRAWAL,
        payload.SerializeToString(),
        check,
    )
    taken = await exchange.writer.submit(step)
    return WithdrawDisclosureResponse(receipt=taken.receipt, repeated_withdrawal=taken.repeated)


def _parse(
    exchange: Exchange, party: Party, kind: type[AnyStatement], data: bytes, field: str
) -> AnyStatement:
    """The statement, if it is in the caller's name and for this hub."""
    try:
        statement = parse_statement(kind, data)
    except MalformedError as error:
        name = str(error).split(" ", 1)[0]
        known = name in kind.DESCRIPTOR.fields_by_name
        raise invalid(f"{field}.{name}" if known else field, str(error)) from None
    signer = statement.member if isinstance(statement, DisclosureDecisionStatement) else statement.requester
    check_signer(exchange, party, statement.origin, signer)
    return statement


def _check_officer(
    exchange: Exchange,
    party: Party,
    kind: type[AnyStatement],
    data: bytes,
    signature: bytes,
    statement: AnyStatement,
    now: int,
) -> None:
    """Refuse a statement that no officer of the caller's signed with a key valid at `now`."""
    assert not isinstance(statement, DisclosureDecisionStatement)  # noqa: S101 - those have two officers
    key = exchange.membership.roster.officer_key(party.id, statement.key_id, now)
    if key is None:
        raise _unsigned("the caller has no valid officer's key of that id")
    try:
        open_statement(kind, data, signature, key.public_key)
    except (MalformedError, VerificationError) as error:
        raise _unsigned(str(error)) from None


def _check_officers(exchange: Exchange, party: Party, signed: SignedDecision, now: int) -> None:
    def key(key_id: str) -> OfficerKey | None:
        return exchange.membership.roster.officer_key(party.id, key_id, now)

    try:
        open_decision(signed, key)
    except NotIndependentError as error:
        raise Refusal(ErrorReason.ERROR_REASON_OFFICER_NOT_INDEPENDENT, str(error)) from None
    except (MalformedError, VerificationError) as error:
        raise _unsigned(str(error)) from None


def _unsigned(why: str) -> Refusal:
    return Refusal(ErrorReason.ERROR_REASON_SIGNATURE_INVALID, why)


def _check_request(exchange: Exchange, statement: DisclosureRequestStatement, now: int) -> None:
    """Refuse a request that names no member, keys not on the roster, or times that can't be."""
    field = "request.statement"
    roster = exchange.membership.roster
    member, requester = roster.party(statement.member), roster.party(statement.requester)
    if member is None or member.kind not in MEMBER_KINDS or member.id in exchange.membership.suspended:
        raise invalid(f"{field}.member", "is no member that takes part")
    if statement.issued_at > now:
        raise invalid(f"{field}.issued_at", "is in the future")
    if not now < statement.deadline <= now + LONGEST:
        raise invalid(f"{field}.deadline", f"must be in the future, at most {LONGEST // DAY} days from now")
    for name, party, key_id in (
        ("scope_key_id", member, statement.scope_key_id),
        ("package_key_id", requester, statement.package_key_id),
    ):
        keys = () if party is None else party.hpke_keys
        if not any(key.id == key_id and key.valid_at(now) for key in keys):
            raise invalid(f"{field}.{name}", "is no valid HPKE key of that party's on the roster")
