"""Who is behind a token, for whoever knows the truth of a city: the evaluation and nobody else.

Invariant: a token that is nobody's of the city is somebody all the same, so that naming it counts.
"""

from collections.abc import Iterable

from signalexchange.cells import TYPES
from signalexchange.identifiers import normalise
from signalexchange.signals import Subject

from exchange.evaluation.observing import token
from exchange.scenario.truth import Truth


class People:
    """The entities of a city by their identifiers' tokens."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._by_subject: dict[Subject, str] = {}
        for id_, entity in truth.entities.items():
            for text in entity.identifiers:
                self._by_subject[_subject(text)] = id_
        self._by_token = {token(subject).value: id_ for subject, id_ in self._by_subject.items()}
        self._cases = truth.actors()
        self.planted = frozenset(self._cases)
        """Every actor of a planted case."""

    def behind(self, tokens: Iterable[bytes]) -> frozenset[str]:
        """The entities behind tokens."""
        return frozenset(self._by_token.get(each, f"token {each.hex()[:16]}") for each in tokens)

    def entities(self, identifiers: Iterable[str]) -> frozenset[str]:
        """The entities behind identifiers, each "type:value"; one that is nobody's stands for itself."""
        return frozenset(self._by_subject.get(_subject(each), each) for each in identifiers)

    def is_planted(self, subject: Subject) -> bool:
        """Whether an identifier is an actor's."""
        return self._by_subject.get(subject) in self.planted

    def describe(self, entity: str) -> str:
        """An entity and what it is, for whoever looks into the errors of an evaluation."""
        known = self._truth.entities.get(entity)
        roles = [
            f"{case.id} {case.typology} {case.variant}: {actor.role}"
            for case in self._cases.get(entity, ())
            for actor in case.actors
            if actor.entity == entity
        ]
        return "; ".join([f"{entity} ({known.kind if known else 'unknown'})", *roles])


def _subject(text: str) -> Subject:
    kind, _, value = text.partition(":")
    return Subject(TYPES[kind], normalise(TYPES[kind], value))
