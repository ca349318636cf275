"""From members' flows to what the matcher sees of them, without network and custodians.

Invariants: gate, signals, rulebook and reading are the real ones; only the tokens are stand-ins, digests of
type and value, which join exactly as real tokens do: equal for the same identifier and for nothing else. A
signal is at hand from the hour on in which its member's gate let it pass.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from typing import Final, NamedTuple

from signalexchange.flows import Flow
from signalexchange.gate import Gate, GateParameters
from signalexchange.rulebook import Rulebook
from signalexchange.signals import SALT_SIZE, SIGNAL_ID_SIZE, SignalDraft, Subject, build
from signalexchange.tokens import Token

from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.reading import observation
from exchange.domain.records import RoleSignal

ROUND: Final = 3_600
"""Seconds between a member's publications."""
_EPOCH: Final = 1


class Own(NamedTuple):
    """What a member knows by itself: its flows in time order, and values that it knows many to share."""

    flows: Sequence[Flow]
    shared: Sequence[Subject]


class Published(NamedTuple):
    """A draft, who publishes it, and the Unix seconds from which on it is at hand."""

    at: int
    member: str
    draft: SignalDraft


def published(member: str, own: Own, parameters: GateParameters) -> Iterator[Published]:
    """What a member's gate lets pass."""
    gate = Gate(parameters, own.shared)
    for flow in own.flows:
        for draft in gate.offer(flow):
            yield Published(flow.time - flow.time % ROUND + ROUND, member, draft)


def batches(said: Iterable[Published], rulebook: Rulebook) -> Iterator[tuple[int, list[Observation]]]:
    """Observations by the hour in which they are published, in order; each member is a group of its own."""
    roles = {code.code: Role[code.role.upper()] for code in rulebook.codes}
    ordered = sorted(said, key=lambda each: each.at)
    batch: list[Observation] = []
    for place, each in enumerate(ordered):
        if batch and each.at != ordered[place - 1].at:
            yield ordered[place - 1].at, batch
            batch = []
        tokens = {subject: token(subject) for subject in each.draft.subjects}
        signal = build(
            each.draft,
            tokens,
            signal_id=place.to_bytes(SIGNAL_ID_SIZE, "big"),
            salt=bytes(SALT_SIZE),
            now=each.at,
        )
        row = RoleSignal(place, each.member, roles[each.draft.code], False, b"")
        batch.append(observation(row, signal, each.member))
    if batch:
        yield ordered[-1].at, batch


@cache
def token(subject: Subject) -> Token:
    """The stand-in for a token."""
    value = sha256(f"{subject.type}/{subject.value}".encode()).digest()
    return Token(subject.type, _EPOCH, value, value)
