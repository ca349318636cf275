"""The hub with a stopwatch in each of its rooms; run as `python -m tests.bench.timed_hub CONFIG OUT`.

The functions that a look-up passes through are wrapped before the hub starts. Invariants: `own` is time on
the event loop in a room itself, without rooms inside it; `wall` of an awaited step includes what else
the loop did meanwhile. SIGUSR1 sets all watches to zero; at the end OUT holds them in JSON, in seconds.
"""

import asyncio
import json
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from exchange.server import app
from exchange.server.config import load_config
from exchange.server.interceptor import Gate
from exchange.storage.sqlite import SqliteStore
from exchange.usecases import look_up
from exchange.usecases.look_up import LookUp
from exchange.usecases.writer import Proposal, Writer

P = ParamSpec("P")
T = TypeVar("T")

OWN: dict[str, float] = defaultdict(float)
WALL: dict[str, float] = defaultdict(float)
COUNT: dict[str, int] = defaultdict(int)
_inside: list[float] = []
"""Time that rooms inside the present ones took, innermost last; rooms on the loop never overlap otherwise."""


def on_loop(room: str, function: Callable[P, T]) -> Callable[P, T]:
    def timed(*args: P.args, **kwargs: P.kwargs) -> T:
        _inside.append(0.0)
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            took = time.perf_counter() - started
            OWN[room] += took - _inside.pop()
            COUNT[room] += 1
            if _inside:
                _inside[-1] += took

    return timed


def awaited(step: str, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    async def timed(*args: P.args, **kwargs: P.kwargs) -> T:
        started = time.perf_counter()
        try:
            return await function(*args, **kwargs)
        finally:
            WALL[step] += time.perf_counter() - started
            COUNT[step] += 1

    return timed


def install() -> None:
    """Put the stopwatches in."""
    rooms: tuple[tuple[Any, str, str], ...] = (
        (Gate, "_admit", "admission"),
        (Gate, "_parse", "parsing"),
        (Gate, "_charge", "rate limit"),
        (Gate, "_ended", "log line and metrics"),
        (look_up, "check_asking", "validation"),
        (LookUp, "decide", "decision and access record"),
        (Proposal, "log", "leaf and tree"),
        (Writer, "_sign", "checkpoint signature"),
    )
    for owner, name, room in rooms:
        setattr(owner, name, on_loop(room, getattr(owner, name)))
    steps: tuple[tuple[Any, str, str], ...] = (
        (SqliteStore, "hits", "SQL read"),
        (SqliteStore, "commit", "SQL write and commit"),
        (Writer, "submit", "writer"),
    )
    for owner, name, step in steps:
        setattr(owner, name, awaited(step, getattr(owner, name)))
    gate_unary = Gate._unary

    def unary(self: Gate, method: str, parse: Any, behaviour: Any) -> Any:
        return awaited("gate", gate_unary(self, method, parse, behaviour))

    Gate._unary = unary  # type: ignore[method-assign]


def reset(*_: object) -> None:
    for watch in (OWN, WALL, COUNT):
        watch.clear()


def main() -> None:
    install()
    config, out = Path(sys.argv[1]), Path(sys.argv[2])
    signal.signal(signal.SIGUSR1, reset)
    code = asyncio.run(app.serve(load_config(config)))
    out.write_text(json.dumps({"own": OWN, "wall": WALL, "count": COUNT}), encoding="utf-8")
    sys.exit(code)


if __name__ == "__main__":
    main()
