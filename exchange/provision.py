"""A whole deployment in one folder: keys, certificates, roster, rulebook, token keys, configurations.

It is what the demo, the tests and `exchange-hub init` stand on: a trial on one machine. Because it makes
everybody's secrets in one place it refuses a folder that is not empty; in a real exchange every institution
makes its own and the ceremony is held among them (docs/operations.md). Hub and custodians can't tell the
difference: nothing here is a mode of theirs.
"""

import json
import re
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from signalexchange.credentials import load_private_key
from signalexchange.errors import ConfigError
from signalexchange.note import Signer
from signalexchange.roster import (
    MEMBER_KINDS,
    Budget,
    Custodian,
    Governance,
    Group,
    Kind,
    OfficerKey,
    Party,
    PartyKey,
    Roster,
    sign_roster,
)
from signalexchange.rulebook import default_text

from exchange import pki
from exchange.custodian import ceremony

DAY = 86_400
TRUST_DOMAIN = "spiffe://exchange.test"
ALWAYS = (0, 2**40)
"""Validity of a trial deployment's signing keys: a replay's clock may stand anywhere."""
SIGNING_KEY_ID = "signing-1"
HPKE_KEY_ID = "hpke-1"
OFFICERS = ("officer-1", "officer-2", "officer-3")
"""Each of them holds one key, of the same id."""


@dataclass(frozen=True)
class PartySpec:
    """A party to enrol: its id, its kind ("bank", …) and its controlling group."""

    id: str
    kind: Kind
    group: str


FOUNDERS = (
    PartySpec("bank-north", "bank", "north-holding"),
    PartySpec("bank-south", "bank", "south-holding"),
    PartySpec("pay-lotus", "payment_provider", "lotus-group"),
    PartySpec("shop-river", "ecommerce", "river-group"),
    PartySpec("audit-one", "auditor", "audit-one"),
    PartySpec("operator", "operator", "hub-operator"),
    PartySpec("police-one", "law_enforcement", "police-one"),
)
DISCLOSING_KINDS = MEMBER_KINDS | {"law_enforcement"}
"""Kinds of parties with officers and a key to seal to."""
CUSTODIANS = {"custodian-a": "north-holding", "custodian-b": "lotus-group", "custodian-c": "notary-house"}
TYPES = ("phone", "national_id_cn", "card", "iban", "merchant", "account", "device", "address")


@dataclass(frozen=True)
class Plan:
    """What to make.

    `custodians` maps ids to controlling groups. `types` get token keys in each of `epochs`, a mapping of
    epoch to its validity (Unix seconds; a year from now if None). `budgets` are each member group's, by type.
    `clock` is the Unix time a replay starts at, or None for the real clock; `record` has a replaying hub keep
    every request it decodes.
    """

    origin: str = "exchange.test/signals"
    parties: Sequence[PartySpec] = FOUNDERS
    custodians: Mapping[str, str] = field(default_factory=lambda: dict(CUSTODIANS))
    threshold: int = 2
    types: Sequence[str] = TYPES
    epochs: Mapping[int, tuple[int, int]] | None = None
    budgets: Mapping[str, Budget] | None = None
    governance_keys: int = 3
    quorum: int = 2
    rulebook: str | None = None
    clock: int | None = None
    record: bool = False


@dataclass(frozen=True)
class Deployment:
    """The folder that came of a plan, and where in it things are."""

    folder: Path
    plan: Plan
    hub_port: int
    metrics_port: int
    custodian_ports: Mapping[str, int]

    @property
    def origin(self) -> str:
        """Origin of the log; a replay's says so."""
        return self.plan.origin + ("/replay" if self.plan.clock is not None else "")

    @property
    def hub_config(self) -> Path:
        """The hub's configuration."""
        return self.folder / "hub" / "hub.toml"

    def custodian_config(self, custodian: str) -> Path:
        """A custodian's configuration."""
        return self.folder / "custodians" / custodian / "custodian.toml"

    def party_config(self, party: str) -> Path:
        """A party's configuration, for the SDK and the command line."""
        return self.folder / "parties" / party / "member.toml"

    @property
    def authority(self) -> pki.Authority:
        """The certificate authority that everybody trusts."""
        return pki.Authority.load(self.folder / "authority")

    @property
    def rosters(self) -> Path:
        """Folder of the roster's versions, 0001.note and so on."""
        return self.folder / "rosters"

    @property
    def genesis(self) -> Path:
        """The first roster version, everybody's trust anchor."""
        return self.rosters / "0001.note"

    @property
    def rulebook(self) -> Path:
        """The rulebook."""
        return self.folder / "rulebook.json"

    @property
    def manifest(self) -> Path:
        """The co-signed key manifest."""
        return self.folder / "manifest.note"

    @property
    def clock(self) -> Path:
        """The replay clock's file; there only if the plan had a clock."""
        return self.folder / "clock"

    @property
    def members(self) -> list[PartySpec]:
        """The parties that publish and look up."""
        return [party for party in self.plan.parties if party.kind in MEMBER_KINDS]

    def governance_signers(self, count: int | None = None) -> list[Signer]:
        """The first `count` governance keys; as many as the quorum if None."""
        return [
            _signer(f"governance-{number}", self.folder / "governance" / f"{number}.key")
            for number in range(1, (self.plan.quorum if count is None else count) + 1)
        ]


def provision(folder: Path, plan: Plan) -> Deployment:
    """Make the deployment in `folder`, which must be missing or empty.

    Listening ports are free ones of 127.0.0.1 and stand in the configurations. Raises ConfigError for a
    folder that is not empty and for an origin that can't name a log.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: not empty; a deployment is made in a folder of its own")
    if re.fullmatch(r"[^\s+\x00-\x1f]{1,240}", plan.origin) is None or plan.origin.endswith("/replay"):
        raise ConfigError(
            'the origin is 1 to 240 characters, no space or plus among them, and no ".../replay"'
        )
    folder = folder.absolute()
    hub_port, metrics_port, *custodian_ports = _free_ports(2 + len(plan.custodians))
    deployment = Deployment(
        folder, plan, hub_port, metrics_port, dict(zip(plan.custodians, custodian_ports, strict=True))
    )
    pki.Authority.create(folder / "authority")
    deployment.rulebook.write_text(plan.rulebook or default_text(), "utf-8")
    if plan.clock is not None:
        deployment.clock.write_text(f"{plan.clock}\n", "ascii")
    roster = _make_roster(deployment)
    deployment.rosters.mkdir()
    deployment.genesis.write_bytes(sign_roster(roster, deployment.governance_signers()))
    _hold_ceremony(deployment, roster)
    _configure_hub(deployment)
    for custodian in plan.custodians:
        _configure_custodian(deployment, custodian)
    for party in plan.parties:
        _configure_party(deployment, party)
    return deployment


def _make_roster(deployment: Deployment) -> Roster:
    """Make every key and the roster that names them."""
    plan, folder = deployment.plan, deployment.folder
    authority = deployment.authority
    groups = dict.fromkeys([*(party.group for party in plan.parties), *plan.custodians.values()])
    asking = {party.group for party in deployment.members}
    budgets = plan.budgets or {
        name: Budget(per_day=100_000, declared_customers=1_000_000) for name in plan.types
    }
    parties = []
    for spec in plan.parties:
        home = folder / "parties" / spec.id
        spiffe_id = f"{TRUST_DOMAIN}/party/{spec.id}"
        authority.issue(home, spiffe_id)
        keys: tuple[PartyKey, ...] = ()
        officers: tuple[OfficerKey, ...] = ()
        sealed_to: tuple[PartyKey, ...] = ()
        if spec.kind in MEMBER_KINDS:
            keys = (_party_key(SIGNING_KEY_ID, pki.write_signing_key(home / "signing.key").public_key()),)
        if spec.kind in DISCLOSING_KINDS:
            officers = tuple(
                OfficerKey(
                    officer=name,
                    **dict(_party_key(name, pki.write_signing_key(home / f"{name}.key").public_key())),
                )
                for name in OFFICERS
            )
            sealed_to = (_party_key(HPKE_KEY_ID, pki.write_hpke_key(home / "hpke.key").public_key()),)
        parties.append(
            Party(
                id=spec.id,
                kind=spec.kind,
                group=spec.group,
                spiffe_id=spiffe_id,
                signing_keys=keys,
                officer_keys=officers,
                hpke_keys=sealed_to,
            )
        )
    custodians = []
    for index, (name, group) in enumerate(plan.custodians.items(), 1):
        home = folder / "custodians" / name
        spiffe_id = f"{TRUST_DOMAIN}/custodian/{name}"
        authority.issue(home, spiffe_id, server=True)
        pki.write_signing_key(home / "manifest.key")
        vkey = _signer(name, home / "manifest.key").verifier.vkey
        custodians.append(Custodian(index=index, id=name, group=group, spiffe_id=spiffe_id, key=vkey))
    hub = folder / "hub"
    authority.issue(hub, f"{TRUST_DOMAIN}/hub", server=True)
    pki.write_signing_key(hub / "log.key")
    for number in range(1, plan.governance_keys + 1):
        pki.write_signing_key(folder / "governance" / f"{number}.key")
    return Roster(
        version=1,
        previous="",
        issued_at=plan.clock if plan.clock is not None else int(time.time()),
        origin=deployment.origin,
        log_key=_signer(deployment.origin, hub / "log.key").verifier.vkey,
        hub_spiffe_id=f"{TRUST_DOMAIN}/hub",
        rulebook_sha256=sha256(deployment.rulebook.read_bytes()).hexdigest(),
        governance=Governance(
            quorum=plan.quorum,
            keys=tuple(s.verifier.vkey for s in deployment.governance_signers(plan.governance_keys)),
        ),
        groups=tuple(Group(id=group, budgets=dict(budgets) if group in asking else {}) for group in groups),
        parties=tuple(parties),
        custodians=tuple(custodians),
        threshold=plan.threshold,
        reinstates=(),
    )


def _party_key(key_id: str, key: Ed25519PublicKey | X25519PublicKey) -> PartyKey:
    return PartyKey(id=key_id, public_key=key.public_bytes_raw(), not_before=ALWAYS[0], not_after=ALWAYS[1])


def _hold_ceremony(deployment: Deployment, roster: Roster) -> None:
    """Deal the token keys, hand every custodian its shares and have each verify and sign the manifest."""
    now = roster.issued_at
    epochs = deployment.plan.epochs or {1: (now - DAY, now + 365 * DAY)}
    specs = [
        ceremony.KeySpec(type=name, epoch=epoch, valid_from=start, valid_until=end)
        for name in deployment.plan.types
        for epoch, (start, end) in epochs.items()
    ]
    dealt = ceremony.deal(roster, specs, deployment.folder / "ceremony")
    for custodian, shares in dealt.shares.items():
        home = deployment.folder / "custodians" / custodian
        shares.rename(home / "shares.json")
        ceremony.cosign(
            roster, [home / "shares.json"], dealt.manifest, _signer(custodian, home / "manifest.key")
        )
    dealt.manifest.rename(deployment.manifest)
    dealt.manifest.parent.rmdir()


def _configure_hub(deployment: Deployment) -> None:
    plan = deployment.plan
    lines = [
        f'listen = "127.0.0.1:{deployment.hub_port}"',
        'data_dir = "data"',
        f"origin = {_quote(deployment.origin)}",
        'rulebook = "../rulebook.json"',
        'manifest = "../manifest.note"',
        *_TLS,
        *("[log]", 'key = "log.key"'),
        *("[roster]", 'genesis = "../rosters/0001.note"'),
        *("[metrics]", f'listen = "127.0.0.1:{deployment.metrics_port}"'),
    ]
    if plan.clock is not None:
        lines += ["[replay]", 'clock = "../clock"']
        if plan.record:
            lines += ['record = "../recorder/requests"']
            (deployment.folder / "recorder").mkdir()
    _write_config(deployment.hub_config, lines)


def _configure_custodian(deployment: Deployment, custodian: str) -> None:
    lines = [
        f"custodian = {_quote(custodian)}",
        f'listen = "127.0.0.1:{deployment.custodian_ports[custodian]}"',
        'data_dir = "data"',
        'roster = "../../rosters"',
        'manifest = "../../manifest.note"',
        'shares = ["shares.json"]',
        *_TLS,
    ]
    if deployment.plan.clock is not None:
        lines += ["[replay]", 'clock = "../../clock"']
    _write_config(deployment.custodian_config(custodian), lines)


def _configure_party(deployment: Deployment, party: PartySpec) -> None:
    home = deployment.party_config(party.id).parent
    lines = [
        f"member = {_quote(party.id)}",
        *("[hub]", f'target = "127.0.0.1:{deployment.hub_port}"'),
        *("[custodians]", *(f'{_quote(n)} = "127.0.0.1:{p}"' for n, p in deployment.custodian_ports.items())),
        *_TLS,
        *("[trust]", 'genesis = "../../rosters/0001.note"'),
    ]
    # Auditors and the operator too remember checkpoints between runs: a fork shows by what was seen before.
    _new_secret(home / "journal.key")
    lines += ["[journal]", 'path = "journal.db"', 'key = "journal.key"']
    if party.kind in MEMBER_KINDS:
        _new_secret(home / "tokens.key")
        lines += [
            *("[signing]", f'key_id = "{SIGNING_KEY_ID}"', 'key = "signing.key"'),
            *("[token_cache]", 'path = "tokens.cache"', 'key = "tokens.key"'),
        ]
    if party.kind in DISCLOSING_KINDS:
        lines += ["[officers]", *(f'{name} = "{name}.key"' for name in OFFICERS)]
        lines += ["[hpke]", f'{HPKE_KEY_ID} = "hpke.key"']
    if deployment.plan.clock is not None:
        lines += ["[replay]", 'clock = "../../clock"']
    _write_config(deployment.party_config(party.id), lines)


def _new_secret(path: Path) -> None:
    pki.write_private(path, secrets.token_hex(32).encode() + b"\n")


_TLS = ("[tls]", 'certificate = "tls.pem"', 'key = "tls.key"', 'ca = "ca.pem"')


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _write_config(path: Path, lines: Sequence[str]) -> None:
    path.write_text(
        "".join(f"\n{line}\n" if line.startswith("[") else f"{line}\n" for line in lines), "utf-8"
    )


def _signer(name: str, path: Path) -> Signer:
    return Signer.from_private_key(name, load_private_key(path))


def _free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free now, all held at once so that none comes twice."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
