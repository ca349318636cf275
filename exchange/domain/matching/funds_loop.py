"""Funds loop: payer → merchant → … → payer, each hop later than the one before, each handing on most of it.

The credit drawn in a sham purchase comes back to the payer within a day, less a fee of 3 to 15 %. The legs
are reported by whoever sees them: the lender the purchase, the banks the transfers. Sources: SPC/SPP
interpretation of 2009 on credit cards, article 7 (fictitious transactions that pay cash to card holders);
docs/matching.md.

Invariants: a loop begins with a payment on credit and has at most `hops` legs; a leg begins no earlier than
the one before it; sums of successive legs between the same two stand for payments that were split. The
search goes back from the payer, who has few incoming transfers, and never over a merchant's many.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from exchange.domain.matching.finding import Finding, Part, Pattern, Subject, evidence_of, instance_key
from exchange.domain.matching.graph import DAY, Alias, Graph
from exchange.domain.matching.movement import Movement, movements, returns, sums
from exchange.domain.matching.observation import Observation, Role

ROLES: Final = frozenset({Role.PAYMENT, Role.TRANSFER, Role.LINK})
HOUR: Final = 3_600


def find(graph: Graph, seen: Observation) -> Iterator[Finding]:
    """Loops that an observation may have closed."""
    done: set[tuple[bytes, bytes, int]] = set()
    for payment in _payments(graph, seen):
        key = (payment.subject, payment.counterparty, payment.first // DAY)
        if key not in done:
            done.add(key)
            yield from _loop(graph, payment)


def _payments(graph: Graph, seen: Observation) -> Iterator[Observation]:
    """Payments on credit that a loop through the observation could begin with."""
    window = graph.rules.funds_loop.hours * HOUR
    if seen.role == Role.PAYMENT:
        yield seen
        return
    if seen.role == Role.LINK:
        # Earlier transfers become somebody's by the link.
        since = seen.last - graph.rules.window_days * DAY
        legs = graph.out_of(graph.who(seen.subject, seen.group), since, seen.last)
        yield from (leg for leg in legs if leg.role == Role.PAYMENT)
        return
    steps = graph.rules.steps
    since = seen.first - window
    level = [(seen.counterparty, seen.group, seen.first)]
    known = {seen.counterparty}
    for _ in range(graph.rules.funds_loop.hops - 1):
        beyond = []
        for token, group, time in level:
            for leg in graph.out_of(graph.who(token, group), since, seen.first + window):
                steps -= 1
                if steps < 0:
                    return
                if leg.role == Role.PAYMENT:
                    if leg.first <= seen.first:
                        yield leg
                elif leg.first >= time and leg.counterparty not in known:
                    known.add(leg.counterparty)
                    beyond.append((leg.counterparty, leg.group, leg.first))
        level = beyond


def _loop(graph: Graph, payment: Observation) -> Iterator[Finding]:
    """The best-supported loop that begins with a payment."""
    rules = graph.rules.funds_loop
    since, until = payment.first, payment.first + rules.hours * HOUR
    payer = graph.who(payment.subject, payment.group)
    merchant = graph.who(payment.counterparty, payment.group)
    paid = movements(graph.between(Role.PAYMENT, payer, merchant, payment.first - rules.hours * HOUR, until))
    starts = [part for part in sums(paid) if part.first <= payment.first <= part.last + HOUR * rules.hours]
    for path in _paths(graph, payer, merchant, since, until):
        chain = _chain(graph, starts, path, until)
        if chain is not None:
            legs = [leg for movement in chain for leg in movement.legs]
            yield Finding(
                Pattern.FUNDS_LOOP,
                instance_key(
                    Pattern.FUNDS_LOOP, payment.subject, payment.counterparty, chain[0].first // DAY
                ),
                (payment.counterparty,),
                _subjects(chain),
                evidence_of(legs),
                evidence_of(chain[0].legs),
            )
            return


def _paths(
    graph: Graph, payer: list[Alias], merchant: list[Alias], since: int, until: int
) -> Iterator[list[list[Alias]]]:
    """Ways from merchant to payer, shortest first, as the persons on them, merchant and payer included."""
    steps = graph.rules.steps
    ours = {token for token, _ in merchant}
    level: list[list[list[Alias]]] = [[payer]]
    for _ in range(graph.rules.funds_loop.hops - 1):
        beyond = []
        for path in level:
            if graph.between(Role.TRANSFER, merchant, path[0], since, until):
                yield [merchant, *path]
            on_it = {token for person in path for token, _ in person}
            for leg in graph.into(path[0], since, until):
                steps -= 1
                if steps < 0:
                    return
                if leg.role != Role.TRANSFER or leg.subject in on_it or leg.subject in ours:
                    continue
                if graph.set_aside(leg.subject) is None:
                    beyond.append([graph.who(leg.subject, leg.group), *path])
        level = beyond


def _chain(
    graph: Graph, starts: Sequence[Movement], path: list[list[Alias]], until: int
) -> list[Movement] | None:
    """A movement for each hop, beginning with one of the payments; None where none fit together."""
    ways = [[start] for start in starts]
    for source, sink in pairwise(path):
        on: list[list[Movement]] = []
        for way in ways:
            sent = way[-1]
            legs = graph.between(Role.TRANSFER, source, sink, sent.first, until)
            for part in sums(movements(legs)):
                if returns(graph.rules.funds_loop.returns, sent.cents, part.cents):
                    on.append([*way, part])
                    break
        ways = on
    return ways[0] if ways else None


def _subjects(chain: list[Movement]) -> tuple[Subject, ...]:
    found: dict[bytes, Subject] = {}
    for at, movement in enumerate(chain):
        for leg in movement.legs:
            first, last = at == 0, at == len(chain) - 1
            source = Part.PAYER if first else Part.MERCHANT if at == 1 else Part.ACCOUNT
            sink = Part.MERCHANT if first else Part.PAYER if last else Part.ACCOUNT
            found.setdefault(leg.subject, Subject(leg.subject, leg.subject_type, source))
            found.setdefault(leg.counterparty, Subject(leg.counterparty, leg.counterparty_type, sink))
    return tuple(found.values())
