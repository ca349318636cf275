"""The SDK's client against a hub and custodians in this process, over mTLS."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from signalexchange.checkpoint import Checkpoint, sign_checkpoint
from signalexchange.client import ExchangeClient
from signalexchange.config import JournalFiles
from signalexchange.connection import Connection
from signalexchange.credentials import load_private_key
from signalexchange.envelope import sign_batch
from signalexchange.errors import (
    ConfigError,
    CustodianError,
    InvalidIdentifierError,
    MalformedError,
    RefusedError,
    VerificationError,
)
from signalexchange.journal import Journal, Kind, SignalNote
from signalexchange.log_client import ForkError, confirm, fork_evidence, settle_fork
from signalexchange.note import Signer, split_note
from signalexchange.sealed_store import create_key
from signalexchange.signals import InvalidSignalError
from signalexchange.token_source import EpochError
from signalexchange.v1.identifier_pb2 import (
    IDENTIFIER_TYPE_EMAIL,
    IDENTIFIER_TYPE_PHONE,
    Receipt,
    SubjectToken,
)
from signalexchange.v1.log_entry_pb2 import BatchEntry
from signalexchange.v1.signal_pb2 import Signal, WithdrawalReason
from signalexchange.v1.signal_service_pb2 import PublishSignalsRequest, SignalChange
from signalexchange.watch import state_name

from tests.support.exchange import deploy
from tests.support.members import signal
from tests.support.sdk import CARD, PURPOSE, World, draft, luhn, world

pytestmark = pytest.mark.asyncio(loop_scope="module")
_numbers = count(1000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exchange(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("world")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def north(exchange: World) -> AsyncIterator[ExchangeClient]:
    async with ExchangeClient.from_config(exchange.config("bank-north")) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def south(exchange: World) -> AsyncIterator[ExchangeClient]:
    async with ExchangeClient.from_config(exchange.config("bank-south")) as client:
        yield client


def card() -> int:
    """The number of a card that no other test uses."""
    return next(_numbers)


async def begun(*clients: ExchangeClient) -> None:
    """Wait until each client's watch has its first token: from there on it misses nothing."""
    async with asyncio.timeout(10):
        for client in clients:
            name = state_name((await client.roster.roster()).origin)
            while not client.journal.state(name):  # noqa: ASYNC110 - another task writes it
                await asyncio.sleep(0.01)


async def test_what_one_publishes_others_look_up(north: ExchangeClient, south: ExchangeClient) -> None:
    one, other, unknown = card(), card(), card()
    done = await north.publish([draft(one), draft(other)])
    assert not done.repeated
    tokens = await south.tokens(CARD, [luhn(one), luhn(unknown), luhn(other), luhn(one)])
    answers = await south.look_up(PURPOSE, tokens)
    assert [answer.risk is not None for answer in answers] == [True, False, True, True]
    assert answers[0].risk is not None
    assert answers[0].risk.groups == 1
    assert [answer.token.value for answer in answers] == [token.value for token in tokens]
    assert all(answer.index > done.index for answer in answers)
    # What the caller said itself is left out of what it is told.
    own = await north.look_up(PURPOSE, await north.tokens(CARD, [luhn(one)]))
    assert own[0].risk is None


async def test_many_tokens_are_asked_about_in_batches_and_answered_in_order(south: ExchangeClient) -> None:
    tokens = [SubjectToken(type=CARD, epoch=1, value=os.urandom(32)) for _ in range(1100)]
    tokens += tokens[:50]
    reports: list[tuple[int, int]] = []
    answers = await south.look_up(
        PURPOSE, tokens, on_progress=lambda done, total: reports.append((done, total))
    )
    assert [answer.token.value for answer in answers] == [token.value for token in tokens]
    assert reports == [(1000, 1100), (1100, 1100)]
    assert len({answer.index for answer in answers}) == 2


async def test_the_same_drafts_are_one_batch_even_without_custodians(
    exchange: World, north: ExchangeClient
) -> None:
    drafts = [draft(card()), draft(card())]
    first = await north.publish(drafts)
    config = exchange.config("bank-north").model_copy(update={"custodians": {}})
    async with ExchangeClient.from_config(config) as other:
        again = await other.publish([replace(each, place="elsewhere.jsonl, row 7") for each in drafts])
        with pytest.raises(ConfigError, match="custodians"):
            await other.publish([draft(card())])
    assert again.repeated
    assert (again.id, again.signal_ids, again.index) == (first.id, first.signal_ids, first.index)


async def test_a_batch_that_could_not_be_sent_is_sent_as_it_was(
    exchange: World, north: ExchangeClient
) -> None:
    drafts = [draft(card())]
    config = exchange.config("bank-north")
    async with ExchangeClient.from_config(config) as cut_off:
        await cut_off.custodians.manifest()
        # From here on the hub is out of reach.
        cut_off._hub._current = Connection("127.0.0.1:1", config.tls.files)._current
        with pytest.raises(RefusedError) as caught:
            await cut_off.publish(drafts, timeout=2.0)
    assert caught.value.reason in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    (waiting,) = north.journal.pending()
    assert north.journal.signals_of(drafts[0].reference)[0].batch_id == waiting.id
    (done,) = await north.resume_pending()
    assert not isinstance(done, RefusedError)
    assert (done.id, done.repeated) == (waiting.id, False)
    assert north.journal.pending() == []
    (entry,) = await north.log.open_entries([done.index])
    sent = PublishSignalsRequest.FromString(waiting.request)
    assert BatchEntry.FromString(entry.payload).statement == sent.statement
    assert (await north.publish(drafts)).repeated


async def test_signals_built_elsewhere_are_published_under_their_own_id(north: ExchangeClient) -> None:
    batch_id = os.urandom(16)
    own = signal()
    note = SignalNote(
        own.signal_id, batch_id, own.code, "case-elsewhere", (own.subject.value,), b"{}", b"s" * 32
    )
    now = own.last_seen + 3600
    first = await north.publisher.publish_signals([own], batch_id, [note], now)
    again = await north.publisher.publish_signals([signal()], batch_id, [], now)
    assert (first.repeated, again.repeated) == (False, True)
    assert again.signal_ids == (own.signal_id,)
    assert north.journal.signals_of("case-elsewhere") == [note]


async def test_a_refused_batch_leaves_nothing_undecided(north: ExchangeClient) -> None:
    bad = draft(card(), code="no-such-code")
    with pytest.raises(RefusedError) as caught:
        await north.publish([draft(card()), bad])
    assert caught.value.reason == "INVALID_REQUEST"
    assert [field for field, _ in caught.value.violations] == ["signals[1].code"]
    assert north.journal.pending() == []
    assert north.journal.signals_of(bad.reference) == []
    refused = [sent for sent in north.journal.history(Kind.BATCH) if sent.state == "refused"]
    assert len(refused) == 1
    assert "INVALID_REQUEST" in refused[0].problem


async def test_what_breaks_the_contract_never_reaches_a_custodian(
    exchange: World, north: ExchangeClient
) -> None:
    config = exchange.config("bank-north").model_copy(update={"custodians": {"custodian-a": "127.0.0.1:1"}})
    async with ExchangeClient.from_config(config) as client:
        with pytest.raises(InvalidSignalError, match="confidence"):
            await client.publish([draft(card(), confidence=101)])
    with pytest.raises(InvalidIdentifierError) as caught:
        await north.tokens(IDENTIFIER_TYPE_PHONE, ["13812345678"], epoch=1)
    assert caught.value.type_name == "phone"
    assert "1381234" not in str(caught.value)
    with pytest.raises(EpochError, match="email"):
        await north.tokens(IDENTIFIER_TYPE_EMAIL, ["a@example.com"])


async def test_a_key_that_is_not_the_rosters_signs_nothing(exchange: World) -> None:
    config = exchange.config("bank-north")
    assert config.signing is not None
    foreign = load_private_key(exchange.deployment.party_config("bank-south").with_name("signing.key"))
    async with ExchangeClient.from_config(config, sign=foreign.sign) as client:
        with pytest.raises(ConfigError, match="is not the roster's 'signing-1'"):
            await client.publish([draft(card())])
        assert client.journal.pending() == []
    unlisted = config.model_copy(update={"signing": config.signing.model_copy(update={"key_id": "other"})})
    async with ExchangeClient.from_config(unlisted) as client:
        with pytest.raises(ConfigError, match="lists no signing key 'other'"):
            await client.publish([draft(card())])


async def test_what_may_be_stored_stays_pending_when_its_signature_or_id_is_refused(
    exchange: World, north: ExchangeClient
) -> None:
    config = exchange.config("bank-north")
    roster = await north.roster.roster()
    taken, taken_note = _elsewhere(os.urandom(16), "case-taken")
    await north.publisher.publish_signals([taken], taken_note.batch_id, [taken_note], taken.last_seen + 3600)
    other, other_note = _elsewhere(taken_note.batch_id, "case-other")
    unsigned, unsigned_note = _elsewhere(os.urandom(16), "case-unsigned")
    fine, fine_note = _elsewhere(os.urandom(16), "case-fine")
    elsewhere = exchange.deployment.folder / "kept"
    elsewhere.mkdir()
    create_key(elsewhere / "key")
    files = JournalFiles.model_construct(path=elsewhere / "db", key=elsewhere / "key")
    north_key = load_private_key(exchange.deployment.party_config("bank-north").with_name("signing.key"))
    foreign_key = load_private_key(exchange.deployment.party_config("bank-south").with_name("signing.key"))
    async with ExchangeClient.from_config(config.model_copy(update={"journal": files})) as client:
        for message, note, key in (
            (unsigned, unsigned_note, foreign_key),
            (other, other_note, north_key),
            (fine, fine_note, north_key),
        ):
            request = sign_batch(
                [message.SerializeToString()],
                origin=roster.origin,
                member="bank-north",
                key_id="signing-1",
                batch_id=note.batch_id,
                epoch=1,
                sign=key.sign,
            )
            client.journal.prepare(Kind.BATCH, note.batch_id, request.SerializeToString(), [note])
        before = client.journal.pending()
        bad_signature, reused, done = await client.resume_pending()
        assert isinstance(bad_signature, RefusedError)
        assert bad_signature.reason == "SIGNATURE_INVALID"
        assert isinstance(reused, RefusedError)
        assert reused.reason == "ID_REUSED"
        assert all("stays pending" in str(error) for error in (bad_signature, reused))
        assert not isinstance(done, RefusedError)
        assert client.journal.pending() == before[:2]
        assert client.journal.signals_of("case-unsigned") == [unsigned_note]
        assert client.journal.signals_of("case-other") == [other_note]


def _elsewhere(batch_id: bytes, reference: str) -> tuple[Signal, SignalNote]:
    """A signal built elsewhere and its note."""
    own = signal()
    tokens = (own.subject.value,)
    return own, SignalNote(own.signal_id, batch_id, own.code, reference, tokens, b"{}", b"s" * 32)


async def test_an_hsm_may_sign(exchange: World) -> None:
    key = load_private_key(exchange.deployment.party_config("bank-north").with_name("signing.key"))
    asked: list[int] = []

    def sign(message: bytes) -> bytes:
        asked.append(len(message))
        return key.sign(message)

    async with ExchangeClient.from_config(exchange.config("bank-north"), sign=sign) as client:
        assert not (await client.publish([draft(card())])).repeated
    assert len(asked) == 1


async def test_a_subscriber_is_told_and_led_back_to_its_customer(
    north: ExchangeClient, south: ExchangeClient
) -> None:
    number = card()
    (token,) = await south.tokens(CARD, [luhn(number)])
    south.journal.remember({token.value: ["customer-77"]})
    for client in (south, north):
        client.journal.set_state(state_name((await client.roster.roster()).origin), b"")
    assert await south.subscribe(PURPOSE, [token]) > 0
    async with aclosing(south.watch(from_now=True)) as theirs, aclosing(north.watch(from_now=True)) as ours:
        told, own = asyncio.ensure_future(anext(theirs)), asyncio.ensure_future(anext(ours))
        await begun(south, north)
        done = await north.publish([draft(number)])
        event = await asyncio.wait_for(told, 10)
        assert (event.signal_id, event.own) == (done.signal_ids[0], False)
        assert event.change == SignalChange.SIGNAL_CHANGE_RECORDED
        assert (event.references, event.note) == (("customer-77",), None)
        order = await north.withdraw(done.signal_ids, WithdrawalReason.WITHDRAWAL_REASON_REFUTED)
        mine = await asyncio.wait_for(own, 10)
        assert (mine.own, mine.change) == (True, SignalChange.SIGNAL_CHANGE_WITHDRAWN)
        assert mine.note is not None
        assert mine.note.reference == f"case-{number}"
    again = await north.withdraw(done.signal_ids, WithdrawalReason.WITHDRAWAL_REASON_REFUTED)
    assert (order.id, order.index, again.repeated) == (again.id, again.index, True)
    # The watch goes on after what was handled: the first event comes again, then the withdrawal.
    async with aclosing(south.watch()) as theirs:
        changes = [(await asyncio.wait_for(anext(theirs), 10)).change for _ in range(2)]
    assert changes == [SignalChange.SIGNAL_CHANGE_RECORDED, SignalChange.SIGNAL_CHANGE_WITHDRAWN]
    assert await south.unsubscribe([token]) == 1
    answers = await south.look_up(PURPOSE, [token])
    assert answers[0].risk is None


async def test_withdrawing_anothers_signal_is_refused_and_undecided_nowhere(
    north: ExchangeClient, south: ExchangeClient
) -> None:
    done = await north.publish([draft(card())])
    with pytest.raises(RefusedError, match="SIGNAL_UNKNOWN"):
        await south.withdraw(done.signal_ids, WithdrawalReason.WITHDRAWAL_REASON_ERASURE)
    assert south.journal.pending() == []


async def test_a_receipt_is_held_to_its_word(north: ExchangeClient) -> None:
    done = await north.publish([draft(card())])
    sent = north.journal.sent(Kind.BATCH, done.id)
    assert sent is not None
    request = PublishSignalsRequest.FromString(sent.request)
    payload = BatchEntry(statement=request.statement, signature=request.signature).SerializeToString()
    receipt = Receipt(index=done.index, checkpoint=done.checkpoint)
    proved = await confirm(north.log, receipt, payload)
    assert proved.index == done.index
    with pytest.raises(VerificationError, match="something else"):
        await confirm(north.log, receipt, payload + b"x")
    with pytest.raises(VerificationError, match=r"names entry \d+ of a tree"):
        await north.log.accept_receipt(Receipt(index=10**6, checkpoint=done.checkpoint))
    with pytest.raises(RefusedError, match="BEYOND_LOG"):
        await north.log.prove(10**6)


async def test_a_checkpoint_of_another_key_is_not_believed(north: ExchangeClient) -> None:
    note = await north.log.checkpoint()
    checkpoint = Checkpoint.parse(split_note(note)[0])
    forged = sign_checkpoint(
        checkpoint, Signer.from_private_key(checkpoint.origin, Ed25519PrivateKey.generate())
    )
    with pytest.raises(VerificationError):
        await north.log.accept(forged)
    with pytest.raises(MalformedError):
        await north.log.accept(b"junk")
    assert await north.log.accept(note) == checkpoint


@pytest.mark.parametrize("behind", [0, 1])
async def test_a_forked_log_is_named_with_both_checkpoints_and_never_believed_again(
    exchange: World, south: ExchangeClient, behind: int
) -> None:
    # Whichever test comes first, the log is longer than its first entry.
    await south.look_up(PURPOSE, [SubjectToken(type=CARD, epoch=1, value=b"t" * 32)])
    honest_note = await south.log.checkpoint()
    honest = Checkpoint.parse(split_note(honest_note)[0])
    key = load_private_key(exchange.deployment.hub_config.with_name("log.key"))
    other = replace(honest, size=honest.size - behind, root=sha256(b"another history").digest())
    forked = sign_checkpoint(other, Signer.from_private_key(honest.origin, key))
    folder = exchange.deployment.folder / f"fork-{behind}"
    folder.mkdir()
    create_key(folder / "key")
    with Journal(folder / "db", folder / "key") as journal:
        journal.set_state(f"checkpoint {honest.origin}", forked)
    files = JournalFiles.model_construct(path=folder / "db", key=folder / "key")
    config = exchange.config("bank-south").model_copy(update={"journal": files})
    async with ExchangeClient.from_config(config) as client:
        with pytest.raises(ForkError) as caught:
            await client.log.checkpoint()
        assert (caught.value.ours, caught.value.theirs) == (forked, honest_note)
        for root in (honest.root, other.root):
            assert root.hex() in str(caught.value)
        assert fork_evidence(client.journal, honest.origin) == (forked, honest_note)
        with pytest.raises(ForkError):
            await client.look_up(PURPOSE, [SubjectToken(type=CARD, epoch=1, value=b"t" * 32)])
    async with ExchangeClient.from_config(config) as restarted:
        with pytest.raises(ForkError) as caught:
            await restarted.log.checkpoint()
        assert (caught.value.ours, caught.value.theirs) == (forked, honest_note)
        settle_fork(restarted.journal, honest.origin)
    async with ExchangeClient.from_config(config) as asking_again:
        with pytest.raises(ForkError):
            await asking_again.log.checkpoint()
        assert fork_evidence(asking_again.journal, honest.origin) is not None


async def test_a_settled_fork_is_believed_where_the_log_proves_it_was_none(
    exchange: World, south: ExchangeClient, tmp_path: Path
) -> None:
    ours = await south.log.checkpoint()
    origin = Checkpoint.parse(split_note(ours)[0]).origin
    create_key(tmp_path / "key")
    files = JournalFiles.model_construct(path=tmp_path / "db", key=tmp_path / "key")
    config = exchange.config("bank-south").model_copy(update={"journal": files})
    with Journal(files.path, files.key) as journal:
        journal.set_state(f"checkpoint {origin}", ours)
        journal.set_state(f"fork {origin}", ours)
    async with ExchangeClient.from_config(config) as client:
        with pytest.raises(ForkError):
            await client.log.checkpoint()
        settle_fork(client.journal, origin)
    async with ExchangeClient.from_config(config) as client:
        await client.log.checkpoint()
        assert fork_evidence(client.journal, origin) is None


async def test_a_roster_version_once_seen_is_not_unseen(exchange: World, south: ExchangeClient) -> None:
    name = f"roster {(await south.roster.roster()).origin}"
    seen = south.journal.state(name)
    assert seen is not None
    try:
        south.journal.set_state(name, (2).to_bytes(4, "big") + b"h" * 32)
        with pytest.raises(VerificationError, match="hides roster versions: 2 was seen"):
            await south.roster.refresh()
        south.journal.set_state(name, (1).to_bytes(4, "big") + b"h" * 32)
        with pytest.raises(VerificationError, match="version 1 is not the one seen before"):
            await south.roster.refresh()
    finally:
        south.journal.set_state(name, seen)


async def test_another_trust_anchor_is_told_from_the_hubs(
    exchange: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = deploy(tmp_path_factory.mktemp("elsewhere"))
    config = exchange.config("bank-south")
    foreign = config.model_copy(
        update={"trust": config.trust.model_copy(update={"genesis": elsewhere.genesis})}
    )
    async with ExchangeClient.from_config(foreign.model_copy(update={"journal": None})) as client:
        with pytest.raises(VerificationError):
            await client.roster.roster()
        with pytest.raises(ConfigError, match=r"add \[signing\] and \[journal\]"):
            await client.publish([draft(card())])


async def test_too_few_custodians_are_named(exchange: World) -> None:
    config = exchange.config("bank-north")
    targets = dict.fromkeys(list(config.custodians)[1:], "127.0.0.1:1")
    lame = config.model_copy(
        update={"custodians": {**config.custodians, **targets}, "token_cache": type(config.token_cache)()}
    )
    async with ExchangeClient.from_config(lame) as client:
        with pytest.raises(CustodianError) as caught:
            await client.tokens(CARD, [luhn(card())])
    assert set(caught.value.failures) <= set(targets)
    assert caught.value.failures
