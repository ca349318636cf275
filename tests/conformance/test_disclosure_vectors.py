"""Frozen form of what officers sign about disclosures, of what is sealed, and of a package's archive."""

import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from signalexchange import hpke
from signalexchange.disclosures import (
    decision_bytes,
    open_package,
    open_scope,
    parse_statement,
    sign_decision,
    sign_statement,
)
from signalexchange.package import Manifest, read_package, write_package
from signalexchange.package_verify import verify_package
from signalexchange.v1 import disclosure_service_pb2 as pb

VECTORS = json.loads((Path(__file__).parent / "disclosures.json").read_text("utf-8"))
KINDS: dict[str, Any] = {
    "request": pb.DisclosureRequestStatement,
    "receipt": pb.DisclosureReceiptStatement,
    "withdrawal": pb.DisclosureWithdrawalStatement,
    "decision": pb.DisclosureDecisionStatement,
}
BYTES = {"request_id", "inquiry_id", "scope_digest", "request_digest", "package_digest", "contents_digest"}


def raw(*path: str) -> bytes:
    found = VECTORS
    for name in path:
        found = found[name]
    return bytes.fromhex(found)


def statement(name: str) -> Any:
    fields = VECTORS[name]["fields"]
    return KINDS[name](
        **{
            key: bytes.fromhex(value) if key in BYTES | {"decision_digest"} else value
            for key, value in fields.items()
        }
    )


def officer(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(raw("officers", name, "seed"))


@pytest.mark.parametrize("name", ["request", "receipt", "withdrawal"])
def test_statements(name: str) -> None:
    encoded, signature = sign_statement(statement(name), officer("officer-1").sign)
    assert (encoded, signature) == (raw(name, "statement"), raw(name, "signature"))


def test_decisions() -> None:
    encoded = decision_bytes(statement("decision"))
    assert encoded == raw("decision", "statement")
    for name, signature in VECTORS["decision"]["signatures"].items():
        assert sign_decision(encoded, name, officer(name).sign).signature.hex() == signature


def test_what_is_sealed() -> None:
    request = parse_statement(pb.DisclosureRequestStatement, raw("request", "statement"))
    keys = {
        name: X25519PrivateKey.from_private_bytes(raw("hpke_keys", name, "private_key"))
        for name in VECTORS["hpke_keys"]
    }
    sealed = raw("scope", "sealed")
    assert open_scope(sealed, keys["member"], request) == raw("scope", "scope")
    assert hpke.open_sealed(keys["member"], sealed, raw("scope", "info")) == raw("scope", "scope")
    package = raw("package", "sealed")
    opened = open_package(package, keys["requester"], raw("request", "statement"), statement("decision"))
    assert opened == raw("package", "contents")
    assert hpke.open_sealed(keys["requester"], package, raw("package", "info")) == opened
    assert sha256(opened).digest() == statement("decision").contents_digest


def test_archives() -> None:
    manifest = Manifest.parse(VECTORS["archive"]["manifest"])
    parts = {name: bytes.fromhex(data) for name, data in VECTORS["archive"]["parts"].items()}
    assert write_package(manifest, parts) == raw("archive", "archive")
    assert read_package(raw("archive", "archive")) == (manifest, parts)


def test_a_package_made_before_verifies_still() -> None:
    """Its page is drawn anew and compared: one drawn otherwise needs another REPORT_VERSION, and the code of
    the former one."""
    kept = json.loads((Path(__file__).parent / "evidence_package.json").read_text("utf-8"))
    package, genesis, request = (b64decode(kept[name]) for name in ("package", "genesis", "request"))
    report = verify_package(package, genesis, request)
    assert report.ok, report.problems
    assert not report.not_checked
    assert report.checked["report"] == 1
