"""Whatever bytes an enrolled caller sends to any method, the hub answers or refuses: no INTERNAL, no hang.

Every refusal is judged by tests.support.caller: a listed reason, small trailers, nothing internal in it.
"""

import os
import random
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signalexchange.v1 import (
    disclosure_service_pb2,
    match_service_pb2,
    membership_service_pb2,
    outcome_service_pb2,
    signal_service_pb2,
    transparency_service_pb2,
)
from signalexchange.v1.disclosure_service_pb2 import (
    GetDisclosureRequest,
    ListDisclosuresRequest,
    WatchDisclosuresRequest,
)
from signalexchange.v1.match_service_pb2 import (
    GetMatchRequest,
    ListMatchesRequest,
    ListSetAsideRequest,
    WatchMatchesRequest,
)
from signalexchange.v1.membership_service_pb2 import (
    GetRosterRequest,
    ProposeRosterVersionRequest,
    SuspendMemberRequest,
)
from signalexchange.v1.outcome_service_pb2 import VERDICT_REFUTED, GetReliabilityRequest
from signalexchange.v1.signal_pb2 import Signal
from signalexchange.v1.signal_service_pb2 import UnsubscribeRequest, WatchSignalsRequest
from signalexchange.v1.transparency_service_pb2 import (
    GetCheckpointRequest,
    GetConsistencyProofRequest,
    GetInclusionProofRequest,
    ListLeavesRequest,
    OpenEntriesRequest,
)

from exchange.provision import Deployment, Plan
from tests.support import disclosures
from tests.support.caller import Caller, Refused, outcome
from tests.support.hub import running_hub
from tests.support.members import CARD, caller, look_up, pen, signal, subscribe
from tests.support.messages import message, mutated

DEADLINE: Final = 5.0
EXAMPLES: Final = 60
CALLERS: Final = {
    "SignalService": "bank-north",
    "MatchService": "bank-north",
    "OutcomeService": "bank-north",
    "TransparencyService": "audit-one",
    "MembershipService": "operator",
    "DisclosureService": "police-one",
    "DecideDisclosure": "bank-north",
}


def _methods() -> dict[str, tuple[str, type[Message], bool]]:
    found = {}
    for module in (
        signal_service_pb2,
        match_service_pb2,
        outcome_service_pb2,
        transparency_service_pb2,
        membership_service_pb2,
        disclosure_service_pb2,
    ):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                full = f"/{service.full_name}/{method.name}"
                found[method.name] = (full, GetMessageClass(method.input_type), method.server_streaming)
    return found


METHODS: Final = _methods()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with running_hub(tmp_path_factory.mktemp("fuzz"), Plan(types=("card",))) as running:
        yield running


@pytest.fixture(scope="module")
def parties(deployment: Deployment) -> Iterator[dict[str, Caller]]:
    open_ = {service: caller(deployment, party) for service, party in CALLERS.items()}
    yield open_
    for one in open_.values():
        one.close()


def send(parties: dict[str, Caller], method: str, data: bytes) -> bytes | None:
    """Send the bytes; the answer, or None for a refusal that keeps the contract."""
    full, _, streams = METHODS[method]
    one = parties[method if method in CALLERS else full.split("/")[1].rsplit(".", 1)[1]]
    if streams:
        call = one.raw_stream(full, data, DEADLINE)
        answer = outcome(next, call)
        call.cancel()
    else:
        answer = outcome(one.raw, full, data, DEADLINE)
    if isinstance(answer, Refused):
        assert answer.reason not in ("INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED"), answer
        return None
    assert isinstance(answer, bytes)
    return answer


fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)


@pytest.mark.parametrize("method", METHODS)
@given(data=st.binary(max_size=400))
@fuzzed
def test_random_bytes(parties: dict[str, Caller], method: str, data: bytes) -> None:
    send(parties, method, data)


@pytest.mark.parametrize("method", METHODS)
@given(data=st.data())
@fuzzed
def test_any_message_of_the_method(parties: dict[str, Caller], method: str, data: st.DataObject) -> None:
    made = data.draw(message(METHODS[method][1]))
    if isinstance(made, SuspendMemberRequest):
        made.member = "ghost" if made.member in CALLERS.values() else made.member
    send(parties, method, made.SerializeToString())


@given(data=st.data())
@settings(fuzzed, max_examples=100)
def test_a_signed_batch_of_any_signals(
    deployment: Deployment, parties: dict[str, Caller], data: st.DataObject
) -> None:
    """What stands behind the signature is judged only when the signature is right: so it is."""
    changes = data.draw(st.lists(message(Signal), min_size=1, max_size=3))
    signals = []
    for change in changes:
        # A good signal, of which drawn fields take the place; some stay merely drawn.
        made = signal() if data.draw(st.booleans()) else Signal()
        for field in made.DESCRIPTOR.fields:
            if data.draw(st.integers(0, 3)) == 0:
                made.ClearField(field.name)  # type: ignore[arg-type]
                if field.is_repeated:
                    getattr(made, field.name).extend(getattr(change, field.name))
                elif field.type == FieldDescriptor.TYPE_MESSAGE:
                    getattr(made, field.name).CopyFrom(getattr(change, field.name))
                else:
                    setattr(made, field.name, getattr(change, field.name))
        encoded = made.SerializeToString() or b"\0"
        signals.append(
            data.draw(st.sampled_from([encoded, encoded, encoded + b"\xfa\x07\x01x", encoded[:-1] or b"\0"]))
        )
    request = pen(deployment, "bank-north").batch(signals, epoch=data.draw(st.sampled_from([0, 1, 1, 2])))
    send(parties, "PublishSignals", request.SerializeToString())


@given(ids=st.sets(st.binary(min_size=16, max_size=16), min_size=1, max_size=5), reason=st.integers(1, 4))
@fuzzed
def test_a_signed_order_about_any_signals(
    deployment: Deployment, parties: dict[str, Caller], ids: set[bytes], reason: int
) -> None:
    order = pen(deployment, "bank-north").withdrawal(ids, reason)  # type: ignore[arg-type]
    send(parties, "WithdrawSignals", order.SerializeToString())


def _valid(deployment: Deployment, method: str) -> bytes:
    """A request that is carried out as it stands."""
    if "DisclosureService" in METHODS[method][0]:
        return _valid_disclosure(deployment, method)
    mine = pen(deployment, "bank-north")
    tokens = [os.urandom(32) for _ in range(3)]
    requests: dict[str, Message] = {
        "PublishSignals": mine.batch([signal(), signal()]),
        "WithdrawSignals": mine.withdrawal([os.urandom(16)]),
        "LookUpSubjects": look_up(tokens),
        "Subscribe": subscribe(tokens),
        "Unsubscribe": UnsubscribeRequest(type=CARD, epoch=1, tokens=sorted(tokens)),
        "WatchSignals": WatchSignalsRequest(resume_token=os.urandom(24)),
        "GetMatch": GetMatchRequest(match_id=os.urandom(16)),
        "ListMatches": ListMatchesRequest(page_size=10),
        "WatchMatches": WatchMatchesRequest(resume_token=os.urandom(36)),
        "ListSetAside": ListSetAsideRequest(page_size=10),
        "ReportOutcomes": mine.report({os.urandom(16): VERDICT_REFUTED}, matches=True),
        "GetReliability": GetReliabilityRequest(),
        "GetCheckpoint": GetCheckpointRequest(),
        "GetInclusionProof": GetInclusionProofRequest(index=0, tree_size=1),
        "GetConsistencyProof": GetConsistencyProofRequest(old_size=1, new_size=1),
        "ListLeaves": ListLeavesRequest(start=0, limit=10),
        "OpenEntries": OpenEntriesRequest(indices=[0]),
        "GetRoster": GetRosterRequest(from_version=1),
        "ProposeRosterVersion": ProposeRosterVersionRequest(note=deployment.genesis.read_bytes()),
        "SuspendMember": SuspendMemberRequest(member="ghost", reason="nobody"),
    }
    return requests[method].SerializeToString()


def _valid_disclosure(deployment: Deployment, method: str) -> bytes:
    asked = disclosures.ask(deployment, int(time.time()))
    id_ = os.urandom(16)
    match method:
        case "RequestDisclosure":
            return asked.SerializeToString()
        case "GetDisclosure" | "FetchPackage":
            return GetDisclosureRequest(request_id=id_).SerializeToString()
        case "ListDisclosures":
            return ListDisclosuresRequest(page_size=10).SerializeToString()
        case "WatchDisclosures":
            return WatchDisclosuresRequest(resume_token=os.urandom(36)).SerializeToString()
        case "WithdrawDisclosure":
            return disclosures.withdraw(deployment, id_).SerializeToString()
    decided = disclosures.decide(deployment, asked)
    if method == "DecideDisclosure":
        return decided.SerializeToString()
    return disclosures.acknowledge(deployment, id_, decided).SerializeToString()


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 2**32))
@fuzzed
def test_mutations_of_a_valid_request(
    deployment: Deployment, parties: dict[str, Caller], method: str, seed: int
) -> None:
    data = mutated(_valid(deployment, method), random.Random(seed))  # noqa: S311 - repeats
    send(parties, method, data)


@pytest.mark.parametrize("method", METHODS)
def test_the_valid_requests_themselves_are_understood(
    deployment: Deployment, parties: dict[str, Caller], method: str
) -> None:
    answer = send(parties, method, _valid(deployment, method))
    # These can't be carried out here: nothing to withdraw or to judge, no such match, token or party.
    impossible = (
        "WithdrawSignals",
        "WatchSignals",
        "GetMatch",
        "WatchMatches",
        "ReportOutcomes",
        "SuspendMember",
        "GetDisclosure",
        "WatchDisclosures",
        "DecideDisclosure",
        "FetchPackage",
        "AcknowledgePackage",
        "WithdrawDisclosure",
    )
    assert (answer is None) == (method in impossible)


@pytest.mark.parametrize("depth", [101, 10_000])
def test_deep_nesting_is_no_way_to_exhaust_the_stack(parties: dict[str, Caller], depth: int) -> None:
    data = b""
    for _ in range(depth):
        data = b"\x1a" + _varint(len(data)) + data
        if len(data) > 100_000:
            break
    send(parties, "PublishSignals", data)


def test_a_thousand_broken_signals_are_still_one_small_refusal(
    deployment: Deployment, parties: dict[str, Caller]
) -> None:
    request = pen(deployment, "bank-north").batch([os.urandom(40) for _ in range(1000)])
    send(parties, "PublishSignals", request.SerializeToString())


@pytest.mark.parametrize(
    "headers", [[("x-request-id", "a" * 5000)], [("x-request-id", "'; DROP TABLE entries")]]
)
def test_request_ids_are_no_way_in(parties: dict[str, Caller], headers: list[tuple[str, str]]) -> None:
    full = METHODS["GetCheckpoint"][0]
    channel: Any = parties["TransparencyService"].channel
    _, handle = channel.unary_unary(full).with_call(b"", timeout=DEADLINE, metadata=headers)
    returned = dict(handle.trailing_metadata() or ())["x-request-id"]
    assert isinstance(returned, str)
    assert len(returned) <= 64
    assert "DROP" not in returned


def _varint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def test_the_hub_still_works(deployment: Deployment, parties: dict[str, Caller]) -> None:
    """Last of the module: after all that, business as usual."""
    assert send(parties, "PublishSignals", _valid(deployment, "PublishSignals"))
