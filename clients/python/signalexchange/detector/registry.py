"""What is known by name, and forgotten when nothing was heard of it for a time.

Invariants: whatever was silent for `keep` seconds is as if it had never been, at once, even before its memory
is given back; `forget` gives that back in small parts, so that it never stalls a stream, and within an eighth
of `keep` more. To know whom to forget, time is cut in turns of an eighth of `keep`, and each thing stands in
the list of each turn in which it was heard of: up to nine references a thing. (An order by last use costs a
stream more: every touch would change the thing's neighbours, which are elsewhere in memory.)
"""

from collections import deque
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Final, Generic, Protocol, TypeVar

from signalexchange.errors import MalformedError

TURNS: Final = 8


class Named(Protocol):
    """What a registry holds: `key` is its name, `last` when it was heard of last (Unix seconds)."""

    key: str
    last: int


E = TypeVar("E", bound=Named)


class Registry(Generic[E]):
    """Things by name. `len()` is how many are held."""

    __slots__ = ("_ended", "_heard", "_keep", "_make", "_past", "_things", "get")

    def __init__(self, make: Callable[[str], E], keep: int) -> None:
        self._make = make
        self._keep = keep
        self._things: dict[str, E] = {}
        self.get = self._things.get
        """What is held of a name, silent or not, or None."""
        self._ended = -1
        """When the turn before this one ended: what is later is of this one."""
        self._heard: list[E] = []
        """What was heard of in this turn."""
        self._past: deque[tuple[int, list[E]]] = deque()
        """Earlier turns: when each had ended, and what was heard of in it."""

    def __len__(self) -> int:
        return len(self._things)

    def put(self, thing: E, now: int) -> None:
        """Takes back a thing, in the order of `heard`. Raises MalformedError where it can't be so."""
        after = self._heard[-1].last if self._heard else self._ended
        if thing.key in self._things or not after <= thing.last <= now:
            raise MalformedError("stored things are not in order")
        self._turn(thing.last)
        self._things[thing.key] = thing
        self._heard.append(thing)

    def touch(self, key: str, now: int) -> E:
        """The thing of that name, heard of at `now`, which never goes back; a new one where none is."""
        thing = self.get(key)
        if thing is None:
            thing = self._things[key] = self._make(key)
            self._heard.append(thing)
        elif thing.last <= now - self._keep:
            thing = self._things[thing.key] = self._make(thing.key)
            self._heard.append(thing)
        elif thing.last <= self._ended:
            self._heard.append(thing)
        thing.last = now
        return thing

    def forget(self, now: int, most: int) -> None:
        """Gives back the memory of up to `most` things that are silent."""
        self._turn(now)
        past, things = self._past, self._things
        edge = now - self._keep
        while past and past[0][0] <= edge and most:
            heard = past[0][1]
            if not heard:
                past.popleft()
                continue
            thing = heard.pop()
            most -= 1
            if thing.last <= edge and things.get(thing.key) is thing:
                del things[thing.key]

    def heard(self, now: int) -> Iterator[E]:
        """Those that are not silent, heard of last at the end."""
        held = (thing for thing in self._things.values() if thing.last > now - self._keep)
        return iter(sorted(held, key=attrgetter("last", "key")))

    def _turn(self, now: int) -> None:
        """Ends the turn where it has lasted long enough."""
        if now > self._ended + self._keep // TURNS:
            if self._heard:
                self._past.append((now, self._heard))
                self._heard = []
            self._ended = now
