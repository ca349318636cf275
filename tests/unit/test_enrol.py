"""Handing out the roster: as many versions as a message holds."""

from types import SimpleNamespace
from typing import Any

from signalexchange.v1.membership_service_pb2 import GetRosterRequest

from exchange.usecases.enrol import PAGE, get_roster

MESSAGE = 8 << 20


def asked(notes: list[bytes]) -> list[int]:
    """How many versions each answer has when a client asks until there are no more."""
    chain = SimpleNamespace(versions=tuple((note, None) for note in notes))
    membership = SimpleNamespace(
        chain=chain, entries=tuple(range(len(notes))), rulebook_text=b"{}", suspended={}
    )
    exchange: Any = SimpleNamespace(membership=membership)
    counts: list[int] = []
    index = 0
    while True:
        answer = get_roster(exchange, GetRosterRequest(from_version=index + 1))
        if not answer.versions:
            return counts
        assert answer.ByteSize() < MESSAGE
        assert [each.index for each in answer.versions] == [*range(index, index + len(answer.versions))]
        index += len(answer.versions)
        counts.append(len(answer.versions))


def test_small_versions_come_by_the_hundred() -> None:
    assert asked([b"note"] * 250) == [PAGE, PAGE, 50]


def test_large_versions_come_as_many_as_fit_a_message() -> None:
    assert asked([bytes(1 << 20)] * 10) == [4, 4, 2]
