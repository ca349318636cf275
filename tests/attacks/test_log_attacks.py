"""The hub rewrites, drops, reorders, forks and invents: an auditor's folder shows each."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from signalexchange import envelope, merkle
from signalexchange.checkpoint import Checkpoint, sign_checkpoint
from signalexchange.cosignature import Cosigner
from signalexchange.entries import make_leaf
from signalexchange.errors import VerificationError
from signalexchange.evidence import EvidenceFolder
from signalexchange.note import add_signatures
from signalexchange.report import Report
from signalexchange.tiles import TileFolder, entries_path, tile_path
from signalexchange.v1.log_entry_pb2 import (
    BatchEntry,
    EntryHeader,
    EntryType,
    OpeningEntry,
    SignalPosition,
    WithdrawalEntry,
)
from signalexchange.verify import verify

from tests.support.logs import Log, filled_log
from tests.support.rosters import ORIGIN, Rosters, party, private_key, signed, signer


def audit(log: Log, folder: Path) -> Report:
    return verify(folder, log.rosters.chain.versions[0][0])


def found(report: Report, check: str, index: int | None = None) -> None:
    assert not report.ok
    assert (check, index) in [(problem.check, problem.index) for problem in report.problems], report.problems


def replace_leaves(folder: Path, leaves: list[bytes]) -> None:
    """What a hub would serve after tampering: bundles and tiles that fit each other."""
    shutil.rmtree(folder / "tile")
    TileFolder(folder).append(leaves)


def rewrite(log: Log) -> list[bytes]:
    return [*log.leaves[:2], make_leaf(b"x", bytes(32), b"y", bytes(32)), *log.leaves[3:]]


def drop(log: Log) -> list[bytes]:
    return log.leaves[:2] + log.leaves[3:]


def cut_the_end(log: Log) -> list[bytes]:
    return log.leaves[:-1]


def reorder(log: Log) -> list[bytes]:
    return [*log.leaves[:2], log.leaves[3], log.leaves[2], *log.leaves[4:]]


def insert(log: Log) -> list[bytes]:
    return [*log.leaves[:2], log.leaves[5], *log.leaves[2:]]


@pytest.mark.parametrize("tamper", [rewrite, drop, cut_the_end, reorder, insert])
def test_the_past_is_not_changed(tmp_path: Path, tamper: Callable[[Log], list[bytes]]) -> None:
    log = filled_log()
    log.collect(tmp_path)
    replace_leaves(tmp_path, tamper(log))
    assert not audit(log, tmp_path).ok


@pytest.mark.parametrize("tamper", [rewrite, drop, reorder, insert])
def test_a_new_checkpoint_over_a_changed_past_contradicts_the_old_one(
    tmp_path: Path, tamper: Callable[[Log], list[bytes]]
) -> None:
    """The hub signs what it now serves; a checkpoint or receipt that anybody kept gives it away."""
    log = filled_log()
    evidence = log.collect(tmp_path)
    log.leaves = tamper(log)
    log.look_up()
    replace_leaves(tmp_path, log.leaves)
    evidence = EvidenceFolder(tmp_path)
    evidence.add_checkpoint(log.checkpoint())
    report = audit(log, tmp_path)
    found(report, "checkpoints")
    assert report.size == log.size, "the newest checkpoint fits; it is the older ones that do not"


def test_two_roots_of_one_size_are_a_fork(tmp_path: Path) -> None:
    log, other = filled_log(), filled_log()
    other.leaves = reorder(other)
    evidence = log.collect(tmp_path)
    evidence.add_checkpoint(other.checkpoint())
    found(audit(log, tmp_path), "checkpoints")


def test_a_fork_beyond_the_leaves_in_hand_shows_all_the_same(tmp_path: Path) -> None:
    log = filled_log()
    evidence = log.collect(tmp_path)
    for text in (b"left", b"right"):
        root = merkle.leaf_hash(text)
        evidence.add_checkpoint(sign_checkpoint(Checkpoint(ORIGIN, 100, root), log.signer))
    found(audit(log, tmp_path), "checkpoints")


def test_a_smaller_tree_that_is_no_prefix_shows(tmp_path: Path) -> None:
    log, other = filled_log(), filled_log()
    other.leaves = reorder(other)
    evidence = log.collect(tmp_path)
    evidence.add_checkpoint(other.checkpoint(4))
    found(audit(log, tmp_path), "checkpoints")


def test_a_member_holds_the_fork_against_the_hub_with_two_checkpoints() -> None:
    """Without any leaves: no consistency proof leads from one branch to the other."""
    left, right = filled_log(), filled_log()
    right.leaves = reorder(right)
    right.look_up()
    hashes = [merkle.leaf_hash(leaf) for leaf in right.leaves]
    for old in range(4, 8):
        proof = [merkle.range_hash(hashes, lo, hi) for lo, hi in merkle.consistency_ranges(old, 8)]
        old_root = merkle.root([merkle.leaf_hash(leaf) for leaf in left.leaves[:old]])
        with pytest.raises(VerificationError):
            merkle.verify_consistency(old, 8, proof, old_root, merkle.root(hashes))


@pytest.mark.parametrize("name", ["exchange.test/impostor", ORIGIN])
def test_a_checkpoint_by_another_key_is_nobody_s_word(tmp_path: Path, name: str) -> None:
    log = filled_log()
    log.collect(tmp_path)
    impostor = type(log.signer).from_private_key(name, private_key("impostor"))
    note = sign_checkpoint(Checkpoint(ORIGIN, log.size, bytes(32)), impostor)
    (tmp_path / "checkpoint").write_bytes(note)
    report = audit(log, tmp_path)
    found(report, "checkpoints")
    assert (report.size, report.root) == (0, b"")


def test_a_checkpoint_of_another_log_is_refused(tmp_path: Path) -> None:
    log = filled_log()
    evidence = log.collect(tmp_path)
    root = merkle.root([merkle.leaf_hash(leaf) for leaf in log.leaves])
    note = sign_checkpoint(Checkpoint("exchange.test/other", log.size, root), log.signer)
    evidence.add_checkpoint(note)
    found(audit(log, tmp_path), "checkpoints")


def test_a_forged_cosignature_rejects_the_checkpoint(tmp_path: Path) -> None:
    log = filled_log()
    evidence = log.collect(tmp_path)
    witness = Cosigner("w", private_key("w").public_key().public_bytes_raw(), private_key("w").sign, 5)
    forged = add_signatures(log.checkpoint(), [witness])
    line = forged[forged.rindex("— w ".encode()) :]
    grown = Log()
    evidence.add_checkpoint(grown.checkpoint() + line)
    report = verify(tmp_path, log.rosters.chain.versions[0][0], [witness.verifier])
    found(report, "checkpoints")
    assert report.cosigned == []


def test_a_tampered_tile_shows(tmp_path: Path) -> None:
    log = filled_log()
    log.collect(tmp_path)
    path = tmp_path / tile_path(0, 0, 7)
    path.write_bytes(bytes(32) + path.read_bytes()[32:])
    found(audit(log, tmp_path), "tiles")


def test_a_tampered_bundle_shows(tmp_path: Path) -> None:
    log = filled_log()
    log.collect(tmp_path)
    path = tmp_path / entries_path(0, 7)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))
    report = audit(log, tmp_path)
    found(report, "checkpoints")
    assert report.verified["leaves"] < 7
    assert report.verified["receipts"] < 4


@pytest.mark.parametrize("part", ["header", "payload", "both"])
def test_openings_are_not_swapped_between_entries(tmp_path: Path, part: str) -> None:
    log = filled_log()
    one, other = log.openings[1], log.openings[3]
    fields = {
        "header": ("header", "header_opening"),
        "payload": ("payload", "payload_opening"),
        "both": ("header", "header_opening", "payload", "payload_opening"),
    }[part]
    log.openings[1] = one.model_copy(update={name: getattr(other, name) for name in fields})
    log.collect(tmp_path)
    report = audit(log, tmp_path)
    found(report, "payloads", 1)
    assert report.verified["batches"] == 2, "nothing of the swapped entry was believed"


def test_a_second_opening_of_an_entry_says_the_same_or_fails(tmp_path: Path) -> None:
    log = filled_log()
    evidence = log.collect(tmp_path)
    evidence.add_openings([log.openings[1].model_copy(update={"payload": log.openings[3].payload})])
    found(audit(log, tmp_path), "payloads", 1)


def forged_batch(log: Log, member: str, by: str, header_member: str | None = None) -> int:
    request = envelope.sign_batch(
        [b"invented"],
        origin=ORIGIN,
        member=member,
        key_id="k1",
        batch_id=bytes(16),
        epoch=1,
        sign=private_key(by).sign,
    )
    entry = BatchEntry(statement=request.statement, signature=request.signature)
    return log.append(EntryType.ENTRY_TYPE_BATCH, header_member or member, entry)


@pytest.mark.parametrize(
    ("member", "by", "header"),
    [
        ("bank-a", "bank-b", None),
        ("bank-a", "operator", None),
        ("bank-a", ORIGIN, None),
        ("bank-b", "bank-b", "bank-a"),
        ("nobody", "nobody", None),
        ("auditor", "auditor", None),
    ],
)
def test_no_batch_stands_in_a_member_s_name_without_its_key(
    tmp_path: Path, member: str, by: str, header: str | None
) -> None:
    log = filled_log()
    index = forged_batch(log, member, by, header)
    log.collect(tmp_path)
    report = audit(log, tmp_path)
    found(report, "batches", index)
    assert report.verified["batches"] == 3


def test_a_batch_for_another_hub_is_not_replayed_here(tmp_path: Path) -> None:
    log = filled_log()
    request = envelope.sign_batch(
        [b"signal"],
        origin="exchange.test/other",
        member="bank-a",
        key_id="k1",
        batch_id=bytes(16),
        epoch=1,
        sign=private_key("bank-a").sign,
    )
    entry = BatchEntry(statement=request.statement, signature=request.signature)
    index = log.append(EntryType.ENTRY_TYPE_BATCH, "bank-a", entry)
    log.collect(tmp_path)
    found(audit(log, tmp_path), "batches", index)


def test_a_batch_is_not_logged_twice(tmp_path: Path) -> None:
    log = filled_log()
    first = BatchEntry.FromString(log.openings[1].payload or b"")
    index = log.append(EntryType.ENTRY_TYPE_BATCH, "bank-a", first)
    log.collect(tmp_path)
    found(audit(log, tmp_path), "batches", index)


def test_a_payload_does_not_pass_as_another_type(tmp_path: Path) -> None:
    log = filled_log()
    batch = BatchEntry.FromString(log.openings[1].payload or b"")
    index = log.append(EntryType.ENTRY_TYPE_LOOK_UP, "shop", batch)
    unknown = log.append(99, "shop", batch)  # type: ignore[arg-type]
    log.collect(tmp_path)
    report = audit(log, tmp_path)
    found(report, "payloads", index)
    found(report, "payloads", unknown)


def test_a_withdrawal_needs_its_member_s_order(tmp_path: Path) -> None:
    log = filled_log()
    log.batch([b"victim"], "bank-b")
    position = (log.size - 1, 0)
    genuine = log.withdrawal([position], "bank-a")
    forged = log.openings[genuine]
    header = EntryHeader(type=EntryType.ENTRY_TYPE_WITHDRAWAL, member="bank-b").SerializeToString()
    log.openings[genuine] = forged.model_copy(update={"header": header})
    log.leaves[genuine] = make_leaf(
        header, forged.header_opening, forged.payload or b"", forged.payload_opening or b""
    )
    log.receipts[-1] = log.receipts[-1].model_copy(update={"checkpoint": log.checkpoint()})
    log.collect(tmp_path)
    found(audit(log, tmp_path), "withdrawals", genuine)


def test_a_withdrawal_takes_back_what_was_ordered_and_was_there(tmp_path: Path) -> None:
    log = filled_log()
    index = log.withdrawal([(1, 1), (50, 0)])
    log.collect(tmp_path)
    found(audit(log, tmp_path), "withdrawals", index)


def test_a_withdrawal_takes_back_no_more_than_was_ordered(tmp_path: Path) -> None:
    log = filled_log()
    index = log.withdrawal([(1, 1)])
    genuine = log.openings[index]
    entry = WithdrawalEntry.FromString(genuine.payload or b"")
    entry.positions.append(SignalPosition(index=3, position=0))
    content = entry.SerializeToString()
    log.openings[index] = genuine.model_copy(update={"payload": content})
    log.leaves[index] = make_leaf(
        genuine.header, genuine.header_opening, content, genuine.payload_opening or b""
    )
    log.receipts[-1] = log.receipts[-1].model_copy(update={"checkpoint": log.checkpoint()})
    log.collect(tmp_path)
    report = audit(log, tmp_path)
    found(report, "withdrawals", index)
    assert report.verified["withdrawals"] == 1


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ((2, 0), "entry 2, which is not a batch"),
        ((3, 0), "another member's, in entry 3"),
        ((1, 3), "signal 3 of entry 1, which has 3"),
    ],
)
@pytest.mark.parametrize("with_statement", [True, False])
def test_a_withdrawal_takes_back_its_member_s_own_signals(
    tmp_path: Path, place: tuple[int, int], what: str, with_statement: bool
) -> None:
    log = filled_log()
    index = log.withdrawal([(1, 1), place])
    if not with_statement:
        del log.receipts[-1]
    log.collect(tmp_path)
    report = audit(log, tmp_path)
    found(report, "withdrawals", index)
    assert what in report.problems[-1].what
    assert report.verified["withdrawals"] == 1


def test_a_withdrawal_shows_by_its_batch_s_header_alone_and_in_any_order(tmp_path: Path) -> None:
    log = filled_log()
    index = log.withdrawal([(3, 0)])
    bare = log.openings[3].model_copy(update={"payload": None, "payload_opening": None})
    log.openings = [log.openings[index], *log.openings[:3], bare, *log.openings[4:index]]
    log.receipts = [held for held in log.receipts if held.index != 3]
    log.collect(tmp_path)
    found(audit(log, tmp_path), "withdrawals", index)


def test_a_withdrawal_from_an_entry_that_is_not_opened_is_no_problem(tmp_path: Path) -> None:
    log = filled_log()
    del log.openings[1]
    log.collect(tmp_path)
    report = audit(log, tmp_path)
    assert report.ok
    assert report.verified["withdrawals"] == 1


def test_an_auditor_s_opening_names_entries_of_its_past(tmp_path: Path) -> None:
    log = filled_log()
    log.append(EntryType.ENTRY_TYPE_OPENING, "auditor", OpeningEntry(indices=[1, 6]))
    index = log.append(EntryType.ENTRY_TYPE_OPENING, "auditor", OpeningEntry(indices=[1, 8]))
    log.collect(tmp_path)
    report = audit(log, tmp_path)
    found(report, "payloads", index)
    assert report.problem_count == 1


def test_a_receipt_for_an_entry_that_is_not_on_the_log_convicts_the_hub(tmp_path: Path) -> None:
    """Three ways to acknowledge and not log: another entry there, another tree, no such entry."""
    log = filled_log()
    _, batch = Log().batch([b"never logged"])
    log.receipt(3, batch.statement)
    elsewhere = Log()
    elsewhere.look_up()
    index, request = elsewhere.batch([b"on another branch"])
    log.receipts.append(elsewhere.receipt(index, request.statement))
    nowhere = log.receipt(6, batch.statement).model_copy(update={"index": 7})
    log.receipts[-1] = nowhere
    log.collect(tmp_path)
    report = audit(log, tmp_path)
    found(report, "receipts", 3)
    found(report, "receipts", 2)
    found(report, "checkpoints")
    assert any("no entry 7" in problem.what for problem in report.problems)
    assert report.verified["receipts"] == 4


def test_a_receipt_is_signed_by_the_log(tmp_path: Path) -> None:
    log = filled_log()
    log.signer = signer("bank-b")
    log.receipt(1, b"")
    log.signer = signer(ORIGIN)
    log.collect(tmp_path)
    found(audit(log, tmp_path), "receipts")


def test_a_disclosed_signal_was_in_the_batch_on_the_log(tmp_path: Path) -> None:
    log = filled_log()
    index, batch = log.batch([b"one", b"two"])
    shown = envelope.signal_disclosure(batch.statement, batch.signature, batch.signals, 1, index)
    elsewhere = Log().batch([b"never logged"])[1]
    invented = envelope.signal_disclosure(
        elsewhere.statement, elsewhere.signature, elsewhere.signals, 0, index
    )
    evidence = log.collect(tmp_path)
    evidence.add_disclosure(shown.model_copy(update={"signal": b"three"}))
    evidence.add_disclosure(invented)
    evidence.add_disclosure(shown.model_copy(update={"index": 2}))
    report = audit(log, tmp_path)
    found(report, "disclosures", index)
    found(report, "disclosures", 2)
    assert report.problem_count == 3
    assert report.verified["disclosures"] == 0


def test_a_roster_that_the_quorum_did_not_sign_shows_on_the_log(tmp_path: Path) -> None:
    log = filled_log()
    data = log.rosters.next_document()
    data["parties"].append(party("puppet", "bank", "hub"))
    index = log.roster(signed(data, (1,)))
    forged_batch(log, "puppet", "puppet")
    log.collect(tmp_path)
    report = audit(log, tmp_path)
    found(report, "rosters_on_log", index)
    found(report, "batches", index + 1)


def test_rosters_on_the_log_are_those_that_members_were_shown(tmp_path: Path) -> None:
    """Two versions 2, each by a quorum: one for the log, another for the members."""
    log = filled_log()
    shown = Rosters()
    data = shown.next_document()
    data["parties"].append(party("bank-c", "bank", "west"))
    shown.extend(data, (2, 3))
    log.collect(tmp_path)
    (tmp_path / "rosters/0002.note").write_bytes(shown.chain.versions[1][0])
    found(audit(log, tmp_path), "rosters_on_log", 5)


def test_a_roster_version_kept_off_the_log_shows(tmp_path: Path) -> None:
    log = filled_log()
    log.rosters.extend(log.rosters.next_document())
    log.collect(tmp_path)
    found(audit(log, tmp_path), "rosters_on_log")


def test_the_folder_s_own_anchor_is_not_trusted(tmp_path: Path) -> None:
    log = filled_log()
    log.collect(tmp_path)
    other = Rosters().chain.current.model_dump(mode="json") | {"issued_at": 1}
    report = verify(tmp_path, signed(other))
    found(report, "roster_versions")
