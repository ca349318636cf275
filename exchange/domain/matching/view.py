"""A match as one member may see it.

Invariants: nothing here tells a band, a slot or a token that the member didn't submit itself. Days and digits
are of what other groups told, as far as it wasn't the member's group whose signal brought it in, so that
whoever adds signals doesn't move them; of its own signals the member sees all of a hypothesis or none, so
that of several bands it doesn't learn which one fitted; what is said of the law follows from the digits.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from signalexchange.notices import advice_code
from signalexchange.v1.identifier_pb2 import SubjectToken
from signalexchange.v1.match_service_pb2 import Match as MatchMessage
from signalexchange.v1.match_service_pb2 import MatchSubject
from signalexchange.v1.signal_service_pb2 import ACTION_ALLOW, ACTION_RESTRICT

from exchange.domain.matching.advice import advise
from exchange.domain.matching.counters import digits, thresholds
from exchange.domain.matching.graph import DAY
from exchange.domain.matching.match import Evidence, Match
from exchange.domain.matching.matcher import Matcher
from exchange.domain.membership import Membership

MAX_LISTED: Final = 1_000
MIN_GROUPS_OF_KIND: Final = 3
"""From how many groups of a kind on a member may learn that one of them took part."""


class Caller(NamedTuple):
    """Whom a match is shown to. `submitted` gives (type, epoch) of a token that the member itself submitted,
    else None."""

    member: str
    group: str
    submitted: Callable[[bytes], tuple[int, int] | None]


def view(matcher: Matcher, match: Match, caller: Caller, membership: Membership, now: int) -> MatchMessage:
    """The match for a caller at `now` (Unix seconds)."""
    party = membership.roster.party(caller.member)
    kind_of_member = "" if party is None else party.kind
    subjects: list[MatchSubject] = []
    for subject in match.subjects:
        submitted = caller.submitted(subject.token)
        if submitted is not None and len(subjects) < MAX_LISTED:
            kind, epoch = submitted
            token = SubjectToken(type=kind, epoch=epoch, value=subject.token)  # type: ignore[arg-type]
            advice = advise(matcher, match, subject.token, membership.rulebook, now, kind_of_member)
            subjects.append(
                MatchSubject(token=token, part=subject.part.value, advice=advice)  # type: ignore[arg-type]
            )

    def told(item: Evidence) -> bool:
        return caller.group not in (item.seen.group, item.closer) and not item.refuted

    others = [item for item in match.evidence() if told(item)]
    total_digits, gain_digits = digits(match, told)
    sure = matcher.confidence(match)
    strongest = max((subject.advice for subject in subjects), default=ACTION_ALLOW)
    return MatchMessage(
        match_id=match.match_id,
        pattern=match.pattern.value,  # type: ignore[arg-type]
        status=match.status.value,  # type: ignore[arg-type]
        groups=len(match.groups),
        kinds=_kinds(others, membership),  # type: ignore[arg-type]
        days=_days(others),
        total_digits=total_digits,
        signal_ids=_own(matcher, match, caller.member),
        subjects=subjects,
        confidence=sure.permille,
        factors=sure.factors(),
        advice=strongest,
        human_review=strongest >= ACTION_RESTRICT,
        found_on=match.found_at // DAY * DAY,
        rules_version=matcher.rules.version,
        notice_code=advice_code(strongest),
        gain_digits=gain_digits,
        thresholds=thresholds(total_digits, gain_digits),
    )


def _own(matcher: Matcher, match: Match, member: str) -> list[bytes]:
    rows = {
        row.place: row
        for item in match.evidence()
        if item.seen.member == member and not item.refuted
        for row in (item.seen, *matcher.repeats(item.seen))
        if row.member == member
    }
    return [rows[place].signal_id for place in sorted(rows)[-MAX_LISTED:]]


def _kinds(others: list[Evidence], membership: Membership) -> list[int]:
    groups: dict[int, set[str]] = {}
    for party in membership.roster.parties:
        groups.setdefault(party.kind_value, set()).add(party.group)
    parties = (membership.roster.party(member) for member in {item.seen.member for item in others})
    kinds = {party.kind_value for party in parties if party is not None}
    return sorted(kind for kind in kinds if len(groups[kind]) >= MIN_GROUPS_OF_KIND)


def _days(others: list[Evidence]) -> int:
    if not others:
        return 0
    return max(item.seen.last for item in others) // DAY - min(item.seen.first for item in others) // DAY + 1
