"""What the detector publishes: frauds it learned of, suspicions of its rules, and what the gate lets pass.

Invariants: nothing is published but what the settings name, and of that only what the rulebook allows this
member to say; what is to be sent is in the journal before it is sent, and goes from it only once the hub has
answered, so a crash neither loses nor doubles a signal; a transaction that turns out to be genuine takes back
what was said of it. No transaction waits for any of it.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final

from signalexchange.client import MAX_BATCH, ExchangeClient
from signalexchange.detector.decisions import Decision
from signalexchange.detector.features import DAY
from signalexchange.detector.journal import DetectorJournal
from signalexchange.detector.settings import DetectorSettings, Publish
from signalexchange.detector.transactions import Transaction
from signalexchange.errors import CustodianError, ExchangeError, InvalidIdentifierError, RefusedError
from signalexchange.flows import Flow, Kind
from signalexchange.gate import Gate
from signalexchange.identifiers import normalise
from signalexchange.rulebook import Rulebook
from signalexchange.signals import SignalDraft, Subject, rule_violations, violations
from signalexchange.v1.signal_pb2 import WithdrawalReason

PATIENCE: Final = 10.0
"""Seconds between two attempts while the hub or too many custodians are away."""
TRANSIENT: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"})


class Outlet:
    """Makes drafts of what the settings name. Reads no clock; used from one thread."""

    def __init__(self, settings: DetectorSettings) -> None:
        self._types: Mapping[str, int] = settings.exchange.types if settings.exchange is not None else {}
        self._publish = settings.publish
        self._gate = Gate() if settings.flows else None
        self._subjects: dict[tuple[int, str], Subject | None] = {}

    def decided(self, transaction: Transaction, decision: Decision) -> list[SignalDraft]:
        """What a decision gives rise to."""
        rules = {reason.code for reason in decision.reasons if reason.source == "rule"}
        drafts = self.remember(transaction)
        drafts += self._drafts(transaction, [each for each in self._publish if each.rule in rules])
        return drafts

    def labelled(self, transaction: Transaction, fraud: bool) -> list[SignalDraft]:
        """What a label gives rise to."""
        return self._drafts(transaction, [each for each in self._publish if each.rule is None and fraud])

    def remember(self, transaction: Transaction) -> list[SignalDraft]:
        """What the gate lets pass, of this movement of money and those before it."""
        flow = self._flow(transaction) if self._gate is not None else None
        return self._gate.offer(flow) if self._gate is not None and flow is not None else []

    def _drafts(self, t: Transaction, rules: Iterable[Publish]) -> list[SignalDraft]:
        drafts = []
        for rule in rules:
            subject = self._subject(t, rule.subject)
            other = self._subject(t, rule.counterparty) if rule.counterparty is not None else None
            if subject is None or subject == other:
                continue
            drafts.append(
                SignalDraft(
                    subject=subject,
                    code=rule.code,
                    confidence=rule.confidence,
                    grade=rule.grade_value,
                    first_seen=t.time,
                    last_seen=t.time,
                    expires_at=t.time + rule.valid_days * DAY,
                    reference=reference(t),
                    amount=Decimal(t.amount) / 100,
                    counterparty=other,
                    place=t.place,
                )
            )
        return drafts

    def _flow(self, t: Transaction) -> Flow | None:
        customer = self._subject(t, "customer")
        other = self._subject(t, "payee" if t.kind in (Kind.TRANSFER, Kind.REPAYMENT) else "merchant")
        if customer is None or other is None or customer == other:
            return None
        payer, payee = (other, customer) if t.kind is Kind.REFUND else (customer, other)
        return Flow(
            time=t.time,
            payer=payer,
            payee=payee,
            amount=Decimal(t.amount) / 100,
            kind=t.kind,
            credit=t.credit,
            limit=Decimal(t.limit) / 100 if t.limit else None,
            device=self._subject(t, "device"),
            reference=reference(t),
            place=t.place,
        )

    def _subject(self, t: Transaction, name: str) -> Subject | None:
        """The identifier in a field, or None where it is none of its type, or of no type."""
        type_, value = self._types.get(name), getattr(t, name)
        if type_ is None or not value:
            return None
        if (type_, value) not in self._subjects:
            if len(self._subjects) > 100_000:
                self._subjects.clear()
            subject = None
            with suppress(InvalidIdentifierError):
                subject = Subject(type_, normalise(type_, value))
            self._subjects[type_, value] = subject
        return self._subjects[type_, value]


def reference(transaction: Transaction) -> str:
    """The member's own reference of what it says because of a transaction."""
    return f"transaction {transaction.id}"


class Sender:
    """Sends what the journal's outbox holds, one after the other. To be used on one event loop."""

    def __init__(self, client: ExchangeClient, journal: DetectorJournal) -> None:
        self._client = client
        self._journal = journal
        self._rules: tuple[Rulebook, str] | None = None
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        self.counts: Counter[str] = Counter()
        """Signals published, taken back, and left out; `left_out` says why."""
        self.left_out: Counter[str] = Counter()
        self.problem = ""
        """Why nothing can be sent at present."""
        self.more()

    def more(self) -> None:
        """The outbox may hold more."""
        self._idle.clear()
        self._more.set()

    async def drained(self, seconds: float) -> bool:
        """Wait until all is sent, at most so long; whether it is."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)
        return self._idle.is_set()

    async def close(self) -> None:
        """Stop; what was not sent waits in the journal."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            try:
                for name, item in self._journal.outbox():
                    await self._send(item)
                    await asyncio.to_thread(self._journal.sent, name)
                self.problem = ""
            except (ExchangeError, TimeoutError) as error:
                self.problem = str(error)
                await asyncio.sleep(PATIENCE)
                self._more.set()
                continue
            if not self._more.is_set():
                self._idle.set()

    async def _send(self, item: Mapping[str, Any]) -> None:
        """Send an item of the outbox. Raises ExchangeError where it is to be tried again."""
        try:
            if "withdraw" in item:
                ids: list[bytes] = []
                for own in item["withdraw"]:
                    notes = await asyncio.to_thread(self._client.journal.signals_of, own)
                    ids += [note.signal_id for note in notes]
                for start in range(0, len(ids), MAX_BATCH):
                    part = ids[start : start + MAX_BATCH]
                    await self._client.withdraw(part, WithdrawalReason.WITHDRAWAL_REASON_REFUTED)
                    self.counts["taken_back"] += len(part)
                return
            drafts = await self._allowed([draft_of(values) for values in item["drafts"]])
            if drafts:
                await self._client.publish(drafts)
                self.counts["published"] += len(drafts)
        except (RefusedError, CustodianError) as error:
            if not isinstance(error, RefusedError) or error.status in TRANSIENT:
                raise
            self.counts["refused"] += 1
            self.left_out[f"{error.reason}: {error.message}"] += 1

    async def _allowed(self, drafts: Sequence[SignalDraft]) -> list[SignalDraft]:
        """Those that contract and rulebook allow; the others are counted."""
        if self._rules is None:
            party = (await self._client.roster.roster()).party(self._client.member)
            self._rules = await self._client.roster.rulebook(), party.kind if party is not None else ""
        allowed = []
        now = self._client.now()
        for draft in drafts:
            found = violations(draft, now) + rule_violations(draft, *self._rules, now)
            if found:
                self.counts["left_out"] += 1
                self.left_out[f"{draft.code}: {found[0][0]} {found[0][1]}"] += 1
            else:
                allowed.append(draft)
        return allowed


def values_of(draft: SignalDraft) -> list[Any]:
    """A draft of an Outlet's as plain data that JSON holds."""
    other = draft.counterparty
    return [
        [draft.subject.type, draft.subject.value],
        None if other is None else [other.type, other.value],
        [[link.type, link.value] for link in draft.links],
        draft.code,
        draft.confidence,
        draft.grade,
        [draft.first_seen, draft.last_seen, draft.expires_at],
        None if draft.amount is None else str(draft.amount),
        draft.reference,
    ]


def draft_of(values: Sequence[Any]) -> SignalDraft:
    """The draft of `values_of`."""
    subject, other, links, code, confidence, grade, (first, last, expires), amount, own = values
    return SignalDraft(
        subject=Subject(*subject),
        code=code,
        confidence=confidence,
        grade=grade,
        first_seen=first,
        last_seen=last,
        expires_at=expires,
        reference=own,
        amount=None if amount is None else Decimal(amount),
        counterparty=None if other is None else Subject(*other),
        links=tuple(Subject(*link) for link in links),
    )
