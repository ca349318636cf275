"""The roster: installing a version that the quorum signed, suspending a party at once, telling who takes
part.

Invariants: a version is in force only once it is on the log; it extends the chain by `RosterChain`'s rules,
keeps the hub's own log key, and comes with the rulebook whose digest it names; a suspension is lifted by a
version that reinstates the party, by nothing else.
"""

from typing import Final

from signalexchange.errors import ConfigError, ExchangeError, MalformedError, VerificationError
from signalexchange.roster import Party, Roster, RosterChain
from signalexchange.rulebook import Rulebook
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.identifier_pb2 import Receipt
from signalexchange.v1.log_entry_pb2 import EntryType, RosterEntry, SuspensionEntry
from signalexchange.v1.membership_service_pb2 import (
    GetRosterRequest,
    GetRosterResponse,
    ProposeRosterVersionRequest,
    ProposeRosterVersionResponse,
    RosterVersion,
    SuspendMemberRequest,
    SuspendMemberResponse,
    Suspension,
)

from exchange.domain.membership import Membership
from exchange.domain.records import RosterRow, SuspensionRow
from exchange.domain.refusal import Refusal, invalid
from exchange.domain.store import Store
from exchange.usecases.exchange import Exchange
from exchange.usecases.writer import Change, Proposal, Writer

PAGE: Final = 100
PAGE_BYTES: Final = 4 << 20
"""Notes in an answer, but for the last: one has at most 1 MiB, and an answer must fit a message of 8."""
MAX_REASON: Final = 500


async def load(store: Store) -> Membership | None:
    """The membership as last committed; None in an empty database. Raises ConfigError where it doesn't
    verify."""
    rows = await store.rosters()
    if not rows:
        return None
    try:
        chain = RosterChain.start(rows[0].note)
        for row in rows[1:]:
            chain = chain.extend(row.note)
    except ExchangeError as error:
        raise ConfigError(f"the stored roster chain does not verify: {error}") from None
    try:
        rulebook = Rulebook.parse(rows[-1].rulebook.decode())
    except (ExchangeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the stored rulebook is none that this version of the program knows: {error}; go on with the "
            "version that wrote it, or begin a new log"
        ) from None
    suspended = {row.member: row.entry for row in await store.suspensions()}
    return Membership(chain, rulebook, tuple(row.entry for row in rows), suspended)


class Found(Change[Membership]):
    """The first entry of the log: the genesis roster."""

    def __init__(self, chain: RosterChain, rulebook: Rulebook) -> None:
        self._chain = chain
        self._rulebook = rulebook

    def decide(self, proposal: Proposal) -> tuple[Membership, None]:
        """Write version 1."""
        note = self._chain.versions[0][0]
        index = _log_version(proposal, self._chain.current, note, self._rulebook.text().encode(), "")
        return Membership(self._chain, self._rulebook, (index,)), None


async def found(writer: Writer, chain: RosterChain, rulebook: Rulebook) -> Membership:
    """Begin the log with the genesis roster."""
    return await writer.submit(Found(chain, rulebook))


def check_rulebook(roster: Roster, text: bytes) -> Rulebook:
    """The rulebook that a roster names. Raises MalformedError or VerificationError."""
    try:
        rulebook = Rulebook.parse(text.decode())
    except UnicodeDecodeError:
        raise MalformedError("rulebook: not UTF-8") from None
    if rulebook.digest() != roster.rulebook_sha256:
        raise VerificationError("rulebook: not the one whose SHA-256 the roster names")
    return rulebook


def get_roster(exchange: Exchange, request: GetRosterRequest) -> GetRosterResponse:
    """Versions from the one wanted on, at most 100 and as many as fit a message.

    Raises Refusal INVALID_REQUEST.
    """
    if request.from_version < 1:
        raise invalid("from_version", "must be at least 1")
    membership = exchange.membership
    first = request.from_version - 1
    versions: list[RosterVersion] = []
    size = 0
    for (note, _), index in zip(
        membership.chain.versions[first : first + PAGE],
        membership.entries[first : first + PAGE],
        strict=True,
    ):
        versions.append(RosterVersion(note=note, index=index))
        size += len(note)
        if size >= PAGE_BYTES:
            break
    return GetRosterResponse(
        versions=versions,
        rulebook=membership.rulebook_text,
        suspensions=[Suspension(member=m, index=index) for m, index in sorted(membership.suspended.items())],
    )


async def propose(
    exchange: Exchange, party: Party, request: ProposeRosterVersionRequest
) -> ProposeRosterVersionResponse:
    """Install a version. Raises Refusal ROSTER_REFUSED."""
    return await exchange.writer.submit(Propose(exchange, party, request))


class Propose(Change[ProposeRosterVersionResponse]):
    """A proposed version."""

    def __init__(self, exchange: Exchange, party: Party, request: ProposeRosterVersionRequest) -> None:
        self._exchange = exchange
        self._party = party
        self._request = request
        self._next: Membership | None = None
        self._learned = exchange.learning.learned
        self._time = 0

    def decide(self, proposal: Proposal) -> tuple[ProposeRosterVersionResponse, Receipt]:
        """Check the chain, the hub's own key and the rulebook; log the version."""
        membership = self._exchange.membership
        membership.standing(self._party.id)
        note = self._request.note
        if note == membership.chain.versions[-1][0]:
            response = ProposeRosterVersionResponse(receipt=Receipt(index=membership.entries[-1]))
            return response, response.receipt
        try:
            chain = membership.chain.extend(note)
            if chain.current.log_key != membership.roster.log_key:
                raise VerificationError("log_key: not the key of this log")
            text = self._request.rulebook or membership.rulebook_text
            rulebook = check_rulebook(chain.current, text)
        except (MalformedError, VerificationError) as error:
            raise Refusal(ErrorReason.ERROR_REASON_ROSTER_REFUSED, str(error)) from None
        index = _log_version(proposal, chain.current, note, text, self._party.id)
        lifted = [member for member in chain.current.reinstates if member in membership.suspended]
        proposal.delta.reinstated.extend(lifted)
        self._next = Membership(
            chain,
            rulebook,
            (*membership.entries, index),
            {m: entry for m, entry in membership.suspended.items() if m not in lifted},
        )
        self._learned = self._exchange.learning.propose(proposal, membership=self._next)
        self._time = proposal.now
        response = ProposeRosterVersionResponse(receipt=Receipt(index=index))
        return response, response.receipt

    def applied(self) -> None:
        """Put the version in force."""
        if self._next is not None:
            self._exchange.install(self._next, self._learned, self._next.entries[-1], self._time)


def _log_version(proposal: Proposal, roster: Roster, note: bytes, rulebook: bytes, proposer: str) -> int:
    payload = RosterEntry(note=note).SerializeToString()
    index = proposal.log(EntryType.ENTRY_TYPE_ROSTER, proposer, payload)
    proposal.delta.rosters.append(RosterRow(roster.version, note, rulebook, index))
    return index


async def suspend(exchange: Exchange, party: Party, request: SuspendMemberRequest) -> SuspendMemberResponse:
    """Shut a party out. Raises Refusal INVALID_REQUEST."""
    if len(request.reason) > MAX_REASON:
        raise invalid("reason", f"must have at most {MAX_REASON} characters")
    return await exchange.writer.submit(Suspend(exchange, party, request))


class Suspend(Change[SuspendMemberResponse]):
    """The operator's order to shut a party out."""

    def __init__(self, exchange: Exchange, party: Party, request: SuspendMemberRequest) -> None:
        self._exchange = exchange
        self._party = party
        self._request = request
        self._next: Membership | None = None
        self._learned = exchange.learning.learned
        self._time = 0

    def decide(self, proposal: Proposal) -> tuple[SuspendMemberResponse, Receipt]:
        """Log the suspension, unless the party is shut out already."""
        membership = self._exchange.membership
        membership.standing(self._party.id)
        member = self._request.member
        if membership.roster.party(member) is None:
            raise invalid("member", "is not a party of the roster")
        if member == self._party.id:
            raise invalid("member", "must not be the operator's own")
        index = membership.suspended.get(member)
        if index is None:
            payload = SuspensionEntry(member=member, reason=self._request.reason).SerializeToString()
            index = proposal.log(EntryType.ENTRY_TYPE_SUSPENSION, member, payload)
            proposal.delta.suspensions.append(SuspensionRow(member, index))
            self._next = Membership(
                membership.chain,
                membership.rulebook,
                membership.entries,
                {**membership.suspended, member: index},
            )
            self._learned = self._exchange.learning.propose(proposal, membership=self._next)
        self._time = proposal.now
        response = SuspendMemberResponse(receipt=Receipt(index=index))
        return response, response.receipt

    def applied(self) -> None:
        """Put it in force."""
        if self._next is not None:
            entry = self._next.suspended[self._request.member]
            self._exchange.install(self._next, self._learned, entry, self._time)
