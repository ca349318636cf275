"""A hub's state at rest, as a replay reads it: nobody writes it meanwhile.

Invariants: what is read is one committed state; nothing is changed by reading.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from exchange.domain.records import Entry, RosterRow
from exchange.domain.reliability import Tally


class StoredSignal(NamedTuple):
    """A signal as it is stored; `body` and `nonce` are None once its content is gone, and all but place, id,
    issuer, type, epoch, role, expiry and status are empty then."""

    place: int
    signal_id: bytes
    issuer: str
    token: bytes | None
    type: int
    epoch: int
    code: str
    audience: int
    confidence: int
    grade: int
    tlp: int
    last_seen: int
    expires_at: int
    nonce: bytes | None
    body: bytes | None
    role: int
    searched: bool
    echo: bool
    status: int


class Archive(Protocol):
    """A database that no process has open."""

    def size(self) -> int:
        """Entries on the log."""

    def entries(self) -> Iterator[Entry]:
        """All entries, ascending; payload and its opening are empty where they were erased."""

    def payloads(self, type_: int) -> Sequence[bytes]:
        """Payloads of the entries of a type, ascending."""

    def tile(self, number: int) -> bytes:
        """The 256 leaf hashes of a complete tile; empty where it lacks."""

    def signals_of(self, entry: int) -> list[StoredSignal]:
        """The signals of a batch's entry, in their order."""

    def whose(self, signal_id: bytes) -> tuple[int, str] | None:
        """Where a signal stands, and who issued it."""

    def rosters(self) -> Sequence[RosterRow]:
        """All roster versions, ascending."""

    def tallies(self) -> Sequence[Tally]:
        """All tallies of verdicts."""

    def learned(self) -> int:
        """Version of the learned parameters."""

    def spent(self) -> Sequence[tuple[bytes, int]]:
        """Withdrawn hypotheses, and until when (Unix seconds) they can't be put up again."""

    def forgotten_access(self) -> int:
        """Index below which access records have lost their content."""
