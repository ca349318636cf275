"""Publishing, withdrawing, reporting outcomes: all is journalled first, and sent again byte for byte.

Invariants: the same drafts are the same batch, whatever crashed in between; a refusal for good frees the
batch id's bytes, so that the batch can be made anew, and tells that it was never stored; a receipt is kept
only when its checkpoint was believed.
Nothing is signed with a key that the roster doesn't list as valid.
"""

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from google.protobuf.message import DecodeError

from signalexchange.connection import PUBLISH, REPORT_OUTCOMES, TIMEOUT, WITHDRAW, Connection
from signalexchange.credentials import Sign
from signalexchange.envelope import open_batch, open_withdrawal, sign_batch, sign_withdrawal
from signalexchange.errors import ConfigError, MalformedError, RefusedError, VerificationError
from signalexchange.journal import Journal, Kind, Sent, SignalNote
from signalexchange.log_client import LogClient
from signalexchange.outcomes import about, open_outcomes, sign_outcomes
from signalexchange.roster import Roster
from signalexchange.roster_client import RosterClient
from signalexchange.signals import SALT_SIZE, SIGNAL_ID_SIZE, SignalDraft, Subject, build, check, record
from signalexchange.token_source import TokenSource
from signalexchange.tokens import Token
from signalexchange.v1.outcome_service_pb2 import Outcome, ReportOutcomesRequest
from signalexchange.v1.signal_pb2 import Signal, WithdrawalReason
from signalexchange.v1.signal_service_pb2 import PublishSignalsRequest, WithdrawSignalsRequest

MAX_BATCH = 1000
# Reasons after which the same bytes would be refused again, and which tell that they never were accepted.
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
    }
)
# Reasons after which bytes and notes are kept, as the signals may be live or may yet pass; and what to do.
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
    """A batch, an order or a report that the hub made durable: its 16-byte id, its signals, and the receipt.

    `repeated` says that the hub had it before.
    """

    kind: Kind
    id: bytes
    signal_ids: tuple[bytes, ...]
    index: int
    checkpoint: bytes
    repeated: bool


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signs: the party's id on the roster, its signing key's id, and what signs with it."""

    member: str
    key_id: str
    sign: Sign


class Publisher:
    """Signs and sends a member's batches, orders and reports."""

    def __init__(
        self, hub: Connection, log: LogClient, rosters: RosterClient, journal: Journal, identity: Identity
    ) -> None:
        self._hub = hub
        self._log = log
        self._rosters = rosters
        self._journal = journal
        self._identity = identity

    async def publish(
        self,
        drafts: Sequence[SignalDraft],
        tokens: TokenSource,
        now: int,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> Acknowledged:
        """Publish 1 to 1,000 drafts as one batch; custodians are asked only if it is not in the journal yet.

        Raises InvalidSignalError, EpochError, CustodianError, ConfigError for a key that is not the roster's,
        and RefusedError.
        """
        records = [record(draft) for draft in drafts]
        batch_id = self._journal.batch_id(records)
        sent = await asyncio.to_thread(self._journal.sent, Kind.BATCH, batch_id)
        if sent is None or sent.state == "refused":
            for draft in drafts:
                check(draft, now)
            subjects = await tokenise(drafts, tokens)
            signals, notes = [], []
            for draft, row in zip(drafts, records, strict=True):
                signal_id, salt = secrets.token_bytes(SIGNAL_ID_SIZE), secrets.token_bytes(SALT_SIZE)
                signals.append(build(draft, subjects, signal_id=signal_id, salt=salt, now=now))
                own = tuple(subjects[subject].value for subject in draft.subjects)
                notes.append(SignalNote(signal_id, batch_id, draft.code, draft.reference, own, row, salt))
            sent = await self._prepare_batch(signals, batch_id, notes, now)
        return await self._send(sent, timeout)

    async def publish_signals(
        self,
        signals: Sequence[Signal],
        batch_id: bytes,
        notes: Sequence[SignalNote],
        now: int,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> Acknowledged:
        """Publish 1 to 1,000 signals built by the caller under a batch id of its own.

        Where that batch was prepared before, those bytes are sent and `signals` are left aside.
        """
        sent = await asyncio.to_thread(self._journal.sent, Kind.BATCH, batch_id)
        if sent is None or sent.state == "refused":
            sent = await self._prepare_batch(signals, batch_id, notes, now)
        return await self._send(sent, timeout)

    async def withdraw(
        self,
        signal_ids: Iterable[bytes],
        reason: WithdrawalReason.ValueType,
        now: int,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> Acknowledged:
        """Withdraw 1 to 1,000 signals of the member's own; the same ids and reason are one order.

        Raises RefusedError (SIGNAL_UNKNOWN where one is not the member's).
        """
        ids = sorted(set(signal_ids))
        order_id = self._journal.batch_id([b"withdrawal", bytes([reason]), *ids])
        sent = await asyncio.to_thread(self._journal.sent, Kind.ORDER, order_id)
        if sent is None or sent.state == "refused":
            roster = await self._rosters.roster()
            request = sign_withdrawal(
                ids,
                origin=roster.origin,
                member=self._identity.member,
                key_id=self._identity.key_id,
                order_id=order_id,
                reason=reason,
                sign=self._identity.sign,
            )
            open_withdrawal(request.statement, request.signature, self._public_key(roster, now))
            encoded = request.SerializeToString()
            sent = await asyncio.to_thread(self._journal.prepare, Kind.ORDER, order_id, encoded)
        return await self._send(sent, timeout)

    async def report(
        self,
        outcomes: Iterable[Outcome],
        now: int,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> Acknowledged:
        """Report 1 to 1,000 outcomes, each about another signal or match.

        The same ones again are the same report until it is acknowledged, and then another: a verdict given
        again answers a dispute. Raises RefusedError (SIGNAL_UNKNOWN, MATCH_UNKNOWN, OUTCOME_CONFLICT where
        another verdict stands).
        """
        given = sorted(outcomes, key=about)
        rows = [each.SerializeToString() for each in given]
        for number in count():
            report_id = self._journal.batch_id([b"outcomes", number.to_bytes(4, "big"), *rows])
            sent = await asyncio.to_thread(self._journal.sent, Kind.REPORT, report_id)
            if sent is None or sent.state != "acknowledged":
                break
        if sent is None or sent.state == "refused":
            roster = await self._rosters.roster()
            request = sign_outcomes(
                given,
                origin=roster.origin,
                member=self._identity.member,
                key_id=self._identity.key_id,
                report_id=report_id,
                sign=self._identity.sign,
            )
            open_outcomes(request.statement, request.signature, self._public_key(roster, now))
            encoded = request.SerializeToString()
            sent = await asyncio.to_thread(self._journal.prepare, Kind.REPORT, report_id, encoded)
        return await self._send(sent, timeout)

    async def resume_pending(self, timeout: float = TIMEOUT) -> list[Acknowledged | RefusedError]:  # noqa: ASYNC109
        """Send again what was prepared and not acknowledged, oldest first; the outcome of each.

        What is refused for a reason in KEPT stays pending and holds up nothing after it.
        Raises RefusedError as soon as the hub can't be reached.
        """
        outcomes: list[Acknowledged | RefusedError] = []
        for sent in await asyncio.to_thread(self._journal.pending):
            try:
                outcomes.append(await self._send(sent, timeout))
            except RefusedError as error:
                if error.reason not in FOR_GOOD and error.reason not in KEPT:
                    raise
                outcomes.append(error)
        return outcomes

    async def _prepare_batch(
        self, signals: Sequence[Signal], batch_id: bytes, notes: Sequence[SignalNote], now: int
    ) -> Sent:
        roster = await self._rosters.roster()
        request = await asyncio.to_thread(
            sign_batch,
            [signal.SerializeToString() for signal in signals],
            origin=roster.origin,
            member=self._identity.member,
            key_id=self._identity.key_id,
            batch_id=batch_id,
            epoch=signals[0].subject.epoch if signals else 0,
            sign=self._identity.sign,
        )
        public_key = self._public_key(roster, now)
        try:
            open_batch(request.statement, request.signature, public_key)
        except VerificationError:
            raise ConfigError(f"the signing key is not the roster's {self._identity.key_id!r}") from None
        encoded = request.SerializeToString()
        return await asyncio.to_thread(self._journal.prepare, Kind.BATCH, batch_id, encoded, notes)

    def _public_key(self, roster: Roster, now: int) -> bytes:
        key = roster.signing_key(self._identity.member, self._identity.key_id, now)
        if key is None:
            raise ConfigError(
                f"the roster lists no signing key {self._identity.key_id!r} of this member valid now"
            )
        return key

    async def _send(self, sent: Sent, timeout: float) -> Acknowledged:  # noqa: ASYNC109
        ids: tuple[bytes, ...] = ()
        if sent.kind is Kind.BATCH:
            batch, ids = signals_of(sent.request)
        try:
            match sent.kind:
                case Kind.BATCH:
                    published = await self._hub.call(PUBLISH, batch, timeout)
                    receipt, repeated = published.receipt, published.repeated_batch
                case Kind.ORDER:
                    order = WithdrawSignalsRequest.FromString(sent.request)
                    withdrawn = await self._hub.call(WITHDRAW, order, timeout)
                    receipt, repeated = withdrawn.receipt, withdrawn.repeated_order
                case _:
                    report = ReportOutcomesRequest.FromString(sent.request)
                    reported = await self._hub.call(REPORT_OUTCOMES, report, timeout)
                    receipt, repeated = reported.receipt, reported.repeated_report
        except RefusedError as error:
            if error.reason in FOR_GOOD and sent.state == "prepared":
                await asyncio.to_thread(self._journal.refuse, sent, str(error), ids)
            if (advice := KEPT.get(error.reason)) is not None:
                raise RefusedError(error.status, error.reason, f"{error.message}; {advice}") from error
            raise
        await self._log.accept_receipt(receipt)
        await asyncio.to_thread(self._journal.acknowledge, sent, receipt.index, receipt.checkpoint)
        return Acknowledged(sent.kind, sent.id, ids, receipt.index, receipt.checkpoint, repeated)


async def tokenise(drafts: Sequence[SignalDraft], tokens: TokenSource) -> dict[Subject, Token]:
    """A token, all of one epoch, for every identifier that the drafts name."""
    by_type: dict[int, dict[str, Subject]] = {}
    for draft in drafts:
        for subject in draft.subjects:
            by_type.setdefault(subject.type, {})[subject.value] = subject
    epoch = await tokens.epoch(by_type)
    found: dict[Subject, Token] = {}
    for type_, subjects in by_type.items():
        for subject, token in zip(
            subjects.values(), await tokens.tokens(type_, list(subjects), epoch=epoch), strict=True
        ):
            found[subject] = token
    return found


def signals_of(request: bytes) -> tuple[PublishSignalsRequest, tuple[bytes, ...]]:
    """A journalled batch and its signals' ids, in order; raises MalformedError."""
    try:
        batch = PublishSignalsRequest.FromString(request)
        return batch, tuple(Signal.FromString(envelope.signal).signal_id for envelope in batch.signals)
    except DecodeError:
        raise MalformedError("the journalled batch is not one") from None
