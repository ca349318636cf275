"""What follows from a case for signals: verdicts on them, a sanction's signal, and its withdrawal.

Invariants: only the member's own signals whose subject is the case's are spoken of, and each gets one
verdict; a sanction's signal is one for each case and measure, however often its publication is begun; it is
withdrawn when the measure is lifted.
"""

import asyncio
import json
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from signalexchange.cases import ACTION_NAMES, parse_step
from signalexchange.envelope import MAX_SIGNALS, parse_withdrawal
from signalexchange.journal import Journal, Kind, Sent, SignalNote
from signalexchange.outcomes import about, parse_outcomes
from signalexchange.publisher import Publisher
from signalexchange.roster_client import RosterClient
from signalexchange.rulebook import Code, Rulebook
from signalexchange.sending import Acknowledged
from signalexchange.signals import DAY, SALT_SIZE, SIGNAL_ID_SIZE, cut, record_commitment
from signalexchange.v1.case_service_pb2 import Case, RecordStepRequest
from signalexchange.v1.outcome_service_pb2 import (
    VERDICT_CONFIRMED,
    VERDICT_INCONCLUSIVE,
    VERDICT_REFUTED,
    Outcome,
    ReportOutcomesRequest,
    Verdict,
)
from signalexchange.v1.signal_pb2 import (
    EVIDENCE_GRADE_CONFIRMED,
    LEGAL_BASIS_FRAUD_PREVENTION,
    TLP_AMBER,
    WITHDRAWAL_REASON_PUBLISHED_IN_ERROR,
    WITHDRAWAL_REASON_RESOLVED,
    Signal,
)
from signalexchange.v1.signal_service_pb2 import ACTION_ALLOW, WithdrawSignalsRequest

_SURE: Final = 100
_OTHERWISE: Final = (VERDICT_CONFIRMED, VERDICT_INCONCLUSIVE)
"""Verdicts that stand against refuting a signal: it is withdrawn instead."""


class FollowUp:
    """What a member does about signals when a case of its own takes a turn."""

    def __init__(
        self,
        member: str,
        rosters: RosterClient,
        journal: Callable[[], Journal],
        publisher: Callable[[], Publisher],
        clock: Callable[[], int],
    ) -> None:
        self._member = member
        self._rosters = rosters
        self._journal = journal
        self._publisher = publisher
        self._clock = clock

    async def verdicts(self, case: Case, verdict: Verdict.ValueType) -> list[Outcome]:
        """The verdict on the match, and on signals that have none of this member's yet: own ones about the
        subject, and others' that the steps named as evidence. Sorted as the report will have them; at most
        1,000."""
        found = await self._about_signals(case, verdict)
        found += [
            Outcome(signal_id=id_, verdict=verdict) for id_ in await asyncio.to_thread(self._named, case)
        ]
        found = sorted(found, key=about)[: MAX_SIGNALS - 1]
        return [*found, Outcome(match_id=case.match_id, verdict=verdict)] if case.match_id else found

    async def refuted(self, case: Case) -> list[Outcome]:
        """REFUTED for own signals about the subject that have no verdict yet; at most 1,000."""
        return sorted(await self._about_signals(case, VERDICT_REFUTED), key=about)[:MAX_SIGNALS]

    async def report(
        self, case_id: bytes, sequence: int, outcomes: Sequence[Outcome]
    ) -> ReportOutcomesRequest:
        """The outcomes, signed as a member's report that goes with a step."""
        rows = [each.SerializeToString() for each in outcomes]
        report_id = self._journal().batch_id([b"case-outcomes", case_id, sequence.to_bytes(4, "big"), *rows])
        return await self._publisher().signed_report(outcomes, report_id, self._clock())

    async def publish(self, case: Case, *, timeout: float) -> list[Acknowledged]:  # noqa: ASYNC109
        """Publish the signal of a measure that stands in a case closed as confirmed, if the rulebook has a
        code for it that this member may publish about such a subject."""
        state, now = case.state, self._clock()
        code = _sanction(await self._rosters.rulebook(), ACTION_NAMES.get(state.measure, ""))
        party = (await self._rosters.roster()).party(self._member)
        if code is None or party is None or state.outcome != VERDICT_CONFIRMED:
            return []
        if party.kind not in code.publisher_kinds or case.subject.type not in code.subject_type_values:
            return []
        journal = self._journal()
        batch_id = _batch_id(journal, case, code.code)
        sent = await asyncio.to_thread(journal.sent, Kind.BATCH, batch_id)
        if sent is not None and sent.state == "acknowledged":
            return []
        reference = (journal.references(case.subject.value) or [f"case {case.case_id.hex()}"])[0]
        facts = {"case": case.case_id.hex(), "code": code.code, "reference": reference}
        row = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        signal_id, salt = secrets.token_bytes(SIGNAL_ID_SIZE), secrets.token_bytes(SALT_SIZE)
        signal = Signal(
            signal_id=signal_id,
            code=code.code,
            subject=case.subject,
            first_seen=cut(state.closed_at),
            last_seen=cut(state.closed_at),
            confidence=_SURE,
            grade=EVIDENCE_GRADE_CONFIRMED,
            tlp=TLP_AMBER,
            legal_basis=LEGAL_BASIS_FRAUD_PREVENTION,
            expires_at=cut(now + code.retention_days * DAY),
            record_commitment=record_commitment(salt, row),
        )
        note = SignalNote(signal_id, batch_id, code.code, reference, (case.subject.value,), row, salt)
        return [await self._publisher().publish_signals([signal], batch_id, [note], now, timeout)]

    async def withdraw(self, case: Case, *, wrong: bool, timeout: float) -> list[Acknowledged]:  # noqa: ASYNC109
        """Withdraw the case's sanction signals once no measure stands.

        Where the sanction was `wrong`, so are own signals about the subject that have a verdict already and
        can't be refuted any more.
        """
        if case.state.measure != ACTION_ALLOW:
            return []
        codes = [code.code for code in (await self._rosters.rulebook()).codes if code.measure != "none"]
        chosen = await asyncio.to_thread(self._to_withdraw, case, codes, wrong)
        if not chosen:
            return []
        reason = WITHDRAWAL_REASON_PUBLISHED_IN_ERROR if wrong else WITHDRAWAL_REASON_RESOLVED
        return [await self._publisher().withdraw(chosen[:MAX_SIGNALS], reason, self._clock(), timeout)]

    def _to_withdraw(self, case: Case, sanctions: Sequence[str], wrong: bool) -> list[bytes]:
        journal = self._journal()
        batches = {_batch_id(journal, case, code) for code in sanctions}
        verdicts, gone = _verdicts(journal), _withdrawn(journal)
        return [
            note.signal_id
            for note in _own(journal, case, self._clock())
            if note.signal_id not in gone
            if note.batch_id in batches or (wrong and verdicts.get(note.signal_id) in _OTHERWISE)
        ]

    def _named(self, case: Case) -> list[bytes]:
        """Others' signals that the steps named as evidence."""
        journal = self._journal()
        named = {
            evidence.signal_id
            for step in case.steps
            for evidence in parse_step(step.statement).evidence
            if evidence.signal_id
        }
        return [id_ for id_ in named - _verdicts(journal).keys() if journal.signal(id_) is None]

    async def _about_signals(self, case: Case, verdict: Verdict.ValueType) -> list[Outcome]:
        codes = {code.code for code in (await self._rosters.rulebook()).codes if code.measure != "none"}

        def chosen() -> list[Outcome]:
            journal = self._journal()
            done = _verdicts(journal).keys() | _withdrawn(journal)
            return [
                Outcome(signal_id=note.signal_id, verdict=verdict)
                for note in _own(journal, case, self._clock())
                if note.code not in codes and note.signal_id not in done
            ]

        return await asyncio.to_thread(chosen)


def _sanction(rulebook: Rulebook, measure: str) -> Code | None:
    return next((code for code in rulebook.codes if measure and code.measure == measure), None)


def _batch_id(journal: Journal, case: Case, code: str) -> bytes:
    return journal.batch_id([b"sanction", case.case_id, code.encode()])


def _own(journal: Journal, case: Case, now: int) -> list[SignalNote]:
    """Acknowledged signals of the member's own that are about the case's subject and have not expired."""
    return [
        note
        for note in journal.signals_about(case.subject.value)
        if note.tokens[0] == case.subject.value
        if _stands(journal.sent(Kind.BATCH, note.batch_id))
        if json.loads(note.record).get("expires_at", now + 1) > now
    ]


def _stands(sent: Sent | None) -> bool:
    return sent is not None and sent.state == "acknowledged"


def _verdicts(journal: Journal) -> dict[bytes, int]:
    """The verdicts that this journal's member reported, by signal."""
    reports = [
        ReportOutcomesRequest.FromString(sent.request)
        for sent in journal.history(Kind.REPORT)
        if _stands(sent)
    ]
    steps = [
        RecordStepRequest.FromString(sent.request) for sent in journal.history(Kind.STEP) if _stands(sent)
    ]
    reports += [step.outcomes for step in steps if step.outcomes.statement]
    return {
        outcome.signal_id: outcome.verdict
        for report in reports
        for outcome in parse_outcomes(report.statement).outcomes
        if outcome.signal_id
    }


def _withdrawn(journal: Journal) -> set[bytes]:
    orders = [sent.request for sent in journal.history(Kind.ORDER) if _stands(sent)]
    return {
        signal_id
        for order in orders
        for signal_id in parse_withdrawal(WithdrawSignalsRequest.FromString(order).statement).signal_ids
    }
