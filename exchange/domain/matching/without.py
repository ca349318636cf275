"""The graph as it would be had some groups said nothing: what a match has to stand in to be advised upon.

Invariants: nothing is copied but what is looked at, and the graph itself doesn't change; what the others said
is there exactly as in a graph that never held the rest, within the same limits.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, Generic, TypeVar, cast

from exchange.domain.matching.graph import Alias, Graph, order
from exchange.domain.matching.observation import Observation, Role

V = TypeVar("V")


class Without(Graph):
    """A graph without what `groups` said, without the legs at `places` and, if `echoes` holds all echoes,
    without them."""

    def __init__(
        self,
        graph: Graph,
        groups: Set[str] = frozenset(),
        places: Set[int] = frozenset(),
        echoes: Graph | None = None,
    ) -> None:
        super().__init__(graph.rules)
        self._groups = groups
        self._places = places
        self._echoes = echoes
        self._by_place = graph._by_place
        self._types = graph._types
        self._out = graph._out
        self._in = graph._in
        self._about = graph._about
        self._pairs = graph._pairs
        self._news = graph._news
        self.spent = graph.spent
        if not groups and echoes is None:
            # Where legs alone are left out, who is who is the same and needn't be worked out anew.
            self._links, self._values, self._holders = graph._links, graph._values, graph._holders
            self._peers, self._shared = graph._peers, graph._shared
            self._claimed, self._who = graph._claimed, graph._who
            self._single, self._readers = graph._single, graph._readers
            return

        def left(index: Mapping[bytes, Mapping[str, Any]]) -> Callable[[bytes, Mapping[str, Any]], Any]:
            def of(token: bytes, said: Mapping[str, Any]) -> dict[str, Any]:
                echoed = index.get(token, {})
                found = {
                    group: _less(counts, echoed[group]) if group in echoed else counts
                    for group, counts in said.items()
                    if group not in groups
                }
                return {group: counts for group, counts in found.items() if counts}

            return of

        none = Graph(graph.rules) if echoes is None else echoes
        self._links = _filtered(graph._links, left(none._links))
        self._values = _filtered(graph._values, left(none._values))
        self._holders = _filtered(graph._holders, left(none._holders))
        self._peers = _filtered(graph._peers, left(none._peers))
        self._shared = _filtered(graph._shared, left(none._shared))

    def between(
        self, role: Role, source: Iterable[Alias], sink: Sequence[Alias], since: int, until: int
    ) -> list[Observation]:
        """Legs of a role from one to another, of those that are left."""
        return [seen for seen in super().between(role, source, sink, since, until) if self._keeps(seen)]

    def _legs(
        self, index: dict[bytes, dict[str, list[Observation]]], who: Iterable[Alias], since: int, until: int
    ) -> list[Observation]:
        found: dict[int, Observation] = {}
        for token, scope in who:
            for group, rows in index.get(token, {}).items():
                if group in self._groups or (scope is not None and group != scope):
                    continue
                count = 0
                for at in range(bisect_right(rows, until, key=_first) - 1, -1, -1):
                    seen = rows[at]
                    if seen.first < since or count == self.rules.fan:
                        break
                    if self._keeps(seen):
                        found[seen.place] = seen
                        count += 1
        return sorted(found.values(), key=order)

    def _keeps(self, seen: Observation) -> bool:
        return (
            seen.group not in self._groups
            and seen.place not in self._places
            and not (seen.echo and self._echoes is not None)
        )


def without_echoes(graph: Graph, echoes: Graph) -> Without:
    """A graph, which may be one without something, without all echoes."""
    if isinstance(graph, Without):
        return Without(graph, graph._groups, graph._places, echoes)
    return Without(graph, echoes=echoes)


def voices(graph: Graph, tokens: Iterable[bytes]) -> set[str]:
    """Groups that say with whom or what the tokens are linked, under whatever other token."""
    who = {token for one in tokens for token, _ in graph.aliases([one])}
    return {
        group for token in who for index in (graph._links, graph._values) for group in index.get(token, ())
    }


def stating(graph: Graph, one: bytes, other: bytes) -> set[str]:
    """Groups that link the two strongly."""
    return {group for group, links in graph._links.get(one, {}).items() if other in links}


def _first(seen: Observation) -> int:
    return seen.first


class _Filtered(Generic[V]):
    """What a dictionary holds but for what is left out of it; what nothing is left of isn't in it."""

    def __init__(self, index: Mapping[Any, V], left: Callable[[Any, V], V]) -> None:
        self._index = index
        self._left = left
        self._known: dict[Any, V] = {}

    def get(self, key: Any, default: Any = None) -> Any:
        value = self._index.get(key)
        if not value:
            return default
        if key not in self._known:
            self._known[key] = self._left(key, value)
        return self._known[key] or default

    def __contains__(self, key: Any) -> bool:
        return self.get(key) is not None


def _filtered(index: dict[Any, V], left: Callable[[Any, Any], Any]) -> dict[Any, V]:
    # The graph reads its indices by `get` and `in` alone.
    return cast(dict[Any, V], _Filtered(index, left))


def _less(counts: Any, gone: Any) -> Any:
    if isinstance(counts, int):
        return counts - gone
    return {key: count - gone.get(key, 0) for key, count in counts.items() if count > gone.get(key, 0)}
