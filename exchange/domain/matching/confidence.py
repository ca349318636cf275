"""How sure a match is: additive log-odds in milli-nats, and what they are made of.

Invariants: integers only, so that a replay gets the same; more groups, more instances or rarer ones never
lower it, since reliability is that of the least reliable among the most reliable groups a pattern needs. What
each part is worth is in the rulebook (matching.confidence).
"""

from collections.abc import Callable, Iterable
from decimal import Context, Decimal
from functools import lru_cache
from typing import Final, NamedTuple

from signalexchange.patterns import Matching
from signalexchange.v1.match_service_pb2 import MatchFactor
from signalexchange.v1.signal_service_pb2 import ContributionBucket

from exchange.domain.matching.finding import Pattern
from exchange.domain.scoring import permille

NAMES: Final = {pattern: pattern.name.lower().replace("_", "-") for pattern in Pattern}
"""Patterns as the rulebook and outcomes name them."""
Trust = Callable[[str], int]
"""How reliable a group's word has proved, in permille of the prior (1000: nothing is known)."""
_CONTEXT: Final = Context(prec=20)


class Confidence(NamedTuple):
    """Probability in permille, and the parts of its log-odds in milli-nats, named as in the contract."""

    permille: int
    parts: tuple[tuple[str, int], ...]

    def factors(self) -> list[MatchFactor]:
        """The parts that weigh anything, roughly, as a member sees them."""
        total = sum(abs(weight) for _, weight in self.parts)
        return [
            MatchFactor(name=name, contribution=_bucket(abs(weight), total))
            for name, weight in self.parts
            if weight
        ]


NONE: Final = Confidence(0, ())
"""Of a match without an instance that stands."""


def confidence(
    rules: Matching,
    pattern: Pattern,
    groups: Iterable[str],
    instances: int,
    rarity: int,
    trust: Trust,
    needed: int,
) -> Confidence:
    """Confidence of `instances` (at least 1) instances told by `groups`, the rarest of them of `rarity`
    (0 to 1000), of a pattern that needs `needed` groups."""
    worth = rules.confidence
    reliable = sorted((trust(group) for group in groups), reverse=True)
    parts = (
        ("pattern", getattr(worth, pattern.name.lower())),
        ("groups", worth.group * max(0, len(reliable) - 2)),
        ("repetition", worth.doubling * min(worth.doublings, instances.bit_length() - 1)),
        ("rarity", worth.rarity * rarity // 1000),
        ("reliability", _milli_nats(reliable[min(needed, len(reliable)) - 1])),
    )
    return Confidence(permille(sum(weight for _, weight in parts)), parts)


@lru_cache(maxsize=4096)
def _milli_nats(factor: int) -> int:
    """Natural logarithm, times 1000, of a factor in permille; the integer below."""
    ratio = _CONTEXT.divide(Decimal(max(1, factor)), Decimal(1000))
    return int((ratio.ln(_CONTEXT) * 1000).to_integral_value("ROUND_FLOOR"))


def _bucket(weight: int, total: int) -> ContributionBucket.ValueType:
    if 2 * weight >= total:
        return ContributionBucket.CONTRIBUTION_BUCKET_MAJOR
    if 4 * weight >= total:
        return ContributionBucket.CONTRIBUTION_BUCKET_MODERATE
    return ContributionBucket.CONTRIBUTION_BUCKET_MINOR
