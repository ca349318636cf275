"""Frozen forms of the log, notes, leaves, envelopes, rosters and evidence.

A change of an expected value is a change of the format: what was signed or logged before would no longer
verify. The Merkle leaves and their roots of 1 and 8 are those of Certificate Transparency's tests.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.json_format import MessageToDict
from signalexchange import envelope, merkle, tiles
from signalexchange.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from signalexchange.cosignature import CosignatureVerifier, Cosigner, cosignatures
from signalexchange.entries import check_header, check_payload, make_leaf
from signalexchange.entry_payloads import parse_payload
from signalexchange.evidence import EvidenceFolder, HeldReceipt, Opening
from signalexchange.note import Signer, Verifier, add_signatures, open_note, sign_note
from signalexchange.roster import RosterChain
from signalexchange.tlog_proof import TlogProof, verify_proof
from signalexchange.v1.signal_pb2 import Signal
from signalexchange.v1.signal_service_pb2 import PublishSignalsRequest


def vectors(name: str) -> Any:
    return json.loads((Path(__file__).parent / f"{name}.json").read_text())


MERKLE, NOTES, ENTRIES = vectors("merkle"), vectors("notes"), vectors("entries")
ENVELOPES, ROSTERS, EVIDENCE = vectors("envelopes"), vectors("rosters"), vectors("evidence")
HASHES = [bytes.fromhex(value) for value in MERKLE["leaf_hashes"]]
ROOTS = [bytes.fromhex(value) for value in MERKLE["roots"]]


def unhexed(values: list[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in values]


def private(seed: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))


def signers() -> dict[str, Signer]:
    return {key["name"]: Signer.from_private_key(key["name"], private(key["seed"])) for key in NOTES["keys"]}


def test_roots() -> None:
    assert [merkle.leaf_hash(leaf) for leaf in unhexed(MERKLE["leaves"])] == HASHES
    assert [merkle.root(HASHES[:size]) for size in range(9)] == ROOTS
    assert MERKLE["roots"][1] == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert MERKLE["roots"][8] == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_inclusion_proofs() -> None:
    assert len(MERKLE["inclusion"]) == 36
    for case in MERKLE["inclusion"]:
        index, size, proof = case["index"], case["size"], unhexed(case["proof"])
        assert [merkle.range_hash(HASHES, *span) for span in merkle.inclusion_ranges(index, size)] == proof
        merkle.verify_inclusion(index, size, HASHES[index], proof, ROOTS[size])


def test_consistency_proofs() -> None:
    assert len(MERKLE["consistency"]) == 36
    for case in MERKLE["consistency"]:
        old, new, proof = case["old"], case["new"], unhexed(case["proof"])
        assert [merkle.range_hash(HASHES, *span) for span in merkle.consistency_ranges(old, new)] == proof
        merkle.verify_consistency(old, new, proof, ROOTS[old], ROOTS[new])


def test_verifier_keys() -> None:
    for key in NOTES["keys"]:
        assert signers()[key["name"]].verifier.vkey == key["vkey"]
        assert Verifier.parse(key["vkey"]).vkey == key["vkey"]
    assert CosignatureVerifier.parse(NOTES["witness"]["vkey"]).name == NOTES["witness"]["name"]


def test_notes() -> None:
    case = NOTES["note"]
    known = signers()
    assert sign_note(case["text"], [known[name] for name in case["signers"]]).decode() == case["note"]
    opened = open_note(case["note"].encode(), [key.verifier for key in known.values()])
    assert opened == (case["text"], tuple(case["signers"]))


def test_checkpoints_and_cosignatures() -> None:
    case, witness = NOTES["checkpoint"], NOTES["witness"]
    log = signers()[case["origin"]]
    checkpoint = Checkpoint(case["origin"], case["size"], bytes.fromhex(case["root"]))
    assert sign_checkpoint(checkpoint, log).decode() == case["note"]
    assert open_checkpoint(case["cosigned"].encode(), log.verifier, case["origin"]) == checkpoint
    verifier = CosignatureVerifier.parse(witness["vkey"])
    cosigner = Cosigner(
        witness["name"], verifier.public_key, private(witness["seed"]).sign, time=witness["time"]
    )
    assert add_signatures(case["note"].encode(), [cosigner]).decode() == case["cosigned"]
    assert cosignatures(case["cosigned"].encode(), [verifier]) == [(witness["name"], witness["time"])]
    empty = open_checkpoint(NOTES["empty_checkpoint"].encode(), log.verifier, case["origin"])
    assert (empty.size, empty.root) == (0, merkle.EMPTY_ROOT)


def test_proofs() -> None:
    case, checkpoint = NOTES["proof"], NOTES["checkpoint"]
    log = signers()[checkpoint["origin"]].verifier
    parsed = TlogProof.parse(case["text"].encode())
    assert (parsed.index, parsed.extra.hex()) == (case["index"], case["extra"])
    assert parsed.encode().decode() == case["text"]
    leaf = bytes.fromhex(case["leaf"])
    assert verify_proof(case["text"].encode(), leaf, log, checkpoint["origin"]).size == 8


@pytest.mark.parametrize("case", ENTRIES["payloads"], ids=lambda case: str(case["type"]))
def test_payloads(case: dict[str, Any]) -> None:
    payload = bytes.fromhex(case["payload"])
    parsed = parse_payload(case["type"], payload)
    assert MessageToDict(parsed, preserving_proto_field_name=True) == case["fields"]
    assert parsed.SerializeToString(deterministic=True) == payload


@pytest.mark.parametrize("case", ENTRIES["leaves"], ids=lambda case: case["leaf"][:10])
def test_leaves(case: dict[str, str]) -> None:
    header, header_opening, payload, payload_opening, leaf = (
        bytes.fromhex(case[name])
        for name in ("header", "header_opening", "payload", "payload_opening", "leaf")
    )
    assert make_leaf(header, header_opening, payload, payload_opening) == leaf
    check_header(leaf, header, header_opening)
    check_payload(leaf, payload, payload_opening)


def test_bundles_and_paths() -> None:
    for case in ENTRIES["bundles"]:
        assert tiles.encode_entries(unhexed(case["entries"])).hex() == case["bundle"]
        assert tiles.decode_entries(bytes.fromhex(case["bundle"])) == unhexed(case["entries"])
    for case in ENTRIES["paths"]:
        assert tiles.tile_path(case["level"], case["n"], case["width"]) == case["path"]
    for case in ENTRIES["entry_paths"]:
        assert tiles.entries_path(case["n"], case["width"]) == case["path"]


def published() -> PublishSignalsRequest:
    case = ENVELOPES["batch"]
    return envelope.sign_batch(
        unhexed(case["signals"]),
        origin=case["origin"],
        member=case["member"],
        key_id=case["key_id"],
        batch_id=bytes.fromhex(case["batch_id"]),
        epoch=case["epoch"],
        sign=private(ENVELOPES["seed"]).sign,
        nonces=unhexed(case["nonces"]),
    )


def test_batches() -> None:
    case, request = ENVELOPES["batch"], published()
    assert request.statement.hex() == case["statement"]
    assert request.signature.hex() == case["signature"]
    assert envelope.batch_root(request.signals).hex() == case["root"]
    statement = envelope.open_batch(
        request.statement, request.signature, bytes.fromhex(ENVELOPES["public_key"])
    )
    envelope.check_batch(statement, request.signals)
    for signal in unhexed(case["signals"]):
        assert Signal.FromString(signal).SerializeToString(deterministic=True) == signal


def test_withdrawals() -> None:
    case = ENVELOPES["withdrawal"]
    request = envelope.sign_withdrawal(
        unhexed(case["signal_ids"]),
        origin=case["origin"],
        member=case["member"],
        key_id=case["key_id"],
        order_id=bytes.fromhex(case["order_id"]),
        reason=case["reason"],
        sign=private(ENVELOPES["seed"]).sign,
    )
    assert request.statement.hex() == case["statement"]
    assert request.signature.hex() == case["signature"]
    envelope.open_withdrawal(request.statement, request.signature, bytes.fromhex(ENVELOPES["public_key"]))


def test_disclosures() -> None:
    case, request = ENVELOPES["disclosure"], published()
    made = envelope.signal_disclosure(
        request.statement, request.signature, request.signals, case["position"], case["index"]
    )
    assert made.text() == case["text"]
    read = envelope.SignalDisclosure.parse(case["text"])
    envelope.verify_disclosure(read, bytes.fromhex(ENVELOPES["public_key"]))


def test_rosters() -> None:
    first, *later = (note.encode() for note in ROSTERS["notes"])
    chain = RosterChain.start(first)
    for note in later:
        chain = chain.extend(note)
    hashes = [roster.previous for _, roster in chain.versions[1:]]
    assert hashes == ROSTERS["sha256"][:-1]
    wanted = ROSTERS["signing_key"]
    key = chain.current.signing_key(wanted["party"], wanted["key"], wanted["now"])
    assert key == bytes.fromhex(wanted["public_key"])


def test_openings_and_receipts(tmp_path: Path) -> None:
    opened = Opening.parse(EVIDENCE["opened_line"].encode())
    assert opened == Opening(
        index=3,
        header=bytes.fromhex(EVIDENCE["header"]),
        header_opening=bytes.fromhex(EVIDENCE["header_opening"]),
        payload=bytes.fromhex(EVIDENCE["payload"]),
        payload_opening=bytes.fromhex(EVIDENCE["payload_opening"]),
    )
    header_only = Opening.parse(EVIDENCE["header_line"].encode())
    assert header_only.payload is None
    EvidenceFolder(tmp_path).add_openings([opened, header_only])
    lines = f"{EVIDENCE['opened_line']}\n{EVIDENCE['header_line']}\n"
    assert (tmp_path / "openings.jsonl").read_text() == lines
    receipt = EVIDENCE["receipt"]
    read = HeldReceipt.parse(receipt["text"])
    assert (read.index, read.checkpoint.decode()) == (receipt["index"], receipt["checkpoint"])
    assert read.statement.hex() == receipt["statement"]
