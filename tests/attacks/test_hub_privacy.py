"""A member can't tell who reported: not from answers, leaves, openings or watch events.

Two members of different groups and kinds report the same of two subjects; a third compares everything it
can get about the one and the other. Whatever is not the same must be random.
"""

import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from signalexchange.v1.identifier_pb2 import IdentifierType
from signalexchange.v1.log_entry_pb2 import EntryHeader
from signalexchange.v1.signal_pb2 import Signal, WithdrawalReason
from signalexchange.v1.signal_service_pb2 import (
    LookUpSubjectsResponse,
    SubjectRisk,
    WatchSignalsRequest,
    WatchSignalsResponse,
)
from signalexchange.v1.transparency_service_pb2 import (
    GetCheckpointRequest,
    GetInclusionProofRequest,
    ListLeavesRequest,
    OpenEntriesRequest,
)

from exchange.provision import Deployment, Plan
from tests.support.caller import Caller, refused
from tests.support.hub import new_mirror, running_hub
from tests.support.members import caller, look_up, pen, signal, subject, subscribe

REPORTERS = ("bank-south", "pay-lotus")
CURIOUS = "bank-north"
NAMES = ("bank-south", "pay-lotus", "shop-river", "south-holding", "lotus-group", "river-group", "signing-1")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with running_hub(tmp_path_factory.mktemp("privacy"), Plan(types=("card", "merchant"))) as running:
        yield running


@pytest.fixture
def curious(deployment: Deployment) -> Iterator[Caller]:
    with caller(deployment, CURIOUS) as one:
        yield one


@dataclass
class Seen:
    """All that the curious member gets about one subject."""

    answer: dict[str, Any]
    events: list[dict[str, Any]]
    raw: bytes


def _report(deployment: Deployment, member: str, about: Signal) -> int:
    with caller(deployment, member) as one:
        response = one.signals.PublishSignals(pen(deployment, member).batch([about]), timeout=10)
    return int(response.receipt.index)


def _withdraw(deployment: Deployment, member: str, signal_id: bytes) -> None:
    order = pen(deployment, member).withdrawal([signal_id], WithdrawalReason.WITHDRAWAL_REASON_REFUTED)
    with caller(deployment, member) as one:
        one.signals.WithdrawSignals(order, timeout=10)


RANDOM = ("signal_id", "resume_token", "token", "value", "access_salt")


def _without_random_parts(message: LookUpSubjectsResponse | WatchSignalsResponse) -> dict[str, Any]:
    """The message with ids, commitments and resume tokens, which are random, replaced by their lengths."""
    plain = type(message).FromString(message.SerializeToString())
    data: dict[str, Any] = MessageToDict(plain, preserving_proto_field_name=True)

    def blank(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: blank(each, key) for key, each in value.items()}
        if isinstance(value, list):
            return [blank(each, name) for each in value]
        return len(value) if name in RANDOM else value

    cleaned: dict[str, Any] = blank(data)
    for own_entry in ("receipt", "correction"):  # where the caller's own records stand
        cleaned.pop(own_entry, None)
    return cleaned


def test_who_reported_makes_no_difference_in_anything_a_member_gets(
    deployment: Deployment, curious: Caller
) -> None:
    seen: list[Seen] = []
    for reporter in REPORTERS:
        about = signal(confidence=70, amount_band=99)
        token = about.subject.value
        watch = curious.signals.WatchSignals(WatchSignalsRequest(), timeout=20)
        messages = [next(watch)]
        curious.signals.Subscribe(subscribe([token]), timeout=10)
        _report(deployment, reporter, about)
        messages.append(next(watch))
        answer = curious.signals.LookUpSubjects(look_up([token]), timeout=10)
        assert len(answer.subjects) == 1
        _withdraw(deployment, reporter, about.signal_id)
        messages.append(next(watch))
        watch.cancel()
        raw = answer.SerializeToString() + b"".join(each.SerializeToString() for each in messages)
        seen.append(Seen(_without_random_parts(answer), [_without_random_parts(m) for m in messages], raw))
        assert not curious.signals.LookUpSubjects(look_up([token]), timeout=10).subjects
    first, second = seen
    assert first.answer == second.answer
    assert first.events == second.events
    assert (
        len(first.raw) == len(second.raw) or abs(len(first.raw) - len(second.raw)) < 4
    )  # decimal tree sizes
    for each in seen:
        assert not any(name.encode() in each.raw for name in NAMES)


def test_leaves_show_a_member_its_own_headers_alone(deployment: Deployment, curious: Caller) -> None:
    theirs = [_report(deployment, reporter, signal()) for reporter in REPORTERS]
    mine = _report(deployment, CURIOUS, signal())
    size = new_mirror(deployment).extend(curious.log).size
    leaves = curious.log.ListLeaves(ListLeavesRequest(start=0, limit=1000), timeout=10).leaves
    assert len(leaves) == size
    for index, leaf in enumerate(leaves):
        assert len(leaf.leaf) == 65
        assert leaf.leaf[0] == 1
        if leaf.header:
            header = EntryHeader.FromString(leaf.header)
            assert header.member not in REPORTERS, index
    assert leaves[mine].header
    for index in theirs:
        assert not leaves[index].header
        assert not leaves[index].header_opening
        refusal = refused(curious.log.OpenEntries, OpenEntriesRequest(indices=[index]), timeout=10)
        assert refusal.reason == "OPENING_NOT_ALLOWED"
    # One entry too many opens none.
    both = OpenEntriesRequest(indices=sorted([mine, *theirs]))
    assert refused(curious.log.OpenEntries, both, timeout=10).reason == "OPENING_NOT_ALLOWED"
    # A proof carries the leaf and hashes, no more.
    proof = curious.log.GetInclusionProof(GetInclusionProofRequest(index=theirs[0]), timeout=10)
    assert {field.name for field, _ in proof.ListFields()} <= {"leaf", "tree_size", "hashes", "checkpoint"}


def test_commitments_of_like_entries_are_unlike(deployment: Deployment, curious: Caller) -> None:
    """Without their random openings equal headers would have equal commitments, and could be guessed."""
    first, second = (_report(deployment, "bank-south", signal()) for _ in range(2))
    leaves = curious.log.ListLeaves(
        ListLeavesRequest(start=first, limit=second - first + 1), timeout=10
    ).leaves
    assert leaves[0].leaf[1:33] != leaves[-1].leaf[1:33]
    assert leaves[0].leaf[33:] != leaves[-1].leaf[33:]


def test_the_auditor_sees_headers_and_its_opening_is_itself_logged(deployment: Deployment) -> None:
    index = _report(deployment, "bank-south", signal())
    with caller(deployment, "audit-one") as auditor:
        leaf = auditor.log.ListLeaves(ListLeavesRequest(start=index, limit=1), timeout=10).leaves[0]
        assert EntryHeader.FromString(leaf.header).member == "bank-south"
        before = new_mirror(deployment).extend(auditor.log).size
        assert auditor.log.OpenEntries(OpenEntriesRequest(indices=[index]), timeout=10).entries[0].payload
        mirror = new_mirror(deployment)
        assert mirror.extend(auditor.log).size == before + 1
        header = mirror.headers[-1]
        assert header is not None
        assert header.member == "audit-one"


def test_answers_never_carry_counterparties_links_bands_times_or_ids(
    deployment: Deployment, curious: Caller
) -> None:
    """The leg of a planted flow can't be read out by asking about its other end."""
    at = int(time.time()) // 300 * 300 - 7 * 300
    about = signal(
        counterparty=subject(type_=IdentifierType.IDENTIFIER_TYPE_MERCHANT),
        links=[subject(), subject()],
        amount_band=173,
        first_seen=at - 3000,
        last_seen=at,
        sealed_detail=os.urandom(300),
    )
    _report(deployment, "bank-south", about)
    tokens = [about.subject.value, about.links[0].value]
    answer = curious.signals.LookUpSubjects(look_up(tokens), timeout=10)
    raw = answer.SerializeToString()
    assert about.counterparty.value not in raw
    assert about.links[1].value not in raw
    assert about.signal_id not in raw
    assert about.record_commitment not in raw
    assert about.sealed_detail not in raw
    assert {each.token for each in answer.subjects} <= set(tokens)
    # The contract itself has no room for them: a new field must come here to be judged.
    assert set(SubjectRisk.DESCRIPTOR.fields_by_name) == {
        "token",
        "score",
        "band",
        "reasons",
        "groups",
        "freshness_days",
        "advice",
        "human_review",
        "notice_code",
        "handling",
        "disputed",
    }
    assert set(WatchSignalsResponse.DESCRIPTOR.fields_by_name) == {
        "resume_token",
        "signal_id",
        "change",
        "subject",
        "own",
        "correction",
    }


def test_a_counterparty_is_not_found_as_if_it_were_accused(deployment: Deployment, curious: Caller) -> None:
    about = signal(counterparty=subject())
    _report(deployment, "bank-south", about)
    assert not curious.signals.LookUpSubjects(look_up([about.counterparty.value]), timeout=10).subjects


def test_ones_own_reports_are_left_out_of_ones_answers(deployment: Deployment, curious: Caller) -> None:
    about = signal()
    _report(deployment, CURIOUS, about)
    assert not curious.signals.LookUpSubjects(look_up([about.subject.value]), timeout=10).subjects
    _report(deployment, "bank-south", signal(about.subject.value))
    (risk,) = curious.signals.LookUpSubjects(look_up([about.subject.value]), timeout=10).subjects
    assert risk.groups == 1


def test_what_is_for_other_kinds_is_not_shown(deployment: Deployment, curious: Caller) -> None:
    about = signal(audience=[2])  # e-commerce platforms
    token = about.subject.value
    watch = curious.signals.WatchSignals(WatchSignalsRequest(), timeout=20)
    next(watch)
    curious.signals.Subscribe(subscribe([token]), timeout=10)
    _report(deployment, "bank-south", about)
    assert not curious.signals.LookUpSubjects(look_up([token]), timeout=10).subjects
    with caller(deployment, "shop-river") as shop:
        assert shop.signals.LookUpSubjects(look_up([token]), timeout=10).subjects
    # The next news on the watch is of a later signal: the first was passed over in silence.
    later = signal()
    curious.signals.Subscribe(subscribe([later.subject.value]), timeout=10)
    _report(deployment, "bank-south", later)
    assert next(watch).signal_id == later.signal_id
    watch.cancel()


def test_events_of_others_are_not_read_with_a_strangers_resume_token(
    deployment: Deployment, curious: Caller
) -> None:
    with caller(deployment, "bank-south") as south:
        watch = south.signals.WatchSignals(WatchSignalsRequest(), timeout=20)
        token = next(watch).resume_token
        watch.cancel()
    stolen = WatchSignalsRequest(resume_token=token)
    assert refused(next, curious.signals.WatchSignals(stolen, timeout=10)).reason == "RESUME_INVALID"
    for forged in (secrets.token_bytes(len(token)), token[:-1], token + b"x", b"x"):
        request = WatchSignalsRequest(resume_token=forged)
        call = curious.signals.WatchSignals(request, timeout=10)
        assert refused(next, call).reason == "RESUME_INVALID"


def test_resume_tokens_do_not_tell_how_many_events_others_had(
    deployment: Deployment, curious: Caller
) -> None:
    """A position in clear would count everybody's events."""

    def first_token() -> bytes:
        watch = curious.signals.WatchSignals(WatchSignalsRequest(), timeout=20)
        token: bytes = next(watch).resume_token
        watch.cancel()
        return token

    before = first_token()
    for _ in range(3):
        _report(deployment, "bank-south", signal())
    after = first_token()
    assert len(before) == len(after)
    number = int.from_bytes(after, "big") - int.from_bytes(before, "big")
    assert abs(number) > 2**32, "the token looks like a counter"


def test_a_checkpoint_is_all_that_the_log_tells_without_asking(
    deployment: Deployment, curious: Caller
) -> None:
    response = curious.log.GetCheckpoint(GetCheckpointRequest(), timeout=10)
    assert not any(name.encode() in response.SerializeToString() for name in NAMES)
