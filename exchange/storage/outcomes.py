"""What is stored of outcomes: reports, verdicts, tallies, and who was told of which signal.

Invariants: as in `reader`; a verdict once stored never changes; tallies only grow.
"""

from collections.abc import Iterator, Sequence

from exchange.domain.records import Delta, MatchVerdict, Report, Status
from exchange.domain.reliability import Tally
from exchange.storage.reader import Reader, chunks, padded
from exchange.storage.transaction import Statement


class OutcomeReader(Reader):
    """The reading verbs of `exchange.domain.store.Store` about outcomes."""

    async def report(self, member: str, report_id: bytes) -> Report | None:
        """A report accepted before."""
        rows = await self._rows(
            "SELECT member, report_id, digest, entry FROM reports WHERE member = ? AND report_id = ?",
            (member, report_id),
        )
        return Report(*rows[0]) if rows else None

    async def told_of(self, member: str, places: Sequence[int]) -> set[int]:
        """Places of those of the signals that the member was told of."""
        found: set[int] = set()
        for chunk in chunks(places):
            text, parameters = padded(chunk)
            rows = await self._rows(
                f"SELECT place FROM deliveries WHERE place IN ({text}) AND member = ?",  # noqa: S608 - marks only
                [*parameters, member],
            )
            found.update(row[0] for row in rows)
        return found

    async def verdicts(self, group: str, ids: Sequence[bytes]) -> dict[tuple[bool, bytes], int]:
        """Verdicts of a group by what they are about: whether a match, and the id."""
        found: dict[tuple[bool, bytes], int] = {}
        for chunk in chunks(ids):
            text, parameters = padded(chunk)
            rows = await self._rows(
                f"SELECT is_match, about, verdict FROM verdicts WHERE about IN ({text}) AND grp = ?",  # noqa: S608
                [*parameters, group],
            )
            found.update({(bool(is_match), about): verdict for is_match, about, verdict in rows})
        return found

    async def outcomes_since(self, start: int) -> list[MatchVerdict]:
        """Verdicts on matches in entries from `start` on, in their order."""
        rows = await self._rows(
            "SELECT entry, time, about, grp, member, verdict FROM verdicts INDEXED BY verdicts_on_matches"
            " JOIN entries ON idx = entry WHERE is_match = 1 AND entry >= ? ORDER BY entry, about",
            (start,),
        )
        return [MatchVerdict(*row) for row in rows]

    async def tallies(self) -> list[Tally]:
        """All tallies."""
        rows = await self._rows("SELECT issuer, code, reporter, confirmed, refuted FROM tallies")
        return [Tally(*row) for row in rows]

    async def learned(self) -> int:
        """Version of the learned parameters."""
        row = await self._one("SELECT value FROM meta WHERE name = 'learned'")
        return int(row[0])


def outcome_statements(delta: Delta) -> Iterator[Statement]:
    """What writes the effects of outcomes on signals and tallies."""
    for until, place in delta.disputed:
        yield "UPDATE signals SET disputed_until = ? WHERE place = ?", (until, place)
    for place in delta.refuted:
        yield "UPDATE signals SET status = ? WHERE place = ?", (Status.REFUTED, place)
        yield "DELETE FROM links WHERE place = ?", (place,)
    for tally in delta.tallies:
        yield (
            "INSERT INTO tallies VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET confirmed = confirmed + excluded.confirmed, refuted = refuted + excluded.refuted",
            tally,
        )
    if delta.learned:
        yield "UPDATE meta SET value = ? WHERE name = 'learned'", (delta.learned,)
