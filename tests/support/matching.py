"""Observations of a small world: a few groups that tell of the same few people, merchants and accounts."""

from collections.abc import Iterable
from itertools import count

from signalexchange.rulebook import Rulebook, default_text
from signalexchange.v1.identifier_pb2 import IdentifierType

from exchange.domain.matching.advice import advise
from exchange.domain.matching.changes import Changes
from exchange.domain.matching.match import Match
from exchange.domain.matching.matcher import Matcher
from exchange.domain.matching.observation import MERCHANT, Observation, Role
from exchange.domain.records import InstanceRow, MatchRow

PHONE = IdentifierType.IDENTIFIER_TYPE_PHONE
IBAN = IdentifierType.IDENTIFIER_TYPE_IBAN
DEVICE = IdentifierType.IDENTIFIER_TYPE_DEVICE
DAY = 86_400
HOUR = 3_600
START = 20_000 * DAY
RULEBOOK = Rulebook.parse(default_text())
_KINDS = {"phone": PHONE, "iban": IBAN, "device": DEVICE, "merchant": MERCHANT}


def token(name: str) -> bytes:
    """The token of "phone 1", "iban a", ..."""
    return name.encode().ljust(32, b".")


def kind(name: str) -> int:
    return _KINDS[name.split()[0]]


def said(
    place: int,
    group: str,
    role: Role,
    subject: str,
    counterparty: str = "",
    *,
    band: int = 80,
    at: int = 0,
    until: int | None = None,
    links: Iterable[str] = (),
    echo: bool = False,
    member: str = "",
) -> Observation:
    """What a group says; times are seconds since START."""
    first = START + at
    return Observation(
        place,
        place.to_bytes(16, "big"),
        member or f"{group}-bank",
        group,
        role,
        role.name.lower(),
        token(subject),
        kind(subject),
        token(counterparty) if counterparty else b"",
        kind(counterparty) if counterparty else 0,
        tuple((token(link), kind(link)) for link in links),
        band,
        first,
        START + until if until is not None else first,
        first + 120 * DAY,
        80,
        echo,
    )


def loop(
    place: int,
    groups: str = "ab",
    *,
    payer: str = "phone 1",
    merchant: str = "merchant m",
    at: int = 0,
    echo: str = "",
) -> list[Observation]:
    """A payment and the money back to the payer three hours later, each told by a group of its own."""
    lender, bank = groups[0], groups[1]
    return [
        said(place, lender, Role.PAYMENT, payer, merchant, at=at, echo=lender in echo),
        said(place + 1, bank, Role.TRANSFER, merchant, payer, band=79, at=at + 3 * HOUR, echo=bank in echo),
    ]


def new_matcher(min_groups: int = 2, *, made: int = 0) -> Matcher:
    """A matcher whose ids go on after so many matches."""
    ids = count(made + 1)
    return Matcher(RULEBOOK.matching, lambda: next(ids).to_bytes(16, "big"), min_groups=min_groups)


def standing(matcher: Matcher) -> list[Match]:
    return [match for match in matcher.matches.values() if match.stands]


def strongest(matcher: Matcher, name: bytes, now: int) -> dict[int, int]:
    """The strongest advice about a token, by pattern."""
    found: dict[int, int] = {}
    for match in matcher.of(name):
        advice = advise(matcher, match, name, RULEBOOK, now)
        found[match.pattern] = max(found.get(match.pattern, 0), advice)
    return found


class Shelf:
    """What a hub would have stored of matches."""

    def __init__(self) -> None:
        self.matches: dict[int, MatchRow] = {}
        self.instances: dict[tuple[int, bytes], InstanceRow] = {}
        self.spent: dict[bytes, int] = {}

    def store(self, changes: Changes) -> None:
        self.matches |= changes.matches
        for key, row in changes.instances.items():
            if row is None:
                self.instances.pop(key, None)
            else:
                self.instances[key] = row
        for number in changes.forgotten:
            del self.matches[number]
            assert not [key for key in self.instances if key[0] == number]
        self.spent |= changes.spent

    def restore(self, matcher: Matcher, observations: Iterable[Observation]) -> Matcher:
        matcher.restore(observations, self.spent.items(), self.matches.values(), self.instances.values())
        return matcher

    def content(self) -> object:
        return self.matches, self.instances
