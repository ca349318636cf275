"""The exchange as a member or an auditor uses it: one object over the hub, the custodians, the log and the
journal.

Invariants: nothing the hub says about members, rules or the log is used before it was verified from the trust
anchor on; every call has a deadline; an answer holds only what was asked for. To be used on one event loop.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from signalexchange.case_client import CaseClient
from signalexchange.config import MemberConfig
from signalexchange.connection import LOOK_UP, RELIABILITY, SUBSCRIBE, TIMEOUT, UNSUBSCRIBE, Connection
from signalexchange.corrections import Corrections
from signalexchange.credentials import Sign, TlsFiles, load_signing_key, read_file
from signalexchange.disclosure_client import DisclosureClient
from signalexchange.errors import ConfigError, RefusedError, VerificationError
from signalexchange.journal import Journal
from signalexchange.log_client import LogClient
from signalexchange.match_client import MatchClient
from signalexchange.notice_client import NoticeClient
from signalexchange.publisher import Identity, Publisher
from signalexchange.roster_client import RosterClient
from signalexchange.sending import Acknowledged, Sender
from signalexchange.signals import SignalDraft
from signalexchange.token_cache import TokenCache
from signalexchange.token_client import Progress
from signalexchange.token_source import TokenSource
from signalexchange.tokens import TOKEN_SIZE, Token
from signalexchange.v1.identifier_pb2 import IdentifierType, SubjectToken
from signalexchange.v1.outcome_service_pb2 import GetReliabilityRequest, GetReliabilityResponse, Outcome
from signalexchange.v1.signal_pb2 import WithdrawalReason
from signalexchange.v1.signal_service_pb2 import (
    LookUpSubjectsRequest,
    SubjectRisk,
    SubscribeRequest,
    UnsubscribeRequest,
)
from signalexchange.v1.token_service_pb2 import EVALUATION_PURPOSE_TOKENISE, EvaluationPurpose
from signalexchange.watch import WatchEvent, state_name, watch

MAX_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """What others know about one subject: `risk` is None if nothing.

    `index` is where the look-up's access record stands in the log, `access_salt` what its digests were salted
    with, which the hub doesn't keep; `model_version` names the scoring model.
    """

    token: SubjectToken
    risk: SubjectRisk | None
    index: int
    access_salt: bytes
    model_version: str


class ExchangeClient:
    """A party's client; an asynchronous context manager. `roster`, `log`, `custodians`, `matches`,
    `notices`, `cases` and `disclosures` are its parts.

    Methods raise RefusedError for what the hub refuses or where it can't be reached (status UNAVAILABLE or
    DEADLINE_EXCEEDED), VerificationError and MalformedError for what can't be believed.
    """

    def __init__(
        self,
        *,
        member: str,
        hub: str,
        tls: TlsFiles,
        genesis: bytes,
        custodians: Mapping[str, str] | None = None,
        server_name: str | None = None,
        signing_key: tuple[str, Sign] | None = None,
        officers: Mapping[str, Sign] | None = None,
        journal: Journal | None = None,
        token_cache: TokenCache | None = None,
        clock: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        """Load credentials; nothing is sent yet.

        `hub` and the values of `custodians` are host:port; `signing_key` is the key's id on the roster and
        what signs with it, an HSM's client for instance, and `officers` maps the ids of officers' keys to
        what signs with them; `clock` gives Unix seconds. Raises ConfigError, and MalformedError or
        VerificationError for a `genesis` note that is no roster.
        """
        self.member = member
        self._clock = clock
        self._journal = journal
        self._cache = token_cache if token_cache is not None else TokenCache()
        self._hub = Connection(hub, tls, server_name=server_name)
        self._custodians = {name: Connection(target, tls) for name, target in (custodians or {}).items()}
        self.roster = RosterClient(self._hub, genesis, journal)
        self.log = LogClient(self._hub, self.roster, journal)
        self.custodians = TokenSource(self._custodians, self.roster, self._cache, clock)
        self.matches = MatchClient(self._hub, self.roster, lambda: self.journal)
        self.cases = CaseClient(
            self._hub,
            self.log,
            self.roster,
            member,
            officers or {},
            lambda: self.journal,
            lambda: self.publisher,
            clock,
        )
        self.notices = NoticeClient(self._hub)
        self.disclosures = DisclosureClient(
            self._hub, self.log, self.roster, member, lambda: self.journal, clock
        )
        self._publisher: Publisher | None = None
        self._corrections: Corrections | None = None
        if signing_key is not None and journal is not None:
            identity = Identity(member, *signing_key)
            sender = Sender(self._hub, self.log, journal)
            self._publisher = Publisher(sender, self.roster, journal, identity)
            self._corrections = Corrections(self._hub, self.log, self.roster, journal, identity, clock)

    @classmethod
    def from_config(cls, config: MemberConfig, *, sign: Sign | None = None) -> Self:
        """The client of a configuration; `sign` takes the place of the signing key's file. Raises
        ConfigError.
        """
        signing_key = None
        if config.signing is not None:
            signing_key = (config.signing.key_id, sign or load_signing_key(config.signing.key))
        cache = config.token_cache
        return cls(
            member=config.member,
            hub=config.hub.target,
            tls=config.tls.files,
            genesis=read_file(config.trust.genesis, "trust anchor"),
            custodians=config.custodians,
            server_name=config.hub.server_name,
            signing_key=signing_key,
            officers={key_id: partial(_sign_with, path) for key_id, path in config.officers.items()},
            journal=Journal(config.journal.path, config.journal.key) if config.journal is not None else None,
            token_cache=TokenCache.open(cache.path, cache.key, cache.size)
            if cache.path is not None and cache.key is not None
            else TokenCache(cache.size),
            clock=config.now,
        )

    def now(self) -> int:
        """Unix seconds, by the client's clock."""
        return self._clock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close connections and journal, write the token cache's file."""
        try:
            if self._corrections is not None:
                await self._corrections.close()
            for connection in (self._hub, *self._custodians.values()):
                await connection.close()
            await self.log.close()
            await asyncio.to_thread(self._cache.save)
        finally:
            if self._journal is not None:
                self._journal.close()

    @property
    def journal(self) -> Journal:
        """The journal; raises ConfigError where none is configured."""
        if self._journal is None:
            raise ConfigError("this needs a journal; add [journal] to the configuration")
        return self._journal

    @property
    def publisher(self) -> Publisher:
        """What signs and sends; raises ConfigError where signing key or journal are not configured."""
        if self._publisher is None:
            raise ConfigError("this needs a signing key and a journal; add [signing] and [journal]")
        return self._publisher

    async def tokens(
        self,
        type: int,  # noqa: A002 - the contract's name
        values: Sequence[str],
        *,
        epoch: int | None = None,
        purpose: EvaluationPurpose.ValueType = EVALUATION_PURPOSE_TOKENISE,
        on_progress: Progress | None = None,
    ) -> list[Token]:
        """The tokens of raw identifiers of one type, in order; see `TokenSource.tokens`."""
        return await self.custodians.tokens(
            type, values, epoch=epoch, purpose=purpose, on_progress=on_progress
        )

    async def publish(
        self,
        drafts: Sequence[SignalDraft],
        *,
        now: int | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> Acknowledged:
        """Publish 1 to 1,000 drafts as one batch; the same drafts again are the same batch.

        `now` (Unix seconds) stands in for the clock, as in a replay. See `Publisher.publish`.
        """
        at = self._clock() if now is None else now
        return await self.publisher.publish(drafts, self.custodians, at, timeout)

    async def withdraw(
        self,
        signal_ids: Iterable[bytes],
        reason: WithdrawalReason.ValueType,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> Acknowledged:
        """Withdraw 1 to 1,000 signals of the member's own. See `Publisher.withdraw`."""
        return await self.publisher.withdraw(signal_ids, reason, self._clock(), timeout)

    async def report_outcomes(
        self,
        outcomes: Iterable[Outcome],
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> Acknowledged:
        """Report 1 to 1,000 outcomes of signals or matches. See `Publisher.report`."""
        return await self.publisher.report(outcomes, self._clock(), timeout)

    async def reliability(
        self,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> GetReliabilityResponse:
        """What outcomes say of the member's own group as issuer, and of each code and pattern."""
        return await self._hub.call(RELIABILITY, GetReliabilityRequest(), timeout)

    async def resume_pending(self, *, timeout: float = TIMEOUT) -> list[Acknowledged | RefusedError]:  # noqa: ASYNC109
        """Send again what a crash or a lost answer left undecided, and acknowledge corrections that were
        handled.

        See `Sender.resume_pending`.
        """
        done = await Sender(self._hub, self.log, self.journal).resume_pending(timeout)
        if self._corrections is not None:
            await self._corrections.acknowledge(timeout)
        return done

    async def look_up(
        self,
        purpose: str,
        tokens: Sequence[Token | SubjectToken],
        *,
        on_progress: Progress | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> list[Answer]:
        """What other members know about subjects, in the order of `tokens`, misses included.

        Equal tokens are asked about once, in calls of at most 1,000 of one type and epoch. `timeout` bounds
        each call.
        """
        answers: dict[tuple[int, int, bytes], Answer] = {}
        done, total = 0, len({_key(token) for token in tokens})
        for type_, epoch, values in _batches(tokens):
            request = LookUpSubjectsRequest(purpose=purpose, type=type_, epoch=epoch, tokens=values)
            response = await self._hub.call(LOOK_UP, request, timeout)
            await self.log.accept_receipt(response.receipt)
            risks = {risk.token: risk for risk in response.subjects}
            if len(risks) != len(response.subjects) or not risks.keys() <= set(values):
                raise VerificationError("the hub answered about other subjects than those asked about")
            for value in values:
                token = SubjectToken(type=type_, epoch=epoch, value=value)
                answers[type_, epoch, value] = Answer(
                    token,
                    risks.get(value),
                    response.receipt.index,
                    response.access_salt,
                    response.model_version,
                )
            done += len(values)
            if on_progress is not None:
                on_progress(done, total)
        return [answers[_key(token)] for token in tokens]

    async def subscribe(
        self,
        purpose: str,
        tokens: Sequence[Token | SubjectToken],
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> int:
        """Ask to be told of new signals about subjects; returns when the first subscription ends (Unix
        seconds).
        """
        ends = []
        for type_, epoch, values in _batches(tokens):
            request = SubscribeRequest(purpose=purpose, type=type_, epoch=epoch, tokens=values)
            response = await self._hub.call(SUBSCRIBE, request, timeout)
            await self.log.accept_receipt(response.receipt)
            ends.append(response.expires_at)
        return min(ends, default=0)

    async def unsubscribe(
        self,
        tokens: Sequence[Token | SubjectToken],
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> int:
        """End subscriptions; returns how many there were."""
        removed = 0
        for type_, epoch, values in _batches(tokens):
            request = UnsubscribeRequest(type=type_, epoch=epoch, tokens=values)
            removed += (await self._hub.call(UNSUBSCRIBE, request, timeout)).removed
        return removed

    async def watch(self, *, from_now: bool = False) -> AsyncGenerator[WatchEvent, None]:
        """Events from where the last watch stopped, or `from_now` on. See `signalexchange.watch`.

        A correction is acknowledged, soon after and with others, once its event was handled.
        """
        origin = (await self.roster.roster()).origin
        async with aclosing(watch(self._hub, self.journal, origin, from_now=from_now)) as events:
            async for event in events:
                yield event
                if event.correction is not None and self._corrections is not None:
                    await self._corrections.handled(event.correction)

    async def handled(self, event: WatchEvent) -> None:
        """Note that an event was handled, where the reader of `watch` does not ask for the next one, and
        acknowledge every correction handled so far."""
        if event.correction is not None and self._corrections is not None:
            await self._corrections.handled(event.correction)
            await self._corrections.acknowledge()
        name = state_name((await self.roster.roster()).origin)
        await asyncio.to_thread(self.journal.set_state, name, event.resume_token)


def _sign_with(path: Path, message: bytes) -> bytes:
    """Sign with an officer's key, which is read when it is needed: it may be on that officer's machine
    alone."""
    return load_signing_key(path)(message)


def _key(token: Token | SubjectToken) -> tuple[int, int, bytes]:
    if len(token.value) != TOKEN_SIZE:
        raise ConfigError(f"a token has {TOKEN_SIZE} bytes")
    return token.type, token.epoch, token.value


def _batches(
    tokens: Iterable[Token | SubjectToken],
) -> Iterable[tuple[IdentifierType.ValueType, int, list[bytes]]]:
    """Distinct tokens by type and epoch, ascending, at most 1,000 at a time."""
    groups: dict[tuple[int, int], list[bytes]] = {}
    for type_, epoch, value in sorted({_key(token) for token in tokens}):
        groups.setdefault((type_, epoch), []).append(value)
    for (type_, epoch), values in groups.items():
        for start in range(0, len(values), MAX_BATCH):
            yield IdentifierType.ValueType(type_), epoch, values[start : start + MAX_BATCH]
