"""A published signal read as an observation: at once when it is accepted, and again from storage."""

from collections.abc import Iterable

from signalexchange.v1.signal_pb2 import Signal

from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.spent import left_by
from exchange.domain.records import RoleSignal

DAY = 86_400


def observation(row: RoleSignal, signal: Signal, group: str) -> Observation:
    """What matching sees of a signal whose code has a role, its issuer counted under `group`."""
    subject, counterparty = signal.subject, signal.counterparty
    return Observation(
        row.place,
        signal.signal_id,
        row.issuer,
        group,
        Role(row.role),
        signal.code,
        subject.value,
        subject.type,
        counterparty.value,
        counterparty.type,
        tuple((link.value, link.type) for link in signal.links),
        signal.amount_band,
        signal.first_seen,
        signal.last_seen,
        signal.expires_at,
        signal.confidence,
        row.echo,
    )


def spent(withdrawn: Iterable[Observation], window_days: int, now: int) -> dict[bytes, int]:
    """What these leave once they are withdrawn, and until when (Unix seconds), as the matcher has it."""
    until = now + 2 * window_days * DAY
    return {key: until for seen in withdrawn for key in left_by(seen)}
