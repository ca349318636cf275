"""Signed notes keep every MUST of c2sp.org/signed-note."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.errors import ExchangeError, MalformedError, VerificationError
from signalexchange.note import Signer, Verifier, add_signatures, open_note, sign_note, split_note

from tests.support.rosters import private_key, signer

A, B = signer("a.test/key"), signer("b.test/key")
TEXT = "first line\n\nafter a blank line: ✓\n"
NOTE = sign_note(TEXT, [A])

EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONnc"
    "AlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()

texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], include_characters="\n"), max_size=80
).map(lambda text: text + "\n")


def line(name: str, data: bytes) -> bytes:
    return f"— {name} {base64.b64encode(data).decode()}\n".encode()


def own_line(note: bytes = NOTE) -> bytes:
    return note[note.rindex("— ".encode()) :]


def test_the_specification_s_example_verifies() -> None:
    verifier = Verifier.parse(EXAMPLE_KEY)
    assert open_note(EXAMPLE, [verifier]) == ("This is an example message.\n", ("example.com/foo",))
    assert verifier.vkey == EXAMPLE_KEY


@given(texts)
def test_what_is_signed_opens(text: str) -> None:
    note = sign_note(text, [A, B])
    assert open_note(note, [B.verifier, A.verifier]) == (text, ("a.test/key", "b.test/key"))
    assert split_note(note)[0] == text


def test_signatures_are_added_and_replaced() -> None:
    note = add_signatures(add_signatures(NOTE, [B]), [A])
    assert open_note(note, [A.verifier, B.verifier]).signers == ("a.test/key", "b.test/key")
    assert note.count("— ".encode()) == 2


def test_unknown_signatures_are_ignored() -> None:
    assert open_note(add_signatures(NOTE, [B]), [A.verifier]).signers == ("a.test/key",)
    same_name = NOTE + line("a.test/key", b"\0\0\0\0" + bytes(64))
    same_id = NOTE + line("other", A.verifier.key_id + bytes(64))
    for note in (same_name, same_id):
        assert open_note(note, [A.verifier]).signers == ("a.test/key",)


def test_a_repeated_signature_counts_once() -> None:
    assert open_note(NOTE + own_line(), [A.verifier]).signers == ("a.test/key",)


def test_a_known_key_that_fails_rejects_the_note() -> None:
    note = add_signatures(NOTE, [B]) + line("a.test/key", A.verifier.key_id + bytes(64))
    with pytest.raises(VerificationError):
        open_note(note, [A.verifier, B.verifier])
    with pytest.raises(VerificationError):
        open_note(NOTE + line("a.test/key", A.verifier.key_id + b"short"), [A.verifier])


def test_without_a_known_key_there_is_no_text() -> None:
    for verifiers in ([], [B.verifier], [Signer.from_private_key("a.test/key", private_key("x")).verifier]):
        with pytest.raises(VerificationError):
            open_note(NOTE, verifiers)


def test_text_and_signature_belong_together() -> None:
    with pytest.raises(VerificationError):
        open_note(NOTE.replace(b"first", b"worst"), [A.verifier])


def test_the_last_blank_line_divides() -> None:
    inner = sign_note("inner\n", [B]).decode()
    note = sign_note(inner, [A])
    assert open_note(note, [A.verifier]).text == inner
    with pytest.raises(VerificationError):
        open_note(note, [B.verifier])


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\n\n",
        b"text\n",
        b"text\n\n",
        b"text\n" + own_line(),
        NOTE[:-1],
        NOTE + b"\n",
        NOTE + b"trailing\n",
        NOTE.replace(b"first", b"fir\tst"),
        NOTE.replace(b"first\x20", b"first\r"),
        NOTE.replace(b"first", b"fir\0t"),
        NOTE.replace(b"first", b"fir\xff\xfe"),
        NOTE.replace("— ".encode(), b"- "),
        NOTE.replace("— ".encode(), "—  ".encode()),
        b"text\n\n" + line("", bytes(68)),
        b"text\n\n" + line("a+b", bytes(68)),
        b"text\n\n" + line("a\N{NO-BREAK SPACE}b", bytes(68)),
        b"text\n\n" + line("a", bytes(4)),
        b"text\n\n" + "— a =\n".encode(),
        b"text\n\n" + "— a AAAAAAB=\n".encode(),
        b"text\n\n" + "— a AAAA AAAA\n".encode(),
        b"text\n\n" + line("a", bytes(68)) * 65,
        b"x" * (1 << 20) + NOTE,
    ],
)
def test_what_is_no_note_is_refused(note: bytes) -> None:
    with pytest.raises(MalformedError):
        open_note(note, [A.verifier])


def test_sixty_four_signatures_are_read() -> None:
    note = NOTE + line("other", bytes(68)) * 63
    assert open_note(note, [A.verifier]).signers == ("a.test/key",)


@pytest.mark.parametrize(
    "text", ["", "no newline", "tab\t\n", "nul\0\n", "surrogate \ud800\n", "x" * (1 << 20) + "\n"]
)
def test_a_text_that_no_note_can_carry_is_not_signed(text: str) -> None:
    with pytest.raises(MalformedError):
        sign_note(text, [A])


def test_a_note_has_a_signer_that_signs() -> None:
    with pytest.raises(MalformedError):
        sign_note(TEXT, [])
    with pytest.raises(VerificationError):
        sign_note(TEXT, [Signer("a.test/key", A.public_key, lambda text: b"no signature")])
    mismatched = sign_note(TEXT, [Signer("a.test/key", A.public_key, private_key("other").sign)])
    with pytest.raises(VerificationError):
        open_note(mismatched, [A.verifier])


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        "name+00000000",
        EXAMPLE_KEY.replace("530d903a", "530d903b"),
        EXAMPLE_KEY.replace("530d903a", "530D903A"),
        EXAMPLE_KEY.replace("example.com/foo", "example.com/bar"),
        EXAMPLE_KEY.replace("example.com/foo", ""),
        EXAMPLE_KEY.replace("example.com/foo", "example com"),
        EXAMPLE_KEY[:-4],
        EXAMPLE_KEY[:-1] + "l",
        EXAMPLE_KEY.replace("+Aeky", "+BOky"),
        EXAMPLE_KEY + "\n",
        EXAMPLE_KEY + "=",
    ],
)
def test_a_verifier_key_is_read_strictly(vkey: str) -> None:
    with pytest.raises(MalformedError):
        Verifier.parse(vkey)


@pytest.mark.parametrize(
    ("name", "key"), [("", bytes(32)), ("a b", bytes(32)), ("a+b", bytes(32)), ("a", bytes(31))]
)
def test_a_verifier_has_a_name_and_a_whole_key(name: str, key: bytes) -> None:
    with pytest.raises(MalformedError):
        Verifier(name, key)


@given(st.binary(max_size=200))
def test_random_bytes_raise_our_errors_only(data: bytes) -> None:
    for note in (data, NOTE + data, data + NOTE, b"text\n\n" + data):
        try:
            open_note(note, [A.verifier])
        except ExchangeError:
            pass
        else:
            assert note.endswith(own_line())


@given(st.text(max_size=80))
def test_random_verifier_keys_raise_our_errors_only(text: str) -> None:
    for vkey in (text, f"{text}+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", f"a+00000000+{text}"):
        with pytest.raises(MalformedError):
            Verifier.parse(vkey)


@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(place: int, change: int) -> None:
    changed = bytearray(NOTE)
    changed[place] ^= change
    with pytest.raises(ExchangeError):
        open_note(bytes(changed), [A.verifier])
