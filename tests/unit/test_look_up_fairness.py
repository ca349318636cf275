"""What a look-up answers of a subject that signals, matches and outcomes are about: no single accuser, no
rumour, no veto, no self-praise. Each rule compares with a world in which what it forbids to count was never
said.
"""

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange.rulebook import Purpose
from signalexchange.v1.signal_pb2 import TLP_AMBER
from signalexchange.v1.signal_service_pb2 import ACTION_ALLOW, ACTION_AUTHENTICATE, SubjectRisk

from exchange.domain.matching.advice import matched
from exchange.domain.matching.confidence import NAMES
from exchange.domain.matching.match import Verdict
from exchange.domain.matching.matcher import Matcher
from exchange.domain.reliability import Reliability, Tally
from exchange.domain.scoring import Evidence, Matched, assess
from tests.support.evidence import (
    GROUPS,
    NOW,
    SHAPES,
    TOLD,
    Judgement,
    Step,
    Told,
    rows_of,
    run,
    steps_of,
    without,
)
from tests.support.matching import DAY, RULEBOOK, new_matcher, token

CALLER = "z"
REPORTERS = [*GROUPS, "y"]
CODES = ["cash-out-suspected", "mule-account", "merchant-sham"]
SCREENING, CREDIT, INQUIRY = (
    purpose
    for name in ("transaction-screening", "credit-decision", "investigation")
    for purpose in RULEBOOK.purposes
    if purpose.purpose == name
)


@dataclass(frozen=True)
class World:
    """All that was said: signals on one subject, what matching is told, and outcomes."""

    signals: tuple[Evidence, ...]
    steps: tuple[Step, ...]
    tallies: tuple[Tally, ...]

    def without(self, group: str) -> "World":
        """Had a group said and reported nothing."""
        return World(
            tuple(item for item in self.signals if item.group != group),
            tuple(without(self.steps, group)),
            tuple(tally for tally in self.tallies if tally.reporter != group),
        )

    def ask(self, purpose: Purpose, subject: bytes, now: int = NOW) -> SubjectRisk | None:
        """The answer to the caller."""
        return Asked(self).about(subject, purpose, now)


class Asked:
    """A world with what the hub works out of it."""

    def __init__(self, world: World) -> None:
        self._signals = world.signals
        self._reliability = Reliability(RULEBOOK.matching.reliability, lambda member: member, world.tallies)
        self._matcher: Matcher = run(new_matcher(), world.steps)
        self._matcher.reliability = self._reliability

    def about(self, subject: bytes, purpose: Purpose, now: int = NOW) -> SubjectRisk | None:
        standing = self.matches(subject, purpose, now)
        return assess(subject, self._signals, RULEBOOK, purpose, now, self._reliability, standing)

    def matches(self, subject: bytes, purpose: Purpose, now: int = NOW) -> list[Matched]:
        found = [
            matched(self._matcher, match, subject, CALLER, TLP_AMBER, now)
            for match in self._matcher.of(subject)
            if NAMES[match.pattern] in purpose.patterns
        ]
        return [match for match in found if match is not None]

    def highest(self, subject: bytes, purpose: Purpose) -> int:
        """What the grade of the evidence allows."""
        grades = [item.grade for item in self._signals if not item.echo]
        grades += [match.grade for match in self.matches(subject, purpose)]
        return RULEBOOK.advice_grades.highest[max(grades, default=0)]


signals = st.lists(
    st.builds(
        Evidence,
        group=st.sampled_from(REPORTERS),
        code=st.sampled_from(CODES),
        confidence=st.integers(50, 100),
        grade=st.sampled_from([1, 2, 3, 3]),
        tlp=st.just(3),
        last_seen=st.integers(0, 30).map(lambda days: NOW - days * DAY),
        echo=st.integers(0, 4).map(lambda number: number == 0),
        disputed=st.just(False),
    ),
    max_size=8,
).map(tuple)
small = st.integers(0, 5)
loops = st.builds(
    Told,
    shape=st.just(SHAPES.index("loop")),
    groups=st.tuples(small, small, small),
    who=st.just((0, 0, 2)),
    hours=st.integers(0, 12),
    band=st.integers(0, 1),
    echo=st.integers(0, 3),
    links=st.just((11, 11)),
)
"""From the first payer over the first merchant back to the payer."""
histories = st.builds(
    lambda told, noise, numbers: tuple(steps_of(rows_of([*told, *noise]), numbers)),
    st.lists(loops, min_size=1, max_size=5),
    st.lists(TOLD, max_size=4),
    st.lists(
        st.tuples(st.integers(1, 6), st.just(3), small, small, small, st.integers(1, 3)),
        min_size=20,
        max_size=20,
    ),
)
"""Without withdrawals: those leave another history than if a group had said nothing."""
tallies = st.lists(
    st.builds(
        Tally,
        issuer=st.sampled_from([*REPORTERS, ""]),
        code=st.sampled_from([*CODES, "funds-loop", "payer-ring", ""]),
        reporter=st.sampled_from(REPORTERS),
        confirmed=st.integers(0, 12),
        refuted=st.integers(0, 12),
    ),
    max_size=6,
).map(tuple)
worlds = st.builds(World, signals, histories, tallies)
purposes = st.sampled_from([SCREENING, CREDIT, INQUIRY])
subjects = st.sampled_from([token("phone 1"), token("phone 1"), token("merchant m"), token("phone 2")])


def uncapped(risk: SubjectRisk | None, purpose: Purpose) -> int:
    """Advice by the band alone, however few groups stand behind it."""
    return ACTION_ALLOW if risk is None else purpose.advice.by_band[risk.band]


@settings(max_examples=60)
@given(worlds, purposes, subjects)
def test_no_single_accuser(world: World, purpose: Purpose, subject: bytes) -> None:
    risk = world.ask(purpose, subject)
    if risk is not None and risk.advice > ACTION_AUTHENTICATE:
        for group in REPORTERS:
            others = Asked(world.without(group))
            left = uncapped(others.about(subject, purpose), purpose)
            left = min(left, others.highest(subject, purpose))
            assert risk.advice <= max(ACTION_AUTHENTICATE, left), group


@settings(max_examples=30)
@given(worlds, purposes, subjects)
def test_no_rumour(world: World, purpose: Purpose, subject: bytes) -> None:
    """A signal that echoes what its group was shown is as if it had not been published."""
    heard = replace(world, signals=tuple(item for item in world.signals if not item.echo))
    assert world.ask(purpose, subject) == heard.ask(purpose, subject)


@settings(max_examples=30)
@given(worlds, purposes, subjects)
def test_no_veto(world: World, purpose: Purpose, subject: bytes) -> None:
    """What one group reports of all others takes nothing away once its disputes are over."""
    plain = replace(
        world, tallies=(), steps=tuple(step for step in world.steps if not isinstance(step, Judgement))
    )
    names = Asked(plain)._matcher.named
    refuting = (*plain.steps, *(Judgement(name, "y", Verdict.REFUTED) for name in sorted(names)))
    flood = tuple(Tally(issuer, code, "y", 0, 50) for issuer in GROUPS for code in CODES)
    later = NOW + RULEBOOK.matching.dispute_days * DAY
    after = replace(plain, steps=refuting, tallies=flood).ask(purpose, subject, later)
    assert after == plain.ask(purpose, subject, later)


@settings(max_examples=30)
@given(worlds, purposes, subjects, st.sampled_from(GROUPS))
def test_no_self_praise(world: World, purpose: Purpose, subject: bytes, group: str) -> None:
    """A group that confirms all it said itself is believed as before."""
    plain = replace(world, tallies=())
    praise = tuple(Tally(group, code, group, 50, 0) for code in (*CODES, ""))
    assert replace(plain, tallies=praise).ask(purpose, subject) == plain.ask(purpose, subject)


def test_the_worlds_hold_what_the_rules_are_about() -> None:
    """Enough of them advise something, with matches and without."""
    advised = {"match": 0, "signals": 0}

    @settings(max_examples=150, database=None, derandomize=True)
    @given(worlds, subjects)
    def count(world: World, subject: bytes) -> None:
        risk = world.ask(CREDIT, subject)
        if risk is not None and risk.advice > ACTION_AUTHENTICATE:
            codes = {reason.code for reason in risk.reasons}
            advised["match" if codes - set(CODES) else "signals"] += 1

    count()
    assert min(advised.values()) >= 3, advised
