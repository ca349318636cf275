"""Evidence packages: what was released verifies, and whatever was altered, swapped or added does not."""

import io
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.envelope import sign_withdrawal, signal_disclosure
from signalexchange.errors import ExchangeError, MalformedError
from signalexchange.package import (
    CasePart,
    Change,
    MatchPart,
    RequestPart,
    RosterPart,
    SignalPart,
    check_attachment,
    kind_of,
    read_package,
    rows,
    write_package,
)
from signalexchange.package_verify import PackageReport, verify_package
from signalexchange.v1.signal_pb2 import WithdrawalReason

from tests.support.case_steps import CASE_ID
from tests.support.packages import MEMBER, PackageLog, a_match, a_signal, parts_of
from tests.support.rosters import ORIGIN, Rosters

LOG = PackageLog()
PACKAGE = LOG.package()

Parts = dict[str, bytes]


def verify(package: bytes) -> PackageReport:
    return verify_package(package, LOG.genesis, LOG.request.statement)


def test_a_whole_package_verifies_and_its_report_says_what_it_holds() -> None:
    report = verify(PACKAGE)
    assert report.problems == []
    assert report.not_checked == []
    assert report.checked == {
        "rosters": 1, "checkpoint": 1, "rulebook": 1, "request": 1, "entries": 9, "signals": 2, "matches": 1,
        "cases": 1, "report": 1, "attachments": 1,
    }  # fmt: skip
    page = report.page.decode()
    assert page.count("WITHDRAWN") == 1
    for text in (
        "cash-out-suspected",
        "funds_loop",
        "912 / 1000",
        "restrict",
        "case-7",
        "说明.txt",
        "verdict",
    ):
        assert text in page
    assert "bank-b" not in page
    assert LOG.package() == PACKAGE, "the same parts are the same bytes"


def replace(name: str, document: Any) -> Callable[[Parts], None]:
    return lambda parts: parts.update({name: document.text().encode()})


def foreign_signal(parts: Parts) -> None:
    disclosure = signal_disclosure(
        LOG.foreign.statement, LOG.foreign.signature, list(LOG.foreign.signals), 0, LOG.foreign_at
    )
    part = LOG.signal_part(0, disclosure=disclosure, entry=LOG.entry(LOG.foreign_at), record=b"", salt=b"")
    replace("signals/0001.json", part)(parts)


def other_signal(parts: Parts) -> None:
    part = LOG.signal_part(0)
    wrong = part.disclosure.model_copy(update={"signal": a_signal(3).SerializeToString()})
    replace("signals/0001.json", part.model_copy(update={"disclosure": wrong}))(parts)


def other_record(parts: Parts) -> None:
    replace("signals/0001.json", LOG.signal_part(0, record=b"another row"))(parts)


def other_match(parts: Parts) -> None:
    match = a_match()
    match.confidence = 999
    part = MatchPart(match=match.SerializeToString(), delivery=LOG.entry(LOG.delivered_at))
    replace("matches/0001.json", part)(parts)


def missing_step(parts: Parts) -> None:
    steps = tuple(LOG.entry(LOG.steps_at[at]) for at in (0, 2))
    replace("cases/0001.json", CasePart(case_id=CASE_ID, steps=steps))(parts)


def swapped_steps(parts: Parts) -> None:
    steps = tuple(LOG.entry(LOG.steps_at[at]) for at in (1, 0, 2))
    replace("cases/0001.json", CasePart(case_id=CASE_ID, steps=steps))(parts)


def other_case(parts: Parts) -> None:
    steps = tuple(LOG.entry(index) for index in LOG.steps_at)
    replace("cases/0001.json", CasePart(case_id=bytes(16), steps=steps))(parts)


def no_second_roster(parts: Parts) -> None:
    del parts["rosters/0002.json"]


def swapped_rosters(parts: Parts) -> None:
    replace("rosters/0001.json", RosterPart(entry=LOG.entry(LOG.size - 1)))(parts)
    replace("rosters/0002.json", RosterPart(entry=LOG.entry(0)))(parts)


def other_rulebook(parts: Parts) -> None:
    parts["rulebook.json"] = parts["rulebook.json"].replace(b'"rumour_days": 90', b'"rumour_days": 91')


def two_checkpoints(parts: Parts) -> None:
    part = LOG.signal_part(0, entry=LOG.entry(LOG.batch_at, LOG.size - 1))
    replace("signals/0001.json", part)(parts)
    replace("signals/0002.json", LOG.signal_part(1, entry=part.entry))(parts)


def no_rosters(parts: Parts) -> None:
    for name in [name for name in parts if name.startswith("rosters/")]:
        del parts[name]


def no_steps(parts: Parts) -> None:
    replace("cases/0001.json", CasePart(case_id=CASE_ID, steps=()))(parts)


def borrowed_withdrawal(parts: Parts) -> None:
    """An order that nobody signed, beside the one that stands in the same entry."""
    forged = sign_withdrawal(
        [LOG.signals[0].signal_id],
        origin=ORIGIN,
        member=MEMBER,
        key_id="k1",
        order_id=bytes(16),
        reason=WithdrawalReason.WITHDRAWAL_REASON_REFUTED,
        sign=lambda _: bytes(64),
    )
    change = Change(entry=LOG.entry(LOG.withdrawn_at), statement=forged.statement)
    replace("signals/0001.json", LOG.signal_part(0, changes=(change,)))(parts)


def signal_twice(parts: Parts) -> None:
    replace("signals/0003.json", LOG.signal_part(1, changes=()))(parts)


def case_twice(parts: Parts) -> None:
    steps = (LOG.entry(LOG.steps_at[0]),)
    replace("cases/0002.json", CasePart(case_id=CASE_ID, steps=steps))(parts)


def garbled_delivery(parts: Parts) -> None:
    entry = LOG.entry(LOG.delivered_at).model_copy(update={"payload": b"\xff\xff"})
    replace("matches/0001.json", MatchPart(match=LOG.match_bytes, delivery=entry))(parts)


def forged_header(parts: Parts) -> None:
    other = PackageLog()
    entry = LOG.entry(LOG.delivered_at).model_copy(update={"header": other.entry(other.withdrawn_at).header})
    replace("matches/0001.json", MatchPart(match=LOG.match_bytes, delivery=entry))(parts)


def anothers_request(parts: Parts) -> None:
    # The requester's own entry of it: it concerns another party than the member that releases.
    replace("request.json", RequestPart(entry=LOG.entry(LOG.asked_at - 1)))(parts)


@pytest.mark.parametrize(
    "change",
    [
        foreign_signal, other_signal, other_record, other_match, missing_step, swapped_steps, other_case,
        swapped_rosters, other_rulebook, two_checkpoints, forged_header, anothers_request, no_rosters,
        no_steps, borrowed_withdrawal, garbled_delivery, signal_twice, case_twice,
    ],
)  # fmt: skip
def test_what_was_altered_does_not_verify(change: Callable[[Parts], None]) -> None:
    assert verify(LOG.package(change)).problems


def test_a_version_that_is_left_out_is_none_that_counts() -> None:
    # Nobody can tell from a package that a newer roster is missing, as it says nothing of what it leaves out.
    assert verify(LOG.package(no_second_roster)).ok


def test_an_entry_opened_in_two_ways_is_refused() -> None:
    def change(parts: Parts) -> None:
        entry = LOG.entry(LOG.batch_at).model_copy(update={"header_opening": bytes(32)})
        replace("signals/0002.json", LOG.signal_part(1, entry=entry))(parts)

    with pytest.raises(MalformedError, match="two ways"):
        LOG.package(change)


def test_another_request_another_anchor_and_a_report_of_its_own_are_noticed() -> None:
    assert verify_package(PACKAGE, LOG.genesis, b"another").problems
    other = PackageLog(Rosters())
    assert verify_package(PACKAGE, other.rosters.chain.versions[0][0]).problems
    manifest, parts = read_package(PACKAGE)
    parts["report.html"] = parts["report.html"].replace(b"WITHDRAWN", b"confirmed")
    forged = write_package(manifest.model_copy(update={"parts": rows(parts)}), parts)
    assert [problem for problem in verify(forged).problems if problem.startswith("report")]
    manifest, parts = read_package(PACKAGE)
    named = write_package(manifest.model_copy(update={"instrument_reference": "another"}), parts)
    assert verify(named).problems


def archive(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as opened:
        for name, data in files.items():
            opened.writestr(name, data)
    return buffer.getvalue()


def test_an_archive_has_one_form() -> None:
    files = {"manifest.json": read_package(PACKAGE)[0].text().encode(), **parts_of(PACKAGE)}
    bomb = archive({"manifest.json": bytes(50 << 20)}, zipfile.ZIP_DEFLATED)
    for data in (
        b"",
        b"not an archive",
        PACKAGE + b"x",
        b"x" + PACKAGE,
        PACKAGE[:-1],
        archive(files),
        archive(files, zipfile.ZIP_DEFLATED),
        archive({**files, "sar.json": b"{}"}),
        archive({**files, "attachments/../../etc/passwd": b"x"}),
        bomb,
        bytes(5 << 20),
    ):
        with pytest.raises(MalformedError):
            verify(data)


def test_a_file_said_to_be_farther_away_than_any_can_be_is_no_archive() -> None:
    row = archive({"manifest.json": b"{}"})
    start, end = row.index(b"PK\x01\x02"), row.index(b"PK\x05\x06")
    central, tail = bytearray(row[start:end]), bytearray(row[end:])
    extra = struct.pack("<HHQ", 1, 8, 2**64 - 1)  # ZIP64: where the file begins
    central[30:32], central[42:46] = struct.pack("<H", len(extra)), b"\xff" * 4
    tail[12:16] = struct.pack("<I", len(central) + len(extra))
    with pytest.raises(MalformedError):
        verify(row[:start] + bytes(central) + extra + bytes(tail))


@given(st.integers(0, len(PACKAGE) - 1), st.integers(1, 255))
def test_no_altered_byte_goes_unnoticed(position: int, mask: int) -> None:
    data = bytearray(PACKAGE)
    data[position] ^= mask
    try:
        report = verify(bytes(data))
    except ExchangeError:
        return
    assert report.problems


@given(st.data())
def test_no_altered_part_goes_unnoticed_nor_ends_in_anything_but_an_error_of_its_own(data: Any) -> None:
    name = data.draw(st.sampled_from(sorted(LOG.parts())))

    def change(parts: Parts) -> None:
        content = bytearray(parts[name])
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[position]))
        parts[name] = bytes(content)

    try:
        report = verify(LOG.package(change))
    except ExchangeError:
        return
    # Attachments are whatever they are, and so is the member's own reference: nobody signed them.
    assert report.problems or name.startswith(("attachments/", "signals/"))


def test_numbers_beyond_the_contract_are_shown_as_they_are() -> None:
    log = PackageLog()
    times = {"first_seen": -(2**63), "last_seen": 2**63 - 1}
    odd = a_signal(1, amount_band=2**32 - 1, grade=99, legal_basis=77, confidence=2**31, **times)
    log.batch_at, log.published = log.batch([odd.SerializeToString(), log.signals[1].SerializeToString()])

    def one_signal(parts: Parts) -> None:
        replace("signals/0001.json", log.signal_part(0, record=b"", salt=b""))(parts)
        for name in ("signals/0002.json", "rosters/0002.json"):
            del parts[name]

    report = verify_package(log.package(one_signal), log.genesis)
    assert report.problems == []
    assert "band 4294967295" in report.page.decode()


@pytest.mark.parametrize(
    "name",
    [
        "attachments/../x", "attachments/a/b", "attachments/.hidden", "attachments/~x", "/etc/passwd",
        "attachments/",
        "attachments/a\\b", "attachments/a\nb", "attachments/a:b", "signals/1.json", "str.json",
        "manifest.json",
        "attachments/x\u202eexe.txt", "attachments/trailing.",
    ],
)  # fmt: skip
def test_there_is_no_part_of_another_name(name: str) -> None:
    with pytest.raises(MalformedError):
        kind_of(name)


def test_the_report_tells_steps_in_both_languages_and_whom_they_concern() -> None:
    page = parts_of(LOG.package())["report.html"].decode()
    _, steps = page.split("三、处置步骤")
    assert "立案 · open" in steps
    assert "对象 · Subject" in steps


def test_what_comes_from_outside_is_escaped() -> None:
    nasty = "<script>alert(1)</script>\u202e\x00&\"'"

    def change(parts: Parts) -> None:
        replace("signals/0001.json", LOG.signal_part(0, reference=nasty))(parts)

    page = parts_of(LOG.package(change))["report.html"].decode()
    assert "<script" not in page
    assert "\u202e" not in page
    assert "\x00" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("SAR_2026-11.pdf", b""),
        ("str.pdf", b""),
        ("customer-STR-17.txt", b""),
        ("可疑交易报告.docx", b""),
        ("note.txt", "已于11月提交可疑交易报告".encode()),
        ("note.txt", "可疑交易报告".encode("gb18030")),
        ("note.txt", "a Suspicious  Activity Report was filed".encode("utf-16")),
        ("note.txt", b"suspicious-transaction reports"),
        ("big.bin", bytes((1 << 20) + 1)),
    ],
)
def test_nothing_that_tells_of_a_report_of_suspicion_goes_in(name: str, data: bytes) -> None:
    with pytest.raises(MalformedError):
        check_attachment(name, data)


@pytest.mark.parametrize("name", ["statement.pdf", "star.txt", "sarah.txt", "strasse.txt", "订单 17.csv"])
def test_other_attachments_do(name: str) -> None:
    check_attachment(name, b"an order of goods")


def test_a_signal_part_is_read_strictly() -> None:
    text = LOG.signal_part(0).text()
    assert SignalPart.parse(text).text() == text
    with pytest.raises(MalformedError):
        SignalPart.parse(text.replace('"reference"', '"report_of_suspicion"'))
