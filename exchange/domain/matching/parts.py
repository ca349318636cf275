"""Who takes part in what was found, and as what.

Invariants: each token takes part once; who operates a merchant takes part with it, as far as a group says so:
without that group the operator doesn't, so that no group's word alone brings more than a question.
"""

from collections.abc import Iterable

from exchange.domain.matching.finding import Part, Subject
from exchange.domain.matching.graph import Graph
from exchange.domain.matching.observation import MERCHANT, Observation


def payers_and_merchants(graph: Graph, payments: Iterable[Observation]) -> tuple[Subject, ...]:
    """The ends of payments."""
    return subjects(
        graph,
        (
            subject
            for row in payments
            for subject in (
                Subject(row.subject, row.subject_type, Part.PAYER),
                Subject(row.counterparty, row.counterparty_type, Part.MERCHANT),
            )
        ),
    )


def subjects(graph: Graph, named: Iterable[Subject]) -> tuple[Subject, ...]:
    """Each token once, as what it is named first, and the operators of the merchants."""
    found: dict[bytes, Subject] = {}
    for subject in named:
        found.setdefault(subject.token, subject)
    for subject in list(found.values()):
        if subject.type == MERCHANT:
            for token, kind in graph.operators(subject.token):
                found.setdefault(token, Subject(token, kind, Part.MERCHANT))
    return tuple(sorted(found.values()))
