"""What is stored of disclosures: requests, their steps, what is sealed until they end, and events.

Invariants: as in `reader`; a step once stored never changes; scope and package go with the move that ends a
disclosure.
"""

from collections.abc import Iterator, Sequence

from exchange.domain.disclosure import (
    DisclosureDelta,
    DisclosureEvent,
    DisclosureStep,
    Standing,
    StoredDisclosure,
    StoredDisclosureEvent,
)
from exchange.storage.reader import Reader, padded
from exchange.storage.transaction import Statement

_DISCLOSURE = "SELECT number, request_id, requester, member, state, due FROM disclosures"


class DisclosureReader(Reader):
    """The reading verbs of `exchange.domain.store.Store` about disclosures."""

    async def disclosure(self, request_id: bytes) -> StoredDisclosure | None:
        """The disclosure of that request."""
        found = await self._disclosures(f"{_DISCLOSURE} WHERE request_id = ?", (request_id,))
        return found[0] if found else None

    async def disclosures_of(
        self, party: str, after: int, limit: int, *, unfinished: bool
    ) -> list[StoredDisclosure]:
        """Disclosures that the party requested or was asked for, after a number, at most `limit`."""
        due = 0 if unfinished else -1
        return await self._disclosures(
            # A party is a requester or a member, never both: each of the two indices serves one.
            f"{_DISCLOSURE} WHERE (requester = ? OR member = ?) AND number > ? AND due > ?"
            " ORDER BY number LIMIT ?",
            (party, party, after, due, limit),
        )

    async def open_disclosures(self, requester: str) -> int:
        """How many of the requester's have not ended."""
        row = await self._one(
            "SELECT count(*) FROM disclosures INDEXED BY disclosures_by_requester"
            " WHERE requester = ? AND due > 0",
            (requester,),
        )
        return int(row[0])

    async def due_disclosures(self, now: int, limit: int) -> list[StoredDisclosure]:
        """Those that expired by now and whose expiry is not recorded, at most `limit`."""
        return await self._disclosures(
            f"{_DISCLOSURE} WHERE due > 0 AND due <= ? ORDER BY due LIMIT ?",
            (now, limit),
        )

    async def sealed_scope(self, request_id: bytes) -> bytes | None:
        """The sealed scope, while the disclosure has not ended."""
        return await self._sealed("scope", request_id)

    async def sealed_package(self, request_id: bytes) -> bytes | None:
        """The sealed package, while it waits to be received."""
        return await self._sealed("package", request_id)

    async def disclosure_events(self, member: str, after: int, limit: int) -> list[StoredDisclosureEvent]:
        """The party's events after a position, at most `limit`."""
        rows = await self._rows(
            "SELECT position, member, request_id, time FROM disclosure_events"
            " WHERE member = ? AND position > ? ORDER BY position LIMIT ?",
            (member, after, limit),
        )
        return [StoredDisclosureEvent(row[0], DisclosureEvent(*row[1:])) for row in rows]

    async def disclosure_event_bounds(self) -> tuple[int, int]:
        """(position up to which events are forgotten, position of the newest one ever)."""
        return await self._bounds("disclosure_events")

    async def old_disclosure_events(self, before: int) -> int:
        """Position of the last event older than `before`; 0 if none."""
        row = await self._one(
            "SELECT coalesce(max(position), 0) FROM"
            " (SELECT position, time FROM disclosure_events ORDER BY position LIMIT 5000) WHERE time < ?",
            (before,),
        )
        return int(row[0])

    async def _sealed(self, column: str, request_id: bytes) -> bytes | None:
        rows = await self._rows(
            f"SELECT {column} FROM disclosures WHERE request_id = ?",  # noqa: S608 - a column's name
            (request_id,),
        )
        return rows[0][0] if rows else None

    async def _disclosures(self, sql: str, parameters: Sequence[object]) -> list[StoredDisclosure]:
        rows = await self._rows(sql, parameters)
        if not rows:
            return []
        text, ids = padded([row[1] for row in rows])
        steps: dict[bytes, list[DisclosureStep]] = {}
        for row in await self._rows(
            "SELECT request_id, type, time, payload, requester_entry, member_entry FROM disclosure_steps"  # noqa: S608
            f" WHERE request_id IN ({text}) ORDER BY requester_entry",
            ids,
        ):
            steps.setdefault(row[0], []).append(DisclosureStep(*row))
        return [
            StoredDisclosure(
                row[0], row[1], row[2], row[3], Standing(row[4], row[5]), tuple(steps.get(row[1], ()))
            )
            for row in rows
        ]


def disclosure_statements(delta: DisclosureDelta) -> Iterator[Statement]:
    """What writes the part of a delta that is about disclosures."""
    for opened in delta.opened:
        yield (
            "INSERT INTO disclosures (request_id, requester, member, state, due, scope)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            opened,
        )
    for step in delta.steps:
        yield "INSERT INTO disclosure_steps VALUES (?, ?, ?, ?, ?, ?)", step
    for move in delta.moved:
        scope = "NULL" if move.due == 0 else "scope"
        yield (
            f"UPDATE disclosures SET state = ?, due = ?, package = ?, scope = {scope} WHERE request_id = ?",  # noqa: S608
            move,
        )
    for event in delta.events:
        yield "INSERT INTO disclosure_events (member, request_id, time) VALUES (?, ?, ?)", event
    if delta.forgotten_events:
        yield "DELETE FROM disclosure_events WHERE position <= ?", (delta.forgotten_events,)
        yield (
            "UPDATE meta SET value = ? WHERE name = 'forgotten_disclosure_events'",
            (delta.forgotten_events,),
        )
