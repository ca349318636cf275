"""What opened entries about disclosures must keep: officers' signatures, decisions on requests that stand.

Invariants: a signature counts under the key that the roster in force at the entry's place gave that officer
at the entry's time; a decision has two officers of the member asked; each step of a request stands on the log
at most once for either side. What can't be told because entries aren't open counts as not checked.
"""

from collections.abc import Callable
from hashlib import sha256

from google.protobuf.message import Message

from signalexchange.disclosures import AnyStatement, open_decision, open_statement, parse_statement
from signalexchange.errors import ExchangeError, VerificationError
from signalexchange.report import Report
from signalexchange.roster import Roster
from signalexchange.v1.disclosure_service_pb2 import (
    DisclosureDecisionStatement,
    DisclosureReceiptStatement,
    DisclosureRequestStatement,
    DisclosureWithdrawalStatement,
    SignedDecision,
)
from signalexchange.v1.log_entry_pb2 import (
    DisclosureDecisionEntry,
    DisclosureExpiryEntry,
    DisclosureFetchEntry,
    DisclosureReceiptEntry,
    DisclosureRequestEntry,
    DisclosureWithdrawalEntry,
    EntryHeader,
)

CHECK = "disclosure_steps"
ENTRIES = (
    DisclosureRequestEntry
    | DisclosureDecisionEntry
    | DisclosureFetchEntry
    | DisclosureReceiptEntry
    | DisclosureWithdrawalEntry
    | DisclosureExpiryEntry
)


class DisclosureChecker:
    """Judges entries about disclosures as they are opened, and what ties them together at the end.

    `roster_at` gives the roster in force at an entry, or None where that is not known.
    """

    def __init__(self, report: Report, roster_at: Callable[[int], Roster | None]) -> None:
        self._report = report
        self._roster_at = roster_at
        self._steps: set[tuple[str, int, bytes]] = set()
        self._requests: dict[bytes, tuple[bytes, str, str]] = {}
        self._decisions: dict[bytes, bytes] = {}
        self._pending: list[tuple[int, EntryHeader, Message]] = []

    def judge(self, index: int, header: EntryHeader, payload: Message) -> None:
        """Check an entry's signatures, and that the step is the first of its kind."""
        roster = self._roster_at(index)
        if roster is None:
            self._report.skip("signature before the first opened roster entry")
            return
        try:
            request_id = self._signed(header, payload, roster)
            step = (header.member, header.type, request_id)
            if step in self._steps:
                raise VerificationError("the step stands on the log twice")
        except ExchangeError as error:
            self._report.problem(CHECK, index, error)
            return
        self._steps.add(step)
        self._pending.append((index, header, payload))

    def finish(self) -> None:
        """Judge decisions and receipts against the requests that were opened."""
        for index, header, payload in self._pending:
            try:
                known = self._tied(header, payload)
            except ExchangeError as error:
                self._report.problem(CHECK, index, error)
                continue
            if known:
                self._report.count(CHECK)
            else:
                self._report.skip("step of a disclosure whose request is not opened")

    def _signed(self, header: EntryHeader, payload: Message, roster: Roster) -> bytes:
        """The request's id, once the signatures hold."""
        match payload:
            case DisclosureRequestEntry():
                request = self._by_officer(
                    DisclosureRequestStatement, payload.statement, payload.signature, header, roster
                )
                _check_side(header, request.requester, request.member)
                digest = sha256(payload.statement).digest()
                known = (digest, request.requester, request.member)
                if self._requests.setdefault(request.request_id, known) != known:
                    raise VerificationError("two requests have one id")
                return request.request_id
            case DisclosureDecisionEntry():
                signed = SignedDecision(statement=payload.statement, signatures=payload.signatures)
                member = parse_statement(DisclosureDecisionStatement, payload.statement).member
                decision = open_decision(signed, lambda id_: roster.officer_key(member, id_, header.time))
                _check_origin(decision.origin, roster)
                self._decisions[decision.request_id] = payload.statement
                return decision.request_id
            case DisclosureReceiptEntry():
                return self._by_officer(
                    DisclosureReceiptStatement, payload.statement, payload.signature, header, roster
                ).request_id
            case DisclosureWithdrawalEntry():
                return self._by_officer(
                    DisclosureWithdrawalStatement, payload.statement, payload.signature, header, roster
                ).request_id
            case DisclosureFetchEntry() | DisclosureExpiryEntry():
                return payload.request_id
        raise VerificationError("is no step of a disclosure")

    def _by_officer(
        self,
        kind: type[AnyStatement],
        data: bytes,
        signature: bytes,
        header: EntryHeader,
        roster: Roster,
    ) -> AnyStatement:
        statement = parse_statement(kind, data)
        if isinstance(statement, DisclosureDecisionStatement):
            raise VerificationError("a decision has two officers")
        _check_origin(statement.origin, roster)
        key = roster.officer_key(statement.requester, statement.key_id, header.time)
        if key is None:
            raise VerificationError("signed with a key that the roster gave no officer at that time")
        return open_statement(kind, data, signature, key.public_key)

    def _tied(self, header: EntryHeader, payload: Message) -> bool:
        """Whether the request is open; raises VerificationError where the step doesn't fit it."""
        if isinstance(payload, DisclosureFetchEntry | DisclosureExpiryEntry):
            request_id = payload.request_id
        else:
            request_id = _request_id(payload)
        known = self._requests.get(request_id)
        if known is None:
            return False
        digest, requester, member = known
        _check_side(header, requester, member)
        match payload:
            case DisclosureDecisionEntry():
                decision = parse_statement(DisclosureDecisionStatement, payload.statement)
                if decision.member != member or decision.request_digest != digest:
                    raise VerificationError("decides another request, or another member's")
            case DisclosureReceiptEntry():
                receipt = parse_statement(DisclosureReceiptStatement, payload.statement)
                decided = self._decisions.get(request_id)
                if receipt.requester != requester:
                    raise VerificationError("is a receipt of another party's")
                if decided is not None and receipt.decision_digest != sha256(decided).digest():
                    raise VerificationError("acknowledges another decision")
            case DisclosureWithdrawalEntry():
                withdrawal = parse_statement(DisclosureWithdrawalStatement, payload.statement)
                if withdrawal.requester != requester:
                    raise VerificationError("withdraws another party's request")
        return True


def _request_id(payload: Message) -> bytes:
    match payload:
        case DisclosureRequestEntry():
            return parse_statement(DisclosureRequestStatement, payload.statement).request_id
        case DisclosureDecisionEntry():
            return parse_statement(DisclosureDecisionStatement, payload.statement).request_id
        case DisclosureReceiptEntry():
            return parse_statement(DisclosureReceiptStatement, payload.statement).request_id
        case DisclosureWithdrawalEntry():
            return parse_statement(DisclosureWithdrawalStatement, payload.statement).request_id
    return b""


def _check_origin(origin: str, roster: Roster) -> None:
    if origin != roster.origin:
        raise VerificationError("the statement is for another log")


def _check_side(header: EntryHeader, requester: str, member: str) -> None:
    if header.member not in (requester, member):
        raise VerificationError("the entry concerns a party that is no side of the disclosure")
