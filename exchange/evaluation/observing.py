"""From members' flows to what the matcher sees of them, without network and custodians.

Invariants: the gate, the rulebook's roles, bands and slots are the real ones; only the tokens are stand-ins,
digests of type and value, which join exactly as real tokens do: equal for the same identifier and for nothing
else. An observation is at hand from the time on at which its member's gate let it pass.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from hashlib import sha256
from typing import Final, NamedTuple

from signalexchange.flows import Flow
from signalexchange.gate import Gate, GateParameters
from signalexchange.rulebook import Rulebook
from signalexchange.signals import SignalDraft, Subject, amount_band, cut

from exchange.domain.matching.observation import Observation, Role

ROUND: Final = 3_600
"""Seconds between a member's publications."""


class Published(NamedTuple):
    """A draft, who publishes it, and the Unix seconds from which on it is at hand."""

    at: int
    member: str
    draft: SignalDraft


def published(member: str, flows: Iterable[Flow], parameters: GateParameters) -> Iterator[Published]:
    """What a member's gate lets pass of its flows, given in time order."""
    gate = Gate(parameters)
    for flow in flows:
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
        batch.append(_observation(place, each, roles))
    if batch:
        yield ordered[-1].at, batch


def token(subject: Subject) -> bytes:
    """The stand-in for a token: SHA-256 of type and value."""
    return _token(subject.type, subject.value)


@cache
def _token(kind: int, value: str) -> bytes:
    return sha256(f"{kind}/{value}".encode()).digest()


def _observation(place: int, said: Published, roles: Mapping[str, Role]) -> Observation:
    draft = said.draft
    counterparty = draft.counterparty
    return Observation(
        place=place,
        signal_id=place.to_bytes(16, "big"),
        member=said.member,
        group=said.member,
        role=roles[draft.code],
        code=draft.code,
        subject=token(draft.subject),
        subject_type=draft.subject.type,
        counterparty=b"" if counterparty is None else token(counterparty),
        counterparty_type=0 if counterparty is None else counterparty.type,
        links=tuple((token(link), link.type) for link in draft.links),
        band=0 if draft.amount is None else amount_band(draft.amount),
        first=cut(draft.first_seen),
        last=cut(draft.last_seen),
        expires_at=cut(draft.expires_at),
        confidence=draft.confidence,
        echo=False,
    )
