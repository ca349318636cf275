"""Money that moved from one to another, put together from the legs that say so.

Invariants: what two groups report of one transfer counts once; amounts are the middles of bands, so that a
ratio is right within one band (10 %) either way: whoever compares allows for that; legs of no amount move
nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from signalexchange.patterns import Return

from exchange.domain.matching.observation import CENTS, Observation

SLOT: Final = 300
_PARTS: Final = 12
"""Movements in a row that are tried as the parts of one sum."""


class Movement(NamedTuple):
    """One payment or transfer, or several that make up a sum: cents, when it began and ended (Unix seconds),
    the legs that report it, and of these one for each payment."""

    cents: int
    first: int
    last: int
    legs: tuple[Observation, ...]
    heads: tuple[Observation, ...]


def is_same(one: Observation, other: Observation) -> bool:
    """Whether two legs may be two groups' reports of the same money."""
    return (
        (one.subject, one.counterparty) == (other.subject, other.counterparty)
        and abs(one.first - other.first) <= 2 * SLOT
        and abs(one.band - other.band) <= 1
    )


def movements(legs: Iterable[Observation]) -> list[Movement]:
    """Legs in time order as movements: two groups' legs between the same tokens at nearly
    one time and of nearly one amount are the same money."""
    found: list[Movement] = []
    for leg in legs:
        if not leg.band:
            continue
        at = next(_same(found, leg), None)
        if at is None:
            found.append(Movement(CENTS[leg.band], leg.first, leg.last, (leg,), (leg,)))
        else:
            found[at] = found[at]._replace(legs=(*found[at].legs, leg))
    return found


def _same(found: Sequence[Movement], leg: Observation) -> Iterator[int]:
    for at in range(len(found) - 1, -1, -1):
        known, head = found[at], found[at].heads[0]
        if known.first + 2 * SLOT < leg.first:
            return
        if is_same(head, leg) and all(one.group != leg.group for one in known.legs):
            yield at


def total(parts: Sequence[Movement]) -> Movement:
    """At least one movement, in time order, as one sum."""
    return Movement(
        sum(part.cents for part in parts),
        parts[0].first,
        max(part.last for part in parts),
        tuple(leg for part in parts for leg in part.legs),
        tuple(head for part in parts for head in part.heads),
    )


def rows(parts: Sequence[Movement], start: int, until: int, gap: int) -> Iterator[Sequence[Movement]]:
    """Up to twelve movements from one on that began until then, each at most `gap` seconds after the one
    before; the longest row first: a sum may have been split."""
    end = start + 1
    while end < min(start + _PARTS, len(parts)) and parts[end].first <= min(
        until, parts[end - 1].first + gap
    ):
        end += 1
    for last in range(end, start, -1):
        yield parts[start:last]


def sums(parts: Sequence[Movement], since: int, until: int, least: int, most: int) -> Iterator[Movement]:
    """Of movements that began in [since, until] each row whose sum is in [least, most] cents, as one."""
    for start, part in enumerate(parts):
        if part.first > until:
            return
        if part.first >= since and part.cents <= most:
            for row in rows(parts, start, until, until):
                if least <= sum(part.cents for part in row) <= most:
                    yield total(row)


def returned(share: Return, sent: int) -> tuple[int, int]:
    """Least and most cents that return the share that is asked of what was sent, within a band either way."""
    return sent * share.least // 1_100, sent * share.most * 11 // 10_000
