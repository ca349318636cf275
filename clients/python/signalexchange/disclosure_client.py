"""Disclosures as a party takes part in them: an authority asks, fetches and acknowledges; a member reads what
it is asked for and decides.

Invariants: a request is journalled, byte for byte, before it is sent, so that the same inquiry asked again is
the same request; nothing of a request or a decision is believed before the officers' signatures were checked
against the roster; a package is handed out only if it is the one that two officers of the member signed.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from itertools import count

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from signalexchange.connection import (
    ACKNOWLEDGE_PACKAGE,
    DECIDE_DISCLOSURE,
    FETCH_PACKAGE,
    GET_DISCLOSURE,
    LIST_DISCLOSURES,
    REQUEST_DISCLOSURE,
    TIMEOUT,
    WATCH_DISCLOSURES,
    WITHDRAW_DISCLOSURE,
    Connection,
)
from signalexchange.credentials import Sign
from signalexchange.disclosures import (
    open_decision,
    open_package,
    open_scope,
    open_statement,
    parse_statement,
    seal_scope,
    sign_request,
    sign_statement,
)
from signalexchange.errors import ConfigError, RefusedError, VerificationError
from signalexchange.journal import Journal
from signalexchange.log_client import LogClient
from signalexchange.roster import Roster
from signalexchange.roster_client import RosterClient
from signalexchange.v1.disclosure_service_pb2 import (
    AcknowledgePackageRequest,
    DecideDisclosureRequest,
    Disclosure,
    DisclosureDecisionStatement,
    DisclosureReceiptStatement,
    DisclosureRequestStatement,
    DisclosureWithdrawalStatement,
    FetchPackageRequest,
    GetDisclosureRequest,
    Instrument,
    ListDisclosuresRequest,
    RequestDisclosureRequest,
    RequestDisclosureResponse,
    WatchDisclosuresRequest,
    WithdrawDisclosureRequest,
)
from signalexchange.v1.identifier_pb2 import Receipt
from signalexchange.watch import resumed

PAGE = 100
LONG = 60.0
"""Seconds that a package may take."""
# Reasons that tell that the request never was accepted and would be refused again.
FOR_GOOD = frozenset({"INVALID_REQUEST", "MALFORMED", "SIGNATURE_INVALID", "WRONG_MEMBER"})
HpkeKeys = Mapping[str, Callable[[], X25519PrivateKey]]
"""By their ids on the roster: what loads the party's private keys."""


@dataclass(frozen=True, slots=True)
class Officer:
    """Who signs: the id of an officer's key on the roster, and what signs with it."""

    key_id: str
    sign: Sign


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to a member: its ids, and where its entry stands in the log."""

    member: str
    request_id: bytes
    inquiry_id: bytes
    index: int
    repeated: bool


@dataclass(frozen=True, slots=True)
class DisclosureNews:
    """A disclosure that took a step; `resume_token` resumes after it."""

    resume_token: bytes
    disclosure: Disclosure


class DisclosureClient:
    """The disclosures of a party; `journal` gives its journal or raises ConfigError, `clock` Unix seconds.

    Methods raise RefusedError for what the hub refuses or where it can't be reached, VerificationError and
    MalformedError for what can't be believed. `timeout` (seconds) bounds each call.
    """

    def __init__(
        self,
        hub: Connection,
        log: LogClient,
        roster: RosterClient,
        party: str,
        journal: Callable[[], Journal],
        clock: Callable[[], int],
    ) -> None:
        self._hub = hub
        self._log = log
        self._roster = roster
        self._party = party
        self._journal = journal
        self._clock = clock

    async def request(
        self,
        members: Sequence[str],
        *,
        instrument: Instrument.ValueType,
        reference: str,
        issued_at: int,
        deadline: int,
        scope: bytes,
        officer: Officer,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> list[Asked]:
        """Ask members for the same under one instrument: one inquiry, a request to each, its scope sealed to
        it.

        The same instrument, reference and scope are the same inquiry; a member that was asked before, and
        where that has not ended, is sent the very same request. Raises ConfigError for a member or a key that
        the roster doesn't have.
        """
        roster = await self._roster.roster()
        journal = self._journal()
        inquiry = [b"inquiry", bytes([instrument]), reference.encode(), scope]
        inquiry_id = journal.batch_id(inquiry)
        own_key = roster.hpke_key(self._party, self._clock())
        if own_key is None:
            raise ConfigError("the roster lists no HPKE key of this party valid now")
        asked = []
        for member in dict.fromkeys(members):
            for number in count():
                request_id = journal.batch_id([*inquiry, member.encode(), number.to_bytes(4, "big")])
                name = f"disclosure request {request_id.hex()}"
                kept = await asyncio.to_thread(journal.state, name)
                if kept is None:
                    statement = DisclosureRequestStatement(
                        origin=roster.origin,
                        requester=self._party,
                        key_id=officer.key_id,
                        request_id=request_id,
                        inquiry_id=inquiry_id,
                        member=member,
                        instrument=instrument,
                        reference=reference,
                        issued_at=issued_at,
                        deadline=deadline,
                        package_key_id=own_key.id,
                    )
                    kept = self._seal_and_sign(roster, statement, scope, officer).SerializeToString()
                    await asyncio.to_thread(journal.set_state, name, kept)
                answer = await self._send(kept, name, timeout)
                if not answer.repeated_request or not (await self.get(request_id))[0].ended_at:
                    break  # one that has ended is asked anew
            asked.append(Asked(member, request_id, inquiry_id, answer.receipt.index, answer.repeated_request))
        return asked

    def _seal_and_sign(
        self, roster: Roster, statement: DisclosureRequestStatement, scope: bytes, officer: Officer
    ) -> RequestDisclosureRequest:
        key = roster.hpke_key(statement.member, self._clock())
        if key is None:
            raise ConfigError(f"the roster lists no member {statement.member!r} with an HPKE key valid now")
        self._check_officer(roster, officer)
        statement.scope_key_id = key.id
        sealed = seal_scope(scope, key.public_key, statement)
        statement.scope_digest = sha256(sealed).digest()
        return RequestDisclosureRequest(request=sign_request(statement, officer.sign), scope=sealed)

    async def _send(self, kept: bytes, name: str, timeout: float) -> RequestDisclosureResponse:  # noqa: ASYNC109
        try:
            answer = await self._hub.call(
                REQUEST_DISCLOSURE, RequestDisclosureRequest.FromString(kept), timeout
            )
        except RefusedError as error:
            if error.reason in FOR_GOOD:
                await asyncio.to_thread(self._journal().drop_state, name)
            raise
        await self._log.accept_receipt(answer.receipt)
        return answer

    async def get(
        self,
        request_id: bytes,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> tuple[Disclosure, bytes]:
        """One disclosure, and its sealed scope until it has ended. Raises RefusedError DISCLOSURE_UNKNOWN."""
        answer = await self._hub.call(GET_DISCLOSURE, GetDisclosureRequest(request_id=request_id), timeout)
        statement = await self.check(answer.disclosure)
        if statement.request_id != request_id:
            raise VerificationError("the hub answered about another request than the one asked for")
        return answer.disclosure, answer.scope

    async def all(
        self,
        *,
        unfinished: bool = False,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> AsyncGenerator[Disclosure, None]:
        """All disclosures of the party, or those that have not ended, oldest first, fetched page by page."""
        token = b""
        while True:
            request = ListDisclosuresRequest(page_size=PAGE, page_token=token, unfinished=unfinished)
            answer = await self._hub.call(LIST_DISCLOSURES, request, timeout)
            for disclosure in answer.disclosures:
                await self.check(disclosure)
                yield disclosure
            token = answer.next_page_token
            if not token:
                return

    async def watch(self, *, from_now: bool = False) -> AsyncGenerator[DisclosureNews, None]:
        """Disclosures that took a step, for ever, from where the last watch of this journal stopped, or
        `from_now` on. See `signalexchange.watch`."""
        name = f"resume disclosures {(await self._roster.roster()).origin}"
        journal = self._journal()
        stream = resumed(
            self._hub, WATCH_DISCLOSURES, WatchDisclosuresRequest, journal, name, from_now=from_now
        )
        async with aclosing(stream) as answers:
            async for answer in answers:
                if answer.HasField("disclosure"):
                    await self.check(answer.disclosure)
                    yield DisclosureNews(answer.resume_token, answer.disclosure)

    async def handled(self, news: DisclosureNews) -> None:
        """Note that a disclosure was handled, where the reader of `watch` does not ask for the next one."""
        name = f"resume disclosures {(await self._roster.roster()).origin}"
        await asyncio.to_thread(self._journal().set_state, name, news.resume_token)

    async def check(self, disclosure: Disclosure) -> DisclosureRequestStatement:
        """The request of a disclosure, once the officers' signatures on it and on the decision held."""
        signed = disclosure.request
        statement = parse_statement(DisclosureRequestStatement, signed.statement)
        roster = await self._roster.roster()
        if statement.origin != roster.origin or self._party not in (statement.requester, statement.member):
            raise VerificationError("the disclosure is of another log, or concerns others")
        key = roster.officer_key(statement.requester, statement.key_id, disclosure.requested_at)
        if key is None:
            raise VerificationError("the request is signed with a key that the roster gives no officer")
        open_statement(DisclosureRequestStatement, signed.statement, signed.signature, key.public_key)
        if disclosure.HasField("decision"):
            decision = open_decision(
                disclosure.decision,
                lambda key_id: roster.officer_key(statement.member, key_id, disclosure.decided_at),
            )
            if (decision.member, decision.request_digest) != (
                statement.member,
                sha256(signed.statement).digest(),
            ):
                raise VerificationError("the decision is on another request")
        return statement

    async def scope(self, request_id: bytes, keys: HpkeKeys) -> bytes:
        """What a member is asked for. Raises ConfigError where the disclosure has ended or the key is not
        configured."""
        disclosure, sealed = await self.get(request_id)
        statement = parse_statement(DisclosureRequestStatement, disclosure.request.statement)
        if not sealed:
            raise ConfigError("the disclosure has ended and its scope is gone from the hub")
        return open_scope(sealed, _key(keys, statement.scope_key_id), statement)

    async def decide(self, request: DecideDisclosureRequest, *, timeout: float = LONG) -> Receipt:  # noqa: ASYNC109
        """Send a decision that two officers signed, and its package."""
        answer = await self._hub.call(DECIDE_DISCLOSURE, request, timeout)
        await self._log.accept_receipt(answer.receipt)
        return answer.receipt

    async def fetch(
        self,
        request_id: bytes,
        keys: HpkeKeys,
        *,
        timeout: float = LONG,  # noqa: ASYNC109
    ) -> tuple[Disclosure, bytes]:
        """A released package, opened. Whether its contents verify is for `package_verify`."""
        answer = await self._hub.call(FETCH_PACKAGE, FetchPackageRequest(request_id=request_id), timeout)
        disclosure, _ = await self.get(request_id)
        if disclosure.decision != answer.decision:
            raise VerificationError("the package came with another decision")
        statement = parse_statement(DisclosureRequestStatement, disclosure.request.statement)
        decision = parse_statement(DisclosureDecisionStatement, answer.decision.statement)
        key = await asyncio.to_thread(_key, keys, statement.package_key_id)
        package = await asyncio.to_thread(
            open_package, answer.package, key, disclosure.request.statement, decision
        )
        return disclosure, package

    async def acknowledge(
        self,
        disclosure: Disclosure,
        officer: Officer,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> Receipt:
        """Sign that a package was received; the hub then forgets it."""
        roster = await self._roster.roster()
        decision = parse_statement(DisclosureDecisionStatement, disclosure.decision.statement)
        self._check_officer(roster, officer)
        statement, signature = sign_statement(
            DisclosureReceiptStatement(
                origin=roster.origin,
                requester=self._party,
                key_id=officer.key_id,
                request_id=decision.request_id,
                decision_digest=sha256(disclosure.decision.statement).digest(),
                package_digest=decision.package_digest,
            ),
            officer.sign,
        )
        request = AcknowledgePackageRequest(statement=statement, signature=signature)
        answer = await self._hub.call(ACKNOWLEDGE_PACKAGE, request, timeout)
        await self._log.accept_receipt(answer.receipt)
        return answer.receipt

    async def withdraw(
        self,
        request_id: bytes,
        officer: Officer,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> Receipt:
        """Take a request back."""
        roster = await self._roster.roster()
        self._check_officer(roster, officer)
        statement, signature = sign_statement(
            DisclosureWithdrawalStatement(
                origin=roster.origin, requester=self._party, key_id=officer.key_id, request_id=request_id
            ),
            officer.sign,
        )
        request = WithdrawDisclosureRequest(statement=statement, signature=signature)
        answer = await self._hub.call(WITHDRAW_DISCLOSURE, request, timeout)
        await self._log.accept_receipt(answer.receipt)
        return answer.receipt

    def _check_officer(self, roster: Roster, officer: Officer) -> None:
        if roster.officer_key(self._party, officer.key_id, self._clock()) is None:
            raise ConfigError(f"the roster lists no officer's key {officer.key_id!r} of this party valid now")


def _key(keys: HpkeKeys, key_id: str) -> X25519PrivateKey:
    if key_id not in keys:
        raise ConfigError(f"this needs the HPKE key {key_id!r}; add it to [hpke] in the configuration")
    return keys[key_id]()
