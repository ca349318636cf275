"""Recording steps of a proceeding: judged by the state machine, logged with what they cause, in one
transaction.

Invariants: a step is taken whole or not at all, and once; repeating its statement is answered even when the
officer's key has ended. Two officers at once: the second reads the case again. A deadline that has passed is
on the log before any later step. What an outcome means for signals and matches is committed with the step.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Self

from signalexchange.cases import open_step, parse_step
from signalexchange.errors import MalformedError, VerificationError
from signalexchange.roster import Party
from signalexchange.v1.case_service_pb2 import (
    CASE_ORIGIN_MATCH,
    CaseStatement,
    CaseStep,
    RecordStepRequest,
    RecordStepResponse,
)
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.identifier_pb2 import Receipt
from signalexchange.v1.log_entry_pb2 import ENTRY_TYPE_CASE, CaseEntry

from exchange.domain.case_rows import CaseEvent, CaseStepRow
from exchange.domain.proceeding import OutOfTurn, Proceeding, Step, StepRefused
from exchange.domain.refusal import Refusal, invalid
from exchange.domain.store import Store
from exchange.usecases.case_deadlines import pass_deadlines
from exchange.usecases.disputes import Disputes, evidence_naming
from exchange.usecases.exchange import Exchange
from exchange.usecases.grounds import Grounds, check_notice, check_reason, own_subjects
from exchange.usecases.officers import officer_key
from exchange.usecases.outcomes import ReportOutcomes, prepare
from exchange.usecases.proceedings import Kept, Recorded, row_of, unknown_case
from exchange.usecases.publish import check_signer
from exchange.usecases.record_matches import Own
from exchange.usecases.writer import Change, Proposal, unavailable


async def record_step(exchange: Exchange, party: Party, request: RecordStepRequest) -> RecordStepResponse:
    """Take the step. Raises Refusal as the contract says."""
    statement = _parse(exchange, party, request)
    await pass_deadlines(exchange, party.id, statement.case_id)
    change = RecordStep(exchange, party, request, statement)
    await change.prepare()
    return await exchange.writer.submit(change)


def _parse(exchange: Exchange, party: Party, request: RecordStepRequest) -> CaseStatement:
    """The statement, if it is in the caller's name and for this hub."""
    try:
        statement = parse_step(request.statement)
    except MalformedError as error:
        raise invalid("statement", str(error)) from None
    check_signer(exchange, party, statement.origin, statement.member)
    return statement


class RecordStep(Change[RecordStepResponse]):
    """A step that is well-formed."""

    def __init__(
        self, exchange: Exchange, party: Party, request: RecordStepRequest, statement: CaseStatement
    ) -> None:
        self._exchange = exchange
        self._party = party
        self._request = request
        self._statement = statement
        self._digest = sha256(request.statement).digest()
        self._kept = Kept(statement.case_id, party.id, None, (), (), (), False)
        self._grounds = Grounds({}, (), (), {})
        self._own: Own = {}
        self._disputes: Disputes | None = None
        self._report: ReportOutcomes | None = None
        self._match_waits = False
        self.weight = 1 + len(statement.receive_appeal.signal_ids)

    async def prepare(self) -> None:
        """Before the step is queued: refuse what can be refused now, and walk through the log as far as it
        goes. Raises Refusal."""
        exchange, statement, store = self._exchange, self._statement, self._exchange.store
        await self._read(store)
        if self._repeated():
            return
        if statement.open.origin == CASE_ORIGIN_MATCH:
            self._own = await own_subjects(exchange, self._party, statement.open.match_id)
        after = self._judge(exchange.clock())
        if self._request.HasField("outcomes"):
            if statement.WhichOneof("step") != "close" and not statement.decide_appeal.granted:
                raise invalid(
                    "outcomes", "go with closing and with granting an appeal, and with no other step"
                )
            self._report = await prepare(exchange, self._party, self._request.outcomes)
            self.weight += self._report.weight
        self._check_verdict(after)
        step = statement.WhichOneof("step")
        if step == "receive_appeal" and after.subject is not None:
            places: list[int] = []
            if after.match_id:
                places = await evidence_naming(exchange, after.match_id, after.subject.value)
            self._disputes = await Disputes.begun(
                exchange, self._party.id, statement.case_id, statement.receive_appeal.signal_ids, places
            )
        elif step == "decide_appeal":
            self._disputes = await Disputes.ended(exchange, self._party.id, statement.case_id)

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """What is stored, and who was shown the signals since the scan."""
        for change in changes:  # alone in its group
            await change._read(store)
            if change._disputes is not None:
                await change._disputes.read(store)
            if change._report is not None:
                await ReportOutcomes.read([change._report], store, now)

    async def _read(self, store: Store) -> None:
        self._kept = await Kept.read(self._exchange, self._party.id, self._statement.case_id)
        self._grounds = await Grounds.read(store, self._party, self._statement)
        if self._kept.row is not None and self._kept.row.match_id:
            match_id = self._kept.row.match_id
            self._match_waits = bool(
                await store.matches_of(self._party.id, [match_id])
            ) and not await store.verdicts(self._party.group, [match_id])

    def decide(self, proposal: Proposal) -> tuple[RecordStepResponse, Receipt]:
        """Log the step and what it causes."""
        membership = self._exchange.membership
        party = membership.standing(self._party.id)
        known = self._repeated()
        if known is not None:
            case = self._kept.message(membership, self._kept.fold(), proposal.now)
            repeated = RecordStepResponse(receipt=Receipt(index=known.index), repeated_step=True, case=case)
            return repeated, repeated.receipt
        # The roster may have changed while the step waited, even to another key of the same id.
        after = self._judge(proposal.now)
        self._check_verdict(after)
        if self._report is not None:
            self._report.decide(proposal)
        delta, statement, rules = proposal.delta, self._statement, membership.rulebook.cases
        payload = CaseEntry(statement=self._request.statement, signature=self._request.signature)
        index = proposal.log(ENTRY_TYPE_CASE, party.id, payload.SerializeToString())
        officer = officer_key(self._exchange, party, statement.key_id, proposal.now).officer
        delta.case_steps.append(
            CaseStepRow(statement.case_id, party.id, statement.sequence, self._digest, officer, index)
        )
        row = row_of(self._kept, after, rules)
        delta.proceedings.append(row)
        delta.case_events.append(CaseEvent(party.id, statement.case_id, proposal.now))
        if self._disputes is not None:
            if after.appeal_pending:
                self._disputes.begin(proposal, after.decide_by)
            else:
                self._disputes.end(proposal)
            delta.case_events.extend(
                CaseEvent(other.member, statement.case_id, proposal.now) for other in self._kept.beside(after)
            )
        shown = CaseStep(
            statement=self._request.statement,
            signature=self._request.signature,
            time=proposal.now,
            index=index,
        )
        step = Step(statement, self._digest, officer, proposal.now)
        kept = self._kept.plus(Recorded(step, shown, rules), row)
        response = RecordStepResponse(
            receipt=Receipt(index=index), case=kept.message(membership, after, proposal.now)
        )
        return response, response.receipt

    def applied(self) -> None:
        """Believe whom the outcomes say to believe, and hand on what matching must know."""
        if self._repeated() is not None:
            return
        if self._report is not None:
            self._report.applied()
        if self._disputes is not None:
            self._disputes.hand_on()

    def _repeated(self) -> CaseStep | None:
        """The same statement as it was recorded before."""
        for step, shown, _ in self._kept.steps:
            if step.digest == self._digest:
                return shown
        return None

    def _judge(self, now: int) -> Proceeding:
        """The proceeding after the step. Raises Refusal where it is not allowed at `now`."""
        statement, kept = self._statement, self._kept
        key = officer_key(self._exchange, self._party, statement.key_id, now)
        try:
            open_step(self._request.statement, self._request.signature, key.public_key)
        except (MalformedError, VerificationError) as error:
            raise Refusal(ErrorReason.ERROR_REASON_SIGNATURE_INVALID, str(error)) from None
        if kept.was_erased and statement.HasField("open"):
            raise _not_allowed("erased", "the member's proceeding in this case was erased")
        if kept.row is None and not statement.HasField("open"):
            raise unknown_case()
        if kept.row is not None and 0 < kept.row.due < now:
            raise unavailable("a deadline has just passed; repeat the step")
        check_reason(self._exchange, statement.reason)
        check_notice(statement)
        self._grounds.check_evidence(self._party, statement)
        if statement.HasField("open"):
            self._grounds.check_opening(
                statement.open, self._own, lambda type_, epoch: self._exchange.epoch_valid(type_, epoch, now)
            )
        step = Step(statement, self._digest, key.officer, now)
        try:
            return kept.fold().apply(step, self._exchange.membership.rulebook.cases)
        except OutOfTurn:
            raise Refusal(
                ErrorReason.ERROR_REASON_CASE_CONFLICT,
                "another step of the proceeding was recorded meanwhile; read the case again",
                metadata={"sequence": str(len(kept.steps))},
            ) from None
        except StepRefused as refused:
            if refused.independent:
                raise Refusal(
                    ErrorReason.ERROR_REASON_OFFICER_NOT_INDEPENDENT,
                    refused.message,
                    metadata={"why": refused.why},
                ) from None
            raise _not_allowed(refused.why, refused.message) from None

    def _check_verdict(self, after: Proceeding) -> None:
        """Refuse to close a case about a match without giving the match the same verdict, unless the match is
        gone or the group has said of it what it is: it has one word, and cases of several customers."""
        statement = self._statement
        if statement.WhichOneof("step") != "close" or not self._match_waits:
            return
        if self._report is None:
            raise invalid("outcomes", "closing a case about a match needs a verdict on the match")
        if self._report.verdict_on(after.match_id) != statement.close.outcome:
            raise invalid("outcomes", "must give the case's match the verdict of closing it")


def _not_allowed(why: str, message: str) -> Refusal:
    return Refusal(ErrorReason.ERROR_REASON_STEP_NOT_ALLOWED, message, metadata={"why": why})
