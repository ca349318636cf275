"""One group poisons what the hub learns: it confirms itself and its accomplices, refutes everybody else, from
several member ids, on signals and on matches. What others are told moves by the fairness rules at most.

Compared over a real hub: score, groups, reasons and advice of every subject for every member before, during
and after; and by properties, for any outcomes of one group.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.rulebook import Purpose, Rulebook, default_text
from signalexchange.v1.outcome_service_pb2 import VERDICT_CONFIRMED, VERDICT_INCONCLUSIVE, VERDICT_REFUTED
from signalexchange.v1.signal_service_pb2 import ACTION_AUTHENTICATE, SubjectRisk

from exchange.domain.reliability import NEUTRAL, Factors, Posterior, Reliability, Tally
from exchange.domain.scoring import DAY, Evidence, Matched, assess, decay, permille
from exchange.provision import PartySpec
from tests.support.exchange import Running, deploy, serving
from tests.support.loops import IBAN, TYPES, Loop
from tests.support.members import look_up
from tests.support.outcomes import INVESTIGATION, START, at, claim, follow, publish, report

HONEST = ("bank-a", "bank-b", "bank-c")
GANG, SISTER, ACCOMPLICE, ASKING, OTHER = "bank-gang", "bank-sister", "bank-mule", "bank-asking", "bank-other"
PARTIES = (
    *(PartySpec(name, "bank", f"{name}-group") for name in (*HONEST, ASKING, OTHER)),
    PartySpec(GANG, "bank", "gang-group"),
    PartySpec(SISTER, "bank", "gang-group"),
    PartySpec(ACCOMPLICE, "bank", "mule-group"),
    PartySpec("operator", "operator", "exchange-operator"),
)
RULEBOOK = Rulebook.parse(default_text())
PRIOR = RULEBOOK.matching.reliability
Answers = dict[tuple[str, bytes], SubjectRisk | None]


class City:
    """Subjects that honest banks tell of, one that the accomplice smears, a loop, and what a gang does."""

    def __init__(self, hub: Running) -> None:
        self.hub = hub
        self.accused = [os.urandom(32) for _ in range(3)]
        self.victim = os.urandom(32)
        self.loop = Loop(start=START // 300 * 300 - DAY)
        self.honest: list[bytes] = []
        self.mule: list[bytes] = []
        self.own: list[bytes] = []
        self.match = b""

    async def live(self) -> None:
        """What is said, told to the gang as far as it can be."""
        noise = [[claim() for _ in range(40)] for _ in (*HONEST, ACCOMPLICE)]
        tokens = [self.victim, *(one.subject.value for part in noise for one in part)]
        for member in (GANG, SISTER):
            await follow(self.hub, member, *self.accused, *tokens)
        for member in HONEST:  # whom they accuse themselves they aren't told of: it would be a rumour
            await follow(self.hub, member, *tokens)
        for member, more in zip(HONEST, noise, strict=False):
            signals = [*(claim(token) for token in self.accused), *more]
            await publish(self.hub, member, *signals)
            self.honest += [one.signal_id for one in signals]
        smears = [claim(self.victim), *noise[-1]]
        await publish(self.hub, ACCOMPLICE, *smears)
        self.mule = [one.signal_id for one in smears]
        praise = [claim(self.victim), *(claim() for _ in range(40))]
        await publish(self.hub, SISTER, *praise)
        self.own = [one.signal_id for one in praise]
        legs = self.loop.purchase(), self.loop.settlement(), self.loop.backflow(), self.loop.settlement()
        for member, leg in zip((*HONEST, GANG), legs, strict=True):
            await publish(self.hub, member, leg)
        await self.hub.hub._exchange.matching.settled()
        (self.match,) = self.hub.hub._exchange.matching.matcher.matches

    async def answers(self) -> Answers:
        """What everybody is told of everybody."""
        found: Answers = {}
        asked = [(sorted([*self.accused, self.victim]), {}), ([self.loop.payer.value], {"type_": IBAN})]
        for member in (*HONEST, ASKING, OTHER, GANG):
            for tokens, options in asked:
                request = look_up(tokens, purpose=INVESTIGATION, **options)
                answer = await self.hub[member].signals.LookUpSubjects(request, timeout=10)
                by_token = {risk.token: risk for risk in answer.subjects}
                found |= {(member, token): by_token.get(token) for token in tokens}
        return found

    async def flood(self) -> None:
        """All that the gang can say, by both of its ids, twice."""
        for _ in range(2):
            for half, member in enumerate((GANG, SISTER)):
                await report(self.hub, member, dict.fromkeys(self.honest[half::2], VERDICT_REFUTED))
                await report(self.hub, member, dict.fromkeys(self.mule[half::2], VERDICT_CONFIRMED))
            await report(self.hub, SISTER, dict.fromkeys(self.own, VERDICT_CONFIRMED))
            await report(self.hub, GANG, {self.match: VERDICT_REFUTED}, matches=True)
        await self.hub.hub._exchange.matching.settled()


@pytest.fixture
async def city(tmp_path: Path) -> AsyncIterator[City]:
    async with serving(deploy(tmp_path, clock=START, parties=PARTIES, types=TYPES)) as hub:
        made = City(hub)
        await made.live()
        yield made


def same_but_for_disputes(before: Answers, after: Answers) -> None:
    """Nobody is told another score; advice falls to AUTHENTICATE at most, and that only while disputed."""
    for key, was in before.items():
        now = after[key]
        assert (was is None) == (now is None)
        if was is None or now is None:
            continue
        assert (now.score, now.band, now.groups) == (was.score, was.band, was.groups)
        assert list(now.reasons) == list(was.reasons)
        capped = min(was.advice, ACTION_AUTHENTICATE) if now.disputed else was.advice
        assert now.advice == capped


async def test_a_flood_by_one_group_moves_no_score_and_caps_advice_for_a_time_only(city: City) -> None:
    before = await city.answers()
    assert before[ASKING, city.accused[0]].advice > ACTION_AUTHENTICATE  # type: ignore[union-attr]
    await city.flood()
    during = await city.answers()
    # The gang told of a leg of the loop itself: it takes back what it doesn't see either, its own word.
    alone = before[GANG, city.loop.payer.value]
    loop = {(member, city.loop.payer.value) for member in (*HONEST, ASKING, OTHER)}
    others = {key: risk for key, risk in before.items() if key not in loop and key[0] != GANG}
    same_but_for_disputes(others, during)
    assert alone is not None
    for key in loop:
        was, now = before[key], during[key]
        if key[0] in HONEST:  # who tells of it, too: what is left without it and the gang is no loop
            assert now is None
        else:
            assert was is not None
            assert now is not None
            assert (now.score, now.groups, now.advice) == (alone.score, was.groups - 1, was.advice)
    at(city.hub, RULEBOOK.matching.dispute_days * DAY)
    late = await city.answers()
    for key in others:
        was, now = before[key], late[key]
        assert (was is None) == (now is None)
        if was is not None and now is not None:
            assert (now.advice, now.groups, now.disputed) == (was.advice, was.groups, False)
    for member in (*HONEST, ACCOMPLICE):
        group = city.hub.hub._exchange.reliability.of_group(f"{member.replace('bank-mule', 'mule')}-group")
        assert group.factor() == NEUTRAL


async def test_the_accomplice_is_believed_no_more_and_its_victim_is_no_worse_off(city: City) -> None:
    before = await city.answers()
    await city.flood()
    victim = (await city.answers())[ASKING, city.victim]
    was = before[ASKING, city.victim]
    assert victim is not None
    assert was is not None
    assert (victim.score, victim.advice) == (was.score, was.advice)


async def test_what_two_others_agree_on_is_learned_and_the_flood_takes_back_that_at_most(city: City) -> None:
    """A third voice against two holds a factor where nothing would be known; it never pushes it beyond."""
    neutral = await city.answers()
    for member in ("bank-b", "bank-c"):
        await report(city.hub, member, dict.fromkeys(city.mule, VERDICT_REFUTED))
    learned = await city.answers()
    key = (ASKING, city.victim)
    was, now = neutral[key], learned[key]
    assert was is not None
    assert now is not None
    assert now.score < was.score
    await city.flood()
    after = (await city.answers())[key]
    assert after is not None
    assert now.score <= after.score <= was.score
    assert after.advice <= max(ACTION_AUTHENTICATE, now.advice)


async def test_an_independent_group_that_agrees_is_what_it_takes(city: City) -> None:
    before = await city.answers()
    await city.flood()
    bad = city.honest[3:43]  # what bank-a said of others
    await report(city.hub, "bank-b", dict.fromkeys(bad, VERDICT_REFUTED))
    after = await city.answers()
    key = (ASKING, city.accused[0])
    was, now = before[key], after[key]
    assert was is not None
    assert now is not None
    assert city.hub.hub._exchange.reliability.trust("bank-a-group") < NEUTRAL
    assert city.hub.hub._exchange.reliability.trust("bank-b-group") == NEUTRAL
    assert now.score <= was.score


async def test_inconclusive_verdicts_teach_nothing(city: City) -> None:
    before = await city.answers()
    version = city.hub.hub._exchange.learning.learned.version
    for member in (GANG, "bank-b", "bank-c"):
        judged = city.mule if member != GANG else [*city.honest, *city.mule]
        await report(city.hub, member, dict.fromkeys(judged, VERDICT_INCONCLUSIVE))
    assert city.hub.hub._exchange.learning.learned.version == version
    assert await city.answers() == before


# --- for any group and any outcomes of it

NOW = START
GROUPS = ["north", "south", "lotus", "river"]
CODES = [code.code for code in RULEBOOK.codes if code.is_searched and not code.needs_links][:3]
PATTERNS = ["funds-loop", "payer-ring"]
said = st.lists(
    st.builds(
        Evidence,
        group=st.sampled_from(GROUPS),
        code=st.sampled_from(CODES),
        confidence=st.integers(1, 100),
        grade=st.integers(1, 3),
        tlp=st.just(3),
        last_seen=st.integers(0, 60).map(lambda days: NOW - days * DAY),
        echo=st.just(False),
        disputed=st.just(False),
    ),
    max_size=10,
)
matches = st.lists(
    st.builds(
        lambda pattern, sure, left: Matched(pattern, sure, GROUPS[:2], {GROUPS[0]: left * sure // 4}, 3, NOW),
        st.sampled_from(PATTERNS),
        st.integers(1, 1000),
        st.integers(0, 4),
    ),
    max_size=3,
)


def tallies(reporter: st.SearchStrategy[str], most: int) -> st.SearchStrategy[list[Tally]]:
    return st.lists(
        st.builds(
            Tally,
            issuer=st.sampled_from([*GROUPS, ""]),
            code=st.sampled_from([*CODES, *PATTERNS]),
            reporter=reporter,
            confirmed=st.integers(0, most),
            refuted=st.integers(0, most),
        ),
        max_size=6,
    )


def known(items: list[Tally]) -> Reliability:
    return Reliability(PRIOR, lambda member: member, items)


def pooled(items: list[Tally], issuer: str | None, name: str) -> tuple[int, int]:
    """What an issuer's own word on itself makes of its factor, and what all verdicts together do."""
    posterior = Posterior(PRIOR, issuer)
    for tally in items:
        if (tally.issuer if issuer is not None else tally.code) == name:
            praise = tally.issuer == tally.reporter
            if (0 if praise else tally.confirmed) or tally.refuted:
                posterior.add(tally.reporter, 0 if praise else tally.confirmed, tally.refuted)
    own = posterior._capped(issuer) if issuer is not None and issuer in posterior.groups else (0, 0)
    return posterior._ratio(*own), posterior._ratio(*posterior.counts)


def reaches(items: list[Tally], codes: list[str]) -> tuple[Factors, Factors]:
    """For each factor the least and the most that others' verdicts alone allow, whoever else joins in."""
    groups = {name: pooled(items, name, name) for name in GROUPS}
    by_code = {name: pooled(items, None, name) for name in codes}
    return (
        Factors({name: min(pair) for name, pair in groups.items()}, {n: min(p) for n, p in by_code.items()}),
        Factors({name: max(pair) for name, pair in groups.items()}, {n: max(p) for n, p in by_code.items()}),
    )


def score(items: list[Evidence], found: list[Matched], factors: Factors) -> int:
    """The model's formula, with these factors."""
    model = RULEBOOK.model
    groups = dict.fromkeys(GROUPS, 0)
    for group in GROUPS:
        for code in CODES:
            rule = RULEBOOK.code(code)
            assert rule is not None
            weight = sum(
                rule.weights.of(item.grade)
                * item.confidence
                * decay(NOW - item.last_seen, rule.half_life_days * DAY)
                // (100 << 16)
                for item in items
                if (item.group, item.code) == (group, code)
            )
            groups[group] += weight * factors.groups[group] * factors.codes[code] // NEUTRAL**2
    strongest = dict.fromkeys(PATTERNS, 0)
    for match in found:
        weight = model.match * match.confidence * factors.codes[match.pattern] // NEUTRAL**2
        strongest[match.pattern] = max(strongest[match.pattern], weight)
    if not any(groups.values()) and not any(strongest.values()):
        return 0
    total = sum(min(model.group_cap, weight) for weight in groups.values())
    return permille(model.prior + total + min(model.group_cap, sum(strongest.values())))


@given(
    said,
    matches,
    tallies(st.sampled_from([*GROUPS, "cloud"]), 12),
    tallies(st.just("gang"), 5_000),
    st.sampled_from(RULEBOOK.purposes),
)
def test_whatever_one_group_reports_scores_stay_between_nothing_learned_and_what_others_say(
    items: list[Evidence], found: list[Matched], others: list[Tally], flood: list[Tally], purpose: Purpose
) -> None:
    """The gang neither pushes a score beyond what the others' verdicts make of it nor past where it would be
    had nobody reported; and no advice rises with it, unless it would without."""
    after = assess(bytes(32), items, RULEBOOK, purpose, NOW, known([*others, *flood]), found)
    before = assess(bytes(32), items, RULEBOOK, purpose, NOW, known(others), found)
    least, most = (score(items, found, each) for each in reaches(others, [*CODES, *PATTERNS]))
    assert least <= (0 if after is None else after.score) <= most
    if after is not None:
        plain = purpose.advice.by_band[before.band] if before is not None else ACTION_AUTHENTICATE
        assert after.advice <= max(ACTION_AUTHENTICATE, plain)


@given(said, matches, tallies(st.just("gang"), 5_000), st.sampled_from(RULEBOOK.purposes))
def test_alone_it_moves_neither_score_nor_advice_of_anybody_else(
    items: list[Evidence], found: list[Matched], flood: list[Tally], purpose: Purpose
) -> None:
    moved = assess(bytes(32), items, RULEBOOK, purpose, NOW, known(flood), found)
    assert moved == assess(bytes(32), items, RULEBOOK, purpose, NOW, None, found)
