"""A curious operator with the whole data folder and the logs: what is there, and what must not be."""

import base64
import os
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from signalexchange.sealing import seal
from signalexchange.tokens import Token
from signalexchange.v1.log_entry_pb2 import AccessEntry, EntryType
from signalexchange.v1.signal_pb2 import Signal, WithdrawalReason
from signalexchange.v1.signal_service_pb2 import UnsubscribeRequest
from signalexchange.v1.transparency_service_pb2 import OpenEntriesRequest

from exchange.provision import Deployment, Plan, provision
from tests.support.caller import refused
from tests.support.faults import Server
from tests.support.hub import hub_data, hub_database, hub_server, new_mirror
from tests.support.members import CARD, caller, look_up, pen, signal, subscribe

DETAIL = b"customer said: the shop returned nine tenths in cash"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, Server]]:
    folder = tmp_path_factory.mktemp("database")
    deployment = provision(folder / "deployment", Plan(types=("card",)))
    server = hub_server(deployment, folder / "hub.log")
    server.start()
    yield deployment, server
    server.close()


def _spellings(secret: bytes) -> list[bytes]:
    """The bytes themselves and the ways in which text would hold them."""
    encoded = base64.b64encode(secret)
    return [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        encoded.rstrip(b"="),
        base64.urlsafe_b64encode(secret).rstrip(b"="),
        repr(secret)[2:-1].encode(),
    ]


def _holders(deployment: Deployment, server: Server, secret: bytes) -> set[str]:
    """Names of the hub's files (data folder, write-ahead log, the process's log) that hold the secret."""
    files = [*(each for each in hub_data(deployment).rglob("*") if each.is_file()), server.log]
    return {file.name for file in files for spelling in _spellings(secret) if spelling in file.read_bytes()}


def test_the_scan_itself_finds_what_is_stored(running: tuple[Deployment, Server]) -> None:
    deployment, server = running
    about = signal()
    with caller(deployment, "bank-north") as north:
        north.signals.PublishSignals(pen(deployment, "bank-north").batch([about]), timeout=10)
    assert _holders(deployment, server, about.subject.value)
    assert not any(each.endswith(".log") for each in _holders(deployment, server, about.subject.value))


def test_misses_leave_no_trace(running: tuple[Deployment, Server]) -> None:
    deployment, server = running
    hit = signal()
    misses = [os.urandom(32) for _ in range(50)]
    with caller(deployment, "bank-north") as north, caller(deployment, "bank-south") as south:
        north.signals.PublishSignals(pen(deployment, "bank-north").batch([hit]), timeout=10)
        answer = south.signals.LookUpSubjects(look_up([hit.subject.value, *misses]), timeout=10)
        assert [each.token for each in answer.subjects] == [hit.subject.value]
        # Refused requests leave none either.
        bad = look_up(misses, purpose="curiosity")
        assert refused(south.signals.LookUpSubjects, bad, timeout=10).reason == "PURPOSE_NOT_ALLOWED"
        unsorted = look_up(misses)
        unsorted.tokens.append(misses[0])
        assert refused(south.signals.LookUpSubjects, unsorted, timeout=10).reason == "INVALID_REQUEST"
    mirror = new_mirror(deployment)
    with caller(deployment, "audit-one") as auditor:
        mirror.extend(auditor.log)
        (entry,) = mirror.opened(auditor.log, [answer.receipt.index])
    access = AccessEntry.FromString(entry.payload)
    assert access.hits == hit.subject.value
    assert access.asked == 51
    assert _holders(deployment, server, hit.subject.value)
    for miss in misses:
        assert not _holders(deployment, server, miss)


def test_the_database_does_not_confirm_a_guess_of_a_token_that_missed(
    running: tuple[Deployment, Server],
) -> None:
    """The salts leave with the answers: with the database and the very token, no digest can be recomputed."""
    deployment, server = running
    token = os.urandom(32)
    with caller(deployment, "bank-south") as south, caller(deployment, "audit-one") as auditor:
        answers = [south.signals.LookUpSubjects(look_up([token]), timeout=10) for _ in range(2)]
        mirror = new_mirror(deployment)
        mirror.extend(auditor.log)
        opened = mirror.opened(auditor.log, [each.receipt.index for each in answers])
        first, second = (AccessEntry.FromString(entry.payload) for entry in opened)
    salts = [answer.access_salt for answer in answers]
    assert [len(salt) for salt in salts] == [16, 16]
    assert sha256(salts[0] + token).digest() == first.request_digest
    assert not any(_holders(deployment, server, salt) for salt in salts)
    assert first.request_digest != second.request_digest


def test_sealed_detail_stays_sealed(running: tuple[Deployment, Server]) -> None:
    deployment, server = running
    about = signal()
    token = Token(CARD, 1, about.subject.value, os.urandom(32))
    about.sealed_detail = seal(token, about.signal_id, DETAIL)
    with caller(deployment, "bank-north") as north:
        north.signals.PublishSignals(pen(deployment, "bank-north").batch([about]), timeout=10)
    assert not _holders(deployment, server, DETAIL)
    assert not _holders(deployment, server, DETAIL[:16])
    assert not _holders(deployment, server, token.sealing_key)
    assert _holders(deployment, server, about.sealed_detail)


def _parts(each: Signal, nonces: dict[bytes, bytes]) -> list[bytes]:
    return [
        each.subject.value,
        each.links[0].value,
        each.record_commitment,
        each.sealed_detail,
        nonces[each.SerializeToString()],
    ]


def test_erased_content_is_gone_from_every_file_once_the_order_is_acknowledged(
    running: tuple[Deployment, Server],
) -> None:
    deployment, server = running
    signals = [signal(sealed_detail=os.urandom(200), links=[signal().subject]) for _ in range(20)]
    erased, kept = signals[::2], signals[1::2]
    batch = pen(deployment, "bank-north").batch(signals)
    nonces = {each.signal: each.nonce for each in batch.signals}
    with caller(deployment, "bank-north") as north, caller(deployment, "bank-south") as south:
        index = north.signals.PublishSignals(batch, timeout=10).receipt.index
        gone = [part for each in erased for part in _parts(each, nonces)]
        stays = [part for each in kept for part in _parts(each, nonces)]
        assert all(_holders(deployment, server, part) for part in [*gone, *stays])
        order = pen(deployment, "bank-north").withdrawal(
            [each.signal_id for each in erased], WithdrawalReason.WITHDRAWAL_REASON_ERASURE
        )
        receipt = north.signals.WithdrawSignals(order, timeout=10).receipt
        for part in gone:
            assert not _holders(deployment, server, part)
        assert all(_holders(deployment, server, part) for part in stays)
        tokens = [each.subject.value for each in signals]
        answer = south.signals.LookUpSubjects(look_up(tokens), timeout=10)
        assert {each.token for each in answer.subjects} == {each.subject.value for each in kept}
    # The log still verifies, the batch's entry and the order's included.
    mirror = new_mirror(deployment)
    with caller(deployment, "audit-one") as auditor:
        mirror.extend(auditor.log)
        for place in (index, receipt.index):
            mirror.prove_inclusion(auditor.log, place, len(mirror.leaves))


def test_an_ended_subscription_leaves_no_token_after_the_next_erasure_or_stop(tmp_path: Path) -> None:
    deployment = provision(tmp_path / "deployment", Plan(types=("card",)))
    server = hub_server(deployment, tmp_path / "hub.log")
    server.start()
    try:
        token = os.urandom(32)
        with caller(deployment, "bank-south") as south:
            south.signals.Subscribe(subscribe([token]), timeout=10)
            assert _holders(deployment, server, token)
            request = UnsubscribeRequest(type=CARD, epoch=1, tokens=[token])
            assert south.signals.Unsubscribe(request, timeout=10).removed == 1
        assert server.stop() == 0
        assert not _holders(deployment, server, token)
    finally:
        server.close()


def test_the_database_holds_no_key_and_no_file_is_open_to_others(running: tuple[Deployment, Server]) -> None:
    deployment, server = running
    key = (deployment.folder / "hub" / "log.key").read_bytes()
    der = base64.b64decode(b"".join(key.splitlines()[1:-1]))
    assert not _holders(deployment, server, der[-32:])
    for file in hub_data(deployment).rglob("*"):
        assert not file.stat().st_mode & 0o007, file
    database = sqlite3.connect(f"file:{hub_database(deployment)}?mode=ro", uri=True)
    try:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        database.close()


def test_the_operators_own_log_names_no_token(running: tuple[Deployment, Server]) -> None:
    deployment, server = running
    about = signal()
    with caller(deployment, "bank-north") as north, caller(deployment, "bank-south") as south:
        north.signals.PublishSignals(pen(deployment, "bank-north").batch([about]), timeout=10)
        south.signals.LookUpSubjects(look_up([about.subject.value]), timeout=10)
        broken = pen(deployment, "bank-north").batch([signal(about.subject.value, confidence=999)])
        assert refused(north.signals.PublishSignals, broken, timeout=10).reason == "INVALID_REQUEST"
    for secret in (about.subject.value, about.signal_id, about.record_commitment):
        assert server.log.name not in _holders(deployment, server, secret)
    events = server.events()
    assert any(each.get("event") == "call" for each in events)


def test_an_auditor_opens_what_hit_and_never_what_was_asked(running: tuple[Deployment, Server]) -> None:
    deployment, _ = running
    misses = [os.urandom(32) for _ in range(3)]
    with caller(deployment, "bank-south") as south, caller(deployment, "audit-one") as auditor:
        index = south.signals.LookUpSubjects(look_up(misses), timeout=10).receipt.index
        mirror = new_mirror(deployment)
        mirror.extend(auditor.log)
        assert index in mirror.of_type(EntryType.ENTRY_TYPE_LOOK_UP)
        opened = auditor.log.OpenEntries(OpenEntriesRequest(indices=[index]), timeout=10).SerializeToString()
    assert not any(miss in opened for miss in misses)
