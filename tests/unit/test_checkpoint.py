"""Checkpoints are read as c2sp.org/tlog-checkpoint writes them, and no other way."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from signalexchange.errors import ExchangeError, MalformedError, VerificationError
from signalexchange.merkle import EMPTY_ROOT
from signalexchange.note import sign_note

from tests.support.rosters import signer

LOG = signer("example.com/log")
ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
lines = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=40)


@given(lines, st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32), st.lists(lines, max_size=3))
def test_what_is_signed_opens(origin: str, size: int, root: bytes, extensions: list[str]) -> None:
    checkpoint = Checkpoint(origin, size, root, tuple(extensions))
    assert Checkpoint.parse(checkpoint.text()) == checkpoint
    assert open_checkpoint(sign_checkpoint(checkpoint, LOG), LOG.verifier, origin) == checkpoint


def test_the_specification_s_example() -> None:
    checkpoint = Checkpoint.parse(f"example.com/behind-the-sofa\n20852163\n{ROOT}\n")
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)


def test_the_empty_tree_has_one_root() -> None:
    assert Checkpoint.parse(Checkpoint("log", 0, EMPTY_ROOT).text()).size == 0
    with pytest.raises(MalformedError):
        Checkpoint("log", 0, bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "log\n5\n",
        f"log\n5\n{ROOT}",
        f"\n5\n{ROOT}\n",
        f"log\n05\n{ROOT}\n",
        f"log\n+5\n{ROOT}\n",
        f"log\n-5\n{ROOT}\n",
        f"log\n5 \n{ROOT}\n",
        f"log\n٥\n{ROOT}\n",
        f"log\n9223372036854775808\n{ROOT}\n",
        f"log\n\n{ROOT}\n",
        f"log\n5\n{ROOT[:-1]}\n",
        f"log\n5\n{ROOT[:-4]}\n",
        f"log\n5\n{ROOT[:-2]}J=\n",
        f"log\n5\n{ROOT.replace('/', '_')}\n",
        f"log\n5\n{ROOT}\n\n",
        f"log\n5\n{ROOT}\n\nextension\n",
        f"l\tog\n5\n{ROOT}\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        Checkpoint.parse(text)


def test_origin_and_key_must_be_the_log_s() -> None:
    note = sign_checkpoint(Checkpoint("example.com/log", 1, bytes(32)), LOG)
    with pytest.raises(VerificationError):
        open_checkpoint(note, LOG.verifier, "example.com/other")
    with pytest.raises(VerificationError):
        open_checkpoint(note, signer("example.com/other").verifier, "example.com/log")
    with pytest.raises(MalformedError):
        open_checkpoint(sign_note("no checkpoint\n", [LOG]), LOG.verifier, "example.com/log")


@given(st.text(max_size=120))
def test_random_text_raises_our_errors_only(text: str) -> None:
    for candidate in (text, f"log\n{text}\n{ROOT}\n", f"log\n5\n{text}\n", f"log\n5\n{ROOT}\n{text}"):
        with contextlib.suppress(ExchangeError):
            assert Checkpoint.parse(candidate).text() == candidate
