"""What is handed to matching once it is committed, each with its entry and its time (Unix seconds)."""

from collections.abc import Sequence
from typing import NamedTuple

from signalexchange.v1.signal_pb2 import Signal

from exchange.domain.records import MatchVerdict, RoleSignal


class Accepted(NamedTuple):
    """A batch: signals with a role in matching, and the tokens that its others name."""

    entry: int
    time: int
    seen: Sequence[tuple[RoleSignal, Signal]]
    named: Sequence[bytes]


class Gone(NamedTuple):
    """Signals that were withdrawn or have expired."""

    entry: int
    time: int
    places: Sequence[int]


class Named(NamedTuple):
    """Tokens in which a member took an interest."""

    entry: int
    time: int
    tokens: Sequence[bytes]


class Disputed(NamedTuple):
    """Appeals dispute signals until then (Unix seconds), or, with 0, no longer."""

    entry: int
    time: int
    places: Sequence[int]
    until: int


class Standing(NamedTuple):
    """What a member says counts under another group now, or not at all, or again."""

    entry: int
    time: int
    member: str


class Rules(NamedTuple):
    """The rulebook's rules of matching have changed."""

    entry: int
    time: int


Item = Accepted | Gone | Named | Disputed | Standing | Rules | MatchVerdict


def weight(item: Item) -> int:
    """Signals to be matched in it."""
    return len(item.seen) if isinstance(item, Accepted) else 0
