"""How far a long stage is: a bar on a terminal, a line every few seconds elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_LINE_SECONDS = 5.0


class Steps:
    """Counts `total` steps of one stage; a context manager."""

    def __init__(self, console: Console, title: str, total: int, unit: str) -> None:
        self._console = console
        self._title = title
        self._total = total
        self._unit = unit
        self._done = 0
        self._bar: tuple[Progress, TaskID] | None = None
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar = bar, bar.add_task(self._title, total=self._total, note="")
            bar.start()
        else:
            self._console.print(f"{self._title}: {self._total} {self._unit}")
        return self

    def step(self, note: str) -> None:
        """One step is done; `note` says what there is by now."""
        self._done += 1
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=self._done, note=note)
        elif time.monotonic() - self._printed >= _LINE_SECONDS:
            self._printed = time.monotonic()
            self._console.print(f"  {self._done} of {self._total} {self._unit}; {note}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar[0].stop()
