"""What this member knows of the customers it sees, and what of it it has already said.

Invariants: only links that the flows gave are known; a value that many share is not linked; a link of a
subject is said once and again only after `link_days`; everything is forgotten some days after it was seen.
"""

from collections.abc import Collection, Iterable, Iterator

from signalexchange.flows import WEAK_TYPES, Flow
from signalexchange.gate.legs import DAY
from signalexchange.gate.parameters import GateParameters
from signalexchange.gate.windows import Window
from signalexchange.signals import MAX_LINKS, Subject
from signalexchange.v1.identifier_pb2 import IdentifierType

MERCHANT = IdentifierType.IDENTIFIER_TYPE_MERCHANT
NATIONAL_ID = IdentifierType.IDENTIFIER_TYPE_NATIONAL_ID_CN
MOST_LINKS = 32
"""The latest links of a subject that are kept in mind."""
PHONE = IdentifierType.IDENTIFIER_TYPE_PHONE


class Known:
    """Customers by identifier: their links, and which were said when."""

    def __init__(self, parameters: GateParameters, shared: Collection[Subject] = ()) -> None:
        self._parameters = parameters
        self._shared = frozenset(shared)
        self._shared_until = 0
        self._links: dict[Subject, dict[Subject, None]] = {}
        self._holders: dict[Subject, dict[Subject, None]] = {}
        self._seen: dict[Subject, int] = {}
        self._said: Window[tuple[Subject, Subject], None] = Window(parameters.link_days * DAY)
        self._spoken: Window[Subject, None] = Window(parameters.valid_days * DAY)
        self._named: Window[Subject, None] = Window(parameters.valid_days * DAY)
        self._windows = (self._said, self._spoken, self._named)

    def __len__(self) -> int:
        return len(self._seen) + sum(len(window) for window in self._windows)

    def advance(self, now: int) -> None:
        """Forget what is older than its window at `now`."""
        for window in self._windows:
            window.advance(now)
        before = now - self._parameters.known_days * DAY
        while self._seen:
            subject = next(iter(self._seen))
            if self._seen[subject] >= before:
                return
            del self._seen[subject]
            for link in list(self._links.get(subject, ())):
                self._drop(subject, link)
            self._links.pop(subject, None)

    def learn(self, flow: Flow) -> None:
        """Take in what a flow says of its ends."""
        own = [value for value in (flow.device, flow.address) if value is not None]
        customer = flow.customer
        self._learn(flow.payer, flow.payer_links, own if customer is flow.payer else (), flow.time)
        self._learn(flow.payee, flow.payee_links, own if customer is flow.payee else (), flow.time)

    def _learn(self, subject: Subject, strong: Iterable[Subject], weak: Iterable[Subject], time: int) -> None:
        self._seen.pop(subject, None)
        self._seen[subject] = time  # at the end: the order is that of the last sight
        for link in (*strong, *weak):
            if link == subject:
                continue
            links = self._links.setdefault(subject, {})
            links.pop(link, None)
            links[link] = None
            self._holders.setdefault(link, {})[subject] = None
            if len(links) > MOST_LINKS:
                self._drop(subject, next(iter(links)))

    def _drop(self, subject: Subject, link: Subject) -> None:
        self._links[subject].pop(link, None)
        holders = self._holders[link]
        del holders[subject]
        if not holders:
            del self._holders[link]

    def person(self, subject: Subject) -> Subject:
        """The one identifier under which a customer's accounts come together: merchant, else national id,
        else phone; the subject itself where none is known."""
        if subject.type == MERCHANT:
            return subject
        links = self._links.get(subject, {})
        for type_ in (MERCHANT, NATIONAL_ID, PHONE):
            for link in links:
                if link.type == type_:
                    return link
        return subject

    def is_business(self, subject: Subject) -> bool:
        """Whether the subject is a merchant's."""
        return self.person(subject).type == MERCHANT

    def is_person(self, who: Subject) -> bool:
        """Whether `person` gave a national id or a phone: somebody this member knows."""
        return who.type in (NATIONAL_ID, PHONE)

    def tied(self, one: Subject, other: Subject) -> bool:
        """Whether the two have a strong link in common: a firm and its owner, by the phone for instance."""
        theirs = self._links.get(other, ())
        return any(link in theirs for link in self._links.get(one, ()) if link.type not in WEAK_TYPES)

    def settles(self, flow: Flow) -> bool:
        """Whether an end is known to be shared: everybody's bills and payouts go through it."""
        return flow.payer in self._shared or flow.payee in self._shared

    def say_shared(self, now: int) -> list[Subject]:
        """The values known to be shared when they are due to be said; from now on they are said."""
        if now < self._shared_until:
            return []
        self._shared_until = now + self._parameters.link_days * DAY
        return sorted(self._shared, key=lambda value: (value.type, value.value))

    def shares(self, value: Subject) -> int:
        """How many subjects have the value."""
        return len(self._holders.get(value, ()))

    def links(self, subject: Subject) -> Iterator[Subject]:
        """The subject's links, strong ones first, without what many share."""
        links = [
            link
            for link in self._links.get(subject, ())
            if link not in self._shared and self.shares(link) <= self._parameters.shared_most
        ]
        yield from (link for link in links if link.type not in WEAK_TYPES)
        yield from (link for link in links if link.type in WEAK_TYPES)

    def say(self, subject: Subject, now: int) -> tuple[Subject, ...]:
        """Up to eight links that are due to be said of a subject; from now on they are said."""
        most = self._parameters.links_most
        due: list[Subject] = []
        for link in self.links(subject):
            if len(due) == MAX_LINKS or len(self._named.get(subject)) >= most:
                break
            if not self._said.get((subject, link)) and len(self._named.get(link)) < most:
                due.append(link)
                self._said.add((subject, link), now, None)
                self._named.add(subject, now, None)
                self._named.add(link, now, None)
        return tuple(due)

    def speak(self, subject: Subject, now: int) -> bool:
        """Count a signal on a subject in; False where there are as many as the hub takes."""
        if len(self._spoken.get(subject)) >= self._parameters.signals_most:
            return False
        self._spoken.add(subject, now, None)
        return True
