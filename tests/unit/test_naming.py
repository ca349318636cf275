"""Who names a token: exactly those whose observations do, until they are let go of."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st
from signalexchange.v1.identifier_pb2 import IDENTIFIER_TYPE_CARD, SubjectToken
from signalexchange.v1.signal_pb2 import Signal

from exchange.domain.matching.naming import DAY, Naming, tokens_of
from exchange.domain.matching.reading import observation, spent
from exchange.domain.matching.spent import left_by
from exchange.domain.records import RoleSignal

TOKENS = [bytes([at]) * 32 for at in range(5)]
said = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.lists(st.sampled_from(TOKENS), min_size=2, max_size=4, unique=True),
    st.integers(0, 4),
)


def signal(tokens: list[bytes], day: int) -> Signal:
    subject, counterparty, *links = (
        SubjectToken(type=IDENTIFIER_TYPE_CARD, epoch=1, value=token) for token in tokens
    )
    return Signal(
        subject=subject,
        counterparty=counterparty,
        links=links,
        code="pass-through",
        first_seen=day * DAY,
        last_seen=day * DAY,
    )


@given(st.lists(said, max_size=20), st.sets(st.integers(0, 19)), st.integers(0, 6))
def test_members_are_those_whose_observations_are_left(
    rows: list[tuple[str, list[bytes], int]], removed: set[int], before: int
) -> None:
    naming = Naming()
    for place, (member, tokens, day) in enumerate(rows):
        made = signal(tokens, day)
        row = RoleSignal(place, member, 2, False, made.SerializeToString())
        for _ in range(2):  # a second time changes nothing
            naming.add(observation(row, made, member), made)
    for place in removed:
        naming.remove(place)
    naming.prune(before * DAY)
    expected = defaultdict(set)
    for place, (member, tokens, day) in enumerate(rows):
        left = place not in removed and (day + 1) * DAY > before * DAY
        assert (place in naming) == left
        for token in tokens if left else ():
            expected[token].add((member, 1))
    assert {token: set(naming.members(token)) for token in TOKENS} == {
        token: expected[token] for token in TOKENS
    }
    for member in "abc":
        assert all(rows[place][0] == member for place in naming.places_of(member))


def test_an_observation_says_what_the_signal_says() -> None:
    made = signal(TOKENS[:3], 2)
    seen = observation(RoleSignal(7, "a", 2, True, b""), made, "group")
    assert (seen.place, seen.member, seen.group, seen.role.name, seen.echo) == (
        7,
        "a",
        "group",
        "TRANSFER",
        True,
    )
    assert tokens_of(seen) == tuple(TOKENS[:3])
    until = 10 * DAY + 2 * 45 * DAY
    assert spent([seen], 45, 10 * DAY) == dict.fromkeys(left_by(seen), until)
    assert spent([seen._replace(counterparty=b"", links=())], 45, 0) == {}
