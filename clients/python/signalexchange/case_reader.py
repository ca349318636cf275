"""Cases as the hub hands them out, checked before they are used: one, all, as they come.

Invariants: what the hub says of a proceeding is used only after every step of it was checked: signed by an
officer of the member's own and naming the step before; a watch goes on where the last one of the journal
stopped; what officers wrote and the member's references are the journal's, the hub has neither.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256

from signalexchange.cases import open_step, parse_step
from signalexchange.connection import GET_CASE, LIST_CASES, TIMEOUT, WATCH_CASES, Connection
from signalexchange.errors import VerificationError
from signalexchange.journal import Journal, Record
from signalexchange.roster import Roster
from signalexchange.roster_client import RosterClient
from signalexchange.v1.case_service_pb2 import (
    Case,
    CaseStatement,
    GetCaseRequest,
    ListCasesRequest,
    WatchCasesRequest,
)
from signalexchange.watch import resumed

PAGE = 100


@dataclass(frozen=True, slots=True)
class CaseNews:
    """A case of which there is news, as it is now; `resume_token` resumes after it."""

    resume_token: bytes
    case: Case


class CaseReader:
    """A member's cases, to be read; `journal` gives its journal or raises ConfigError.

    Methods raise RefusedError for what the hub refuses or where it can't be reached, VerificationError and
    MalformedError for what can't be believed. `timeout` (seconds) bounds each call.
    """

    def __init__(
        self, hub: Connection, rosters: RosterClient, member: str, journal: Callable[[], Journal]
    ) -> None:
        self._hub = hub
        self._rosters = rosters
        self._member = member
        self._journal = journal

    async def get(self, case_id: bytes, *, timeout: float = TIMEOUT) -> Case:  # noqa: ASYNC109
        """One case. Raises RefusedError CASE_UNKNOWN also where the member has no proceeding in it."""
        response = await self._hub.call(GET_CASE, GetCaseRequest(case_id=case_id), timeout)
        if response.case.case_id != case_id:
            raise VerificationError("the hub answered about another case than the one asked for")
        return await self.checked(response.case)

    async def all(
        self,
        *,
        unfinished: bool = False,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> AsyncGenerator[Case, None]:
        """The member's cases, or those that are open or where a measure stands, oldest first, page by
        page."""
        token = b""
        while True:
            request = ListCasesRequest(page_size=PAGE, page_token=token, unfinished=unfinished)
            response = await self._hub.call(LIST_CASES, request, timeout)
            if len(response.cases) > PAGE:
                raise VerificationError("the hub answered with more cases than were asked for")
            for case in response.cases:
                yield await self.checked(case)
            token = response.next_page_token
            if not token:
                return

    async def watch(self, *, from_now: bool = False) -> AsyncGenerator[CaseNews, None]:
        """Cases of which there is news, for ever, from where the last watch stopped or `from_now` on.

        News count as handled when the next are asked for. Raises ResumeTooOldError, and RefusedError for what
        time doesn't mend, such as SUSPENDED.
        """
        journal, name = self._journal(), await self._name()
        stream = resumed(self._hub, WATCH_CASES, WatchCasesRequest, journal, name, from_now=from_now)
        async with aclosing(stream) as answers:
            async for answer in answers:
                if answer.HasField("case"):
                    yield CaseNews(answer.resume_token, await self.checked(answer.case))

    async def handled(self, news: CaseNews) -> None:
        """Note that news were handled, where the reader of `watch` does not ask for the next."""
        await asyncio.to_thread(self._journal().set_state, await self._name(), news.resume_token)

    def references(self, case: Case) -> list[str]:
        """The member's own references behind the subject, each once. Raises ConfigError without a journal."""
        return self._journal().references(case.subject.value)

    def records(self, case_id: bytes) -> list[Record]:
        """What this member's officers wrote down in a case, oldest first, as far as it is in this journal."""
        return self._journal().records(case_id)

    async def checked(self, case: Case) -> Case:
        """The case, whose steps are the member's own, each signed by an officer and in their order.

        Raises VerificationError or MalformedError. A case whose content has been erased has no steps.
        """
        await self._rosters.roster()
        before = b""
        for number, step in enumerate(case.steps):
            statement = parse_step(step.statement)
            key = self._key_of(statement.key_id, step.time)
            if key is None:
                raise VerificationError(
                    f"step {number} is signed with a key that no officer of this member had"
                )
            open_step(step.statement, step.signature, key)
            given = (statement.member, statement.case_id, statement.sequence, statement.previous)
            if given != (self._member, case.case_id, number, before):
                raise VerificationError(f"step {number} is not the one that follows in this case")
            before = sha256(step.statement).digest()
        return case

    def _key_of(self, key_id: str, time: int) -> bytes | None:
        """The officer's key as the newest roster has it that lists it for `time`."""
        for _, roster in reversed(self._rosters.chain.versions):
            key = roster.officer_key(self._member, key_id, time)
            if key is not None:
                return key.public_key
        return None

    async def _name(self) -> str:
        return f"resume cases {(await self._rosters.roster()).origin}"


def officer_of(statement: CaseStatement, roster: Roster, time: int) -> str:
    """The name of the officer who signed a step at `time`, or the key's id where the roster no longer lists
    it."""
    key = roster.officer_key(statement.member, statement.key_id, time)
    return statement.key_id if key is None else key.officer
