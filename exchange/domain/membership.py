"""Who takes part at present: the roster in force, the rulebook it names, and who is shut out.

Invariants: a Membership never changes; the next one is made from it. A group is known of every party that
ever was on the roster, so that the signals of one that left still count under its last controlling group;
what a suspended party said doesn't count until it is reinstated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from signalexchange.roster import Party, Roster, RosterChain
from signalexchange.rulebook import Rulebook
from signalexchange.v1.error_reason_pb2 import ErrorReason

from exchange.domain.refusal import Refusal


@dataclass(frozen=True)
class Membership:
    """A roster chain, its newest version's rulebook, and the suspended parties with their entries."""

    chain: RosterChain
    rulebook: Rulebook
    entries: tuple[int, ...]
    """Index of each roster version's entry."""
    suspended: Mapping[str, int] = field(default_factory=dict)

    @property
    def roster(self) -> Roster:
        """The version in force."""
        return self.chain.current

    @cached_property
    def rulebook_text(self) -> bytes:
        """The rulebook as it is served."""
        return self.rulebook.text().encode()

    @cached_property
    def _groups(self) -> dict[str, str]:
        return {party.id: party.group for _, roster in self.chain.versions for party in roster.parties}

    @property
    def members(self) -> list[str]:
        """Every party that ever was on the roster, ascending."""
        return sorted(self._groups)

    def group(self, member: str) -> str | None:
        """Controlling group of a party, the last one of one that left; None for none of this exchange."""
        return self._groups.get(member)

    def counted_group(self, member: str) -> str | None:
        """Controlling group under which a member's signals count; None while it is suspended."""
        return None if member in self.suspended else self._groups.get(member)

    def standing(self, member: str) -> Party:
        """The party, if it takes part. Raises Refusal NOT_ENROLLED or SUSPENDED."""
        party = self.roster.party(member)
        if party is None:
            raise Refusal(ErrorReason.ERROR_REASON_NOT_ENROLLED, "the party is not on the roster")
        if member in self.suspended:
            raise Refusal(ErrorReason.ERROR_REASON_SUSPENDED, "the party is suspended")
        return party
