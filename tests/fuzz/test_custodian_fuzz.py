"""Whatever a member sends to a custodian: an answer or a refusal, and no budget lost by it."""

import random
import sqlite3
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signalexchange import voprf
from signalexchange.v1.identifier_pb2 import IdentifierType
from signalexchange.v1.token_service_pb2 import EvaluateRequest, EvaluateResponse, EvaluationPurpose

from exchange.provision import Deployment, Plan, provision
from tests.support.caller import Caller, Refused, outcome
from tests.support.hub import custodian_server
from tests.support.members import configuration
from tests.support.messages import message, mutated

NAME = "custodian-b"
EVALUATE = "/signalexchange.v1.TokenService/Evaluate"
MANIFEST = "/signalexchange.v1.TokenService/GetKeyManifest"
PURPOSE = EvaluationPurpose.EVALUATION_PURPOSE_TOKENISE

fuzzed = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("custodian-fuzz")
    made = provision(folder / "deployment", Plan(types=("phone",)))
    server = custodian_server(made, NAME, folder / "custodian.log")
    try:
        server.start()
        yield made
    finally:
        server.close()


@pytest.fixture(scope="module")
def asker(deployment: Deployment) -> Iterator[Caller]:
    config = configuration(deployment, "bank-north")
    tls = config.tls
    with Caller(config.custodians[NAME], certificate=tls.certificate, key=tls.key, ca=tls.ca) as one:
        yield one


def charged(deployment: Deployment) -> int:
    """What the day's budget has lost so far."""
    config = deployment.custodian_config(NAME)
    path: Path = config.parent / str(tomllib.loads(config.read_text("utf-8"))["data_dir"]) / "budgets.db"
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        (used,) = database.execute("SELECT coalesce(max(used), 0) FROM charge").fetchone()
    finally:
        database.close()
    return int(used)


def send(asker: Caller, deployment: Deployment, method: str, data: bytes) -> None:
    before = charged(deployment)
    answer = outcome(asker.raw, method, data, 5.0)
    if isinstance(answer, Refused):
        assert answer.reason not in ("INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED"), answer
        assert charged(deployment) == before, "a refusal cost something"
    elif method == EVALUATE:
        points = EvaluateResponse.FromString(answer).evaluated_elements
        assert charged(deployment) == before + len(points)


@pytest.mark.parametrize("method", [EVALUATE, MANIFEST])
@given(data=st.binary(max_size=300))
@fuzzed
def test_random_bytes(asker: Caller, deployment: Deployment, method: str, data: bytes) -> None:
    send(asker, deployment, method, data)


@given(data=st.data())
@fuzzed
def test_any_request(asker: Caller, deployment: Deployment, data: st.DataObject) -> None:
    send(asker, deployment, EVALUATE, data.draw(message(EvaluateRequest)).SerializeToString())


@given(seed=st.integers(0, 2**32))
@fuzzed
def test_mutations_of_a_valid_request(asker: Caller, deployment: Deployment, seed: int) -> None:
    request = EvaluateRequest(
        type=IdentifierType.IDENTIFIER_TYPE_PHONE,
        epoch=1,
        generation=1,
        purpose=PURPOSE,
        blinded_elements=[voprf.blind(b"somebody %d" % number)[1] for number in range(3)],
    )
    chance = random.Random(seed)  # noqa: S311 - repeats
    send(asker, deployment, EVALUATE, mutated(request.SerializeToString(), chance))
    send(asker, deployment, EVALUATE, request.SerializeToString())


# Encodings of 32 bytes that are no element to evaluate: identity, not canonical, negative, off the curve.
POINTS = {
    "the identity": bytes(32),
    "the field's prime": b"\xed" + b"\xff" * 30 + b"\x7f",
    "all ones": b"\xff" * 32,
    "a negative coordinate": b"\x01" + bytes(31),
    "off the curve": b"\x02" + bytes(31),
    "31 bytes": bytes(31),
    "33 bytes": bytes(33),
}


@pytest.mark.parametrize("case", POINTS)
def test_a_bad_point_among_good_ones_costs_nothing(asker: Caller, deployment: Deployment, case: str) -> None:
    good = [voprf.blind(b"somebody %d" % number)[1] for number in range(3)]
    request = EvaluateRequest(
        type=IdentifierType.IDENTIFIER_TYPE_PHONE,
        epoch=1,
        generation=1,
        purpose=PURPOSE,
        blinded_elements=[*good, POINTS[case]],
    )
    before = charged(deployment)
    answer = outcome(asker.raw, EVALUATE, request.SerializeToString())
    assert isinstance(answer, Refused)
    assert answer.reason == "INVALID_REQUEST"
    assert any("[3]" in field for field in answer.fields), answer.fields
    assert charged(deployment) == before
