"""Matches and instances as they are stored.

Invariants: one content has one form; what an observation says isn't repeated, only its place, so that
nothing of a withdrawn signal is left but the tokens of an instance, which goes with it.

An instance, numbers big-endian: version 1; whether it is settled (1 byte); rarity (2); anchors; subjects;
how many groups took back what they told (1); these groups and then those that brought evidence in,
ascending; evidence, ascending by place. Each list is a count (2) and as many of: an anchor, its length (1)
and token; a subject, type (1), part (1), length (1) and token; a group, length (1) and name; evidence,
place (8), flags (1: 1 principal, 2 refuted, 4 several groups brought it in, 8 beside an echo of its group)
and the index of the group that did (1), counted from the first that brought any. Verdicts: version 1; for
each group, ascending, length (1) and name, verdict (1) and time (8).
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from signalexchange.errors import MalformedError

from exchange.domain.matching.finding import Part, Pattern, Subject
from exchange.domain.matching.match import Decision, Evidence, Instance, Match, MatchStatus, Verdict
from exchange.domain.matching.observation import Observation
from exchange.domain.records import InstanceRow, MatchRow

_VERSION = 1
_PRINCIPAL, _REFUTED, _SEVERAL, _BESIDE_ECHO = 1, 2, 4, 8

T = TypeVar("T")


def match_row(match: Match) -> MatchRow:
    """A match but for its instances."""
    verdicts = bytearray([_VERSION])
    for group, decision in sorted(match.verdicts.items()):
        verdicts += _sized(group.encode()) + bytes([decision.verdict]) + decision.time.to_bytes(8, "big")
    return MatchRow(
        match.number,
        match.match_id,
        int(match.pattern),
        int(match.status),
        match.found_at,
        match.updated_at,
        bytes(verdicts),
        match.reported,
    )


def read_match(row: MatchRow) -> Match:
    """The match of a row. Raises MalformedError."""
    reader = _Reader(row.verdicts)
    reader.version()
    verdicts = {}
    while not reader.done:
        group = reader.name()
        try:
            verdicts[group] = Decision(Verdict(reader.number(1)), reader.number(8))
        except ValueError:
            raise MalformedError("a stored match has an unknown verdict") from None
    return Match(
        row.number,
        row.match_id,
        Pattern(row.pattern),
        MatchStatus(row.status),
        row.found_at,
        row.updated_at,
        row.reported,
        verdicts,
    )


def instance_row(number: int, instance: Instance, *, settled: bool) -> InstanceRow:
    """An instance of the match of that number."""
    refuters = sorted(instance.refuters)
    closers = sorted({item.closer for item in instance.evidence.values() if item.closer})
    body = bytes([_VERSION, settled]) + instance.rarity.to_bytes(2, "big")
    body += _listed(map(_sized, sorted(instance.anchors)))
    body += _listed(bytes([kind, part]) + _sized(token) for token, kind, part in sorted(instance.subjects))
    body += bytes([len(refuters)]) + _listed(_sized(name.encode()) for name in [*refuters, *closers])
    body += _listed(
        place.to_bytes(8, "big")
        + bytes(
            [
                _PRINCIPAL * item.principal
                + _REFUTED * item.refuted
                + _SEVERAL * (not item.closer)
                + _BESIDE_ECHO * item.beside_echo,
                closers.index(item.closer) if item.closer else 0,
            ]
        )
        for place, item in sorted(instance.evidence.items())
    )
    return InstanceRow(number, instance.key, body)


def read_instance(row: InstanceRow, seen: Callable[[int], Observation | None]) -> tuple[Instance, bool]:
    """The instance of a row, without the evidence whose observation `seen` doesn't have, and whether it is
    settled. Raises MalformedError."""
    reader = _Reader(row.body)
    reader.version()
    settled = bool(reader.number(1))
    rarity = reader.number(2)
    anchors = reader.listed(reader.sized)
    subjects = reader.listed(reader.subject)
    count = reader.number(1)
    names = reader.listed(reader.name)
    refuters, closers = names[:count], names[count:]
    instance = Instance(row.key, rarity, tuple(anchors), tuple(subjects), frozenset(refuters))
    for place, flags, closer in reader.listed(lambda: (reader.number(8), reader.number(1), reader.number(1))):
        found = seen(place)
        if closer >= max(1, len(closers)):
            raise MalformedError("an instance's evidence names no group of it")
        if found is not None:
            instance.evidence[place] = Evidence(
                found,
                bool(flags & _PRINCIPAL),
                "" if flags & _SEVERAL else closers[closer],
                bool(flags & _REFUTED),
                bool(flags & _BESIDE_ECHO),
            )
    if not reader.done:
        raise MalformedError("more than an instance")
    return instance, settled


def _sized(data: bytes) -> bytes:
    return bytes([len(data)]) + data


def _listed(items: Iterable[bytes]) -> bytes:
    rows = list(items)
    return len(rows).to_bytes(2, "big") + b"".join(rows)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def done(self) -> bool:
        return self._at == len(self._data)

    def take(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        if len(found) < count:
            raise MalformedError("a stored match ends early")
        self._at += count
        return found

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def version(self) -> None:
        if self.number(1) != _VERSION:
            raise MalformedError("a stored match of an unknown version")

    def sized(self) -> bytes:
        return self.take(self.number(1))

    def name(self) -> str:
        try:
            return self.sized().decode()
        except UnicodeDecodeError:
            raise MalformedError("a stored match names a group in no text") from None

    def subject(self) -> Subject:
        kind, part = self.number(1), self.number(1)
        try:
            return Subject(self.sized(), kind, Part(part))
        except ValueError:
            raise MalformedError("a stored match names an unknown part") from None

    def listed(self, item: Callable[[], T]) -> list[T]:
        return [item() for _ in range(self.number(2))]
