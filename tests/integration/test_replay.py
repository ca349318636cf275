"""Versions of what is learned on the log, and the replay: each score comes out again, or it is said why
nobody can tell; whatever was changed afterwards is named.
"""

import asyncio
import contextlib
import json
import sqlite3
from hashlib import sha256
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from signalexchange.entries import make_leaf
from signalexchange.errors import ConfigError
from signalexchange.v1.log_entry_pb2 import ModelEntry
from signalexchange.v1.membership_service_pb2 import SuspendMemberRequest
from signalexchange.v1.outcome_service_pb2 import VERDICT_CONFIRMED, VERDICT_INCONCLUSIVE, VERDICT_REFUTED
from signalexchange.v1.signal_pb2 import Signal
from signalexchange.v1.signal_service_pb2 import LookUpSubjectsResponse
from signalexchange.v1.transparency_service_pb2 import OpenEntriesRequest

from exchange.cli import main
from exchange.provision import Deployment, Plan, provision
from exchange.storage.archive import open_archive
from exchange.usecases.expire import expire
from exchange.usecases.learning import Learning
from exchange.usecases.matching import Matching
from exchange.usecases.replay.report import What, Why
from tests.support.exchange import Running, refused, serving
from tests.support.hub import hub_data, hub_database, hub_server
from tests.support.loops import IBAN, TYPES, Loop
from tests.support.match_members import propose
from tests.support.members import DAY, SLOT, caller, look_up, pen
from tests.support.outcomes import INVESTIGATION, START, at, claim, follow, publish, report
from tests.support.replays import (
    ASKING,
    PARTIES,
    A,
    B,
    C,
    D,
    answer,
    erase,
    live,
    look_ups,
    replayed,
    settlement,
    tampered,
    versions,
)

Lived = tuple[Deployment, list[LookUpSubjectsResponse]]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """A stopped hub that has seen a bit of everything, and what it answered."""
    deployment = settlement(tmp_path_factory.mktemp("replay"))

    async def run() -> list[LookUpSubjectsResponse]:
        async with serving(deployment) as hub:
            return await live(hub)

    return deployment, asyncio.run(run())


def test_every_score_version_and_match_comes_out_again(lived: Lived) -> None:
    deployment, answers = lived
    found = replayed(hub_data(deployment))
    assert (found.ok, found.unverifiable) == (True, {})
    hits = sum(len(each.subjects) for each in answers)
    assert found.reproduced[What.SCORES] == hits > 15
    assert found.reproduced[What.ENTRIES] == found.size
    assert found.reproduced[What.VERSIONS] == len(versions(deployment)) == 6
    assert found.reproduced[What.MATCHES] == 3
    assert found.reproduced[What.SIGNALS] == 15


def test_answers_name_the_version_they_are_given_by(lived: Lived) -> None:
    deployment, answers = lived
    names = [each.model_version for each in answers]
    assert names == [f"additive-2.{version}" for version in (0, 1, 2, 3, 3, 5, 5, 6, 6)]
    logged = look_ups(deployment)
    for each in answers:
        entry = logged[each.receipt.index]
        assert entry.hits == b"".join(risk.token for risk in each.subjects)
        assert list(entry.scores) == [risk.score for risk in each.subjects]
        assert list(entry.advice) == [risk.advice for risk in each.subjects]
        assert each.model_version == f"additive-2.{entry.learned}"
        patterns = [any(reason.code == "funds-loop" for reason in risk.reasons) for risk in each.subjects]
        assert list(entry.matched) == [position for position, flag in enumerate(patterns) if flag]
        assert entry.HasField("matched_to") == any(patterns)


def test_versions_hold_what_changed_and_what_follows(lived: Lived) -> None:
    deployment, _ = lived
    logged = versions(deployment)
    assert [each.version for each in logged] == [1, 2, 3, 4, 5, 6]
    assert {each.model for each in logged} == {"additive-2"}
    first, second, _, *by_matching, last = logged
    (tally,) = first.tallies
    assert (tally.issuer, tally.code, tally.reporter) == (A, "cash-out-suspected", B)
    assert (tally.confirmed, tally.refuted) == (0, 6)
    assert not first.groups
    assert [(factor.name, factor.permille) for factor in second.groups] == [("bank-a-group", 625)]
    assert [(factor.name, factor.permille) for factor in second.codes] == [("cash-out-suspected", 625)]
    assert all(each.as_of for each in by_matching)
    assert not first.as_of
    # A suspension changes no tally: one reporter fewer counts.
    assert not last.tallies
    assert not last.groups


async def test_versions_are_opened_to_auditors_alone(tmp_path: Path) -> None:
    deployment = settlement(tmp_path)
    told = claim()
    async with serving(deployment) as hub:
        await follow(hub, B, told.subject.value)
        await publish(hub, A, told)
        said = await report(hub, B, {told.signal_id: VERDICT_REFUTED})
        request = OpenEntriesRequest(indices=[said.receipt.index + 1])
        for member in (A, B, C, "operator"):
            refusal = await refused(hub[member].log.OpenEntries(request, timeout=10))
            assert refusal.reason == "OPENING_NOT_ALLOWED"
        (opened,) = (await hub["audit-one"].log.OpenEntries(request, timeout=10)).entries
        assert ModelEntry.FromString(opened.payload).version == 1


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE signals SET confidence = 99 WHERE place = (SELECT min(place) FROM signals)", What.SIGNALS),
        ("UPDATE signals SET issuer = 'bank-b' WHERE place = (SELECT min(place) FROM signals)", What.SIGNALS),
        (
            "UPDATE signals SET body = CAST(replace(body, 'cash', 'cosh') AS BLOB)"
            " WHERE place = (SELECT min(place) FROM signals)",
            What.SIGNALS,
        ),
        ("DELETE FROM signals WHERE place = (SELECT min(place) FROM signals)", What.SIGNALS),
        ("UPDATE signals SET echo = 1 WHERE issuer = 'bank-d'", What.SCORES),
        ("UPDATE tallies SET refuted = refuted + 1 WHERE reporter = 'bank-c'", What.VERSIONS),
        ("DELETE FROM tallies WHERE reporter = 'bank-c'", What.VERSIONS),
        ("UPDATE meta SET value = 2 WHERE name = 'learned'", What.VERSIONS),
        (
            "UPDATE rosters SET rulebook = CAST(replace(rulebook, 'cap\": ', 'cap\": 1') AS BLOB)",
            What.ENTRIES,
        ),
        ("UPDATE entries SET payload = CAST(payload || x'00' AS BLOB) WHERE type = 5", What.ENTRIES),
        ("UPDATE entries SET time = time + 1 WHERE idx = 5", What.ENTRIES),
        ("UPDATE entries SET payload_opening = zeroblob(32) WHERE type = 13", What.ENTRIES),
        ("UPDATE entries SET payload = NULL, payload_opening = NULL WHERE type = 10", What.ENTRIES),
        ("DELETE FROM entries WHERE idx = (SELECT max(idx) - 3 FROM entries)", What.ENTRIES),
    ],
)
def test_what_was_changed_afterwards_is_named(lived: Lived, tmp_path: Path, change: str, what: What) -> None:
    deployment, _ = lived
    found = tampered(deployment, tmp_path / "copy", change)
    assert found.differing[what], found.differences


def test_a_changed_score_is_named_even_with_a_leaf_made_for_it(lived: Lived, tmp_path: Path) -> None:
    deployment, _ = lived
    whole = replayed(hub_data(deployment))
    index, entry = next(iter(look_ups(deployment).items()))
    entry.scores[0] -= 1
    payload, opening = entry.SerializeToString(), bytes(32)
    change = "UPDATE entries SET payload = ? WHERE idx = ?"
    found = tampered(deployment, tmp_path / "plain", change, payload, index)
    assert [(each.what, each.entry) for each in found.differences] == [(What.ENTRIES, index)]
    assert found.root == whole.root
    database = sqlite3.connect(hub_database(deployment))
    row = database.execute("SELECT header, header_opening FROM entries WHERE idx = ?", (index,)).fetchone()
    database.close()
    leaf = make_leaf(row[0], row[1], payload, opening)
    change = "UPDATE entries SET payload = ?, payload_opening = ?, leaf = ? WHERE idx = ?"
    found = tampered(deployment, tmp_path / "anew", change, payload, opening, leaf, index)
    # That is another log: the checkpoints that members hold tell it, too.
    assert found.root != whole.root
    assert [(each.what, each.entry) for each in found.differences] == [(What.SCORES, index)]


def test_the_command_tells_people_and_scripts(lived: Lived, tmp_path: Path) -> None:
    deployment, _ = lived
    folder = hub_data(deployment)
    table = CliRunner().invoke(main, ["replay", str(folder)])
    assert table.exit_code == 0, table.output
    assert "reproduced: " in table.stdout
    whole = CliRunner().invoke(main, ["replay", str(folder), "--json"])
    document = json.loads(whole.stdout)
    assert document["ok"] is True
    assert document["scores"]["differing"] == 0
    assert document["scores"]["reproduced"] == replayed(folder).reproduced[What.SCORES]
    tampered(deployment, tmp_path / "copy", "UPDATE signals SET echo = 1 WHERE issuer = 'bank-d'")
    told = CliRunner().invoke(main, ["replay", str(tmp_path / "copy")])
    assert told.exit_code == 1
    assert "NOT reproduced" in told.stdout
    assert "DIFFERS" in told.stdout
    document = json.loads(CliRunner().invoke(main, ["replay", str(tmp_path / "copy"), "--json"]).stdout)
    index = document["differences"][0]["entry"]
    assert index in look_ups(deployment)


def test_a_folder_without_a_database_or_with_a_damaged_one_is_refused_by_name(tmp_path: Path) -> None:
    for content in (None, b"", b"no database" * 1000):
        if content is not None:
            (tmp_path / "exchange.db").write_bytes(content)
        with pytest.raises(ConfigError, match=r"exchange\.db"), open_archive(tmp_path):
            pass


async def test_a_running_hub_is_left_alone(tmp_path: Path) -> None:
    deployment = settlement(tmp_path)
    async with serving(deployment):
        with pytest.raises(ConfigError, match="running hub"), open_archive(hub_data(deployment)):
            pass


async def test_versions_go_on_after_a_restart(tmp_path: Path) -> None:
    deployment = settlement(tmp_path)
    told = [claim() for _ in range(3)]
    async with serving(deployment) as hub:
        await follow(hub, B, *(one.subject.value for one in told))
        await publish(hub, A, *told)
        await report(hub, B, {told[0].signal_id: VERDICT_REFUTED})
        await report(hub, B, {told[1].signal_id: VERDICT_INCONCLUSIVE})  # teaches nothing
        await report(hub, B, {told[0].signal_id: VERDICT_REFUTED})  # again: nothing new
        assert (await answer(hub, [told[0].subject.value])).model_version == "additive-2.1"
    async with serving(deployment) as hub:
        assert (await answer(hub, [told[0].subject.value])).model_version == "additive-2.1"
        await report(hub, B, {told[2].signal_id: VERDICT_CONFIRMED})
        assert (await answer(hub, [told[0].subject.value])).model_version == "additive-2.2"
    assert [each.version for each in versions(deployment)] == [1, 2]
    assert [(t.confirmed, t.refuted) for each in versions(deployment) for t in each.tallies] == [
        (0, 1),
        (1, 1),
    ]


async def test_what_was_learned_before_there_were_versions_becomes_the_first(tmp_path: Path) -> None:
    deployment = settlement(tmp_path)
    told = [claim() for _ in range(2)]
    async with serving(deployment) as hub:
        await follow(hub, B, *(one.subject.value for one in told))
        await publish(hub, A, *told)
    with sqlite3.connect(hub_database(deployment)) as database:
        # As a hub left it that knew no versions.
        database.execute("INSERT INTO tallies VALUES (?, 'cash-out-suspected', ?, 0, 1)", (A, B))
        database.execute(
            "DELETE FROM meta WHERE name IN ('learned', 'forgotten_case_events',"
            " 'forgotten_disclosure_events')"
        )
        for table in ("acknowledged", "proceedings", "case_steps", "case_deadlines", "appeals"):
            database.execute(f"DROP TABLE {table}")
        database.executescript(
            "DROP TABLE case_events; DROP TABLE appeal_times; DROP TABLE case_orders;"
            " DROP TABLE disclosures; DROP TABLE disclosure_steps; DROP TABLE disclosure_events;"
            " DROP INDEX signals_appealed;"
            " ALTER TABLE signals DROP COLUMN appealed_until; ALTER TABLE events DROP COLUMN correction;"
        )
        database.execute("PRAGMA user_version = 3")
    database.close()
    with pytest.raises(ConfigError, match="another version"), open_archive(hub_data(deployment)):
        pass
    async with serving(deployment, replays=False) as hub:  # the verdict behind it is made up
        assert (await answer(hub, [told[0].subject.value])).model_version == "additive-2.1"
    (first,) = versions(deployment)
    assert [(t.issuer, t.reporter, t.refuted) for t in first.tallies] == [(A, B, 1)]


async def test_what_was_erased_is_unverifiable_and_the_rest_is_not(tmp_path: Path) -> None:
    deployment = settlement(tmp_path)
    kept, gone = claim(), claim()
    async with serving(deployment) as hub:
        for member in (B, C):
            await follow(hub, member, gone.subject.value)
        await publish(hub, A, kept)
        await answer(hub, [kept.subject.value])
        await publish(hub, D, gone, claim(gone.subject.value))
        await publish(hub, A, claim(gone.subject.value))
        for member in (B, C):
            await report(hub, member, {gone.signal_id: VERDICT_REFUTED})
        await answer(hub, [kept.subject.value, gone.subject.value])
        await erase(hub, D, gone.signal_id)
        await answer(hub, [kept.subject.value, gone.subject.value])
    found = replayed(hub_data(deployment))
    assert found.ok
    assert found.unverifiable == {
        (What.SIGNALS, Why.ERASED): 1,
        (What.SCORES, Why.ERASED): 1,
        (What.VERSIONS, Why.ERASED): 2,
    }
    assert found.reproduced[What.SCORES] == 4
    assert found.as_dict()["scores"] == {"reproduced": 4, "differing": 0, "unverifiable": {"erased": 1}}


async def test_expired_signals_and_ended_terms_are_counted_as_such(tmp_path: Path) -> None:
    deployment = settlement(tmp_path)
    short = claim(expires_at=START // SLOT * SLOT + 10 * DAY)
    async with serving(deployment) as hub:
        await publish(hub, A, short)
        await answer(hub, [short.subject.value])
        at(hub, 11 * DAY)
        await expire(hub.hub._exchange)
        days = hub.hub._exchange.membership.rulebook.terms.access_days
    found = replayed(hub_data(deployment))
    assert found.ok
    assert found.unverifiable == {(What.SIGNALS, Why.EXPIRED): 1, (What.SCORES, Why.EXPIRED): 1}
    async with serving(deployment) as hub:
        at(hub, (days + 2) * DAY)
        await expire(hub.hub._exchange)
    found = replayed(hub_data(deployment))
    assert found.ok
    assert found.unverifiable[What.SCORES, Why.TERM] == 1


async def test_an_erasure_hides_no_signal_that_counts_too_much(tmp_path: Path) -> None:
    """What is gone can only have added to a score: one that comes out higher differs all the same."""
    deployment = settlement(tmp_path)
    kept, gone = claim(), claim()
    async with serving(deployment) as hub:
        await publish(hub, A, kept, gone)
        assert (await hub[B].signals.LookUpSubjects(look_up([kept.subject.value]), timeout=10)).subjects
        await publish(hub, B, claim(kept.subject.value))  # a rumour
        await answer(hub, [kept.subject.value])
        await erase(hub, A, gone.signal_id)
    counted = "UPDATE signals SET echo = 0 WHERE issuer = 'bank-b'"
    found = tampered(deployment, tmp_path / "copy", counted)
    assert (found.differing[What.SCORES], found.unverifiable[What.SCORES, Why.ERASED]) == (1, 0)


async def test_a_score_with_matches_that_cannot_be_placed_is_no_less_than_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Matching, "progress", None)  # as if matching never rested
    deployment = settlement(tmp_path)
    loop = Loop(start=START // 300 * 300 - DAY)
    async with serving(deployment) as hub:
        for member, leg in zip((A, B, C), (loop.purchase(), loop.settlement(), loop.backflow()), strict=True):
            await publish(hub, member, leg)
        await hub.hub._exchange.matching.settled()
        asked = look_up([loop.mule.value], type_=IBAN, purpose=INVESTIGATION)
        assert (await hub[D].signals.LookUpSubjects(asked, timeout=10)).subjects
        rumour = claim(subject=loop.mule, code="mule-account")
        await publish(hub, D, rumour, claim(subject=loop.mule, code="mule-account"))
        (risk,) = (await answer(hub, [loop.mule.value], type_=IBAN)).subjects
        assert [reason.code for reason in risk.reasons] == ["funds-loop"]
    found = replayed(hub_data(deployment))
    assert found.ok
    assert found.unverifiable[What.SCORES, Why.AMID] == 2
    counted = "UPDATE signals SET echo = 0 WHERE issuer = 'bank-d'"
    found = tampered(deployment, tmp_path / "copy", counted)
    assert (found.differing[What.SCORES], found.unverifiable[What.SCORES, Why.AMID]) == (1, 1)


def test_a_hub_that_was_killed_is_replayed_from_its_write_ahead_log(tmp_path: Path) -> None:
    deployment = provision(tmp_path / "deployment", Plan(types=TYPES, parties=PARTIES))
    server = hub_server(deployment, tmp_path / "hub.log")
    first = Loop()
    try:
        for kill in range(3):
            server.start()
            loop = Loop() if kill else first
            legs = loop.purchase(), loop.settlement(), loop.backflow()
            for member, leg in zip((A, B, C), legs, strict=True):
                with caller(deployment, member) as each:
                    each.signals.PublishSignals(pen(deployment, member).batch([leg]), timeout=10)
            with caller(deployment, ASKING) as each:
                for token in (first.payer.value, loop.payer.value):
                    request = look_up([token], type_=IBAN, purpose=INVESTIGATION)
                    each.signals.LookUpSubjects(request, timeout=10)
            server.kill()
            assert hub_database(deployment).with_name("exchange.db-wal").stat().st_size
            found = replayed(hub_data(deployment))
            assert found.ok, found.differences
            assert found.reproduced[What.SIGNALS] == 3 * (kill + 1)
        assert found.reproduced[What.SCORES] + found.unverifiable[What.SCORES, Why.AMID] >= 2
        assert found.reproduced[What.MATCHES] >= 2
    finally:
        server.close()


async def test_what_is_answered_while_matching_works_comes_out_again_or_says_why(tmp_path: Path) -> None:
    """Batches, look-ups, verdicts and withdrawals at once: matching is amid a batch at many an answer."""
    deployment = settlement(tmp_path)
    loops = [Loop(start=START // 300 * 300 - DAY - turn * SLOT) for turn in range(40)]
    async with serving(deployment) as hub:

        async def tell(member: str, legs: list[Signal]) -> None:
            for at_ in range(0, len(legs), 16):
                await publish(hub, member, *legs[at_ : at_ + 16])

        async def look() -> None:
            for turn in range(30):
                tokens = [loop.payer.value for loop in loops[turn % 10 :: 4]]
                await answer(hub, tokens, type_=IBAN)

        async def judge() -> None:
            matching = hub.hub._exchange.matching
            for turn in range(12):
                await asyncio.sleep(0.05)
                told = [id_ for id_, match in list(matching.matcher.matches.items()) if match.reported]
                for member in (A, B):
                    for id_ in told[turn::12]:
                        verdict = VERDICT_REFUTED if turn % 3 else VERDICT_CONFIRMED
                        with contextlib.suppress(grpc.aio.AioRpcError):  # not stored yet
                            await report(hub, member, {id_: verdict}, matches=True)

        legs = [[loop.purchase() for loop in loops], [loop.settlement() for loop in loops]]
        back = [loop.backflow() for loop in loops]
        await asyncio.gather(
            *(tell(member, part) for member, part in zip((A, B, C), (*legs, back), strict=True)),
            *(look() for _ in range(3)),
            judge(),
        )
        order = hub.pen(A).withdrawal([one.signal_id for one in legs[0][:5]])
        await asyncio.gather(hub[A].signals.WithdrawSignals(order, timeout=10), look(), look())
        await hub.hub._exchange.matching.settled()
        await look()
    found = replayed(hub_data(deployment))
    assert found.ok, found.differences
    assert found.reproduced[What.MATCHES] >= len(loops)
    assert set(found.unverifiable) <= {(What.SCORES, Why.AMID), (What.MATCHES, Why.AMID)}
    assert found.reproduced[What.SCORES] > found.unverifiable[What.SCORES, Why.AMID]
    assert found.reproduced[What.VERSIONS] >= 2


async def test_a_log_that_is_older_than_versions_is_replayed_from_its_first_one_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = settlement(tmp_path)
    told = [claim() for _ in range(3)]
    with monkeypatch.context() as before:
        # As a hub did that numbered nothing: tallies are stored, and no version is logged.
        before.setattr(Learning, "propose", lambda self, *given, **named: self.learned)
        async with serving(deployment) as hub:
            for member in (B, C):
                await follow(hub, member, *(one.subject.value for one in told))
            await publish(hub, A, *told)
            for member in (B, C):
                await report(hub, member, {one.signal_id: VERDICT_REFUTED for one in told[:2]})
    async with serving(deployment) as hub:
        await report(hub, B, {told[2].signal_id: VERDICT_REFUTED})
        assert (await answer(hub, [told[0].subject.value])).model_version == "additive-2.2"
    found = replayed(hub_data(deployment))
    assert (found.ok, found.reproduced[What.VERSIONS]) == (True, 2)


async def test_other_rules_and_other_groups_are_followed(tmp_path: Path) -> None:
    """A rulebook with another prior and other rules of matching, a party that changes its group, and one that
    is shut out and comes back: each makes its version, and matches are found again under each."""
    deployment = settlement(tmp_path)
    loops = [Loop(start=START // 300 * 300 - DAY - turn * SLOT) for turn in range(4)]
    told = [claim() for _ in range(6)]
    tokens = [told[0].subject.value]

    async def look(hub: Running) -> list[str]:
        await hub.hub._exchange.matching.settled()
        said = [await answer(hub, [loop.payer.value for loop in loops], type_=IBAN)]
        said.append(await answer(hub, tokens))
        return [each.model_version.rpartition(".")[2] for each in said for _ in each.subjects]

    async def loop(hub: Running, number: int) -> None:
        legs = loops[number].purchase(), loops[number].settlement(), loops[number].backflow()
        for member, leg in zip((A, B, C), legs, strict=True):
            await publish(hub, member, leg)

    async with serving(deployment) as hub:
        for member in (B, C):
            await follow(hub, member, *(one.subject.value for one in told))
        await publish(hub, A, *told)
        await publish(hub, D, claim(tokens[0]))
        for member in (B, C):
            await report(hub, member, {one.signal_id: VERDICT_REFUTED for one in told})
        await loop(hub, 0)
        seen = [await look(hub)]
        rules = hub.hub._exchange.membership.rulebook
        prior = rules.matching.reliability.model_copy(update={"confirmed": 4})
        window = rules.matching.window_days + 1
        matching = rules.matching.model_copy(update={"reliability": prior, "window_days": window})
        text = rules.model_copy(update={"matching": matching}).text().encode()
        await propose(hub, rulebook=text, rulebook_sha256=sha256(text).hexdigest())
        await loop(hub, 1)
        seen.append(await look(hub))
        parties = [
            each | {"group": f"{B}-group" if each["id"] == C else each["group"]}
            for each in hub.hub._exchange.membership.roster.model_dump(mode="json")["parties"]
        ]
        await propose(hub, parties=parties)  # C is B's now: two of three legs are one group's word
        await loop(hub, 2)
        seen.append(await look(hub))
        request = SuspendMemberRequest(member=B, reason="under inquiry")
        await hub["operator"].membership.SuspendMember(request, timeout=10)
        seen.append(await look(hub))
        await propose(hub, reinstates=[B])
        await loop(hub, 3)
        seen.append(await look(hub))
    async with serving(deployment) as hub:
        seen.append(await look(hub))
    found = replayed(hub_data(deployment))
    assert (found.ok, found.unverifiable) == (True, {})
    assert found.reproduced[What.SCORES] == sum(len(each) for each in seen)
    assert found.reproduced[What.VERSIONS] == int(seen[-1][-1]) >= 5
    assert [len(each) for each in seen][:2] == [2, 3]
