"""Tokens from the roster's custodians, over connections that follow their credentials.

Invariants: the key manifest in use is one that every custodian of the roster signed, and is fetched anew
every hour, so that a new epoch is noticed; which epoch is meant is decided by the manifest and the time
passed in, never by a peer.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack

from signalexchange.connection import Connection
from signalexchange.errors import ConfigError, ExchangeError
from signalexchange.identifiers import type_name
from signalexchange.manifest import KeyManifest
from signalexchange.roster_client import RosterClient
from signalexchange.token_cache import TokenCache
from signalexchange.token_client import Progress, TokenClient, fetch_manifest
from signalexchange.tokens import Token
from signalexchange.v1.identifier_pb2 import IdentifierType
from signalexchange.v1.token_service_pb2 import EVALUATION_PURPOSE_TOKENISE, EvaluationPurpose

MAX_AGE = 3600.0


class EpochError(ExchangeError):
    """No token key of the manifest is valid for what was asked."""


class TokenSource:
    """Computes tokens; `custodians` maps the roster's custodian ids to connections."""

    def __init__(
        self,
        custodians: Mapping[str, Connection],
        rosters: RosterClient,
        cache: TokenCache,
        clock: Callable[[], int],
    ) -> None:
        self._custodians = custodians
        self._rosters = rosters
        self._cache = cache
        self._clock = clock
        self._manifest: KeyManifest | None = None
        self._fetched_at = 0.0
        self._turn = asyncio.Lock()

    async def manifest(self) -> KeyManifest:
        """The key manifest; raises CustodianError where no custodian has a valid one, ConfigError without
        any.
        """
        if not self._custodians:
            raise ConfigError("tokens need custodians; the configuration names none under [custodians]")
        async with self._turn:
            if self._manifest is None or time.monotonic() - self._fetched_at > MAX_AGE:
                roster = await self._rosters.roster()
                async with AsyncExitStack() as stack:
                    channels = {
                        name: await stack.enter_async_context(connection.channel())
                        for name, connection in self._custodians.items()
                    }
                    self._manifest = await fetch_manifest(roster, channels)
                self._fetched_at = time.monotonic()
            return self._manifest

    async def epoch(self, types: Iterable[int]) -> int:
        """The newest epoch valid now for all of these types; raises EpochError where there is none."""
        manifest, now = await self.manifest(), self._clock()
        wanted = sorted(set(types))
        common = set.intersection(*(set(manifest.epochs(type_, now)) for type_ in wanted))
        if not common:
            names = ", ".join(type_name(type_) for type_ in wanted)
            raise EpochError(f"the custodians' key manifest has no epoch valid now for: {names}")
        return max(common)

    async def tokens(
        self,
        type: int,  # noqa: A002 - the contract's name
        values: Sequence[str],
        *,
        epoch: int | None = None,
        purpose: EvaluationPurpose.ValueType = EVALUATION_PURPOSE_TOKENISE,
        on_progress: Progress | None = None,
    ) -> list[Token]:
        """The tokens of raw identifiers of one type in order, in the newest valid epoch if none is given.

        Raises InvalidIdentifierError, EpochError, CustodianError, VerificationError.
        """
        if epoch is None:
            epoch = await self.epoch([type])
        manifest, roster = await self.manifest(), await self._rosters.roster()
        async with AsyncExitStack() as stack:
            channels = {
                name: await stack.enter_async_context(connection.channel())
                for name, connection in self._custodians.items()
            }
            client = TokenClient(roster, manifest, channels, cache=self._cache)
            return await client.tokens(
                IdentifierType.ValueType(type), epoch, values, purpose=purpose, on_progress=on_progress
            )
