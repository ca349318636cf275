"""Collecting account: takes in from several, hands on nearly all of it to several others within days.

The agent's account stands between the sham merchants, or mules who carry their takings (scatter and gather),
and the payers who get their cash from it. Honest accounts look alike in part: wages and crews (one in, many
out), landlords, savings clubs and group purchases (many in, few out), trips (what is left over goes back to
those who paid in), firms (many in, many out, but a merchant's). Sources: FATF typologies of funnel and mule
accounts; 法释〔2019〕1号 on illegal payment and settlement business; docs/matching.md.

Invariants: who both pays in and is paid is neither source nor sink, nor is a value that is set aside; sums
far below the mean are noise; a merchant's account is none; an instance is what one token took in on one day,
and where it went.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from exchange.domain.matching.finding import Finding, Part, Pattern, Subject, evidence_of, instance_key
from exchange.domain.matching.graph import DAY, HOUR, Alias, Graph
from exchange.domain.matching.movement import Movement, movements, returned
from exchange.domain.matching.observation import CENTS, MERCHANT, Observation, Role
from exchange.domain.matching.parts import subjects
from exchange.domain.matching.scatter import gathered, is_scattered
from exchange.domain.matching.search import Search, bounded, concerned

ROLES: Final = frozenset(Role) - {Role.SHARED}
_LEGS: Final = frozenset({Role.TRANSFER, Role.PAYMENT})
_NOISE: Final = 4
"""A source or sink of less than the mean by this factor doesn't count."""


class Account(NamedTuple):
    """What an account took in and handed on in a window: movements of sources and of sinks that count."""

    who: list[Alias]
    into: list[Movement]
    out_of: list[Movement]
    sources: int
    sinks: int


def find(graph: Graph, seen: Observation) -> Iterator[Finding]:
    """Collecting accounts that an observation may have shown."""
    return bounded(graph, seen, _LEGS, _find)


def _find(search: Search, seen: Observation) -> Iterator[Finding]:
    rules = search.rules.collecting_account
    window = rules.hours * HOUR
    done: set[tuple[bytes, int]] = set()
    for leg in concerned(search, seen, _LEGS):
        for token, groups, later in _accounts(search, leg, window):
            who = search.graph.whoever((token, group) for group in groups)
            for day in _days(search, who, leg.first, window, later):
                if (token, day) not in done:
                    done.add((token, day))
                    for account in _readings(search, who, day * DAY, window):
                        findings = [
                            *_collected(search, account, day),
                            *gathered(search, who, account.into, day),
                        ]
                        yield from findings
                        if findings:
                            break


def _accounts(search: Search, leg: Observation, window: int) -> Iterator[tuple[bytes, list[str], int]]:
    """Accounts whose money the leg may be part of, who says whose they are, and how much later the money may
    have come to them."""
    graph = search.graph
    if leg.role == Role.PAYMENT:
        payer = graph.who(leg.subject, leg.group)
        for row in search.into(payer, Role.TRANSFER, leg.first, leg.first + 2 * window):
            yield row.subject, graph.reporters(row), window
        return
    groups = graph.reporters(leg)
    yield leg.counterparty, groups, 0
    yield leg.subject, groups, 0
    # The leg may have been scattered to be gathered one account further.
    middle = graph.whoever((leg.counterparty, group) for group in groups)
    for row in search.out_of(middle, Role.TRANSFER, leg.first, leg.first + window):
        yield row.counterparty, graph.reporters(row), window


def _days(search: Search, who: list[Alias], time: int, window: int, later: int) -> list[int]:
    """Days on which the account took in money that a leg of that time may be about, the latest first; none
    where too few pay in or are paid, or where the account is none that collects."""
    graph, rules = search.graph, search.rules.collecting_account
    since, until = time - window - DAY, time + later + window + DAY
    into = search.into(who, Role.TRANSFER, since, until)
    if len({row.subject for row in into}) < rules.sources:
        sinks = {row.counterparty for row in search.out_of(who, Role.TRANSFER, since, until)}
        if len(sinks) < rules.payers or not any(graph.is_business(row.subject, row.group) for row in into):
            return []
    own = [token for token, scope in who if scope is None]
    if any(graph.type_of(token) == MERCHANT or graph.set_aside(token) is not None for token in own):
        return []
    return sorted({row.first // DAY for row in into if row.first <= time + later}, reverse=True)


def _readings(search: Search, who: list[Alias], start: int, window: int) -> Iterator[Account]:
    """The account in the window that begins at a midnight: as all tell, and then without each group that
    tells most, or more than is looked at, or that payers or payees are the holder: no group hides others'.
    """
    graph, rules = search.graph, search.rules.collecting_account
    until = start + DAY + window
    into, out = search.into(who, Role.TRANSFER, start, until), search.out_of(who, Role.TRANSFER, start, until)
    legs, cents = Counter(row.group for row in into + out), Counter[str]()
    for row in into + out:
        cents[row.group] += CENTS[row.band]
    most = {max(cents, key=lambda group: (cents[group], group))} if len(cents) > 2 else set()
    ends = {*(row.subject for row in into), *(row.counterparty for row in out)}
    most |= {group for group in cents if legs[group] >= graph.rules.fan}
    most |= {scope for token, scope in who if scope is not None and token in ends}
    for without in ("", *sorted(most)):
        own = {token for token, scope in who if scope is None or scope != without}
        came = [row for row in into if row.group != without and row.subject not in own]
        went = [row for row in out if row.group != without and row.counterparty not in own]
        sources, sinks = {row.subject for row in came}, {row.counterparty for row in went}
        if len(sources) >= rules.sources or len(sinks) >= rules.payers:
            search.spend((len(came) + len(went)) // 2)
            if not went and not is_scattered(graph, came):
                continue
            account = _account(graph, who, came, went)
            if any(part.first < start + DAY for part in account.into):
                yield account


def _account(
    graph: Graph, who: list[Alias], into: Sequence[Observation], out: Sequence[Observation]
) -> Account:
    since = max(_known_since(into, graph.rules.fan), _known_since(out, graph.rules.fan))
    ends = {*(row.subject for row in into), *(row.counterparty for row in out)}
    apart = {token for token in ends if graph.set_aside(token) is not None}
    came = movements(row for row in into if row.first >= since and row.subject not in apart)
    went = movements(row for row in out if row.first >= since and row.counterparty not in apart)
    payers = [(part.heads[0].subject, part.heads[0].group) for part in came]
    payees = [(part.heads[0].counterparty, part.heads[0].group) for part in went]
    persons = graph.persons([*payers, *payees])
    sources, sinks = [persons[end] for end in payers], [persons[end] for end in payees]
    both = set(sources) & set(sinks)
    big_sources = _counting(came, sources, both)
    big_sinks = _counting(went, sinks, both)
    return Account(
        who,
        [part for part, person in zip(came, sources, strict=True) if person in big_sources],
        [part for part, person in zip(went, sinks, strict=True) if person in big_sinks],
        len(big_sources),
        len(big_sinks),
    )


def _known_since(rows: Sequence[Observation], fan: int) -> int:
    """From when on all legs are among those looked at."""
    since = 0
    for group in {row.group for row in rows}:
        of_group = [row for row in rows if row.group == group]
        if len(of_group) >= fan:
            since = max(since, of_group[0].first)
    return since


def _counting(parts: Sequence[Movement], persons: Sequence[int], both: set[int]) -> set[int]:
    """Of the persons of parts those whose sums are not far below the mean, but for those on both sides."""
    cents: dict[int, int] = {}
    for part, person in zip(parts, persons, strict=True):
        if person not in both:
            cents[person] = cents.get(person, 0) + part.cents
    whole = sum(cents.values())
    return {person for person, sum_ in cents.items() if sum_ * len(cents) * _NOISE >= whole}


def _collected(search: Search, account: Account, day: int) -> Iterator[Finding]:
    rules = search.rules.collecting_account
    if not account.into or not account.out_of:
        return
    least, most = returned(rules.returns, sum(part.cents for part in account.into))
    if not least <= sum(part.cents for part in account.out_of) <= most:
        return
    paid: list[Observation] = []
    if account.sources < rules.sources or account.sinks < rules.sinks:
        paid = _paid_at_sources(search, account)
        if not paid:
            return
    rows = [leg for part in (*account.into, *account.out_of) for leg in part.legs]
    for token in sorted({part.heads[0].counterparty for part in account.into}):
        heads = [head for part in account.into for head in part.heads if head.counterparty == token]
        principal = [head for head in heads if head.first // DAY == day]
        if principal:
            yield Finding(
                Pattern.COLLECTING_ACCOUNT,
                instance_key(Pattern.COLLECTING_ACCOUNT, token, day),
                (token,),
                subjects(search.graph, _subjects(search.graph, account, paid)),
                evidence_of(rows, paid),
                evidence_of(principal),
            )


def _paid_at_sources(search: Search, account: Account) -> list[Observation]:
    """Purchases on credit at the sources by most of the sinks; none where they are fewer."""
    graph, rules = search.graph, search.rules.collecting_account
    since = account.into[0].first - rules.hours * HOUR
    ends = {(leg.subject, leg.group) for part in account.into for leg in part.legs}
    sources = [graph.who(*end) for end in sorted(ends) if graph.is_business(*end)]
    found: list[Observation] = []
    payers = 0
    told: dict[bytes, set[str]] = {}
    for leg in (leg for part in account.out_of for leg in part.legs):
        told.setdefault(leg.counterparty, set()).add(leg.group)
    for token, groups in sorted(told.items()):
        sink = graph.whoever((token, group) for group in groups)
        until = account.out_of[-1].first
        rows = [row for source in sources for row in search.between(Role.PAYMENT, sink, source, since, until)]
        payers += bool(rows)
        found += rows
    return found if payers >= rules.payers and payers * 2 >= account.sinks else []


def _subjects(graph: Graph, account: Account, paid: Sequence[Observation]) -> Iterator[Subject]:
    for row in paid:
        yield Subject(row.subject, row.subject_type, Part.PAYER)
        yield Subject(row.counterparty, row.counterparty_type, Part.MERCHANT)
    for part in account.into:
        for leg in part.legs:
            source = Part.MERCHANT if graph.is_business(leg.subject, leg.group) else Part.ACCOUNT
            yield Subject(leg.subject, leg.subject_type, source)
            yield Subject(leg.counterparty, leg.counterparty_type, Part.ACCOUNT)
    for part in account.out_of:
        for leg in part.legs:
            yield Subject(leg.subject, leg.subject_type, Part.ACCOUNT)
            sink = Part.PAYER if paid else Part.ACCOUNT
            yield Subject(leg.counterparty, leg.counterparty_type, sink)
