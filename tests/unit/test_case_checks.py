"""Cases on the log, judged offline: what holds is counted, what was tampered with is a problem."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from signalexchange.cases import sign_corrections, sign_erasure, sign_step
from signalexchange.evidence import EvidenceFolder
from signalexchange.report import Report
from signalexchange.roster import RosterChain
from signalexchange.v1.log_entry_pb2 import (
    CaseDeadlineEntry,
    CaseEntry,
    CaseErasureEntry,
    CorrectionEntry,
    CorrectionsEntry,
    DisputeEntry,
    EntryType,
    SignalPosition,
)
from signalexchange.v1.outcome_service_pb2 import VERDICT_CONFIRMED
from signalexchange.v1.signal_service_pb2 import SIGNAL_CHANGE_DISPUTED
from signalexchange.verify import verify

from tests.support.case_steps import (
    CASE_ID,
    Body,
    appeal,
    authenticate,
    close,
    decide,
    decide_appeal,
    explain,
    explained,
    freeze,
    judge,
    lift,
    opened,
    restrict,
    statement,
)
from tests.support.logs import Log
from tests.support.rosters import ORIGIN, START, Rosters, document, key, private_key, signed

OFFICERS = {"officer-1": "ann", "renewed-1": "ann", "officer-2": "bob", "officer-3": "cyd"}


class CaseLog(Log):
    """A log with steps of cases; bank-a and bank-b have officers."""

    @classmethod
    def begun(cls) -> "CaseLog":
        data = document()
        for party in data["parties"][:2]:
            party["officer_keys"] = [
                {**key(f"{party['id']} {key_id}", key_id), "officer": name}
                for key_id, name in OFFICERS.items()
            ]
        log = cls(Rosters(RosterChain.start(signed(data))))
        log.digests = {}
        log.step(opened())
        return log

    digests: dict[tuple[str, bytes], list[bytes]]

    def step(
        self,
        body: Body,
        key_id: str = "officer-1",
        *,
        member: str = "bank-a",
        signing_key: str | None = None,
        header_member: str | None = None,
        **changes: Any,
    ) -> int:
        chain = self.digests.setdefault((member, CASE_ID), [])
        fields = {"sequence": len(chain), "previous": chain[-1] if chain else b""} | changes
        message = statement(body | {"member": member, "key_id": key_id} | fields, 0, b"")
        request = sign_step(message, private_key(signing_key or f"{member} {key_id}").sign)
        chain.append(sha256(request.statement).digest())
        entry = CaseEntry(statement=request.statement, signature=request.signature)
        index = self.append(EntryType.ENTRY_TYPE_CASE, header_member or member, entry)
        self.receipt(index, request.statement)
        return index

    @property
    def last(self) -> bytes:
        return self.digests["bank-a", CASE_ID][-1]

    def dispute(self, *signals: tuple[int, int]) -> int:
        places = [SignalPosition(index=index, position=position) for index, position in signals]
        return self.append(EntryType.ENTRY_TYPE_DISPUTE, "", DisputeEntry(signals=places, until=START))

    def correction(self, member: str) -> int:
        entry = CorrectionEntry(signal_id=bytes(16), token=bytes(32), change=SIGNAL_CHANGE_DISPUTED)
        return self.append(EntryType.ENTRY_TYPE_CORRECTION, member, entry)

    def acknowledged(self, entries: Iterable[int], member: str = "bank-b", signer: str | None = None) -> int:
        request = sign_corrections(
            entries,
            origin=ORIGIN,
            member=member,
            key_id="k1",
            sign=private_key(signer or member).sign,
        )
        entry = CorrectionsEntry(statement=request.statement, signature=request.signature)
        index = self.append(EntryType.ENTRY_TYPE_CORRECTIONS, member, entry)
        self.receipt(index, request.statement)
        return index

    def erasure(
        self,
        entries: Iterable[int],
        member: str = "bank-a",
        *,
        signer: str = "officer-1",
        term: bool = False,
        held: bool = True,
    ) -> int:
        request = sign_erasure(
            origin=ORIGIN,
            member=member,
            key_id="officer-1",
            order_id=bytes(16),
            case_id=CASE_ID,
            sign=private_key(f"{member} {signer}").sign,
        )
        entry = CaseErasureEntry(entries=entries)
        if not term:
            entry.statement_digest = sha256(request.statement).digest()
            entry.signature = request.signature
        index = self.append(EntryType.ENTRY_TYPE_CASE_ERASURE, member, entry)
        if held and not term:
            self.receipt(index, request.statement)
        return index

    def erase(self, indices: Iterable[int]) -> None:
        """Forget the payloads, as the hub does; headers stay open."""
        for index in indices:
            change = {"payload": None, "payload_opening": None}
            self.openings[index] = self.openings[index].model_copy(update=change)

    def check(self, folder: Path) -> Report:
        evidence: EvidenceFolder = self.collect(folder)
        assert evidence.size == self.size
        return verify(folder, self.rosters.chain.versions[0][0])


def problems(report: Report) -> list[tuple[str, int | None]]:
    return [(problem.check, problem.index) for problem in report.problems]


@pytest.fixture
def log() -> CaseLog:
    return CaseLog.begun()


def test_a_whole_case_is_verified(tmp_path: Path, log: CaseLog) -> None:
    batch, _ = log.batch([b"one", b"two"])
    log.step(opened(), member="bank-b")
    log.step(authenticate())
    log.step(explain(START + 1))
    log.step(explained())
    log.step(judge(satisfactory=False), "officer-2")
    log.step(restrict())
    log.append(
        EntryType.ENTRY_TYPE_CASE_DEADLINE,
        "bank-a",
        CaseDeadlineEntry(case_id=CASE_ID, due=START, what="explanation"),
    )
    log.step(freeze())
    log.step(decide(log.last), "officer-2")
    log.step(appeal())
    log.dispute((batch, 0), (batch, 1))
    told = [log.correction("bank-b"), log.correction("bank-b"), log.correction("shop")]
    log.step(decide_appeal(granted=False), "officer-3")
    log.step(lift())
    log.step(close(VERDICT_CONFIRMED))
    log.acknowledged(told[:1])
    log.acknowledged(told[:2])
    report = log.check(tmp_path)
    assert report.problems == []
    assert report.complete
    found = {name: report.verified[name] for name in ("case_steps", "corrections", "acknowledged")}
    assert found == {"case_steps": 13, "corrections": 3, "acknowledged": 2}
    assert report.verified["receipts"] == 16


@pytest.mark.parametrize(
    "how",
    [
        {"signing_key": "bank-b officer-1"},
        {"signing_key": "bank-a"},
        {"key_id": "k1"},
        {"key_id": "officer-9"},
        {"header_member": "shop"},
        {"origin": "another.test/log"},
        {"previous": bytes(32)},
        {"sequence": 2},
    ],
)
def test_a_step_that_is_not_what_it_says_is_a_problem(tmp_path: Path, log: CaseLog, how: Any) -> None:
    bad = log.step(authenticate(), **how)
    assert problems(log.check(tmp_path)) == [("case_steps", bad)]


def test_a_dispute_of_what_is_not_on_the_log_yet_is_a_problem(tmp_path: Path, log: CaseLog) -> None:
    bad = log.dispute((9, 0))
    assert problems(log.check(tmp_path)) == [("payloads", bad)]


def test_a_step_replayed_or_put_in_between_is_a_problem(tmp_path: Path, log: CaseLog) -> None:
    first = log.digests["bank-a", CASE_ID][0]
    log.step(authenticate())
    bad = log.step(explain(START + 1), sequence=1, previous=first)
    replayed = log.openings[bad - 1]
    again = log.append(EntryType.ENTRY_TYPE_CASE, "bank-a", CaseEntry.FromString(replayed.payload or b""))
    assert problems(log.check(tmp_path)) == [("case_steps", bad), ("case_steps", again)]


@pytest.mark.parametrize("key_id", ["officer-1", "renewed-1"])
def test_the_second_officer_is_another_person(tmp_path: Path, log: CaseLog, key_id: str) -> None:
    log.step(freeze())
    bad = log.step(decide(log.last), key_id)
    assert problems(log.check(tmp_path)) == [("case_steps", bad)]


def test_the_second_officer_decides_on_an_action_of_this_proceeding(tmp_path: Path, log: CaseLog) -> None:
    log.step(opened(), member="bank-b")
    log.step(freeze(), member="bank-b")
    theirs = log.digests["bank-b", CASE_ID][-1]
    bad = [log.step(decide(theirs), "officer-2"), log.step(decide(log.digests["bank-a", CASE_ID][0]))]
    assert problems(log.check(tmp_path)) == [("case_steps", index) for index in bad]


def test_an_appeal_is_decided_by_who_took_no_part(tmp_path: Path, log: CaseLog) -> None:
    log.step(freeze(), "renewed-1")
    log.step(decide(log.last), "officer-2")
    log.step(appeal())
    bad = [log.step(decide_appeal(granted=True), name) for name in ("officer-1", "officer-2")]
    log.step(decide_appeal(granted=True), "officer-3")
    assert problems(log.check(tmp_path)) == [("case_steps", index) for index in bad]


def test_an_erased_proceeding_leaves_its_proofs(tmp_path: Path, log: CaseLog) -> None:
    steps = [1, log.step(authenticate()), log.step(close(VERDICT_CONFIRMED))]
    log.erasure(steps)
    log.receipts = [receipt for receipt in log.receipts if receipt.index not in steps]
    log.erase(steps)
    report = log.check(tmp_path)
    assert report.problems == []
    assert (report.verified["case_erasures"], report.verified["case_steps"]) == (1, 0)
    assert report.not_checked == {"payload not opened, or erased": 3}


def test_after_a_partial_opening_steps_count_as_not_checked(tmp_path: Path, log: CaseLog) -> None:
    proposal = log.step(freeze())
    log.step(decide(log.last), "officer-2")
    log.step(lift())
    log.receipts = []
    log.erase([proposal])
    report = log.check(tmp_path)
    assert report.problems == []
    assert report.verified["case_steps"] == 2  # the first and the last
    assert report.not_checked == {
        "payload not opened, or erased": 1,
        "step of a case whose step before is not opened": 1,
        "second officer of an action that is not opened": 1,
    }


def test_erasures(tmp_path: Path, log: CaseLog) -> None:
    theirs = log.step(opened(), member="bank-b")
    log.erasure([1], term=True)
    log.erasure([1], held=False)
    bad = [
        log.erasure([0]),
        log.erasure([theirs]),
        log.erasure([log.size]),
        log.erasure([1], signer="officer-2"),
        log.erasure([theirs], term=True),
    ]
    report = log.check(tmp_path)
    assert sorted(problems(report)) == [("case_erasures", index) for index in bad]
    assert report.verified["case_erasures"] == 1
    assert report.not_checked["erasure of a case whose order is not in the folder"] == 1


def test_acknowledgements(tmp_path: Path, log: CaseLog) -> None:
    mine, theirs = log.correction("bank-b"), log.correction("shop")
    bad = [
        log.acknowledged([theirs]),
        log.acknowledged([mine, theirs]),
        log.acknowledged([1]),
        log.acknowledged([log.size]),
        log.acknowledged([mine], signer="shop"),
    ]
    report = log.check(tmp_path)
    assert sorted(problems(report)) == [("acknowledged", index) for index in bad]
    assert (report.verified["corrections"], report.verified["acknowledged"]) == (2, 0)
