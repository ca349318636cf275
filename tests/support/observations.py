"""Observations to match: people, merchants and accounts by name, told by groups, in CNY and hours."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import count

from hypothesis import strategies as st
from signalexchange.patterns import Matching
from signalexchange.rulebook import Rulebook, default_text
from signalexchange.v1.identifier_pb2 import IdentifierType as Type

from exchange.domain.matching.finding import Finding
from exchange.domain.matching.graph import Graph
from exchange.domain.matching.joining import Rule
from exchange.domain.matching.observation import CENTS, MERCHANT, NATIONAL_ID, Observation, Role

HOUR = 3_600
DAY = 86_400
START = 20_000 * DAY
RULES = Rulebook.parse(default_text()).matching
_KINDS: dict[str, int] = {
    "phone": Type.IDENTIFIER_TYPE_PHONE,
    "id": NATIONAL_ID,
    "card": Type.IDENTIFIER_TYPE_CARD,
    "iban": Type.IDENTIFIER_TYPE_IBAN,
    "device": Type.IDENTIFIER_TYPE_DEVICE,
    "address": Type.IDENTIFIER_TYPE_ADDRESS,
    "merchant": MERCHANT,
    "account": Type.IDENTIFIER_TYPE_ACCOUNT,
}
_numbers = count(1)


def token(name: str) -> bytes:
    """The token of "phone 1", "merchant m", …"""
    return sha256(name.encode()).digest()


def kind(name: str) -> int:
    return _KINDS[name.split()[0]]


def band(amount: float) -> int:
    """The band whose middle is nearest to an amount of CNY."""
    return min(range(1, 256), key=lambda each: abs(CENTS[each] - 100 * amount))


def seen(
    group: str,
    role: Role,
    subject: str,
    counterparty: str = "",
    amount: float = 0,
    at: float = 0,
    until: float | None = None,
    links: Sequence[str] = (),
    *,
    echo: bool = False,
    member: str = "",
) -> Observation:
    """What a group says; `at` and `until` are hours after START, cut to slots; each call has a place of its
    own."""
    place = next(_numbers)
    first = START + int(at * HOUR) // 300 * 300
    return Observation(
        place,
        sha256(place.to_bytes(8, "big")).digest()[:16],
        member or group,
        group,
        role,
        role.name.lower(),
        token(subject),
        kind(subject),
        token(counterparty) if counterparty else b"",
        kind(counterparty) if counterparty else 0,
        tuple((token(link), kind(link)) for link in links),
        band(amount) if amount else 0,
        first,
        first if until is None else START + int(until * HOUR) // 300 * 300,
        START + 120 * DAY,
        50,
        echo,
    )


def paid(group: str, payer: str, merchant: str, amount: float, at: float, *links: str) -> Observation:
    return seen(group, Role.PAYMENT, payer, merchant, amount, at, links=links)


def sent(group: str, source: str, sink: str, amount: float, at: float, *links: str) -> Observation:
    return seen(group, Role.TRANSFER, source, sink, amount, at, links=links)


def linked(group: str, subject: str, *links: str, at: float = 0) -> Observation:
    return seen(group, Role.LINK, subject, at=at, links=links)


def found(rule: Rule, rows: Iterable[Observation], rules: Matching = RULES) -> dict[bytes, Finding]:
    """What a rule finds when observations arrive one by one, the last finding of each key."""
    return _arrive(rule, [[row] for row in rows], rules)


def found_at_once(rule: Rule, rows: Sequence[Observation], rules: Matching = RULES) -> dict[bytes, Finding]:
    """What a rule finds when observations arrive in one batch."""
    return _arrive(rule, [rows], rules)


def _arrive(rule: Rule, batches: Iterable[Sequence[Observation]], rules: Matching) -> dict[bytes, Finding]:
    graph, findings = Graph(rules), {}
    for batch in batches:
        for row in [row for row in batch if graph.add(row)]:
            if row.role in rule.ROLES:
                for finding in rule.find(graph, row):
                    findings[finding.key] = finding
                    again = list(rule.find(graph, row))
                    assert finding in again
    return findings


def names(finding: Finding, known: Iterable[str]) -> set[str]:
    """Subjects of a finding, by the names of those known."""
    by_token = {token(name): name for name in known}
    return {by_token[subject.token] for subject in finding.subjects}


def any_order(rows: Sequence[Observation]) -> st.SearchStrategy[list[Observation]]:
    """The observations in any order of arrival."""
    return st.permutations(rows)


def assert_same_in(order: Sequence[Observation], rule: Rule, rows: Sequence[Observation]) -> None:
    """What is found doesn't depend on the order of arrival, and is found again from each of its evidence."""
    expected = found_at_once(rule, rows)
    assert expected
    assert found(rule, order) == expected
    graph = Graph(RULES)
    for row in rows:
        graph.add(row)
    for finding in expected.values():
        for place in finding.evidence:
            again = graph.get(place)
            assert again is not None
            if again.role in rule.ROLES:
                assert finding in list(rule.find(graph, again))
