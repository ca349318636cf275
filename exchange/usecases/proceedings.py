"""A proceeding as it is stored: read, folded, shown, and put back.

Invariants: each step is judged by the rulebook that was in force when it was recorded, so that a new one
makes no other story of the past; what a member is shown of others' proceedings is how many groups have one,
and whether an appeal is undecided.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, Self

from signalexchange.rulebook import Cases, Rulebook
from signalexchange.v1.case_service_pb2 import Case, CaseStatement, CaseStep
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.log_entry_pb2 import CaseEntry
from signalexchange.v1.outcome_service_pb2 import VERDICT_CONFIRMED
from signalexchange.v1.signal_service_pb2 import ACTION_RESTRICT

from exchange.domain.case_rows import DeadlineRow, ProceedingRow, StoredStep
from exchange.domain.membership import Membership
from exchange.domain.proceeding import Deadline, Proceeding, Step
from exchange.domain.records import RosterRow
from exchange.domain.refusal import Refusal
from exchange.usecases.exchange import Exchange


class Recorded(NamedTuple):
    """A step with what is shown of it; `rules` were in force."""

    step: Step
    shown: CaseStep
    rules: Cases


class Kept(NamedTuple):
    """A member's proceeding in a case as last committed; without a row there is none, or it was erased."""

    case_id: bytes
    member: str
    row: ProceedingRow | None
    steps: Sequence[Recorded]
    told: Collection[tuple[int, str]]
    """(when it was due, what) of the deadlines that were told."""
    others: Sequence[ProceedingRow]
    """Proceedings of other members about a match in the case of that id."""
    was_erased: bool

    @classmethod
    async def read(cls, exchange: Exchange, member: str, case_id: bytes) -> Self:
        """As last committed."""
        store = exchange.store
        stored = await store.proceeding(member, case_id)
        others = [
            each.row
            for each in await store.proceedings_in(case_id)
            if each.row.member != member and each.row.match_id
        ]
        if stored is None or stored.row.is_erased:
            return cls(case_id, member, None, (), (), others, stored is not None)
        steps = await store.case_steps(member, case_id)
        if not steps:  # erased since the row was read
            return cls(case_id, member, None, (), (), others, True)
        told = await store.case_deadlines(member, case_id)
        # Taken after the steps: it is as new as they are. Most proceedings are younger than the rulebook, and
        # rosters are large.
        membership = exchange.membership
        now_in_force = membership.entries[-1]
        earlier = await store.rosters() if any(step.entry < now_in_force for step in steps) else ()
        recorded = [_recorded(step, membership, earlier) for step in steps]
        return cls(case_id, member, stored.row, recorded, told, others, False)

    def fold(self) -> Proceeding:
        """Where its steps have brought it."""
        proceeding = Proceeding()
        for step, _, rules in self.steps:
            proceeding = proceeding.apply(step, rules)
        return proceeding

    def beside(self, proceeding: Proceeding) -> Sequence[ProceedingRow]:
        """Other members' proceedings in the same case. What isn't about a match is its opener's alone,
        whatever id it chose."""
        return self.others if proceeding.match_id else ()

    def untold(self, proceeding: Proceeding) -> list[Deadline]:
        """Deadlines of which nobody was told, the earliest first."""
        waited = [each for each in proceeding.deadlines if (each.due, each.what) not in self.told]
        return sorted(waited, key=lambda each: each.due)

    def plus(self, recorded: Recorded, row: ProceedingRow) -> Self:
        """With one step more."""
        return self._replace(row=row, steps=[*self.steps, recorded])

    def message(self, membership: Membership, proceeding: Proceeding, now: int) -> Case:
        """The case as its member may see it, folded from these steps."""
        rows = [*([self.row] if self.row else []), *self.beside(proceeding)]
        return Case(
            case_id=self.case_id,
            subject=proceeding.subject,
            origin=proceeding.origin,
            match_id=proceeding.match_id,
            state=proceeding.state(now, membership.rulebook.cases),
            steps=[each.shown for each in self.steps],
            groups=len({membership.group(row.member) for row in rows}),
            disputed=any(row.appealed for row in rows),
        )


def row_of(
    kept: Kept, proceeding: Proceeding, rules: Cases, just_told: Iterable[DeadlineRow] = ()
) -> ProceedingRow:
    """What is stored of a proceeding beside its steps."""
    subject = proceeding.subject
    assert subject is not None  # noqa: S101 - it was opened
    told = {(each.due, each.what) for each in just_told}
    due = [each.due for each in kept.untold(proceeding) if (each.due, each.what) not in told]
    confirmed = proceeding.outcome == VERDICT_CONFIRMED and not proceeding.appeal_pending
    return ProceedingRow(
        kept.case_id,
        kept.member,
        proceeding.match_id,
        subject.value,
        subject.type,
        subject.epoch,
        not proceeding.is_settled,
        proceeding.appeal_pending,
        proceeding.measure if confirmed and proceeding.measure >= ACTION_RESTRICT else 0,
        min(due, default=0),
        proceeding.expires_at(rules),
    )


def unknown_case() -> Refusal:
    """The caller has none of that id."""
    return Refusal(ErrorReason.ERROR_REASON_CASE_UNKNOWN, "the caller has no proceeding in a case of that id")


def _recorded(stored: StoredStep, membership: Membership, earlier: Sequence[RosterRow]) -> Recorded:
    entry = CaseEntry.FromString(stored.payload)
    # Read strictly when it was recorded: to do so again takes a proceeding of many steps too long.
    statement = CaseStatement.FromString(entry.statement)
    rules = membership.rulebook.cases
    if stored.entry < membership.entries[-1]:
        rules = _cases(next(row.rulebook for row in reversed(earlier) if row.entry < stored.entry))
    return Recorded(
        Step(statement, stored.digest, stored.officer, stored.time),
        CaseStep(statement=entry.statement, signature=entry.signature, time=stored.time, index=stored.entry),
        rules,
    )


@lru_cache(maxsize=64)
def _cases(rulebook: bytes) -> Cases:
    return Rulebook.parse(rulebook.decode()).cases
