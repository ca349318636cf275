"""What is stored of cases: proceedings, their steps, deadlines and appeals, and corrections acknowledged.

Invariants: as in `reader`; a step once stored never changes; of an erased proceeding only case and member are
left, so that it begins no second time.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from exchange.domain.case_rows import (
    AppealRow,
    AppealTime,
    CaseEvent,
    ProceedingRow,
    StoredCaseEvent,
    StoredProceeding,
    StoredStep,
)
from exchange.domain.records import Delta, Order
from exchange.storage.reader import Reader, chunks, padded
from exchange.storage.transaction import Statement

_PROCEEDING: Final = (
    "SELECT number, case_id, member, match_id, token, type, epoch, unfinished, appealed, sanction,"
    " coalesce(due, 0), coalesce(expires_at, 0) FROM proceedings"
)


class CaseReader(Reader):
    """The reading verbs of `exchange.domain.store.Store` about cases and corrections."""

    async def proceeding(self, member: str, case_id: bytes) -> StoredProceeding | None:
        """The member's proceeding in a case."""
        rows = await self._proceedings("WHERE case_id = ? AND member = ?", case_id, member)
        return rows[0] if rows else None

    async def proceedings_in(self, case_id: bytes) -> list[StoredProceeding]:
        """Every member's proceeding in a case, but those that were erased."""
        return await self._proceedings("WHERE case_id = ? AND token != x'' ORDER BY member", case_id)

    async def proceedings_of(
        self, member: str, after: int, limit: int, *, unfinished: bool
    ) -> list[StoredProceeding]:
        """The member's proceedings after a number, at most `limit`, or those that are unfinished."""
        return await self._proceedings(
            "WHERE member = ? AND number > ? AND token != x'' AND unfinished >= ? ORDER BY number LIMIT ?",
            member,
            after,
            unfinished,
            limit,
        )

    async def proceedings_due(self, now: int, limit: int) -> list[StoredProceeding]:
        """Proceedings with a deadline that passed and was not told, at most `limit`."""
        return await self._proceedings("WHERE due < ? ORDER BY due, number LIMIT ?", now, limit)

    async def proceedings_expired(self, now: int, limit: int) -> list[StoredProceeding]:
        """Proceedings whose term is over, at most `limit`."""
        return await self._proceedings(
            "WHERE expires_at <= ? ORDER BY expires_at, number LIMIT ?", now, limit
        )

    async def _proceedings(self, where: str, *parameters: Any) -> list[StoredProceeding]:
        rows = await self._rows(f"{_PROCEEDING} {where}", parameters)
        return [
            StoredProceeding(
                row[0], ProceedingRow(*row[1:])._replace(unfinished=bool(row[7]), appealed=bool(row[8]))
            )
            for row in rows
        ]

    async def case_steps(self, member: str, case_id: bytes) -> list[StoredStep]:
        """The steps of a proceeding, in order."""
        rows = await self._rows(
            "SELECT sequence, digest, officer, entry, time, payload FROM case_steps"
            " JOIN entries ON idx = entry WHERE case_id = ? AND case_steps.member = ? ORDER BY sequence",
            (case_id, member),
        )
        return [StoredStep(*row) for row in rows]

    async def case_deadlines(self, member: str, case_id: bytes) -> set[tuple[int, str]]:
        """(when it was due, what) of the deadlines of a proceeding that were told."""
        rows = await self._rows(
            "SELECT due, what FROM case_deadlines WHERE case_id = ? AND member = ?", (case_id, member)
        )
        return {(row[0], row[1]) for row in rows}

    async def appeals(self, places: Sequence[int]) -> list[AppealRow]:
        """Which undecided appeals dispute the signals at these places."""
        found: list[AppealRow] = []
        for chunk in chunks(places):
            text, parameters = padded(chunk)
            rows = await self._rows(
                f"SELECT case_id, member, place, until FROM appeals WHERE place IN ({text})",  # noqa: S608 - marks only
                parameters,
            )
            found.extend(AppealRow(*row) for row in rows)
        return found

    async def appeal_times(self, digests: Sequence[bytes]) -> dict[bytes, AppealTime]:
        """By digest: until when appeals dispute, and when they may again."""
        found: dict[bytes, AppealTime] = {}
        for chunk in chunks(digests):
            text, parameters = padded(chunk)
            rows = await self._rows(
                f"SELECT digest, until, again FROM appeal_times WHERE digest IN ({text})",  # noqa: S608 - marks only
                parameters,
            )
            found.update((row[0], AppealTime(*row)) for row in rows)
        return found

    async def appeals_past(self, now: int, limit: int) -> list[tuple[str, bytes]]:
        """(member, case id) of proceedings whose undecided appeal disputed signals until before `now`, at
        most `limit`."""
        rows = await self._rows(
            "SELECT DISTINCT member, case_id FROM appeals WHERE until < ? ORDER BY member, case_id LIMIT ?",
            (now, limit),
        )
        return [(row[0], row[1]) for row in rows]

    async def appealed_until(self, member: str, case_id: bytes, now: int) -> list[int]:
        """Places of the signals that the undecided appeal in a proceeding disputed until before `now`."""
        rows = await self._rows(
            "SELECT place FROM appeals WHERE case_id = ? AND member = ? AND until < ?", (case_id, member, now)
        )
        return [row[0] for row in rows]

    async def appealed_by(self, member: str, case_id: bytes) -> list[int]:
        """Places of the signals that the undecided appeal in a proceeding disputes, ascending."""
        rows = await self._rows(
            "SELECT place FROM appeals WHERE case_id = ? AND member = ? ORDER BY place", (case_id, member)
        )
        return [row[0] for row in rows]

    async def appealed(self) -> list[tuple[int, int]]:
        """Places of the signals that undecided appeals dispute, and until when."""
        rows = await self._rows("SELECT place, appealed_until FROM signals WHERE appealed_until > 0")
        return [(row[0], row[1]) for row in rows]

    async def sanctions(self, member: str, tokens: Sequence[bytes]) -> set[tuple[bytes, int]]:
        """(token, Action) of the measures in force with which the member's proceedings about these tokens
        were closed as confirmed."""
        found: set[tuple[bytes, int]] = set()
        for chunk in chunks(tokens):
            text, parameters = padded(chunk)
            rows = await self._rows(
                "SELECT token, sanction FROM proceedings INDEXED BY proceedings_by_token"  # noqa: S608 - marks only
                f" WHERE token IN ({text}) AND member = ? AND sanction > 0",
                [*parameters, member],
            )
            found.update((row[0], row[1]) for row in rows)
        return found

    async def case_order(self, member: str, order_id: bytes) -> Order | None:
        """An order to erase a case carried out before."""
        rows = await self._rows(
            "SELECT member, order_id, digest, entry FROM case_orders WHERE member = ? AND order_id = ?",
            (member, order_id),
        )
        return Order(*rows[0]) if rows else None

    async def case_events(self, member: str, after: int, limit: int) -> list[StoredCaseEvent]:
        """The member's case events after a position, at most `limit`."""
        rows = await self._rows(
            "SELECT position, member, case_id, time FROM case_events WHERE member = ? AND position > ?"
            " ORDER BY position LIMIT ?",
            (member, after, limit),
        )
        return [StoredCaseEvent(row[0], CaseEvent(*row[1:])) for row in rows]

    async def case_event_bounds(self) -> tuple[int, int]:
        """(position up to which case events are forgotten, position of the newest one ever)."""
        return await self._bounds("case_events")

    async def acknowledged(self, entries: Sequence[int]) -> dict[int, int]:
        """Those of the corrections that were acknowledged, by their entries, with the acknowledgement's."""
        text, parameters = padded(entries)
        rows = await self._rows(
            f"SELECT correction, entry FROM acknowledged WHERE correction IN ({text})",  # noqa: S608 - marks only
            parameters,
        )
        return {row[0]: row[1] for row in rows}


def case_statements(delta: Delta) -> Iterator[Statement]:
    """What writes proceedings, what appeals do to signals, and what is erased of cases."""
    for row in delta.proceedings:
        yield (
            "INSERT INTO proceedings (case_id, member, match_id, token, type, epoch, unfinished, appealed,"
            " sanction, due, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (case_id, member) DO UPDATE SET unfinished = excluded.unfinished,"
            " appealed = excluded.appealed, sanction = excluded.sanction, due = excluded.due,"
            " expires_at = excluded.expires_at",
            (*row[:-2], row.due or None, row.expires_at or None),
        )
    for proceeding in delta.decided_appeals:
        yield "DELETE FROM appeals WHERE case_id = ? AND member = ?", proceeding
    for appeal in delta.ended_appeals:
        yield "DELETE FROM appeals WHERE case_id = ? AND member = ? AND place = ?", appeal
    for appealed in delta.appealed:
        yield "UPDATE signals SET appealed_until = ? WHERE place = ?", appealed
    for proceeding in delta.erased_proceedings:
        for table in ("case_steps", "case_deadlines", "case_events"):
            yield f"DELETE FROM {table} WHERE case_id = ? AND member = ?", proceeding  # noqa: S608 - a table's name
        yield (
            "UPDATE proceedings SET match_id = x'', token = x'', type = 0, epoch = 0, unfinished = 0,"
            " appealed = 0, sanction = 0, due = NULL, expires_at = NULL WHERE case_id = ? AND member = ?",
            proceeding,
        )
    for entry in delta.erased_entries:
        yield "UPDATE entries SET payload = NULL, payload_opening = NULL WHERE idx = ?", (entry,)
