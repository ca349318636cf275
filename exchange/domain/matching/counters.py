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
from exchange.domain.matching.match import Evidence, Instance, Match
from exchange.domain.matching.movement import movements
from exchange.domain.matching.observation import CENTS, Observation, Role

_TRIPS: Final = frozenset({Pattern.FUNDS_LOOP, Pattern.REFUND_LOOP})
_MONEY: Final = frozenset({Role.PAYMENT, Role.TRANSFER, Role.REFUND})
_LOW: Final = (0, 0, *(11 ** (band - 1) * 100 // 10 ** (band - 1) for band in range(2, 256)))
"""Least of each band, 1.1^(band − 1) CNY, in cents, rounded down; the first holds what is less, too."""
_HIGH: Final = (0, *(-(-(11**band) * 100 // 10**band) for band in range(1, 256)))
"""Most of each band, 1.1^band CNY, in cents, rounded up."""


_Ends = Callable[[Instance, list[Observation]], set[bytes]]


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
    money = _money(match, lambda item: not item.refuted, _to_payers)
    gain = Range(0, 0)
    if money.sent:
        sent, back = _range(money.sent.values()), _range(money.back.values())
        gain = Range(max(0, sent.low - back.high), max(0, sent.high - back.low))
    return Counters(_yuan(_range(money.principal.values())), _yuan(gain))


def digits(match: Match, told: Callable[[Evidence], bool]) -> tuple[int, int]:
    """Decimal digits of volume and gain in CNY, of evidence that may be `told`.

    The volume is that of the group that tells of most, since two may tell of the same money; the gain is what
    that leaves after all that came back, so that what two banks returned in part isn't taken for a fee. Both
    follow from what is told alone: others' claims of who is whose would let them move it.
    """
    money = _money(match, told, _to_ends)
    gain = _most(money.sent.values()) - _all(money.back.values()) if money.sent else 0
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


def _money(match: Match, told: Callable[[Evidence], bool], ends: _Ends) -> _Money:
    money = _Money({}, {}, {})
    for instance in match.instances.values():
        items = [item for item in instance.evidence.values() if told(item)]
        sent = {item.seen.place: item.seen for item in items if item.principal}
        money.principal.update(sent)
        if match.pattern in _TRIPS and sent:
            transfers = [item.seen for item in items if item.seen.role == Role.TRANSFER]
            back_to = ends(instance, transfers)
            back = {row.place: row for row in transfers if row.counterparty in back_to}
            if back:
                money.sent.update(sent)
                money.back.update(back)
    return money


def _to_payers(instance: Instance, transfers: list[Observation]) -> set[bytes]:
    """Tokens of the payers."""
    return {subject.token for subject in instance.subjects if subject.part == Part.PAYER}


def _to_ends(instance: Instance, transfers: list[Observation]) -> set[bytes]:
    """Tokens from which none of the money goes on."""
    return {row.counterparty for row in transfers} - {row.subject for row in transfers}


def _range(rows: Iterable[Observation]) -> Range:
    """In cents: at least what one group alone tells, at most what all tell, money told of twice counted once
    where that shows."""
    told = list(rows)
    least: dict[str, int] = {}
    for row in told:
        least[row.group] = least.get(row.group, 0) + _LOW[row.band]
    return Range(max(least.values(), default=0), sum(_HIGH[row.band] for row in _once(told)))


def _once(rows: Iterable[Observation]) -> list[Observation]:
    """Money of which two groups tell once, where that shows."""
    told = sorted(rows, key=lambda row: (row.first, row.place))
    moved = movements(row for row in told if row.role in _MONEY)
    return [movement.heads[0] for movement in moved] + [row for row in told if row.role not in _MONEY]


def _all(rows: Iterable[Observation]) -> int:
    """In cents: what all tell, of the middle of each band."""
    return sum(CENTS[row.band] for row in _once(rows))


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
