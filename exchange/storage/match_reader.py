"""Reading what matching stands on and what it found, on the reader's connection.

Invariants: as in `reader`; only signals that look-ups find are looked for by token.
"""

from collections.abc import Sequence
from typing import Any

from exchange.domain.records import (
    InstanceRow,
    MatchEvent,
    MatchRow,
    MatchView,
    RoleSignal,
    StoredMatchEvent,
    Subscription,
)
from exchange.storage.reader import SUBSCRIPTION, Reader, chunks, padded


class MatchReader(Reader):
    """The reading verbs of `exchange.domain.store.Store` that matching and its answers need."""

    async def role_signals(self, start: int, stop: int, limit: int) -> list[RoleSignal]:
        """Active signals with a role in matching whose place is in [start, stop), at most `limit`."""
        rows = await self._rows(
            "SELECT place, issuer, role, echo, body FROM signals INDEXED BY signals_for_matching"
            " WHERE place >= ? AND place < ? AND status = 0 AND role > 0 ORDER BY place LIMIT ?",
            (start, stop, limit),
        )
        return [_role_signal(row) for row in rows]

    async def roles_at(self, places: Sequence[int]) -> list[RoleSignal]:
        """The active signals with a role in matching at these places."""
        found: list[RoleSignal] = []
        for chunk in chunks(places):
            text, parameters = padded(chunk)
            rows = await self._rows(
                "SELECT place, issuer, role, echo, body FROM signals"  # noqa: S608 - marks only
                f" WHERE place IN ({text}) AND status = 0 AND role > 0 ORDER BY place",
                parameters,
            )
            found.extend(_role_signal(row) for row in rows)
        return found

    async def issuers(self, tokens: Sequence[bytes], now: int) -> dict[bytes, dict[str, int]]:
        """Who has active signals on each of the tokens, or links to or from it, that look-ups find; with the
        token's epoch."""
        found: dict[bytes, dict[str, int]] = {}
        for chunk in chunks(tokens):
            _, parameters = padded(chunk)
            asked = ",".join(f"?{at}" for at in range(1, len(parameters) + 1))
            now_at = f"?{len(parameters) + 1}"
            rows = await self._rows(
                "SELECT token, issuer, epoch FROM signals INDEXED BY signals_by_token"  # noqa: S608 - marks only
                f" WHERE token IN ({asked}) AND status = 0 AND searched = 1 AND expires_at > {now_at}"
                f" UNION SELECT token, issuer, epoch FROM links"
                f" WHERE token IN ({asked}) AND expires_at > {now_at}",
                [*parameters, now],
            )
            for token, issuer, epoch in rows:
                found.setdefault(token, {})[issuer] = epoch
        return found

    async def watchers(self, tokens: Sequence[bytes], now: int) -> dict[bytes, list[Subscription]]:
        """Subscriptions in force on the tokens, as committed."""
        found: dict[bytes, list[Subscription]] = {}
        for chunk in chunks(tokens):
            text, parameters = padded(chunk)
            rows = await self._rows(
                f"{SUBSCRIPTION} WHERE token IN ({text}) AND expires_at > ?", [*parameters, now]
            )
            for row in rows:
                found.setdefault(row[0], []).append(Subscription(*row))
        return found

    async def matched_to(self) -> int:
        """Index below which matching has taken every entry into account."""
        row = await self._one("SELECT value FROM meta WHERE name = 'matched_to'")
        return int(row[0])

    async def withdrawn_since(self, start: int) -> bool:
        """Whether an entry from `start` on may end signals: an order, or a report of outcomes."""
        row = await self._one(
            "SELECT EXISTS (SELECT 1 FROM orders WHERE entry >= ?1)"
            " OR EXISTS (SELECT 1 FROM reports WHERE entry >= ?1)",
            (start,),
        )
        return bool(row[0])

    async def matches(self) -> list[MatchRow]:
        """All matches, ascending by number."""
        rows = await self._rows(
            "SELECT number, match_id, pattern, status, found_at, updated_at, verdicts, reported FROM matches"
            " ORDER BY number"
        )
        return [MatchRow(*row)._replace(reported=bool(row[7])) for row in rows]

    async def match_instances(self) -> list[InstanceRow]:
        """All instances of matches."""
        return [
            InstanceRow(*row) for row in await self._rows("SELECT number, key, body FROM match_instances")
        ]

    async def spent(self) -> list[tuple[bytes, int]]:
        """Withdrawn hypotheses, and until when (Unix seconds) they can't be put up again."""
        return [(row[0], row[1]) for row in await self._rows("SELECT key, until FROM spent")]

    async def match_views(self, numbers: Sequence[int]) -> list[MatchView]:
        """Who was last shown what of the matches."""
        found: list[MatchView] = []
        for chunk in chunks(numbers):
            text, parameters = padded(chunk)
            rows = await self._rows(
                f"SELECT member, number, digest FROM match_views WHERE number IN ({text})",  # noqa: S608 - marks only
                parameters,
            )
            found.extend(MatchView(*row) for row in rows)
        return found

    async def matches_shown(
        self, member: str, after: int, limit: int, status: int
    ) -> list[tuple[int, bytes]]:
        """(number, match id) of the matches the member was told of after a number, at most `limit`, of a
        MatchStatus or, for 0, of any."""
        rows = await self._rows(
            "SELECT v.number, m.match_id FROM match_views v JOIN matches m ON m.number = v.number"
            " WHERE v.member = ? AND v.number > ? AND (? = 0 OR m.status = ?) ORDER BY v.number LIMIT ?",
            (member, after, status, status, limit),
        )
        return [(row[0], row[1]) for row in rows]

    async def matches_of(self, member: str, match_ids: Sequence[bytes]) -> dict[bytes, int]:
        """Numbers of those of the matches that the member was told of, by id."""
        found: dict[bytes, int] = {}
        for chunk in chunks(match_ids):
            text, parameters = padded(chunk)
            rows = await self._rows(
                "SELECT m.match_id, m.number FROM matches m JOIN match_views v ON v.number = m.number"  # noqa: S608
                f" WHERE m.match_id IN ({text}) AND v.member = ?",
                [*parameters, member],
            )
            found.update((row[0], row[1]) for row in rows)
        return found

    async def match_events(self, member: str, after: int, limit: int) -> list[StoredMatchEvent]:
        """The member's match events after a position, at most `limit`."""
        rows = await self._rows(
            "SELECT e.position, e.member, e.number, e.time, m.match_id"
            " FROM match_events e JOIN matches m ON m.number = e.number"
            " WHERE e.member = ? AND e.position > ? ORDER BY e.position LIMIT ?",
            (member, after, limit),
        )
        return [StoredMatchEvent(row[0], MatchEvent(*row[1:4]), row[4]) for row in rows]

    async def match_event_bounds(self) -> tuple[int, int]:
        """(position up to which match events are forgotten, position of the newest one ever)."""
        return await self._bounds("match_events")


def _role_signal(row: Any) -> RoleSignal:
    return RoleSignal(*row)._replace(echo=bool(row[3]))
