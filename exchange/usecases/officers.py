"""The keys of a member's officers."""

from signalexchange.roster import OfficerKey, Party
from signalexchange.v1.error_reason_pb2 import ErrorReason

from exchange.domain.refusal import Refusal
from exchange.usecases.exchange import Exchange


def officer_key(exchange: Exchange, party: Party, key_id: str, now: int) -> OfficerKey:
    """The party's officer's key of that id, valid at `now` (Unix seconds). Raises Refusal
    SIGNATURE_INVALID."""
    key = exchange.membership.roster.officer_key(party.id, key_id, now)
    if key is None:
        raise Refusal(
            ErrorReason.ERROR_REASON_SIGNATURE_INVALID, "the party has no valid officer's key of that id"
        )
    return key
