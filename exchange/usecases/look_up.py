"""Looking up subjects: what other groups say about tokens, scored, with its access record on the log first.

Invariants: the caller's own group is left out, of matches too; a signal counts only within its audience, and
that of the link it is found through, and where the purpose shows its code; a match where the purpose shows
its pattern; the answer names no issuer and no signal; hits are recorded, misses neither stored nor logged.
"""

import asyncio
import os
from collections.abc import Sequence
from hashlib import sha256
from typing import ClassVar, Final, NamedTuple, Self

from signalexchange.roster import Party
from signalexchange.rulebook import Purpose
from signalexchange.v1.identifier_pb2 import Receipt
from signalexchange.v1.log_entry_pb2 import ENTRY_TYPE_LOOK_UP, AccessEntry, SignalPosition
from signalexchange.v1.signal_pb2 import TLP_AMBER_STRICT
from signalexchange.v1.signal_service_pb2 import (
    LookUpSubjectsRequest,
    LookUpSubjectsResponse,
    SubjectRisk,
    SubscribeRequest,
)

from exchange.domain.matching.advice import matched
from exchange.domain.matching.confidence import NAMES
from exchange.domain.membership import Membership
from exchange.domain.records import Hit, ShownToken
from exchange.domain.scoring import DAY, Matched, assess
from exchange.domain.store import Store
from exchange.domain.validation import allowed_purpose, check_tokens, check_type_and_epoch
from exchange.domain.visible import visible
from exchange.usecases.exchange import Exchange
from exchange.usecases.matching import Progress
from exchange.usecases.writer import Change, Proposal

SALT_SIZE: Final = 16
ATTEMPTS: Final = 2
"""How often matches are read to catch matching at rest."""


class Matches(NamedTuple):
    """By token: the matches that count in an answer; and where matching stood when they were read, None where
    it moved on meanwhile."""

    by_token: dict[bytes, list[Matched]]
    progress: Progress | None = None
    membership: Membership | None = None
    learned: int = 0


async def look_up(exchange: Exchange, party: Party, request: LookUpSubjectsRequest) -> LookUpSubjectsResponse:
    """Answer a look-up. Raises Refusal as the contract says."""
    purpose = check_asking(exchange, party, request)
    matches = await _matches(exchange, party, request, purpose)
    return await exchange.writer.submit(LookUp(exchange, party, request, matches))


async def _matches(
    exchange: Exchange, party: Party, request: LookUpSubjectsRequest, purpose: Purpose
) -> Matches:
    """The matches that count. Worked out before the look-up is queued: a match of hundreds takes long, and
    others would wait for it in the writer."""
    matching, now = exchange.matching, exchange.clock()
    matcher = matching.matcher
    named = [token for token in request.tokens if token in matcher.named]
    if not named:
        return Matches({})
    found: dict[bytes, list[Matched]] = {}
    for _ in range(ATTEMPTS):
        before, membership, learned = matching.progress, exchange.membership, exchange.learning.learned
        for token in named:
            counted = (
                matched(matcher, match, token, party.group, TLP_AMBER_STRICT, now)
                for match in matcher.of(token)
                if NAMES[match.pattern] in purpose.patterns
                and any((each.token, each.type) == (token, request.type) for each in match.subjects)
            )
            found[token] = [match for match in counted if match is not None]
            await asyncio.sleep(0)
        # What was worked out is kept: once more costs little.
        same = (before, membership, learned) == (
            matching.progress,
            exchange.membership,
            exchange.learning.learned,
        )
        if same and before is not None:
            return Matches(found, matching.reach(before), membership, learned.version)
    return Matches(found)


def check_asking(
    exchange: Exchange, party: Party, request: LookUpSubjectsRequest | SubscribeRequest
) -> Purpose:
    """The rule of the purpose named. Raises Refusal where the request may not or can't be answered."""
    purpose = allowed_purpose(exchange.membership.rulebook, request.purpose, party.kind)
    check_tokens(request.tokens)
    now = exchange.clock()
    check_type_and_epoch(
        request.type, request.epoch, lambda type_, epoch: exchange.epoch_valid(type_, epoch, now)
    )
    return purpose


class LookUp(Change[LookUpSubjectsResponse]):
    """A look-up that may be answered."""

    appends_only: ClassVar[bool] = True

    def __init__(
        self,
        exchange: Exchange,
        party: Party,
        request: LookUpSubjectsRequest,
        matches: Matches,
    ) -> None:
        self._exchange = exchange
        self._party = party
        self._request = request
        self._tokens = list(request.tokens)
        self._matches = matches
        self._hits: dict[bytes, list[Hit]] = {}
        self.weight = len(self._tokens)

    @classmethod
    async def read(cls, changes: Sequence[Self], store: Store, now: int) -> None:
        """The signals on all tokens of the group, in one query."""
        hits = await store.hits([token for change in changes for token in change._tokens], now)
        for change in changes:
            change._hits = hits

    def decide(self, proposal: Proposal) -> tuple[LookUpSubjectsResponse, Receipt]:
        """Score what the caller may see, and log the access."""
        membership = self._exchange.membership
        party = membership.standing(self._party.id)
        # The rules in force now, should they have changed while the look-up waited.
        purpose = allowed_purpose(membership.rulebook, self._request.purpose, party.kind)
        learned = self._exchange.learning.learned
        asked = self._request.type, self._request.epoch
        by_token = self._matches.by_token
        subjects: list[SubjectRisk] = []
        if self._hits or by_token:
            for token in self._tokens:
                hits = self._hits.get(token)
                if not hits and token not in by_token:
                    continue
                risk = assess(
                    token,
                    visible(hits, membership, party, purpose, asked, proposal.now) if hits else (),
                    membership.rulebook,
                    purpose,
                    proposal.now,
                    learned.reliability,
                    by_token.get(token, ()),
                    party.kind,
                )
                if risk is not None:
                    subjects.append(risk)
        if subjects:
            day = proposal.now // DAY
            proposal.delta.shown.extend(ShownToken(risk.token, party.group, day) for risk in subjects)
        salt = os.urandom(SALT_SIZE)
        entry = access_record(self._request, self._tokens, subjects, salt)
        self._say_how(entry, subjects, membership, learned.version)
        index = proposal.log(ENTRY_TYPE_LOOK_UP, party.id, entry.SerializeToString(), shown=len(subjects))
        response = LookUpSubjectsResponse(
            subjects=subjects,
            model_version=learned.name(membership.rulebook),
            receipt=Receipt(index=index),
            access_salt=salt,
        )
        return response, response.receipt

    def _say_how(
        self, entry: AccessEntry, subjects: Sequence[SubjectRisk], membership: Membership, learned: int
    ) -> None:
        """What a replay compares with, and what it can't know else."""
        entry.learned = learned
        if not subjects:
            return
        entry.scores.extend([risk.score for risk in subjects])
        entry.advice.extend([risk.advice for risk in subjects])
        matches = self._matches
        if matches.by_token:
            entry.matched.extend(at for at, risk in enumerate(subjects) if matches.by_token.get(risk.token))
            # Under the rules and the reliability that the rest of the answer is by.
            same = membership is matches.membership and learned == matches.learned
            if entry.matched and matches.progress is not None and same:
                at, position, day = matches.progress
                entry.matched_to.CopyFrom(SignalPosition(index=at, position=position))
                entry.matched_day = day


def access_record(
    request: LookUpSubjectsRequest | SubscribeRequest,
    tokens: Sequence[bytes],
    subjects: Sequence[SubjectRisk] | None,
    salt: bytes,
) -> AccessEntry:
    """The AccessEntry of a look-up, or of a subscription where `subjects` is None.

    `salt` goes to the caller alone: stored, it would let whoever reads the record try tokens on its digests.
    """
    entry = AccessEntry(
        purpose=request.purpose,
        type=request.type,
        epoch=request.epoch,
        asked=len(tokens),
        request_digest=sha256(salt + b"".join(tokens)).digest(),
    )
    if subjects is not None:
        entry.hits = b"".join([risk.token for risk in subjects])
        answer = b"".join([risk.SerializeToString(deterministic=True) for risk in subjects])
        entry.answer_digest = sha256(salt + answer).digest()
    return entry
