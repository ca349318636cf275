"""What every command needs: the configuration, exit codes, output for people and for scripts, progress.

Invariants: what a script reads goes to standard output, everything else to standard error; every error is one
line that says what to do; colours, tables and progress bars appear on a terminal alone.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column, Table
from rich.text import Text

from signalexchange.client import ExchangeClient
from signalexchange.config import MemberConfig, load_config
from signalexchange.disclosures import NotIndependentError
from signalexchange.errors import (
    ConfigError,
    CustodianError,
    ExchangeError,
    InvalidIdentifierError,
    MalformedError,
    RefusedError,
    VerificationError,
)
from signalexchange.identifiers import TYPE_NAMES
from signalexchange.log_client import ForkError
from signalexchange.signals import InvalidSignalError
from signalexchange.tables import SourceError

P = ParamSpec("P")
Report = Callable[[int, int], None]

MAX_FAULTS = 32
MAX_WIDTH = 100_000
"""Characters of a terminal on which every table has room."""
REFUSED, USAGE, UNVERIFIED, UNREACHABLE = 1, 2, 3, 4
UNREACHABLE_STATUSES = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
TYPES = {name: number for number, name in TYPE_NAMES.items()}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
type_argument = click.argument("type_name", metavar="TYPE", type=click.Choice(sorted(TYPES)))
values_argument = click.argument("values", metavar="[VALUES]...", nargs=-1)
file_option = click.option(
    "--file",
    "file",
    type=click.File(encoding="utf-8"),
    help="Read one value a line from a file, or from standard input with -.",
)
purpose_option = click.option(
    "--purpose", required=True, help="Purpose of the rulebook, such as transaction-screening; it is logged."
)


class Failure(click.ClickException):
    """An error of the SDK as one line and an exit code."""

    def __init__(self, error: ExchangeError) -> None:
        super().__init__(" ".join(f"{error}{_advice(error)}".split()))
        self.exit_code = _exit_code(error)  # type: ignore[misc]

    def show(self, file: Any = None) -> None:
        """Print the line to standard error."""
        click.echo(f"signalexchange: {self.message}", err=True)


class Commands(click.Group):
    """A group whose commands turn the SDK's errors, and files the system refuses, into `Failure`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ExchangeError as error:
            raise Failure(error) from error
        except BrokenPipeError:  # click ends quietly where the reader of the output has gone
            raise
        except OSError as error:
            if error.filename is None:
                raise
            raise Failure(ConfigError(f"{error.filename}: {error.strerror}")) from error


def _exit_code(error: ExchangeError) -> int:
    match error:
        case RefusedError():
            return UNREACHABLE if error.reason in UNREACHABLE_STATUSES else REFUSED
        case CustodianError():
            why = error.failures.values()
            return (
                UNREACHABLE if why and all(each.startswith(UNREACHABLE_STATUSES) for each in why) else REFUSED
            )
        case ConfigError() | InvalidIdentifierError() | InvalidSignalError() | SourceError():
            return USAGE
        case NotIndependentError():
            return REFUSED
        case VerificationError() | MalformedError():
            return UNVERIFIED
    return REFUSED


def _advice(error: ExchangeError) -> str:
    if isinstance(error, ForkError):
        return "; signalexchange log fork prints them"
    if not isinstance(error, RefusedError):
        return ""
    details = "".join(f"; {field} {why}" for field, why in error.violations if why not in str(error))
    hint = {
        "UNAVAILABLE": "; check the target, or try again: signalexchange doctor",
        "DEADLINE_EXCEEDED": "; try again later",
        "CERTIFICATE_INVALID": "; renew the certificate: signalexchange doctor",
        "NOT_ENROLLED": "; the roster must list this certificate's identity",
        "RATE_LIMITED": "; try again later",
        "OVERLOADED": "; try again later",
        "EPOCH_NOT_VALID": "; compute the tokens anew",
        "RESUME_INVALID": "; start again with --from-now",
        "CASE_UNKNOWN": "; yours are: signalexchange cases list",
        "CASE_CONFLICT": "; another officer acted meanwhile: look at it again with signalexchange cases show",
        "OFFICER_NOT_INDEPENDENT": "; let an officer sign who took no part: --officer",
    }.get(error.reason, "")
    return details + hint + _STEP_HINTS.get(error.metadata.get("why", ""), "")


# By the rule that refused a step of a case.
_STEP_HINTS = {
    "not-open": "; open it first: signalexchange cases open",
    "explanation-needed": "; ask for an explanation first: signalexchange cases explain, and judge it "
    "or wait until the customer's time is over",
    "explanation-to-judge": "; judge it first: signalexchange cases explanation satisfactory (or "
    "unsatisfactory)",
    "explanation-time": "; ask with more --days",
    "explanation-pending": "; wait for the explanation, or until the customer's time is over",
    "restriction-needed": "; restrict first, and ask for a further explanation",
    "proposal-pending": "; another officer decides on it first: signalexchange cases approve, or refuse",
    "no-proposal": "; propose it first",
    "appeal-pending": "; decide the appeal first: signalexchange cases appeal grant, or reject",
    "no-appeal": "; note the appeal first: signalexchange cases appeal received",
    "none-asked": "; ask for one: signalexchange cases explain",
    "none-received": "; note it first: signalexchange cases explanation received",
    "measure-in-force": "; lift it first: signalexchange cases lift",
}


class Faults:
    """What is wrong with a file that is to be published: the first of its faults, and how many there are."""

    def __init__(self) -> None:
        self.total = 0
        self._shown: list[tuple[str, str]] = []

    def add(self, place: str, why: str) -> None:
        """Count a fault in."""
        self.total += 1
        if len(self._shown) < MAX_FAULTS:
            self._shown.append((place, why))

    def add_unread(self, error: SourceError) -> None:
        """Count a row in that can't be read."""
        column = f", column {error.column}" if error.column else ""
        self.add(f"{error.path}, row {error.row}{column}", error.why)

    def check(self) -> None:
        """Raise InvalidSignalError if there was one."""
        if self.total:
            shown = f", the first {MAX_FAULTS} are" if self.total > MAX_FAULTS else ""
            raise InvalidSignalError(f"nothing was sent; faults: {self.total}{shown}", self._shown)


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that stand before the command."""

    config_path: Path

    def config(self) -> MemberConfig:
        """The configuration; raises ConfigError."""
        if not self.config_path.exists():
            raise ConfigError(
                f"{self.config_path}: can't read the configuration, there is none; give --config FILE or set "
                "SIGNALEXCHANGE_CONFIG"
            )
        return load_config(self.config_path)

    def client(self) -> ExchangeClient:
        """A client of the configuration; raises ConfigError."""
        return ExchangeClient.from_config(self.config())


def settings() -> Settings:
    """The options before the command that runs."""
    found = click.get_current_context().find_object(Settings)
    if found is None:
        raise ConfigError("no configuration")
    return found


def with_client(command: Callable[Concatenate[ExchangeClient, P], Awaitable[None]]) -> Callable[P, None]:
    """Run an asynchronous command with the configured client."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def work() -> None:
            async with settings().client() as client:
                await command(client, *args, **kwargs)

        asyncio.run(work())

    return run


def given_values(values: Sequence[str], file: Any) -> list[str]:
    """The values of the command line and of --file; raises click.UsageError where there is none or where the
    file is not text.
    """
    found = list(values)
    if file is not None:
        try:
            found += [line.strip() for line in file if line.strip()]
        except UnicodeDecodeError:
            raise click.UsageError(f"--file {file.name}: not text in UTF-8") from None
    if not found:
        raise click.UsageError("give values, or --file FILE, or --file - for standard input")
    return found


def given_text(text: str) -> str:
    """The text, or the first line of standard input for "-": what stands on a command line others may see."""
    return sys.stdin.readline().strip() if text == "-" else text


def print_json(document: Any) -> None:
    """One JSON document, indented for people who look."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on a terminal, lines with tabs elsewhere.

    Where the terminal is too narrow for the table's rows, each is a table of its own: ids stay whole, to be
    copied.
    """
    if not sys.stdout.isatty():
        click.echo("\t".join(columns))
        for row in rows:
            click.echo("\t".join(str(cell) for cell in row))
        return
    console = Console()
    table = _table(columns, rows)
    least = console.measure(table, options=console.options.update(width=MAX_WIDTH)).minimum
    if len(columns) > 2 and least > console.width:
        for row in rows:
            console.print(_table((), list(zip(columns, row, strict=True))))
    else:
        console.print(table)


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Cells as they are: what stands in brackets is no markup, and what is too long goes on in a new line."""
    table = Table(*(Column(Text(name), overflow="fold") for name in columns), show_header=bool(columns))
    for row in rows:
        table.add_row(*(Text(str(cell), overflow="fold") for cell in row))
    return table


def note(text: str) -> None:
    """A line for people, on standard error."""
    click.echo(text, err=True)


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """A bar on a terminal's standard error; gives what is called with how many are done and how many there
    are.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextmanager
def staged_progress() -> Iterator[Callable[[str, int, int], None]]:
    """As `progress`, with a bar for each stage that is named in the call."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield report


def enum_name(enum: Any, value: int, prefix: str) -> str:
    """A contract's enum value in lower case without its prefix, or its number where it is unknown."""
    try:
        return str(enum.Name(value)).removeprefix(prefix).lower()
    except ValueError:
        return str(value)


def hex_bytes(text: str, size: int, what: str) -> bytes:
    """Bytes from hexadecimal digits; raises click.UsageError."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != size:
        raise click.UsageError(f"{what} must be {2 * size} hexadecimal digits")
    return data
