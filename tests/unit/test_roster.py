"""The roster's rules, one by one, and the chain of its versions as a state machine."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from signalexchange import roster as rosters
from signalexchange.errors import ExchangeError, MalformedError, VerificationError
from signalexchange.note import Verifier
from signalexchange.roster import Roster, RosterChain
from signalexchange.v1.identifier_pb2 import IdentifierType, PartyKind

from tests.support.rosters import FOREVER, ORIGIN, START, Rosters, document, key, party, signed, vkey


def spelled(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def test_a_roster_prints_as_it_was_read() -> None:
    text = spelled(document())
    roster = Roster.parse(text)
    assert roster.text() == text
    assert Roster.model_validate(document()) == roster


def test_look_ups() -> None:
    roster = Roster.model_validate(document())
    bank = roster.party("bank-a")
    assert bank is not None
    assert bank.is_member
    assert bank.kind_value == PartyKind.PARTY_KIND_BANK
    assert roster.party_by_spiffe("spiffe://exchange.test/party/bank-a") is bank
    assert roster.party("nobody") is None
    assert roster.party_by_spiffe("spiffe://exchange.test/hub") is None
    group = roster.group(bank.group)
    assert group is not None
    assert group.budgets["phone"].per_day == 1000
    custodian = roster.custodian(3)
    assert custodian is not None
    assert custodian.id == "custodian-3"
    assert roster.custodian(0) is roster.custodian(4) is None
    assert roster.log_verifier.name == ORIGIN


def test_a_signing_key_counts_while_it_is_valid() -> None:
    roster = Roster.model_validate(document())
    assert roster.signing_key("bank-a", "k1", START) == roster.signing_key("bank-a", "k1", FOREVER - 1)
    assert roster.signing_key("bank-a", "k1", START - 1) is None
    assert roster.signing_key("bank-a", "k1", FOREVER) is None
    assert roster.signing_key("bank-a", "k2", START) is None
    assert roster.signing_key("bank-b", "k1", START) != roster.signing_key("bank-a", "k1", START)


def test_names_of_types_and_kinds_are_those_of_the_contract() -> None:
    assert rosters.identifier_type("national_id_cn") == IdentifierType.IDENTIFIER_TYPE_NATIONAL_ID_CN
    assert rosters.identifier_name(IdentifierType.IDENTIFIER_TYPE_PHONE) == "phone"
    assert rosters.kind_value("payment_provider") == PartyKind.PARTY_KIND_PAYMENT_PROVIDER
    for name in ("phone", "card", "iban", "email", "device", "merchant", "account", "address"):
        assert rosters.identifier_name(rosters.identifier_type(name)) == name
    for wrong in ("unspecified", "PHONE", ""):
        with pytest.raises(MalformedError):
            rosters.identifier_type(wrong)
        with pytest.raises(MalformedError):
            rosters.kind_value(wrong)
    for number in (0, 10, -1):
        with pytest.raises(MalformedError):
            rosters.identifier_name(number)


PARTY, CUSTODIAN, BUDGET = ("parties", 0), ("custodians", 0), ("groups", 0, "budgets", "phone")
KEY = (*PARTY, "signing_keys", 0)

BROKEN: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "version below 1": (("version",), 0),
    "version as text": (("version",), "1"),
    "version as bool": (("version",), True),
    "version as float": (("version",), 1.0),
    "previous in version 1": (("previous",), "0" * 64),
    "previous missing later": (("version",), 2),
    "negative time": (("issued_at",), -1),
    "origin empty": (("origin",), ""),
    "origin with space": (("origin",), "a b"),
    "origin with newline": (("origin",), "a\n"),
    "log key": (("log_key",), vkey("x")[:-1]),
    "hub": (("hub_spiffe_id",), "https://exchange.test/hub"),
    "rulebook": (("rulebook_sha256",), "ABC"),
    "quorum above keys": (("governance", "quorum"), 4),
    "quorum of one among many": (("governance", "quorum"), 1),
    "quorum of none": (("governance", "quorum"), 0),
    "no governance keys": (("governance", "keys"), []),
    "governance key twice": (("governance", "keys", 1), vkey("governance-1")),
    "governance key is the log's": (("governance", "keys", 1), vkey(ORIGIN)),
    "unknown type": (("groups", 0, "budgets"), {"fax": {"per_day": 1, "declared_customers": 1}}),
    "budget of none": ((*BUDGET, "per_day"), 0),
    "budget beyond bounds": ((*BUDGET, "per_day"), 10**10 + 1),
    "budget as float": ((*BUDGET, "declared_customers"), 1.5),
    "group twice": (("groups", 0, "id"), "south"),
    "party twice": ((*PARTY, "id"), "bank-b"),
    "party id": ((*PARTY, "id"), "Bank A"),
    "unknown kind": ((*PARTY, "kind"), "insurer"),
    "unknown group": ((*PARTY, "group"), "east"),
    "SPIFFE id": ((*PARTY, "spiffe_id"), "spiffe://Exchange.test/party"),
    "SPIFFE id with newline": ((*PARTY, "spiffe_id"), "spiffe://exchange.test/party\n"),
    "SPIFFE id twice": ((*PARTY, "spiffe_id"), "spiffe://exchange.test/party/bank-b"),
    "SPIFFE id of the hub": ((*PARTY, "spiffe_id"), "spiffe://exchange.test/hub"),
    "SPIFFE id of a custodian": ((*PARTY, "spiffe_id"), "spiffe://exchange.test/custodian/custodian-1"),
    "member without key": ((*PARTY, "signing_keys"), []),
    "short key": ((*KEY, "public_key"), "AAAA"),
    "key not base64": ((*KEY, "public_key"), "!" * 44),
    "validity turned round": ((*KEY, "not_after"), START),
    "key id twice": ((*PARTY, "signing_keys"), [key("bank-a"), key("more")]),
    "key of another party": ((*PARTY, "signing_keys"), [key("bank-b")]),
    "key for two uses": ((*PARTY, "officer_keys"), [key("bank-a", "o1")]),
    "key of the log": ((*PARTY, "signing_keys"), [key(ORIGIN)]),
    "key of a custodian": ((*PARTY, "officer_keys"), [key("custodian-1")]),
    "custodian index": ((*CUSTODIAN, "index"), 2),
    "custodian index zero": ((*CUSTODIAN, "index"), 0),
    "custodian id twice": ((*CUSTODIAN, "id"), "custodian-2"),
    "custodian key twice": ((*CUSTODIAN, "key"), vkey("custodian-2")),
    "custodian of unknown group": ((*CUSTODIAN, "group"), "east"),
    "group holds the threshold": ((*CUSTODIAN, "group"), "south"),
    "operator holds a share": ((*CUSTODIAN, "group"), "hub"),
    "threshold of one": (("threshold",), 1),
    "threshold above shares": (("threshold",), 4),
    "no custodians": (("custodians",), []),
    "reinstates a stranger": (("reinstates",), ["stranger"]),
    "reinstates twice": (("reinstates",), ["bank-a", "bank-a"]),
    "unknown field": (("extra",), 1),
    "unknown field within": ((*PARTY, "extra"), 1),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_of_a_single_version(rule: str) -> None:
    path, value = BROKEN[rule]
    data = document()
    place: Any = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(MalformedError) as caught:
        Roster.parse(spelled(data))
    assert str(caught.value).startswith("Roster")


@pytest.mark.parametrize("field", sorted(document()))
def test_a_missing_field_is_named(field: str) -> None:
    data = document()
    del data[field]
    with pytest.raises(MalformedError, match=field):
        Roster.parse(spelled(data))


def test_a_roster_has_one_spelling() -> None:
    text = spelled(document())
    for other in (
        text[:-1],
        text + "\n",
        json.dumps(document()) + "\n",
        text.replace('"version": 1', '"version": 1, "version": 1'),
        text.replace('"bank-a"', '"bank\\u002da"'),
        "\ufeff" + text,
    ):
        with pytest.raises(MalformedError):
            Roster.parse(other)


@given(st.text(max_size=60), st.integers(0, 4000), st.integers(0, 40))
def test_random_text_raises_our_errors_only(text: str, place: int, cut: int) -> None:
    whole = spelled(document())
    for candidate in (text, whole[:place] + text + whole[place + cut :]):
        with contextlib.suppress(ExchangeError):
            assert Roster.parse(candidate).text() == candidate


@given(
    st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3))
)
def test_any_value_in_any_field_raises_our_errors_only(value: Any) -> None:
    for field in document():
        data = document() | {field: value}
        with contextlib.suppress(MalformedError):
            Roster.parse(spelled(data))


def test_a_chain_starts_at_its_anchor_and_grows() -> None:
    chain = Rosters()
    data = chain.next_document()
    data["parties"].append(party("bank-c", "bank", "west"))
    data["reinstates"] = ["bank-b"]
    note = chain.extend(data, (2, 3))
    assert chain.current.version == 2
    assert chain.current.party("bank-c") is not None
    assert [version.version for _, version in chain.chain.versions] == [1, 2]
    assert chain.chain.versions[1][0] == note


def test_extending_leaves_the_old_chain_as_it_was() -> None:
    chain = Rosters()
    old = chain.chain
    chain.extend(chain.next_document())
    assert old.current.version == 1
    assert chain.chain.current.version == 2


def test_governance_keys_rotate_by_the_old_quorum() -> None:
    chain = Rosters()
    data = chain.next_document()
    data["governance"]["keys"] = [vkey(f"governance-{n}") for n in (4, 5, 6)]
    with pytest.raises(VerificationError):
        chain.chain.extend(signed(data, (4, 5, 6)))
    chain.extend(data, (1, 3))
    following = chain.next_document()
    with pytest.raises(VerificationError):
        chain.chain.extend(signed(following, (1, 2, 3)))
    chain.extend(following, (4, 6))
    assert chain.current.version == 3


def test_a_single_governance_key_is_a_quorum() -> None:
    data = document()
    data["governance"] = {"quorum": 1, "keys": [vkey("governance-1")]}
    chain = Rosters(RosterChain.start(signed(data, (1,))))
    chain.extend(chain.next_document(), (1,))
    with pytest.raises(VerificationError):
        chain.chain.extend(signed(chain.next_document(), (2, 3)))


def test_bytes_that_are_no_note_are_malformed() -> None:
    chain = Rosters().chain
    for note in (b"", b"{}", b"\xff", b"{}\n\n"):
        with pytest.raises(MalformedError):
            RosterChain.start(note)
        with pytest.raises(MalformedError):
            chain.extend(note)


class ChainMachine(RuleBasedStateMachine):
    """Whatever is proposed, the chain grows only by what its newest quorum signed for it."""

    def __init__(self) -> None:
        super().__init__()
        self.rosters = Rosters()
        self.governance = [1, 2, 3]
        self.accepted = 1

    @rule(
        signers=st.sets(st.integers(1, 6), min_size=1),
        new=st.none() | st.sets(st.integers(1, 6), min_size=2),
        version=st.sampled_from([0, 0, 0, 1, -1]),
        right_hash=st.booleans() | st.just(True),
        origin=st.sampled_from([ORIGIN, ORIGIN, "exchange.test/other"]),
        later=st.sampled_from([0, 60, -600]),
    )
    def propose(
        self,
        signers: set[int],
        new: set[int] | None,
        version: int,
        right_hash: bool,
        origin: str,
        later: int,
    ) -> None:
        data = self.rosters.next_document()
        data["version"] += version
        data["origin"] = origin
        data["issued_at"] += later - 60
        if not right_hash:
            data["previous"] = "0" * 64
        if data["version"] == 1:
            data["previous"] = ""
        if new is not None:
            data["governance"]["keys"] = [vkey(f"governance-{n}") for n in sorted(new)]
        good = (
            len(signers & set(self.governance)) >= 2
            and version == 0
            and right_hash
            and origin == ORIGIN
            and later >= 0
        )
        note = signed(data, sorted(signers))
        if good:
            self.rosters.chain = self.rosters.chain.extend(note)
            self.governance = sorted(new) if new is not None else self.governance
            self.accepted += 1
        else:
            with pytest.raises(ExchangeError):
                self.rosters.chain.extend(note)

    @invariant()
    def replays(self) -> None:
        chain = RosterChain.start(self.rosters.chain.versions[0][0])
        for note, _ in self.rosters.chain.versions[1:]:
            chain = chain.extend(note)
        assert chain.current == self.rosters.current
        assert chain.current.version == self.accepted
        assert [Verifier.parse(item).name for item in chain.current.governance.keys] == [
            f"governance-{n}" for n in self.governance
        ]


TestChainMachine = ChainMachine.TestCase
TestChainMachine.settings = settings(max_examples=20, stateful_step_count=8)
