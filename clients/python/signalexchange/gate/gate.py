"""The gate: flows in, in time order, and drafts of the signals that are worth publishing out.

Invariants: a row is published at most once; the same rows give the same drafts; what is kept is bounded by
the windows of the parameters; nothing here reads a clock or does I/O.
"""

from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal

from signalexchange.errors import ExchangeError
from signalexchange.flows import Flow, Kind
from signalexchange.gate.known import Known
from signalexchange.gate.legs import DAY, Leg, cents
from signalexchange.gate.lines import Lines
from signalexchange.gate.parameters import GateParameters
from signalexchange.gate.purchases import Purchases
from signalexchange.gate.refunds import Refunds
from signalexchange.gate.transfers import Transfers
from signalexchange.signals import SignalDraft, Subject
from signalexchange.v1.signal_pb2 import EvidenceGrade

CONFIDENCE = {
    "credit-purchase": 30,
    "pass-through": 30,
    "refund-without-shipment": 50,
    "repay-and-respend": 50,
    "line-exhausted": 50,
    "same-subject": 90,
    "shared-value": 90,
}
"""Confidence, 0 to 100, with which each code is published: a gate suspects, matching finds."""


class FlowOrderError(ExchangeError):
    """A flow earlier than one before; `flows.in_order` puts them right."""


class Gate:
    """One member's gate over its own flows."""

    def __init__(self, parameters: GateParameters | None = None, shared: Collection[Subject] = ()) -> None:
        """`shared` is what this member knows to be many unrelated people's: institutions' own accounts above
        all. It is published as such, and transfers that it takes part in are not."""
        self._parameters = parameters if parameters is not None else GateParameters()
        self._now = 0
        self.held_back = 0
        """Rows worth publishing that were not, as the hub takes no more on their subject."""
        self._known = Known(self._parameters, shared)
        self._purchases = Purchases(self._parameters, self._known)
        self._transfers = Transfers(self._parameters, self._known, self._purchases)
        self._refunds = Refunds(self._parameters)
        self._lines = Lines(self._parameters, self._known)
        self._rules = (self._known, self._purchases, self._transfers, self._refunds, self._lines)

    def __len__(self) -> int:
        """How many things the gate keeps in mind."""
        return sum(len(rule) for rule in self._rules)

    def offer(self, flow: Flow) -> list[SignalDraft]:
        """Take a flow in; what is now worth publishing: this row, earlier ones that it puts in another light,
        facts it completes, and links of who is only a counterparty.

        Raises FlowOrderError.
        """
        if flow.time < self._now:
            raise FlowOrderError(f"{flow.place or 'flow'}: earlier than the flow before")
        self._now = flow.time
        for rule in self._rules:
            rule.advance(flow.time)
        self._known.learn(flow)
        payer, payee = self._known.person(flow.payer), self._known.person(flow.payee)
        leg = Leg(flow, cents(flow.amount), payer, payee)
        drafts = self._complete(list(self._apply(leg)))
        return [*(self._shared(value, flow) for value in self._known.say_shared(flow.time)), *drafts]

    def _apply(self, leg: Leg) -> Iterator[SignalDraft]:
        flow, everything = leg.flow, self._parameters.ungated
        match flow.kind:
            case Kind.PURCHASE:
                self._refunds.ordered(leg)
                if not flow.credit:
                    self._purchases.paid(leg)
                else:
                    self._transfers.bought(leg)
                    yield from self._publish([leg] if everything else list(self._purchases.take(leg)))
                    for code, first, amount in self._lines.bought(leg):
                        yield from self._publish(self._purchases.sign(leg.payer, flow.time))
                        yield self._draft(code, flow.payer, None, flow, first, Decimal(amount) / 100)
            case Kind.TRANSFER if self._known.settles(flow):
                pass
            case Kind.TRANSFER:
                yield from self._publish([leg] if everything else list(self._transfers.take(leg)))
            case Kind.REFUND:
                for refund, order in self._refunds.refunded(leg):
                    if not refund.published:
                        refund.published = True
                        back = refund.flow
                        yield self._draft(
                            "refund-without-shipment",
                            back.payee,
                            back.payer,
                            back,
                            order.flow.time,
                            back.amount,
                        )
                if flow.credit:
                    self._lines.refunded(leg)
            case Kind.REPAYMENT:
                self._lines.repaid(leg)

    def _publish(self, legs: Iterable[Leg]) -> Iterator[SignalDraft]:
        for leg in legs:
            flow = leg.flow
            if leg.published or (flow.kind is Kind.PURCHASE and not flow.credit):
                continue
            leg.published = True
            if not self._known.speak(flow.payer, self._now):
                self.held_back += 1
                continue
            code = "credit-purchase" if flow.kind is Kind.PURCHASE else "pass-through"
            yield self._draft(code, flow.payer, flow.payee, flow, flow.time, flow.amount)

    def _complete(self, drafts: list[SignalDraft]) -> list[SignalDraft]:
        """The drafts, and the links of counterparties that are no draft's subject."""
        subjects = {draft.subject for draft in drafts}
        for draft in drafts[:]:
            other = draft.counterparty
            if other is not None and other not in subjects:
                subjects.add(other)
                if links := self._known.say(other, self._now):
                    drafts.append(self._link(other, links, draft))
        return drafts

    def _link(self, subject: Subject, links: tuple[Subject, ...], of: SignalDraft) -> SignalDraft:
        return SignalDraft(
            subject=subject,
            code="same-subject",
            confidence=CONFIDENCE["same-subject"],
            grade=EvidenceGrade.EVIDENCE_GRADE_CORROBORATED,
            first_seen=of.last_seen,
            last_seen=of.last_seen,
            expires_at=of.expires_at,
            reference=of.reference,
            links=links,
            place=of.place,
        )

    def _shared(self, value: Subject, flow: Flow) -> SignalDraft:
        return SignalDraft(
            subject=value,
            code="shared-value",
            confidence=CONFIDENCE["shared-value"],
            grade=EvidenceGrade.EVIDENCE_GRADE_CORROBORATED,
            first_seen=flow.time,
            last_seen=flow.time,
            expires_at=self._expiry(flow.time),
            reference="known to be shared",
        )

    def _expiry(self, time: int) -> int:
        """To the day: all that one day shows ends together."""
        return time - time % DAY + self._parameters.valid_days * DAY

    def _draft(
        self,
        code: str,
        subject: Subject,
        counterparty: Subject | None,
        flow: Flow,
        first: int,
        amount: Decimal,
    ) -> SignalDraft:
        return SignalDraft(
            subject=subject,
            code=code,
            confidence=CONFIDENCE[code],
            grade=EvidenceGrade.EVIDENCE_GRADE_SUSPECTED,
            first_seen=first,
            last_seen=flow.time,
            expires_at=self._expiry(flow.time),
            reference=flow.reference,
            amount=amount,
            counterparty=counterparty,
            links=self._known.say(subject, self._now),
            place=flow.place,
        )
