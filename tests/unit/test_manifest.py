"""The key manifest: who must have signed, and which keys no manifest may hold."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from signalexchange import ristretto
from signalexchange.errors import ExchangeError, MalformedError, VerificationError
from signalexchange.manifest import KeyManifest, TokenKey, open_manifest
from signalexchange.note import sign_note
from signalexchange.roster import Roster
from signalexchange.threshold import deal

from tests.support.ceremonies import CUSTODIANS, DAY, YEAR, fresh_key, manifest, signed, token_key
from tests.support.rosters import START, Rosters, signer

ROSTER: Roster = Rosters().current
PHONE, CARD = 1, 3


def test_a_manifest_that_all_custodians_signed_opens() -> None:
    keys = [
        fresh_key(epoch=1),
        fresh_key(epoch=2, valid_from=START + DAY, valid_until=START + 2 * YEAR),
        fresh_key(type="card", epoch=9),
    ]
    opened = open_manifest(signed(manifest(*keys), ROSTER), ROSTER)
    assert opened == manifest(*keys)
    assert opened.key(PHONE, 2) == keys[1]
    assert opened.key(PHONE, 9) is None
    assert opened.key(CARD, 9) == keys[2]
    assert keys[0].type_value == PHONE
    assert set(keys[0].shares) == {1, 2, 3}


def test_valid_epochs_newest_last() -> None:
    older, newer = (
        fresh_key(epoch=1),
        fresh_key(epoch=2, valid_from=START + DAY, valid_until=START + 2 * YEAR),
    )
    both = manifest(newer, older)
    assert both.epochs(PHONE, START - 1) == []
    assert both.epochs(PHONE, START) == [1]
    assert both.epochs(PHONE, START + DAY) == [1, 2]
    assert both.epochs(PHONE, START + YEAR) == [2]
    assert both.epochs(CARD, START) == []


@pytest.mark.parametrize("absent", CUSTODIANS)
def test_every_custodian_must_have_signed(absent: str) -> None:
    with pytest.raises(VerificationError, match=f"not signed by custodian {absent}"):
        open_manifest(signed(manifest(fresh_key()), ROSTER, leave_out=absent), ROSTER)


def test_a_stranger_signing_as_a_custodian_is_not_that_custodian() -> None:
    text = manifest(fresh_key()).text()
    strangers = [
        type(signer(name))(name, signer(f"x-{name}").public_key, signer(f"x-{name}").sign)
        for name in CUSTODIANS
    ]
    with pytest.raises(VerificationError):
        open_manifest(sign_note(text, strangers), ROSTER)


def test_an_altered_text_is_refused() -> None:
    note = signed(manifest(fresh_key()), ROSTER)
    with pytest.raises(VerificationError):
        open_manifest(note.replace(b'"epoch": 1', b'"epoch": 2'), ROSTER)


def other_shares() -> TokenKey:
    dealing, other = deal(2, [1, 2, 3]), deal(2, [1, 2, 3])
    return token_key(
        dealing,
        public_shares={
            str(i): point for i, point in {**dealing.public_shares, 2: other.public_shares[2]}.items()
        },
    )


def missing_share() -> TokenKey:
    dealing = deal(2, [1, 2, 3])
    return token_key(dealing, public_shares={str(i): dealing.public_shares[i] for i in (1, 2)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: manifest(fresh_key(), origin="elsewhere"), "another origin"),
        (lambda: manifest(token_key(deal(3, [1, 2, 3])), threshold=3), "another threshold"),
        (lambda: manifest(token_key(deal(3, [1, 2, 3]))), "number of commitments"),
        (lambda: manifest(token_key(deal(2, [1, 2, 3, 4]))), "roster's custodians"),
        (lambda: manifest(missing_share()), "roster's custodians"),
        (lambda: manifest(other_shares()), "phone, epoch 1: the public share of index 2"),
        (lambda: manifest(fresh_key(public_key=ristretto.GENERATOR)), "constant term"),
        (lambda: manifest(fresh_key(public_key=ristretto.IDENTITY)), "identity"),
        (lambda: manifest(fresh_key(commitments=(b"\xff" * 32, b"\xff" * 32))), "canonical"),
    ],
)
def test_what_does_not_fit_the_roster_or_the_commitments(
    make: Callable[[], KeyManifest], message: str
) -> None:
    with pytest.raises(ExchangeError, match=message):
        open_manifest(signed(make(), ROSTER), ROSTER)


@pytest.mark.parametrize(
    "keys",
    [
        lambda: [fresh_key(), fresh_key(generation=2)],
        lambda: [fresh_key(epoch=1), fresh_key(epoch=2)],  # the same window
        lambda: [fresh_key(epoch=2), fresh_key(epoch=1, valid_from=START + 1, valid_until=START + YEAR + 1)],
        lambda: [fresh_key(epoch=n, valid_from=START + n, valid_until=START + YEAR + n) for n in (1, 2, 3)],
        lambda: [fresh_key(valid_until=START)],
        lambda: [fresh_key(epoch=-1)],
        lambda: [fresh_key(generation=0)],
        lambda: [fresh_key(type="shoe_size")],
        lambda: [fresh_key(public_shares={"0": ristretto.GENERATOR})],
        lambda: [fresh_key(public_key=bytes(31))],
    ],
)
def test_keys_that_no_manifest_may_hold(keys: Callable[[], list[TokenKey]]) -> None:
    with pytest.raises(ValidationError):
        manifest(*keys())


def test_a_key_is_never_used_twice() -> None:
    dealing = deal(2, [1, 2, 3])
    with pytest.raises(ValidationError):
        manifest(token_key(dealing), token_key(dealing, type="card"))


def altered(change: Callable[[dict[str, Any]], Any]) -> str:
    data = manifest(fresh_key()).model_dump(mode="json")
    change(data)
    return json.dumps(data, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(extra=1),
        lambda data: data.pop("origin"),
        lambda data: data.update(version="1"),
        lambda data: data["keys"][0].update(public_key="00"),
        lambda data: data["keys"][0].update(public_key=data["keys"][0]["public_key"].upper()),
        lambda data: data["keys"][0]["public_shares"].update({"04": "00" * 32}),
        lambda data: data["keys"][0].update(valid_from=1.5),
    ],
)
def test_other_forms_are_malformed(change: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(MalformedError):
        open_manifest(signed(altered(change), ROSTER), ROSTER)


def test_a_key_named_twice_in_the_text_is_malformed() -> None:
    text = manifest(fresh_key()).text().replace('"version": 1', '"version": 1,\n  "version": 1')
    with pytest.raises(MalformedError):
        open_manifest(signed(text, ROSTER), ROSTER)


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_other_bytes_are_an_error_of_ours(note: bytes) -> None:
    with pytest.raises(ExchangeError):
        open_manifest(note, ROSTER)
