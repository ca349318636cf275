"""A leaf commits to header and payload, each under its own label and opening."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.entries import LEAF_SIZE, check_header, check_leaf, check_payload, make_leaf
from signalexchange.errors import ExchangeError, MalformedError, VerificationError

openings = st.binary(min_size=32, max_size=32)


@given(st.binary(max_size=50), openings, st.binary(max_size=50), openings)
def test_openings_open(header: bytes, header_opening: bytes, payload: bytes, payload_opening: bytes) -> None:
    leaf = make_leaf(header, header_opening, payload, payload_opening)
    assert len(leaf) == LEAF_SIZE
    check_leaf(leaf)
    check_header(leaf, header, header_opening)
    check_payload(leaf, payload, payload_opening)


@given(st.binary(max_size=50), openings, st.binary(max_size=50))
def test_nothing_else_opens(content: bytes, opening: bytes, other: bytes) -> None:
    leaf = make_leaf(content, opening, content, opening)
    assert leaf[1:33] != leaf[33:], "one content commits differently as header and as payload"
    if other != content:
        with pytest.raises(VerificationError):
            check_header(leaf, other, opening)
        with pytest.raises(VerificationError):
            check_payload(leaf, other, opening)
    flipped = bytes((opening[0] ^ 1,)) + opening[1:]
    with pytest.raises(VerificationError):
        check_header(leaf, content, flipped)
    with pytest.raises(VerificationError):
        check_payload(leaf, content, flipped)


@given(st.binary(max_size=70), st.binary(max_size=40), st.binary(max_size=40))
def test_malformed_parts_raise_our_errors_only(leaf: bytes, content: bytes, opening: bytes) -> None:
    for check in (check_header, check_payload):
        with pytest.raises(ExchangeError):
            check(leaf, content, opening)


def test_sizes_and_version_are_checked() -> None:
    leaf = make_leaf(b"h", bytes(32), b"p", bytes(32))
    for wrong in (b"", leaf[:-1], leaf + b"\0", b"\2" + leaf[1:]):
        with pytest.raises(MalformedError):
            check_leaf(wrong)
    with pytest.raises(MalformedError):
        make_leaf(b"h", bytes(31), b"p", bytes(32))
    # A byte moved from opening to content must not open the same commitment.
    with pytest.raises(MalformedError):
        check_header(leaf, b"\0h", bytes(31))
