"""The exchange under measurement: one deployment in a folder, its processes started when first asked for."""

from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType


class World:
    """Starts lazily, ends everything it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "World":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
