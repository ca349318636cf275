"""The search finds a raw identifier however it is written, and nothing where there is none."""

import base64
import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchange.demo import scan
from exchange.replay.identities import merchant_of, phone_of

MERCHANT, PHONE = merchant_of(17), phone_of(4711)
NATIONAL = PHONE.removeprefix("+86")
OTHERS = [merchant_of(n) for n in range(100, 130)] + [phone_of(n) for n in range(100, 130)]


def found(path: Path) -> set[str]:
    return set(scan.search([path], [MERCHANT, PHONE, *OTHERS]).found)


@pytest.mark.parametrize(
    ("identifier", "written"),
    [
        (MERCHANT, MERCHANT.encode()),
        (MERCHANT, MERCHANT.lower().encode()),
        (MERCHANT, MERCHANT.encode().hex().encode()),
        (MERCHANT, MERCHANT.encode().hex().upper().encode()),
        (MERCHANT, MERCHANT.encode("utf-16-le")),
        (MERCHANT, MERCHANT.encode("utf-16-be")),
        (MERCHANT, hashlib.sha256(MERCHANT.encode()).digest()),
        (MERCHANT, hashlib.sha256(MERCHANT.encode()).hexdigest().encode()),
        (PHONE, PHONE.encode()),
        (PHONE, PHONE.removeprefix("+").encode()),
        (PHONE, NATIONAL.encode()),
        (PHONE, PHONE.encode().hex().encode()),
        (PHONE, NATIONAL.encode("utf-16-le")),
        (PHONE, hashlib.sha256(PHONE.encode()).digest()),
        (PHONE, hashlib.sha256(NATIONAL.encode()).hexdigest().encode()),
    ],
)
def test_each_way_to_write_an_identifier_is_found(tmp_path: Path, identifier: str, written: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(b'\x00\xff{"key":"' + written + b'"}')
    assert found(file) == {identifier}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.binary(max_size=7), after=st.binary(max_size=7), identifier=st.sampled_from([MERCHANT, PHONE])
)
def test_base64_is_found_at_every_alignment(
    tmp_path: Path, before: bytes, after: bytes, identifier: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(base64.b64encode(before + identifier.encode() + after))
    assert identifier in found(file)


@pytest.mark.parametrize("offset", range(-20, 3))
def test_an_identifier_across_two_pieces_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    monkeypatch.setattr(scan, "_PIECE", 64)
    file = tmp_path / "file"
    file.write_bytes(b"x" * (64 + offset) + MERCHANT.encode() + b"x" * 80)
    assert found(file) == {MERCHANT}


def test_digits_that_only_contain_a_phone_number_are_none(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text(f"0.7{NATIONAL} {NATIONAL}4")
    assert found(file) == set()


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"".join(hashlib.sha512(bytes([n])).digest() for n in range(250)))
    findings = scan.search([file], [MERCHANT, PHONE])
    assert (findings.found, findings.files, findings.bytes_read) == ({}, 1, 250 * 64)


def test_files_below_lists_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "one").touch()
    (tmp_path / "two").touch()
    assert scan.files_below(tmp_path, tmp_path / "a", tmp_path / "two") == [
        tmp_path / "a" / "b" / "one",
        tmp_path / "two",
    ]
