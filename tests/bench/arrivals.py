"""A matcher of its own process, filled to a size; run as `python -m tests.bench.arrivals SIZE`.

It prints one JSON line when it is filled: bytes of memory an observation takes, seconds one took to
restore. Then it answers lines on its input, `ordinary COUNT` or `hub TYPE COUNT`, with a JSON list: seconds
each of so many arriving signals took, each in a batch of its own, either as the stream goes on or all
bearing on one node of that type with a tenth of the store as neighbours. Invariant: the last two thousand
observations were matched as they came; older ones were restored, and everybody's identity worked out, as in
a hub that has matched them all. Seconds are of the processor: a matcher waits for nothing, and a busy
machine only lends it less.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path

from signalexchange.rulebook import Rulebook, default_text

from exchange.domain.matching.matcher import Matcher
from exchange.domain.matching.observation import Observation
from tests.bench.traffic import Traffic, token

NOW = 1_790_000_000
MATCHED = 2_000
BATCH = 100
NEW_PERSONS = 10**8


def main() -> None:
    size = int(sys.argv[1])
    traffic = Traffic(size, NOW)
    before = _resident()
    matcher = Matcher(Rulebook.parse(default_text()).matching, new_id=lambda: os.urandom(16))
    older = size - min(size, MATCHED)
    started = time.thread_time()
    stored = list(islice(traffic, older))
    matcher.restore(stored, (), (), ())
    restored = time.thread_time() - started
    for seen in stored:
        # A hub that has run for weeks has worked out everybody's links, and keeps that.
        for token_ in (seen.subject, seen.counterparty):
            matcher.graph.who(token_, seen.group)
    del stored
    for _ in range(0, size - older, BATCH):
        matcher.observe(list(islice(traffic, BATCH)), traffic.now)
    _say({"bytes": (_resident() - before) / size, "restored": restored / max(1, older)})
    hubs: dict[int, bytes] = {}
    persons = count(NEW_PERSONS + 1, 4)  # all of one kind: a median between two kinds says nothing
    for line in sys.stdin:
        what, *arguments = line.split()
        if what == "ordinary":
            _say(_timed(matcher, traffic, int(arguments[0]), traffic))
            continue
        kind = int(arguments[0])
        if kind not in hubs:
            hubs[kind] = token(kind, NEW_PERSONS)
            for seen in traffic.around((hubs[kind], kind), size // 10):
                matcher.graph.add(seen)
        at_hub = partial(traffic.at_hub, (hubs[kind], kind))
        _say(_timed(matcher, traffic, int(arguments[1]), map(at_hub, persons)))


def _timed(matcher: Matcher, traffic: Traffic, arrivals: int, stream: Iterator[Observation]) -> list[float]:
    took = []
    for seen in islice(stream, arrivals):
        now = traffic.now
        started = time.thread_time()
        matcher.observe((seen,), now)
        took.append(time.thread_time() - started)
    return took


def _resident() -> int:
    """Bytes of memory the process holds (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
