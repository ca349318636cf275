"""Cells of a member's tables: from what CSV, JSON or Parquet hold to values; one parser a kind of value.

Invariants: what is invalid is a CellError (or an identifier's InvalidIdentifierError) that never holds the
value; the same content gives the same value from each form.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, TypeVar

from signalexchange.identifiers import TYPE_NAMES, normalise
from signalexchange.signals import MAX_TIME, Subject

T = TypeVar("T")

TYPES = {name: number for number, name in TYPE_NAMES.items()}


class CellError(Exception):
    """What is wrong with one cell."""


class Row:
    """One row's cells; remembers which column was read last, for the error message."""

    def __init__(self, cells: Mapping[str, Any]) -> None:
        self._cells = cells
        self.column = ""

    def has(self, column: str) -> bool:
        """Whether the row has the column and something in it."""
        return self._cells.get(column) not in (None, "", [])

    def knows(self, column: str) -> bool:
        """Whether the table has the column at all."""
        return column in self._cells

    def get(self, column: str, parse: Callable[[Any], T]) -> T:
        """The cell's value; raises what `parse` raises."""
        self.column = column
        return parse(self._cells.get(column))

    def get_or(self, column: str, parse: Callable[[Any], T], default: T) -> T:
        """The cell's value, or the default where there is nothing in it."""
        return self.get(column, parse) if self.has(column) else default


def text(value: Any) -> str:
    """A text that is not empty, white space around it taken off. Raises CellError, as all of these do."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise CellError("missing" if value in (None, "") else "not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CellError("not a valid text") from None
    return value.strip()


def whole(value: Any) -> int:
    """A whole number, 0 or more."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal() and len(value) <= 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CellError("not a whole number")
    return value


def time(value: Any) -> int:
    """Unix seconds, given so or as an ISO 8601 time with an offset; fractions of a second are cut off."""
    if isinstance(value, str) and not value.strip().isdecimal():
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise CellError("neither Unix seconds nor an ISO 8601 time") from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise CellError("a time without an offset from UTC")
        value = int(value.timestamp())
    if (seconds := whole(value)) > MAX_TIME:
        raise CellError("not Unix seconds; milliseconds?")
    return seconds


def decimal(value: Any) -> Decimal:
    """A finite number of at most 28 digits, 0 or between 10^-15 and 10^16 in size."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise CellError("not a number")
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise CellError("not a number") from None
    if not number.is_finite() or not -15 <= number.adjusted() <= 15 or len(number.as_tuple().digits) > 28:
        raise CellError("not a number of a usual size")
    return number


def choice(choices: Mapping[str, int]) -> Callable[[Any], int]:
    """A parser of one of some names, whatever their case, into its number."""

    def parse(value: Any) -> int:
        if value in (None, ""):
            raise CellError("missing")
        found = choices.get(value.strip().lower()) if isinstance(value, str) else None
        if found is None:
            raise CellError(f"must be one of {', '.join(choices)}")
        return found

    return parse


def flag(value: Any) -> bool:
    """True or false, also as 1 or 0, yes or no."""
    if isinstance(value, bool):
        return value
    return bool(choice({"true": 1, "false": 0, "1": 1, "0": 0, "yes": 1, "no": 0})(str(value)))


def identifier_type(value: Any) -> int:
    """An IdentifierType by its name in lower case, such as "phone"."""
    return choice(TYPES)(value)


def subject(type_: int) -> Callable[[Any], Subject]:
    """A parser of normalised identifiers of a type; it raises InvalidIdentifierError too."""
    return lambda value: _subject(type_, text(value))


@lru_cache(maxsize=1 << 16)
def _subject(type_: int, value: str) -> Subject:
    # A table names the same customers again and again, and normalising is most of the work of reading it.
    return Subject(type_, normalise(type_, value))


def texts(value: Any) -> list[str]:
    """A list of texts, given so or separated by ";"."""
    if isinstance(value, str):
        value = [part for part in value.split(";") if part.strip()]
    if not isinstance(value, list):
        raise CellError("not a list")
    return [text(each) for each in value]


def links(value: Any) -> tuple[Subject, ...]:
    """Identifiers, each "type:value", as `texts`."""
    found = []
    for each in texts(value):
        name, colon, identifier = each.partition(":")
        if not colon:
            raise CellError("not of the form type:value")
        found.append(subject(identifier_type(name))(identifier))
    return tuple(found)
