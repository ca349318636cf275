"""Frozen form of signed reports of outcomes, and of the posteriors that follow from verdicts."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from signalexchange.outcomes import open_outcomes, sign_outcomes
from signalexchange.patterns import Prior
from signalexchange.v1.outcome_service_pb2 import Outcome

from exchange.domain.reliability import Posterior

VECTORS = json.loads((Path(__file__).parent / "outcomes.json").read_text())


def outcome(row: dict[str, Any]) -> Outcome:
    if "match_id" in row:
        return Outcome(match_id=bytes.fromhex(row["match_id"]), verdict=row["verdict"])
    return Outcome(signal_id=bytes.fromhex(row["signal_id"]), verdict=row["verdict"])


def test_reports() -> None:
    case = VECTORS["report"]
    request = sign_outcomes(
        [outcome(row) for row in case["outcomes"]],
        origin=case["origin"],
        member=case["member"],
        key_id=case["key_id"],
        report_id=bytes.fromhex(case["report_id"]),
        sign=Ed25519PrivateKey.from_private_bytes(bytes.fromhex(VECTORS["seed"])).sign,
    )
    assert request.statement.hex() == case["statement"]
    assert request.signature.hex() == case["signature"]
    open_outcomes(request.statement, request.signature, bytes.fromhex(VECTORS["public_key"]))


@pytest.mark.parametrize("case", VECTORS["reliability"]["cases"])
def test_posteriors(case: dict[str, Any]) -> None:
    posterior = Posterior(Prior(**VECTORS["reliability"]["prior"]), case["owner"])
    for group, (confirmed, refuted) in case["verdicts"].items():
        posterior.add(group, confirmed, refuted)
    assert list(posterior.counts) == case["counts"]
    assert (posterior.mean, posterior.factor()) == (case["mean"], case["factor"])
