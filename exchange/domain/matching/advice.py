"""What is advised about a subject of a match: never on one group's word, nor while it is disputed.

Invariants: no single accuser: for every group, advice(all) ≤ max(AUTHENTICATE, uncapped advice of one
instance that names the subject and is found in the graph without that group's signals, links, shared values
and outcomes). Nor a rumour: without echoes one is found too. A verdict that refutes disputes what is
left, for `dispute_days` or until a group that tells of it confirms. Nor on what an undecided appeal disputes:
advice above AUTHENTICATE stands without it, so that nobody pauses more of a match than it objects to.
"""

from collections.abc import Iterator, Set
from itertools import islice

from signalexchange.rulebook import Rulebook
from signalexchange.v1.signal_pb2 import (
    EVIDENCE_GRADE_CONFIRMED,
    EVIDENCE_GRADE_CORROBORATED,
    EVIDENCE_GRADE_SUSPECTED,
    EvidenceGrade,
)
from signalexchange.v1.signal_service_pb2 import ACTION_ALLOW, ACTION_AUTHENTICATE, Action

from exchange.domain.matching.confidence import NAMES, confidence
from exchange.domain.matching.graph import DAY
from exchange.domain.matching.match import Instance, Match, Support, Verdict, witnesses
from exchange.domain.matching.matcher import Matcher
from exchange.domain.matching.without import Without, voices
from exchange.domain.scoring import Matched, band

_INSTANCES = 8
"""Instances tried for one that stands without some groups."""
_LOOKED_AT = 64
"""Instances, told by enough others, of which those that most tell of are tried."""
_NOBODY: frozenset[str] = frozenset()


def advise(
    matcher: Matcher, match: Match, token: bytes, rulebook: Rulebook, now: int, kind: str = ""
) -> Action.ValueType:
    """What a kind of member is to do about a subject of a match; ALLOW where the match doesn't stand."""
    advice = _at_most(matcher, match, rulebook, now, kind)
    if advice <= ACTION_AUTHENTICATE:
        return advice
    for without, echoes in _ways(matcher, match, token):
        found, group = support(matcher, match, token, without, echoes=echoes), next(iter(without), "")
        left = ACTION_ALLOW
        if found is not None and not is_disputed(matcher, match, now, found.groups, group):
            sure = _confidence(matcher, match, found, group)
            left = _advice_on(sure, grade(match, found.groups, group), rulebook, kind)
        advice = min(advice, max(ACTION_AUTHENTICATE, left))
    return advice


def prepare(
    matcher: Matcher, match: Match, token: bytes, rulebook: Rulebook, now: int, kind: str = ""
) -> Iterator[None]:
    """Work out what `advise` asks about a subject, search by search: each takes milliseconds, and whoever
    goes on may let others go first. The match keeps it until it changes."""
    if _at_most(matcher, match, rulebook, now, kind) <= ACTION_AUTHENTICATE:
        return
    for without, echoes in _ways(matcher, match, token):
        for instance in _naming(matcher, match, token, without):
            yield
            if any(
                token in named for named, _ in _standing(matcher, match, instance, without, echoes, False)
            ):
                break


def _at_most(matcher: Matcher, match: Match, rulebook: Rulebook, now: int, kind: str) -> Action.ValueType:
    """The advice before anybody's word is left out."""
    if not match.stands:
        return ACTION_ALLOW
    advice = _advice_on(matcher.confidence(match).permille, grade(match, match.groups), rulebook, kind)
    if advice > ACTION_AUTHENTICATE and is_disputed(matcher, match, now, match.groups):
        return ACTION_AUTHENTICATE
    return advice


def _advice_on(sure: int, grade: int, rulebook: Rulebook, kind: str) -> Action.ValueType:
    table = rulebook.match_advice_for(kind)
    return min(table.by_band[band(sure, rulebook.model)], rulebook.advice_grades.highest[grade])


def grade(match: Match, telling: Set[str], without: str = "") -> EvidenceGrade.ValueType:
    """Grade of a match as evidence: CONFIRMED where a group that tells of it, other than `without`, said so,
    else CORROBORATED by two groups."""
    for group, given in match.verdicts.items():
        if given.verdict == Verdict.CONFIRMED and group in telling and group != without:
            return EVIDENCE_GRADE_CONFIRMED
    return EVIDENCE_GRADE_CORROBORATED if len(telling) > 1 else EVIDENCE_GRADE_SUSPECTED


def matched(matcher: Matcher, match: Match, token: bytes, group: str, tlp: int, now: int) -> Matched | None:
    """A match as it counts in an answer about one of its subjects to a member of a group: what stands without
    that group; None where nothing does, or not surely enough to be told."""
    if not match.stands:
        return None
    objected = False
    found = support(matcher, match, token, {group})
    if not _is_sure(matcher, match, found) and matcher.is_appealed(match):
        # It goes on being told; what it tells is disputed.
        objected, found = True, support(matcher, match, token, {group}, objected=True)
    if found is None or not _is_sure(matcher, match, found):
        return None
    sure = _confidence(matcher, match, found, "")
    without, grades = {}, {}
    for other in _accusers(matcher, match, token) - {group}:
        left = support(matcher, match, token, {group, other})
        less_sure = 0 if left is None else _confidence(matcher, match, left, other)
        without[other] = less_sure if less_sure >= matcher.rules.report_at else 0
        if left is not None:
            grades[other] = grade(match, left.groups, other)
    return Matched(
        NAMES[match.pattern],
        sure,
        sorted(found.groups),
        without,
        tlp,
        max(item.seen.last for item in match.evidence() if item.seen.group in found.groups),
        objected or is_disputed(matcher, match, now, found.groups, ""),
        grade(match, found.groups),
        grades,
    )


def _is_sure(matcher: Matcher, match: Match, found: Support | None) -> bool:
    return found is not None and _confidence(matcher, match, found, "") >= matcher.rules.report_at


def is_disputed(matcher: Matcher, match: Match, now: int, telling: frozenset[str], without: str = "") -> bool:
    """Whether a group refuted the match lately and none of those that tell of it has confirmed it; what the
    group `without` decided is left out."""
    verdicts = [(group, given) for group, given in match.verdicts.items() if group != without]
    if any(given.verdict == Verdict.CONFIRMED and group in telling for group, given in verdicts):
        return False
    since = now - matcher.rules.dispute_days * DAY
    return any(given.verdict == Verdict.REFUTED and given.time > since for _, given in verdicts)


def support(
    matcher: Matcher,
    match: Match,
    token: bytes,
    without: Set[str],
    *,
    echoes: bool = True,
    objected: bool = False,
) -> Support | None:
    """An instance of the match's pattern that names the token and stands had these groups said nothing, or
    had nobody said what it was shown; what appeals dispute counts only with `objected`."""
    known = (token, frozenset(without), echoes, objected)
    if known not in match.supports.tokens:
        match.supports.tokens[known] = _support(matcher, match, *known)
    return match.supports.tokens[known]


def _support(
    matcher: Matcher, match: Match, token: bytes, without: frozenset[str], echoes: bool, objected: bool
) -> Support | None:
    for (name, left_out, echoed, disputed), found in match.supports.tokens.items():
        # What stands without fewer, and takes nobody's word of the rest, stands as well.
        same = (name, echoed, disputed) == (token, echoes, objected) and left_out <= without
        if same and found is not None and not found.voices & without:
            return found
    for instance in _naming(matcher, match, token, without):
        for named, found in _standing(matcher, match, instance, without, echoes, objected):
            if token in named:
                return found
    return None


def _naming(matcher: Matcher, match: Match, token: bytes, without: frozenset[str]) -> list[Instance]:
    """Instances that name a token and that enough tell of without some groups; first what most tell of."""
    naming = islice(
        (
            match.instances[key]
            for key in sorted(match.instances)
            if len(match.instances[key].groups - without) >= matcher.needed
            and any(subject.token == token for subject in match.instances[key].subjects)
        ),
        _LOOKED_AT,
    )
    return sorted(naming, key=lambda each: -len(each.groups - without))[:_INSTANCES]


def _standing(
    matcher: Matcher,
    match: Match,
    instance: Instance,
    without: frozenset[str],
    echoes: bool,
    objected: bool,
) -> list[tuple[frozenset[bytes], Support]]:
    """What is found again of an instance, in the order found: whom it names, and on what it stands. Kept,
    since the same is asked of each subject."""
    known = (instance.key, without, echoes, objected)
    if known in match.supports.instances:
        return match.supports.instances[known]
    places = matcher.ledger.refuted(match.pattern)
    if not objected and matcher.appealed:
        places = places | matcher.appealed
    graph = Without(matcher.graph, without, places, None if echoes else matcher.echoes)
    left = [
        item
        for item in instance.evidence.values()
        if item.seen.group not in without and (echoes or not item.seen.echo)
        if objected or item.seen.place not in matcher.appealed
    ]
    standing = match.supports.instances[known] = []
    for finding in matcher.find_again(graph, match.pattern, instance.key, left):
        seen = [row for place in finding.evidence if (row := matcher.graph.get(place)) is not None]
        tokens = {token for row in seen for token in (row.subject, row.counterparty)} - {b""}
        spoke = voices(graph, tokens).union(row.group for row in seen)
        named = frozenset(subject.token for subject in finding.subjects)
        standing.append((named, Support(witnesses(seen), finding.rarity, frozenset(spoke))))
    return standing


def _ways(matcher: Matcher, match: Match, token: bytes) -> Iterator[tuple[frozenset[str], bool]]:
    """Groups without which, and whether with echoes, a subject's part has to stand."""
    yield _NOBODY, False
    yield _NOBODY, True
    for group in _accusers(matcher, match, token):
        yield frozenset({group}), True


def _accusers(matcher: Matcher, match: Match, token: bytes) -> set[str]:
    """Groups without which the advice might be another."""
    found = support(matcher, match, token, _NOBODY)
    reporters = set() if matcher.reliability is None else matcher.reliability.reporters
    return {*reporters, *match.verdicts, *(found.voices if found else ())}


def _confidence(matcher: Matcher, match: Match, found: Support, without: str) -> int:
    return confidence(
        matcher.rules,
        match.pattern,
        found.groups,
        1,
        found.rarity,
        lambda group: matcher.trust(group, without),
        matcher.needed,
    ).permille
