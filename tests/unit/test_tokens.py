"""Framing and derivation: nothing collides, nothing is shown."""

import os

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.errors import InvalidIdentifierError, MalformedError
from signalexchange.identifiers import TYPE_NAMES
from signalexchange.tokens import Token, derive, frame

types = st.sampled_from(sorted(TYPE_NAMES))


def parse_fields(framed: bytes) -> list[bytes]:
    fields = []
    while framed:
        size = int.from_bytes(framed[:2], "big")
        assert len(framed) >= 2 + size
        fields.append(framed[2 : 2 + size])
        framed = framed[2 + size :]
    return fields


@given(types, st.text(max_size=100))
def test_a_frame_reads_back_in_one_way(type_: int, value: str) -> None:
    value = value.encode("utf-8", "ignore").decode()
    assert parse_fields(frame(type_, value)) == [
        b"signalexchange/token/v1",
        b"\x01",
        type_.to_bytes(2, "big"),
        b"\0\x01",
        value.encode(),
    ]


def test_an_unknown_type_is_not_framed() -> None:
    with pytest.raises(InvalidIdentifierError):
        frame(0, "x")


@given(types, st.integers(0, 2**32 - 1), st.binary(min_size=64, max_size=64))
def test_derivation_is_hkdf(type_: int, epoch: int, output: bytes) -> None:
    token = derive(output, type_, epoch)
    context = type_.to_bytes(2, "big") + epoch.to_bytes(4, "big")
    for label, part in ((b"look-up\0", token.value), (b"sealing\0", token.sealing_key)):
        hkdf = HKDF(hashes.SHA512(), 32, b"signalexchange/token/v1", label + context)
        assert hkdf.derive(output) == part


def test_type_epoch_and_output_all_count() -> None:
    output = os.urandom(64)
    tokens = [derive(output, 1, 1), derive(output, 2, 1), derive(output, 1, 2), derive(os.urandom(64), 1, 1)]
    parts = [part for token in tokens for part in (token.value, token.sealing_key)]
    assert len(set(parts)) == len(parts)


@pytest.mark.parametrize(("size", "epoch"), [(63, 1), (65, 1), (64, -1), (64, 2**32)])
def test_what_derive_refuses(size: int, epoch: int) -> None:
    with pytest.raises(MalformedError):
        derive(bytes(size), 1, epoch)


def test_a_token_is_not_shown() -> None:
    assert repr(Token(1, 7, b"v" * 32, b"s" * 32)) == "Token(type=1, epoch=7)"
