"""Storing what matching changed, and telling those concerned, in one transaction.

Concerned by a match are the members whose signals it stands on, those with an active signal that names one
of its subjects, subscribers of one whose purpose lists the pattern, and whoever was told of it before.
Invariants: nobody is told of a match that never was sure enough; what is told to a member is on the log, by
digest, before it can see it; a member is told again only of what looks otherwise to it than it last did.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple, Self

from signalexchange.roster import MEMBER_KINDS, Party
from signalexchange.v1.log_entry_pb2 import (
    AmountRange,
    EntryType,
    MatchDeliveryEntry,
    MatchEntry,
    SignalPosition,
)
from signalexchange.v1.match_service_pb2 import Match as MatchMessage
from signalexchange.v1.outcome_service_pb2 import VERDICT_CONFIRMED, VERDICT_INCONCLUSIVE

from exchange.domain.matching.advice import advise, prepare
from exchange.domain.matching.changes import Changes
from exchange.domain.matching.confidence import NAMES
from exchange.domain.matching.counters import counters
from exchange.domain.matching.match import Match
from exchange.domain.matching.matcher import Matcher
from exchange.domain.matching.naming import Naming
from exchange.domain.matching.view import Caller, view
from exchange.domain.membership import Membership
from exchange.domain.records import (
    POSITIONS,
    MatchEvent,
    MatchVerdict,
    MatchView,
    ShownToken,
    Subscription,
)
from exchange.domain.reliability import Tally
from exchange.domain.store import Store
from exchange.usecases.learning import Learning
from exchange.usecases.writer import Change, Proposal

DAY: Final = 86_400
Own = dict[bytes, tuple[int, int]]
"""Tokens that a member submitted itself: types and epochs."""


@dataclass(slots=True)
class Pending:
    """What storage doesn't know yet: changes, matches (by id) in which somebody may have taken an interest,
    and up to which entry all is taken into account; `pressing` where that alone must be stored at once."""

    matched_to: int = 0
    changes: Changes = field(default_factory=Changes)
    interest: set[bytes] = field(default_factory=set)
    pressing: bool = False
    tallies: list[Tally] = field(default_factory=list)
    """What verdicts on matches say of patterns and issuers."""

    def __bool__(self) -> bool:
        return bool(self.changes or self.interest or self.pressing or self.tallies)


class Telling(NamedTuple):
    """A match as a member is shown it."""

    party: Party
    match: Match
    message: MatchMessage
    digest: bytes

    @classmethod
    def of(cls, party: Party, match: Match, message: MatchMessage) -> Self:
        """With the digest of the message."""
        return cls(party, match, message, sha256(message.SerializeToString(deterministic=True)).digest())

    def log(self, proposal: Proposal, *, event: bool) -> None:
        """Put the delivery on the log, and `event` into the member's watch."""
        proposal.log(EntryType.ENTRY_TYPE_MATCH_DELIVERY, self.party.id, self._entry().SerializeToString())
        delta, number = proposal.delta, self.match.number
        delta.match_views.append(MatchView(self.party.id, number, self.digest))
        day = proposal.now // DAY
        delta.shown.extend(
            ShownToken(subject.token.value, self.party.group, day) for subject in self.message.subjects
        )
        if event:
            delta.match_events.append(MatchEvent(self.party.id, number, proposal.now))

    def _entry(self) -> MatchDeliveryEntry:
        return MatchDeliveryEntry(
            match_id=self.match.match_id,
            digest=self.digest,
            subjects=b"".join(sorted({subject.token.value for subject in self.message.subjects})),
        )


class Circle:
    """Whom matches concern, as far as storage, memory and the roster tell."""

    def __init__(
        self,
        membership: Membership,
        naming: Naming,
        issuers: Mapping[bytes, Mapping[str, int]],
        watchers: Mapping[bytes, Sequence[Subscription]],
    ) -> None:
        self._membership = membership
        self._naming = naming
        self._issuers = issuers
        self._watchers = watchers

    @classmethod
    async def read(
        cls, membership: Membership, naming: Naming, store: Store, matches: Sequence[Match], now: int
    ) -> Self:
        """For these matches."""
        tokens = list({subject.token for match in matches for subject in match.subjects})
        if not tokens:
            return cls(membership, naming, {}, {})
        return cls(membership, naming, await store.issuers(tokens, now), await store.watchers(tokens, now))

    def members(self, match: Match, told: Collection[str]) -> list[tuple[Party, Own]]:
        """Members that take part and are concerned by a match, or were `told` of it before, each with the
        subjects it submitted itself."""
        none: dict[str, Own] = {member: {} for member in (*match.members, *told)}
        found = none | self.submitted(match)
        parties = [(self._membership.roster.party(member), own) for member, own in sorted(found.items())]
        return [
            (party, own)
            for party, own in parties
            if party is not None and party.kind in MEMBER_KINDS and party.id not in self._membership.suspended
        ]

    def submitted(self, match: Match) -> dict[str, Own]:
        """By member: the subjects of a match that it submitted itself."""
        found: dict[str, Own] = {}
        for subject in match.subjects:
            token, type_ = subject.token, subject.type
            for member, epoch in self._naming.members(token):
                found.setdefault(member, {})[token] = type_, epoch
            for member, epoch in self._issuers.get(token, {}).items():
                found.setdefault(member, {})[token] = type_, epoch
            for subscription in self._watchers.get(token, ()):
                if subscription.type == type_ and self._shows(subscription, match):
                    found.setdefault(subscription.member, {})[token] = type_, subscription.epoch
        return found

    def _shows(self, subscription: Subscription, match: Match) -> bool:
        purpose = self._membership.rulebook.purpose(subscription.purpose)
        party = self._membership.roster.party(subscription.member)
        return (
            purpose is not None
            and party is not None
            and party.kind in purpose.kinds
            and NAMES[match.pattern] in purpose.patterns
        )


class RecordMatches(Change[None]):
    """What is to be stored and told. It may share a commit with anything: nobody else writes matches."""

    def __init__(
        self, pending: Pending, learning: Learning, logged: Sequence[bytes], tellings: Sequence[Telling]
    ) -> None:
        self._pending = pending
        self._learning = learning
        self._learned = learning.learned
        self._logged = logged
        self._tellings = tellings

    @classmethod
    async def plan(
        cls,
        matcher: Matcher,
        naming: Naming,
        store: Store,
        membership: Membership,
        learning: Learning,
        pending: Pending,
        now: int,
        *,
        ahead: bool,
    ) -> Self:
        """Work out whom to tell what; `ahead` says that storage was read ahead of what is pending."""
        told = _ordered(matcher, pending.changes.told)
        others = _ordered(matcher, pending.interest - pending.changes.told)
        circle = await Circle.read(membership, naming, store, [*told, *others], now)
        seen: dict[int, dict[str, bytes]] = {}
        for row in await store.match_views([match.number for match in (*told, *others)]):
            seen.setdefault(row.number, {})[row.member] = row.digest
        tellings: list[Telling] = []
        for match in (*told, *others):
            before = seen.get(match.number, {})
            concerned = [
                (party, own)
                for party, own in circle.members(match, before)
                if party.id not in before or match in told
            ]
            tokens = {(token, party.kind) for party, own in concerned for token in own}
            await consider(matcher, match, tokens, membership, now)
            for party, own in concerned:
                caller = Caller(party.id, party.group, own.get)
                telling = Telling.of(party, match, view(matcher, match, caller, membership, now))
                if before.get(party.id) != telling.digest:
                    tellings.append(telling)
            await asyncio.sleep(0)
        day = 0 if ahead else now // DAY
        version = learning.learned.version
        logged = [entry_of(matcher, match, pending.matched_to, version, day) for match in told]
        return cls(pending, learning, logged, tellings)

    def ids(self) -> frozenset[bytes]:
        """None: it shares its commit."""
        return frozenset()

    def decide(self, proposal: Proposal) -> tuple[None, None]:
        """Log what is told, store what changed."""
        for payload in self._logged:
            proposal.log(EntryType.ENTRY_TYPE_MATCH, "", payload)
        delta, changes = proposal.delta, self._pending.changes
        delta.matches.extend(changes.matches.values())
        delta.forgotten_matches.extend(sorted(changes.forgotten))
        for gone, row in changes.instances.items():
            if row is None:
                delta.match_instances_gone.append(gone)
            else:
                delta.match_instances.append(row)
        delta.spent.extend(changes.spent.items())
        delta.tallies.extend(self._pending.tallies)
        delta.matched_to = self._pending.matched_to
        for telling in self._tellings:
            telling.log(proposal, event=True)
        self._learned = self._learning.propose(proposal, self._pending.tallies, self._pending.matched_to)
        return None, None

    def applied(self) -> None:
        """Believe whom the verdicts say to believe."""
        self._learning.install(self._learned)


def tallies_of(match: Match, given: MatchVerdict) -> list[Tally]:
    """What a verdict counts for: the match's pattern, and each other group that tells of the match."""
    if given.verdict == VERDICT_INCONCLUSIVE:
        return []
    issuers = {item.seen.group: item.seen.member for item in match.evidence() if item.counts}
    issuers.pop(given.group, None)
    confirmed = given.verdict == VERDICT_CONFIRMED
    named = [("", NAMES[match.pattern]), *((member, "") for member in sorted(issuers.values()))]
    return [Tally(issuer, code, given.member, confirmed, not confirmed) for issuer, code in named]


async def consider(
    matcher: Matcher, match: Match, asked: Iterable[tuple[bytes, str]], membership: Membership, now: int
) -> None:
    """Work out what is advised about subjects of a match, each to a kind of member, before it is shown;
    look-ups come first."""
    for token, kind in asked:
        for _ in prepare(matcher, match, token, membership.rulebook, now, kind):
            await asyncio.sleep(0)
        advise(matcher, match, token, membership.rulebook, now, kind)


def _ordered(matcher: Matcher, ids: Collection[bytes]) -> list[Match]:
    """Those of the matches that are there still and were sure enough once, oldest first."""
    found = [match for match_id in ids if (match := matcher.matches.get(match_id)) is not None]
    return sorted((match for match in found if match.reported), key=lambda match: match.number)


def entry_of(matcher: Matcher, match: Match, as_of: int, learned: int, day: int) -> bytes:
    """The MatchEntry of a match, with all entries below `as_of` taken into account on a day, as sure as it is
    by the learned parameters of that version."""
    money = counters(match)
    return MatchEntry(
        match_id=match.match_id,
        pattern=match.pattern.value,
        status=match.status.value,
        confidence=matcher.confidence(match).permille,
        rules_version=matcher.rules.version,
        as_of=as_of,
        evidence=[
            SignalPosition(index=place // POSITIONS, position=place % POSITIONS) for place in match.places
        ],
        learned=learned,
        day=day,
        volume=AmountRange(low=money.volume.low, high=money.volume.high),
        gain=AmountRange(low=money.gain.low, high=money.gain.high),
    ).SerializeToString()
