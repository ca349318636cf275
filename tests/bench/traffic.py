"""Flow signals as members would report them, without end: people, shops and accounts with real-life degrees.

Invariants: the same seed and size give the same stream; places and times ascend; how many people, shops and
accounts there are grows with the size, so that an ordinary one has as many neighbours in a large store as in
a small one, while the favourites have more: shops are chosen as Zipf says (the n-th with 1/n), people and
accounts with a lighter tail. A person has one bank; half of the transfers are the payee's bank's report. One
in `SCHEME_EVERY` begins a funds loop.
"""

import random
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final, cast

from signalexchange.v1.identifier_pb2 import IdentifierType as Type
from signalexchange.v1.identifier_pb2 import SubjectToken
from signalexchange.v1.signal_pb2 import Signal

from exchange.domain.matching.observation import Observation, Role
from tests.support.members import signal, subject

DAYS: Final = 30
"""Over how many days a store's observations are spread."""
SLOT: Final = 300
SCHEME_EVERY: Final = 500
CODES: Final = {
    Role.PAYMENT: "credit-purchase",
    Role.TRANSFER: "pass-through",
    Role.REFUND: "refund-without-shipment",
    Role.CYCLE: "repay-and-respend",
    Role.LINE: "line-exhausted",
    Role.LINK: "same-subject",
    Role.SHARED: "shared-value",
}
BANKS: Final = (("bank-north", "north-holding"), ("bank-south", "south-holding"))
LENDERS: Final = (("pay-lotus", "lotus-group"), ("shop-river", "river-group"))
Link = tuple[bytes, int]
PHONE, ID = Type.IDENTIFIER_TYPE_PHONE, Type.IDENTIFIER_TYPE_NATIONAL_ID_CN
ACCOUNT, IBAN = Type.IDENTIFIER_TYPE_ACCOUNT, Type.IDENTIFIER_TYPE_IBAN
DEVICE, ADDRESS = Type.IDENTIFIER_TYPE_DEVICE, Type.IDENTIFIER_TYPE_ADDRESS
SHOP = Type.IDENTIFIER_TYPE_MERCHANT


def token(kind: int, number: int) -> bytes:
    """The stand-in for the token of the `number`-th identifier of a type."""
    return blake2b(number.to_bytes(8, "big"), digest_size=32, key=kind.to_bytes(1, "big")).digest()


class Traffic:
    """The stream. `size` observations take DAYS days, which end at Unix seconds `now`; what comes after goes
    on at that pace."""

    def __init__(self, size: int, now: int, seed: int = 1) -> None:
        self.people = max(100, size // 4)
        self.shops = max(20, size // 100)
        self._random = random.Random(seed)  # noqa: S311 - a stream to repeat
        self._pace = DAYS * 86_400 / size
        self._start = now - DAYS * 86_400
        self._made = 0
        self._waiting: list[Observation] = []

    def __iter__(self) -> Iterator[Observation]:
        return self

    def __next__(self) -> Observation:
        if not self._waiting:
            scheme = self._random.randrange(SCHEME_EVERY) == 0
            self._waiting = self._loop() if scheme else [self._ordinary()]
        return self._waiting.pop(0)

    @property
    def now(self) -> int:
        """Time of the last observation made: Unix seconds."""
        return self._start + int(self._made * self._pace)

    def said(
        self,
        reporter: tuple[str, str],
        role: Role,
        subject: Link,
        counterparty: Link = (b"", 0),
        links: tuple[Link, ...] = (),
        *,
        band: int = 0,
        lasted: int = 0,
    ) -> Observation:
        """The next observation of the stream, of that content."""
        self._made += 1
        time = self.now // SLOT * SLOT
        member, group = reporter
        return Observation(
            place=self._made,
            signal_id=blake2b(self._made.to_bytes(8, "big"), digest_size=16).digest(),
            member=member,
            group=group,
            role=role,
            code=CODES[role],
            subject=subject[0],
            subject_type=subject[1],
            counterparty=counterparty[0],
            counterparty_type=counterparty[1],
            links=links,
            band=band,
            first=time - lasted // SLOT * SLOT,
            last=time,
            expires_at=time + 60 * 86_400,
            confidence=60,
            echo=False,
        )

    # --- who

    def person(self) -> int:
        """Some person, the first ones more often."""
        return int(self.people * self._random.random() ** 1.5)

    def shop(self) -> int:
        """Some shop, the n-th with a frequency of 1/n."""
        return int(self.shops ** self._random.random()) - 1

    def device_of(self, person: int) -> Link:
        """Every family of two to three has one."""
        return token(DEVICE, person * 2 // 5), DEVICE

    def address_of(self, person: int) -> Link:
        """Most live with few, a fiftieth in one of some large houses."""
        return token(ADDRESS, person % 7 if person % 50 == 0 else 7 + person // 4), ADDRESS

    # --- what

    def _ordinary(self) -> Observation:
        roles = (Role.PAYMENT, Role.TRANSFER, Role.REFUND, Role.CYCLE, Role.LINE, Role.LINK, Role.SHARED)
        (role,) = self._random.choices(roles, (450, 400, 40, 40, 20, 49, 1))
        person, band = self.person(), self._random.randrange(65, 95)
        # Everybody has one bank and keeps to a lender but for one purchase in five.
        bank, lender = BANKS[person % 2], LENDERS[person // 2 % 2]
        if self._random.random() < 0.2:
            lender = self._random.choice(LENDERS)
        phone, account = (token(PHONE, person), PHONE), (token(ACCOUNT, person), ACCOUNT)
        shop = token(SHOP, self.shop()), SHOP
        if role == Role.PAYMENT:
            bound = (account, (token(ID, person), ID)) if lender == LENDERS[0] else (self.address_of(person),)
            return self.said(lender, role, phone, shop, (self.device_of(person), *bound), band=band)
        if role == Role.TRANSFER:
            other = self.person()
            other += (other == person) * self.people
            payee = token(ACCOUNT, other), ACCOUNT
            if self._random.random() < 0.3:
                payee = token(IBAN, self.shop()), IBAN
            if self._random.random() < 0.5:
                return self.said(BANKS[other % 2], role, account, payee, band=band)
            return self.said(bank, role, account, payee, (phone, (token(ID, person), ID)), band=band)
        if role == Role.REFUND:
            links = (self.device_of(person), self.address_of(person))
            return self.said(LENDERS[1], role, phone, shop, links, band=band, lasted=3 * 3_600)
        if role == Role.CYCLE:
            return self.said(self._random.choice((bank, LENDERS[0])), role, phone, band=band, lasted=7_200)
        if role == Role.LINE:
            return self.said(bank, role, phone, band=90, lasted=3 * 86_400)
        if role == Role.LINK:
            of_shop = self._random.random() < 0.5
            number = self._random.randrange(self.shops)
            if of_shop:
                links = ((token(IBAN, number), IBAN), (token(PHONE, self.people + number), PHONE))
                return self.said(bank, role, (token(SHOP, number), SHOP), (b"", 0), links)
            return self.said(bank, role, account, (b"", 0), (phone, (token(ID, person), ID)))
        return self.said(
            self._random.choice(BANKS), role, (token(ADDRESS, self._random.randrange(7)), ADDRESS)
        )

    def _loop(self) -> list[Observation]:
        """A payer, a sham shop, its operator's account and back, in legs of a lender and two banks."""
        payer, shop = self.person(), 10 * self.shops + self._random.randrange(max(1, self.shops // 20))
        band = self._random.randrange(80, 95)
        phone, account = (token(PHONE, payer), PHONE), (token(ACCOUNT, payer), ACCOUNT)
        business, agent = (token(IBAN, shop), IBAN), (token(ACCOUNT, 10 * self.people + shop), ACCOUNT)
        merchant = token(SHOP, shop), SHOP
        return [
            self.said(LENDERS[0], Role.PAYMENT, phone, merchant, (account, self.device_of(payer)), band=band),
            self.said(BANKS[0], Role.TRANSFER, business, agent, (merchant,), band=band - 1),
            self.said(BANKS[1], Role.TRANSFER, agent, account, band=band - 1),
        ]

    def around(self, hub: Link, neighbours: int) -> Iterator[Observation]:
        """Everybody at one node: a shop paid, an account paid into and out of, a device, or a phone with
        links; each said of another person, by each of the four in turn."""
        for at in range(neighbours):
            yield self.at_hub(hub, 20 * self.people + at)

    def at_hub(self, hub: Link, person: int) -> Observation:
        """One observation more that bears on a node with many neighbours."""
        band = 80 + person % 10
        reporters = (*BANKS, *LENDERS)
        reporter = reporters[person % 4]
        phone, account = (token(PHONE, person), PHONE), (token(ACCOUNT, person), ACCOUNT)
        own = (account, (token(ID, person), ID))
        if hub[1] == SHOP:
            return self.said(reporter, Role.PAYMENT, phone, hub, (self.device_of(person), *own), band=band)
        if hub[1] == ACCOUNT:
            ends = (account, hub) if person % 2 else (hub, account)
            return self.said(BANKS[person % 4 // 2], Role.TRANSFER, *ends, band=band)
        if hub[1] == DEVICE:
            shop = token(SHOP, self.shop()), SHOP
            return self.said(reporter, Role.PAYMENT, phone, shop, (hub, *own), band=band)
        if person % 2:
            return self.said(reporter, Role.LINK, account, links=(hub,))
        return self.said(reporter, Role.LINK, hub, links=own)


def as_signal(seen: Observation) -> Signal:
    """The signal that a member would publish of it."""
    made = signal(
        code=seen.code,
        signal_id=seen.signal_id,
        subject=_subject(seen.subject, seen.subject_type),
        amount_band=seen.band,
        first_seen=seen.first,
        last_seen=seen.last,
        expires_at=seen.expires_at,
        links=[_subject(*link) for link in seen.links],
    )
    if seen.counterparty:
        made.counterparty.CopyFrom(_subject(seen.counterparty, seen.counterparty_type))
    return made


def _subject(value: bytes, kind: int) -> SubjectToken:
    return subject(value, type_=cast(Type.ValueType, kind))
