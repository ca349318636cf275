"""The operator, a lone governance key, and whoever replays old versions: none of them changes the roster."""

import json
from hashlib import sha256
from typing import Any

import pytest
from signalexchange.errors import ExchangeError, MalformedError, VerificationError
from signalexchange.note import Signer, Verifier, add_signatures, sign_note
from signalexchange.roster import Roster, RosterChain, sign_roster

from tests.support.rosters import ORIGIN, Rosters, document, key, party, private_key, signed, signer, vkey


def refused(chain: RosterChain, note: bytes) -> None:
    before = chain.current
    with pytest.raises(VerificationError):
        chain.extend(note)
    assert chain.current is before


def with_new_member(chain: Rosters) -> dict[str, Any]:
    data = chain.next_document()
    data["parties"].append(party("puppet", "bank", "hub"))
    return data


@pytest.mark.parametrize("names", [[ORIGIN], ["operator"], ["custodian-1", "custodian-2"], ["governance-1"]])
def test_the_operator_enrols_no_member(names: list[str]) -> None:
    """It has the log's key, its own, even custodians' and one governance key: no quorum."""
    chain = Rosters()
    roster = Roster.model_validate(with_new_member(chain))
    refused(chain.chain, sign_roster(roster, [signer(name) for name in names]))


def test_the_operator_swaps_no_member_key() -> None:
    chain = Rosters()
    data = chain.next_document()
    data["parties"][0]["signing_keys"] = [key("operator's own")]
    refused(chain.chain, signed(data, (1,)))


def test_the_operator_brings_no_governance_of_its_own() -> None:
    """Neither as next version, signed by the keys it lists itself, nor as another anchor."""
    chain = Rosters()
    data = with_new_member(chain)
    data["governance"]["keys"] = [vkey(f"governance-{n}") for n in (7, 8)]
    refused(chain.chain, signed(data, (7, 8)))
    refused(chain.chain, signed(data, (1, 7, 8)))


def test_a_forged_signature_of_a_known_key_rejects_the_version() -> None:
    chain = Rosters()
    note = signed(with_new_member(chain), (1,))
    verifier = signer("governance-2").verifier
    elsewhere = private_key("governance-2").sign(b"another text\n")

    class Grafted:
        def __init__(self) -> None:
            self.verifier = verifier

        def sign_text(self, text: bytes) -> bytes:
            return elsewhere

    refused(chain.chain, add_signatures(note, [Grafted()]))


def test_one_governance_key_counts_once() -> None:
    chain = Rosters()
    data = chain.next_document()
    note = signed(data, (1,))
    lines = note[note.rindex("— ".encode()) :]
    refused(chain.chain, note + lines + lines)
    renamed = Signer.from_private_key("governance-2", private_key("governance-1"))
    refused(chain.chain, add_signatures(note, [renamed]))


def test_one_key_under_two_names_makes_no_roster() -> None:
    data = document()
    twin = Verifier("governance-twin", signer("governance-1").public_key).vkey
    data["governance"]["keys"] = [vkey("governance-1"), twin]
    text = sign_note(forced(data), [signer("governance-1")])
    with pytest.raises(MalformedError, match="governance key"):
        RosterChain.start(text)


def test_an_older_version_is_not_replayed() -> None:
    chain = Rosters()
    genesis = chain.chain.versions[0][0]
    second = chain.extend(with_new_member(chain))
    third = chain.next_document()
    third["parties"] = [item for item in third["parties"] if item["id"] != "puppet"]
    chain.extend(third)
    for note in (genesis, second, chain.chain.versions[-1][0]):
        refused(chain.chain, note)


def test_no_version_is_skipped() -> None:
    chain = Rosters()
    ahead = Rosters(chain.chain)
    ahead.extend(ahead.next_document())
    refused(chain.chain, ahead.extend(ahead.next_document()))


def test_a_fork_does_not_join_the_other_branch() -> None:
    """Two versions 2 with a quorum each: what follows one does not follow the other."""
    left, right = Rosters(), Rosters()
    left.extend(with_new_member(left), (1, 2))
    right.extend(right.next_document(), (2, 3))
    refused(right.chain, signed(left.next_document()))


def test_the_hash_of_the_version_before_is_not_forged() -> None:
    chain = Rosters()
    data = chain.next_document()
    note = chain.chain.versions[0][0]
    for forged in ("0" * 64, sha256(note).hexdigest(), sha256(b"").hexdigest()):
        data["previous"] = forged
        refused(chain.chain, signed(data))


def test_a_roster_never_moves_to_another_log() -> None:
    chain = Rosters()
    data = chain.next_document()
    data["origin"] = "exchange.test/replay"
    refused(chain.chain, signed(data))


def forced(data: dict[str, Any]) -> str:
    """The text of a roster that breaks a rule, as a quorum in error might sign it."""
    return json.dumps(data, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def test_custodians_of_one_group_hold_no_quorum_of_shares() -> None:
    chain = Rosters()
    data = chain.next_document()
    data["custodians"][1]["group"] = data["custodians"][0]["group"]
    note = sign_note(forced(data), [signer("governance-1"), signer("governance-2")])
    with pytest.raises(MalformedError, match="custodian shares"):
        chain.chain.extend(note)


def test_the_operator_holds_no_share_even_by_quorum() -> None:
    chain = Rosters()
    data = chain.next_document()
    data["custodians"][1]["group"] = "hub"
    note = sign_note(forced(data), [signer("governance-1"), signer("governance-2")])
    with pytest.raises(MalformedError, match="operator"):
        chain.chain.extend(note)


def test_the_operator_s_log_key_never_counts_as_governance() -> None:
    data = document()
    data["governance"]["keys"][0] = vkey(ORIGIN)
    note = sign_note(forced(data), [signer(ORIGIN), signer("governance-2")])
    with pytest.raises(MalformedError, match="public key"):
        RosterChain.start(note)


def test_an_anchor_without_quorum_or_of_a_later_version_starts_nothing() -> None:
    chain = Rosters()
    second = signed(chain.next_document())
    for note in (signed(document(), (1,)), second):
        with pytest.raises(VerificationError):
            RosterChain.start(note)


def test_changed_text_under_true_signatures_is_refused() -> None:
    chain = Rosters()
    note = signed(chain.next_document())
    for old, new in ((b'"bank-a"', b'"bank-x"'), (b'"quorum": 2', b'"quorum": 1')):
        with pytest.raises(ExchangeError):
            chain.chain.extend(note.replace(old, new))
