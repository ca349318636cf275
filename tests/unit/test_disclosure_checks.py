"""Disclosures on the log, judged offline: what holds is counted, what was tampered with is a problem."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from signalexchange.disclosures import decision_bytes, sign_decision, sign_request, sign_statement
from signalexchange.report import Report
from signalexchange.roster import RosterChain
from signalexchange.v1 import disclosure_service_pb2 as pb
from signalexchange.v1.log_entry_pb2 import (
    DisclosureDecisionEntry,
    DisclosureExpiryEntry,
    DisclosureFetchEntry,
    DisclosureReceiptEntry,
    DisclosureRequestEntry,
    DisclosureWithdrawalEntry,
    EntryType,
)
from signalexchange.verify import verify

from tests.support.logs import Log
from tests.support.packages import MEMBER, POLICE, request_statement, roster_document
from tests.support.rosters import ORIGIN, START, Rosters, private_key, signed

REQUEST = EntryType.ENTRY_TYPE_DISCLOSURE_REQUEST
DECISION = EntryType.ENTRY_TYPE_DISCLOSURE_DECISION
FETCH = EntryType.ENTRY_TYPE_DISCLOSURE_FETCH
RECEIPT = EntryType.ENTRY_TYPE_DISCLOSURE_RECEIPT
WITHDRAWAL = EntryType.ENTRY_TYPE_DISCLOSURE_WITHDRAWAL
EXPIRY = EntryType.ENTRY_TYPE_DISCLOSURE_EXPIRY
ID = request_statement().request_id
CHECK = "disclosure_steps"


def police(name: str = "officer-1") -> Callable[[bytes], bytes]:
    return private_key(f"{POLICE} {name}").sign


def request(sign: Callable[[bytes], bytes] | None = None, **changes: Any) -> DisclosureRequestEntry:
    made = sign_request(request_statement(**changes), sign or police())
    return DisclosureRequestEntry(statement=made.statement, signature=made.signature)


def decision(*officers: str, member: str = MEMBER, **changes: Any) -> DisclosureDecisionEntry:
    fields: dict[str, Any] = {
        "origin": ORIGIN,
        "member": member,
        "request_id": ID,
        "request_digest": sha256(request().statement).digest(),
        "decision": pb.DISCLOSURE_DECISION_RELEASED_WHOLE,
        "package_digest": bytes(32),
        "contents_digest": bytes(32),
        "package_key_id": "hpke-1",
    }
    encoded = decision_bytes(pb.DisclosureDecisionStatement(**(fields | changes)))
    signatures = [
        sign_decision(encoded, name, private_key(f"{member} {name}").sign)
        for name in officers or ("officer-1", "officer-2")
    ]
    return DisclosureDecisionEntry(statement=encoded, signatures=signatures)


def receipt(name: str = "officer-2", **changes: Any) -> DisclosureReceiptEntry:
    fields: dict[str, Any] = {
        "origin": ORIGIN,
        "requester": POLICE,
        "key_id": "officer-2",
        "request_id": ID,
        "decision_digest": sha256(decision().statement).digest(),
        "package_digest": bytes(32),
    }
    statement = pb.DisclosureReceiptStatement(**(fields | changes))
    encoded, signature = sign_statement(statement, police(name))
    return DisclosureReceiptEntry(statement=encoded, signature=signature)


def withdrawal(**changes: Any) -> DisclosureWithdrawalEntry:
    fields: dict[str, Any] = {"origin": ORIGIN, "requester": POLICE, "key_id": "officer-1", "request_id": ID}
    encoded, signature = sign_statement(pb.DisclosureWithdrawalStatement(**(fields | changes)), police())
    return DisclosureWithdrawalEntry(statement=encoded, signature=signature)


def judged(folder: Path, *entries: tuple[EntryType.ValueType, Message, str]) -> Report:
    """The report on a log with these entries, each with the party its header names."""
    log = Log(Rosters(RosterChain.start(signed(roster_document()))))
    for type_, payload, member in entries:
        log.append(type_, member, payload)
    log.collect(folder)
    return verify(folder, log.rosters.chain.versions[0][0])


def both(type_: EntryType.ValueType, payload: Message) -> list[tuple[EntryType.ValueType, Message, str]]:
    return [(type_, payload, POLICE), (type_, payload, MEMBER)]


def steps(report: Report) -> list[str]:
    return [problem.what for problem in report.problems if problem.check == CHECK]


def test_a_whole_disclosure_holds(tmp_path: Path) -> None:
    fetch = DisclosureFetchEntry(request_id=ID, package_digest=bytes(32))
    report = judged(
        tmp_path,
        *both(REQUEST, request()),
        *both(DECISION, decision()),
        *both(FETCH, fetch),
        *both(RECEIPT, receipt()),
    )
    assert steps(report) == []
    assert report.verified[CHECK] == 8


@pytest.mark.parametrize(
    "end", [(WITHDRAWAL, withdrawal()), (EXPIRY, DisclosureExpiryEntry(request_id=ID, due=START))]
)
def test_so_do_a_withdrawal_and_an_expiry(tmp_path: Path, end: tuple[EntryType.ValueType, Message]) -> None:
    report = judged(tmp_path, *both(REQUEST, request()), *both(*end))
    assert steps(report) == []
    assert report.verified[CHECK] == 4


@pytest.mark.parametrize(
    ("type_", "payload"),
    [
        (REQUEST, request(police("officer-2"))),
        (REQUEST, request(private_key(f"{MEMBER} officer-1").sign)),
        (REQUEST, request(origin="elsewhere.test/log")),
        (REQUEST, request(key_id="officer-9")),
        (DECISION, decision("officer-1", "officer-1")),
        (DECISION, decision("officer-1", "officer-9")),
        (DECISION, decision(member="bank-b")),
        (DECISION, decision(request_digest=bytes(32))),
        (DECISION, decision(origin="elsewhere.test/log")),
        (RECEIPT, receipt("officer-1")),
        (RECEIPT, receipt(decision_digest=bytes(32))),
        (RECEIPT, receipt(requester=MEMBER)),
        (WITHDRAWAL, withdrawal(requester=MEMBER)),
    ],
)
def test_what_was_tampered_with_is_a_problem(
    tmp_path: Path, type_: EntryType.ValueType, payload: Message
) -> None:
    before = both(REQUEST, request()) if type_ != REQUEST else []
    if type_ == RECEIPT:
        before += both(DECISION, decision())
    report = judged(tmp_path, *before, (type_, payload, POLICE))
    assert len(steps(report)) == 1
    assert report.verified[CHECK] == len(before)


def test_an_entry_concerns_one_of_the_two_sides_and_a_step_is_taken_once(tmp_path: Path) -> None:
    report = judged(tmp_path / "third", *both(REQUEST, request()), (DECISION, decision(), "bank-b"))
    assert steps(report) == ["the entry concerns a party that is no side of the disclosure"]
    report = judged(tmp_path / "twice", *both(REQUEST, request()), (REQUEST, request(), MEMBER))
    assert steps(report) == ["the step stands on the log twice"]


def test_a_step_whose_request_is_not_opened_is_not_checked(tmp_path: Path) -> None:
    report = judged(tmp_path, *both(DECISION, decision()))
    assert steps(report) == []
    assert report.not_checked["step of a disclosure whose request is not opened"] == 2
