"""Reading committed state, on a connection of its own, while the writer writes.

Invariants: every statement is one short read; nothing here writes. Long scans go page by page, so that a
checkpoint of the write-ahead log never waits long for a reader.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

import aiosqlite
from signalexchange import merkle

from exchange.domain.records import (
    POSITIONS,
    Batch,
    Entry,
    Event,
    Order,
    RosterRow,
    Shown,
    SignalState,
    StoredEvent,
    SuspensionRow,
)
from exchange.domain.store import StorageFailed
from exchange.domain.tree import TILE, Tile, TileKey, Tree

_CHUNK: Final = 16_384
SIGNAL_STATE: Final = (
    "place, signal_id, issuer, token, type, epoch, code, audience, status, body IS NULL, role, searched,"
    " disputed_until, appealed_until FROM signals"
)
SUBSCRIPTION: Final = "SELECT token, member, type, epoch, purpose, expires_at FROM subscriptions"


def marks(count: int) -> tuple[str, int]:
    """`count` question marks, padded to a power of two so that statements are prepared once; and how many
    they are."""
    padded = 1 << max(0, count - 1).bit_length()
    return ",".join("?" * padded), padded


def padded(values: Sequence[Any]) -> tuple[str, list[Any]]:
    """Question marks and parameters for at least one value; the last is repeated."""
    text, count = marks(len(values))
    return text, [*values, *[values[-1]] * (count - len(values))]


def chunks(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """The values in parts that fit one statement."""
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


class Reader:
    """The reading verbs of `exchange.domain.store.Store`."""

    def __init__(self, read: aiosqlite.Connection) -> None:
        self._read = read

    async def restore_tree(self) -> Tree:
        """The tree as last committed."""
        row = await self._one("SELECT coalesce(max(idx) + 1, 0) FROM entries")
        size: int = row[0]
        edge: list[list[bytes]] = []
        level = 0
        while size >> (8 * level):
            first = (size >> (8 * level)) // TILE * TILE
            if level == 0:
                leaves = await self._rows("SELECT leaf FROM entries WHERE idx >= ? ORDER BY idx", (first,))
                edge.append([merkle.leaf_hash(leaf) for (leaf,) in leaves])
            else:
                below = await self._rows(
                    "SELECT hashes FROM tiles WHERE level = ? AND n >= ? ORDER BY n", (level - 1, first)
                )
                edge.append([_root(hashes) for (hashes,) in below])
            level += 1
        needed = Tree(merkle.Frontier(), []).needed([(0, size)], size) if size else set()
        return Tree.restore(size, edge, await self.tiles(sorted(needed)))

    async def tiles(self, keys: Sequence[TileKey]) -> dict[TileKey, bytes]:
        """Complete tiles by key."""
        if not keys:
            return {}
        values = ",".join("(?,?)" for _ in keys)
        rows = await self._rows(
            f"SELECT level, n, hashes FROM tiles WHERE (level, n) IN (VALUES {values})",  # noqa: S608 - marks only
            [part for key in keys for part in key],
        )
        return {(tile.level, tile.n): tile.hashes for tile in (Tile(*row) for row in rows)}

    async def entries(self, indices: Sequence[int]) -> list[Entry]:
        """Entries by index, ascending."""
        if not indices:
            return []
        text, parameters = padded(indices)
        rows = await self._rows(
            "SELECT idx, type, member, time, shown, leaf, header, header_opening,"  # noqa: S608
            " coalesce(payload, x''), coalesce(payload_opening, x'')"
            f" FROM entries WHERE idx IN ({text}) ORDER BY idx",
            parameters,
        )
        return [Entry(*row) for row in rows]

    async def entry_range(self, start: int, limit: int) -> list[Entry]:
        """Entries from `start` on, at most `limit`, without their payloads."""
        rows = await self._rows(
            "SELECT idx, type, member, time, shown, leaf, header, header_opening, x'', x''"
            " FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx",
            (start, start + limit),
        )
        return [Entry(*row) for row in rows]

    async def shown(self, start: int, stop: int) -> list[Shown]:
        """Entries in [start, stop) that say something was shown."""
        rows = await self._rows(
            "SELECT idx, member, type, payload FROM entries WHERE idx >= ? AND idx < ? AND shown > 0"
            " AND payload IS NOT NULL ORDER BY idx",
            (start, stop),
        )
        return [Shown(*row) for row in rows]

    async def batches(self, ids: Sequence[tuple[str, bytes]]) -> dict[tuple[str, bytes], Batch]:
        """Accepted batches of (member, batch id)."""
        found = {}
        for member, batch_id in ids:
            for row in await self._rows(
                "SELECT member, batch_id, root, entry, coalesce(next_expiry, 0) FROM batches"
                " WHERE member = ? AND batch_id = ?",
                (member, batch_id),
            ):
                found[(member, batch_id)] = Batch(*row)
        return found

    async def order(self, member: str, order_id: bytes) -> Order | None:
        """A withdrawal carried out before."""
        rows = await self._rows(
            "SELECT member, order_id, digest, entry FROM orders WHERE member = ? AND order_id = ?",
            (member, order_id),
        )
        return Order(*rows[0]) if rows else None

    async def signals(self, signal_ids: Sequence[bytes]) -> dict[bytes, SignalState]:
        """Signals by id."""
        found = {}
        for chunk in chunks(signal_ids):
            text, parameters = padded(chunk)
            rows = await self._rows(f"SELECT {SIGNAL_STATE} WHERE signal_id IN ({text})", parameters)
            found.update({row[1]: SignalState(*row) for row in rows})
        return found

    async def signals_at(self, places: Sequence[int]) -> list[SignalState]:
        """Signals by place, ascending."""
        found: list[SignalState] = []
        for chunk in chunks(sorted(places)):
            text, parameters = padded(chunk)
            rows = await self._rows(
                f"SELECT {SIGNAL_STATE} WHERE place IN ({text}) ORDER BY place", parameters
            )
            found.extend(SignalState(*row) for row in rows)
        return found

    async def linked_tokens(self, states: Sequence[SignalState]) -> dict[int, list[tuple[bytes, int]]]:
        """By place: tokens through which the signals were findable besides their own, and for whom."""
        found: dict[int, list[tuple[bytes, int]]] = {}
        if await self._one("SELECT EXISTS (SELECT 1 FROM links)") == (0,):
            return found
        for state in states:
            rows = await self._rows(
                # Every link stands both ways round, and the key begins with these two.
                "SELECT DISTINCT subject, audience FROM links WHERE token = ? AND issuer = ?",
                (state.token, state.issuer),
            )
            found[state.place] = [(token, audience) for token, audience in rows]
        return found

    async def events(self, member: str, after: int, limit: int) -> list[StoredEvent]:
        """The member's events after a position, at most `limit`."""
        rows = await self._rows(
            "SELECT position, member, signal_id, change, own, type, epoch, token, time, correction"
            " FROM events WHERE member = ? AND position > ? ORDER BY position LIMIT ?",
            (member, after, limit),
        )
        return [StoredEvent(row[0], Event(row[1], row[2], row[3], bool(row[4]), *row[5:])) for row in rows]

    async def event_bounds(self) -> tuple[int, int]:
        """(position up to which events are forgotten, position of the newest event ever)."""
        return await self._bounds("events")

    async def _bounds(self, table: str) -> tuple[int, int]:
        row = await self._one(
            "SELECT (SELECT value FROM meta WHERE name = ?),"
            " coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?), 0)",
            (f"forgotten_{table}", table),
        )
        return row[0], row[1]

    async def rosters(self) -> list[RosterRow]:
        """All roster versions, ascending."""
        rows = await self._rows("SELECT version, note, rulebook, entry FROM rosters ORDER BY version")
        return [RosterRow(*row) for row in rows]

    async def suspensions(self) -> list[SuspensionRow]:
        """Parties shut out at present."""
        return [SuspensionRow(*row) for row in await self._rows("SELECT member, entry FROM suspensions")]

    async def _rows(self, sql: str, parameters: Iterable[Any] = ()) -> list[Any]:
        try:
            return list(await self._read.execute_fetchall(sql, parameters))
        except sqlite3.Error as error:
            raise StorageFailed(f"storage failed: {error}") from error

    async def _one(self, sql: str, parameters: Iterable[Any] = ()) -> Any:
        return (await self._rows(sql, parameters))[0]


def _root(hashes: bytes) -> bytes:
    return merkle.root([hashes[at : at + merkle.HASH_SIZE] for at in range(0, len(hashes), merkle.HASH_SIZE)])


def positions(entry: int) -> tuple[int, int]:
    """First and last place of an entry's signals."""
    return entry * POSITIONS, entry * POSITIONS + POSITIONS - 1
