"""Sealed detail: opens under its own token and signal alone."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange.errors import MalformedError, VerificationError
from signalexchange.sealing import MAX_DETAIL, MAX_SEALED, open_sealed, seal
from signalexchange.tokens import Token

TOKEN = Token(1, 3, b"v" * 32, b"s" * 32)
SIGNAL = bytes(range(16))


@given(st.binary(max_size=MAX_DETAIL))
@settings(max_examples=60)
def test_what_is_sealed_opens(detail: bytes) -> None:
    sealed = seal(TOKEN, SIGNAL, detail)
    assert len(sealed) % 256 == 0
    assert len(sealed) <= MAX_SEALED
    assert open_sealed(TOKEN, SIGNAL, sealed) == detail


def test_the_longest_detail_fits_exactly() -> None:
    assert len(seal(TOKEN, SIGNAL, bytes(MAX_DETAIL))) == MAX_SEALED
    with pytest.raises(MalformedError):
        seal(TOKEN, SIGNAL, bytes(MAX_DETAIL + 1))


def test_lengths_of_one_block_look_alike() -> None:
    assert {len(seal(TOKEN, SIGNAL, bytes(size))) for size in range(194)} == {256}


def test_sealing_twice_shows_nothing() -> None:
    assert seal(TOKEN, SIGNAL, b"same")[33:] != seal(TOKEN, SIGNAL, b"same")[33:]


@pytest.mark.parametrize(
    "token",
    [
        Token(2, 3, TOKEN.value, TOKEN.sealing_key),
        Token(1, 4, TOKEN.value, TOKEN.sealing_key),
        Token(1, 3, TOKEN.value, b"t" * 32),
    ],
)
def test_another_token_opens_nothing(token: Token) -> None:
    with pytest.raises(VerificationError):
        open_sealed(token, SIGNAL, seal(TOKEN, SIGNAL, b"detail"))


def test_another_signal_opens_nothing() -> None:
    with pytest.raises(VerificationError):
        open_sealed(TOKEN, bytes(16), seal(TOKEN, SIGNAL, b"detail"))


def test_a_grafted_commitment_does_not_help() -> None:
    """The commitment of one key before the ciphertext of another: the ciphertext still fails."""
    other = Token(1, 3, TOKEN.value, os.urandom(32))
    mine, theirs = seal(TOKEN, SIGNAL, b"mine"), seal(other, SIGNAL, b"theirs")
    with pytest.raises(VerificationError):
        open_sealed(TOKEN, SIGNAL, mine[:33] + theirs[33:])


@given(st.integers(0, 511), st.integers(0, 7))
@settings(max_examples=60)
def test_any_changed_bit_is_noticed(position: int, bit: int) -> None:
    sealed = bytearray(seal(TOKEN, SIGNAL, bytes(300)))
    sealed[position] ^= 1 << bit
    with pytest.raises((MalformedError, VerificationError)):
        open_sealed(TOKEN, SIGNAL, bytes(sealed))


@given(st.binary(max_size=600))
def test_other_bytes_are_malformed_or_refused(sealed: bytes) -> None:
    with pytest.raises((MalformedError, VerificationError)):
        open_sealed(TOKEN, SIGNAL, sealed)


@pytest.mark.parametrize("size", [0, 255, 257, MAX_SEALED + 256])
def test_sizes_that_no_sealed_detail_has(size: int) -> None:
    with pytest.raises(MalformedError):
        open_sealed(TOKEN, SIGNAL, b"\x01" * size)


@pytest.mark.parametrize("signal_id", [b"", bytes(15), bytes(17)])
def test_signal_ids_have_16_bytes(signal_id: bytes) -> None:
    with pytest.raises(MalformedError):
        seal(TOKEN, signal_id, b"")
