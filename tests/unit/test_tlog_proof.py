"""Proofs and witnesses' cosignatures verify offline as c2sp.org/tlog-proof and tlog-cosignature say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange import merkle
from signalexchange.checkpoint import Checkpoint, sign_checkpoint
from signalexchange.cosignature import CosignatureVerifier, Cosigner, cosignatures
from signalexchange.errors import ExchangeError, MalformedError, VerificationError
from signalexchange.note import Verifier, add_signatures, open_note, sign_note, split_note
from signalexchange.tlog_proof import TlogProof, verify_proof

from tests.support.rosters import private_key, signer

LOG = signer("example.com/log")
LEAVES = [b"leaf %d" % index for index in range(40)]
HASHES = [merkle.leaf_hash(leaf) for leaf in LEAVES]


def witness(name: str = "witness.test/w1", time: int = 1_700_000_000) -> Cosigner:
    secret = private_key(name)
    return Cosigner(name, secret.public_key().public_bytes_raw(), secret.sign, time)


def checkpoint(size: int = 40, origin: str = "example.com/log") -> bytes:
    return sign_checkpoint(Checkpoint(origin, size, merkle.root(HASHES[:size])), LOG)


def proof(index: int, size: int = 40, extra: bytes = b"") -> TlogProof:
    hashes = [merkle.range_hash(HASHES, lo, hi) for lo, hi in merkle.inclusion_ranges(index, size)]
    return TlogProof(index, tuple(hashes), checkpoint(size), extra)


@given(st.integers(1, 40), st.data(), st.binary(max_size=40))
def test_a_proof_verifies_offline(size: int, data: st.DataObject, extra: bytes) -> None:
    index = data.draw(st.integers(0, size - 1))
    encoded = proof(index, size, extra).encode()
    assert TlogProof.parse(encoded) == proof(index, size, extra)
    assert verify_proof(encoded, LEAVES[index], LOG.verifier, "example.com/log").size == size


def test_a_proof_is_of_one_leaf_one_log_and_one_key() -> None:
    encoded = proof(7).encode()
    with pytest.raises(VerificationError):
        verify_proof(encoded, LEAVES[8], LOG.verifier, "example.com/log")
    with pytest.raises(VerificationError):
        verify_proof(encoded, LEAVES[7], LOG.verifier, "example.com/other")
    with pytest.raises(VerificationError):
        verify_proof(encoded, LEAVES[7], signer("other").verifier, "example.com/log")


GOOD = proof(7, extra=b"extra").encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD.replace(b"@v1", b"@v2"),
        GOOD.replace(b"@v1\n", b"@v1\n\n"),
        GOOD.replace(b"index 7", b"index 07"),
        GOOD.replace(b"index 7", b"index -7"),
        GOOD.replace(b"index 7", b"index"),
        GOOD.replace(b"index 7\n", b""),
        GOOD.replace(b"extra ZXh0cmE=", b"extra "),
        GOOD.replace(b"extra ZXh0cmE=", b"extra !"),
        GOOD.replace(b"extra ZXh0cmE=\nindex 7", b"index 7\nextra ZXh0cmE="),
        GOOD.replace(b"index 7\n", b"index 7\nAAAA\n"),
        GOOD.replace(b"index 7\n", b"index 7\n" + b"A" * 43 + b"=\n" * 64),
        GOOD.replace(b"@v1\n", b"@v1\r\n"),
        GOOD.replace(b"index 7\n", "index ٧\n".encode()),
        GOOD[: GOOD.index(b"\n\n")],
        GOOD + b" " * (1 << 21),
    ],
)
def test_what_is_no_proof_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        TlogProof.parse(data)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_changed_byte_but_in_the_extra_data_goes_unnoticed(place: int, change: int) -> None:
    changed = bytearray(GOOD)
    changed[place] ^= change
    try:
        verify_proof(bytes(changed), LEAVES[7], LOG.verifier, "example.com/log")
    except ExchangeError:
        pass
    else:
        assert TlogProof.parse(bytes(changed)).extra != b"extra"


@given(st.binary(max_size=150))
def test_random_proofs_raise_our_errors_only(data: bytes) -> None:
    for candidate in (
        data,
        b"c2sp.org/tlog-proof@v1\n" + data,
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + data,
    ):
        with pytest.raises(ExchangeError):
            verify_proof(candidate, b"", LOG.verifier, "example.com/log")


@pytest.mark.parametrize(
    ("index", "hashes", "extra"),
    [(-1, (), b""), (0, (bytes(31),), b""), (0, (bytes(32),) * 64, b""), (0, (), bytes(65_537))],
)
def test_parts_that_no_proof_can_carry(index: int, hashes: tuple[bytes, ...], extra: bytes) -> None:
    with pytest.raises(MalformedError):
        TlogProof(index, hashes, checkpoint(), extra)


def test_witnesses_cosign_beside_the_log() -> None:
    first, second = witness(), witness("witness.test/w2", 5)
    note = add_signatures(checkpoint(), [first, second])
    known = [second.verifier, witness("witness.test/w3").verifier, first.verifier]
    assert cosignatures(note, known) == [("witness.test/w2", 5), ("witness.test/w1", 1_700_000_000)]
    assert open_note(note, [LOG.verifier]).signers == ("example.com/log",)
    assert open_note(note, [LOG.verifier, first.verifier]).signers == ("example.com/log", "witness.test/w1")
    assert cosignatures(checkpoint(), known) == []


def test_a_proof_carries_cosignatures() -> None:
    cosigned = add_signatures(checkpoint(), [witness()])
    carried = TlogProof(7, proof(7).hashes, cosigned).encode()
    verify_proof(carried, LEAVES[7], LOG.verifier, "example.com/log")
    assert cosignatures(TlogProof.parse(carried).checkpoint, [witness().verifier])


@given(st.integers(0, 2**63 - 1))
def test_a_cosignature_s_time_is_signed(time: int) -> None:
    note = add_signatures(checkpoint(), [witness(time=time)])
    text, lines = split_note(note)
    verifier = witness().verifier
    assert verifier.time_of(text.encode(), lines[1].signature) == time
    other = ((time + 1) % 2**63).to_bytes(8, "big") + lines[1].signature[8:]
    with pytest.raises(VerificationError):
        verifier.verify(text.encode(), other)


def test_cosignature_and_signature_never_pass_for_each_other() -> None:
    secret = private_key("both")
    public = secret.public_key().public_bytes_raw()
    assert Verifier("both", public).key_id != CosignatureVerifier("both", public).key_id
    text = split_note(checkpoint())[0].encode()
    with pytest.raises(VerificationError):
        CosignatureVerifier("both", public).verify(text, bytes(8) + secret.sign(text))
    with pytest.raises(MalformedError):
        CosignatureVerifier.parse(Verifier("both", public).vkey)
    vkey = CosignatureVerifier("both", public).vkey
    assert CosignatureVerifier.parse(vkey) == CosignatureVerifier("both", public)


def test_what_a_witness_refuses() -> None:
    for text in ("no checkpoint\n", "a\n1\nAAAA\n"):
        with pytest.raises(MalformedError):
            sign_note(text, [witness()])
    for time in (-1, 2**63):
        with pytest.raises(MalformedError):
            add_signatures(checkpoint(), [witness(time=time)])
    with pytest.raises(MalformedError):
        CosignatureVerifier("w", bytes(31))
    with pytest.raises(MalformedError):
        cosignatures(sign_note("no checkpoint\n", [LOG]), [])


@pytest.mark.parametrize("signature", [b"", bytes(71), bytes(72), bytes(73), b"\x80" + bytes(71)])
def test_what_is_no_cosignature_is_refused(signature: bytes) -> None:
    with pytest.raises(VerificationError):
        witness().verifier.verify(b"text", signature)


def test_a_true_cosignature_of_a_time_beyond_63_bits_is_refused() -> None:
    text = split_note(checkpoint())[0].encode()
    signature = witness().sign(b"cosignature/v1\ntime 9223372036854775808\n" + text)
    with pytest.raises(VerificationError):
        witness().verifier.verify(text, (2**63).to_bytes(8, "big") + signature)
