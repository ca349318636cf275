"""The scenario generator: repeatable, valid, honest about who knows what, and true to its figures."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow.parquet
import pytest
from click.testing import CliRunner
from signalexchange.errors import ConfigError
from signalexchange.flows import Flow, read_flows, read_shared
from signalexchange.identifiers import TYPE_NAMES, normalise

from exchange.cli import main
from exchange.provision import FOUNDERS
from exchange.scenario import files
from exchange.scenario.calendar import HOUR, START
from exchange.scenario.city import City, Size, generate
from exchange.scenario.members import MEMBERS, Institutions
from exchange.scenario.planted.plan import NETWORK, TYPOLOGIES
from exchange.scenario.truth import CaseTruth
from exchange.scenario.views import Row

SMALL = Size(people=700, merchants=80, days=30)
NUMBERS = {name: number for number, name in TYPE_NAMES.items()}
BANKS = ("bank-north", "bank-south")


@pytest.fixture(scope="module")
def city() -> City:
    return generate(1)


@pytest.fixture(scope="module")
def small() -> City:
    return generate(5, SMALL)


def every_row(city: City) -> list[Row]:
    return [row for rows in city.views.values() for row in rows]


def links(text: str | None) -> list[tuple[str, str]]:
    pairs = (part.partition(":") for part in (text or "").split(";") if part)
    return [(type_, value) for type_, _, value in pairs]


def rows_by_member(city: City, case: CaseTruth) -> dict[str, list[Row]]:
    return {
        member: [row for row in city.views[member] if row.reference in set(references)]
        for member, references in case.rows.items()
    }


def case_rows(city: City, case: CaseTruth) -> list[Row]:
    return [row for rows in rows_by_member(city, case).values() for row in rows]


def test_the_members_are_those_of_a_trial_deployment() -> None:
    assert {party.id: party.kind for party in FOUNDERS if party.id in MEMBERS} == MEMBERS
    assert set(MEMBERS.values()) == {"bank", "payment_provider", "ecommerce"}


def test_a_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path, small: City) -> None:
    for name, made in (("a", small), ("b", generate(5, SMALL)), ("c", generate(6, SMALL))):
        files.write(made, tmp_path / name)
    for path in (tmp_path / "a").rglob("*.*"):
        relative = path.relative_to(tmp_path / "a")
        assert path.read_bytes() == (tmp_path / "b" / relative).read_bytes()
        if path.name != files.SHARED:  # institutions have the same accounts in every city
            assert path.read_bytes() != (tmp_path / "c" / relative).read_bytes()


def test_every_identifier_is_valid_and_in_normal_form(city: City) -> None:
    seen: set[tuple[str, str]] = set()
    for row in every_row(city):
        seen |= {(row.payer_type, row.payer), (row.payee_type, row.payee)}
        seen |= {*links(row.payer_links), *links(row.payee_links)}
        seen |= {("device", row.device)} if row.device else set()
        seen |= {("address", row.address)} if row.address else set()
    for entity in city.truth.entities.values():
        seen |= {pair for identifier in entity.identifiers for pair in links(identifier)}
    for type_, value in seen:
        assert normalise(NUMBERS[type_], value) == value


def test_rows_are_well_formed_and_in_time_order(city: City) -> None:
    for rows in city.views.values():
        assert [row.time for row in rows] == sorted(row.time for row in rows)
        assert len({row.reference for row in rows}) == len(rows)
        for row in rows:
            assert START <= row.time < START + city.size.days * 86_400
            assert row.amount > 0
            assert round(row.amount, 2) == row.amount
            assert (row.payer_type, row.payer) != (row.payee_type, row.payee)
            assert row.kind in ("purchase", "transfer", "refund", "repayment")
            assert (row.logistics is not None) <= (row.kind == "refund")


def test_members_see_only_what_they_know(city: City) -> None:
    for member, rows in city.views.items():
        types = {(row.payer_type, row.payee_type) for row in rows}
        linked = {
            type_ for row in rows for side in (row.payer_links, row.payee_links) for type_, _ in links(side)
        }
        if member == "shop-river":
            assert types == {("phone", "merchant"), ("merchant", "phone")}
            assert linked == {"phone"}
        elif member == "pay-lotus":
            assert types == {("phone", "merchant"), ("merchant", "phone"), ("phone", "phone")}
            assert linked == {"national_id_cn", "iban", "card"}
        else:
            assert types == {("iban", "iban"), ("card", "merchant"), ("merchant", "card")}
            assert linked == {"phone", "national_id_cn", "card", "iban", "merchant"}
        assert any(row.device for row in rows) is (member not in BANKS)
        assert any(row.address for row in rows) is any(row.order for row in rows) is (member == "shop-river")


def test_a_bank_knows_its_own_customers_only(city: City) -> None:
    """Nobody's identifiers but a holder's own stand beside an account, and on one side of two banks alone."""
    north: dict[str, set[str | None]] = defaultdict(set)
    south: dict[str, set[str | None]] = defaultdict(set)
    for member, known in zip(BANKS, (north, south), strict=True):
        for row in city.views[member]:
            if row.kind == "transfer":
                for value, text in ((row.payer, row.payer_links), (row.payee, row.payee_links)):
                    known[value].add(text)
    for iban in north.keys() & south.keys():
        assert (north[iban] == {None}) is (south[iban] != {None})


def test_lines_are_never_drawn_beyond_their_limit(city: City) -> None:
    for rows in city.views.values():
        drawn: Counter[str] = Counter()
        for row in rows:
            if row.kind == "purchase" and row.credit:
                assert row.limit is not None
                drawn[row.payer] += round(row.amount * 100)
                assert drawn[row.payer] <= round(row.limit * 100)
            elif row.kind == "refund" and row.credit:
                drawn[row.payee] -= round(row.amount * 100)
            elif row.kind == "repayment":
                drawn[row.payer] -= round(row.amount * 100)


def test_no_identifier_belongs_to_two(city: City) -> None:
    owners = Counter(i for entity in city.truth.entities.values() for i in entity.identifiers)
    assert max(owners.values()) == 1


def test_every_typology_is_planted_in_several_variants_with_few_people(city: City) -> None:
    variants = defaultdict(list)
    for case in city.truth.cases:
        variants[case.typology].append(case.variant)
        assert case.actors
        assert case.rows
        assert START <= case.first <= case.last
    assert set(variants) == set(TYPOLOGIES)
    for names in variants.values():
        assert names.count("plain") == 1
        assert len(set(names) - {"plain", NETWORK}) >= 2
    people = [entity for entity in city.truth.actors() if entity.startswith("p")]
    assert len(people) <= 0.045 * city.size.people
    assert all(len(cases) == 1 for cases in city.truth.actors().values())


def test_the_network_is_the_real_case_scaled(city: City) -> None:
    (case,) = (case for case in city.truth.cases if case.variant == NETWORK)
    assert sum(actor.role == "merchant" for actor in case.actors) == 4
    assert case.notes["scale"] == "5.00 of 625 orders a day"
    assert 1_500 < case.total / 60 < 2_300


@pytest.mark.parametrize("name", ["city", "small"])
def test_every_actor_shows_in_the_rows_of_its_case(name: str, request: pytest.FixtureRequest) -> None:
    """Nobody is called an actor of whom no member has seen anything."""
    city: City = request.getfixturevalue(name)
    for case in city.truth.cases:
        rows = case_rows(city, case)
        named = {(type_, value) for row in rows for type_, value in (
            (row.payer_type, row.payer), (row.payee_type, row.payee),
            *links(row.payer_links), *links(row.payee_links),
        )}  # fmt: skip
        for actor in case.actors:
            assert named & {pair for i in city.truth.entities[actor.entity].identifiers for pair in links(i)}


def test_no_lender_sees_the_block_of_hopping_payers_nor_most_of_a_ring(city: City) -> None:
    for case in city.truth.cases:
        if case.typology in ("merchant-hopping", "payer-ring"):
            bought = {
                member: {(row.payer, row.payee) for row in rows if row.kind == "purchase" and row.credit}
                for member, rows in rows_by_member(city, case).items()
            }
            payers = sum(actor.role == "payer" for actor in case.actors)
            for edges in bought.values():
                if case.typology == "payer-ring":
                    assert len(edges) <= 3
                else:
                    merchants = sum(actor.role == "merchant" for actor in case.actors)
                    assert len(edges) <= 0.5 * payers * merchants


def test_refund_loops_are_refunded_within_six_hours_and_no_line_sees_it(city: City) -> None:
    for case in city.truth.cases:
        if case.typology == "refund-loop":
            rows = case_rows(city, case)
            ordered = {row.order: row.time for row in rows if row.kind == "purchase" and row.order}
            refunds = [row for row in rows if row.kind == "refund"]
            assert {row.order for row in refunds} == set(ordered)
            for row in refunds:
                assert row.order is not None
                assert 0 < row.time - ordered[row.order] < 6 * HOUR
                assert row.logistics in ("none", "empty")
                assert not row.credit


def test_busts_come_after_a_quiet_time_and_drain_three_lines_within_days(city: City) -> None:
    for case in city.truth.cases:
        if case.typology == "bust-out":
            assert case.first > START + 0.5 * city.size.days * 24 * HOUR
            assert case.last - case.first < 7.5 * 24 * HOUR
            drained = [
                rows for rows in rows_by_member(city, case).values() if any(row.credit for row in rows)
            ]
            assert len(drained) >= 3
            for rows in drained:
                drawn = [row for row in rows if row.credit]
                assert drawn[0].limit is not None
                assert 0.94 * drawn[0].limit < sum(row.amount for row in drawn) <= drawn[0].limit


def test_repaid_lines_are_drawn_again_at_two_issuers(city: City) -> None:
    for case in city.truth.cases:
        if case.typology == "repay-respend":
            issuers = {
                member
                for member, rows in rows_by_member(city, case).items()
                if {"repayment", "purchase"}
                <= {row.kind for row in rows if row.kind == "repayment" or row.credit}
            }
            assert len(issuers) >= 2


def test_plain_loops_close_within_a_day_at_a_fee(city: City) -> None:
    """Pooled over all members, what a plain loop's payer gets back is 85 to 97 % of what was paid."""
    case = next(c for c in city.truth.cases if (c.typology, c.variant) == ("funds-loop", "plain"))
    payer = next(actor.entity for actor in case.actors if actor.role == "payer")
    own = {value for i in city.truth.entities[payer].identifiers for _, value in links(i)}
    rows = case_rows(city, case)
    paid = {(row.time, row.amount) for row in rows if row.kind == "purchase"}
    back = {(row.time, row.amount) for row in rows if row.kind == "transfer" and row.payee in own}
    assert len(paid) == len(back) >= 2
    for (start, amount), (end, returned) in zip(sorted(paid), sorted(back), strict=True):
        assert 0 < end - start < 24 * HOUR
        assert 0.84 * amount < returned < 0.98 * amount


def test_look_alikes_are_as_common_as_what_is_planted(city: City) -> None:
    planted = {m: {r for case in city.truth.cases for r in case.rows.get(m, ())} for m in city.views}

    def count(member: str, odd: bool, like: object) -> int:
        assert callable(like)
        return sum(like(row) and (row.reference in planted[member]) is odd for row in city.views[member])

    def cancelled(row: Row) -> bool:
        return row.kind == "refund" and row.logistics in ("none", "empty")

    def large(row: Row) -> bool:
        return row.kind == "purchase" and row.credit and row.amount >= 600

    def pays_a_person(row: Row) -> bool:
        return "merchant:" in (row.payer_links or "") and "national_id_cn:" in (row.payee_links or "")

    assert count("shop-river", False, cancelled) > 5 * count("shop-river", True, cancelled) > 0
    for member in city.views:
        assert count(member, False, large) >= 2 * count(member, True, large) > 0
    for member in BANKS:
        assert count(member, False, pays_a_person) > 5 * count(member, True, pays_a_person) > 0


def test_the_command_writes_the_files_and_says_what_it_made(tmp_path: Path, small: City) -> None:
    arguments = ["scenario", "--seed", "5", "--folder", str(tmp_path / "city")]
    size = ["--people", "700", "--merchants", "80", "--days", "30"]
    result = CliRunner().invoke(main, [*arguments, *size])
    assert result.exit_code == 0, result.output
    assert "merchant-hopping" in result.output
    for member, rows in small.views.items():
        table = pyarrow.parquet.read_table(tmp_path / "city" / member / "flows.parquet")
        assert table.schema.equals(files.SCHEMA)
        assert table.column_names == list(Row._fields)
        assert [tuple(row.values()) for row in table.to_pylist()] == [tuple(row) for row in rows]
        own = read_shared(tmp_path / "city" / member / "shared.csv")
        assert [f"iban:{subject.value}" for subject in own] == list(small.shared)
    assert len(set(small.shared)) == 4
    truth = json.loads((tmp_path / "city" / "truth.json").read_text("utf-8"))
    assert truth == json.loads(files.truth_text(small))
    assert {case["typology"] for case in truth["cases"]} == set(TYPOLOGIES)


def test_members_can_read_their_files(tmp_path: Path, small: City) -> None:
    for member, rows in small.views.items():
        rows = rows[:1_500]  # enough of each kind
        pyarrow.parquet.write_table(files.table(rows), tmp_path / f"{member}.parquet")
        flows = list(read_flows(tmp_path / f"{member}.parquet"))
        for flow, row in zip(flows, rows, strict=True):
            assert isinstance(flow, Flow)
            assert (flow.time, float(flow.amount), flow.credit) == (row.time, row.amount, row.credit)
            assert (flow.kind.name.lower(), flow.reference) == (row.kind, row.reference)


@pytest.mark.parametrize("option", [("--people", "10"), ("--days", "3"), ("--merchants", "800")])
def test_a_size_that_makes_no_city_is_refused(tmp_path: Path, option: tuple[str, str]) -> None:
    result = CliRunner().invoke(main, ["scenario", "--folder", str(tmp_path / "city"), *option])
    assert result.exit_code == 1
    assert "a scenario has at" in result.output
    assert not (tmp_path / "city").exists()


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"a": "bank", "p": "payment_provider", "s": "ecommerce"},
        dict(MEMBERS) | {"x": "ecommerce"},
        dict(MEMBERS) | {"x": "auditor"},
    ],
)
def test_members_that_make_no_city_are_refused(members: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="two banks or more"):
        Institutions.of(members)
