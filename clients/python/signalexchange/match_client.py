"""Matches as a member is told of them: one, all of them, as they come, and which of its values join nobody.

Invariants: an answer holds only what was asked for; a watch goes on where the last one of the journal
stopped; the references are the journal's: the hub knows none of them.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from signalexchange.connection import (
    GET_MATCH,
    LIST_MATCHES,
    LIST_SET_ASIDE,
    TIMEOUT,
    WATCH_MATCHES,
    Connection,
)
from signalexchange.errors import VerificationError
from signalexchange.journal import Journal
from signalexchange.roster_client import RosterClient
from signalexchange.v1.match_service_pb2 import (
    MATCH_STATUS_UNSPECIFIED,
    GetMatchRequest,
    ListMatchesRequest,
    ListSetAsideRequest,
    Match,
    MatchStatus,
    SetAsideValue,
    WatchMatchesRequest,
)
from signalexchange.watch import resumed

PAGE = 100
SET_ASIDE_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class MatchNews:
    """A match that was found or has changed, as it is now; `resume_token` resumes after it."""

    resume_token: bytes
    match: Match


class MatchClient:
    """The matches of a member; `journal` gives its journal or raises ConfigError.

    Methods raise RefusedError for what the hub refuses or where it can't be reached, VerificationError and
    MalformedError for what can't be believed. `timeout` (seconds) bounds each call.
    """

    def __init__(self, hub: Connection, roster: RosterClient, journal: Callable[[], Journal]) -> None:
        self._hub = hub
        self._roster = roster
        self._journal = journal

    async def get(self, match_id: bytes, *, timeout: float = TIMEOUT) -> Match:  # noqa: ASYNC109
        """One match. Raises RefusedError MATCH_UNKNOWN also for one that doesn't concern the member."""
        response = await self._hub.call(GET_MATCH, GetMatchRequest(match_id=match_id), timeout)
        if response.match.match_id != match_id:
            raise VerificationError("the hub answered about another match than the one asked for")
        return response.match

    async def all(
        self,
        status: MatchStatus.ValueType = MATCH_STATUS_UNSPECIFIED,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> AsyncGenerator[Match, None]:
        """All matches that concern the member, or those of a status, oldest first, fetched page by page."""
        token = b""
        while True:
            request = ListMatchesRequest(page_size=PAGE, page_token=token, status=status)
            response = await self._hub.call(LIST_MATCHES, request, timeout)
            if len(response.matches) > PAGE:
                raise VerificationError("the hub answered with more matches than were asked for")
            for match in response.matches:
                yield match
            token = response.next_page_token
            if not token:
                return

    async def set_aside(self, *, timeout: float = TIMEOUT) -> AsyncGenerator[SetAsideValue, None]:  # noqa: ASYNC109
        """Values that the member reported and that join nobody at present, ascending by token."""
        token = b""
        while True:
            request = ListSetAsideRequest(page_size=SET_ASIDE_PAGE, page_token=token)
            response = await self._hub.call(LIST_SET_ASIDE, request, timeout)
            for value in response.values:
                yield value
            token = response.next_page_token
            if not token:
                return

    async def watch(self, *, from_now: bool = False) -> AsyncGenerator[MatchNews, None]:
        """Matches as they are found and change, for ever, from where the last watch stopped or `from_now` on.

        A match counts as handled when the next one is asked for. Raises ResumeTooOldError, and RefusedError
        for what time doesn't mend, such as SUSPENDED.
        """
        journal, name = self._journal(), await self._name()
        stream = resumed(self._hub, WATCH_MATCHES, WatchMatchesRequest, journal, name, from_now=from_now)
        async with aclosing(stream) as answers:
            async for answer in answers:
                if answer.HasField("match"):
                    yield MatchNews(answer.resume_token, answer.match)

    async def handled(self, news: MatchNews) -> None:
        """Note that a match was handled, where the reader of `watch` does not ask for the next one."""
        await asyncio.to_thread(self._journal().set_state, await self._name(), news.resume_token)

    def references(self, match: Match) -> list[str]:
        """The member's own references behind its subjects and signals in a match, each once.

        Raises ConfigError where there is no journal.
        """
        journal = self._journal()
        found = [name for subject in match.subjects for name in journal.references(subject.token.value)]
        notes = (journal.signal(signal_id) for signal_id in match.signal_ids)
        found += [note.reference for note in notes if note is not None]
        return list(dict.fromkeys(found))

    async def _name(self) -> str:
        return f"resume matches {(await self._roster.roster()).origin}"
