"""Showing matches to the members they concern: one, a page, a stream, and the values set aside.

Invariants: a member is shown matches that it was told of, and no others; what looks otherwise than it was
last shown is on the log before it leaves; nothing is shown that isn't stored, nor while matching is at it.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from signalexchange.roster import Party
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.identifier_pb2 import SubjectToken
from signalexchange.v1.match_service_pb2 import (
    SET_ASIDE_REASON_DEGREE,
    SET_ASIDE_REASON_KNOWN_SHARED,
    GetMatchRequest,
    GetMatchResponse,
    ListMatchesRequest,
    ListMatchesResponse,
    ListSetAsideRequest,
    ListSetAsideResponse,
    MatchStatus,
    SetAsideValue,
    WatchMatchesRequest,
    WatchMatchesResponse,
)
from signalexchange.v1.match_service_pb2 import Match as MatchMessage

from exchange.domain.matching.view import Caller, view
from exchange.domain.refusal import Refusal, invalid
from exchange.domain.resume import ResumeTokens
from exchange.usecases.exchange import Exchange
from exchange.usecases.record_matches import Circle, Telling, consider
from exchange.usecases.watch import Feed, follow
from exchange.usecases.writer import Change, Proposal

MAX_PAGE: Final = 100
MAX_SET_ASIDE: Final = 1_000
ID_SIZE: Final = 16


async def get_match(exchange: Exchange, party: Party, request: GetMatchRequest) -> GetMatchResponse:
    """One match. Raises Refusal INVALID_REQUEST or MATCH_UNKNOWN."""
    if len(request.match_id) != ID_SIZE:
        raise invalid("match_id", "must have 16 bytes")
    number = (await exchange.store.matches_of(party.id, [request.match_id])).get(request.match_id)
    found = [] if number is None else await _shown(exchange, party, [(number, request.match_id)])
    if not found:
        raise Refusal(
            ErrorReason.ERROR_REASON_MATCH_UNKNOWN, "there is no match of that id that concerns the caller"
        )
    return GetMatchResponse(match=found[0])


async def list_matches(
    exchange: Exchange, tokens: ResumeTokens, party: Party, request: ListMatchesRequest
) -> ListMatchesResponse:
    """A page of matches, oldest first. Raises Refusal INVALID_REQUEST or RESUME_INVALID."""
    if not 1 <= request.page_size <= MAX_PAGE:
        raise invalid("page_size", f"must be 1 to {MAX_PAGE}")
    if request.status not in MatchStatus.values():
        raise invalid("status", "must be a status, or unspecified for all")
    after = tokens.open(party.id, request.page_token) if request.page_token else 0
    page = await exchange.store.matches_shown(party.id, after, request.page_size + 1, request.status)
    shown = await _shown(exchange, party, page[: request.page_size])
    if request.status:
        # One may have changed since it was stored.
        shown = [match for match in shown if match.status == request.status]
    more = len(page) > request.page_size
    return ListMatchesResponse(
        matches=shown,
        next_page_token=tokens.seal(party.id, page[request.page_size - 1][0]) if more else b"",
    )


async def watch_matches(
    exchange: Exchange, tokens: ResumeTokens, party: Party, request: WatchMatchesRequest
) -> AsyncIterator[WatchMatchesResponse]:
    """The stream of WatchMatches. Raises Refusal RESUME_INVALID or RESUME_TOO_OLD."""
    feed = Feed(exchange.store.match_events, exchange.store.match_event_bounds, tokens)
    async for token, stored in follow(exchange, feed, party, request.resume_token):
        if stored is None:
            yield WatchMatchesResponse(resume_token=token)
            continue
        for match in await _shown(exchange, party, [(stored.event.number, stored.match_id)]):
            yield WatchMatchesResponse(resume_token=token, match=match)


def list_set_aside(
    exchange: Exchange, tokens: ResumeTokens, party: Party, request: ListSetAsideRequest
) -> ListSetAsideResponse:
    """Values that the caller reported and that join nobody. Raises Refusal INVALID_REQUEST or
    RESUME_INVALID."""
    if not 1 <= request.page_size <= MAX_SET_ASIDE:
        raise invalid("page_size", f"must be 1 to {MAX_SET_ASIDE:,}")
    after = tokens.open(party.id, request.page_token).to_bytes(32, "big") if request.page_token else b""
    matching = exchange.matching
    found: list[SetAsideValue] = []
    for token in sorted(token for token in matching.aside if token > after):
        epoch = dict(matching.naming.members(token)).get(party.id)
        if epoch is None:
            continue
        if len(found) == request.page_size:
            last = int.from_bytes(found[-1].token.value, "big")
            return ListSetAsideResponse(values=found, next_page_token=tokens.seal(party.id, last))
        why = matching.aside[token]
        found.append(
            SetAsideValue(
                token=SubjectToken(type=why.type, epoch=epoch, value=token),  # type: ignore[arg-type]
                reason=SET_ASIDE_REASON_KNOWN_SHARED if why.known else SET_ASIDE_REASON_DEGREE,
                limit=why.limit,
            )
        )
    return ListSetAsideResponse(values=found)


async def _shown(exchange: Exchange, party: Party, wanted: Sequence[tuple[int, bytes]]) -> list[MatchMessage]:
    """The matches, by (number, id), as they are now; those that are gone are left out."""
    matching = exchange.matching
    async with matching.lock:
        matching.check_stored()
        matches = [matching.matcher.matches[id_] for _, id_ in wanted if id_ in matching.matcher.matches]
        if not matches:
            return []
        now = exchange.clock()
        circle = await Circle.read(exchange.membership, matching.naming, exchange.store, matches, now)
        tellings = []
        for match in matches:
            own = circle.submitted(match).get(party.id, {})
            asked = [(token, party.kind) for token in own]
            await consider(matching.matcher, match, asked, exchange.membership, now)
            caller = Caller(party.id, party.group, own.get)
            message = view(matching.matcher, match, caller, exchange.membership, now)
            tellings.append(Telling.of(party, match, message))
        before = {
            row.number: row.digest
            for row in await exchange.store.match_views([match.number for match in matches])
            if row.member == party.id
        }
        news = [each for each in tellings if before.get(each.match.number) != each.digest]
        if news:
            await exchange.writer.submit(Show(exchange, party, news))
    return [telling.message for telling in tellings]


class Show(Change[None]):
    """Matches that look otherwise than the member was last shown them; `lock` is held until it is done."""

    def __init__(self, exchange: Exchange, party: Party, tellings: Sequence[Telling]) -> None:
        self._exchange = exchange
        self._party = party
        self._tellings = tellings
        self.weight = len(tellings)

    def ids(self) -> frozenset[bytes]:
        """None: it shares its commit."""
        return frozenset()

    def decide(self, proposal: Proposal) -> tuple[None, None]:
        """Log the deliveries."""
        self._exchange.membership.standing(self._party.id)
        for telling in self._tellings:
            telling.log(proposal, event=False)
        return None, None
