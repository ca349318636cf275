"""Frozen form of what officers and members sign about cases."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.json_format import MessageToDict, ParseDict
from signalexchange.cases import (
    STEP_NAMES,
    case_id_of,
    open_corrections,
    open_erasure,
    open_step,
    record_digest,
    sign_corrections,
    sign_erasure,
    sign_step,
    step_name,
)
from signalexchange.errors import VerificationError
from signalexchange.v1.case_service_pb2 import CaseStatement

VECTORS = json.loads((Path(__file__).parent / "cases.json").read_text("utf-8"))
OFFICER, MEMBER = (
    Ed25519PrivateKey.from_private_bytes(bytes.fromhex(VECTORS[who]["seed"])) for who in ("officer", "member")
)
OFFICER_KEY, MEMBER_KEY = (bytes.fromhex(VECTORS[who]["public_key"]) for who in ("officer", "member"))


def test_case_ids_and_records() -> None:
    case, record = VECTORS["case"], VECTORS["record"]
    assert case_id_of(bytes.fromhex(case["match_id"]), bytes.fromhex(case["token"])).hex() == case["case_id"]
    found = record_digest(bytes.fromhex(record["salt"]), bytes.fromhex(record["record"]))
    assert found.hex() == record["digest"]


@pytest.mark.parametrize("case", VECTORS["steps"], ids=lambda case: case["name"])
def test_steps(case: dict[str, Any]) -> None:
    request = sign_step(ParseDict(case["fields"], CaseStatement()), OFFICER.sign)
    assert request.statement.hex() == case["statement"]
    assert request.signature.hex() == case["signature"]
    assert sha256(request.statement).hexdigest() == case["digest"]
    statement = open_step(request.statement, request.signature, OFFICER_KEY)
    assert MessageToDict(statement) == case["fields"]
    assert step_name(statement) == case["name"]
    with pytest.raises(VerificationError):
        open_step(request.statement, request.signature, MEMBER_KEY)


def test_every_step_has_a_vector_and_they_are_a_chain() -> None:
    assert {case["name"] for case in VECTORS["steps"]} == set(STEP_NAMES)
    before = b""
    for number, case in enumerate(VECTORS["steps"]):
        statement = CaseStatement.FromString(bytes.fromhex(case["statement"]))
        assert (statement.sequence, statement.previous) == (number, before)
        before = bytes.fromhex(case["digest"])


def test_erasures_and_corrections() -> None:
    case = VECTORS["erasure"]
    erasure = sign_erasure(
        origin=case["origin"],
        member=case["member"],
        key_id=case["key_id"],
        order_id=bytes.fromhex(case["order_id"]),
        case_id=bytes.fromhex(case["case_id"]),
        sign=OFFICER.sign,
    )
    assert (erasure.statement.hex(), erasure.signature.hex()) == (case["statement"], case["signature"])
    open_erasure(erasure.statement, erasure.signature, OFFICER_KEY)
    case = VECTORS["corrections"]
    corrections = sign_corrections(
        case["entries"],
        origin=case["origin"],
        member=case["member"],
        key_id=case["key_id"],
        sign=MEMBER.sign,
    )
    assert (corrections.statement.hex(), corrections.signature.hex()) == (
        case["statement"],
        case["signature"],
    )
    open_corrections(corrections.statement, corrections.signature, MEMBER_KEY)
