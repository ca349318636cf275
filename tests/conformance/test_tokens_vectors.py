"""Frozen forms of tokens, sealed details, key sharing and the token cache.

A change of an expected value is a change of the format: tokens computed before would no longer be found.
"""

import hashlib
import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from signalexchange import ristretto, threshold, voprf
from signalexchange.identifiers import normalise
from signalexchange.manifest import open_manifest
from signalexchange.roster import identifier_type
from signalexchange.sealing import open_sealed, seal
from signalexchange.token_cache import TokenCache
from signalexchange.tokens import derive, frame

from exchange.custodian.shares import ShareFile, matching
from tests.support.rosters import Rosters

FOLDER = Path(__file__).parent
RFC = json.loads((FOLDER / "rfc9497.json").read_text())
TOKENS = json.loads((FOLDER / "tokens.json").read_text())
SHARING = json.loads((FOLDER / "key_sharing.json").read_text())
CACHE = json.loads((FOLDER / "token_cache.json").read_text())
SUPPLIED = FOLDER.parents[1] / ".." / "shared" / "data" / "rfc9497-ristretto255-voprf.json"

KEY, PUBLIC_KEY = bytes.fromhex(RFC["secret_key"]), bytes.fromhex(RFC["public_key"])


def column(case: dict[str, Any], name: str) -> list[bytes]:
    return [bytes.fromhex(item[name]) for item in case["items"]]


def blinded_elements(case: dict[str, Any]) -> list[bytes]:
    pairs = zip(column(case, "input"), column(case, "blind"), strict=True)
    return [voprf.blind(message, blind)[1] for message, blind in pairs]


@pytest.mark.parametrize("case", RFC["cases"])
def test_the_rfcs_vectors(case: dict[str, Any]) -> None:
    assert ristretto.multiply_base(KEY) == PUBLIC_KEY
    blinded = blinded_elements(case)
    assert blinded == column(case, "blinded")
    evaluated, proof = voprf.blind_evaluate(KEY, PUBLIC_KEY, blinded, bytes.fromhex(case["r"]))
    assert evaluated == column(case, "evaluated")
    assert proof.hex() == case["proof"]
    voprf.verify_proof(PUBLIC_KEY, blinded, evaluated, proof)
    assert outputs(case, evaluated) == column(case, "output")


def outputs(case: dict[str, Any], evaluated: Sequence[bytes]) -> list[bytes]:
    inverses = map(ristretto.scalar_invert, column(case, "blind"))
    points = [ristretto.multiply(inverse, point) for inverse, point in zip(inverses, evaluated, strict=True)]
    return [voprf.finalize(m, point) for m, point in zip(column(case, "input"), points, strict=True)]


@pytest.mark.parametrize("case", RFC["cases"])
@pytest.mark.parametrize(("t", "n"), [(2, 3), (3, 4)])
def test_the_rfcs_outputs_from_every_subset_of_custodians(case: dict[str, Any], t: int, n: int) -> None:
    indices = range(1, n + 1)
    dealing = threshold.deal(t, indices, KEY)
    assert dealing.public_key == PUBLIC_KEY
    blinded = blinded_elements(case)
    partials = {}
    for index in indices:
        evaluated, proof = voprf.blind_evaluate(dealing.shares[index], dealing.public_shares[index], blinded)
        voprf.verify_proof(dealing.public_shares[index], blinded, evaluated, proof)
        partials[index] = threshold.Partial(index, 1, evaluated)
    factors = [ristretto.scalar_invert(blind) for blind in column(case, "blind")]
    for subset in permutations(indices, t):
        points = threshold.combine([partials[index] for index in subset], t, factors)
        messages = column(case, "input")
        assert [voprf.finalize(m, p) for m, p in zip(messages, points, strict=True)] == column(case, "output")


@pytest.mark.skipif(not SUPPLIED.exists(), reason="the supplied vectors are not beside the project")
def test_the_vectors_are_the_supplied_ones() -> None:
    (suite,) = (each for each in json.loads(SUPPLIED.read_text()) if each["mode"] == 1)
    assert (suite["skSm"], suite["pkSm"]) == (RFC["secret_key"], RFC["public_key"])
    for given, ours in zip(suite["vectors"], RFC["cases"], strict=True):
        assert given["Output"].split(",") == [item["output"] for item in ours["items"]]
        assert given["Proof"] == {"proof": ours["proof"], "r": ours["r"]}


@pytest.mark.parametrize("case", TOKENS["tokens"], ids=lambda case: case["type"])
def test_tokens(case: dict[str, str]) -> None:
    type_ = identifier_type(case["type"])
    value = normalise(type_, case["raw"])
    assert value == case["normalised"]
    message = frame(type_, value)
    assert message.hex() == case["frame"]
    blind, element = voprf.blind(message)
    (evaluated,), _ = voprf.blind_evaluate(KEY, PUBLIC_KEY, [element])
    output = voprf.finalize(message, ristretto.multiply(ristretto.scalar_invert(blind), evaluated))
    assert output.hex() == case["output"]
    token = derive(output, type_, TOKENS["epoch"])
    assert (token.value.hex(), token.sealing_key.hex()) == (case["token"], case["sealing_key"])


@pytest.mark.parametrize("case", TOKENS["sealed"], ids=lambda case: str(len(case["detail"])))
def test_sealed_details(case: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    token = derive(bytes.fromhex(TOKENS["tokens"][0]["output"]), 1, TOKENS["epoch"])
    signal_id = bytes.fromhex(TOKENS["signal_id"])
    monkeypatch.setattr(
        "signalexchange.sealing.secrets.token_bytes", lambda _size: bytes.fromhex(case["nonce"])
    )
    sealed = seal(token, signal_id, case["detail"].encode())
    assert hashlib.sha256(sealed).hexdigest() == case.get("sealed_sha256", hashlib.sha256(sealed).hexdigest())
    assert sealed.hex() == case.get("sealed", sealed.hex())
    assert open_sealed(token, signal_id, sealed).decode() == case["detail"]


def test_key_sharing() -> None:
    dealing = threshold.deal(2, [1, 2, 3], bytes.fromhex(SHARING["coefficients"][0]))
    commitments = [ristretto.multiply_base(bytes.fromhex(each)) for each in SHARING["coefficients"]]
    assert commitments[0] == dealing.public_key == PUBLIC_KEY
    blinded = [bytes.fromhex(SHARING["blinded"])]
    for index, share in SHARING["shares"].items():
        threshold.verify_share(int(index), bytes.fromhex(share), commitments)
        public_share = threshold.public_share(commitments, int(index))
        partial = SHARING["partial_evaluations"][index]
        evaluated, proof = voprf.blind_evaluate(
            bytes.fromhex(share), public_share, blinded, bytes.fromhex(SHARING["r"])
        )
        assert (evaluated[0].hex(), proof.hex()) == (partial["evaluated"], partial["proof"])
    pair = [
        threshold.Partial(int(index), 1, [bytes.fromhex(SHARING["partial_evaluations"][index]["evaluated"])])
        for index in ("1", "3")
    ]
    assert threshold.combine(pair, 2) == [bytes.fromhex(RFC["cases"][0]["items"][0]["evaluated"])]


def test_manifest_and_share_file() -> None:
    manifest = open_manifest(SHARING["manifest"].encode(), Rosters().current)
    key = manifest.key(1, 7)
    assert key is not None
    assert key.public_key == PUBLIC_KEY
    file = ShareFile.parse(SHARING["share_file"])
    assert file.text() == SHARING["share_file"]
    assert matching([file], manifest) == {(1, 7): bytes.fromhex(SHARING["shares"]["1"])}


def test_token_cache(tmp_path: Path) -> None:
    path, key = tmp_path / "cache", tmp_path / "key"
    path.write_bytes(bytes.fromhex(CACHE["file"]))
    key.write_text(CACHE["key"])
    key.chmod(0o600)
    first = TOKENS["tokens"][0]
    token = TokenCache.open(path, key).get(1, TOKENS["epoch"], first["normalised"])
    assert token is not None
    assert token.value.hex() == first["token"]
    assert token.sealing_key.hex() == first["sealing_key"]
