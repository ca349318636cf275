"""Versions of what is learned: what the log holds of them is enough to have them again."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from signalexchange.entry_payloads import parse_payload
from signalexchange.v1.log_entry_pb2 import ENTRY_TYPE_MODEL, ModelEntry

from exchange.domain.learned import Learned
from exchange.domain.membership import Membership
from exchange.domain.reliability import Tally
from tests.support.schemes import MEMBERSHIP

PARTIES = ["bank-a", "bank-b", "shop"]
RULEBOOK = MEMBERSHIP.rulebook
reports = st.lists(
    st.builds(
        Tally,
        issuer=st.sampled_from([*PARTIES, ""]),
        code=st.sampled_from(["mule-account", "funds-loop"]),
        reporter=st.sampled_from(PARTIES),
        confirmed=st.integers(0, 9),
        refuted=st.integers(1, 9),
    ),
    min_size=1,
    max_size=4,
)
steps = st.lists(st.one_of(reports, st.sets(st.sampled_from(PARTIES))), max_size=8)


def without(members: set[str]) -> Membership:
    return replace(MEMBERSHIP, suspended=dict.fromkeys(members, 7))


@given(steps)
def test_whoever_has_the_entries_has_every_version_again(story: list[list[Tally] | set[str]]) -> None:
    """From the entries and who was shut out at each alone: tallies, factors, and those without any group."""
    membership = MEMBERSHIP
    learned = Learned.of(0, membership, [])
    counted: dict[tuple[str, str, str], Tally] = {}
    for step in story:
        before = learned
        if isinstance(step, set):
            membership = without(step)
            learned = learned.under(membership)
            changed: list[Tally] = []
        else:
            learned, changed = learned.plus(step), step
        moved = not learned.reliability.says_the_same(before.reliability)
        assert learned.version == before.version + (bool(changed) or moved)
        if learned.version != before.version:
            payload = learned.entry(changed, RULEBOOK).SerializeToString()
            entry = parse_payload(ENTRY_TYPE_MODEL, payload)
            assert isinstance(entry, ModelEntry)
            for tally in entry.tallies:
                names = tally.issuer, tally.code, tally.reporter
                counted[names] = Tally(*names, tally.confirmed, tally.refuted)
            assert {each.name: each.permille for each in entry.groups} == learned.reliability.factors.groups
            assert {each.name: each.permille for each in entry.codes} == learned.reliability.factors.codes
        again = Learned.of(learned.version, membership, counted.values())
        assert again.reliability.tallies == learned.reliability.tallies
        for group in ("", "north", "south", "west"):
            assert again.reliability.without(group) == learned.reliability.without(group)


@given(reports, reports)
def test_a_version_never_changes(first: list[Tally], second: list[Tally]) -> None:
    before = Learned.of(0, MEMBERSHIP, []).plus(first)
    said = before.entry(first, RULEBOOK)
    before.plus(second)
    before.under(without({"shop"}))
    assert before.entry(first, RULEBOOK) == said
    assert before.name(RULEBOOK) == "additive-2.1"


def test_who_is_shut_out_without_a_verdict_makes_no_version() -> None:
    learned = Learned.of(0, MEMBERSHIP, []).plus([Tally("bank-a", "mule-account", "bank-b", 1, 0)])
    assert learned.under(without({"shop"})).version == 1
    assert learned.under(without({"bank-b"})).version == 2
