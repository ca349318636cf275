"""A log in memory with all that an evidence package is made of, and packages of it, the same on every run."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from signalexchange import merkle
from signalexchange.cases import sign_step
from signalexchange.disclosures import sign_request
from signalexchange.envelope import sign_withdrawal, signal_disclosure
from signalexchange.package import (
    CasePart,
    Change,
    LogEntry,
    MatchPart,
    RequestPart,
    RosterPart,
    SignalPart,
    read_package,
)
from signalexchange.package_build import compose
from signalexchange.roster import RosterChain
from signalexchange.rulebook import default_text
from signalexchange.signals import record_commitment
from signalexchange.tlog_proof import TlogProof
from signalexchange.v1.disclosure_service_pb2 import INSTRUMENT_COURT_ORDER, DisclosureRequestStatement
from signalexchange.v1.identifier_pb2 import SubjectToken
from signalexchange.v1.log_entry_pb2 import (
    CaseEntry,
    DisclosureRequestEntry,
    EntryType,
    MatchDeliveryEntry,
    SignalPosition,
    WithdrawalEntry,
)
from signalexchange.v1.match_service_pb2 import Match, MatchFactor, MatchSubject
from signalexchange.v1.signal_pb2 import Signal, WithdrawalReason

from tests.support.case_steps import CASE_ID, authenticate, opened, restrict, statement
from tests.support.logs import Log
from tests.support.rosters import ORIGIN, START, Rosters, document, key, party, private_key, signed

POLICE, MEMBER = "police", "bank-a"
RECORD, SALT = b'{"reference":"case-7"}', sha256(b"salt").digest()
RULES = default_text().encode()


def hpke_key(name: str) -> X25519PrivateKey:
    """A key that depends on its name alone."""
    return X25519PrivateKey.from_private_bytes(sha256(f"hpke key {name}".encode()).digest())


def roster_document() -> dict[str, Any]:
    """Version 1 with an authority, officers and keys to seal to."""
    data = document()
    data["groups"].append({"id": "police", "budgets": {}})
    data["parties"].append(party(POLICE, "law_enforcement", "police") | {"signing_keys": []})
    data["rulebook_sha256"] = sha256(RULES).hexdigest()
    for each in data["parties"]:
        if each["id"] in (POLICE, MEMBER, "bank-b"):
            each["officer_keys"] = [
                {**key(f"{each['id']} officer-{n}", f"officer-{n}"), "officer": name}
                for n, name in enumerate(("ann", "bob", "cyd"), 1)
            ]
            public = hpke_key(each["id"]).public_key().public_bytes_raw()
            each["hpke_keys"] = [
                key(each["id"], "hpke-1") | {"public_key": base64.b64encode(public).decode()}
            ]
    return data


def request_statement(member: str = MEMBER, **changes: Any) -> DisclosureRequestStatement:
    fields: dict[str, Any] = {
        "origin": ORIGIN,
        "requester": POLICE,
        "key_id": "officer-1",
        "request_id": sha256(b"request").digest()[:16],
        "inquiry_id": sha256(b"inquiry").digest()[:16],
        "member": member,
        "instrument": INSTRUMENT_COURT_ORDER,
        "reference": "（2026）京01刑初17号",
        "issued_at": START,
        "deadline": START + 10 * 86_400,
        "scope_digest": sha256(b"scope").digest(),
        "scope_key_id": "hpke-1",
        "package_key_id": "hpke-1",
    }
    return DisclosureRequestStatement(**(fields | changes))


def a_signal(number: int, **changes: Any) -> Signal:
    token = sha256(b"subject %d" % number).digest()
    fields: dict[str, Any] = {
        "signal_id": sha256(b"signal %d" % number).digest()[:16],
        "code": "cash-out-suspected",
        "subject": SubjectToken(type=3, epoch=1, value=token),  # type: ignore[arg-type]
        "amount_band": 80,
        "first_seen": START // 300 * 300,
        "last_seen": START // 300 * 300 + 600,
        "confidence": 80,
        "grade": 2,
        "tlp": 3,
        "legal_basis": 4,
        "expires_at": START // 300 * 300 + 900_000,
        "record_commitment": record_commitment(SALT, RECORD),
    }
    return Signal(**(fields | changes))


def a_match() -> Match:
    return Match(
        match_id=sha256(b"match").digest()[:16],
        pattern=1,  # type: ignore[arg-type]
        status=1,  # type: ignore[arg-type]
        groups=3,
        days=2,
        total_digits=5,
        confidence=912,
        factors=[MatchFactor(name="pattern", contribution=3), MatchFactor(name="groups", contribution=2)],  # type: ignore[arg-type]
        subjects=[MatchSubject(token=a_signal(1).subject, part=1, advice=2)],  # type: ignore[arg-type]
        signal_ids=[a_signal(1).signal_id],
        advice=2,  # type: ignore[arg-type]
        found_on=START // 86_400 * 86_400,
        rules_version="patterns-1",
    )


@dataclass
class PackageLog(Log):
    """The log; `parts` are a package's, of what `MEMBER` has on it."""

    rosters: Rosters = field(default_factory=lambda: Rosters(RosterChain.start(signed(roster_document()))))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.signals = [a_signal(1), a_signal(2)]
        encoded = [each.SerializeToString() for each in self.signals]
        self.batch_at, self.published = self.batch(encoded)
        self.foreign_at, self.foreign = self.batch([a_signal(9).SerializeToString()], "bank-b")
        request = sign_withdrawal(
            [self.signals[1].signal_id],
            origin=ORIGIN,
            member=MEMBER,
            key_id="k1",
            order_id=bytes(16),
            reason=WithdrawalReason.WITHDRAWAL_REASON_REFUTED,
            sign=private_key(MEMBER).sign,
        )
        self.withdrawn = request.statement
        order = WithdrawalEntry(
            statement_digest=sha256(request.statement).digest(),
            signature=request.signature,
            positions=[SignalPosition(index=self.batch_at, position=1)],
        )
        self.withdrawn_at = self.append(EntryType.ENTRY_TYPE_WITHDRAWAL, MEMBER, order)
        self.match_bytes = a_match().SerializeToString(deterministic=True)
        delivery = MatchDeliveryEntry(
            match_id=a_match().match_id,
            digest=sha256(self.match_bytes).digest(),
            subjects=a_signal(1).subject.value,
        )
        self.delivered_at = self.append(EntryType.ENTRY_TYPE_MATCH_DELIVERY, MEMBER, delivery)
        self.steps_at = []
        previous = b""
        for number, body in enumerate((opened(), authenticate(), restrict())):
            taken = statement(body, number, previous, member=MEMBER, key_id="officer-1")
            step = sign_step(taken, private_key(f"{MEMBER} officer-1").sign)
            entry = CaseEntry(statement=step.statement, signature=step.signature)
            self.steps_at.append(self.append(EntryType.ENTRY_TYPE_CASE, MEMBER, entry))
            previous = sha256(step.statement).digest()
        self.ask()
        self.roster(self.rosters.extend(self.rosters.next_document()))

    def ask(self, **changes: Any) -> None:
        self.request = sign_request(request_statement(**changes), private_key(f"{POLICE} officer-1").sign)
        entry = DisclosureRequestEntry(statement=self.request.statement, signature=self.request.signature)
        self.append(EntryType.ENTRY_TYPE_DISCLOSURE_REQUEST, POLICE, entry)
        self.asked_at = self.append(EntryType.ENTRY_TYPE_DISCLOSURE_REQUEST, MEMBER, entry)

    def entry(self, index: int, size: int | None = None) -> LogEntry:
        """An entry with its proof under the checkpoint of a size."""
        size = self.size if size is None else size
        hashes = [merkle.leaf_hash(leaf) for leaf in self.leaves[:size]]
        path = tuple(merkle.range_hash(hashes, lo, hi) for lo, hi in merkle.inclusion_ranges(index, size))
        opening = self.openings[index]
        assert opening.payload is not None
        assert opening.payload_opening is not None
        return LogEntry(
            header=opening.header,
            header_opening=opening.header_opening,
            payload=opening.payload,
            payload_opening=opening.payload_opening,
            proof=TlogProof(index, path, self.checkpoint(size)).encode().decode(),
        )

    def signal_part(self, position: int, **changes: Any) -> SignalPart:
        changed = (Change(entry=self.entry(self.withdrawn_at), statement=self.withdrawn),) if position else ()
        fields: dict[str, Any] = {
            "disclosure": signal_disclosure(
                self.published.statement,
                self.published.signature,
                list(self.published.signals),
                position,
                self.batch_at,
            ),
            "entry": self.entry(self.batch_at),
            "changes": changed,
            "reference": "case-7",
            "record": RECORD,
            "salt": SALT,
        }
        return SignalPart(**(fields | changes))

    def parts(self) -> dict[str, bytes]:
        rosters = [0, self.size - 1]
        documents = {
            "request.json": RequestPart(entry=self.entry(self.asked_at)),
            **{
                f"rosters/{n:04}.json": RosterPart(entry=self.entry(index))
                for n, index in enumerate(rosters, 1)
            },
            "signals/0001.json": self.signal_part(0),
            "signals/0002.json": self.signal_part(1),
            "matches/0001.json": MatchPart(match=self.match_bytes, delivery=self.entry(self.delivered_at)),
            "cases/0001.json": CasePart(
                case_id=CASE_ID, steps=tuple(self.entry(index) for index in self.steps_at)
            ),
        }
        parts = {name: part.text().encode() for name, part in documents.items()}
        return parts | {"rulebook.json": RULES, "attachments/说明.txt": "情况说明".encode()}

    def package(self, change: Callable[[dict[str, bytes]], None] = lambda parts: None) -> bytes:
        """A package whose parts a test changed before it was put together."""
        parts = self.parts()
        change(parts)
        return compose(parts, self.request.statement, START + 1_000, sha256(b"package").digest())

    @property
    def genesis(self) -> bytes:
        return self.rosters.chain.versions[0][0]


def parts_of(package: bytes) -> dict[str, bytes]:
    return read_package(package)[1]
