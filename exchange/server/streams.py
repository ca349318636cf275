"""Open streams and how they end.

Invariants: a stream ends when its member is suspended or leaves the roster, when its certificate ends, and
when the server drains; a member holds at most as many streams as its limit.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from signalexchange.v1.error_reason_pb2 import ErrorReason

from exchange.domain.refusal import Refusal


class OpenStreams:
    """The streams of one server."""

    def __init__(self, limit: Callable[[], int], changed: Callable[[int], None]) -> None:
        self._limit = limit
        self._changed = changed
        self._open: dict[str, set[asyncio.Future[Refusal]]] = {}
        self._closed: Refusal | None = None

    async def run(self, member: str, not_after: float, body: Coroutine[Any, Any, None]) -> None:
        """Run a stream's body until it ends or must end; raises the Refusal it must end with.

        Raises Refusal QUOTA_EXCEEDED where the member has too many streams open.
        """
        mine = self._open.setdefault(member, set())
        refusal = self._closed
        if len(mine) >= self._limit():
            refusal = Refusal(
                ErrorReason.ERROR_REASON_QUOTA_EXCEEDED, "too many open streams", retry_after=60.0
            )
        if refusal is not None:
            body.close()
            raise refusal
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Refusal] = loop.create_future()
        expired = Refusal(ErrorReason.ERROR_REASON_CERTIFICATE_INVALID, "the certificate has expired")
        timer = loop.call_later(max(0.0, not_after - time.time()), _end, ended, expired)
        mine.add(ended)
        self._changed(1)
        task = asyncio.create_task(body)
        try:
            waited: set[asyncio.Future[Any]] = {task, ended}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            else:
                raise ended.result()
        finally:
            timer.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            mine.discard(ended)
            if not mine:
                self._open.pop(member, None)
            self._changed(-1)

    def end(self, member: str, refusal: Refusal) -> None:
        """End the member's streams with `refusal`."""
        for ended in self._open.get(member, ()):
            _end(ended, refusal)

    def members(self) -> list[str]:
        """Members with open streams."""
        return list(self._open)

    def close(self, refusal: Refusal) -> None:
        """End all streams and accept no more."""
        self._closed = refusal
        for member in self.members():
            self.end(member, refusal)


def _end(ended: "asyncio.Future[Refusal]", refusal: Refusal) -> None:
    if not ended.done():
        ended.set_result(refusal)
