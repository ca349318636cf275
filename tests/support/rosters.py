"""A small roster with the private keys behind it, the same on every run."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from signalexchange.note import Signer
from signalexchange.roster import Roster, RosterChain, sign_roster

ORIGIN = "exchange.test/log"
START = 1_700_000_000
FOREVER = 2_000_000_000
RULEBOOK = b'{"version": 1}\n'


def private_key(name: str) -> Ed25519PrivateKey:
    """A key that depends on its name alone, so that vectors and failures repeat."""
    return Ed25519PrivateKey.from_private_bytes(sha256(f"test key {name}".encode()).digest())


def signer(name: str) -> Signer:
    return Signer.from_private_key(name, private_key(name))


def vkey(name: str) -> str:
    return signer(name).verifier.vkey


def key(name: str, key_id: str = "k1") -> dict[str, Any]:
    public_key = private_key(name).public_key().public_bytes_raw()
    return {
        "id": key_id,
        "public_key": base64.b64encode(public_key).decode(),
        "not_before": START,
        "not_after": FOREVER,
    }


def party(party_id: str, kind: str, group: str) -> dict[str, Any]:
    return {
        "id": party_id,
        "kind": kind,
        "group": group,
        "spiffe_id": f"spiffe://exchange.test/party/{party_id}",
        "signing_keys": [] if kind in ("auditor", "operator") else [key(party_id)],
        "officer_keys": [],
        "hpke_keys": [],
    }


def document() -> dict[str, Any]:
    """Version 1 as plain data, to be changed at will."""
    budgets = {"phone": {"per_day": 1000, "declared_customers": 50_000}}
    return {
        "version": 1,
        "previous": "",
        "issued_at": START,
        "origin": ORIGIN,
        "log_key": vkey(ORIGIN),
        "hub_spiffe_id": "spiffe://exchange.test/hub",
        "rulebook_sha256": sha256(RULEBOOK).hexdigest(),
        "governance": {"quorum": 2, "keys": [vkey(f"governance-{n}") for n in (1, 2, 3)]},
        "groups": [
            {"id": group, "budgets": budgets}
            for group in ("north", "south", "west", "watch", "neutral", "hub")
        ],
        "parties": [
            party("bank-a", "bank", "north"),
            party("bank-b", "bank", "south"),
            party("shop", "ecommerce", "west"),
            party("auditor", "auditor", "watch"),
            party("operator", "operator", "hub"),
        ],
        "custodians": [
            {
                "index": index,
                "id": f"custodian-{index}",
                "group": group,
                "spiffe_id": f"spiffe://exchange.test/custodian/custodian-{index}",
                "key": vkey(f"custodian-{index}"),
            }
            for index, group in enumerate(("north", "south", "neutral"), 1)
        ],
        "threshold": 2,
        "reinstates": [],
    }


def signed(data: dict[str, Any], governance: Iterable[int] = (1, 2)) -> bytes:
    return sign_roster(Roster.model_validate(data), [signer(f"governance-{n}") for n in governance])


@dataclass
class Rosters:
    """A chain that grows by what a test changes."""

    chain: RosterChain = field(default_factory=lambda: RosterChain.start(signed(document())))

    @property
    def current(self) -> Roster:
        return self.chain.current

    def next_document(self) -> dict[str, Any]:
        """The current version as plain data, numbered and linked as the next one."""
        data = self.current.model_dump(mode="json")
        data["version"] += 1
        data["previous"] = sha256(self.current.text().encode()).hexdigest()
        data["issued_at"] += 60
        return data

    def extend(self, data: dict[str, Any], governance: Iterable[int] = (1, 2)) -> bytes:
        note = signed(data, governance)
        self.chain = self.chain.extend(note)
        return note
