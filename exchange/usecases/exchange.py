"""What every use case stands on: store, writer, clock, the membership and the key manifest in force.

Invariants: membership and manifest are replaced as a whole, never changed; the membership only after the
version or suspension that makes it has been committed.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field

from signalexchange.manifest import KeyManifest
from signalexchange.roster import Party

from exchange.domain.learned import Learned
from exchange.domain.membership import Membership
from exchange.domain.reliability import Reliability, Tally
from exchange.domain.store import Store
from exchange.usecases.learning import Learning
from exchange.usecases.matching import Matching
from exchange.usecases.writer import Writer


@dataclass
class Exchange:
    """The hub's state in memory; all of it can be rebuilt from storage and configuration."""

    store: Store
    writer: Writer
    clock: Callable[[], int]
    origin: str
    membership: Membership
    manifest: KeyManifest
    judging: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a batch is judged: a look-up waits for a slice of one batch, not of each in flight."""
    on_membership: list[Callable[[], None]] = field(default_factory=list)
    """Called after the membership has changed."""
    tallies: InitVar[Sequence[Tally]] = ()
    version: InitVar[int] = 0
    """Version of the learned parameters, as last committed."""
    learning: Learning = field(init=False)
    """What committed outcomes say of groups and codes, under the membership in force."""

    matching: Matching = field(init=False)
    """Joins what is committed; it is begun by whoever opens the exchange."""

    def __post_init__(self, tallies: Sequence[Tally], version: int) -> None:
        self.learning = Learning(version, self.membership, tallies)
        self.matching = Matching(self.store, self.writer, lambda: self.membership, self.learning)

    @property
    def reliability(self) -> Reliability:
        """Whom outcomes say to believe."""
        return self.learning.reliability

    def install(self, membership: Membership, learned: Learned, entry: int, now: int) -> None:
        """Put in force the membership that an entry committed at `now` (Unix seconds), and what is learned
        under it."""
        before, self.membership = self.membership, membership
        self.learning.install(learned, membership)
        self.matching.membership_changed(before, entry, now)
        for callback in self.on_membership:
            callback()

    def epoch_valid(self, type_: int, epoch: int, now: int) -> bool:
        """Whether tokens of the type and epoch are accepted at `now` (Unix seconds)."""
        key = self.manifest.key(type_, epoch)
        return key is not None and key.valid_at(now)

    def party_by_spiffe(self, spiffe_id: str) -> Party | None:
        """The enrolled party of that identity."""
        return self.membership.roster.party_by_spiffe(spiffe_id)

    def is_suspended(self, member: str) -> bool:
        """Whether the operator has shut the party out."""
        return member in self.membership.suspended
