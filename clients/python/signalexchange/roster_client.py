"""The roster and the rulebook as the hub hands them out, checked from the trust anchor on.

Invariants: a version counts only as part of the chain that starts at the genesis note; a rulebook only if the
newest version names its hash; a version once seen is never un-seen, in this run and, with a journal, in any
later one.
"""

import asyncio
import time
from hashlib import sha256

from signalexchange.connection import ROSTER, TIMEOUT, Connection
from signalexchange.errors import MalformedError, RefusedError, VerificationError
from signalexchange.journal import Journal
from signalexchange.note import split_note
from signalexchange.roster import Roster, RosterChain
from signalexchange.rulebook import Rulebook
from signalexchange.v1.membership_service_pb2 import GetRosterRequest

MAX_AGE = 3600.0


class RosterClient:
    """Fetches what is new of the roster when it is asked for the first time, and then hourly."""

    def __init__(self, hub: Connection, genesis_note: bytes, journal: Journal | None) -> None:
        """Raises MalformedError or VerificationError for a genesis note that is none."""
        self._hub = hub
        self._journal = journal
        self._chain = RosterChain.start(genesis_note)
        self._rulebook: Rulebook | None = None
        self._fetched_at: float | None = None
        self._turn = asyncio.Lock()
        self.indices: dict[int, int] = {}
        """Where in the log each version stands, as the hub says."""
        self.suspended: tuple[str, ...] = ()
        """Parties suspended at present, as the hub says."""
        self.rulebook_text: bytes = b""
        """The rulebook's bytes."""

    @property
    def chain(self) -> RosterChain:
        """The versions accepted so far."""
        return self._chain

    async def roster(self) -> Roster:
        """The roster in force; raises RefusedError where the hub can't be reached for the first time."""
        await self._fresh()
        return self._chain.current

    async def rulebook(self) -> Rulebook:
        """The rulebook in force."""
        await self._fresh()
        if self._rulebook is None:
            raise VerificationError("the hub handed out no rulebook")
        return self._rulebook

    async def _fresh(self) -> None:
        async with self._turn:
            if self._fetched_at is None:
                await self._fetch()
            elif time.monotonic() - self._fetched_at > MAX_AGE:
                try:
                    await self._fetch()
                except RefusedError:
                    # What is known still holds; the next try is in an hour.
                    self._fetched_at = time.monotonic()

    async def refresh(self, timeout: float = TIMEOUT) -> None:  # noqa: ASYNC109 - gRPC ends the call
        """Fetch and check what is new. Raises RefusedError, MalformedError, VerificationError."""
        async with self._turn:
            await self._fetch(timeout)

    async def _fetch(self, timeout: float = TIMEOUT) -> None:  # noqa: ASYNC109 - gRPC ends the call
        chain, start = self._chain, self._chain.current.version
        while True:
            answer = await self._hub.call(ROSTER, GetRosterRequest(from_version=start), timeout)
            before = chain.current.version
            for version in answer.versions:
                chain = _extended(chain, version.note)
                self.indices[chain.current.version] = version.index
            if chain.current.version == before:
                break
            start = chain.current.version
        if sha256(answer.rulebook).hexdigest() != chain.current.rulebook_sha256:
            raise VerificationError("the hub's rulebook is not the one that the roster names")
        try:
            self._rulebook = Rulebook.parse(answer.rulebook.decode())
        except UnicodeDecodeError:
            raise MalformedError("the rulebook is not UTF-8") from None
        self.rulebook_text = answer.rulebook
        await self._never_unsee(chain)
        self._chain = chain
        self.suspended = tuple(sorted(each.member for each in answer.suspensions))
        self._fetched_at = time.monotonic()

    async def _never_unsee(self, chain: RosterChain) -> None:
        if self._journal is None:
            return
        name = f"roster {chain.current.origin}"
        seen = await asyncio.to_thread(self._journal.state, name)
        newest = chain.current
        digest = sha256(newest.text().encode()).digest()
        if seen is not None:
            version = int.from_bytes(seen[:4], "big")
            if version > newest.version:
                raise VerificationError(
                    f"the hub hides roster versions: {version} was seen, its newest is {newest.version}"
                )
            if sha256(chain.versions[version - 1][1].text().encode()).digest() != seen[4:]:
                raise VerificationError(f"roster version {version} is not the one seen before")
            if version == newest.version:
                return
        await asyncio.to_thread(self._journal.set_state, name, newest.version.to_bytes(4, "big") + digest)


def _extended(chain: RosterChain, note: bytes) -> RosterChain:
    """The chain with a version the hub sent: its newest again, or the one after."""
    if split_note(note)[0] == chain.current.text():
        return chain
    return chain.extend(note)
