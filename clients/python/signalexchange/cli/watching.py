"""What every watch command does: print news as they come, and note what was handled.

Invariant: news count as handled once they are printed, the last of `--count` too: after a crash the last ones
may come again, none is lost.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import click

News = TypeVar("News")
Command = TypeVar("Command", bound=Callable[..., Any])


def watch_options(command: Command) -> Command:
    """The options of a watch: `from_now`, `count` and `as_json`."""
    options = (
        click.option(
            "--from-now", is_flag=True, help="Forget where the last watch stopped, and what lies in between."
        ),
        click.option("--count", type=click.IntRange(min=1), help="End after so many."),
        click.option("--json", "as_json", is_flag=True, help="Print a JSON document a line for scripts."),
    )
    for option in reversed(options):
        command = option(command)
    return command


async def print_news(
    stream: AsyncGenerator[News, None],
    line: Callable[[News], Awaitable[str]],
    count: int | None,
    handled: Callable[[News], Awaitable[None]],
) -> None:
    """Print a line for each of the news, for ever or until `count` were printed."""
    left = count
    async with aclosing(stream) as all_news:
        async for news in all_news:
            click.echo(await line(news))
            if left is not None:
                left -= 1
                if left == 0:
                    # The next one would have noted it.
                    await handled(news)
                    return
