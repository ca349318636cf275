"""Headers and payloads of the log's entries, read strictly by their type.

Invariants: the header's type says which message a payload is; unknown types and unknown fields are refused,
sizes and orders the contract states are checked. Whether what an entry says is true is for its readers.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from google.protobuf.message import Message

from signalexchange.disclosures import OFFICERS
from signalexchange.envelope import ID_SIZE, MAX_SIGNALS, parse_message
from signalexchange.errors import MalformedError
from signalexchange.note import SIGNATURE_SIZE
from signalexchange.v1.log_entry_pb2 import (
    AccessEntry,
    BatchEntry,
    CaseDeadlineEntry,
    CaseEntry,
    CaseErasureEntry,
    CorrectionEntry,
    CorrectionsEntry,
    DeliveryEntry,
    DisclosureDecisionEntry,
    DisclosureExpiryEntry,
    DisclosureFetchEntry,
    DisclosureReceiptEntry,
    DisclosureRequestEntry,
    DisclosureWithdrawalEntry,
    DisputeEntry,
    EntryHeader,
    EntryType,
    MatchDeliveryEntry,
    MatchEntry,
    ModelEntry,
    OpeningEntry,
    OutcomesEntry,
    RefusalEntry,
    RosterEntry,
    SignalPosition,
    SuspensionEntry,
    WithdrawalEntry,
)
from signalexchange.v1.match_service_pb2 import MatchStatus, Pattern
from signalexchange.v1.signal_service_pb2 import Action, SignalChange

TOKEN_SIZE = 32
MAX_PERMILLE = 1000
NEUTRAL = 1000
DIGEST_SIZE = 32
DEADLINES = frozenset({"explanation", "appeal"})
"""What a proceeding waits for."""
CORRECTIONS = frozenset(SignalChange.values()) - {
    SignalChange.SIGNAL_CHANGE_UNSPECIFIED,
    SignalChange.SIGNAL_CHANGE_RECORDED,
}
"""The changes of a signal that correct what was shown of it."""

PAYLOADS: dict[int, type[Message]] = {
    EntryType.ENTRY_TYPE_ROSTER: RosterEntry,
    EntryType.ENTRY_TYPE_SUSPENSION: SuspensionEntry,
    EntryType.ENTRY_TYPE_BATCH: BatchEntry,
    EntryType.ENTRY_TYPE_WITHDRAWAL: WithdrawalEntry,
    EntryType.ENTRY_TYPE_LOOK_UP: AccessEntry,
    EntryType.ENTRY_TYPE_SUBSCRIPTION: AccessEntry,
    EntryType.ENTRY_TYPE_DELIVERY: DeliveryEntry,
    EntryType.ENTRY_TYPE_REFUSAL: RefusalEntry,
    EntryType.ENTRY_TYPE_OPENING: OpeningEntry,
    EntryType.ENTRY_TYPE_OUTCOMES: OutcomesEntry,
    EntryType.ENTRY_TYPE_MATCH: MatchEntry,
    EntryType.ENTRY_TYPE_MATCH_DELIVERY: MatchDeliveryEntry,
    EntryType.ENTRY_TYPE_MODEL: ModelEntry,
    EntryType.ENTRY_TYPE_CASE: CaseEntry,
    EntryType.ENTRY_TYPE_CASE_DEADLINE: CaseDeadlineEntry,
    EntryType.ENTRY_TYPE_CASE_ERASURE: CaseErasureEntry,
    EntryType.ENTRY_TYPE_CORRECTION: CorrectionEntry,
    EntryType.ENTRY_TYPE_CORRECTIONS: CorrectionsEntry,
    EntryType.ENTRY_TYPE_DISPUTE: DisputeEntry,
    EntryType.ENTRY_TYPE_DISCLOSURE_REQUEST: DisclosureRequestEntry,
    EntryType.ENTRY_TYPE_DISCLOSURE_DECISION: DisclosureDecisionEntry,
    EntryType.ENTRY_TYPE_DISCLOSURE_FETCH: DisclosureFetchEntry,
    EntryType.ENTRY_TYPE_DISCLOSURE_RECEIPT: DisclosureReceiptEntry,
    EntryType.ENTRY_TYPE_DISCLOSURE_WITHDRAWAL: DisclosureWithdrawalEntry,
    EntryType.ENTRY_TYPE_DISCLOSURE_EXPIRY: DisclosureExpiryEntry,
}
"""Message of each type of entry."""


def parse_header(data: bytes) -> EntryHeader:
    """Read a header; raises MalformedError, also for a type this version does not know."""
    header = parse_message(EntryHeader, data)
    if header.type not in PAYLOADS:
        raise MalformedError(f"unknown entry type {header.type}")
    if header.time < 0:
        raise MalformedError("an entry's time is not negative")
    return header


def parse_payload(entry_type: int, data: bytes) -> Message:
    """Read the payload of an entry of this type; raises MalformedError."""
    if entry_type not in PAYLOADS:
        raise MalformedError(f"unknown entry type {entry_type}")
    payload = parse_message(PAYLOADS[entry_type], data)
    if isinstance(payload, BatchEntry | OutcomesEntry | CaseEntry | CorrectionsEntry):
        _check_size("signature", payload.signature, SIGNATURE_SIZE)
    elif isinstance(payload, CaseDeadlineEntry | CaseErasureEntry | CorrectionEntry | DisputeEntry):
        _check_case(payload)
    elif isinstance(payload, WithdrawalEntry):
        _check_size("statement_digest", payload.statement_digest, DIGEST_SIZE)
        _check_size("signature", payload.signature, SIGNATURE_SIZE)
        if not 1 <= len(payload.positions) <= MAX_SIGNALS:
            raise MalformedError(f"positions are not 1 to {MAX_SIGNALS}")
        if any(place.position >= MAX_SIGNALS for place in payload.positions):
            raise MalformedError("a position is beyond any batch")
    elif isinstance(payload, AccessEntry):
        _check_access(payload, entry_type == EntryType.ENTRY_TYPE_SUBSCRIPTION)
    elif isinstance(payload, DeliveryEntry):
        _check_size("token", payload.token, TOKEN_SIZE)
        _check_size("signal_id", payload.signal_id, ID_SIZE)
    elif isinstance(payload, MatchEntry):
        _check_match(payload)
    elif isinstance(payload, MatchDeliveryEntry):
        _check_size("match_id", payload.match_id, ID_SIZE)
        _check_size("digest", payload.digest, DIGEST_SIZE)
        _check_tokens("subjects", payload.subjects)
    elif isinstance(payload, ModelEntry):
        _check_model(payload)
    elif isinstance(payload, DisclosureRequestEntry | DisclosureReceiptEntry | DisclosureWithdrawalEntry):
        _check_size("signature", payload.signature, SIGNATURE_SIZE)
    elif isinstance(payload, DisclosureDecisionEntry):
        if len(payload.signatures) != OFFICERS:
            raise MalformedError(f"a decision has {OFFICERS} signatures")
        for each in payload.signatures:
            _check_size("signature", each.signature, SIGNATURE_SIZE)
    elif isinstance(payload, DisclosureFetchEntry):
        _check_size("request_id", payload.request_id, ID_SIZE)
        _check_size("package_digest", payload.package_digest, DIGEST_SIZE)
    elif isinstance(payload, DisclosureExpiryEntry):
        _check_size("request_id", payload.request_id, ID_SIZE)
        if payload.due <= 0:
            raise MalformedError("an expiry says when it was due")
    elif isinstance(payload, RefusalEntry) and payload.count < 1:
        raise MalformedError("a refusal counts at least 1")
    elif isinstance(payload, OpeningEntry):
        if not payload.indices:
            raise MalformedError("an opening names entries")
        _check_ascending("indices", payload.indices)
    return payload


def _check_case(payload: CaseDeadlineEntry | CaseErasureEntry | CorrectionEntry | DisputeEntry) -> None:
    if isinstance(payload, DisputeEntry):
        if not payload.signals:
            raise MalformedError("a dispute is about signals")
        _check_places("signals", payload.signals)
        if payload.until < 0:
            raise MalformedError("until is not negative")
    elif isinstance(payload, CaseDeadlineEntry):
        _check_size("case_id", payload.case_id, ID_SIZE)
        if payload.due < 1 or payload.what not in DEADLINES:
            raise MalformedError("a deadline is of an explanation or an appeal, at a time")
    elif isinstance(payload, CaseErasureEntry):
        if payload.statement_digest or payload.signature:
            _check_size("statement_digest", payload.statement_digest, DIGEST_SIZE)
            _check_size("signature", payload.signature, SIGNATURE_SIZE)
        if not payload.entries:
            raise MalformedError("an erasure names entries")
        _check_ascending("entries", payload.entries)
    else:
        _check_size("signal_id", payload.signal_id, ID_SIZE)
        _check_size("token", payload.token, TOKEN_SIZE)
        if payload.change not in CORRECTIONS:
            raise MalformedError(f"{payload.change} is no change that corrects")


def _check_access(payload: AccessEntry, subscription: bool) -> None:
    _check_size("request_digest", payload.request_digest, DIGEST_SIZE)
    _check_size("answer_digest", payload.answer_digest, 0 if subscription else DIGEST_SIZE)
    hits = _check_tokens("hits", payload.hits)
    if subscription and hits:
        raise MalformedError("a subscription has no hits")
    if hits > payload.asked:
        raise MalformedError("more hits than tokens asked about")
    if len(payload.scores) != len(payload.advice):
        raise MalformedError("as many scores as there is advice")
    if payload.scores and len(payload.scores) != hits:
        raise MalformedError("scores are one for each hit")
    if any(score > MAX_PERMILLE for score in payload.scores):
        raise MalformedError(f"a score is above {MAX_PERMILLE}")
    if any(action not in Action.values() or not action for action in payload.advice):
        raise MalformedError("advises an unknown action")
    _check_ascending("matched", payload.matched)
    if any(at >= len(payload.scores) for at in payload.matched):
        raise MalformedError("matches counted to no hit")
    if payload.HasField("matched_to"):
        if not payload.matched:
            raise MalformedError("says where matching stood although no match counted")
        if payload.matched_to.position > MAX_SIGNALS:
            raise MalformedError("a position is beyond any batch")
    elif payload.matched_day:
        raise MalformedError("says on which day matching stood, not where")


def _check_model(payload: ModelEntry) -> None:
    if not payload.version:
        raise MalformedError("versions of what is learned begin with 1")
    _check_size("rulebook_digest", payload.rulebook_digest, DIGEST_SIZE)
    names = [(tally.issuer, tally.code, tally.reporter) for tally in payload.tallies]
    _check_ascending("tallies", names)
    for tally in payload.tallies:
        if not tally.reporter or not (tally.issuer or tally.code):
            raise MalformedError("a tally names who reported, and an issuer or a code")
        if not (tally.confirmed or tally.refuted):
            raise MalformedError("a tally counts at least 1")
    for field, factors in (("groups", payload.groups), ("codes", payload.codes)):
        _check_ascending(field, [factor.name for factor in factors])
        if any(not factor.name or factor.permille == NEUTRAL for factor in factors):
            raise MalformedError(f"{field} name who is believed more or less than unknown")


def _check_match(payload: MatchEntry) -> None:
    _check_size("match_id", payload.match_id, ID_SIZE)
    if payload.pattern not in Pattern.values() or not payload.pattern:
        raise MalformedError(f"unknown pattern {payload.pattern}")
    if payload.status not in MatchStatus.values() or not payload.status:
        raise MalformedError(f"unknown status {payload.status}")
    if payload.confidence > MAX_PERMILLE:
        raise MalformedError(f"confidence is above {MAX_PERMILLE}")
    if any(amount.low > amount.high for amount in (payload.volume, payload.gain)):
        raise MalformedError("a range of amounts that ends before it begins")
    if any(place.index >= payload.as_of for place in payload.evidence):
        raise MalformedError("evidence that was not taken into account")
    _check_places("evidence", payload.evidence)


def _check_places(field: str, places: Sequence[SignalPosition]) -> None:
    if any(place.position >= MAX_SIGNALS for place in places):
        raise MalformedError("a position is beyond any batch")
    _check_ascending(field, [place.index * MAX_SIGNALS + place.position for place in places])


def _check_tokens(field: str, value: bytes) -> int:
    """How many tokens these are, one behind the other."""
    if len(value) % TOKEN_SIZE:
        raise MalformedError(f"{field} are tokens of {TOKEN_SIZE} bytes")
    _check_ascending(field, [value[at : at + TOKEN_SIZE] for at in range(0, len(value), TOKEN_SIZE)])
    return len(value) // TOKEN_SIZE


def _check_ascending(field: str, values: Sequence[Any]) -> None:
    if any(left >= right for left, right in pairwise(values)):
        raise MalformedError(f"{field} are not strictly ascending")


def _check_size(field: str, value: bytes, size: int) -> None:
    if len(value) != size:
        raise MalformedError(f"{field} has not {size} bytes")
