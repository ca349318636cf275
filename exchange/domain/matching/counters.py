"""What a match tells of the money, as the law counts it: how much was moved, and how much didn't come back.

Amounts are bands, so that every counter is a range. Invariants: integers only, so that a replay gets the
same; money of which two groups tell counts once towards the least; gain is told by round trips alone, where
both what was sent and what came back are in the evidence; whether a threshold of the law may have been passed
is worked out of decimal digits and nothing else, and is never a verdict.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from signalexchange.notices.law import packaged_law
from signalexchange.v1.match_service_pb2 import (
    THRESHOLD_STANDING_BELOW,
    THRESHOLD_STANDING_MAY_HAVE_PASSED,
    MatchThreshold,
)
from signalexchange.v1.notice_service_pb2 import (
    LEGAL_COUNTER_GAIN,
    LEGAL_COUNTER_VOLUME,
    LEGAL_LEVEL_ESPECIALLY_SERIOUS,
    LEGAL_LEVEL_SERIOUS,
)

from exchange.domain.matching.finding import Part, Pattern
from exchange.domain.matching.match import Evidence, Match
from exchange.domain.matching.movement import movements
from exchange.domain.matching.observation import CENTS, Observation, Role

_TRIPS: Final = frozenset({Pattern.FUNDS_LOOP, Pattern.REFUND_LOOP})
_MONEY: Final = frozenset({Role.PAYMENT, Role.TRANSFER, Role.REFUND})
_LOW: Final = (0, 0, *(11 ** (band - 1) * 100 // 10 ** (band - 1) for band in range(2, 256)))
"""Least of each band, 1.1^(band − 1) CNY, in cents, rounded down; the first holds what is less, too."""
_HIGH: Final = (0, *(-(-(11**band) * 100 // 10**band) for band in range(1, 256)))
"""Most of each band, 1.1^band CNY, in cents, rounded up."""


class Range(NamedTuple):
    """At least and at most so much, in CNY."""

    low: int
    high: int


class Counters(NamedTuple):
    """What a match tells: money moved, and money that didn't come back."""

    volume: Range
    gain: Range


class _Money(NamedTuple):
    """Observations, each once: the principal; and of round trips what was sent and what came back."""

    principal: dict[int, Observation]
    sent: dict[int, Observation]
    back: dict[int, Observation]


def counters(match: Match) -> Counters:
    """The counters of all that a match stands on."""
    money = _money(match, lambda item: not item.refuted)
    gain = Range(0, 0)
    if money.sent:
        sent, back = _range(money.sent.values()), _range(money.back.values())
        gain = Range(max(0, sent.low - back.high), max(0, sent.high - back.low))
    return Counters(_yuan(_range(money.principal.values())), _yuan(gain))


def digits(match: Match, told: Callable[[Evidence], bool]) -> tuple[int, int]:
    """Decimal digits of volume and gain in CNY, of evidence that may be `told`, each as the group that tells
    of most has it: two may tell of the same money."""
    money = _money(match, told)
    gain = _most(money.sent.values()) - _most(money.back.values()) if money.sent else 0
    return _digits(_most(money.principal.values())), _digits(gain)


@lru_cache(maxsize=1024)
def thresholds(volume_digits: int, gain_digits: int) -> tuple[MatchThreshold, ...]:
    """Where amounts of so many decimal digits stand towards the law's thresholds."""
    digits_of = {"volume": (LEGAL_COUNTER_VOLUME, volume_digits), "gain": (LEGAL_COUNTER_GAIN, gain_digits)}
    levels = {"serious": LEGAL_LEVEL_SERIOUS, "especially-serious": LEGAL_LEVEL_ESPECIALLY_SERIOUS}
    found = []
    for fact in packaged_law().facts:
        for each in fact.thresholds:
            counter, count = digits_of.get(each.counter, (None, 0))
            if counter is None or not count:
                continue
            reaches = 10**count - 1 >= each.yuan
            found.append(
                MatchThreshold(
                    statute=fact.id,
                    counter=counter,
                    level=levels[each.level],
                    standing=THRESHOLD_STANDING_MAY_HAVE_PASSED if reaches else THRESHOLD_STANDING_BELOW,
                )
            )
    return tuple(found)


def _money(match: Match, told: Callable[[Evidence], bool]) -> _Money:
    money = _Money({}, {}, {})
    for instance in match.instances.values():
        sent = {}
        back = {}
        payers = {subject.token for subject in instance.subjects if subject.part == Part.PAYER}
        for item in instance.evidence.values():
            if not told(item):
                continue
            row = item.seen
            if item.principal:
                sent[row.place] = row
            elif row.role == Role.TRANSFER and row.counterparty in payers:
                back[row.place] = row
        money.principal.update(sent)
        if match.pattern in _TRIPS and sent and back:
            money.sent.update(sent)
            money.back.update(back)
    return money


def _range(rows: Iterable[Observation]) -> Range:
    """In cents: at least what one group alone tells, at most what all tell, money told of twice counted once
    where that shows."""
    told = sorted(rows, key=lambda row: (row.first, row.place))
    least: dict[str, int] = {}
    for row in told:
        least[row.group] = least.get(row.group, 0) + _LOW[row.band]
    moved = [row for row in told if row.role in _MONEY]
    heads = [movement.heads[0] for movement in movements(moved)]
    rest = [row for row in told if row.role not in _MONEY]
    return Range(max(least.values(), default=0), sum(_HIGH[row.band] for row in (*heads, *rest)))


def _most(rows: Iterable[Observation]) -> int:
    """In cents: what the group that tells of most tells, of the middle of each band."""
    totals: dict[str, int] = {}
    for row in rows:
        totals[row.group] = totals.get(row.group, 0) + CENTS[row.band]
    return max(totals.values(), default=0)


def _yuan(cents: Range) -> Range:
    return Range(cents.low // 100, -(-cents.high // 100))


def _digits(cents: int) -> int:
    return len(str(cents // 100)) if cents >= 100 else 0
