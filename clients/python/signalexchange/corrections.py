"""Acknowledging corrections: the member's signed word that it received what puts right what it had been
shown.

Invariants: a correction is acknowledged only once it was handled; what is handled and not yet acknowledged is
in the journal, so that a crash or an unreachable hub delays an acknowledgement and never loses it.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from signalexchange.cases import MAX_CORRECTIONS, open_corrections, sign_corrections
from signalexchange.connection import ACKNOWLEDGE_CORRECTIONS, TIMEOUT, Connection
from signalexchange.errors import ConfigError, RefusedError
from signalexchange.journal import Journal
from signalexchange.log_client import LogClient
from signalexchange.publisher import Identity
from signalexchange.roster_client import RosterClient

PAUSE: Final = 1.0
"""Seconds in which further corrections are waited for, to be acknowledged together."""
_INDEX_SIZE: Final = 8


class Corrections:
    """The corrections a member has handled. To be used on one event loop."""

    def __init__(
        self,
        hub: Connection,
        log: LogClient,
        rosters: RosterClient,
        journal: Journal,
        identity: Identity,
        clock: Callable[[], int],
    ) -> None:
        self._hub = hub
        self._log = log
        self._rosters = rosters
        self._journal = journal
        self._identity = identity
        self._clock = clock
        self._turn = asyncio.Lock()
        self._later: asyncio.Task[None] | None = None

    async def handled(self, index: int) -> None:
        """Note that the correction at `index` of the log was handled; it is acknowledged soon.

        Raises what the last acknowledgement ended with, other than a refusal: that one is tried again.
        """
        if self._later is not None and self._later.done():
            self._later.result()
        async with self._turn:
            await self._keep({*await self._kept(), index})
        if self._later is None or self._later.done():
            self._later = asyncio.create_task(self._soon())

    async def acknowledge(self, timeout: float = TIMEOUT) -> int:  # noqa: ASYNC109
        """Acknowledge what was handled; how many. Raises RefusedError, ConfigError, VerificationError."""
        done = 0
        async with self._turn:
            while batch := sorted(await self._kept())[:MAX_CORRECTIONS]:
                roster = await self._rosters.roster()
                identity = self._identity
                key = roster.signing_key(identity.member, identity.key_id, self._clock())
                if key is None:
                    raise ConfigError(
                        f"the roster lists no signing key {identity.key_id!r} of this member valid now"
                    )
                request = sign_corrections(
                    batch,
                    origin=roster.origin,
                    member=identity.member,
                    key_id=identity.key_id,
                    sign=identity.sign,
                )
                open_corrections(request.statement, request.signature, key)
                response = await self._hub.call(ACKNOWLEDGE_CORRECTIONS, request, timeout)
                await self._log.accept_receipt(response.receipt)
                await self._keep(await self._kept() - set(batch))
                done += len(batch)
        return done

    async def close(self) -> None:
        """End the waiting; what is not acknowledged stays in the journal."""
        if self._later is not None:
            self._later.cancel()
            await asyncio.gather(self._later, return_exceptions=True)

    async def _soon(self) -> None:
        await asyncio.sleep(PAUSE)
        try:
            await self.acknowledge()
        except RefusedError:
            return  # it stays in the journal, and is tried again with the next

    async def _name(self) -> str:
        return f"corrections {(await self._rosters.roster()).origin}"

    async def _kept(self) -> set[int]:
        kept = await asyncio.to_thread(self._journal.state, await self._name()) or b""
        starts = range(0, len(kept), _INDEX_SIZE)
        return {int.from_bytes(kept[start : start + _INDEX_SIZE], "big") for start in starts}

    async def _keep(self, indices: set[int]) -> None:
        packed = b"".join(index.to_bytes(_INDEX_SIZE, "big") for index in sorted(indices))
        await asyncio.to_thread(self._journal.set_state, await self._name(), packed)
