"""Publishing, withdrawing, reporting outcomes: all is journalled first, and sent again byte for byte.

Invariants: the same drafts are the same batch, whatever crashed in between; nothing is signed with a key that
the roster doesn't list as valid.
"""

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from signalexchange.connection import TIMEOUT
from signalexchange.credentials import Sign
from signalexchange.envelope import open_batch, open_withdrawal, sign_batch, sign_withdrawal
from signalexchange.errors import ConfigError, VerificationError
from signalexchange.journal import Journal, Kind, Sent, SignalNote
from signalexchange.outcomes import about, open_outcomes, sign_outcomes
from signalexchange.roster import Roster
from signalexchange.roster_client import RosterClient
from signalexchange.sending import Acknowledged, Sender
from signalexchange.signals import SALT_SIZE, SIGNAL_ID_SIZE, SignalDraft, Subject, build, check, record
from signalexchange.token_source import TokenSource
from signalexchange.tokens import Token
from signalexchange.v1.outcome_service_pb2 import Outcome, ReportOutcomesRequest
from signalexchange.v1.signal_pb2 import Signal, WithdrawalReason

MAX_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signs: the party's id on the roster, its signing key's id, and what signs with it."""

    member: str
    key_id: str
    sign: Sign


class Publisher:
    """Signs and sends a member's batches, orders and reports."""

    def __init__(self, sender: Sender, rosters: RosterClient, journal: Journal, identity: Identity) -> None:
        self._sender = sender
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
        return await self._sender.send(sent, timeout)

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
        return await self._sender.send(sent, timeout)

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
        return await self._sender.send(sent, timeout)

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
            request = await self.signed_report(given, report_id, now)
            encoded = request.SerializeToString()
            sent = await asyncio.to_thread(self._journal.prepare, Kind.REPORT, report_id, encoded)
        return await self._sender.send(sent, timeout)

    async def signed_report(
        self, outcomes: Iterable[Outcome], report_id: bytes, now: int
    ) -> ReportOutcomesRequest:
        """A report that is not sent by itself, but with the step of a case that it belongs to."""
        roster = await self._rosters.roster()
        request = sign_outcomes(
            outcomes,
            origin=roster.origin,
            member=self._identity.member,
            key_id=self._identity.key_id,
            report_id=report_id,
            sign=self._identity.sign,
        )
        open_outcomes(request.statement, request.signature, self._public_key(roster, now))
        return request

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
