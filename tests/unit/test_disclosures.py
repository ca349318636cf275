"""Statements about disclosures, what is sealed, and the file that two officers sign: strict, and bound."""

from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from signalexchange import hpke
from signalexchange.disclosures import (
    NotIndependentError,
    decision_bytes,
    open_decision,
    open_package,
    open_scope,
    open_statement,
    parse_statement,
    seal_package,
    seal_scope,
    sign_decision,
    sign_request,
    sign_statement,
)
from signalexchange.errors import ConfigError, ExchangeError, MalformedError, VerificationError
from signalexchange.package import kind_of
from signalexchange.release import DecisionFile, refuse_request, release
from signalexchange.roster import OfficerKey, Roster
from signalexchange.v1 import disclosure_service_pb2 as pb

from tests.support.packages import MEMBER, POLICE, hpke_key, request_statement, roster_document
from tests.support.rosters import ORIGIN, START, private_key

ROSTER = Roster.model_validate(roster_document())
NOW = START + 100
OFFICER = private_key(f"{POLICE} officer-1")
PUBLIC = OFFICER.public_key().public_bytes_raw()
REQUEST = sign_request(request_statement(), OFFICER.sign).statement


def decision(**changes: Any) -> pb.DisclosureDecisionStatement:
    fields: dict[str, Any] = {
        "origin": ORIGIN,
        "member": MEMBER,
        "request_id": request_statement().request_id,
        "request_digest": sha256(REQUEST).digest(),
        "decision": pb.DISCLOSURE_DECISION_RELEASED_WHOLE,
        "package_digest": bytes(32),
        "contents_digest": bytes(32),
        "package_key_id": "hpke-1",
    }
    return pb.DisclosureDecisionStatement(**(fields | changes))


RECEIPT = pb.DisclosureReceiptStatement(
    origin=ORIGIN, requester=POLICE, key_id="officer-1", request_id=bytes(16), decision_digest=bytes(32),
    package_digest=bytes(32),
)  # fmt: skip
WITHDRAWAL = pb.DisclosureWithdrawalStatement(
    origin=ORIGIN, requester=POLICE, key_id="officer-1", request_id=bytes(16)
)
STATEMENTS: list[Any] = [request_statement(), decision(), RECEIPT, WITHDRAWAL]


def officer_key(key_id: str) -> OfficerKey | None:
    return ROSTER.officer_key(MEMBER, key_id, NOW)


def signed(
    statement: pb.DisclosureDecisionStatement, *officers: str, member: str = MEMBER
) -> pb.SignedDecision:
    encoded = decision_bytes(statement)
    signatures = [sign_decision(encoded, name, private_key(f"{member} {name}").sign) for name in officers]
    return pb.SignedDecision(statement=encoded, signatures=signatures)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_what_is_signed_is_read_back_and_passes_for_nothing_else(statement: Any) -> None:
    encoded, signature = sign_statement(statement, OFFICER.sign)
    assert open_statement(type(statement), encoded, signature, PUBLIC) == statement
    for kind in {type(each) for each in STATEMENTS} - {type(statement)}:
        with pytest.raises(ExchangeError):
            open_statement(kind, encoded, signature, PUBLIC)
    with pytest.raises(MalformedError):
        parse_statement(type(statement), encoded + b"\xf8\x07\x01")
    with pytest.raises(MalformedError):
        parse_statement(type(statement), encoded + statement.__class__(origin="x").SerializeToString())


@given(st.binary(max_size=300))
def test_any_bytes_are_a_statement_or_malformed(data: bytes) -> None:
    for statement in STATEMENTS:
        try:
            parse_statement(type(statement), data)
        except MalformedError:
            continue


@pytest.mark.parametrize(
    "changes",
    [
        {"request_id": b""}, {"inquiry_id": bytes(15)}, {"instrument": 0}, {"instrument": 77},
        {"reference": ""}, {"reference": "  "}, {"reference": "a\nb"}, {"reference": "x" * 201},
        {"issued_at": -1}, {"deadline": 0}, {"scope_digest": b""}, {"scope_key_id": ""},
        {"package_key_id": ""}, {"member": ""}, {"origin": ""},
    ],
)  # fmt: skip
def test_a_request_lacks_nothing(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError, match=next(iter(changes))):
        sign_request(request_statement(**changes), OFFICER.sign)


@pytest.mark.parametrize(
    "changes",
    [
        {"decision": 0}, {"decision": 9}, {"reason": pb.DISCLOSURE_REASON_NOT_HELD},
        {"decision": pb.DISCLOSURE_DECISION_RELEASED_PART}, {"package_digest": b""}, {"contents_digest": b""},
        {"package_key_id": ""}, {"request_digest": b""},
        {"decision": pb.DISCLOSURE_DECISION_REFUSED, "reason": pb.DISCLOSURE_REASON_NOT_HELD},
    ],
)  # fmt: skip
def test_a_decision_gives_a_reason_where_something_is_held_back_and_digests_where_something_is_released(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(MalformedError):
        decision_bytes(decision(**changes))


def test_two_different_officers_of_the_member_decide() -> None:
    open_decision(signed(decision(), "officer-1", "officer-3"), officer_key)
    with pytest.raises(NotIndependentError):
        open_decision(signed(decision(), "officer-1", "officer-1"), officer_key)
    for wrong in (
        signed(decision(), "officer-1"),
        signed(decision(), "officer-1", "officer-2", "officer-3"),
        signed(decision(), "officer-1", "officer-9"),
        signed(decision(), "officer-1", "officer-2", member="bank-b"),
    ):
        with pytest.raises((MalformedError, VerificationError)):
            open_decision(wrong, officer_key)


@given(st.binary(max_size=5_000), st.binary(max_size=20))
def test_what_is_sealed_opens_for_its_key_and_context_alone(content: bytes, context: bytes) -> None:
    key = hpke_key("a")
    sealed = hpke.seal(key.public_key().public_bytes_raw(), content, context)
    assert hpke.open_sealed(key, sealed, context) == content
    assert (len(sealed) - hpke.OVERHEAD).bit_count() == 1
    with pytest.raises(VerificationError):
        hpke.open_sealed(key, sealed, context + b"x")
    with pytest.raises(VerificationError):
        hpke.open_sealed(hpke_key("b"), sealed, context)


def test_sealed_forms_of_other_sizes_and_keys_that_are_none_are_malformed() -> None:
    key = hpke_key("a")
    public = key.public_key().public_bytes_raw()
    for data in (b"", bytes(47), bytes(1024 + 47), bytes(3 * 1024 + 48), bytes((8 << 20) + 48)):
        with pytest.raises(MalformedError):
            hpke.open_sealed(key, data, b"")
    for bad in (b"", bytes(31), bytes(32)):
        with pytest.raises(MalformedError):
            hpke.seal(bad, b"x", b"")
    with pytest.raises(MalformedError):
        hpke.seal(public, bytes(hpke.MAX_CONTENT + 1), b"")
    assert len(hpke.seal(public, bytes(hpke.MAX_CONTENT), b"")) == hpke.MAX_SEALED


def test_scope_and_package_open_for_their_own_request_alone() -> None:
    member, police = hpke_key(MEMBER), hpke_key(POLICE)
    statement = request_statement()
    sealed = seal_scope(b"a card", member.public_key().public_bytes_raw(), statement)
    statement.scope_digest = sha256(sealed).digest()
    assert open_scope(sealed, member, statement) == b"a card"
    for changes in ({"request_id": bytes(16)}, {"member": "bank-b"}, {"requester": "police-2"}):
        other = request_statement(**changes, scope_digest=statement.scope_digest)
        with pytest.raises(VerificationError):
            open_scope(sealed, member, other)
    package = seal_package(b"contents", police.public_key().public_bytes_raw(), REQUEST)
    digests = {"package_digest": sha256(package).digest(), "contents_digest": sha256(b"contents").digest()}
    assert open_package(package, police, REQUEST, decision(**digests)) == b"contents"
    second = sign_request(request_statement(request_id=bytes(16)), OFFICER.sign).statement
    swapped = decision(**digests, request_digest=sha256(second).digest(), request_id=bytes(16))
    with pytest.raises(VerificationError, match="another purpose"):
        open_package(package, police, second, swapped)
    with pytest.raises(VerificationError, match="another request"):
        open_package(package, police, second, decision(**digests))
    with pytest.raises(VerificationError, match="something else"):
        open_package(package, police, REQUEST, decision(**digests | {"contents_digest": bytes(32)}))
    with pytest.raises(VerificationError):
        open_package(package, X25519PrivateKey.generate(), REQUEST, decision(**digests))


def a_file() -> DecisionFile:
    whole, none = pb.DISCLOSURE_DECISION_RELEASED_WHOLE, pb.DISCLOSURE_REASON_UNSPECIFIED
    return release(ROSTER, REQUEST, b"contents", whole, none, NOW)


def sign(file: DecisionFile, key_id: str) -> DecisionFile:
    return file.sign(ROSTER, key_id, private_key(f"{MEMBER} {key_id}").sign, NOW)


def test_a_decision_travels_from_officer_to_officer() -> None:
    file = DecisionFile.parse(sign(a_file(), "officer-1").text())
    with pytest.raises(NotIndependentError):
        sign(file, "officer-1")
    with pytest.raises(MalformedError):
        file.request_to_hub(ROSTER, NOW)
    with pytest.raises(ConfigError):
        sign(file, "officer-9")
    done = sign(file, "officer-2")
    sent = done.request_to_hub(ROSTER, NOW)
    assert open_package(sent.package, hpke_key(POLICE), REQUEST, done.decision) == b"contents"
    with pytest.raises(ConfigError):
        sign(done, "officer-3")
    refusal = sign(sign(refuse_request(REQUEST, pb.DISCLOSURE_REASON_NOT_HELD), "officer-2"), "officer-1")
    assert not refusal.request_to_hub(ROSTER, NOW).package


def test_the_second_officer_signs_what_the_file_shows() -> None:
    file = sign(a_file(), "officer-1")
    other = sign_request(request_statement(request_id=bytes(16)), OFFICER.sign).statement
    refusal = refuse_request(REQUEST, pb.DISCLOSURE_REASON_NOT_HELD).statement
    for changed in (
        file.model_copy(update={"contents": b"other contents"}),
        file.model_copy(update={"package": file.package[:-1] + b"x"}),
        file.model_copy(update={"request": other}),
        a_file().model_copy(update={"statement": refusal}),
    ):
        with pytest.raises(VerificationError):
            sign(changed, "officer-2")


def test_no_part_of_a_package_is_a_report_of_suspicion() -> None:
    with pytest.raises(MalformedError):
        kind_of("suspicion.json")
