"""The learned parameters in force: each version is on the log in the transaction of what changed it.

Invariants: whoever changes them decides alone, so that a version stands on all that committed before it; a
version is in force once it is committed, before anything else is decided.
"""

from collections.abc import Callable, Sequence

from signalexchange.v1.log_entry_pb2 import ENTRY_TYPE_MODEL

from exchange.domain.learned import Learned
from exchange.domain.membership import Membership
from exchange.domain.reliability import Reliability, Tally
from exchange.usecases.writer import Change, Proposal


class Learning:
    """The version in force. It begins with `version` and `tallies` as last committed."""

    def __init__(self, version: int, membership: Membership, tallies: Sequence[Tally]) -> None:
        self.membership = membership
        self.learned = Learned.of(version, membership, tallies)
        self.on_change: Callable[[Reliability], None] = lambda reliability: None
        """Called with what is believed from now on."""

    @property
    def reliability(self) -> Reliability:
        """What outcomes say of groups and codes."""
        return self.learned.reliability

    def propose(
        self,
        proposal: Proposal,
        tallies: Sequence[Tally] = (),
        as_of: int = 0,
        membership: Membership | None = None,
    ) -> Learned:
        """What is learned by more tallies, or under another membership; logged where that is a new version.

        `as_of` is the index below which verdicts on matches are counted, where they are.
        """
        learned = self.learned if membership is None else self.learned.under(membership)
        if tallies:
            learned = learned.plus(tallies)
        if learned.version != self.learned.version:
            entry = learned.entry(tallies, (membership or self.membership).rulebook, as_of)
            proposal.log(ENTRY_TYPE_MODEL, "", entry.SerializeToString())
            proposal.delta.learned = learned.version
        return learned

    def install(self, learned: Learned, membership: Membership | None = None) -> None:
        """Put in force what has been committed, and the membership it was learned under if that is new."""
        self.membership = membership or self.membership
        if learned is not self.learned:
            self.learned = learned
            self.on_change(learned.reliability)


class Adopt(Change[None]):
    """Makes version 1 of the tallies of a database that is older than versions."""

    def __init__(self, learning: Learning, matched_to: int) -> None:
        self._learning = learning
        self._matched_to = matched_to
        self._learned = learning.learned

    def decide(self, proposal: Proposal) -> tuple[None, None]:
        """Log all that is counted."""
        self._learned = self._learned._replace(version=1)
        tallies, rulebook = self._learned.reliability.tallies, self._learning.membership.rulebook
        entry = self._learned.entry(tallies, rulebook, self._matched_to)
        proposal.log(ENTRY_TYPE_MODEL, "", entry.SerializeToString())
        proposal.delta.learned = 1
        return None, None

    def applied(self) -> None:
        """Put it in force."""
        self._learning.install(self._learned)
