"""Credit lines of this member: repaid and spent again at once, or drawn to the limit after a quiet time.

Invariants: a line's use is what was bought on it less what came back, never below 0; one cycle a repayment,
one exhaustion until the line is quiet again; a line not moved for `known_days` is forgotten.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from signalexchange.flows import Flow
from signalexchange.gate.known import Known
from signalexchange.gate.legs import DAY, HOUR, Leg, cents
from signalexchange.gate.parameters import GateParameters
from signalexchange.signals import Subject


@dataclass(slots=True)
class Cycle:
    """A repayment, made at once or in parts within a day, and what was bought on the line since; cents.

    `used` is the use of the line before, as far as it is known.
    """

    began: int
    repaid: int
    last: int
    used: int
    bought: int = 0


@dataclass(slots=True)
class Line:
    """One line: use and limit in cents (0 unknown), when it was last quiet, and the cycle that may be on.

    `quiet_since` is when its use last fell below quiet, `rising_since` when it rose above; Unix seconds.
    """

    moved: int
    quiet_since: int
    limit: int = 0
    use: int = 0
    rising_since: int | None = None
    told: bool = False
    cycle: Cycle | None = None


class Lines:
    """The lines of this member's customers."""

    def __init__(self, parameters: GateParameters, known: Known) -> None:
        self._parameters = parameters
        self._known = known
        self._began: int | None = None
        self._lines: dict[Subject, Line] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def advance(self, now: int) -> None:
        """Forget lines that didn't move for long."""
        if self._began is None:
            self._began = now
        before = now - self._parameters.known_days * DAY
        while self._lines:
            subject = next(iter(self._lines))
            if self._lines[subject].moved >= before:
                return
            del self._lines[subject]

    def bought(self, leg: Leg) -> Iterator[tuple[str, int, int]]:
        """A credit purchase came in; facts (code, first seen, cents) that it completes."""
        figures = self._parameters
        line = self._line(leg.flow.payer, leg.flow)
        line.use += leg.cents
        now = leg.flow.time
        if (cycle := line.cycle) is not None:
            cycle.bought += leg.cents
            if now - cycle.last > figures.respend_hours * HOUR:
                line.cycle = None
            elif self._is_worth(cycle, line):
                line.cycle = None
                yield "repay-and-respend", cycle.began, cycle.repaid
        if not line.limit:
            return
        if line.rising_since is None and line.use * 1_000 > line.limit * figures.quiet_permille:
            line.rising_since = now
        if line.told or line.rising_since is None or line.use * 1_000 < line.limit * figures.exhaust_permille:
            return
        if (
            now - line.rising_since <= figures.exhaust_days * DAY
            and line.rising_since - line.quiet_since >= figures.quiet_days * DAY
        ):
            line.told = True
            yield "line-exhausted", line.rising_since, line.limit

    def repaid(self, leg: Leg) -> None:
        """A repayment came in."""
        line, now = self._line(self._owner(leg.flow), leg.flow), leg.flow.time
        cycle = line.cycle
        if cycle is None or cycle.bought or now - cycle.began > self._parameters.split_hours * HOUR:
            line.cycle = cycle = Cycle(now, 0, now, line.use)
        cycle.repaid += leg.cents
        cycle.last = now
        self._lower(line, leg)

    def refunded(self, leg: Leg) -> None:
        """A refund to the line came in."""
        self._lower(self._line(leg.flow.payee, leg.flow), leg)

    def _is_worth(self, cycle: Cycle, line: Line) -> bool:
        figures = self._parameters
        if cycle.repaid < figures.repaid_least_cny * 100:
            return False
        if cycle.bought * 1_000 < cycle.repaid * figures.respend_permille:
            return False
        # What was used before the gate began to watch it can't know: then the repayment itself shows it.
        known = cycle.used >= cycle.repaid and line.limit
        return not known or cycle.used * 1_000 >= line.limit * figures.repaid_use_permille

    def _lower(self, line: Line, leg: Leg) -> None:
        line.use = max(0, line.use - leg.cents)
        if line.rising_since is not None and line.use * 1_000 <= line.limit * self._parameters.quiet_permille:
            line.rising_since, line.quiet_since, line.told = None, leg.flow.time, False

    def _owner(self, flow: Flow) -> Subject:
        """Whose line a repayment is for: a customer may repay from an account that is linked to it."""
        for subject in (flow.payer, *self._known.links(flow.payer)):
            if subject in self._lines:
                return subject
        return flow.payer

    def _line(self, owner: Subject, flow: Flow) -> Line:
        line = self._lines.pop(owner, None)
        if line is None:
            line = Line(flow.time, self._began if self._began is not None else flow.time)
        self._lines[owner] = line  # at the end: the order is that of the last move
        line.moved = flow.time
        if flow.limit is not None:
            line.limit = cents(flow.limit)
        return line
