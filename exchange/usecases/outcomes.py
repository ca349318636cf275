"""Reporting what became of signals and matches, and what that says of codes and issuers.

Invariants: a report is taken whole or not at all, and once; repeating its statement is answered even when the
key that signed it has ended; a group has one verdict on each signal and match, and only on what its member
published or was told of. Another group's refutation of an active signal is a dispute with a deadline; any
verdict of the issuer's group after it is the answer; the issuer's own refutation ends the signal. Everybody
who was shown the signal is told of each. What a verdict on a match does is matching's part.
"""

from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Final, NamedTuple, Self

from signalexchange.errors import MalformedError, VerificationError
from signalexchange.outcomes import about, open_outcomes, parse_outcomes
from signalexchange.roster import Party
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.identifier_pb2 import Receipt
from signalexchange.v1.log_entry_pb2 import ENTRY_TYPE_OUTCOMES, OutcomesEntry
from signalexchange.v1.outcome_service_pb2 import (
    VERDICT_CONFIRMED,
    VERDICT_INCONCLUSIVE,
    VERDICT_REFUTED,
    CodeReliability,
    GetReliabilityResponse,
    OutcomeStatement,
    ReportOutcomesRequest,
    ReportOutcomesResponse,
    Verdict,
)
from signalexchange.v1.outcome_service_pb2 import Reliability as ReliabilityMessage
from signalexchange.v1.signal_service_pb2 import (
    SIGNAL_CHANGE_DISPUTED,
    SIGNAL_CHANGE_REFUTED,
    SIGNAL_CHANGE_UPHELD,
    SignalChange,
)

from exchange.domain.learned import Learned
from exchange.domain.records import MatchVerdict, Report, RoleSignal, SignalState, Status, VerdictRow
from exchange.domain.refusal import Refusal, invalid
from exchange.domain.reliability import Posterior, Tally
from exchange.domain.store import Store
from exchange.domain.verdicts import Effect, effect
from exchange.usecases.audience import Audience
from exchange.usecases.exchange import Exchange
from exchange.usecases.items import Gone
from exchange.usecases.publish import check_signer, signing_key
from exchange.usecases.withdraw import leave_matching
from exchange.usecases.writer import Change, Proposal

DAY: Final = 86_400


class Known(NamedTuple):
    """What is stored of all that a report is about."""

    report: Report | None
    signals: dict[bytes, SignalState]
    told_of: set[int]
    matches: Collection[bytes]
    """Those of the matches that the caller was told of."""
    verdicts: dict[tuple[bool, bytes], int]

    @classmethod
    async def read(cls, store: Store, party: Party, statement: OutcomeStatement) -> Self:
        """As last committed."""
        ids = [about(outcome)[1] for outcome in statement.outcomes]
        signals = await store.signals(
            [outcome.signal_id for outcome in statement.outcomes if outcome.signal_id]
        )
        return cls(
            await store.report(party.id, statement.report_id),
            signals,
            await store.told_of(party.id, [state.place for state in signals.values()]) if signals else set(),
            await store.matches_of(party.id, [o.match_id for o in statement.outcomes if o.match_id]),
            await store.verdicts(party.group, ids),
        )

    def news(self, statement: OutcomeStatement) -> list[SignalState]:
        """Signals of which somebody may have to be told."""
        if self.report is not None:
            return []
        return [
            state
            for outcome in statement.outcomes
            if (state := self.signals.get(outcome.signal_id)) is not None
            if state.disputed_until or outcome.verdict == VERDICT_REFUTED
        ]


async def report_outcomes(
    exchange: Exchange, party: Party, request: ReportOutcomesRequest
) -> ReportOutcomesResponse:
    """Take the report. Raises Refusal as the contract says."""
    return await exchange.writer.submit(await prepare(exchange, party, request))


async def prepare(exchange: Exchange, party: Party, request: ReportOutcomesRequest) -> "ReportOutcomes":
    """The change that takes the report. Raises Refusal where that can't be."""
    statement = _parse(exchange, party, request)
    known = await Known.read(exchange.store, party, statement)
    if known.report is None or known.report.digest != sha256(request.statement).digest():
        _check_signature(exchange, party, request, exchange.clock())
    if known.report is None:
        # Before the scan: a report that will be refused must not cost a walk through the log.
        _check(exchange, party, statement, known)
    audience = await Audience.find(exchange, known.news(statement))
    return ReportOutcomes(exchange, party, request, statement, audience)


def get_reliability(exchange: Exchange, party: Party) -> GetReliabilityResponse:
    """What outcomes say of the caller's group and of codes."""
    reliability = exchange.reliability
    return GetReliabilityResponse(
        own=_message(reliability.of_group(party.group)),
        codes=[
            CodeReliability(code=code, reliability=_message(posterior))
            for code, posterior in reliability.codes()
        ],
    )


def _message(posterior: Posterior) -> ReliabilityMessage:
    confirmed, refuted = posterior.counts
    return ReliabilityMessage(
        confirmed=confirmed,
        refuted=refuted,
        prior_confirmed=posterior.prior.confirmed,
        prior_refuted=posterior.prior.refuted,
        mean=posterior.mean,
        factor=posterior.factor(),
    )


def _parse(exchange: Exchange, party: Party, request: ReportOutcomesRequest) -> OutcomeStatement:
    """The statement, if it is in the caller's name and for this hub."""
    try:
        statement = parse_outcomes(request.statement)
    except MalformedError as error:
        raise invalid("statement", str(error)) from None
    check_signer(exchange, party, statement.origin, statement.member)
    return statement


def _check_signature(exchange: Exchange, party: Party, request: ReportOutcomesRequest, now: int) -> None:
    """Refuse a report that no key of the caller's, valid at `now`, signed."""
    key = signing_key(exchange, party, _parse(exchange, party, request).key_id, now)
    try:
        open_outcomes(request.statement, request.signature, key)
    except (MalformedError, VerificationError) as error:
        raise Refusal(ErrorReason.ERROR_REASON_SIGNATURE_INVALID, str(error)) from None


def _check(exchange: Exchange, party: Party, statement: OutcomeStatement, known: Known) -> None:
    """Raise Refusal SIGNAL_UNKNOWN, MATCH_UNKNOWN or OUTCOME_CONFLICT unless the caller may say all of it."""
    unknown: list[tuple[str, str]] = []
    unmatched: list[tuple[str, str]] = []
    conflicts: list[int] = []
    for at, outcome in enumerate(statement.outcomes):
        is_match, id_ = about(outcome)
        if is_match:
            if id_ not in known.matches:
                unmatched.append((f"outcomes[{at}].match_id", "is none that concerns the caller"))
        else:
            state = known.signals.get(id_)
            if state is None or (state.issuer != party.id and state.place not in known.told_of):
                unknown.append((f"outcomes[{at}].signal_id", "is neither the caller's nor was it told of it"))
        if known.verdicts.get((is_match, id_), outcome.verdict) != outcome.verdict:
            conflicts.append(at)
    if unknown:
        raise Refusal(
            ErrorReason.ERROR_REASON_SIGNAL_UNKNOWN,
            "the caller neither published a signal of that id nor was it told of one",
            violations=unknown,
        )
    if unmatched:
        raise Refusal(
            ErrorReason.ERROR_REASON_MATCH_UNKNOWN,
            "there is no match of that id that concerns the caller",
            violations=unmatched,
        )
    if conflicts:
        raise Refusal(
            ErrorReason.ERROR_REASON_OUTCOME_CONFLICT,
            "the caller's group gave another verdict before",
            violations=[
                (f"outcomes[{at}].verdict", "is another than the one given before") for at in conflicts
            ],
            metadata={"index": str(conflicts[0])},
        )


class ReportOutcomes(Change[ReportOutcomesResponse]):
    """A report whose signature holds."""

    def __init__(
        self,
        exchange: Exchange,
        party: Party,
        request: ReportOutcomesRequest,
        statement: OutcomeStatement,
        audience: Audience,
    ) -> None:
        self._exchange = exchange
        self._party = party
        self._request = request
        self._statement = statement
        self._audience = audience
        self._known = Known(None, {}, set(), (), {})
        self._seen: dict[int, RoleSignal] = {}
        self._tallies: list[Tally] = []
        self._learned: Learned | None = None
        self._matching: list[Gone | MatchVerdict] = []
        self._news: list[tuple[SignalState, SignalChange.ValueType, str]] = []
        self.weight = len(statement.outcomes)

    def verdict_on(self, match_id: bytes) -> int:
        """The Verdict that the report gives a match; 0 for none."""
        return next((o.verdict for o in self._statement.outcomes if o.match_id == match_id), 0)

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """What is stored, and who was shown the signals since the scan."""
        for change in changes:  # alone in its group
            change._known = await Known.read(store, change._party, change._statement)
            news = change._known.news(change._statement)
            if not change._audience.covers(news):  # disputed since
                change._audience = await Audience.find(change._exchange, news)
            await change._audience.read_on()
            roles = [state.place for state in change._known.signals.values() if state.role]
            change._seen = {row.place: row for row in await store.roles_at(roles)} if roles else {}

    def decide(self, proposal: Proposal) -> tuple[ReportOutcomesResponse, Receipt]:
        """Write the verdicts and what follows from them."""
        party = self._exchange.membership.standing(self._party.id)
        digest = sha256(self._request.statement).digest()
        known = self._known.report
        if known is not None:
            if known.digest != digest:
                raise Refusal(
                    ErrorReason.ERROR_REASON_ID_REUSED, "the report id was used before with other content"
                )
            repeated = ReportOutcomesResponse(receipt=Receipt(index=known.entry), repeated_report=True)
            return repeated, repeated.receipt
        # The roster may have changed while the report waited, even to another key of the same id.
        _check_signature(self._exchange, self._party, self._request, proposal.now)
        _check(self._exchange, self._party, self._statement, self._known)
        payload = OutcomesEntry(statement=self._request.statement, signature=self._request.signature)
        index = proposal.log(ENTRY_TYPE_OUTCOMES, party.id, payload.SerializeToString())
        delta = proposal.delta
        delta.reports.append(Report(party.id, self._statement.report_id, digest, index))
        for outcome in self._statement.outcomes:
            is_match, id_ = about(outcome)
            is_new = (is_match, id_) not in self._known.verdicts
            if is_new:
                delta.verdicts.append(VerdictRow(is_match, id_, party.group, outcome.verdict, index))
            if not is_match:
                self._judge(proposal, party, self._known.signals[id_], outcome.verdict, is_new)
            elif is_new:
                self._matching.append(
                    MatchVerdict(index, proposal.now, id_, party.group, party.id, outcome.verdict)
                )
        delta.tallies.extend(self._tallies)
        self._learned = self._exchange.learning.propose(proposal, self._tallies)
        for news in self._news:
            self._audience.tell(proposal, *news)
        gone = [self._seen[place] for place in delta.refuted if place in self._seen]
        if gone:
            self._matching.append(leave_matching(self._exchange, gone, proposal, index))
        response = ReportOutcomesResponse(receipt=Receipt(index=index))
        return response, response.receipt

    def _judge(
        self, proposal: Proposal, party: Party, state: SignalState, verdict: Verdict.ValueType, is_new: bool
    ) -> None:
        """What a verdict on a signal does."""
        membership = self._exchange.membership
        if is_new and verdict != VERDICT_INCONCLUSIVE:
            confirmed = verdict == VERDICT_CONFIRMED
            self._tallies.append(Tally(state.issuer, state.code, party.id, confirmed, not confirmed))
        if state.status != Status.ACTIVE:
            return
        delta, now = proposal.delta, proposal.now
        own = membership.group(state.issuer) == party.group
        match effect(verdict, own=own, is_new=is_new, disputed=bool(state.disputed_until)):
            case Effect.REFUTED:
                delta.refuted.append(state.place)
                self._news.append((state, SIGNAL_CHANGE_REFUTED, ""))
            case Effect.UPHELD:
                delta.disputed.append((0, state.place))
                if state.appealed_until <= now:
                    # An answer to a verdict is none to an appeal.
                    self._news.append((state, SIGNAL_CHANGE_UPHELD, ""))
            case Effect.DISPUTED:
                days = membership.rulebook.matching.dispute_days
                delta.disputed.append((now + days * DAY, state.place))
                if not state.is_disputed(now):
                    self._news.append((state, SIGNAL_CHANGE_DISPUTED, party.id))

    def applied(self) -> None:
        """Believe whom the verdicts say to believe, and hand on what matching must know."""
        if self._learned is not None:
            self._exchange.learning.install(self._learned)
        for item in self._matching:
            self._exchange.matching.put(item)
