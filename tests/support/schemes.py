"""The seven patterns as legs without reporters, and a matcher to report them to.

Invariants: a scheme's legs are complete: reported by independent groups, each in its turn, they are a match;
who reports which leg is the caller's to say. Tokens are made of names, so that schemes of the same `who` are
about the same people.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from signalexchange.rulebook import Rulebook, default_text
from signalexchange.v1.identifier_pb2 import IdentifierType as Type
from signalexchange.v1.match_service_pb2 import Match as MatchMessage
from signalexchange.v1.signal_service_pb2 import ACTION_ALLOW

from exchange.domain.matching.advice import advise
from exchange.domain.matching.changes import Changes
from exchange.domain.matching.finding import Pattern
from exchange.domain.matching.match import Match
from exchange.domain.matching.matcher import Matcher
from exchange.domain.matching.observation import Observation, Role
from exchange.domain.matching.view import Caller, view
from exchange.domain.membership import Membership
from tests.support.rosters import Rosters

HOUR: Final = 3_600
DAY: Final = 86_400
START: Final = 1_790_035_200 // DAY * DAY
"""A midnight (UTC)."""
RULEBOOK: Final = Rulebook.parse(default_text())
BAND: Final = 90
PHONE: Final = Type.IDENTIFIER_TYPE_PHONE
MEMBERSHIP: Final = Membership(Rosters().chain, RULEBOOK, (0,))
Token = tuple[bytes, int]
Reporter = tuple[str, str]
"""A member and its controlling group."""
NOBODY: Final = (b"", 0)


def token(kind: int, name: str) -> Token:
    """The stand-in for the token of an identifier."""
    return sha256(f"{kind}/{name}".encode()).digest(), kind


def phone(name: str) -> Token:
    return token(Type.IDENTIFIER_TYPE_PHONE, name)


def account(name: str) -> Token:
    return token(Type.IDENTIFIER_TYPE_ACCOUNT, name)


def national_id(name: str) -> Token:
    return token(Type.IDENTIFIER_TYPE_NATIONAL_ID_CN, name)


def shop(name: str) -> Token:
    return token(Type.IDENTIFIER_TYPE_MERCHANT, name)


def iban(name: str) -> Token:
    return token(Type.IDENTIFIER_TYPE_IBAN, name)


def device(name: str) -> Token:
    return token(Type.IDENTIFIER_TYPE_DEVICE, name)


def address(name: str) -> Token:
    return token(Type.IDENTIFIER_TYPE_ADDRESS, name)


class Leg(NamedTuple):
    """What a member says, without who says it. Times are hours after START."""

    role: Role
    subject: Token
    counterparty: Token = NOBODY
    links: tuple[Token, ...] = ()
    band: int = BAND
    at: float = 0.0
    lasted: float = 0.0


CODES: Final = {Role[code.role.upper()]: code.code for code in RULEBOOK.codes if code.role != "none"}


def bought(payer: str, merchant: str, *, links: tuple[Token, ...] = (), **more: Any) -> Leg:
    """A purchase on credit; the lender knows the payer's account."""
    links = links or (account(payer),)
    return Leg(Role.PAYMENT, phone(payer), shop(merchant), links, **more)


def paid_out(merchant: str, payee: str, **more: Any) -> Leg:
    """From the merchant's bank account to a person's; the bank knows whose the first is."""
    return Leg(Role.TRANSFER, iban(merchant), account(payee), (shop(merchant),), **more)


def sent(payer: str, payee: str, **more: Any) -> Leg:
    return Leg(Role.TRANSFER, account(payer), account(payee), **more)


def funds_loop(who: str = "", at: float = 0.0) -> list[Leg]:
    victim, sham = f"payer{who}", f"sham{who}"
    return [
        bought(victim, sham, at=at),
        paid_out(sham, f"agent{who}", band=BAND - 1, at=at + 2),
        sent(f"agent{who}", victim, band=BAND - 1, at=at + 4),
    ]


def refund_loop(who: str = "", at: float = 0.0) -> list[Leg]:
    victim, sham = f"payer{who}", f"sham{who}"
    return [
        Leg(Role.REFUND, phone(victim), shop(sham), (account(victim),), at=at, lasted=3),
        paid_out(sham, victim, band=BAND - 1, at=at + 5),
    ]


def payer_ring(who: str = "", at: float = 0.0) -> list[Leg]:
    shared = device(f"ring{who}")
    return [
        bought(f"payer{who}{n or ''}", f"sham{who}", links=(shared,), at=at + 24 * n, band=BAND + n)
        for n in range(4)
    ]


def merchant_hopping(who: str = "", at: float = 0.0) -> list[Leg]:
    return [
        bought(f"payer{who}{n or ''}", f"sham{who}{shop_ or ''}", at=at + 24 * shop_ + n)
        for shop_ in range(4)
        for n in range(4)
    ]


def repay_and_respend(who: str = "", at: float = 0.0) -> list[Leg]:
    return [
        Leg(Role.CYCLE, phone(f"payer{who}"), at=at + 30 * n, lasted=4, links=(national_id(f"payer{who}"),))
        for n in range(4)
    ]


def bust_out(who: str = "", at: float = 0.0) -> list[Leg]:
    return [
        Leg(Role.LINE, phone(f"payer{who}"), at=at + 24 * n, lasted=20, links=(national_id(f"payer{who}"),))
        for n in range(4)
    ]


def collecting_account(who: str = "", at: float = 0.0) -> list[Leg]:
    collected = [sent(f"source{who}{n}", f"payer{who}", at=at + n) for n in range(4)]
    handed_on = [sent(f"payer{who}", f"sink{who}{n}", at=at + 6 + n, band=BAND - 1) for n in range(4)]
    return [leg for pair in zip(collected, handed_on, strict=True) for leg in pair]


SCHEMES: Final = {
    Pattern.FUNDS_LOOP: funds_loop,
    Pattern.REFUND_LOOP: refund_loop,
    Pattern.PAYER_RING: payer_ring,
    Pattern.MERCHANT_HOPPING: merchant_hopping,
    Pattern.REPAY_AND_RESPEND: repay_and_respend,
    Pattern.BUST_OUT: bust_out,
    Pattern.COLLECTING_ACCOUNT: collecting_account,
}


class Town:
    """A matcher, and the members that report to it one signal at a time in log order."""

    def __init__(self, rulebook: Rulebook = RULEBOOK) -> None:
        self.rulebook = rulebook
        numbers = itertools.count(1)
        self.matcher = Matcher(rulebook.matching, new_id=lambda: next(numbers).to_bytes(16, "big"))
        self._places = itertools.count(1)
        self.now = START + 20 * DAY
        self.changes: list[Changes] = []

    def say(self, reporter: Reporter, leg: Leg, *, echo: bool = False) -> Observation:
        """Report one leg; matched at once."""
        seen = self.make(reporter, leg, echo=echo)
        self.hear([seen])
        return seen

    def know(self, reporter: Reporter, leg: Leg) -> None:
        """Have a leg in the graph as if it had been read back: nothing is looked for."""
        self.matcher.graph.add(self.make(reporter, leg))

    def make(self, reporter: Reporter, leg: Leg, *, echo: bool = False) -> Observation:
        """The observation of a leg, not yet reported."""
        place = next(self._places)
        first = START + int(leg.at * HOUR) // 300 * 300
        last = first + int(leg.lasted * HOUR) // 300 * 300
        member, group = reporter
        return Observation(
            place,
            place.to_bytes(16, "big"),
            member,
            group,
            leg.role,
            CODES[leg.role],
            *leg.subject,
            *leg.counterparty,
            leg.links,
            leg.band,
            first,
            last,
            last + 60 * DAY,
            80,
            echo,
        )

    def hear(self, seen: Sequence[Observation]) -> None:
        self.changes.append(self.matcher.observe(seen, self.now))

    def tell(self, reporters: Sequence[Reporter], legs: Iterable[Leg]) -> list[Observation]:
        """The reporters report the legs in turns."""
        return [self.say(reporters[at % len(reporters)], leg) for at, leg in enumerate(legs)]

    def withdraw(self, *seen: Observation) -> None:
        self.changes.append(self.matcher.withdraw([each.place for each in seen], self.now))

    def judge(self, match: Match, group: str, verdict: int) -> None:
        self.changes.append(self.matcher.judge(match.match_id, group, verdict, self.now))

    def advice(self, match: Match, *, now: int | None = None) -> dict[bytes, int]:
        """Advice about each subject of a match."""
        at = self.now if now is None else now
        return {
            subject.token: advise(self.matcher, match, subject.token, self.rulebook, at)
            for subject in match.subjects
        }

    def strongest(self, *, now: int | None = None) -> int:
        """The strongest advice about anybody."""
        every = [self.advice(match, now=now).values() for match in self.matches()]
        return max((advice for found in every for advice in found), default=int(ACTION_ALLOW))

    def view(self, match: Match, reporter: Reporter) -> MatchMessage:
        """What a member is shown of a match; it submitted every token."""
        member, group = reporter
        return view(self.matcher, match, Caller(member, group, lambda _: (PHONE, 1)), MEMBERSHIP, self.now)

    def standing(self, pattern: Pattern) -> list[Match]:
        """Matches of a pattern that stand."""
        return [each for each in self.matches(pattern) if each.stands]

    def matches(self, pattern: Pattern | None = None) -> list[Match]:
        """Matches of a pattern, or all; expired and refuted ones included."""
        return [each for each in self.matcher.matches.values() if pattern in (None, each.pattern)]


Scheme = Callable[..., list[Leg]]
