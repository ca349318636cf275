"""Money that moved from one to another, put together from the legs that say so.

Invariants: what two groups report of one transfer counts once; amounts are the middles of bands, so that a
ratio is right within one band (10 %) either way: whoever compares allows for that.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from signalexchange.patterns import Return

from exchange.domain.matching.observation import CENTS, Observation

SLOT: Final = 300
_PARTS: Final = 12
"""Movements in a row that are tried as the parts of one sum."""


class Movement(NamedTuple):
    """One payment or transfer: cents, when it began and ended (Unix seconds), and the legs that report it."""

    cents: int
    first: int
    last: int
    legs: tuple[Observation, ...]


def movements(legs: Sequence[Observation]) -> list[Movement]:
    """Legs in time order as movements: two groups' legs of nearly one time and amount are the same money."""
    found: list[Movement] = []
    for leg in legs:
        for at in range(len(found) - 1, -1, -1):
            known = found[at]
            if known.first + 2 * SLOT < leg.first:
                break
            if abs(known.legs[0].band - leg.band) <= 1 and all(one.group != leg.group for one in known.legs):
                found[at] = known._replace(legs=(*known.legs, leg))
                break
        else:
            found.append(Movement(CENTS[leg.band], leg.first, leg.last, (leg,)))
    return found


def sums(parts: Sequence[Movement]) -> Iterator[Movement]:
    """Each movement, and each row of up to twelve successive ones added up: a sum may have been split."""
    for start in range(len(parts)):
        row = parts[start : start + _PARTS]
        for count, cents in enumerate(accumulate(part.cents for part in row), start=1):
            legs = tuple(leg for part in row[:count] for leg in part.legs)
            yield Movement(cents, row[0].first, row[count - 1].last, legs)


def returns(share: Return, sent: int, returned: int) -> bool:
    """Whether `returned` is the share of `sent` that is asked, both in cents, within a band either way."""
    return sent * share.least * 10 <= returned * 11_000 and returned * 10_000 <= sent * share.most * 11
