"""Bad input is refused whole, with the place of each fault; at most 32 are listed, all are counted."""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from signalexchange.v1.identifier_pb2 import IdentifierType, PartyKind
from signalexchange.v1.log_entry_pb2 import EntryType, RefusalEntry
from signalexchange.v1.signal_pb2 import EvidenceGrade, LegalBasis, Signal, Tlp
from signalexchange.v1.signal_service_pb2 import (
    LookUpSubjectsRequest,
    PublishSignalsRequest,
    UnsubscribeRequest,
)

from exchange.provision import Deployment, Plan
from tests.support.caller import Caller, Refused, refused
from tests.support.hub import logged_batches, new_mirror, running_hub
from tests.support.members import (
    CARD,
    DAY,
    MERCHANT,
    SLOT,
    caller,
    look_up,
    pen,
    signal,
    slot,
    subject,
    subscribe,
)

TOKEN = os.urandom(32)
NOW = slot(time.time())
TLP_RED = 5


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    plan = Plan(
        types=("card", "merchant"),
        epochs={
            1: (NOW - 400 * DAY, NOW - 100 * DAY),
            2: (NOW - 200 * DAY, NOW + 100 * DAY),
            4: (NOW - 10 * DAY, NOW + 200 * DAY),
        },
    )
    with running_hub(tmp_path_factory.mktemp("bad"), plan) as running:
        yield running


@pytest.fixture
def north(deployment: Deployment) -> Iterator[Caller]:
    with caller(deployment, "bank-north") as one:
        yield one


def good(**changes: Any) -> Signal:
    return signal(**{"subject": subject(epoch=2)} | changes)


def publish(deployment: Deployment, north: Caller, signals: list[Signal], epoch: int = 2) -> Refused:
    """Publish a batch that must be refused, and see that it left nothing behind."""
    mirror = new_mirror(deployment)
    before = logged_batches(deployment, mirror)
    request = pen(deployment, "bank-north").batch(signals, epoch=epoch)
    refusal = refused(north.signals.PublishSignals, request, timeout=10)
    assert logged_batches(deployment, new_mirror(deployment)) == before
    with caller(deployment, "bank-south") as south:
        tokens = {each.subject.value for each in signals if len(each.subject.value) == 32}
        answer = south.signals.LookUpSubjects(look_up(list(tokens)[:1000] or [TOKEN], epoch=2), timeout=10)
    assert not answer.subjects
    return refusal


def test_a_good_batch_is_accepted(deployment: Deployment, north: Caller) -> None:
    request = pen(deployment, "bank-north").batch([good(), good()], epoch=2)
    assert not north.signals.PublishSignals(request, timeout=10).repeated_batch


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "a confidence of 101": ({"confidence": 101}, "confidence"),
    "a confidence of 2^32 - 1": ({"confidence": 2**32 - 1}, "confidence"),
    "a counterparty equal to the subject": (
        {"subject": subject(TOKEN, epoch=2), "counterparty": subject(TOKEN, epoch=2)},
        "counterparty",
    ),
    "a counterparty among the subject's links": (
        {"counterparty": subject(TOKEN, epoch=2), "links": [subject(TOKEN, epoch=2)]},
        "counterparty",
    ),
    "a purchase from nobody": (
        {"code": "credit-purchase", "grade": EvidenceGrade.EVIDENCE_GRADE_SUSPECTED},
        "counterparty",
    ),
    "a link to a token of another epoch": ({"links": [subject(epoch=4)]}, "links[0].epoch"),
    "a link to another type's token of another epoch": (
        {"code": "same-subject", "links": [subject(type_=MERCHANT, epoch=4)]},
        "links[0].epoch",
    ),
    "both times in the future": ({"first_seen": NOW + DAY, "last_seen": NOW + DAY}, "last_seen"),
    "last seen in the future": ({"last_seen": NOW + DAY}, "last_seen"),
    "last seen before first seen": ({"first_seen": NOW - DAY, "last_seen": NOW - 2 * DAY}, "first_seen"),
    "a time not cut to five minutes": (
        {"last_seen": NOW - DAY + 1, "first_seen": NOW - 2 * DAY},
        "last_seen",
    ),
    "a negative time": ({"first_seen": -SLOT}, "first_seen"),
    "no expiry": ({"expires_at": 0}, "expires_at"),
    "an expiry in the past": ({"expires_at": NOW - DAY}, "expires_at"),
    "an expiry beyond the term": ({"expires_at": NOW + 4000 * DAY}, "expires_at"),
    "an expiry not cut": ({"expires_at": NOW + DAY + 1}, "expires_at"),
    "an amount band of 256": ({"amount_band": 256}, "amount_band"),
    "a short signal id": ({"signal_id": b"short"}, "signal_id"),
    "no subject": ({"subject": None}, "subject"),
    "a short token": ({"subject": subject(b"short", epoch=2)}, "subject"),
    "an unspecified type": (
        {"subject": subject(type_=IdentifierType.IDENTIFIER_TYPE_UNSPECIFIED, epoch=2)},
        "subject",
    ),
    "a type that does not exist": ({"subject": subject(type_=99, epoch=2)}, "subject"),  # type: ignore[arg-type]
    "a subject of another epoch than the batch": ({"subject": subject(epoch=3)}, "subject"),
    "a type that the code is not for": ({"subject": subject(epoch=2), "code": "merchant-sham"}, "subject"),
    "nine links": ({"links": [subject(epoch=2) for _ in range(9)]}, "links"),
    "the subject among its links": (
        {"subject": subject(TOKEN, epoch=2), "links": [subject(TOKEN, epoch=2)]},
        "links",
    ),
    "the same link twice": ({"links": [subject(TOKEN, epoch=2), subject(TOKEN, epoch=2)]}, "links"),
    "a short link": ({"links": [subject(b"short", epoch=2)]}, "links"),
    "an unspecified grade": ({"grade": EvidenceGrade.EVIDENCE_GRADE_UNSPECIFIED}, "grade"),
    "a grade that does not exist": ({"grade": 9}, "grade"),
    "a grade below the code's": (
        {"code": "mule-account", "grade": EvidenceGrade.EVIDENCE_GRADE_SUSPECTED},
        "grade",
    ),
    "an unspecified label": ({"tlp": Tlp.TLP_UNSPECIFIED}, "tlp"),
    "TLP:RED": ({"tlp": TLP_RED}, "tlp"),
    "an audience of nobody": ({"audience": [PartyKind.PARTY_KIND_UNSPECIFIED]}, "audience"),
    "no legal basis": ({"legal_basis": LegalBasis.LEGAL_BASIS_UNSPECIFIED}, "legal_basis"),
    "a short record commitment": ({"record_commitment": b"short"}, "record_commitment"),
    "no record commitment": ({"record_commitment": b""}, "record_commitment"),
    "a sealed detail of 4,353 bytes": ({"sealed_detail": os.urandom(4353)}, "sealed_detail"),
    "an empty code": ({"code": ""}, "code"),
    "an unknown code": ({"code": "tax-evasion"}, "code"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_bad_signal_refuses_the_batch_and_is_pointed_at(
    deployment: Deployment, north: Caller, case: str
) -> None:
    changes, field = CASES[case]
    refusal = publish(deployment, north, [good(), good(), good(**changes), good()])
    assert refusal.reason == "INVALID_REQUEST"
    assert refusal.total == len(refusal.violations) >= 1
    assert all("[2]" in each for each in refusal.fields), refusal.fields
    assert any(field in each for each in refusal.fields), refusal.fields


def test_the_signed_pair_of_an_old_and_a_new_token_is_accepted(deployment: Deployment, north: Caller) -> None:
    pair = good(code="same-subject", links=[subject(epoch=4)])
    request = pen(deployment, "bank-north").batch([pair], epoch=2)
    assert not north.signals.PublishSignals(request, timeout=10).repeated_batch


def test_an_expired_epoch_is_refused(deployment: Deployment, north: Caller) -> None:
    refusal = publish(deployment, north, [good(subject=subject(epoch=1))], epoch=1)
    assert refusal.reason == "EPOCH_NOT_VALID"
    assert refusal.metadata.get("epoch", "1") == "1"


@pytest.mark.parametrize("epoch", [0, 3, 2**32 - 1])
def test_an_epoch_that_never_was_is_refused(deployment: Deployment, north: Caller, epoch: int) -> None:
    refusal = publish(deployment, north, [good(subject=subject(epoch=epoch))], epoch=epoch)
    assert refusal.reason == "EPOCH_NOT_VALID"


def test_a_code_that_the_rulebook_gives_to_others_is_not_allowed(
    deployment: Deployment, north: Caller
) -> None:
    merchant = subject(type_=MERCHANT, epoch=2)
    refusal = publish(deployment, north, [good(), good(code="logistics-mismatch", subject=merchant)])
    assert refusal.reason == "CODE_NOT_ALLOWED"
    assert any("[1]" in each and "code" in each for each in refusal.fields), refusal.fields


def test_at_most_32_violations_are_listed_and_all_are_counted(deployment: Deployment, north: Caller) -> None:
    signals = [good(confidence=101, amount_band=256) for _ in range(1000)]
    refusal = publish(deployment, north, signals)
    assert refusal.reason == "INVALID_REQUEST"
    assert len(refusal.violations) == 32
    assert refusal.total == 2000


def test_long_violations_still_fit_the_trailers(deployment: Deployment, north: Caller) -> None:
    signals = [good(code="x" * 4000, confidence=101) for _ in range(100)]
    refusal = publish(deployment, north, signals)
    assert refusal.reason == "INVALID_REQUEST"
    assert refusal.total == 200
    assert refusal.violations


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_1_to_1000_signals(deployment: Deployment, north: Caller, count: int) -> None:
    request = pen(deployment, "bank-north").batch([good()], epoch=2)
    del request.signals[:]
    for _ in range(count):
        request.signals.add(nonce=os.urandom(32), signal=good().SerializeToString())
    refusal = refused(north.signals.PublishSignals, request, timeout=10)
    assert refusal.reason == "INVALID_REQUEST"
    assert any(each.startswith("signals") for each in refusal.fields), refusal.fields


def test_bytes_that_are_no_signal_are_pointed_at(deployment: Deployment, north: Caller) -> None:
    request = pen(deployment, "bank-north").batch([good().SerializeToString(), b"\xff\xff\xff"], epoch=2)
    refusal = refused(north.signals.PublishSignals, request, timeout=10)
    assert refusal.reason in ("INVALID_REQUEST", "MALFORMED")
    assert any("[1]" in each for each in refusal.fields), refusal.fields


@pytest.mark.parametrize("request_", [PublishSignalsRequest(), PublishSignalsRequest(statement=b"\xff")])
def test_an_empty_or_unreadable_statement_is_refused(north: Caller, request_: PublishSignalsRequest) -> None:
    refusal = refused(north.signals.PublishSignals, request_, timeout=10)
    assert refusal.reason in ("INVALID_REQUEST", "MALFORMED")


def _logged_refusals(deployment: Deployment) -> list[tuple[str, str, str]]:
    mirror = new_mirror(deployment)
    with caller(deployment, "audit-one") as auditor:
        mirror.extend(auditor.log)
        indices = mirror.of_type(EntryType.ENTRY_TYPE_REFUSAL)
        found = []
        for entry in mirror.opened(auditor.log, indices):
            refusal = RefusalEntry.FromString(entry.payload)
            header = mirror.headers[entry.index]
            assert header is not None
            found.append((header.member, refusal.method.rsplit("/", 1)[1], refusal.reason))
    return found


@pytest.mark.parametrize(
    ("purpose", "reason"),
    [
        ("", "PURPOSE_REQUIRED"),
        ("curiosity", "PURPOSE_NOT_ALLOWED"),
        ("credit-decision", "PURPOSE_NOT_ALLOWED"),
        ("Transaction-Screening", "PURPOSE_NOT_ALLOWED"),
        ("x" * 10_000, "PURPOSE_NOT_ALLOWED"),
    ],
)
def test_a_look_up_or_subscription_without_an_allowed_purpose_is_denied_and_the_denial_logged(
    tmp_path_factory: pytest.TempPathFactory, purpose: str, reason: str
) -> None:
    # A hub of its own: beyond a few a minute refusals are put on the log together.
    with (
        running_hub(tmp_path_factory.mktemp("purpose"), Plan(types=("card",))) as deployment,
        caller(deployment, "shop-river") as shop,
    ):
        for method, call in (
            (
                "LookUpSubjects",
                lambda: shop.signals.LookUpSubjects(look_up([TOKEN], purpose=purpose), timeout=10),
            ),
            ("Subscribe", lambda: shop.signals.Subscribe(subscribe([TOKEN], purpose=purpose), timeout=10)),
        ):
            refusal = refused(call)
            assert (refusal.status, refusal.reason) == ("PERMISSION_DENIED", reason)
            assert ("shop-river", method, reason) in _logged_refusals(deployment)


LOOK_UPS: dict[str, tuple[LookUpSubjectsRequest, str]] = {
    "no tokens": (look_up([], epoch=2), "tokens"),
    "1,001 tokens": (look_up([os.urandom(32) for _ in range(1001)], epoch=2), "tokens"),
    "a short token": (look_up([TOKEN, b"short"], epoch=2), "tokens[1]"),
    "the same token twice": (look_up([TOKEN, TOKEN], epoch=2), "tokens[1]"),
    "tokens out of order": (
        LookUpSubjectsRequest(
            purpose="transaction-screening", type=CARD, epoch=2, tokens=[b"b" * 32, b"a" * 32]
        ),
        "tokens[1]",
    ),
    "no type": (look_up([TOKEN], type_=IdentifierType.IDENTIFIER_TYPE_UNSPECIFIED, epoch=2), "type"),
    "a type that does not exist": (look_up([TOKEN], type_=99, epoch=2), "type"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", LOOK_UPS)
@pytest.mark.parametrize("method", ["LookUpSubjects", "Subscribe", "Unsubscribe"])
def test_a_bad_look_up_is_refused_with_its_place(north: Caller, case: str, method: str) -> None:
    request, field = LOOK_UPS[case]
    if case == "a short token":
        field = f"tokens[{list(request.tokens).index(b'short')}]"
    refusal = refused(north.raw, f"/signalexchange.v1.SignalService/{method}", _encode(request, method))
    assert refusal.reason == "INVALID_REQUEST"
    assert any(each.startswith(field) for each in refusal.fields), refusal.fields


def _encode(request: LookUpSubjectsRequest, method: str) -> bytes:
    if method == "Unsubscribe":
        other = UnsubscribeRequest(type=request.type, epoch=request.epoch, tokens=request.tokens)
        return other.SerializeToString()
    return request.SerializeToString()


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_a_look_up_in_an_epoch_that_is_not_valid_is_refused(north: Caller, epoch: int) -> None:
    refusal = refused(north.signals.LookUpSubjects, look_up([TOKEN], epoch=epoch), timeout=10)
    assert refusal.reason == "EPOCH_NOT_VALID"
