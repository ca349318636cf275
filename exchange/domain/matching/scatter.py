"""Scatter and gather: one source pays several accounts, which all pass it on to one.

What would stand out as one transfer goes through mules at different banks. Source: FATF typologies of mule
networks; E. Altman et al., "Realistic synthetic financial transactions" (2023), pattern scatter–gather.

Invariants: each account between hands on what it got from the source; firms are none of them; a source that
is set aside scatters nothing.
"""

from collections.abc import Iterable, Iterator, Sequence

from exchange.domain.matching.finding import Finding, Part, Pattern, Subject, evidence_of, instance_key
from exchange.domain.matching.graph import DAY, Alias, Graph
from exchange.domain.matching.movement import Movement, movements, returned, total
from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.parts import subjects
from exchange.domain.matching.search import EVER, Search

HOUR = 3_600


def is_scattered(graph: Graph, into: Iterable[Observation]) -> bool:
    """Whether anybody paid any of those who sent these: else nothing was scattered over them."""
    return any(graph.into(graph.who(row.subject, row.group), 0, EVER) for row in into)


def gathered(search: Search, who: list[Alias], into: Sequence[Movement], day: int) -> Iterator[Finding]:
    """What an account gathered, of movements into it, that one source had scattered; `day` is the first's."""
    graph, rules = search.graph, search.rules.collecting_account
    told: dict[bytes, set[str]] = {}
    came_from: dict[bytes, list[Movement]] = {}
    for part in into:
        came_from.setdefault(part.heads[0].subject, []).append(part)
        for leg in part.legs:
            told.setdefault(leg.subject, set()).add(leg.group)
    between = {
        token: sorted(groups)
        for token, groups in sorted(told.items())
        if not any(graph.is_business(token, group) for group in groups)
    }
    if len(between) < rules.sources:
        return
    persons = graph.persons((token, group) for token, groups in between.items() for group in groups)
    scattered: dict[bytes, dict[int, list[Observation]]] = {}
    passed: dict[int, list[Movement]] = {}
    for token, groups in between.items():
        person = min(persons[token, group] for group in groups)
        parts = passed.setdefault(person, [])
        parts += came_from[token]
        since, until = parts[0].first - rules.hours * HOUR, parts[-1].first
        mule = graph.whoever((token, group) for group in groups)
        for row in search.into(mule, Role.TRANSFER, since, until):
            if not graph.is_alias((row.subject, row.group), who):
                scattered.setdefault(row.subject, {}).setdefault(person, []).append(row)
    for source, mules in sorted(scattered.items()):
        if len(mules) < rules.sources or graph.set_aside(source) is not None:
            continue
        ways = [(movements(legs), passed[person]) for person, legs in mules.items()]
        ways = [(sent, parts) for sent, parts in ways if sent and _hands_on(search, sent, parts)]
        if len(ways) >= rules.sources:
            yield from _finding(search, source, ways, day)


def _hands_on(search: Search, sent: list[Movement], passed: list[Movement]) -> bool:
    least, most = returned(search.rules.collecting_account.returns, total(sent).cents)
    return least <= total(passed).cents <= most


def _finding(
    search: Search, source: bytes, ways: Sequence[tuple[list[Movement], list[Movement]]], day: int
) -> Iterator[Finding]:
    sent = [part for way in ways for part in way[0]]
    passed = [part for way in ways for part in way[1]]
    legs = [leg for part in (*sent, *passed) for leg in part.legs]
    for token in sorted({part.heads[0].counterparty for part in passed}):
        principal = [
            part.heads[0]
            for part in passed
            if part.heads[0].counterparty == token and part.first // DAY == day
        ]
        if principal:
            yield Finding(
                Pattern.COLLECTING_ACCOUNT,
                instance_key(Pattern.COLLECTING_ACCOUNT, source, token, day),
                (token,),
                subjects(search.graph, _subjects(source, legs)),
                evidence_of(legs),
                evidence_of(principal),
            )


def _subjects(source: bytes, legs: Sequence[Observation]) -> Iterator[Subject]:
    for leg in legs:
        for token, kind in ((leg.subject, leg.subject_type), (leg.counterparty, leg.counterparty_type)):
            yield Subject(token, kind, Part.MERCHANT if token == source else Part.ACCOUNT)
