"""What the commands share: errors in one line, JSON, kinds of arguments."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import click
from signalexchange.errors import ExchangeError

P = ParamSpec("P")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
NEW = click.Path(path_type=Path)
"""A file or folder that need not exist yet."""
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def plain_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what project or system refuses into one line and exit code 1; a defect is not hidden."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except ExchangeError as error:
            raise click.ClickException(" ".join(str(error).split())) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename is not None else ""
            raise click.ClickException(f"{where}{error.strerror or error}") from None

    return run


def print_json(document: Any) -> None:
    """Print a document for scripts."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))
