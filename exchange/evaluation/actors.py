"""Precision and recall over actors: people, merchants and accounts' owners, not matches.

Invariants: an actor counts once, however many matches name it and by however many identifiers; whoever is
named and took no part in a planted case is a false accusation, whatever the pattern. `alone` ranks are given
the best threshold in hindsight, the exchange is not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Named:
    """What one match names: its pattern, its confidence in permille, and the entities behind its tokens."""

    pattern: str
    confidence: int
    entities: frozenset[str]


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of actors: planted and named, planted in all, named in all."""

    found: int
    planted: int
    named: int

    @property
    def recall(self) -> float:
        """Share of the planted that were named; 1.0 where none were planted."""
        return self.found / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        """Share of the named that were planted; 1.0 where none were named."""
        return self.found / self.named if self.named else 1.0

    def __add__(self, other: "Score") -> "Score":
        return Score(self.found + other.found, self.planted + other.planted, self.named + other.named)


def score(planted: frozenset[str], named: Iterable[Named]) -> Score:
    """Of everything named."""
    entities = entities_of(named)
    return Score(len(entities & planted), len(planted), len(entities))


def entities_of(named: Iterable[Named]) -> frozenset[str]:
    """Everybody named."""
    return frozenset().union(*(each.entities for each in named))


def recall(actors: frozenset[str], named: Iterable[Named]) -> Score:
    """Of a class of actors; who is named besides is no fault of the class, so its precision means nothing."""
    found = len(entities_of(named) & actors)
    return Score(found, len(actors), found)


@dataclass(frozen=True, slots=True)
class Best:
    """A choice made in hindsight, and what it reaches."""

    score: Score
    believed: Sequence[Named]


def best_at_precision(planted: frozenset[str], named: Sequence[Named], least: float) -> Best:
    """The most recall reachable at a precision of at least `least`, choosing in hindsight which patterns and
    which confidences to believe: an upper bound for whoever has to choose beforehand."""
    classes: dict[tuple[str, int], list[Named]] = {}
    for each in named:
        classes.setdefault((each.pattern, each.confidence), []).append(each)
    by_precision = sorted(
        classes.values(), key=lambda group: (-score(planted, group).precision, -group[0].confidence)
    )
    best = Best(Score(0, len(planted), 0), ())
    believed: list[Named] = []
    for group in by_precision:
        believed += group
        reached = score(planted, believed)
        if reached.precision >= least and reached.found > best.score.found:
            best = Best(reached, tuple(believed))
    return best
