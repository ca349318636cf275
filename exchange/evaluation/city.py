"""One city evaluated: what the exchange, each member alone, and all raw data together find in it.

Invariants: members' flows go through the files and the reader that any member's flows go through. The
exchange sees what the gates let pass, and tells from the rulebook's `report_at` on; alone and together the
same rules need one group, and are granted, in hindsight, the better of every flow and what the gates let
pass, and the best threshold.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from signalexchange.flows import Flow, in_order, read_flows, read_shared
from signalexchange.gate import GateParameters
from signalexchange.rulebook import Rulebook, default_text
from signalexchange.tables import SourceError

from exchange.domain.matching.matcher import Matcher
from exchange.evaluation.actors import Best, Named, Score, best_at_precision, entities_of, recall, score
from exchange.evaluation.observing import Own, Published, batches, published
from exchange.evaluation.people import People
from exchange.scenario import files
from exchange.scenario.city import City, Size, generate
from exchange.scenario.truth import CaseTruth, Truth

DAY: Final = 86_400
PRECISION: Final = 0.95
"""What alone and together must keep, in hindsight, and the exchange is asked to."""


class Share(NamedTuple):
    """A member's rows without a planted actor: how many there are, how many of them passed the gate."""

    ordinary: int
    published: int

    @property
    def share(self) -> float:
        """Published of ordinary; 0.0 where there are none."""
        return self.published / self.ordinary if self.ordinary else 0.0


class Recalls(NamedTuple):
    """Recall of a class of actors: with the exchange, by the best member alone, on all raw data together."""

    exchange: Score
    alone: Score
    pooled: Score


@dataclass(frozen=True)
class Found:
    """What came of one city. `missed` names the actors nobody was told of, `accused` the innocent named."""

    seed: int
    exchange: Score
    alone: Mapping[str, Score]
    pooled: Score
    typologies: Mapping[str, Recalls]
    variants: Mapping[str, Recalls]
    shares: Mapping[str, Share]
    missed: Sequence[str]
    accused: Sequence[str]


def evaluate(seed: int, size: Size | None = None) -> Found:
    """Generate a city and look for its actors in each way."""
    city = generate(seed, size)
    known = read(city)
    rulebook = Rulebook.parse(default_text())
    people = People(city.truth)
    gated = {member: list(published(member, own, GateParameters())) for member, own in known.items()}
    raw = {member: list(published(member, own, GateParameters.everything())) for member, own in known.items()}
    told = [
        each
        for each in look(_all(gated), rulebook, people, rulebook.matching.min_groups)
        if each.confidence >= rulebook.matching.report_at
    ]
    planted = people.planted

    def best_of(*views: Iterable[Published]) -> Best:
        sights = [best_at_precision(planted, look(said, rulebook, people, 1), PRECISION) for said in views]
        return max(sights, key=lambda each: each.score.found)

    alone = {member: best_of(gated[member], raw[member]) for member in known}
    pooled = best_of(_all(gated), _all(raw))
    best = max(alone.values(), key=lambda each: each.score.found)
    views = (told, best.believed, pooled.believed)
    named = entities_of(told)
    return Found(
        seed=seed,
        exchange=score(planted, told),
        alone={member: each.score for member, each in alone.items()},
        pooled=pooled.score,
        typologies=_by_class(city.truth, views, lambda case: case.typology),
        variants=_by_class(city.truth, views, lambda case: case.variant),
        shares={member: _share(own.flows, gated[member], people) for member, own in known.items()},
        missed=[people.describe(entity) for entity in sorted(planted - named)],
        accused=[people.describe(entity) for entity in sorted(named - planted)],
    )


def read(city: City) -> dict[str, Own]:
    """What every member knows, written to files and read back as a member reads its own."""
    known: dict[str, Own] = {}
    with tempfile.TemporaryDirectory() as name:
        files.write(city, Path(name))
        for member in city.views:
            rows = []
            for flow in read_flows(Path(name) / member / files.FLOWS):
                if isinstance(flow, SourceError):
                    raise flow
                rows.append(flow)
            known[member] = Own(in_order(rows), read_shared(Path(name) / member / files.SHARED))
    return known


def look(said: Iterable[Published], rulebook: Rulebook, people: People, groups: int) -> list[Named]:
    """What matching names in what was said, `groups` independent groups being needed; whatever has been open
    at any time counts, as it was told then."""
    numbers = count()
    matcher = Matcher(rulebook.matching, lambda: next(numbers).to_bytes(16, "big"), min_groups=groups)
    found: dict[bytes, Named] = {}
    today = 0
    for now, batch in batches(said, rulebook):
        if now // DAY != today:
            today = now // DAY
            matcher.advance(now)
        for row in matcher.observe(batch, now).matches.values():
            match = matcher.matches[row.match_id]
            entities = people.behind(subject.token for subject in match.subjects)
            confidence = matcher.confidence(match).permille
            known = found.get(row.match_id)
            if known is not None:
                entities |= known.entities
                confidence = max(confidence, known.confidence)
            found[row.match_id] = Named(match.pattern.name, confidence, entities)
    return list(found.values())


def _all(said: Mapping[str, Sequence[Published]]) -> list[Published]:
    return [each for member in sorted(said) for each in said[member]]


def _by_class(
    truth: Truth, views: Sequence[Sequence[Named]], name: Callable[[CaseTruth], str]
) -> dict[str, Recalls]:
    actors: dict[str, set[str]] = {}
    for case in truth.cases:
        actors.setdefault(name(case), set()).update(actor.entity for actor in case.actors)
    return {
        each: Recalls(*(recall(frozenset(members), view) for view in views))
        for each, members in sorted(actors.items())
    }


def _share(flows: Sequence[Flow], said: Sequence[Published], people: People) -> Share:
    ordinary = {
        flow.reference
        for flow in flows
        if not people.is_planted(flow.payer) and not people.is_planted(flow.payee)
    }
    return Share(len(ordinary), len(ordinary & {each.draft.reference for each in said}))
