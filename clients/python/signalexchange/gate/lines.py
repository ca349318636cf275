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
    repaid: Leg | None = None
    respent: int = 0


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
        if line.repaid is not None:
            repaid = line.repaid
            line.respent += leg.cents
            if now - repaid.flow.time > figures.respend_hours * HOUR:
                line.repaid = None
            elif line.respent * 1_000 >= repaid.cents * figures.respend_permille:
                line.repaid = None
                yield "repay-and-respend", repaid.flow.time, repaid.cents
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
        figures = self._parameters
        line = self._line(self._owner(leg.flow), leg.flow)
        high = max(line.use, leg.cents)
        if leg.cents >= figures.repaid_least_cny * 100 and (
            not line.limit or high * 1_000 >= line.limit * figures.repaid_use_permille
        ):
            line.repaid, line.respent = leg, 0
        self._lower(line, leg)

    def refunded(self, leg: Leg) -> None:
        """A refund to the line came in."""
        self._lower(self._line(leg.flow.payee, leg.flow), leg)

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
