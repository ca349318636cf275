"""Sending what the journal holds: batches, orders, reports and steps of cases, byte for byte, again if need
be.

Invariants: a refusal for good frees the id's bytes, so that what was refused can be made anew, and tells that
it was never stored; a receipt is kept only when its checkpoint was believed. Nothing is signed here.
"""

import asyncio
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from signalexchange.connection import PUBLISH, RECORD_STEP, REPORT_OUTCOMES, TIMEOUT, WITHDRAW, Connection
from signalexchange.errors import MalformedError, RefusedError
from signalexchange.journal import Journal, Kind, Sent
from signalexchange.log_client import LogClient
from signalexchange.v1.case_service_pb2 import Case, RecordStepRequest
from signalexchange.v1.identifier_pb2 import Receipt
from signalexchange.v1.outcome_service_pb2 import ReportOutcomesRequest
from signalexchange.v1.signal_pb2 import Signal
from signalexchange.v1.signal_service_pb2 import PublishSignalsRequest, WithdrawSignalsRequest

# Reasons after which the same bytes would be refused again, and which tell that they never were accepted. A
# step that the rules don't allow now might be allowed later: not without an officer who looks at the case
# again.
FOR_GOOD = frozenset(
    {
        "INVALID_REQUEST",
        "MALFORMED",
        "CODE_NOT_ALLOWED",
        "EPOCH_NOT_VALID",
        "SIGNAL_ID_REUSED",
        "SIGNAL_UNKNOWN",
        "MATCH_UNKNOWN",
        "OUTCOME_CONFLICT",
        "CASE_UNKNOWN",
        "CASE_CONFLICT",
        "STEP_NOT_ALLOWED",
        "OFFICER_NOT_INDEPENDENT",
        "NOTICE_UNKNOWN",
        "ERASED",
    }
)
# Reasons after which bytes and notes are kept, as what they say may be stored or may yet pass; and what to
# do.
KEPT = {
    "SIGNATURE_INVALID": "it stays pending: have the roster list the key that signed it as valid again, then "
    "run signalexchange journal resume",
    "WRONG_MEMBER": "it stays pending: connect with the certificate of the member that signed it, then run "
    "signalexchange journal resume",
    "ID_REUSED": "the hub holds other content under this id, sent from a copy of this journal perhaps, so it "
    "stays pending: look for it in what signalexchange log fetch brings, and use the journal that sent it",
    "QUOTA_EXCEEDED": "it stays pending: withdraw signals or wait until some expire, then run signalexchange "
    "journal resume",
}


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What the hub made durable: its 16-byte id, a batch's signals, and the receipt.

    `repeated` says that the hub had it before; `case` is, after a step, the case as it then was.
    """

    kind: Kind
    id: bytes
    signal_ids: tuple[bytes, ...]
    index: int
    checkpoint: bytes
    repeated: bool
    case: Case | None = None


class Sender:
    """Sends what was prepared in a journal."""

    def __init__(self, hub: Connection, log: LogClient, journal: Journal) -> None:
        self._hub = hub
        self._log = log
        self._journal = journal

    async def send(self, sent: Sent, timeout: float = TIMEOUT) -> Acknowledged:  # noqa: ASYNC109
        """Send it and keep what became of it. Raises RefusedError, VerificationError, MalformedError."""
        ids: tuple[bytes, ...] = ()
        if sent.kind is Kind.BATCH:
            ids = signals_of(sent.request)[1]
        try:
            receipt, repeated, case = await self._call(sent, timeout)
        except RefusedError as error:
            if error.reason in FOR_GOOD and sent.state == "prepared":
                await asyncio.to_thread(self._journal.refuse, sent, str(error), ids)
            if (advice := KEPT.get(error.reason)) is not None:
                raise RefusedError(error.status, error.reason, f"{error.message}; {advice}") from error
            raise
        await self._log.accept_receipt(receipt)
        await asyncio.to_thread(self._journal.acknowledge, sent, receipt.index, receipt.checkpoint)
        return Acknowledged(sent.kind, sent.id, ids, receipt.index, receipt.checkpoint, repeated, case)

    async def resume_pending(self, timeout: float = TIMEOUT) -> list[Acknowledged | RefusedError]:  # noqa: ASYNC109
        """Send again what was prepared and not acknowledged, oldest first; the outcome of each.

        What is refused for a reason in KEPT stays pending and holds up nothing after it.
        Raises RefusedError as soon as the hub can't be reached.
        """
        outcomes: list[Acknowledged | RefusedError] = []
        for sent in await asyncio.to_thread(self._journal.pending):
            try:
                outcomes.append(await self.send(sent, timeout))
            except RefusedError as error:
                if error.reason not in FOR_GOOD and error.reason not in KEPT:
                    raise
                outcomes.append(error)
        return outcomes

    async def _call(self, sent: Sent, timeout: float) -> tuple[Receipt, bool, Case | None]:  # noqa: ASYNC109
        """Receipt, whether it had been stored before, and the case after a step."""
        match sent.kind:
            case Kind.BATCH:
                published = await self._hub.call(PUBLISH, signals_of(sent.request)[0], timeout)
                return published.receipt, published.repeated_batch, None
            case Kind.ORDER:
                order = WithdrawSignalsRequest.FromString(sent.request)
                withdrawn = await self._hub.call(WITHDRAW, order, timeout)
                return withdrawn.receipt, withdrawn.repeated_order, None
            case Kind.STEP:
                step = RecordStepRequest.FromString(sent.request)
                recorded = await self._hub.call(RECORD_STEP, step, timeout)
                return recorded.receipt, recorded.repeated_step, recorded.case
        report = ReportOutcomesRequest.FromString(sent.request)
        reported = await self._hub.call(REPORT_OUTCOMES, report, timeout)
        return reported.receipt, reported.repeated_report, None


def signals_of(request: bytes) -> tuple[PublishSignalsRequest, tuple[bytes, ...]]:
    """A journalled batch and its signals' ids, in order; raises MalformedError."""
    try:
        batch = PublishSignalsRequest.FromString(request)
        return batch, tuple(Signal.FromString(envelope.signal).signal_id for envelope in batch.signals)
    except DecodeError:
        raise MalformedError("the journalled batch is not one") from None
