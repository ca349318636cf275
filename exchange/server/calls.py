"""The call in hand: who calls what.

Invariants: inside a servicer there is always exactly one current Call, set by the interceptor after
admission; servicers and use cases learn the caller from it and from nothing in the request.
"""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from signalexchange.roster import Party


class Directory(Protocol):
    """What the interceptor asks about parties."""

    def party_by_spiffe(self, spiffe_id: str) -> Party | None:
        """The enrolled party of that identity."""
        ...

    def is_suspended(self, member: str) -> bool:
        """Whether the operator has shut the party out."""
        ...


@dataclass(slots=True)
class Call:
    """An admitted call. `facts` are counts for its log line: numbers and names, never content."""

    method: str
    request_id: str
    party: Party
    facts: dict[str, int | str] = field(default_factory=dict)


CURRENT: ContextVar[Call] = ContextVar("call")


def current() -> Call:
    """The call being served."""
    return CURRENT.get()
