"""A custodian whose disk fails evaluates nothing: no charge on disk, no answer.

After the fault every evaluation that was answered is found charged; of those refused a charge may stand where
the disk left its fate open, for a budget errs against the one who asks.
"""

import sqlite3
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from signalexchange import voprf
from signalexchange.v1.identifier_pb2 import IdentifierType
from signalexchange.v1.token_service_pb2 import EvaluateRequest, EvaluateResponse, EvaluationPurpose

from exchange.provision import Deployment, Plan, provision
from tests.support.caller import Caller, refused
from tests.support.faults import Disk, Server, has_compiler
from tests.support.hub import custodian_server
from tests.support.members import configuration

pytestmark = pytest.mark.skipif(
    not has_compiler(), reason="no C compiler (cc) to build the fault injector with"
)

NAME = "custodian-a"
POINTS = 10


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return provision(tmp_path / "deployment", Plan(types=("phone",)))


@pytest.fixture
def data(deployment: Deployment) -> Path:
    config = deployment.custodian_config(NAME)
    return config.parent / str(tomllib.loads(config.read_text("utf-8"))["data_dir"])


@pytest.fixture
def disk(data: Path, tmp_path: Path) -> Disk:
    return Disk(tmp_path, data)


@pytest.fixture
def custodian(deployment: Deployment, tmp_path: Path) -> Iterator[Server]:
    server = custodian_server(deployment, NAME, tmp_path / "custodian.log")
    yield server
    server.close()


@pytest.fixture
def asker(deployment: Deployment) -> Iterator[Caller]:
    config = configuration(deployment, "bank-north")
    tls = config.tls
    with Caller(config.custodians[NAME], certificate=tls.certificate, key=tls.key, ca=tls.ca) as one:
        yield one


def evaluate(asker: Caller, *, patiently: bool = False) -> EvaluateResponse:
    """Ask; `patiently`, wait for the connection to be there again."""
    request = EvaluateRequest(
        type=IdentifierType.IDENTIFIER_TYPE_PHONE,
        epoch=1,
        generation=1,
        purpose=EvaluationPurpose.EVALUATION_PURPOSE_TOKENISE,
        blinded_elements=[voprf.blind(b"somebody %d" % number)[1] for number in range(POINTS)],
    )
    return EvaluateResponse.FromString(
        asker.raw(
            "/signalexchange.v1.TokenService/Evaluate", request.SerializeToString(), patiently=patiently
        )
    )


def charged(data: Path) -> set[int]:
    """What the ledger says was used, of each bucket."""
    database = sqlite3.connect(f"file:{data / 'budgets.db'}?mode=ro", uri=True)
    try:
        return {used for (used,) in database.execute("SELECT used FROM charge")}
    finally:
        database.close()


@pytest.mark.parametrize("fault", ["nospace", "nosync", "readonly"])
def test_nothing_is_evaluated_that_was_not_charged(
    data: Path, disk: Disk, custodian: Server, asker: Caller, fault: str
) -> None:
    custodian.start(disk.environment)
    assert len(evaluate(asker).evaluated_elements) == POINTS
    assert charged(data) == {POINTS}
    disk.fail(fault)
    for _ in range(3):
        refusal = refused(evaluate, asker)
        assert (refusal.status, refusal.reason) == ("UNAVAILABLE", "UNAVAILABLE")
    assert disk.failures >= 3
    assert any(line.get("reason") == "UNAVAILABLE" for line in custodian.events())
    disk.heal()
    if custodian.running:
        assert len(evaluate(asker).evaluated_elements) == POINTS
        assert charged(data) == {2 * POINTS}
    custodian.close()
    custodian.start()
    before = max(charged(data))
    assert len(evaluate(asker, patiently=True).evaluated_elements) == POINTS
    assert charged(data) == {before + POINTS}
    assert before <= 5 * POINTS


@pytest.mark.parametrize("fault", ["nospace", "readonly"])
def test_a_folder_that_can_not_be_written_is_named_at_the_start(
    data: Path, disk: Disk, custodian: Server, fault: str
) -> None:
    disk.fail(fault)
    custodian.spawn(disk.environment)
    try:
        code = custodian.wait(15)
    except TimeoutError:
        pytest.fail("it goes on without a ledger")
    assert code != 0
    assert str(data) in custodian.text()
    assert "Traceback" not in custodian.text()


def test_killed_between_charges_the_ledger_keeps_every_answered_one(
    data: Path, custodian: Server, asker: Caller
) -> None:
    answered = 0
    for life in range(3):
        custodian.start()
        for _ in range(life + 2):
            assert len(evaluate(asker, patiently=True).evaluated_elements) == POINTS
            answered += POINTS
        custodian.kill()
        assert charged(data) == {answered}
