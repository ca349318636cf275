"""Batches and orders in another's name, replayed, altered or half right: refused whole, nothing stored."""

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from signalexchange.v1.signal_pb2 import BatchStatement, Signal, WithdrawalReason
from signalexchange.v1.signal_service_pb2 import PublishSignalsRequest
from signalexchange.v1.transparency_service_pb2 import OpenEntriesRequest

from exchange.provision import Deployment, Plan
from tests.support.caller import Caller, refused
from tests.support.hub import logged_batches, new_mirror, running_hub
from tests.support.members import caller, look_up, pen, signal

LABEL = b"signalexchange/batch/v1\0"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with running_hub(tmp_path_factory.mktemp("statements"), Plan(types=("card",))) as running:
        yield running


@pytest.fixture
def north(deployment: Deployment) -> Iterator[Caller]:
    with caller(deployment, "bank-north") as one:
        yield one


@pytest.fixture
def south(deployment: Deployment) -> Iterator[Caller]:
    with caller(deployment, "bank-south") as one:
        yield one


class Unchanged:
    """Nothing of a refused request is stored: no batch on the log, and nobody finds its signals."""

    def __init__(self, deployment: Deployment, *requests: PublishSignalsRequest) -> None:
        self._deployment = deployment
        self._requests = requests

    def __enter__(self) -> None:
        self._before = logged_batches(self._deployment, new_mirror(self._deployment))

    def __exit__(self, *_: object) -> None:
        assert logged_batches(self._deployment, new_mirror(self._deployment)) == self._before
        tokens = {
            Signal.FromString(each.signal).subject.value
            for request in self._requests
            for each in request.signals
        }
        with caller(self._deployment, "shop-river") as shop:
            answer = shop.signals.LookUpSubjects(look_up(tokens), timeout=10)
        assert not answer.subjects


def test_a_member_can_not_publish_in_anothers_name(deployment: Deployment, north: Caller) -> None:
    own = pen(deployment, "bank-north")
    foreign = pen(deployment, "bank-south")
    # South's batch, caught on its way and sent by North; North's hand under South's name.
    caught = foreign.batch([signal()])
    forged = replace(own, member="bank-south").batch([signal()])
    with Unchanged(deployment, caught, forged):
        assert refused(north.signals.PublishSignals, caught, timeout=10).reason == "WRONG_MEMBER"
        assert refused(north.signals.PublishSignals, forged, timeout=10).reason == "WRONG_MEMBER"


def test_a_signature_by_any_other_key_is_refused(deployment: Deployment, north: Caller) -> None:
    own = pen(deployment, "bank-north")
    unknown = replace(own, sign=Ed25519PrivateKey.generate().sign).batch([signal()])
    souths = replace(own, sign=pen(deployment, "bank-south").sign).batch([signal()])
    other_key = replace(own, key_id="signing-2").batch([signal()])
    with Unchanged(deployment, unknown, souths, other_key):
        for request in (unknown, souths, other_key):
            refusal = refused(north.signals.PublishSignals, request, timeout=10)
            assert refusal.reason == "SIGNATURE_INVALID"


def test_a_batch_for_another_hub_is_refused(deployment: Deployment, north: Caller) -> None:
    elsewhere = replace(pen(deployment, "bank-north"), origin="elsewhere.test/signals").batch([signal()])
    with Unchanged(deployment, elsewhere):
        refusal = refused(north.signals.PublishSignals, elsewhere, timeout=10)
    assert refusal.reason in ("INVALID_REQUEST", "SIGNATURE_INVALID")
    assert any("origin" in text for text in (*refusal.fields, refusal.message))


def test_the_signature_of_an_order_is_none_of_a_batch(deployment: Deployment, north: Caller) -> None:
    own = pen(deployment, "bank-north")
    crossed = own.batch([signal()])
    crossed.signature = own.sign(b"signalexchange/withdrawal/v1\0" + crossed.statement)
    bare = own.batch([signal()])
    bare.signature = own.sign(bare.statement)
    with Unchanged(deployment, crossed, bare):
        for request in (crossed, bare):
            refusal = refused(north.signals.PublishSignals, request, timeout=10)
            assert refusal.reason == "SIGNATURE_INVALID"


def _altered(request: PublishSignalsRequest, how: str) -> PublishSignalsRequest:
    changed = PublishSignalsRequest()
    changed.CopyFrom(request)
    first = Signal.FromString(changed.signals[0].signal)
    match how:
        case "a signal's confidence":
            first.confidence = 1
            changed.signals[0].signal = first.SerializeToString()
        case "a signal's subject":
            first.subject.value = os.urandom(32)
            changed.signals[0].signal = first.SerializeToString()
        case "an added unknown field":
            changed.signals[0].signal += b"\xfa\x07\x01x"
        case "a nonce":
            changed.signals[0].nonce = os.urandom(32)
        case "the order":
            swapped = [changed.signals[1], changed.signals[0], *changed.signals[2:]]
            del changed.signals[:]
            changed.signals.extend(swapped)
        case "one dropped":
            del changed.signals[-1]
        case "one added":
            changed.signals.add(nonce=os.urandom(32), signal=signal().SerializeToString())
        case "one doubled":
            changed.signals.append(changed.signals[-1])
        case "the statement's epoch":
            statement = BatchStatement.FromString(changed.statement)
            statement.epoch += 1
            changed.statement = statement.SerializeToString()
        case "the statement's last byte":
            changed.statement = changed.statement[:-1] + bytes([changed.statement[-1] ^ 1])
        case "a bit of the signature":
            changed.signature = bytes([changed.signature[0] ^ 1]) + changed.signature[1:]
        case "no signature":
            changed.signature = b""
        case "a short signature":
            changed.signature = changed.signature[:-1]
    return changed


@pytest.mark.parametrize(
    "how",
    [
        "a signal's confidence",
        "a signal's subject",
        "an added unknown field",
        "a nonce",
        "the order",
        "one dropped",
        "one added",
        "one doubled",
        "the statement's epoch",
        "the statement's last byte",
        "a bit of the signature",
        "no signature",
        "a short signature",
    ],
)
def test_a_batch_altered_on_its_way_is_refused(deployment: Deployment, north: Caller, how: str) -> None:
    request = pen(deployment, "bank-north").batch([signal() for _ in range(3)])
    altered = _altered(request, how)
    with Unchanged(deployment, request, altered):
        refusal = refused(north.signals.PublishSignals, altered, timeout=10)
        assert refusal.reason in ("SIGNATURE_INVALID", "INVALID_REQUEST", "MALFORMED")
    # The batch itself still goes.
    assert not north.signals.PublishSignals(request, timeout=10).repeated_batch


def test_a_repeated_batch_is_one_batch_and_the_id_stands_for_no_other(
    deployment: Deployment, north: Caller
) -> None:
    own, batch_id = pen(deployment, "bank-north"), os.urandom(16)
    first = own.batch([signal() for _ in range(3)], batch_id=batch_id)
    once = north.signals.PublishSignals(first, timeout=10)
    again = north.signals.PublishSignals(first, timeout=10)
    assert not once.repeated_batch
    assert again.repeated_batch
    assert again.receipt.index == once.receipt.index
    other = own.batch([signal()], batch_id=batch_id)
    with Unchanged(deployment, other):
        assert refused(north.signals.PublishSignals, other, timeout=10).reason == "ID_REUSED"
    assert logged_batches(deployment, new_mirror(deployment))[batch_id] == [once.receipt.index]


def test_batch_ids_of_different_members_do_not_meet(
    deployment: Deployment, north: Caller, south: Caller
) -> None:
    batch_id = os.urandom(16)
    for one, member in ((north, "bank-north"), (south, "bank-south")):
        request = pen(deployment, member).batch([signal()], batch_id=batch_id)
        assert not one.signals.PublishSignals(request, timeout=10).repeated_batch


def test_a_signal_can_not_be_published_twice_nor_taken_over(
    deployment: Deployment, north: Caller, south: Caller
) -> None:
    mine = signal()
    north.signals.PublishSignals(pen(deployment, "bank-north").batch([mine]), timeout=10)
    again = signal(signal_id=mine.signal_id)
    own_twin = pen(deployment, "bank-north").batch([signal(), again])
    stolen_id = pen(deployment, "bank-south").batch([again])
    twins = pen(deployment, "bank-north").batch([signal(signal_id=b"t" * 16), signal(signal_id=b"t" * 16)])
    with Unchanged(deployment, own_twin, stolen_id, twins):
        assert refused(north.signals.PublishSignals, own_twin, timeout=10).reason == "SIGNAL_ID_REUSED"
        assert refused(south.signals.PublishSignals, stolen_id, timeout=10).reason == "SIGNAL_ID_REUSED"
        refusal = refused(north.signals.PublishSignals, twins, timeout=10)
        assert refusal.reason in ("INVALID_REQUEST", "SIGNAL_ID_REUSED")


def test_only_its_issuer_withdraws_a_signal(deployment: Deployment, north: Caller, south: Caller) -> None:
    mine = signal()
    north.signals.PublishSignals(pen(deployment, "bank-north").batch([mine]), timeout=10)
    theirs = pen(deployment, "bank-south").withdrawal([mine.signal_id])
    assert refused(south.signals.WithdrawSignals, theirs, timeout=10).reason == "SIGNAL_UNKNOWN"
    in_its_name = replace(pen(deployment, "bank-south"), member="bank-north").withdrawal([mine.signal_id])
    assert refused(south.signals.WithdrawSignals, in_its_name, timeout=10).reason == "WRONG_MEMBER"
    forged = replace(pen(deployment, "bank-north"), sign=pen(deployment, "bank-south").sign)
    order = forged.withdrawal([mine.signal_id])
    assert refused(north.signals.WithdrawSignals, order, timeout=10).reason == "SIGNATURE_INVALID"
    # An id that never was reads the same as another's: nobody learns whether it exists.
    ghost = pen(deployment, "bank-south").withdrawal([os.urandom(16)])
    unknown = refused(south.signals.WithdrawSignals, ghost, timeout=10)
    known = refused(south.signals.WithdrawSignals, theirs, timeout=10)
    assert (unknown.reason, unknown.message, unknown.fields) == (known.reason, known.message, known.fields)
    assert south.signals.LookUpSubjects(look_up([mine.subject.value]), timeout=10).subjects
    good = pen(deployment, "bank-north").withdrawal([mine.signal_id])
    assert not north.signals.WithdrawSignals(good, timeout=10).repeated_order
    assert not south.signals.LookUpSubjects(look_up([mine.subject.value]), timeout=10).subjects


def test_an_order_with_one_foreign_id_withdraws_nothing(
    deployment: Deployment, north: Caller, south: Caller
) -> None:
    mine = signal()
    north.signals.PublishSignals(pen(deployment, "bank-north").batch([mine]), timeout=10)
    order = pen(deployment, "bank-north").withdrawal([mine.signal_id, os.urandom(16)])
    assert refused(north.signals.WithdrawSignals, order, timeout=10).reason == "SIGNAL_UNKNOWN"
    assert south.signals.LookUpSubjects(look_up([mine.subject.value]), timeout=10).subjects


def test_an_order_id_stands_for_one_order(deployment: Deployment, north: Caller) -> None:
    own, order_id = pen(deployment, "bank-north"), os.urandom(16)
    one, two = signal(), signal()
    north.signals.PublishSignals(own.batch([one, two]), timeout=10)
    order = own.withdrawal([one.signal_id], order_id=order_id)
    first = north.signals.WithdrawSignals(order, timeout=10)
    again = north.signals.WithdrawSignals(order, timeout=10)
    assert not first.repeated_order
    assert again.repeated_order
    assert again.receipt.index == first.receipt.index
    other = own.withdrawal([two.signal_id], order_id=order_id)
    assert refused(north.signals.WithdrawSignals, other, timeout=10).reason == "ID_REUSED"


def test_a_withdrawn_signal_does_not_come_back(deployment: Deployment, north: Caller, south: Caller) -> None:
    own = pen(deployment, "bank-north")
    mine = signal()
    batch = own.batch([mine])
    north.signals.PublishSignals(batch, timeout=10)
    order = own.withdrawal([mine.signal_id], WithdrawalReason.WITHDRAWAL_REASON_ERASURE)
    north.signals.WithdrawSignals(order, timeout=10)
    assert north.signals.PublishSignals(batch, timeout=10).repeated_batch
    again = own.batch([mine])
    assert refused(north.signals.PublishSignals, again, timeout=10).reason == "SIGNAL_ID_REUSED"
    assert not south.signals.LookUpSubjects(look_up([mine.subject.value]), timeout=10).subjects


def test_a_member_can_not_open_anothers_batch(deployment: Deployment, north: Caller, south: Caller) -> None:
    index = north.signals.PublishSignals(
        pen(deployment, "bank-north").batch([signal()]), timeout=10
    ).receipt.index
    request = OpenEntriesRequest(indices=[index])
    assert north.log.OpenEntries(request, timeout=10).entries[0].payload
    assert refused(south.log.OpenEntries, request, timeout=10).reason == "OPENING_NOT_ALLOWED"
