"""Random evidence for matching: a few groups tell, of few people and close together, what makes patterns."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from exchange.domain.matching.changes import Changes
from exchange.domain.matching.finding import Finding
from exchange.domain.matching.joining import RULES
from exchange.domain.matching.match import Verdict
from exchange.domain.matching.matcher import Matcher
from exchange.domain.matching.observation import Observation, Role
from tests.support.matching import DAY, HOUR, START, said, token

GROUPS = "abcd"
PHONES = ["phone 1", "phone 2", "phone 3"]
MERCHANTS = ["merchant m", "merchant n", "merchant o"]
IBANS = ["iban 1", "iban 2"]
VALUES = ["device d", *IBANS, *PHONES]
NAMES = [token(name) for name in (*MERCHANTS, *PHONES)]
NOW = START + 3 * DAY
SHAPES = [
    "loop",
    "loop",
    "pay",
    "back",
    "refund",
    "cycles",
    "lines",
    "link",
    "link",
    "shared",
    "ring",
    "hop",
    "collect",
]


class Told(NamedTuple):
    """What is told at a time, in numbers that pick who, of whom and how."""

    shape: int
    groups: tuple[int, int, int]
    who: tuple[int, int, int]
    hours: int
    band: int
    echo: int
    links: tuple[int, int]


class Withdrawal(NamedTuple):
    """Places that are withdrawn."""

    places: tuple[int, ...]


class Judgement(NamedTuple):
    """A group's verdict on all matches that name a token."""

    name: bytes
    group: str
    verdict: Verdict


class Batch(NamedTuple):
    """Observations that are accepted together."""

    rows: tuple[Observation, ...]


Step = Batch | Withdrawal | Judgement

_SMALL = st.integers(0, 5)
TOLD = st.builds(
    Told,
    st.integers(0, len(SHAPES) - 1),
    st.tuples(_SMALL, _SMALL, _SMALL),
    st.tuples(_SMALL, _SMALL, _SMALL),
    st.integers(0, 12),
    st.integers(0, 1),
    st.integers(0, 3),
    st.tuples(st.integers(0, 11), st.integers(0, 11)),
)
_STEPS = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 3), st.integers(0, 3), _SMALL, _SMALL, st.integers(1, 3)),
    min_size=30,
    max_size=30,
)


def tell(place: int, told: Told) -> list[Observation]:
    """The observations, from a place on."""
    one, two, three = (GROUPS[each % len(GROUPS)] for each in told.groups)
    payer, merchant = PHONES[told.who[0] % 3], MERCHANTS[told.who[1] % 2]
    account = [*IBANS, payer][told.who[2] % 3]
    band, at, echo = 79 + told.band, told.hours * HOUR, told.echo == 3
    named = [VALUES[each] for each in dict.fromkeys(told.links) if each < len(VALUES)]
    links = [link for link in named if link != payer]
    match SHAPES[told.shape]:
        case "loop":
            return [
                said(place, one, Role.PAYMENT, payer, merchant, band=band, at=at, echo=echo, links=links),
                said(place + 1, two, Role.TRANSFER, merchant, account, band=79, at=at + HOUR),
            ]
        case "pay":
            return [said(place, one, Role.PAYMENT, payer, merchant, band=band, at=at, echo=echo, links=links)]
        case "back":
            return [said(place, one, Role.TRANSFER, merchant, account, band=band, at=at, echo=echo)]
        case "refund":
            return [
                said(place, one, Role.REFUND, payer, merchant, band=band, at=at, until=at + HOUR, echo=echo),
                said(place + 1, two, Role.TRANSFER, merchant, account, band=band, at=at + HOUR),
            ]
        case "cycles":
            return [
                said(place, one, Role.CYCLE, payer, band=band, at=at, until=at + HOUR, echo=echo),
                said(place + 1, two, Role.CYCLE, payer, band=band, at=at + HOUR, until=at + 2 * HOUR),
            ]
        case "lines":
            return [
                said(place + n, name, Role.LINE, payer, at=at, until=at + HOUR, echo=echo and n == 0)
                for n, name in enumerate((one, two, three))
            ]
        case "link":
            subject = [*PHONES, *MERCHANTS][told.who[0]]
            joined = [link for link in named if link != subject] or ["iban 1"]
            return [said(place, one, Role.LINK, subject, at=at, links=joined, echo=echo)]
        case "shared":
            return [said(place, one, Role.SHARED, VALUES[told.who[0] % 3], at=at, echo=echo)]
        case "ring":
            return [
                said(place + n, name, Role.PAYMENT, PHONES[n], merchant, at=at + n * HOUR, links=["device d"])
                for n, name in enumerate((one, two, three))
            ]
        case "hop":
            return [
                said(place + 3 * n + m, name, Role.PAYMENT, PHONES[n], MERCHANTS[m], at=at + m * HOUR)
                for n, name in enumerate((one, two, three))
                for m in range(3)
            ]
        case _:
            return [
                *(
                    said(place + n, one, Role.TRANSFER, f"iban s{n}", account, at=at + n * HOUR, echo=echo)
                    for n in range(3)
                ),
                *(
                    said(place + 3 + n, two, Role.TRANSFER, account, f"iban t{n}", at=at + (3 + n) * HOUR)
                    for n in range(3)
                ),
            ]


def rows_of(told: Sequence[Told]) -> list[Observation]:
    """Observations by ascending place."""
    rows: list[Observation] = []
    for each in told:
        rows += tell(len(rows) + 1, each)
    return rows


def steps_of(
    rows: Sequence[Observation], numbers: Sequence[tuple[int, int, int, int, int, int]]
) -> list[Step]:
    """Observations in batches, with withdrawals and verdicts between them."""
    steps: list[Step] = []
    at = 0
    for size, withdrawn, judged, group, name, verdict in numbers:
        batch = tuple(rows[at : at + size])
        if not batch:
            break
        steps.append(Batch(batch))
        at += len(batch)
        if judged == 0:
            steps.append(Judgement(NAMES[name], [*GROUPS, "y", "z"][group], Verdict(verdict)))
        if withdrawn == 0:
            steps.append(Withdrawal((rows[(7 * group + name) % at].place,)))
    return steps


observations = st.lists(TOLD, min_size=2, max_size=14).map(rows_of)
histories = st.builds(steps_of, observations, _STEPS)
judged = histories.map(lambda steps: [step for step in steps if not isinstance(step, Withdrawal)])


def take(matcher: Matcher, step: Step, now: int = NOW) -> list[Changes]:
    """Carry a step out; its changes."""
    if isinstance(step, Withdrawal):
        return [matcher.withdraw(step.places, now)]
    if isinstance(step, Judgement):
        ids = [match.match_id for match in matcher.of(step.name)]
        return [matcher.judge(match_id, step.group, step.verdict, now) for match_id in ids]
    return [matcher.observe(step.rows, now)]


def run(matcher: Matcher, steps: Sequence[Step], now: int = NOW) -> Matcher:
    """Carry all steps out."""
    for step in steps:
        take(matcher, step, now)
    return matcher


def found_again(matcher: Matcher, rows: Iterable[Observation]) -> list[Finding]:
    """What the rules find once more, told by enough groups, from whatever was accepted."""
    return [
        finding
        for row in rows
        for pattern, rule in RULES.items()
        if row.place in matcher.graph
        and row.role in rule.ROLES
        and row.place not in matcher.ledger.refuted(pattern)
        for finding in rule.find(matcher._view(pattern), row)
        if matcher._told(finding)
    ]


def ask_again(matcher: Matcher, steps: Sequence[Step]) -> Matcher:
    """Have matches hold all that the rules find once more."""
    rows = [row for step in steps if isinstance(step, Batch) for row in step.rows]
    for finding in found_again(matcher, rows):
        matcher._accept(finding, NOW)
    return matcher


def without(steps: Sequence[Step], group: str) -> list[Step]:
    """The history had a group said and decided nothing."""
    found: list[Step] = []
    for step in steps:
        if isinstance(step, Batch):
            found.append(Batch(tuple(row for row in step.rows if row.group != group)))
        elif not isinstance(step, Judgement) or step.group != group:
            found.append(step)
    return found
