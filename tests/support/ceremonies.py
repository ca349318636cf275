"""A roster with custodians' keys and token keys dealt to them, in memory."""

from typing import Any

from signalexchange.manifest import KeyManifest, TokenKey
from signalexchange.note import sign_note
from signalexchange.roster import Roster
from signalexchange.threshold import Dealing, deal

from tests.support.rosters import ORIGIN, START, signer

CUSTODIANS = ("custodian-1", "custodian-2", "custodian-3")
DAY = 86_400
YEAR = 365 * DAY


def token_key(dealing: Dealing, **changes: Any) -> TokenKey:
    fields: dict[str, Any] = {
        "type": "phone",
        "epoch": 1,
        "generation": 1,
        "valid_from": START,
        "valid_until": START + YEAR,
        "public_key": dealing.public_key,
        "commitments": dealing.commitments,
        "public_shares": {str(index): point for index, point in dealing.public_shares.items()},
    }
    return TokenKey(**{**fields, **changes})


def manifest(*keys: TokenKey, **changes: Any) -> KeyManifest:
    fields: dict[str, Any] = {"version": 1, "origin": ORIGIN, "threshold": 2, "keys": keys}
    return KeyManifest(**{**fields, **changes})


def fresh_key(**changes: Any) -> TokenKey:
    return token_key(deal(2, [1, 2, 3]), **changes)


def signed(value: KeyManifest | str, roster: Roster, leave_out: str = "") -> bytes:
    """The manifest signed by every custodian of the roster but `leave_out`."""
    text = value if isinstance(value, str) else value.text()
    return sign_note(text, [signer(c.id) for c in roster.custodians if c.id != leave_out])
