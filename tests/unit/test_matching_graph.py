"""The graph of observations: persons, legs, shared values, and what one group can't do to them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.domain.matching.graph import Graph
from exchange.domain.matching.naming import tokens_of
from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.spent import hypothesis
from exchange.domain.matching.without import Without
from tests.support.observations import DAY, RULES, START, linked, paid, seen, sent, token

EVER = START + 1000 * DAY


def graph_of(*rows: Observation) -> Graph:
    graph = Graph(RULES)
    for row in rows:
        graph.add(row)
    return graph


def is_one(graph: Graph, one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether two ends, each a name and a group, are one person's."""
    ends = [(token(name), group) for name, group in (one, other)]
    persons = graph.persons(ends)
    return persons[ends[0]] == persons[ends[1]]


def test_a_group_joins_its_own_tokens() -> None:
    graph = graph_of(linked("a", "card 1", "id 1"), linked("b", "phone 1", "id 1"))
    assert is_one(graph, ("card 1", "a"), ("phone 1", "b"))
    assert not is_one(graph, ("card 1", "b"), ("phone 1", "b")), "b never said whose card it is"


def test_a_link_holds_for_others_once_two_groups_state_it() -> None:
    graph = graph_of(linked("a", "card 1", "phone 1"))
    leg = sent("c", "iban 9", "card 1", 500, 1)
    graph.add(leg)
    assert graph.into(graph.who(token("phone 1"), "c"), 0, EVER) == []
    graph.add(linked("b", "phone 1", "card 1"))
    assert graph.into(graph.who(token("phone 1"), "c"), 0, EVER) == [leg]


def test_weak_links_make_nobody_one() -> None:
    graph = graph_of(
        linked("a", "phone 1", "device d", "address x"), linked("a", "phone 2", "device d", "address x")
    )
    assert not is_one(graph, ("phone 1", "a"), ("phone 2", "a"))
    assert len(graph.holders(token("device d"))) == 2


def test_a_value_behind_two_national_ids_makes_nobody_one() -> None:
    graph = graph_of(linked("a", "card 1", "id 1", "phone o"), linked("a", "card 2", "id 2", "phone o"))
    assert not is_one(graph, ("card 1", "a"), ("card 2", "a"))
    assert is_one(graph, ("card 1", "a"), ("id 1", "a"))


def test_two_national_ids_of_two_groups_stay_two_persons() -> None:
    """A parent's number as the contact of a child's account at another bank."""
    graph = graph_of(linked("a", "card 1", "id 1", "phone p"), linked("b", "card 2", "id 2", "phone p"))
    assert not is_one(graph, ("card 1", "a"), ("card 2", "b"))
    leg = sent("b", "card 2", "iban 9", 500, 1)
    graph.add(leg)
    assert leg not in graph.out_of(graph.who(token("card 1"), "a"), 0, EVER)


def test_a_value_with_many_neighbours_makes_nobody_one() -> None:
    rows = [linked("a", f"card {n}", "phone o") for n in range(RULES.identity.neighbours + 1)]
    graph = graph_of(*rows[:-1])
    assert is_one(graph, ("card 0", "a"), ("card 1", "a"))
    graph.add(rows[-1])
    assert not is_one(graph, ("card 0", "a"), ("card 1", "a"))
    graph.remove(rows[-1].place)
    assert is_one(graph, ("card 0", "a"), ("card 1", "a"))


def test_a_value_is_set_aside_by_several_groups_alone() -> None:
    limit = RULES.degrees.device
    mine = [linked("a", f"phone {n}", "device d") for n in range(10 * limit)]
    graph = graph_of(*mine)
    assert graph.set_aside(token("device d")) is None, "one group alone sets nothing aside"
    for n in range(limit + 1):
        assert graph.set_aside(token("device d")) is None, "what the others say is within the limit"
        graph.add(linked("b", f"phone b{n}", "device d"))
    aside = graph.set_aside(token("device d"))
    assert aside is not None
    assert aside.degree > aside.limit == limit
    assert [each.token for each in graph.all_set_aside()] == [token("device d")]
    for row in mine:
        graph.remove(row.place)
    assert list(graph.all_set_aside()) == []


def test_the_same_subject_seen_by_two_groups_counts_once() -> None:
    graph = graph_of(*(linked(group, f"phone {n}", "device d") for group in "abc" for n in range(10)))
    assert graph.degree(token("device d"))[0] == 10


def test_a_group_that_knows_a_value_as_everybodys_joins_nobody_by_it() -> None:
    limit = RULES.degrees.device
    graph = graph_of(*(linked("a", f"phone {n}", "device d") for n in range(limit + 1)))
    graph.add(linked("b", "phone 1", "device d"))
    assert graph.holders(token("device d")) == [(token("phone 1"), "b")]
    assert token("device d") in graph.values([(token("phone 1"), None)])
    assert token("device d") not in graph.values([(token("phone 2"), None)])


def test_two_groups_say_that_a_value_is_shared() -> None:
    row = seen("a", Role.SHARED, "account g")
    graph = graph_of(row)
    assert graph.set_aside(token("account g")) is None
    other = seen("b", Role.SHARED, "account g")
    graph.add(other)
    aside = graph.set_aside(token("account g"))
    assert aside is not None
    assert aside.known
    graph.remove(other.place)
    assert graph.set_aside(token("account g")) is None


def test_a_flood_of_one_group_hides_nothing_of_another() -> None:
    mine = sent("b", "iban 1", "iban 2", 900, 5)
    graph = graph_of(mine, *(sent("a", f"iban x{n}", "iban 2", 900, 6 + n / 100) for n in range(500)))
    rows = graph.into([(token("iban 2"), None)], 0, EVER)
    assert mine in rows
    assert len(rows) == RULES.fan + 1


def test_a_pair_has_so_many_legs_a_day() -> None:
    graph = Graph(RULES)
    most = RULES.legs_per_pair_and_day
    rows = [paid("a", "phone 1", "merchant m", 500, n / 10) for n in range(most + 2)]
    assert [graph.add(row) for row in rows] == [True] * most + [False] * 2
    assert graph.add(paid("b", "phone 1", "merchant m", 500, 1)), "another group has hypotheses of its own"
    assert graph.add(paid("a", "phone 1", "merchant m", 500, 25)), "the next day too"


def test_a_withdrawn_leg_is_not_planted_again() -> None:
    graph = Graph(RULES)
    row = paid("a", "phone 1", "merchant m", 500, 1)
    graph.add(row)
    graph.remove(row.place)
    graph.spent.add(hypothesis(row), START + 10 * DAY)
    assert not graph.add(paid("a", "phone 1", "merchant m", 700, 2))
    assert graph.add(paid("b", "phone 1", "merchant m", 700, 2))
    graph.prune(START + 11 * DAY)
    assert graph.add(paid("a", "phone 1", "merchant m", 700, 2))


def test_pruning_lets_go_of_whole_days() -> None:
    old, young = paid("a", "phone 1", "merchant m", 500, 1), paid("a", "phone 1", "merchant m", 500, 30)
    graph = graph_of(old, young)
    assert graph.prune(START + DAY - 1) == []
    assert graph.prune(START + DAY) == [old]
    assert list(graph.into([(token("merchant m"), None)], 0, EVER)) == [young]


_names = st.sampled_from(["phone 1", "phone 2", "id 1", "id 2", "card 1", "card 2", "iban 1", "device d"])
_rows = st.lists(
    st.one_of(
        st.builds(linked, st.sampled_from("abc"), _names, _names, _names),
        st.builds(
            sent, st.sampled_from("abc"), _names, _names, st.just(900), st.integers(0, 50).map(float), _names
        ),
        st.builds(seen, st.sampled_from("abc"), st.just(Role.SHARED), _names),
    ),
    max_size=14,
)


def _content(graph: Graph) -> object:
    """What the graph says, whatever is in its memory."""
    names = ["phone 1", "phone 2", "id 1", "id 2", "card 1", "card 2", "iban 1", "device d"]
    ends = [(token(name), group) for name in names for group in "abc"]
    persons = graph.persons(ends)
    return (
        [sorted(graph.who(*end), key=str) for end in ends],
        [[persons[one] == persons[other] for one in ends] for other in ends],
        [graph.into(graph.who(*end), 0, EVER) for end in ends],
        [graph.out_of(graph.who(*end), 0, EVER) for end in ends],
        [sorted(graph.claimed(*end)) for end in ends],
        [graph.holders(token(name)) for name in names],
        list(graph.all_set_aside()),
    )


@settings(max_examples=150, deadline=None)
@given(_rows, st.randoms(use_true_random=False), st.integers(0, 14))
def test_the_graph_is_what_is_in_it(rows: list[Observation], chance: object, gone: int) -> None:
    """Any order, with what was added and removed again, and with questions in between."""
    shuffled = list(rows)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    plain = graph_of(*rows[gone:])
    busy = Graph(RULES)
    for row in shuffled:
        busy.add(row)
        _content(busy)
    for row in rows[:gone]:
        busy.remove(row.place)
        _content(busy)
    assert _content(busy) == _content(plain)


@settings(max_examples=100, deadline=None)
@given(_rows, st.integers(0, 14))
def test_without_some_legs_everybody_is_who_they_are(rows: list[Observation], gone: int) -> None:
    graph = graph_of(*rows)
    left_out = {row.place for row in rows[:gone]}
    names = {(row.subject, row.group) for row in rows} | {(token("phone 1"), "a")}
    for asked_first in (False, True):
        if asked_first:
            _content(graph)
        less = Without(graph, places=left_out)
        persons, same = less.persons(names), graph_of(*rows).persons(names)
        for end in names:
            assert less.who(*end) == graph.who(*end)
            assert less.set_aside(end[0]) == graph.set_aside(end[0])
            assert {other for other in names if persons[other] == persons[end]} == {
                other for other in names if same[other] == same[end]
            }
            legs = graph.out_of(graph.who(*end), 0, EVER)
            assert less.out_of(less.who(*end), 0, EVER) == [leg for leg in legs if leg.place not in left_out]


@settings(max_examples=100, deadline=None)
@given(_rows, st.integers(0, 14))
def test_what_is_set_aside_is_known_at_once(rows: list[Observation], gone: int) -> None:
    few = RULES.degrees.model_copy(update={"phone": 1, "device": 1, "account": 1})
    graph = Graph(RULES.model_copy(update={"degrees": few}))
    for row in rows:
        graph.add(row)
    for row in rows[:gone]:
        graph.remove(row.place)
    tokens = {token for row in rows for token in tokens_of(row)}
    one_by_one = {why for value in tokens if (why := graph.set_aside(value)) is not None}
    assert set(graph.set_aside_among(tokens)) == set(graph.all_set_aside()) == one_by_one


@settings(max_examples=50, deadline=None)
@given(_rows)
def test_an_empty_graph_holds_nothing(rows: list[Observation]) -> None:
    graph = graph_of(*rows)
    for row in rows:
        graph.remove(row.place)
    assert len(graph) == 0
    for rows_of in (graph.into, graph.out_of, graph.about):
        assert rows_of([(row.subject, None) for row in rows], 0, EVER) == []
    indices = {name: value for name, value in vars(graph).items() if isinstance(value, dict | set)}
    kept = {"_limits", "_types", "_claimed", "_who", "_single", "_readers"}
    assert {name for name, value in indices.items() if value} <= kept
