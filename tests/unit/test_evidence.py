"""An evidence folder: collected in steps, verified from files alone, never claiming what was not checked."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange import envelope
from signalexchange.cosignature import Cosigner
from signalexchange.errors import ExchangeError, MalformedError, VerificationError
from signalexchange.evidence import EvidenceFolder, HeldReceipt, Opening
from signalexchange.note import add_signatures
from signalexchange.report import MAX_PROBLEMS, Report
from signalexchange.roster import RosterChain
from signalexchange.v1.outcome_service_pb2 import VERDICT_CONFIRMED, VERDICT_REFUTED
from signalexchange.verify import verify

from tests.support.logs import Log, filled_log
from tests.support.rosters import (
    ORIGIN,
    RULEBOOK,
    START,
    Rosters,
    document,
    key,
    private_key,
    signed,
    signer,
    vkey,
)


def genesis(log: Log) -> bytes:
    return log.rosters.chain.versions[0][0]


def test_a_complete_folder_verifies_completely(tmp_path: Path) -> None:
    log = filled_log()
    index, batch = log.batch([b"one", b"two", b"three"])
    evidence = log.collect(tmp_path)
    evidence.add_disclosure(
        envelope.signal_disclosure(batch.statement, batch.signature, batch.signals, 1, index)
    )
    seen: list[tuple[str, int, int]] = []
    report = verify(tmp_path, genesis(log), progress=lambda *step: seen.append(step))
    assert report.problems == []
    assert report.complete
    assert (report.size, report.origin) == (8, ORIGIN)
    assert report.verified == {
        "roster_versions": 2,
        "rulebook": 1,
        "checkpoints": 5,
        "leaves": 8,
        "tiles": 1,
        "headers": 8,
        "payloads": 8,
        "rosters_on_log": 2,
        "batches": 4,
        "withdrawals": 1,
        "outcomes": 0,
        "matches": 0,
        "match_deliveries": 0,
        "case_steps": 0,
        "case_erasures": 0,
        "corrections": 0,
        "acknowledged": 0,
        "versions": 0,
        "disclosures": 1,
        "receipts": 5,
        "disclosure_steps": 0,
    }
    assert seen[-1] == ("entries", 8, 8)
    assert json.loads(json.dumps(report.as_dict()))["complete"] is True


def test_reports_of_outcomes_are_verified(tmp_path: Path) -> None:
    log = filled_log()
    log.outcomes({bytes(16): VERDICT_CONFIRMED, b"\1" * 16: VERDICT_REFUTED})
    log.collect(tmp_path)
    report = verify(tmp_path, genesis(log))
    assert report.complete
    assert report.verified["outcomes"] == 1
    assert report.verified["receipts"] == 5


@pytest.mark.parametrize("key", ["bank-a", None])
def test_a_report_signed_by_another_or_logged_twice_is_a_problem(tmp_path: Path, key: str | None) -> None:
    log = filled_log()
    first = log.outcomes({bytes(16): VERDICT_CONFIRMED}, key=key)
    second = log.outcomes({bytes(16): VERDICT_CONFIRMED}, report_id=bytes(16))
    log.collect(tmp_path)
    report = verify(tmp_path, genesis(log))
    assert [(each.check, each.index) for each in report.problems] == [("outcomes", first if key else second)]


def test_matches_and_their_deliveries_are_verified(tmp_path: Path) -> None:
    log = filled_log()
    batch, _ = log.batch([b"one", b"two"])
    log.match([(batch, 0), (batch, 1)])
    log.match([(batch, 1)], status=2)
    log.match_delivery("bank-b")
    log.collect(tmp_path)
    report = verify(tmp_path, genesis(log))
    assert report.problems == []
    assert (report.verified["matches"], report.verified["match_deliveries"]) == (2, 1)


def test_a_match_on_nothing_and_a_delivery_of_none_are_problems(tmp_path: Path) -> None:
    log = filled_log()
    batch, _ = log.batch([b"one", b"two"])
    told_early = log.match_delivery("bank-b")
    bad = [
        log.match([(batch, 2)]),
        log.match([(0, 0)]),
        log.match([(batch, 0)], as_of=log.size + 1),
    ]
    log.collect(tmp_path)
    report = verify(tmp_path, genesis(log))
    found = {(each.check, each.index) for each in report.problems}
    assert found == {("match_deliveries", told_early), *(("matches", index) for index in bad)}


def test_versions_of_what_is_learned_are_verified(tmp_path: Path) -> None:
    log = filled_log()
    log.look_up(learned=0)
    log.version(1)
    log.look_up(learned=1)
    log.version(2, as_of=log.size)
    log.look_up(learned=2)
    log.collect(tmp_path)
    report = verify(tmp_path, genesis(log))
    assert report.problems == []
    assert report.verified["versions"] == 2


def test_versions_out_of_place_are_problems(tmp_path: Path) -> None:
    log = filled_log()
    early = log.look_up(learned=1)
    log.version(1)
    late = log.look_up(learned=0)
    bad = [
        log.version(1),
        log.version(4, as_of=log.size + 1),
        log.version(5, rulebook=bytes(32)),
    ]
    log.version(3)
    wrong_order = log.version(2)
    log.collect(tmp_path)
    report = verify(tmp_path, genesis(log))
    found = {each.index for each in report.problems if each.check == "versions"}
    assert len(found) == len(report.problems)
    assert found == {early, late, *bad, wrong_order - 1}
    assert report.verified["versions"] == 2


def test_a_delivery_whose_match_is_not_opened_is_not_checked(tmp_path: Path) -> None:
    log = filled_log()
    log.match([])
    log.match_delivery("bank-b")
    del log.openings[-2]
    log.collect(tmp_path)
    report = verify(tmp_path, genesis(log))
    assert report.ok
    assert report.not_checked["delivery of a match whose entry is not opened"] == 1


def test_collecting_goes_on_where_it_stopped(tmp_path: Path) -> None:
    log = Log()
    for size in (1, 255, 256, 257, 600, 1030):
        while log.size < size:
            if log.size % 50 == 2:
                log.batch([b"signal"])
            else:
                log.look_up()
        assert log.collect(tmp_path).size == size
        report = verify(tmp_path, genesis(log))
        assert report.complete
        assert report.verified["leaves"] == size
    assert sorted(path.name for path in (tmp_path / "tile/entries").iterdir()) == [
        "000",
        "001",
        "002",
        "003",
        "004.p",
    ]


def test_a_line_cut_off_by_a_crash_is_removed(tmp_path: Path) -> None:
    log = filled_log()
    log.collect(tmp_path)
    openings = tmp_path / "openings.jsonl"
    whole = openings.read_bytes()
    openings.write_bytes(whole[:-10])
    assert not verify(tmp_path, genesis(log)).ok
    evidence = EvidenceFolder(tmp_path)
    evidence.add_openings(log.openings[-1:])
    assert openings.read_bytes() == whole
    openings.write_bytes(b'{"index":')
    EvidenceFolder(tmp_path)
    assert openings.read_bytes() == b""


def test_what_is_not_opened_is_counted_apart(tmp_path: Path) -> None:
    """A member sees its own entries and the rosters; the rest proves only that it stands where it stands."""
    log = filled_log()
    evidence = EvidenceFolder(tmp_path)
    evidence.append_leaves(log.leaves)
    evidence.add_checkpoint(log.checkpoint())
    evidence.add_roster(1, genesis(log))
    opened = [opening for opening in log.openings if opening.index in (0, 1, 5)]
    hidden = log.openings[3].model_copy(update={"payload": None, "payload_opening": None})
    evidence.add_openings([*opened, hidden])
    report = verify(tmp_path, genesis(log))
    assert report.ok
    assert not report.complete
    assert report.not_checked == {
        "header not opened": 3,
        "payload not opened, or erased": 4,
        "rulebook not in the folder": 1,
    }
    assert (report.verified["headers"], report.verified["payloads"], report.verified["batches"]) == (4, 3, 1)
    assert report.verified["roster_versions"] == 2, "the second version was found on the log"


def test_a_withdrawal_counts_only_with_its_statement(tmp_path: Path) -> None:
    log = filled_log()
    log.receipts = [receipt for receipt in log.receipts if receipt.index != 4]
    log.collect(tmp_path)
    report = verify(tmp_path, genesis(log))
    assert report.ok
    assert report.verified["withdrawals"] == 0
    assert report.not_checked["withdrawal whose statement is not in the folder"] == 1


def test_receipts_and_disclosures_of_unopened_entries_do_not_count(tmp_path: Path) -> None:
    log = filled_log()
    index, batch = log.batch([b"one"])
    del log.openings[index]
    evidence = log.collect(tmp_path)
    evidence.add_disclosure(
        envelope.signal_disclosure(batch.statement, batch.signature, batch.signals, 0, index)
    )
    report = verify(tmp_path, genesis(log))
    assert report.ok
    assert (report.verified["receipts"], report.verified["disclosures"]) == (4, 0)
    assert report.not_checked["receipt of an entry that is not opened"] == 1
    assert report.not_checked["disclosure from an entry that is not opened"] == 1


def test_leaves_and_checkpoints_beyond_each_other_do_not_count(tmp_path: Path) -> None:
    log = filled_log()
    evidence = log.collect(tmp_path)
    for _ in range(3):
        log.look_up()
    evidence.add_checkpoint(log.checkpoint())
    evidence.append_leaves(log.leaves[7:9])
    evidence.add_openings(log.openings[7:9])
    report = verify(tmp_path, genesis(log))
    assert report.ok
    assert (report.size, report.verified["leaves"]) == (7, 7)
    assert report.not_checked["leaf under no checkpoint that holds"] == 2
    assert report.not_checked["checkpoint beyond the leaves in the folder"] == 1
    assert report.not_checked["opening of an entry under no checkpoint that holds"] == 2


def test_an_entry_before_any_roster_can_not_be_judged(tmp_path: Path) -> None:
    log = filled_log()
    evidence = EvidenceFolder(tmp_path)
    evidence.append_leaves(log.leaves)
    evidence.add_checkpoint(log.checkpoint())
    evidence.add_openings(log.openings[1:2])
    report = verify(tmp_path, genesis(log))
    assert report.ok
    assert report.verified["batches"] == 0
    assert report.not_checked["signature before the first opened roster entry"] == 1
    assert report.not_checked["roster version not among the opened entries"] == 1


@pytest.mark.parametrize("missing", ["all", "leaves", "checkpoint"])
def test_an_empty_folder_is_an_error(tmp_path: Path, missing: str) -> None:
    log = Log()
    if missing == "checkpoint":
        EvidenceFolder(tmp_path).append_leaves(log.leaves)
    if missing == "leaves":
        evidence = EvidenceFolder(tmp_path)
        evidence.add_checkpoint(log.checkpoint())
        (tmp_path / "checkpoint").write_bytes(log.checkpoint())
    with pytest.raises(MalformedError, match="nothing to verify"):
        verify(tmp_path, genesis(log))


def test_without_an_anchor_nothing_is_verified(tmp_path: Path) -> None:
    log = filled_log()
    log.collect(tmp_path)
    with pytest.raises(MalformedError):
        verify(tmp_path, b"")
    with pytest.raises(VerificationError):
        verify(tmp_path, log.rosters.chain.versions[1][0])


def witness(name: str) -> Cosigner:
    secret = private_key(name)
    return Cosigner(name, secret.public_key().public_bytes_raw(), secret.sign, 1_700_000_500)


def test_witnesses_are_named_with_their_time(tmp_path: Path) -> None:
    log = filled_log()
    first, second = witness("w1.test"), witness("w2.test")
    evidence = log.collect(tmp_path)
    evidence.add_checkpoint(add_signatures(log.checkpoint(), [first]))
    report = verify(tmp_path, genesis(log), [first.verifier, second.verifier])
    assert report.complete
    assert report.cosigned == [("w1.test", 1_700_000_500)]
    assert report.as_dict()["cosigned"] == [{"name": "w1.test", "time": 1_700_000_500}]
    assert verify(tmp_path, genesis(log)).cosigned == []


def test_the_log_s_key_may_be_rotated(tmp_path: Path) -> None:
    log = filled_log()
    log.receipt(0, b"")
    data = log.rosters.next_document()
    data["log_key"] = vkey("rotated.test/log")
    log.roster(log.rosters.extend(data))
    log.signer = signer("rotated.test/log")
    log.collect(tmp_path)
    report = verify(tmp_path, genesis(log))
    assert report.complete
    assert report.verified["receipts"] == 5


def test_an_entry_is_judged_by_the_roster_of_its_place(tmp_path: Path) -> None:
    """A key taken off the roster later still stands for what it signed before, and for nothing after."""
    log = filled_log()
    data = log.rosters.next_document()
    data["parties"][0]["signing_keys"] = [key("bank-a new")]
    log.roster(log.rosters.extend(data))
    log.batch([b"by the new key"], "bank-a", "bank-a new")
    log.collect(tmp_path)
    assert verify(tmp_path, genesis(log)).complete
    index, _ = log.batch([b"by the old key"])
    log.collect(tmp_path)
    report = verify(tmp_path, genesis(log))
    assert [(problem.check, problem.index) for problem in report.problems] == [("batches", index)]


def test_a_key_counts_only_while_it_is_valid(tmp_path: Path) -> None:
    data = document()
    data["parties"][0]["signing_keys"][0]["not_after"] = START + 1
    rosters = Rosters(RosterChain.start(signed(data)))
    log = Log(rosters)
    index, _ = log.batch([b"too late"])
    log.collect(tmp_path)
    report = verify(tmp_path, genesis(log))
    assert [(problem.check, problem.index) for problem in report.problems] == [("batches", index)]


def test_nothing_collected_is_overwritten_by_its_contrary(tmp_path: Path) -> None:
    log, other = filled_log(), filled_log()
    other.leaves[3] = other.leaves[1]
    evidence = log.collect(tmp_path)
    evidence.add_checkpoint(other.checkpoint())
    notes = {path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}
    assert {log.checkpoint(), other.checkpoint()} <= notes
    changed = Rosters().next_document()
    changed["issued_at"] += 1
    with pytest.raises(MalformedError):
        evidence.add_roster(2, signed(changed))


def test_a_cosigned_checkpoint_is_not_replaced_by_a_bare_one(tmp_path: Path) -> None:
    log = filled_log()
    evidence = EvidenceFolder(tmp_path)
    cosigned = add_signatures(log.checkpoint(), [witness("w.test")])
    evidence.add_checkpoint(cosigned)
    evidence.add_checkpoint(log.checkpoint())
    assert (tmp_path / "checkpoints/7.checkpoint").read_bytes() == cosigned


@given(st.binary(max_size=100))
def test_random_lines_and_documents_raise_our_errors_only(data: bytes) -> None:
    for line in (data, b'{"index":0,"header":"","header_opening":"' + data + b'"}'):
        with pytest.raises(ExchangeError):
            Opening.parse(line)
    with pytest.raises(ExchangeError):
        HeldReceipt.parse(data.decode("latin-1"))


def test_a_payload_comes_with_its_opening() -> None:
    log = Log()
    for field in ("payload", "payload_opening"):
        line = log.openings[0].model_copy(update={field: None}).model_dump_json(exclude_none=True)
        with pytest.raises(MalformedError):
            Opening.parse(line.encode())


def test_a_report_lists_the_first_problems_and_counts_all() -> None:
    report = Report(ORIGIN)
    for index in range(MAX_PROBLEMS + 5):
        report.problem("leaves", index, "broken")
    assert len(report.problems) == MAX_PROBLEMS
    assert report.as_dict()["problem_count"] == MAX_PROBLEMS + 5
    assert not report.ok


def garbled(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "genesis.note",
        "rosters/0002.note",
        "rulebook.json",
        "checkpoint",
        "checkpoints/9.checkpoint",
        "tile/0/000.p/7",
        "tile/entries/000.p/7",
        "openings.jsonl",
        "disclosures/x.json",
        "receipts/x.json",
    ],
)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}\n", b"text\n\n\xe2\x80\x94 a AAAAAAAAAA==\n"])
def test_a_garbled_file_is_a_problem_and_never_an_exception(
    tmp_path: Path, name: str, content: bytes
) -> None:
    log = filled_log()
    log.collect(tmp_path)
    garbled(tmp_path, name, content)
    report = verify(tmp_path, genesis(log))
    if name == "openings.jsonl" and not content:
        assert report.not_checked["header not opened"] == 7
    else:
        assert not report.ok


def test_the_rulebook_is_the_one_the_newest_roster_names(tmp_path: Path) -> None:
    log = filled_log()
    log.collect(tmp_path)
    (tmp_path / "rulebook.json").write_bytes(RULEBOOK + b" ")
    assert [problem.check for problem in verify(tmp_path, genesis(log)).problems] == ["rulebook"]
