"""Deadlines of proceedings and the term of closed ones: what the passing of time does to cases.

Invariants: each deadline that passed before what was due had been recorded is on the log once, before any
later step of its proceeding, also where the hub was down meanwhile; an appeal that nobody decided in time
disputes nothing any more, nor one what its group's appeals have paused for long enough; of a proceeding whose
term is over the content goes.
"""

from collections.abc import Sequence
from typing import Final, Self

from signalexchange.v1.log_entry_pb2 import ENTRY_TYPE_CASE_DEADLINE, CaseDeadlineEntry

from exchange.domain.case_rows import CaseEvent, DeadlineRow
from exchange.domain.store import Store
from exchange.usecases.disputes import Disputes
from exchange.usecases.erase_case import Erase
from exchange.usecases.exchange import Exchange
from exchange.usecases.proceedings import Kept, row_of
from exchange.usecases.writer import Change, Proposal

PART: Final = 100
_APPEAL: Final = "appeal"


async def keep_cases(exchange: Exchange) -> None:
    """Tell of deadlines that passed, and let go of what is past its term."""
    for read, change in (
        (exchange.store.proceedings_due, _tell),
        (exchange.store.proceedings_expired, _expire),
    ):
        more = True
        while more:
            page = await read(exchange.clock(), PART)
            for stored in page:
                await change(exchange, stored.row.member, stored.row.case_id)
            more = len(page) == PART
    while past := await exchange.store.appeals_past(exchange.clock(), PART):
        for member, case_id in past:
            disputes = await Disputes.ended(exchange, member, case_id)
            await exchange.writer.submit(EndPauses(member, case_id, disputes))
        if len(past) < PART:
            break


async def pass_deadlines(exchange: Exchange, member: str, case_id: bytes) -> None:
    """Tell of deadlines that passed in one proceeding, where there is one."""
    stored = await exchange.store.proceeding(member, case_id)
    if stored is not None and 0 < stored.row.due < exchange.clock():
        await _tell(exchange, member, case_id)


async def _tell(exchange: Exchange, member: str, case_id: bytes) -> None:
    disputes = await Disputes.ended(exchange, member, case_id)
    await exchange.writer.submit(PassDeadlines(exchange, member, case_id, disputes))


async def _expire(exchange: Exchange, member: str, case_id: bytes) -> None:
    await exchange.writer.submit(Erase(exchange, member, case_id))


class PassDeadlines(Change[None]):
    """The deadlines of one proceeding that have passed."""

    def __init__(self, exchange: Exchange, member: str, case_id: bytes, disputes: Disputes) -> None:
        self._exchange = exchange
        self._kept = Kept(case_id, member, None, (), (), (), False)
        self._disputes = disputes

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """The proceeding, and who was shown what its appeal disputes."""
        for change in changes:  # alone in its group
            change._kept = await Kept.read(change._exchange, change._kept.member, change._kept.case_id)
            await change._disputes.read(store)

    def decide(self, proposal: Proposal) -> tuple[None, None]:
        """Log each, once."""
        kept = self._kept
        if kept.row is None:
            return None, None
        proceeding, delta = kept.fold(), proposal.delta
        case_id, member = kept.case_id, kept.member
        for deadline in kept.untold(proceeding):
            if deadline.due >= proposal.now:
                continue
            payload = CaseDeadlineEntry(case_id=case_id, due=deadline.due, what=deadline.what)
            proposal.log(ENTRY_TYPE_CASE_DEADLINE, member, payload.SerializeToString())
            delta.case_deadlines.append(DeadlineRow(case_id, member, deadline.due, deadline.what))
            if deadline.what == _APPEAL:
                self._disputes.end(proposal)
                delta.case_events.extend(
                    CaseEvent(other.member, case_id, proposal.now) for other in kept.beside(proceeding)
                )
        if delta.case_deadlines:
            delta.case_events.append(CaseEvent(member, case_id, proposal.now))
        rules = self._exchange.membership.rulebook.cases
        delta.proceedings.append(row_of(kept, proceeding, rules, delta.case_deadlines))
        return None, None

    def applied(self) -> None:
        """Have matching know what is disputed no longer."""
        self._disputes.hand_on()


class EndPauses(Change[None]):
    """What an undecided appeal disputed, and its group may dispute no longer."""

    def __init__(self, member: str, case_id: bytes, disputes: Disputes) -> None:
        self._member = member
        self._case_id = case_id
        self._disputes = disputes
        self._places: set[int] = set()

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """Which signals, and who was shown them."""
        for change in changes:  # alone in its group
            change._places = set(await store.appealed_until(change._member, change._case_id, now))
            await change._disputes.read(store)

    def decide(self, proposal: Proposal) -> tuple[None, None]:
        """End it, where nobody has decided meanwhile."""
        if self._places:
            self._disputes.run_out(proposal, self._places)
        return None, None

    def applied(self) -> None:
        """Have matching know what is disputed no longer."""
        self._disputes.hand_on()
