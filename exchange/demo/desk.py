"""A member's desk for movements of money: gates and publishes them, and is told of matches.

Invariants: it knows its own flows, its own identifiers' tokens and what the exchange tells it, nothing else;
flows are published in the round after they happened; a match is reported as it was last told.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from signalexchange.client import MAX_BATCH, ExchangeClient
from signalexchange.envelope import signal_disclosure
from signalexchange.flows import in_order, read_flows, read_shared
from signalexchange.gate import Gate
from signalexchange.identifiers import type_name
from signalexchange.journal import Kind
from signalexchange.signals import SignalDraft
from signalexchange.tables import SourceError
from signalexchange.v1.match_service_pb2 import Match, MatchStatus, Pattern
from signalexchange.v1.signal_service_pb2 import PublishSignalsRequest

from exchange.scenario import files

PATIENCE = 60.0
"""Seconds a call may take: a whole exchange on one machine, busy with other things, answers late."""
QUIET = 2.0
"""Seconds without news after which no more is expected."""
_LONGEST = 60.0


class FlowDesk:
    """The desk of one member. Times of flows are Unix seconds, of acknowledgements and news monotonic."""

    def __init__(self, client: ExchangeClient, folder: Path) -> None:
        """`folder` has the member's flows and what it knows to be shared. Raises SourceError for a row that
        can't be read."""
        self._client = client
        self._flows = in_order(_read(folder / files.FLOWS))
        self._gate = Gate(shared=read_shared(folder / files.SHARED))
        self._next = 0
        self._batches: dict[int, tuple[bytes, float]] = {}
        self._names: dict[bytes, str] = {}
        self._first_told: dict[bytes, float] = {}
        self._told: dict[bytes, Match] = {}
        self._subjects: dict[bytes, set[bytes]] = {}
        self._news = time.monotonic()
        self._watching: asyncio.Task[None] | None = None
        self.published = 0

    async def open(self) -> None:
        """Begin to watch for matches."""
        self._watching = asyncio.create_task(self._watch())

    async def publish(self, now: int) -> int:
        """Publish what the gate lets pass of the flows before `now`; how many signals."""
        drafts: list[SignalDraft] = []
        while self._next < len(self._flows) and self._flows[self._next].time < now:
            drafts += self._gate.offer(self._flows[self._next])
            self._next += 1
        for start in range(0, len(drafts), MAX_BATCH):
            part = drafts[start : start + MAX_BATCH]
            done = await self._client.publish(part, now=now, timeout=PATIENCE)
            self._batches[done.index] = done.id, time.monotonic()
            await self._name(part)
        self.published += len(drafts)
        return len(drafts)

    async def settle(self) -> None:
        """Wait until no more news come."""
        last = time.monotonic() + _LONGEST
        self._news = time.monotonic()
        while time.monotonic() < min(last, self._news + QUIET):
            await asyncio.sleep(QUIET / 10)
            if self._watching is not None and self._watching.done():
                self._watching.result()

    def summary(self) -> dict[str, Any]:
        """What was published and told: `acknowledged` by log entry, and the matches as last told while they
        stood, with all identifiers of the member's own customers and counterparties ever in them."""
        return {
            "rows": len(self._flows),
            "published": self.published,
            "acknowledged": {index: at for index, (_, at) in self._batches.items()},
            "matches": [
                {
                    "id": match.match_id.hex(),
                    "told": self._first_told[match.match_id],
                    "pattern": Pattern.Name(match.pattern).removeprefix("PATTERN_").lower().replace("_", " "),
                    "status": MatchStatus.Name(match.status).removeprefix("MATCH_STATUS_").lower(),
                    "groups": match.groups,
                    "confidence": match.confidence,
                    "days": match.days,
                    "total_digits": match.total_digits,
                    "named": sorted(self._names[token] for token in self._subjects[match.match_id]),
                }
                for match in self._told.values()
            ],
        }

    def disclose(self, places: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """Open signals of the member's own, by log entry and position, to the auditor."""
        opened = []
        for index, position in places:
            if index not in self._batches:
                continue
            sent = self._client.journal.sent(Kind.BATCH, self._batches[index][0])
            assert sent is not None  # noqa: S101 - it was acknowledged
            request = PublishSignalsRequest.FromString(sent.request)
            disclosed = signal_disclosure(
                request.statement, request.signature, request.signals, position, index
            )
            opened.append(
                {
                    "index": index,
                    "position": position,
                    "nonce": disclosed.nonce.hex(),
                    "signal": disclosed.signal.hex(),
                    "path": [node.hex() for node in disclosed.path],
                }
            )
        return opened

    async def _watch(self) -> None:
        async for news in self._client.matches.watch(from_now=True):
            self._news = time.monotonic()
            match = news.match
            self._first_told.setdefault(match.match_id, self._news)
            self._subjects.setdefault(match.match_id, set()).update(
                subject.token.value for subject in match.subjects
            )
            # One that has run out of evidence says nothing of what it was.
            if match.status != MatchStatus.MATCH_STATUS_EXPIRED or match.match_id not in self._told:
                self._told[match.match_id] = match

    async def _name(self, drafts: Sequence[SignalDraft]) -> None:
        """Keep which identifiers stand behind the tokens published; the client has them in its cache."""
        by_type: dict[int, dict[str, None]] = {}
        for draft in drafts:
            for subject in draft.subjects:
                by_type.setdefault(subject.type, {})[subject.value] = None
        for kind, values in by_type.items():
            tokens = await self._client.tokens(kind, list(values))
            for value, token in zip(values, tokens, strict=True):
                self._names[token.value] = f"{type_name(kind)}:{value}"


def _read(path: Path) -> list[Any]:
    rows = []
    for flow in read_flows(path):
        if isinstance(flow, SourceError):
            raise flow
        rows.append(flow)
    return rows
