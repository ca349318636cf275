"""What is known by name, and forgotten when nothing was heard of it for a time.

Invariants: whatever was silent for `keep` seconds is as if it had never been, at once, even before its memory
is given back; `forget` gives that back in small parts, so that it never stalls a stream.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from signalexchange.errors import MalformedError


class Named(Protocol):
    """What a registry holds: `key` is its name, `last` when it was heard of last (Unix seconds)."""

    key: str
    last: int


E = TypeVar("E", bound=Named)


class Registry(Generic[E]):
    """Things by name, those heard of last at the end. `len()` is how many are held."""

    __slots__ = ("_keep", "_make", "_things", "get")

    def __init__(self, make: Callable[[str], E], keep: int) -> None:
        self._make = make
        self._keep = keep
        self._things: OrderedDict[str, E] = OrderedDict()
        self.get = self._things.get
        """What is held of a name, silent or not, or None."""

    def __len__(self) -> int:
        return len(self._things)

    def put(self, thing: E, now: int) -> None:
        """Takes back a thing, in the order they were held in. Raises MalformedError where it can't be so."""
        things = self._things
        after = things[next(reversed(things))].last if things else 0
        if thing.key in things or not after <= thing.last <= now:
            raise MalformedError("stored things are not in order")
        things[thing.key] = thing

    def touch(self, key: str, now: int) -> E:
        """The thing of that name, heard of at `now`, which never goes back; a new one where none is."""
        things = self._things
        edge = now - self._keep
        thing = things.get(key)
        if thing is None:
            thing = things[key] = self._make(key)
        else:
            things.move_to_end(key)
            if thing.last <= edge:
                thing = things[key] = self._make(thing.key)
        thing.last = now
        return thing

    def forget(self, now: int, most: int) -> None:
        """Gives back the memory of up to `most` things that are silent."""
        things = self._things
        for _ in range(min(most, len(things))):
            oldest = next(iter(things))
            if things[oldest].last > now - self._keep:
                return
            del things[oldest]

    def heard(self, now: int) -> Iterator[E]:
        """Those that are not silent, heard of last at the end."""
        return (thing for thing in self._things.values() if thing.last > now - self._keep)
